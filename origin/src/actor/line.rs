//! The line of writes that wait for the same account, and who makes them.
//!
//! Whoever writes joins the line. The first one there sends for a thread, which makes what waits until nobody does: it
//! takes the account's lock, and as many from the front of the line as may share a transaction. Each of them is a commit
//! of its own, with its own revision, signature and event, and is answered when its event is sequenced, as if it had come
//! alone. What they share is the syncs, and most of the pages that a commit changes: a node that one adds and the next
//! drops never gets into the log.
//!
//! A write that refers to blobs is made alone: their files were put in place for it, and are seen to after it. If a
//! transaction of several fails, nothing of it has happened, and each of them is made alone, so that none is refused for
//! what is wrong with another. The lock is let go of between two transactions: whoever else waits for it has their turn.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use shared::cid::Cid;
use shared::firehose::Seq;
use shared::repo::MAX_OPS;
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::blobs::files::Placed;
use super::commit::{Committed, Made, Prepared, WriteError, commit};
use super::store::{Store, Writing};
use crate::db::{DbError, start_blocking};
use crate::fault;
use crate::sequencer::{Batch, NewHead, SequenceError, Ticket};

/// A write that waits.
pub(super) struct Waiting {
    /// What is written.
    pub(super) writes: Vec<Prepared>,
    /// The commit that its writer expects to find.
    pub(super) swap_commit: Option<Cid>,
    /// Asked under the lock whether the account takes writes.
    pub(super) admit: Box<dyn Fn() -> Result<bool, DbError> + Send>,
    /// Told how far it has come.
    pub(super) tell: oneshot::Sender<Result<Reached, WriteError>>,
    /// The uploads whose files were put in their permanent place for it.
    pub(super) placed: Placed,
    /// Whether it is made alone.
    pub(super) alone: bool,
}

/// How far a write has come when its thread is done with it.
pub(super) enum Reached {
    /// Every record was already as it was to be.
    Unchanged,
    /// It is committed, and this became of its event.
    Sequenced(Committed, Result<Seq, SequenceError>),
    /// It is committed, and its event stands in the queue. Files are to be seen to.
    Queued(Committed, Ticket, Placed),
}

/// The line of one account.
#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<Waiting>,
    /// Whether a thread is at it.
    attended: bool,
}

impl Line {
    /// The writes at the front that share a transaction, with no more records in all than one write may have.
    fn next(&mut self) -> Vec<Waiting> {
        let (mut group, mut ops): (Vec<Waiting>, _) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front() {
            ops += next.writes.len().max(1);
            if !group.is_empty() && (next.alone || ops > MAX_OPS) {
                break;
            }
            let alone = next.alone;
            group.extend(self.waiting.pop_front());
            if alone {
                break;
            }
        }
        group
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Line").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Waiting {
    /// Tells its writer. Nobody waits any more when the runtime stops.
    fn tell(self, reached: Result<Reached, WriteError>) {
        let _gone = self.tell.send(reached);
    }
}

/// Tells the only write of a group why it failed.
fn tell_only(group: Vec<Waiting>, error: WriteError) {
    if let Some(one) = group.into_iter().next() {
        one.tell(Err(error));
    }
}

/// The thread at a line. If it panics, whoever waits is refused, and the next one there sends for another.
struct Attendant(Arc<Store>);

impl Drop for Attendant {
    fn drop(&mut self) {
        let mut line = self.0.line.lock().unwrap_or_else(PoisonError::into_inner);
        if std::thread::panicking() {
            line.attended = false;
            line.waiting.clear();
        }
    }
}

impl Store {
    /// Puts a write at the end of the line. `clock_id` is the one of this process's revisions.
    pub(super) fn join(self: &Arc<Self>, waiting: Waiting, clock_id: u16) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.waiting.push_back(waiting);
        if !line.attended {
            line.attended = true;
            let (attendant, runtime) = (Attendant(Arc::clone(self)), Handle::current());
            start_blocking(move || attendant.work(&runtime, clock_id));
        }
    }
}

impl Attendant {
    fn work(&self, runtime: &Handle, clock_id: u16) {
        let Self(store) = self;
        loop {
            let mut writing = runtime.block_on(store.lock());
            if self.is_done() {
                return;
            }
            if let Err(error) = runtime.block_on(store.make_ready(&mut writing)) {
                // The next one may fare better.
                if let Some(first) = self.first() {
                    first.tell(Err(error));
                }
                continue;
            }
            fault::point("write.ready");
            let group = store.line.lock().unwrap_or_else(PoisonError::into_inner).next();
            self.make(writing, group, clock_id);
        }
    }

    /// Whether nobody waits: then the thread goes.
    fn is_done(&self) -> bool {
        let mut line = self.0.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.attended = !line.waiting.is_empty();
        !line.attended
    }

    fn first(&self) -> Option<Waiting> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop_front()
    }

    /// Makes writes, and gives their events a place in the queue before anybody else can write.
    fn make(&self, mut writing: OwnedMutexGuard<Writing>, group: Vec<Waiting>, clock_id: u16) {
        let Self(store) = self;
        let mut admitted = Vec::with_capacity(group.len());
        for one in group {
            match (one.admit)() {
                Ok(true) => admitted.push(one),
                Ok(false) => one.tell(Err(WriteError::NotAdmitted)),
                Err(error) => one.tell(Err(error.into())),
            }
        }
        if admitted.is_empty() {
            return;
        }
        match commit(store, &mut writing, &admitted, clock_id) {
            Ok(made) => self.hand_over(writing, admitted, made),
            Err(error) if admitted.len() == 1 => tell_only(admitted, error),
            Err(_) => {
                let mut line = store.line.lock().unwrap_or_else(PoisonError::into_inner);
                admitted.into_iter().rev().for_each(|one| line.waiting.push_front(Waiting { alone: true, ..one }));
            }
        }
    }

    /// Gives the events of commits a place in the queue, and tells whoever wrote.
    fn hand_over(&self, writing: OwnedMutexGuard<Writing>, group: Vec<Waiting>, made: Vec<Made>) {
        let Self(store) = self;
        let (mut events, mut released, mut committed) = (Vec::new(), Vec::new(), Vec::new());
        let mut placed = Placed::default();
        for (mut one, made) in group.into_iter().zip(made) {
            match made {
                Ok(Some((commit, event))) => {
                    events.push(event);
                    placed.add(std::mem::take(&mut one.placed));
                    released.extend_from_slice(&commit.released);
                    committed.push((one, commit));
                }
                Ok(None) => one.tell(Ok(Reached::Unchanged)),
                Err(error) => one.tell(Err(error)),
            }
        }
        let Some((_, last)) = committed.last() else { return };
        fault::point("write.committed");
        let rev = last.head.rev;
        let head = Some(NewHead { commit: last.head.commit.clone(), rev });
        if !released.is_empty() {
            store.untidy().note(store.did());
        }
        // Whoever wrote last sees to the files.
        let last = if placed.is_empty() && released.is_empty() { None } else { committed.pop() };
        let batch = Batch { did: store.did().clone(), events, head, repair: false, drained: None, released };
        // Whoever waits is woken once: when it is sequenced.
        let ticket = store.hand_over_and(batch, rev, move |sequenced| {
            for (one, commit) in committed {
                one.tell(Ok(Reached::Sequenced(commit, sequenced.clone())));
            }
        });
        fault::point("write.handed-over");
        drop(writing);
        if let Some((one, commit)) = last {
            one.tell(Ok(Reached::Queued(commit, ticket, placed)));
        }
    }
}

#[cfg(test)]
mod tests;
