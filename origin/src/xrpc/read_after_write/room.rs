//! The memory that patched answers have, all together, until the last of each is on its way to its client.
//!
//! Clients read as slowly as they like, and the view's answers are as large as threads are.

use std::sync::LazyLock;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{Semaphore, SemaphorePermit};

/// What there is, in KiB: twenty-five pages of a hundred posts at once, or three of the largest answers.
const KIB: usize = 32 * 1024;
static ALL: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(KIB));

/// How often the text of an answer is in memory when it is patched, at most: as it is, opened, and as it goes out.
pub(super) const PATCHED: usize = 4;

/// What an answer has of it.
#[derive(Debug, Default)]
pub(super) struct Room(Option<SemaphorePermit<'static>>);

impl Room {
    /// Takes as much more as `bytes` need; says whether there is as much.
    #[must_use]
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let Ok(kib) = u32::try_from(bytes.div_ceil(1024)) else { return false };
        let Ok(more) = ALL.try_acquire_many(kib) else { return false };
        match &mut self.0 {
            Some(taken) => taken.merge(more),
            None => self.0 = Some(more),
        }
        true
    }

    /// `pieces`, until whose end it stays taken.
    pub(super) fn until_the_end_of<S: Stream>(self, pieces: S) -> impl Stream<Item = S::Item> {
        pieces.inspect(move |_| {
            let _held = &self;
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn what_is_taken_is_free_again_at_the_end() {
        let mut room = Room::default();
        assert!(room.take(1));
        assert!(room.take(KIB * 1024 / 2));
        let mut other = Room::default();
        assert!(!other.take(KIB * 1024 / 2), "half of it is taken, and a little");
        assert!(!other.take(usize::MAX));
        let mut pieces = Box::pin(room.until_the_end_of(stream::iter([1, 2])));
        assert_eq!(pieces.next().await, Some(1));
        assert!(!other.take(KIB * 1024 / 2));
        drop(pieces);
        assert!(other.take(KIB * 1024));
    }
}
