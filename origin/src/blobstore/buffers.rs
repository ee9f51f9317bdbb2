//! Places for pieces of blobs on their way out, which are used again.
//!
//! A piece is gone as soon as the system has taken it. Memory that goes to and fro with it costs more than the bytes: the
//! allocator gives large places back, and the system hands out each page anew, cleared.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// How large a place is: so small that it stays in the processor's caches.
const LEN: usize = 64 * 1024;
/// How many places are kept: two connections' worth, 1 MiB.
const KEPT: usize = 16;

static FREE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A place with a piece in it.
pub(super) struct Buffer {
    place: Box<[u8]>,
    len: usize,
}

impl Buffer {
    /// A piece that `fill` has put into a place: as many of its first bytes as it says. `None` if that is none.
    pub(super) fn fill(fill: impl FnOnce(&mut [u8]) -> usize) -> Option<Bytes> {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = Self { place: free.unwrap_or_else(|| vec![0; LEN].into()), len: 0 };
        buffer.len = fill(&mut buffer.place).min(LEN);
        (buffer.len > 0).then(|| Bytes::from_owner(buffer))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        // What is behind is of an earlier piece.
        &self.place[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let place = std::mem::take(&mut self.place);
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_what_was_put_in_and_nothing_of_an_earlier_one() {
        let first = Buffer::fill(|place| {
            place.fill(7);
            place.len()
        });
        assert_eq!(first.unwrap(), [7; LEN][..]);
        // Other tests have their pieces out of the same places.
        for len in 1..100 {
            let piece = Buffer::fill(|place| {
                place[..len].fill(8);
                len
            });
            assert_eq!(piece.unwrap(), vec![8; len]);
        }
        assert!(Buffer::fill(|_| 0).is_none());
        let free: Vec<Bytes> = (0..2 * KEPT).filter_map(|_| Buffer::fill(|_| 1)).collect();
        drop(free);
        assert!(FREE.lock().unwrap().len() <= KEPT);
    }
}
