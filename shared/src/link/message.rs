//! Replicas and regions: what the edge asks, and what the origin answers or orders.

use serde::{Deserialize, Serialize};

use super::{PUSH, Position, Push, Region};
use crate::cid::Cid;
use crate::syntax::{Did, Handle};

/// One replica: an account's data in one region.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// Whose data.
    pub account: Did,
    /// Where.
    pub region: Region,
}

impl Replica {
    /// The path that this replica's pushes go to. The DID stands in it as it is: nothing of it needs escaping, and what
    /// looks escaped (`%3A` in a did:web) is its own spelling.
    #[must_use]
    pub fn push_path(&self) -> String {
        format!("{PUSH}{}/{}", self.region, self.account)
    }

    /// The replica whose path this is, if it is one. Nothing is unescaped.
    #[must_use]
    pub fn of_push_path(path: &str) -> Option<Self> {
        let (region, account) = path.strip_prefix(PUSH)?.split_once('/')?;
        Some(Self { account: Did::parse(account).ok()?, region: Region::parse(region).ok()? })
    }
}

/// For how long an answer of the origin lets the edge serve without asking again.
///
/// The same span on two clocks: the edge counts it from when it *asked*, the origin from when it *answered*, and a second
/// more. So however long the answer travels and however the clocks drift within that second, the edge stops first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lease {
    /// The span in milliseconds: the bound T.
    pub millis: u32,
}

impl Lease {
    /// What the origin waits longer than the edge.
    const GRACE_MILLIS: u64 = 1_000;

    /// Until when the edge may serve, on its own clock in milliseconds.
    #[must_use]
    pub fn edge_until(self, asked_at: u64) -> u64 {
        asked_at.saturating_add(u64::from(self.millis))
    }

    /// Until when the origin takes the edge to serve, on its own clock in milliseconds.
    #[must_use]
    pub fn origin_until(self, answered_at: u64) -> u64 {
        answered_at.saturating_add(u64::from(self.millis)).saturating_add(Self::GRACE_MILLIS)
    }
}

/// A new replica asks to be pushed to, before it takes its snapshot. Registering again is no different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Which.
    pub replica: Replica,
}

/// The answer to [`Register`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RegisterAnswer {
    /// From now on it is pushed to.
    Registered(Registered),
    /// The account is not hosted here: there must be no replica.
    NotHosted,
}

/// What a registered replica needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Every change of the account above this position is pushed.
    pub position: Position,
    /// How long it may serve.
    pub lease: Lease,
    /// How many bytes the blocks of the repository have; what is too large is not filled but forwarded.
    pub bytes: u64,
}

/// A replica that missed something, or may have, asks for it. In good standing again when answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Which.
    pub replica: Replica,
    /// Where it stands.
    pub position: Position,
}

/// The answer to [`Pull`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PullAnswer {
    /// The account's changes above the replica's position, in order; none when it misses nothing.
    Changes {
        /// The changes, as they were pushed.
        pushes: Vec<Push>,
        /// Whether there are more than fit one message: pull again.
        more: bool,
        /// How long it may serve once it has applied them and there are no more.
        lease: Lease,
    },
    /// The feed does not reach back so far, does not know the position, or holds something that cannot be pushed: a
    /// snapshot is needed.
    Refill,
    /// The account is not hosted here any more: the replica deletes itself.
    NotHosted,
}

/// A region asks for all its replicas and for its host object, at most once in half a lease: what changed since it asked
/// last?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionQuestion {
    /// Which region.
    pub region: Region,
    /// The position of the last answer; zero if there was none.
    pub after: Position,
}

/// The answer to [`RegionQuestion`].
///
/// A replica may serve under this lease if `complete` is true and neither list tells it to pull first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionAnswer {
    /// Where the feed stands.
    pub position: Position,
    /// How long the region may serve.
    pub lease: Lease,
    /// Whether the lists reach back to the position asked for. If not (the feed is shorter, or they would not fit one
    /// message), anything may have changed.
    pub complete: bool,
    /// The accounts that changed, each once, with the position of its last change: a replica below it pulls first.
    #[serde(default)]
    pub changed: Vec<Changed>,
    /// The accounts whose replica in this region has not acknowledged something, however long ago: it pulls first.
    #[serde(default)]
    pub behind: Vec<Did>,
    /// The handles that came, went or moved: the host object forgets what it knows of them.
    #[serde(default)]
    pub handles: Vec<Handle>,
    /// The version of the answer to describeServer: the host object forgets one of another version.
    #[serde(default)]
    pub server: u64,
}

/// An account that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Which.
    pub account: Did,
    /// Its last change.
    pub position: Position,
}

/// The origin tells a region's host object what to forget, at once. What is lost on the way comes with the next
/// [`RegionAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPush {
    /// The place of the change in the feed.
    pub position: Position,
    /// The handles that came, went or moved.
    #[serde(default)]
    pub handles: Vec<Handle>,
    /// The version of the answer to describeServer.
    #[serde(default)]
    pub server: u64,
}

/// The origin, or an operator through it, has the edge drop copies. Doing it again does nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Whose.
    pub account: Did,
    /// Which.
    pub scope: PurgeScope,
}

/// Which copies to drop. The origin's own store is never touched, also where the edge reads blobs from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PurgeScope {
    /// The replicas in every region, and all blobs in the cache bucket.
    Everything,
    /// The replicas in every region.
    Replicas,
    /// These blobs in the cache bucket.
    Blobs(Vec<Cid>),
}

/// The answer to [`Purge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Whether everything is gone; if not, ask again.
    pub done: bool,
    /// How many blobs went.
    #[serde(default)]
    pub blobs: u64,
}
