//! What the feed does beside: saving what is acknowledged, having copies dropped, forgetting old rows, and looking DID
//! documents up, which nobody asks this server for whom the edge answers.

use std::sync::Weak;
use std::time::Duration;

use shared::link::{PURGE, Purge, Purged, encode};
use shared::syntax::Did;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::send::DROPPING;
use super::{Inner, SendError};
use crate::sequencer::feed::RETENTION;
use crate::time::now_millis;

/// How often what is acknowledged is saved. What is not is pushed again after a crash, which does no harm.
const SAVE: Duration = Duration::from_secs(5);
/// How many accounts' DID documents are looked up in that time. One that is fresh in the cache costs no request.
const DOCUMENTS: usize = 5;
/// How often old rows are looked for.
const PRUNE: Duration = Duration::from_secs(60 * 60);
/// How often it is looked whether copies are to be dropped.
const LOOK: Duration = Duration::from_millis(250);
/// How long after a failure an order to drop copies is given again, at most.
const LAST_RETRY: Duration = Duration::from_secs(60);
/// How many orders are read at a time.
const ORDERS: u32 = 50;
/// How often an order that is not done is given in a row.
const CALLS: u32 = 1000;

/// Runs until the server stops.
pub(super) async fn run(inner: Weak<Inner>, stop: CancellationToken) {
    let both = async {
        tokio::join!(keep(inner.clone()), drop_copies(inner.clone()));
    };
    stop.run_until_cancelled(both).await;
}

async fn keep(inner: Weak<Inner>) {
    let (mut pruned, mut looked_up): (Option<Instant>, Option<Did>) = (None, None);
    loop {
        sleep(SAVE).await;
        let Some(inner) = inner.upgrade() else { return };
        let unsaved = inner.registry.unsaved();
        if !unsaved.is_empty()
            && let Err(error) = inner.log.acknowledged(unsaved).await
        {
            tracing::error!(%error, "what the edge has acknowledged is not saved");
        }
        let dids = inner.registry.accounts_after(looked_up.as_ref(), DOCUMENTS);
        for did in &dids {
            // One that has changed is told by the way that all are.
            let _known = inner.identity.resolve_did(did).await;
        }
        looked_up = dids.into_iter().last();
        if pruned.is_none_or(|pruned| pruned.elapsed() >= PRUNE) {
            pruned = Some(Instant::now());
            let kept = i64::try_from(RETENTION.as_millis()).unwrap_or(i64::MAX);
            if let Err(error) = inner.log.prune(now_millis().saturating_sub(kept)).await {
                tracing::error!(%error, "old rows of the feed stay");
            }
        }
    }
}

async fn drop_copies(inner: Weak<Inner>) {
    let mut pause = LOOK;
    loop {
        sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        pause = match inner.drop_some().await {
            Ok(()) => LOOK,
            Err(error) => {
                if pause == LOOK {
                    tracing::warn!(error = &*error, "the edge has not dropped copies, and is told again");
                }
                pause.saturating_mul(2).min(LAST_RETRY)
            }
        };
    }
}

impl Inner {
    /// Gives the orders that wait.
    async fn drop_some(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for (id, purge) in self.log.purges(ORDERS).await? {
            // Not before what they are for is done: nobody may make the copies anew.
            self.log.made().await;
            self.purge(&purge).await?;
            self.log.purged(id).await?;
        }
        Ok(())
    }

    /// Has copies dropped, all of them; how many blobs went.
    pub(super) async fn purge(&self, purge: &Purge) -> Result<u64, SendError> {
        let (message, mut gone) = (encode(purge)?, 0);
        for _ in 0..CALLS {
            let Purged { done, blobs } = self.send(PURGE, message.clone(), DROPPING).await?;
            gone += blobs;
            if done {
                return Ok(gone);
            }
        }
        Err(SendError::Unfinished)
    }
}
