//! The firehose: the event frames of `com.atproto.sync.subscribeRepos`, written by hosts and read by consumers.
//!
//! A frame is two DAG-CBOR items back to back: a header (`op`, `t`) and a body. An event is encoded once, when it
//! happens, as a [`Body`]: everything but `seq` and `time`, which is also how it is stored. [`Body::stamp`] makes the
//! frame when it takes its place in the sequence, and gives the same bytes whenever it is asked, so that a replay is the
//! live stream byte for byte.
//!
//! What cannot be emitted cannot be made: a body over the protocol's limits, or with an operation that lacks what
//! consumers need to undo it, is refused, because one malformed frame in a stored sequence stops a relay for good.
//! Reading is strict about what it knows, and passes over unknown fields, kinds and ops.
//!
//! Specification: <https://atproto.com/specs/sync>, <https://atproto.com/specs/event-stream>.

mod commit;
mod event;
mod frame;
pub mod verify;

pub use crate::xrpc::error_name::{CONSUMER_TOO_SLOW, FUTURE_CURSOR};
pub use commit::Commit;
pub use event::{Account, AccountStatus, Event, Identity, Sync};
pub use frame::{Body, Frame, Info, StreamError};

use crate::cbor::CborError;
use crate::repo::{Action, MAX_OPS};
use crate::syntax::SyntaxError;

/// The most bytes of a frame.
pub const MAX_FRAME_LEN: usize = 5_000_000;

/// The most bytes of the CAR file in a `#sync`.
pub const MAX_SYNC_BLOCKS_LEN: usize = 10_000;

/// The `#info` name for a cursor below the oldest event that is kept.
pub const OUTDATED_CURSOR: &str = "OutdatedCursor";

/// An event's place in the sequence of its host: 1 to 2^53 − 1, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// The greatest: the greatest integer that JavaScript holds.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The place `number`; `None` outside the range.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number > 0 && number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The kinds of event that have a place in the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Records changed.
    Commit,
    /// The repository stands at a head that the events before do not lead to.
    Sync,
    /// The DID document or the handle may have changed.
    Identity,
    /// The hosting status may have changed.
    Account,
}

impl Kind {
    /// The `t` of a frame's header.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Commit => "#commit",
            Self::Sync => "#sync",
            Self::Identity => "#identity",
            Self::Account => "#account",
        }
    }

    /// The kind that a header's `t` names.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        [Self::Commit, Self::Sync, Self::Identity, Self::Account].into_iter().find(|kind| kind.tag() == tag)
    }

    /// The `eventType` of a row in the reference's sequencer database.
    #[must_use]
    pub const fn stored_name(self) -> &'static str {
        match self {
            Self::Commit => "append",
            Self::Sync => "sync",
            Self::Identity => "identity",
            Self::Account => "account",
        }
    }

    /// The kind that an `eventType` names; `None` for those of before 2025 (`handle`, `tombstone`, …), whose rows are
    /// passed over.
    #[must_use]
    pub fn of_stored_name(name: &str) -> Option<Self> {
        [Self::Commit, Self::Sync, Self::Identity, Self::Account].into_iter().find(|kind| kind.stored_name() == name)
    }
}

/// Why an event cannot be emitted, or a frame not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirehoseError {
    /// Not strict DAG-CBOR, or not of the shape of its kind.
    #[error("event is malformed")]
    Cbor(#[from] CborError),
    /// A field that is not the identifier it should be.
    #[error("event has an invalid identifier")]
    Syntax(#[from] SyntaxError),
    /// A frame above [`MAX_FRAME_LEN`].
    #[error("frame is {0} bytes, limit {MAX_FRAME_LEN}")]
    FrameTooLong(usize),
    /// More than [`MAX_OPS`] operations.
    #[error("commit has {0} operations, limit {MAX_OPS}")]
    TooManyOps(usize),
    /// Blocks above [`MAX_COMMIT_LEN`](crate::repo::MAX_COMMIT_LEN) or [`MAX_SYNC_BLOCKS_LEN`].
    #[error("event has {len} bytes of blocks, limit {limit}")]
    BlocksTooLong {
        /// The length of the CAR file.
        len: usize,
        /// The limit of the event's kind.
        limit: usize,
    },
    /// An operation with a `cid` or `prev` that its action rules out, or without one that it demands.
    #[error("{action} operation {at} does not have the cid and prev that it must")]
    Op {
        /// Its index in the commit.
        at: usize,
        /// Its action.
        action: Action,
    },
    /// A `seq` outside the range of [`Seq`].
    #[error("seq {0} is out of range")]
    Seq(u64),
    /// A field of the protocol's first version that must be false is true.
    #[error("{0} is set")]
    Obsolete(&'static str),
}

#[cfg(test)]
mod tests;
