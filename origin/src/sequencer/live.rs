//! The last frames, in memory: what live consumers are sent without a look into the database.
//!
//! Frames are held in the order of their places, up to a number of bytes; a consumer that is further behind reads the
//! database until it has caught up. So a slow consumer costs no memory.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use shared::firehose::Seq;
use tokio::sync::watch;

use super::PAGE_BYTES;

/// How many bytes of frames are held.
const HELD_BYTES: usize = 8 * 1024 * 1024;
/// At most how many frames one call hands out. They come to [`PAGE_BYTES`] beyond the first at most, because whoever
/// holds them keeps them in memory.
const HANDED: usize = 256;

/// The last frames; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Frames {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    held: RwLock<Held>,
    last: watch::Sender<u64>,
}

#[derive(Debug)]
struct Held {
    frames: VecDeque<(u64, Bytes)>,
    bytes: usize,
    /// Everything after this place is held.
    complete_after: u64,
}

impl Frames {
    /// None yet; the last event so far is `last`.
    pub(super) fn new(last: u64) -> Self {
        let held = Held { frames: VecDeque::new(), bytes: 0, complete_after: last };
        Self { inner: Arc::new(Inner { held: RwLock::new(held), last: watch::Sender::new(last) }) }
    }

    /// Publishes frames, which follow all that were published before, and wakes whoever waits for them.
    pub(super) fn publish(&self, frames: Vec<(Seq, Bytes)>) {
        let Some(last) = frames.last().map(|(seq, _)| seq.get()) else { return };
        {
            let mut held = self.inner.held.write().unwrap_or_else(PoisonError::into_inner);
            for (seq, frame) in frames {
                held.bytes += frame.len();
                held.frames.push_back((seq.get(), frame));
            }
            while held.bytes > HELD_BYTES
                && let Some((seq, frame)) = held.frames.pop_front()
            {
                held.bytes -= frame.len();
                held.complete_after = seq;
            }
        }
        self.inner.last.send_replace(last);
    }

    /// From now on the last event counts as being at `place` at least.
    pub(super) fn raise(&self, place: u64) {
        self.inner.last.send_if_modified(|last| {
            let raised = place > *last;
            *last = place.max(*last);
            raised
        });
    }

    /// Forgets the frames that `gone` names: the events of a deleted account.
    pub(super) fn forget(&self, gone: impl Fn(u64) -> bool) {
        let mut held = self.inner.held.write().unwrap_or_else(PoisonError::into_inner);
        held.frames.retain(|(seq, _)| !gone(*seq));
        held.bytes = held.frames.iter().map(|(_, frame)| frame.len()).sum();
    }

    /// Frames after `after`, oldest first; `None` when some of them are held no more. Empty when there are none.
    pub(super) fn after(&self, after: u64) -> Option<Vec<(u64, Bytes)>> {
        let held = self.inner.held.read().unwrap_or_else(PoisonError::into_inner);
        if after < held.complete_after {
            return None;
        }
        let start = held.frames.partition_point(|(seq, _)| *seq <= after);
        let mut bytes = 0;
        let page = held.frames.range(start..).take(HANDED).take_while(|(_, frame)| {
            let room = bytes < PAGE_BYTES;
            bytes += frame.len();
            room
        });
        Some(page.cloned().collect())
    }

    pub(super) fn last(&self) -> u64 {
        *self.inner.last.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.inner.last.subscribe()
    }
}
