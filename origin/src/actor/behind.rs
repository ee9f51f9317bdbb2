//! Stores that are older than what was told of them: put back out of a backup, beside a sequence that is newer.
//!
//! A commit on top of such a store would follow an older one than consumers have, and what was acknowledged in between
//! would be gone for good. So nothing moves its repository until `headwater sequencer recover` has brought it to where the
//! sequence says that it was: not a write, an import, an activation. Nor are files of its blobs deleted, for what is not
//! needed by an older store may be by the newer. Reads go on.
//!
//! It is found out where a store is made ready for its first commit, which compares it with the sequence anyway. A store
//! that is newer than the sequence is not meant: that one has something to tell, or somebody else told it.

use std::sync::Arc;

use shared::cid::Cid;
use shared::syntax::Tid;

use super::WriteError;
use super::store::{Store, Writing, read_root};
use crate::db::blocking;
use crate::sequencer::Told;

/// Refuses a store whose root is older than what was told of it. One without a root is damaged, whatever its age.
pub(super) fn refuse_older(root: Option<&(Cid, Tid)>, told: &Told) -> Result<(), WriteError> {
    match root.and_then(|(_, rev)| Some((*rev, told.beyond(*rev)?))) {
        Some((at, told)) => Err(WriteError::Behind { at, told }),
        None => Ok(()),
    }
}

impl Store {
    /// The same, for who does not make it ready.
    pub(super) async fn refuse_if_older(self: &Arc<Self>, writing: &mut Writing) -> Result<(), WriteError> {
        let store = Arc::clone(self);
        let looked_at = blocking(move || {
            let told = store.sequencer().told_blocking(store.did())?;
            store.db()?.read_blocking(|connection| refuse_older(read_root(connection)?.as_ref(), &told))
        });
        self.say_if_behind(writing, looked_at.await)
    }

    /// Has the log say once what the operator is to do.
    pub(super) fn say_if_behind<T>(
        &self,
        writing: &mut Writing,
        looked_at: Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        let before = std::mem::replace(&mut writing.behind, matches!(looked_at, Err(WriteError::Behind { .. })));
        if let Err(WriteError::Behind { at, told }) = &looked_at
            && !before
        {
            tracing::error!(
                did = %self.did(), %at, %told,
                "this account's store is older than what was told of it, as after a restore; nothing is written to it until \
                 `headwater sequencer recover` has brought it up to date"
            );
        }
        looked_at
    }
}

#[cfg(test)]
mod tests;
