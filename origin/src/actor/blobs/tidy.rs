//! What is left to do with files, until it is done.
//!
//! Commit, import and start leave files to be deleted or put in place. [`Actors::tidy`] does it at once; where the blob
//! store fails, the account stands in [`Untidy`] and is tried again in the background, with all others, by one task: a
//! store that is away for a day must not keep every account open that wrote meanwhile. As long as an account stands there
//! it stays on the dirty list, so that the next start does what this process does not come to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::syntax::Did;

use super::files::Placed;
use crate::actor::store::{BlobsHeld, Store};
use crate::actor::{ActorError, Actors, WriteError};
use crate::fault;
use crate::time::Pauses;

/// The accounts of which files are left to be seen to.
#[derive(Debug, Default)]
pub(in crate::actor) struct Untidy(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    accounts: HashMap<Did, Left>,
    /// Whether a task tries again.
    at_work: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Left {
    /// Raised whenever something more is left: what was seen to before that may not have been all.
    times: u64,
    /// Whether it was tried and failed.
    failed: bool,
}

impl Untidy {
    /// Says that something is left of an account.
    pub(in crate::actor) fn note(&self, did: &Did) {
        self.state().accounts.entry(did.clone()).or_default().times += 1;
    }

    /// Whether something is left of an account.
    pub(in crate::actor) fn has(&self, did: &Did) -> bool {
        self.state().accounts.contains_key(did)
    }

    /// How often something was left, to be given to [`Untidy::end`] when all of that is seen to.
    pub(super) fn begin(&self, did: &Did) -> u64 {
        self.state().accounts.get(did).map_or(0, |left| left.times)
    }

    /// Says how it went.
    pub(in crate::actor) fn end(&self, did: &Did, begun: u64, well: bool) {
        let mut state = self.state();
        if !well {
            state.accounts.entry(did.clone()).or_default().failed = true;
        } else if state.accounts.get(did).is_some_and(|left| left.times == begun) {
            state.accounts.remove(did);
        }
    }

    /// The account is gone.
    pub(in crate::actor) fn forget(&self, did: &Did) {
        self.state().accounts.remove(did);
    }

    fn failed(&self) -> Vec<Did> {
        self.state().accounts.iter().filter(|(_, left)| left.failed).map(|(did, _)| did.clone()).collect()
    }

    /// Whether the caller is to try again: there is something, and nobody else does.
    fn take_over(&self) -> bool {
        let mut state = self.state();
        let takes = !state.at_work && state.accounts.values().any(|left| left.failed);
        state.at_work |= takes;
        takes
    }

    /// Whether nothing is left to try again. Then the caller is done, and the next who fails takes over.
    fn rest(&self) -> bool {
        let mut state = self.state();
        state.at_work = state.accounts.values().any(|left| left.failed);
        !state.at_work
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Actors {
    /// Sees to the files that a commit has to do with: uploads that are over, and blobs that nothing refers to any more.
    /// What fails is tried again, until it is done or the process ends.
    pub(in crate::actor) async fn tidy(self, store: Arc<Store>, held: Option<BlobsHeld>, placed: Placed) {
        let held = match held {
            Some(held) => held,
            None => store.hold_blobs().await,
        };
        store.end_uploads(placed).await;
        fault::point("write.uploads-ended");
        match store.delete_released(&held).await {
            // Otherwise that is done when it is let go of.
            Ok(()) if !self.keeps(&store) => store.retire(),
            Ok(()) => {}
            Err(error) => {
                tell(store.did(), &error);
                self.tidy_later();
            }
        }
    }

    /// Does all that is left to do with an account's files, and takes it off the dirty list if nothing else is left of it.
    /// What fails is tried again.
    ///
    /// # Errors
    /// When store or blob store fail. That the account is gone is no error.
    pub(in crate::actor) async fn settle_blobs(&self, did: &Did) -> Result<(), WriteError> {
        let settled = self.try_settling(did).await;
        self.tidy_later();
        settled
    }

    async fn try_settling(&self, did: &Did) -> Result<(), WriteError> {
        let store = match self.store(did).await {
            Err(ActorError::NotFound(_)) => {
                self.untidy().forget(did);
                self.sequencer().mark_clean(did.clone());
                return Ok(());
            }
            store => store?,
        };
        store.settle_blobs().await?;
        // It may be another than the one that was told to be ready, and that was not done yet when it was let go of.
        store.make_ready(&mut *store.lock().await).await?;
        store.retire();
        Ok(())
    }

    fn tidy_later(&self) {
        if self.untidy().take_over() {
            tokio::spawn(self.clone().try_again());
        }
    }

    async fn try_again(self) {
        let mut pauses = Pauses::default();
        while !self.untidy().rest() {
            tokio::time::sleep(pauses.next()).await;
            for did in self.untidy().failed() {
                if let Err(error) = self.try_settling(&did).await {
                    tell(&did, &error);
                }
            }
        }
    }
}

fn tell(did: &Did, error: &WriteError) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(%did, error, "files of blobs are not where they belong yet");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_listed_until_all_that_was_left_is_seen_to_and_one_task_tries_again() {
        let (untidy, did) = (Untidy::default(), Did::parse("did:plc:a").unwrap());
        untidy.note(&did);
        let begun = untidy.begin(&did);
        untidy.note(&did);
        untidy.end(&did, begun, true);
        assert!(untidy.has(&did) && !untidy.take_over(), "something came meanwhile, and nothing has failed");
        let begun = untidy.begin(&did);
        untidy.end(&did, begun, false);
        assert!(untidy.take_over() && !untidy.take_over());
        assert!(!untidy.rest());
        untidy.end(&did, begun, true);
        assert!(untidy.rest() && !untidy.has(&did));
        untidy.end(&did, 0, false);
        assert!(untidy.take_over(), "one that was not noted has failed");
    }
}
