//! What the origin tells a replica when an account changes, and what the replica answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use super::Position;
use crate::cid::Cid;
use crate::crypto::PublicKey;
use crate::firehose::AccountStatus;
use crate::syntax::{Did, Handle};

/// One change of one account.
///
/// `previous` is below `position`, and the changes of an account form a chain: a replica at `previous` applies it, one at
/// or above `position` has it already, any other has missed something and is behind until it pulls.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PushFields")]
pub struct Push {
    /// Whose change.
    pub account: Did,
    /// Its place in the feed.
    pub position: Position,
    /// The place of the account's change before it; zero if the feed begins with it.
    pub previous: Position,
    /// What changed.
    pub change: Change,
}

/// What changed about an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Its repository.
    Commit(PushedCommit),
    /// Anything else.
    State(Box<State>),
    /// Something that this version does not know: the replica cannot follow, and is filled anew.
    Unknown,
}

/// A change of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedCommit {
    /// The frame that the firehose sends, see [`crate::firehose::Frame::decode`]. A `#commit` is verified like anyone's
    /// and applied; after a `#sync` the replica is filled anew.
    pub frame: Bytes,
    /// The blobs that this commit makes public.
    #[serde(default)]
    pub blobs: Vec<PublicBlob>,
}

/// A blob that may be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicBlob {
    /// Its name, of raw bytes.
    pub cid: Cid,
    /// The media type that it is served with.
    pub mime_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Everything about an account but its repository, whole: the state with the highest version holds, whatever the order
/// of arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Raised with every change, under the account's lock.
    pub version: u64,
    /// Why the account is not served; `None` if it is. A replica of an account that is not holds its state and nothing
    /// else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AccountStatus>,
    /// The handle, if the account has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<Handle>,
    /// The DID document as the origin answers it: JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did_document: Option<String>,
    /// The key that signs the repository's commits.
    #[serde(with = "did_key")]
    pub signing_key: PublicKey,
    /// The paths of records that are taken down.
    #[serde(default)]
    pub taken_down_records: Vec<String>,
    /// The blobs that are taken down.
    #[serde(default)]
    pub taken_down_blobs: Vec<Cid>,
    /// The blobs that were public at some position that a replica may still pull from, and are not now.
    #[serde(default)]
    pub deleted_blobs: Vec<Cid>,
}

/// What a replica, or a region's host object, says to a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// What became of it.
    pub outcome: Outcome,
    /// Where it stands now.
    pub position: Position,
}

/// What became of a push. Each but [`Outcome::Unknown`] is an acknowledgement: no reader gets anything older from this
/// replica from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Applied, now or earlier.
    Applied,
    /// Put aside by a replica that is being filled and answers no reader yet.
    Kept,
    /// Not to be applied: the replica has noted, durably, that it pulls before it answers a reader.
    Behind,
    /// There is no such replica: the origin forgets it.
    Gone,
    /// An outcome of a later version.
    #[serde(other)]
    Unknown,
}

impl Outcome {
    /// Whether readers can get nothing older from this replica.
    #[must_use]
    pub fn is_acknowledgement(self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

/// A [`Push`] as it is read: the kind of change is the field that is there.
#[derive(Deserialize)]
struct PushFields {
    account: Did,
    position: Position,
    previous: Position,
    #[serde(default)]
    commit: Option<PushedCommit>,
    #[serde(default)]
    state: Option<Box<State>>,
}

/// Why fields do not make a [`Push`].
#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("previous position {} is not below {}", previous.0, position.0)]
    Order { position: Position, previous: Position },
    #[error("push has a commit and a state")]
    Both,
}

impl TryFrom<PushFields> for Push {
    type Error = PushError;

    fn try_from(fields: PushFields) -> Result<Self, PushError> {
        let PushFields { account, position, previous, commit, state } = fields;
        if previous >= position {
            return Err(PushError::Order { position, previous });
        }
        let change = match (commit, state) {
            (Some(commit), None) => Change::Commit(commit),
            (None, Some(state)) => Change::State(state),
            (None, None) => Change::Unknown,
            (Some(_), Some(_)) => return Err(PushError::Both),
        };
        Ok(Self { account, position, previous, change })
    }
}

impl Serialize for Push {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            account: &'a Did,
            position: Position,
            previous: Position,
            #[serde(skip_serializing_if = "Option::is_none")]
            commit: Option<&'a PushedCommit>,
            #[serde(skip_serializing_if = "Option::is_none")]
            state: Option<&'a State>,
        }
        let (commit, state) = match &self.change {
            Change::Commit(commit) => (Some(commit), None),
            Change::State(state) => (None, Some(&**state)),
            Change::Unknown => (None, None),
        };
        let (position, previous) = (self.position, self.previous);
        Fields { account: &self.account, position, previous, commit, state }.serialize(serializer)
    }
}

/// Keys travel as `did:key`.
mod did_key {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::crypto::PublicKey;

    pub(super) fn serialize<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&key.to_did_key())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        PublicKey::from_did_key(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
