//! What the gateway and the objects say to each other: CBOR in the bodies of requests that never leave the platform.
//!
//! Gateway and objects may be of two versions for a while after a deployment: what one cannot read of the other's leads to
//! the origin.

use serde::{Deserialize, Serialize};
use shared::cid::Cid;
use shared::link::Replica;
use shared::syntax::Handle;

use crate::fresh::Freshness;
use crate::read::Read;

/// Paths of a replica's object.
pub mod replica {
    /// [`super::ReadAsked`], answered by the answer itself, or by [`super::UNANSWERED`].
    pub const READ: &str = "/read";
    /// [`super::BlobAsked`], answered by [`super::BlobTold`].
    pub const BLOB: &str = "/blob";
    /// [`super::KnownAsked`], answered by [`super::KnownTold`].
    pub const KNOWN: &str = "/known";
    /// A signed push's body, answered by its acknowledgement.
    pub const PUSH: &str = "/push";
    /// [`shared::link::Replica`]: to be filled, if it is not; answered by [`super::Filled`].
    pub const FILL: &str = "/fill";
    /// Nothing: to forget everything; answered by nothing.
    pub const DROP: &str = "/drop";
}

/// Paths of a host object.
pub mod host {
    /// [`crate::host::Ask`], answered by [`crate::host::Told`].
    pub const ASK: &str = "/ask";
    /// [`super::Learned`], answered by nothing.
    pub const LEARN: &str = "/learn";
    /// A signed host push's body, answered by its acknowledgement.
    pub const PUSH: &str = "/push";
    /// Nothing; answered by [`super::Described`], if there is anything.
    pub const DESCRIBE: &str = "/describe";
    /// Nothing; answered by [`crate::counters::OfRegion`].
    pub const COUNTERS: &str = "/counters";
}

/// The header by which a replica says that it does not answer; its value is an [`Unanswered`].
pub const UNANSWERED: &str = "x-unanswered";

/// Why a replica does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unanswered {
    /// There is none.
    Absent,
    /// It has to be filled.
    Filling,
    /// The origin has to answer this.
    Forward,
    /// The origin is away, for too long.
    TooOld,
}

impl Unanswered {
    /// As the header says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Filling => "filling",
            Self::Forward => "forward",
            Self::TooOld => "too-old",
        }
    }

    /// What the header says; what is not known is the origin's.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "absent" => Self::Absent,
            "filling" => Self::Filling,
            "too-old" => Self::TooOld,
            _ => Self::Forward,
        }
    }
}

/// A read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadAsked {
    /// How fresh the region is.
    pub fresh: Freshness,
    /// What is read.
    pub read: Read,
    /// `If-None-Match`
    pub if_none_match: Option<String>,
    /// Whether only the head is wanted.
    pub head: bool,
}

/// Whether a blob is public.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlobAsked {
    /// How fresh the region is.
    pub fresh: Freshness,
    /// Which.
    pub cid: Cid,
}

/// What a blob is served by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum BlobTold {
    /// It is public.
    Open {
        /// Its media type.
        mime_type: String,
        /// Its size in bytes.
        size: u64,
        /// Whether that may be old.
        stale: bool,
    },
    /// It is not: the error's body, JSON.
    Refused {
        /// The body.
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
        /// Whether that may be old.
        stale: bool,
    },
    /// Nothing can be said.
    Unanswered(Unanswered),
}

/// Whether a handle is this account's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KnownAsked {
    /// How fresh the region is.
    pub fresh: Freshness,
    /// The handle.
    pub handle: Handle,
}

/// The answer to [`KnownAsked`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum KnownTold {
    /// It is, and the account is served.
    Yes {
        /// Whether that may be old.
        stale: bool,
    },
    /// Nothing can be said, or it is not.
    Unanswered(Unanswered),
}

/// The answer to a request to be filled.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Filled {
    /// It begins to be filled.
    Begun,
    /// It is filled, or is being filled already.
    Hosted,
    /// There is no such account.
    NotHosted,
    /// It is not, for now.
    Not,
}

/// An account has a replica, or has none any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Learned {
    /// Which.
    pub replica: Replica,
    /// Its handle.
    pub handle: Option<Handle>,
    /// Whether there is one.
    pub here: bool,
}

/// What describeServer answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Described {
    /// JSON.
    #[serde(with = "serde_bytes")]
    pub page: Vec<u8>,
    /// Whether it may be old.
    pub stale: bool,
}
