//! Telling a follower what changed, in order, until it has acknowledged all of it.
//!
//! One task at a time tells a follower. It ends when there is nothing more to tell, and is started by the next row. What
//! fails is tried again, less and less often; nothing is passed over.

use std::sync::{Arc, Weak};
use std::time::Duration;

use shared::cbor;
use shared::cid::Cid;
use shared::data;
use shared::firehose::Event;
use shared::link::{
    Ack, Change, HOST_PUSH, HostPush, LinkError, Outcome, Position, PublicBlob, Push, PushedCommit, Replica, encode,
};
use shared::repo::{MAX_COMMIT_LEN, car};
use shared::syntax::Did;

use super::registry::{Follower, Next};
use super::send::TELLING;
use super::{FeedError, Inner, PAGE, SendError};
use crate::actor::export::public_blob;
use crate::db::DbError;
use crate::sequencer::Stored;
use crate::sequencer::feed::{Row, What};

/// How many followers are told something at once.
pub(super) const AT_ONCE: usize = 64;
/// How long after the first failure a follower is told again; after each further one twice as long, up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How long a replica that pulls has to take in what it is answered before it is told the rest.
const PULLING: Duration = Duration::from_millis(100);

/// Why a follower was not told.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Message(#[from] LinkError),
    #[error("the edge answers what this version does not know")]
    Unknown,
}

impl From<DbError> for TellError {
    fn from(error: DbError) -> Self {
        Self::Feed(error.into())
    }
}

impl Inner {
    /// Tells a follower what there is to tell. To be called once the registry counts it as being told.
    pub(super) fn tell(self: &Arc<Self>, follower: Follower) {
        let (inner, stop) = (Arc::downgrade(self), self.stop.clone());
        self.runtime.spawn(async move { stop.run_until_cancelled(tell(inner, follower)).await });
    }

    /// [`Self::tell`], a moment later.
    pub(super) fn tell_later(self: &Arc<Self>, follower: Follower) {
        let (inner, stop) = (Arc::downgrade(self), self.stop.clone());
        let later = async move {
            tokio::time::sleep(PULLING).await;
            tell(inner, follower).await;
        };
        self.runtime.spawn(async move { stop.run_until_cancelled(later).await });
    }

    /// Tells a follower what comes after `after`, a page of it.
    async fn tell_page(&self, follower: &Follower, after: Position) -> Result<(), TellError> {
        let _turn = self.telling.acquire().await;
        match follower.replica() {
            Some(replica) => self.tell_replica(follower, &replica, after).await,
            None => self.tell_host(follower, after).await,
        }
    }

    async fn tell_replica(&self, follower: &Follower, replica: &Replica, after: Position) -> Result<(), TellError> {
        let mut at = after;
        for row in self.log.rows(&replica.account, after, PAGE).await? {
            if row.position <= at {
                continue;
            }
            let (_, message) = self.message(&replica.account, &row).await?;
            let Ack { outcome, position } = self.send(&replica.push_path(), message, TELLING).await?;
            match outcome {
                // It may stand further on already, by a pull.
                Outcome::Applied | Outcome::Kept => at = row.position.max(position),
                Outcome::Behind => at = row.position,
                Outcome::Gone => return Ok(self.forget(replica).await?),
                Outcome::Unknown => return Err(TellError::Unknown),
            }
            self.registry.acknowledged(follower, at);
        }
        Ok(())
    }

    async fn tell_host(&self, follower: &Follower, after: Position) -> Result<(), TellError> {
        let since = self.log.since(after).await?;
        // One that is too far behind to be told forgets by the answer to its next question.
        let push = HostPush { position: since.position, handles: since.handles, server: self.server };
        let path = format!("{HOST_PUSH}{}", follower.region);
        let Ack { outcome, .. } = self.send(&path, encode(&push)?, TELLING).await?;
        match outcome {
            Outcome::Gone => self.registry.remove(follower),
            Outcome::Unknown => return Err(TellError::Unknown),
            Outcome::Applied | Outcome::Kept | Outcome::Behind => self.registry.acknowledged(follower, since.position),
        }
        Ok(())
    }

    /// What a row says to replicas, and its bytes.
    pub(super) async fn message(&self, did: &Did, row: &Row) -> Result<(Push, Vec<u8>), FeedError> {
        let change = match &row.what {
            What::Repository(stored) => self.commit(did, stored).await?,
            What::State => self.state(did).await?.map_or(Change::Unknown, |state| Change::State(Box::new(state))),
            What::Refill => Change::Unknown,
        };
        let mut push = Push { account: did.clone(), position: row.position, previous: row.previous, change };
        let message = match encode(&push) {
            Ok(message) => message,
            // It cannot be told: the replica is filled anew.
            Err(_) => {
                push.change = Change::Unknown;
                encode(&push).unwrap_or_default()
            }
        };
        Ok((push, message))
    }

    async fn commit(&self, did: &Did, stored: &Stored) -> Result<Change, FeedError> {
        let Ok(frame) = stored.body.stamp(stored.seq, &stored.time) else { return Ok(Change::Unknown) };
        let cids = match stored.body.decode() {
            Ok(Event::Commit(commit)) => referred(&commit.blocks, &commit.ops),
            _ => Vec::new(),
        };
        let blobs = if cids.is_empty() { Vec::new() } else { self.public(did, cids).await? };
        Ok(Change::Commit(PushedCommit { frame, blobs }))
    }

    /// Those of `cids` that are public blobs now. What is not any more needs not be known.
    async fn public(&self, did: &Did, cids: Vec<Cid>) -> Result<Vec<PublicBlob>, FeedError> {
        let store = self.actors.store(did).await?;
        let found = store.db()?.read(move |connection| -> Result<_, DbError> {
            let mut statement = connection.prepare_cached(
                r#"SELECT "cid", "mimeType", "size" FROM "blob" WHERE "cid" = ?1 AND "tempKey" IS NULL"#,
            )?;
            let mut blobs = Vec::new();
            for cid in cids {
                let found = statement.query_map([cid.to_string()], public_blob)?;
                blobs.extend(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten());
            }
            Ok(blobs)
        });
        Ok(found.await?)
    }
}

/// The blobs that the records of a commit refer to, each once.
fn referred(blocks: &bytes::Bytes, ops: &[shared::repo::RepoOp]) -> Vec<Cid> {
    let Ok(car) = car::read(blocks.clone(), MAX_COMMIT_LEN) else { return Vec::new() };
    let mut cids = Vec::new();
    for cid in ops.iter().filter_map(|op| op.cid.as_ref()) {
        let block = car.blocks.iter().find(|block| block.cid == *cid);
        let record = block.and_then(|block| cbor::decode(&block.bytes).ok());
        cids.extend(record.iter().flat_map(data::blobs).map(|blob| blob.cid));
    }
    cids.sort_by_key(ToString::to_string);
    cids.dedup();
    cids
}

/// Tells a follower until there is nothing more to tell, or nobody to tell it.
async fn tell(inner: Weak<Inner>, follower: Follower) {
    let (mut pause, mut failures) = (FIRST_RETRY, 0_u32);
    loop {
        let told = {
            let Some(inner) = inner.upgrade() else { return };
            let Next::After(after) = inner.registry.next(&follower) else { return };
            inner.tell_page(&follower, after).await
        };
        match told {
            Ok(()) => (pause, failures) = (FIRST_RETRY, 0),
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    let Follower { account, region } = &follower;
                    let account = account.as_ref().map(Did::as_str);
                    tracing::warn!(account, %region, error = &error as &dyn std::error::Error, "the edge cannot be told, and is tried again");
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LAST_RETRY);
            }
        }
    }
}
