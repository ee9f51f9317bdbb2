//! What happened: the events that have a place in the sequence, and their bodies in DAG-CBOR.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::frame::{Body, Stamp};
use super::{Commit, FirehoseError, Kind, MAX_SYNC_BLOCKS_LEN};
use crate::cbor::{CborError, CborErrorKind, Reader, Writer};
use crate::repo::{Block, car};
use crate::syntax::{Did, Handle, Tid};

type Result<T> = std::result::Result<T, FirehoseError>;

/// An event of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Records changed.
    Commit(Commit),
    /// The repository stands at a head that the events before do not lead to.
    Sync(Sync),
    /// The DID document or the handle may have changed.
    Identity(Identity),
    /// The hosting status may have changed.
    Account(Account),
}

/// `#sync`: the repository stands at this commit; what a consumer holds may be anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// Whose repository.
    pub did: Did,
    /// The revision: that of the commit block.
    pub rev: Tid,
    /// A CAR file of the commit block alone, at most [`MAX_SYNC_BLOCKS_LEN`] bytes.
    pub blocks: Bytes,
}

/// `#identity`: consumers should resolve the DID anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose identity.
    pub did: Did,
    /// The handle now, `handle.invalid` if it does not resolve back; a hint that may be missing.
    pub handle: Option<Handle>,
}

/// `#account`: whether this host serves the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Whose account.
    pub did: Did,
    /// Whether it does.
    pub active: bool,
    /// Why it does not. A host that serves an account says none, one that does not says which.
    pub status: Option<AccountStatus>,
}

/// Why a host does not serve an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountStatus {
    /// The host or a moderator took it down.
    Takendown,
    /// It is taken down for a time.
    Suspended,
    /// It is gone, with everything it held.
    Deleted,
    /// Its owner paused it.
    Deactivated,
    /// The host lost track of the repository.
    Desynchronized,
    /// The host has too many events of it.
    Throttled,
    /// A status that is not in the lexicon.
    Other(Box<str>),
}

impl Sync {
    /// The event that says that the repository of `did` stands at `commit`, whose revision is `rev`.
    #[must_use]
    pub fn at(did: Did, rev: Tid, commit: &Block) -> Self {
        Self { did, rev, blocks: car::to_vec(&commit.cid, [commit]).into() }
    }
}

impl Event {
    /// The kind of event.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Commit(_) => Kind::Commit,
            Self::Sync(_) => Kind::Sync,
            Self::Identity(_) => Kind::Identity,
            Self::Account(_) => Kind::Account,
        }
    }

    /// Whom it is about.
    #[must_use]
    pub fn did(&self) -> &Did {
        match self {
            Self::Commit(commit) => &commit.repo,
            Self::Sync(sync) => &sync.did,
            Self::Identity(identity) => &identity.did,
            Self::Account(account) => &account.did,
        }
    }

    /// The event as it is stored and emitted.
    ///
    /// # Errors
    /// When it exceeds a limit of the protocol, or an operation does not have exactly the `cid` and `prev` that its
    /// action demands.
    pub fn encode(&self) -> Result<Body> {
        let mut writer = Writer::new();
        match self {
            Self::Commit(commit) => commit.write(&mut writer)?,
            Self::Sync(sync) => sync.write(&mut writer)?,
            Self::Identity(identity) => identity.write(&mut writer),
            Self::Account(account) => account.write(&mut writer),
        }
        Ok(Body { kind: self.kind(), cbor: writer.into_bytes().into() })
    }

    /// Reads a body; `seq` and `time`, where it has them, go to `stamp`. Byte strings become slices of `source`, which
    /// `reader` reads.
    pub(super) fn read(kind: Kind, reader: &mut Reader<'_>, source: &Bytes, stamp: &mut Stamp) -> Result<Self> {
        match kind {
            Kind::Commit => Commit::read(reader, source, stamp).map(Self::Commit),
            Kind::Sync => Sync::read(reader, source, stamp).map(Self::Sync),
            Kind::Identity => Identity::read(reader, stamp).map(Self::Identity),
            Kind::Account => Account::read(reader, stamp).map(Self::Account),
        }
    }
}

impl Sync {
    fn write(&self, writer: &mut Writer) -> Result<()> {
        check_blocks(&self.blocks, MAX_SYNC_BLOCKS_LEN)?;
        writer.map(3).text("did").text(self.did.as_str()).text("rev").text(self.rev.as_str());
        writer.text("blocks").bytes(&self.blocks);
        Ok(())
    }

    fn read(reader: &mut Reader<'_>, source: &Bytes, stamp: &mut Stamp) -> Result<Self> {
        let (mut did, mut rev, mut blocks) = (None, None, None);
        reader.map(|key, reader| {
            match key {
                "did" => did = Some(Did::parse(reader.text()?)?),
                "rev" => rev = Some(Tid::parse(reader.text()?)?),
                "seq" | "time" => stamp.read(key, reader)?,
                "blocks" => blocks = Some(read_blocks(reader, source, MAX_SYNC_BLOCKS_LEN)?),
                _ => reader.skip()?,
            }
            Ok::<_, FirehoseError>(())
        })?;
        Ok(Self {
            did: required(reader, "did", did)?,
            rev: required(reader, "rev", rev)?,
            blocks: required(reader, "blocks", blocks)?,
        })
    }
}

impl Identity {
    fn write(&self, writer: &mut Writer) {
        writer.map(1 + usize::from(self.handle.is_some())).text("did").text(self.did.as_str());
        if let Some(handle) = &self.handle {
            writer.text("handle").text(handle.as_str());
        }
    }

    fn read(reader: &mut Reader<'_>, stamp: &mut Stamp) -> Result<Self> {
        let (mut did, mut handle) = (None, None);
        reader.map(|key, reader| {
            match key {
                "did" => did = Some(Did::parse(reader.text()?)?),
                "seq" | "time" => stamp.read(key, reader)?,
                "handle" => handle = Some(Handle::parse(reader.text()?)?),
                _ => reader.skip()?,
            }
            Ok::<_, FirehoseError>(())
        })?;
        Ok(Self { did: required(reader, "did", did)?, handle })
    }
}

impl Account {
    /// The account is served.
    #[must_use]
    pub fn active(did: Did) -> Self {
        Self { did, active: true, status: None }
    }

    /// The account is not served.
    #[must_use]
    pub fn inactive(did: Did, status: AccountStatus) -> Self {
        Self { did, active: false, status: Some(status) }
    }

    fn write(&self, writer: &mut Writer) {
        writer.map(2 + usize::from(self.status.is_some())).text("did").text(self.did.as_str());
        writer.text("active").bool(self.active);
        if let Some(status) = &self.status {
            writer.text("status").text(status.as_str());
        }
    }

    fn read(reader: &mut Reader<'_>, stamp: &mut Stamp) -> Result<Self> {
        let (mut did, mut active, mut status) = (None, None, None);
        reader.map(|key, reader| {
            match key {
                "did" => did = Some(Did::parse(reader.text()?)?),
                "seq" | "time" => stamp.read(key, reader)?,
                "active" => active = Some(reader.bool()?),
                "status" => status = Some(AccountStatus::from(reader.text()?)),
                _ => reader.skip()?,
            }
            Ok::<_, FirehoseError>(())
        })?;
        Ok(Self { did: required(reader, "did", did)?, active: required(reader, "active", active)?, status })
    }
}

impl AccountStatus {
    /// Its name in events and answers.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Takendown => "takendown",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
            Self::Deactivated => "deactivated",
            Self::Desynchronized => "desynchronized",
            Self::Throttled => "throttled",
            Self::Other(name) => name,
        }
    }
}

impl Serialize for AccountStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AccountStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::from(name.as_str()))
    }
}

impl From<&str> for AccountStatus {
    fn from(name: &str) -> Self {
        match name {
            "takendown" => Self::Takendown,
            "suspended" => Self::Suspended,
            "deleted" => Self::Deleted,
            "deactivated" => Self::Deactivated,
            "desynchronized" => Self::Desynchronized,
            "throttled" => Self::Throttled,
            other => Self::Other(other.into()),
        }
    }
}

pub(super) fn check_blocks(blocks: &[u8], limit: usize) -> Result<()> {
    if blocks.len() > limit {
        return Err(FirehoseError::BlocksTooLong { len: blocks.len(), limit });
    }
    Ok(())
}

pub(super) fn read_blocks(reader: &mut Reader<'_>, source: &Bytes, limit: usize) -> Result<Bytes> {
    let blocks = reader.bytes()?;
    check_blocks(blocks, limit)?;
    Ok(source.slice_ref(blocks))
}

pub(super) fn required<T>(
    reader: &Reader<'_>,
    field: &'static str,
    value: Option<T>,
) -> std::result::Result<T, CborError> {
    value.ok_or_else(|| reader.error(CborErrorKind::MissingField(field)))
}
