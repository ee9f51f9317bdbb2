//! What edge and origin say to each other: signed requests, and the messages in them.
//!
//! The origin is the only writer; the edge holds replicas of accounts. Everything the origin changes about an account
//! has a [`Position`] in its feed and is *pushed* to the replicas that registered; what a replica missed it *pulls*, and
//! what it cannot catch up with it takes anew as a *snapshot*. How old an answer of the edge may be is bounded by the
//! [`Lease`] and by the *region question*, which asks for all accounts at once.
//!
//! - [`FeedKeys`] sign the requests under `/internal/v1/`, in both directions; [`ForwardKeys`] vouch for where a
//!   forwarded request came from, and open nothing.
//! - Messages are CBOR by `serde` ([`encode`], [`decode`]). They grow by fields that the other side may not know: it
//!   passes over them, so that edge and origin can be deployed one after the other. A change of meaning is a new path.
//! - Whatever goes wrong at the edge (an answer it cannot read, a message it does not know) has one remedy that is always
//!   right: forward the reader's request to the origin.
//!
//! This contract is Headwater's own; no page of the protocol's describes it.

mod message;
mod push;
mod snapshot;
mod trust;

pub use message::{
    Changed, HostPush, Lease, Pull, PullAnswer, Purge, PurgeScope, Purged, RegionAnswer, RegionQuestion, Register,
    RegisterAnswer, Registered, Replica,
};
pub use push::{Ack, Change, Outcome, PublicBlob, Push, PushedCommit, State};
pub use snapshot::{Item, Record, Reference, Revision, SnapshotError, SnapshotHead, SnapshotReader, SnapshotWriter};
pub use trust::{
    BodyDigest, FeedKeys, ForwardKeys, HEADER_PREFIX, KeyError, MIN_KEY_LEN, Request, TrustError, Vouched,
    WINDOW_SECONDS,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// How every path of the contract begins.
pub const PREFIX: &str = "/internal/v1/";

/// Edge to origin: [`Register`], answered by [`RegisterAnswer`].
pub const REGISTER: &str = "/internal/v1/register";

/// Edge to origin: the [`Replica`] that is no more; answered by nothing.
pub const UNREGISTER: &str = "/internal/v1/unregister";

/// Edge to origin: the [`Replica`] to be filled, answered by a stream for [`SnapshotReader`], or 404 when the account is
/// not hosted.
pub const SNAPSHOT: &str = "/internal/v1/snapshot";

/// Edge to origin: [`Pull`], answered by [`PullAnswer`].
pub const PULL: &str = "/internal/v1/pull";

/// Edge to origin: [`RegionQuestion`], answered by [`RegionAnswer`].
pub const REGION: &str = "/internal/v1/region";

/// Origin to edge: [`Purge`], answered by [`Purged`].
pub const PURGE: &str = "/internal/v1/purge";

/// Origin to edge, followed by the region: [`HostPush`], answered by [`Ack`].
pub const HOST_PUSH: &str = "/internal/v1/host/";

/// Origin to edge, followed by region, slash and account: [`Push`], answered by [`Ack`]. See [`Replica::push_path`].
pub const PUSH: &str = "/internal/v1/push/";

/// The media type of messages.
pub const MEDIA_TYPE: &str = "application/cbor";

/// The media type of a snapshot.
pub const SNAPSHOT_MEDIA_TYPE: &str = "application/vnd.headwater.snapshot";

/// The most bytes of a message, and of a piece of a snapshot.
pub const MAX_BODY_LEN: usize = 8_000_000;

/// A place in the origin's feed of changes, over all accounts: ascending, never used twice, not even after a restore.
/// Zero is before the first. Below 2^53, which is what the edge's storage holds exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

/// Where replicas are placed: a name from configuration such as `weur`, 1 to 16 lower-case letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(Box<str>);

/// A text that is no region's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("region is not 1 to 16 lower-case letters, digits and hyphens")]
pub struct RegionError;

impl Region {
    /// Checks a name and owns it.
    ///
    /// # Errors
    /// [`RegionError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, RegionError> {
        let spelled = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if spelled && (1..=16).contains(&text.len()) { Ok(Self(text.into())) } else { Err(RegionError) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Region {
    type Error = RegionError;

    fn try_from(text: String) -> Result<Self, RegionError> {
        Self::parse(&text)
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.0.into()
    }
}

impl std::fmt::Display for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a message cannot be sent or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A message above [`MAX_BODY_LEN`].
    #[error("message is {0} bytes, limit {MAX_BODY_LEN}")]
    TooLong(usize),
    /// Bytes that are not CBOR, or not the message that was expected.
    #[error("message is malformed: {0}")]
    Malformed(String),
    /// Something follows the message.
    #[error("message is followed by {0} bytes")]
    Trailing(usize),
}

/// The bytes of a message.
///
/// # Errors
/// [`LinkError::TooLong`] when they exceed [`MAX_BODY_LEN`]: a commit never does, and a state that does is not pushed;
/// its replicas are told to refill.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, LinkError> {
    let mut body = Vec::new();
    ciborium::into_writer(message, &mut body).map_err(|error| LinkError::Malformed(error.to_string()))?;
    if body.len() > MAX_BODY_LEN {
        return Err(LinkError::TooLong(body.len()));
    }
    Ok(body)
}

/// The message that `body` is; fields that `T` does not have are passed over.
///
/// # Errors
/// When it exceeds [`MAX_BODY_LEN`], or is not one message of the type.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, LinkError> {
    if body.len() > MAX_BODY_LEN {
        return Err(LinkError::TooLong(body.len()));
    }
    let mut rest = body;
    let message = ciborium::from_reader(&mut rest).map_err(|error| LinkError::Malformed(error.to_string()))?;
    if rest.is_empty() { Ok(message) } else { Err(LinkError::Trailing(rest.len())) }
}

/// Whether a request path belongs to the contract, however it is written.
///
/// Percent-encoding, doubled or turned slashes, dot segments and case are seen through. What belongs to the contract and
/// is not signed with a feed key is 404.
#[must_use]
pub fn is_internal(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let decoded = percent_decode(path.as_bytes());
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|byte| matches!(byte, b'/' | b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    segments.first().is_some_and(|first| first.eq_ignore_ascii_case(b"internal"))
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let pair = match (first, tail) {
            (b'%', [high, low, after @ ..]) => digit(high).zip(digit(low)).map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        match pair {
            Some((byte, after)) => {
                out.push(byte);
                rest = after;
            }
            None => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests;
