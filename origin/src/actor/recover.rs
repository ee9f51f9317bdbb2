//! Bringing the sequence and a store in step again: after a process that died, and after an import.
//!
//! [`Actors::sweep`] runs in the background at a start. It looks at the accounts on the dirty list alone; a write to one
//! of them waits for the account's lock and finds what there is to tell by itself. [`Actors::recommit`] makes a head that
//! consumers accept out of one that they would not: one that came with an import is signed by another host's key, and its
//! revision is not the store's.
//!
//! Specification: <https://atproto.com/specs/sync>, <https://atproto.com/guides/account-migration>.

use rusqlite::Transaction;
use shared::firehose::{Body, Event, Sync};
use shared::repo::commit::Commit;
use shared::repo::{Block, Head, Repo};
use shared::syntax::{Did, Tid};
use tokio::sync::OwnedMutexGuard;

use super::commit::delete_blocks;
use super::store::{self, Blocks, Store, Writing, read_block, read_head};
use super::{ActorError, Actors, WriteError, import};
use crate::db::{DbError, blocking};
use crate::sequencer::NewHead;
use crate::time::now_micros;

/// How far above the clock a foreign revision may be for ours to go on above it. Consumers drop what is further ahead.
const AHEAD_MICROS: u64 = 5 * 60 * 1_000_000;

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Accounts of which everything is told.
    pub told: usize,
    /// Accounts that are gone or not active, of which nothing may be told.
    pub dropped: usize,
    /// Accounts that could not be looked at, or of which blobs are not where they belong yet. They stay on the list.
    pub failed: usize,
    /// Accounts whose stores are older than what was told of them. They stay on the list, so that every start says so.
    pub behind: usize,
}

/// A repository whose head is the account's own. Nobody writes to it while this lives.
#[derive(Debug)]
pub struct Recommitted {
    /// Where it stands.
    pub head: Head,
    /// The `#sync` that says so. It is for the caller to have it sequenced, after what must precede it.
    pub sync: Body,
    _nobody_writes: OwnedMutexGuard<Writing>,
}

impl Actors {
    /// Sees to it that every commit of earlier processes is sequenced, and that what they left of imports, uploads and
    /// deleted blobs is where it belongs. `is_active` says whether an account is there and
    /// served; of others nothing is told, and what was to be told is dropped: their activation says where they stand.
    ///
    /// # Errors
    /// When the list cannot be read. What goes wrong with one account is logged.
    pub async fn sweep(
        &self,
        is_active: impl Fn(&Did) -> Result<bool, DbError> + Clone + Send + 'static,
    ) -> Result<Swept, DbError> {
        let (mut swept, mut looked_at) = (Swept::default(), Vec::new());
        for did in self.sequencer().dirty().await? {
            let is_active = is_active.clone();
            let of = did.clone();
            let told = match blocking(move || is_active(&of)).await {
                Ok(active) => self.sweep_events(&did, active).await,
                Err(error) => Err(error.into()),
            };
            match told {
                Ok(told) => looked_at.push((did, told)),
                // The log says so already.
                Err(WriteError::Behind { .. }) => swept.behind += 1,
                Err(error) => {
                    swept.failed += 1;
                    tracing::error!(%did, %error, "what an earlier process committed is not sequenced");
                }
            }
        }
        // Events first, of all: where blobs are kept may be away, as it is for the others then.
        let mut looked_at = looked_at.into_iter();
        while let Some((did, told)) = looked_at.next() {
            match self.settle_blobs(&did).await {
                Ok(()) if told => swept.told += 1,
                Ok(()) => swept.dropped += 1,
                Err(error) => {
                    let others = looked_at.by_ref().map(|(did, _)| self.untidy().end(&did, 0, false)).count();
                    swept.failed += 1 + others;
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(%did, error, others, "what an earlier process left of blobs is tried again");
                }
            }
        }
        Ok(swept)
    }

    /// Whether there was something that may be told.
    async fn sweep_events(&self, did: &Did, active: bool) -> Result<bool, WriteError> {
        let store = match self.store(did).await {
            Err(ActorError::NotFound(_)) => return Ok(false),
            store => store?,
        };
        if let Some(_nobody_imports) = store.try_import() {
            let of = store.clone();
            blocking(move || -> Result<(), DbError> {
                import::remove_leftover(of.directory());
                Ok(())
            })
            .await?;
        }
        let mut writing = store.lock().await;
        let of = store.clone();
        let root =
            blocking(move || of.db()?.read_blocking(|connection| Ok::<_, ActorError>(store::read_root(connection)?)));
        if let Some((commit, rev)) = root.await? {
            // That process may have ended before it told.
            self.sequencer().tell_root(did.clone(), NewHead { commit, rev });
        }
        if active {
            store.make_ready(&mut writing).await?;
        } else if !writing.ready {
            store.refuse_if_older(&mut writing).await?;
            blocking(move || store.db()?.write_blocking(drop_pending)).await?;
        }
        Ok(active)
    }

    /// Makes the head the account's own, if it is not: an empty commit at a new revision, signed with the present key.
    /// Nothing is sequenced; the next commit's event follows on this one.
    ///
    /// # Errors
    /// When the repository cannot be read or written, or an earlier commit cannot be sequenced.
    pub async fn recommit(&self, did: &Did) -> Result<Recommitted, WriteError> {
        let store = self.store(did).await?;
        let clock_id = self.inner.clock_id;
        // A task of its own: a client that goes away must not stop it between its steps.
        let task = tokio::spawn(async move {
            let mut writing = store.lock().await;
            store.settle(&mut writing).await?;
            blocking(move || {
                let known = writing.head.take();
                let (head, sync) =
                    store.db()?.write_blocking(|transaction| recommit(transaction, &store, known, clock_id))?;
                writing.head = Some(head.clone());
                Ok(Recommitted { head, sync, _nobody_writes: writing })
            })
            .await
        });
        task.await.unwrap_or_else(|_| Err(DbError::Abandoned.into()))
    }
}

pub(super) fn recommit(
    transaction: &Transaction<'_>,
    store: &Store,
    known: Option<Head>,
    clock_id: u16,
) -> Result<(Head, Body), WriteError> {
    let did = store.did();
    let head = match known {
        Some(head) => head,
        None => read_head(transaction)?.ok_or_else(|| ActorError::NotFound(did.clone()))?,
    };
    let damaged = || WriteError::Damaged(head.commit.clone());
    let bytes = read_block(transaction, &head.commit)?.ok_or_else(damaged)?;
    let commit = Commit::from_block(&bytes).map_err(|_| damaged())?;
    if commit.did == *did && commit.rev == head.rev && commit.is_signed_by(&store.key()?.public_key()) {
        let block = Block { cid: head.commit.clone(), bytes };
        let sync = Event::Sync(Sync::at(did.clone(), head.rev, &block)).encode()?;
        return Ok((head, sync));
    }
    let rev = rev_above(head.rev, commit.rev, clock_id)?;
    let repo = Repo { did, head: Some(&head), blocks: &Blocks(transaction) };
    let diff = repo.apply(Vec::new(), store.key()?, rev)?.ok_or(WriteError::NothingToDo)?;
    store::write_blocks(transaction, &diff)?;
    delete_blocks(transaction, &diff)?;
    store::write_root(transaction, did, &diff.head)?;
    drop_pending(transaction)?;
    let sync = Event::Sync(Sync::at(did.clone(), rev, &diff.commit)).encode()?;
    Ok((diff.head, sync))
}

/// A revision above the store's own and above that of a commit from elsewhere, unless that is so far in the future that
/// nothing above it would be accepted by anybody.
pub(super) fn rev_above(own: Tid, foreign: Tid, clock_id: u16) -> Result<Tid, WriteError> {
    let now = now_micros();
    let above = if foreign.micros() <= now.saturating_add(AHEAD_MICROS) { own.max(foreign) } else { own };
    Tid::next_after(Some(&above), now, clock_id).ok_or(WriteError::RevExhausted(above))
}

/// Forgets events that are sequenced, or that must not be.
pub(super) fn drop_pending(transaction: &Transaction<'_>) -> Result<(), WriteError> {
    transaction.prepare_cached(r#"DELETE FROM "headwater_pending""#)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests;
