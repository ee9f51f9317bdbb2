//! `#commit` and its operations.

use bytes::Bytes;

use super::event::{check_blocks, read_blocks, required};
use super::frame::Stamp;
use super::{FirehoseError, MAX_BLOCKS_LEN, MAX_OPS};
use crate::cbor::{CborError, CborErrorKind, Reader, Writer};
use crate::cid::Cid;
use crate::syntax::{Did, Path, Tid};

type Result<T> = std::result::Result<T, FirehoseError>;

/// `#commit`: one revision of a repository, as a diff that can be verified and undone without the rest of it.
///
/// The fields of the protocol's first version are constant: `rebase` and `tooBig` are false, `blobs` is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Whose repository.
    pub repo: Did,
    /// The revision: that of the commit block.
    pub rev: Tid,
    /// The revision before; `None` for the first one.
    pub since: Option<Tid>,
    /// The commit block: the root of `blocks`.
    pub commit: Cid,
    /// The root of the tree of the revision before; `None` for the first one.
    pub prev_data: Option<Cid>,
    /// Every record that changed, each path once; at most [`MAX_OPS`].
    pub ops: Vec<RepoOp>,
    /// A CAR file of at most [`MAX_BLOCKS_LEN`] bytes: the commit, the records written, and the tree nodes that are new
    /// or that undoing the operations needs.
    pub blocks: Bytes,
}

/// One changed record of a [`Commit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoOp {
    /// What happened to it.
    pub action: Action,
    /// Where it is.
    pub path: Path,
    /// The record after; `None` exactly if it was deleted.
    pub cid: Option<Cid>,
    /// The record before; `None` if it was created. In events of before 2025 also otherwise: those cannot be undone.
    pub prev: Option<Cid>,
}

/// What a write did to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// There was none at this path.
    Create,
    /// It replaced one.
    Update,
    /// It took one away.
    Delete,
}

impl Commit {
    pub(super) fn write(&self, writer: &mut Writer) -> Result<()> {
        if self.ops.len() > MAX_OPS {
            return Err(FirehoseError::TooManyOps(self.ops.len()));
        }
        check_blocks(&self.blocks, MAX_BLOCKS_LEN)?;
        writer.map(9 + usize::from(self.prev_data.is_some())).text("ops").array(self.ops.len());
        for (at, op) in self.ops.iter().enumerate() {
            // Stricter than when reading: what is emitted can be undone.
            if op.is_malformed() || op.prev.is_some() == (op.action == Action::Create) {
                return Err(FirehoseError::Op { at, action: op.action });
            }
            op.write(writer);
        }
        writer.text("rev").text(self.rev.as_str()).text("repo").text(self.repo.as_str());
        writer.text("blobs").array(0).text("since");
        match &self.since {
            Some(since) => writer.text(since.as_str()),
            None => writer.null(),
        };
        writer.text("blocks").bytes(&self.blocks).text("commit").link(&self.commit);
        writer.text("rebase").bool(false).text("tooBig").bool(false);
        if let Some(prev_data) = &self.prev_data {
            writer.text("prevData").link(prev_data);
        }
        Ok(())
    }

    pub(super) fn read(reader: &mut Reader<'_>, source: &Bytes, stamp: &mut Stamp) -> Result<Self> {
        let (mut repo, mut rev, mut since, mut commit) = (None, None, None, None);
        let (mut prev_data, mut ops, mut blocks) = (None, None, None);
        let (mut blobs, mut rebase, mut too_big) = (None, None, None);
        reader.map(|key, reader| {
            match key {
                "ops" => ops = Some(read_ops(reader)?),
                "rev" => rev = Some(Tid::parse(reader.text()?)?),
                "seq" | "time" => stamp.read(key, reader)?,
                "repo" => repo = Some(Did::parse(reader.text()?)?),
                "blobs" => blobs = Some(read_blobs(reader)?),
                "since" => since = Some(reader.nullable(Reader::text)?.map(Tid::parse).transpose()?),
                "blocks" => blocks = Some(read_blocks(reader, source, MAX_BLOCKS_LEN)?),
                "commit" => commit = Some(reader.link()?),
                "rebase" => rebase = Some(read_false(reader, "rebase")?),
                "tooBig" => too_big = Some(read_false(reader, "tooBig")?),
                "prevData" => prev_data = Some(reader.link()?),
                _ => reader.skip()?,
            }
            Ok::<_, FirehoseError>(())
        })?;
        required(reader, "blobs", blobs)?;
        required(reader, "rebase", rebase)?;
        required(reader, "tooBig", too_big)?;
        Ok(Self {
            repo: required(reader, "repo", repo)?,
            rev: required(reader, "rev", rev)?,
            since: required(reader, "since", since)?,
            commit: required(reader, "commit", commit)?,
            prev_data,
            ops: required(reader, "ops", ops)?,
            blocks: required(reader, "blocks", blocks)?,
        })
    }
}

impl RepoOp {
    /// A record written where there was none.
    #[must_use]
    pub fn create(path: Path, cid: Cid) -> Self {
        Self { action: Action::Create, path, cid: Some(cid), prev: None }
    }

    /// A record written over the record `prev`.
    #[must_use]
    pub fn update(path: Path, cid: Cid, prev: Cid) -> Self {
        Self { action: Action::Update, path, cid: Some(cid), prev: Some(prev) }
    }

    /// The record `prev` taken away.
    #[must_use]
    pub fn delete(path: Path, prev: Cid) -> Self {
        Self { action: Action::Delete, path, cid: None, prev: Some(prev) }
    }

    /// Whether it has what its action rules out, or lacks what even old events have.
    fn is_malformed(&self) -> bool {
        self.cid.is_some() == (self.action == Action::Delete) || (self.prev.is_some() && self.action == Action::Create)
    }

    fn write(&self, writer: &mut Writer) {
        writer.map(3 + usize::from(self.prev.is_some())).text("cid").link_or_null(self.cid.as_ref());
        writer.text("path").text(self.path.as_str());
        if let Some(prev) = &self.prev {
            writer.text("prev").link(prev);
        }
        writer.text("action").text(self.action.as_str());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (mut action, mut path, mut cid, mut prev) = (None, None, None, None);
        reader.map(|key, reader| {
            match key {
                "cid" => cid = Some(reader.nullable(Reader::link)?),
                "path" => path = Some(Path::parse(reader.text()?)?),
                "prev" => prev = Some(reader.link()?),
                "action" => action = Some(Action::read(reader)?),
                _ => reader.skip()?,
            }
            Ok::<_, FirehoseError>(())
        })?;
        Ok(Self {
            action: required(reader, "action", action)?,
            path: required(reader, "path", path)?,
            cid: required(reader, "cid", cid)?,
            prev,
        })
    }
}

impl Action {
    /// Its name in an event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    fn read(reader: &mut Reader<'_>) -> std::result::Result<Self, CborError> {
        match reader.text()? {
            "create" => Ok(Self::Create),
            "update" => Ok(Self::Update),
            "delete" => Ok(Self::Delete),
            _ => Err(reader.error(CborErrorKind::Expected("create, update or delete"))),
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn read_ops(reader: &mut Reader<'_>) -> Result<Vec<RepoOp>> {
    let len = reader.array()?;
    if len > MAX_OPS {
        return Err(FirehoseError::TooManyOps(len));
    }
    let mut ops = Vec::new();
    for at in 0..len {
        let op = RepoOp::read(reader)?;
        if op.is_malformed() {
            return Err(FirehoseError::Op { at, action: op.action });
        }
        ops.push(op);
    }
    Ok(ops)
}

fn read_false(reader: &mut Reader<'_>, field: &'static str) -> Result<()> {
    if reader.bool()? { Err(FirehoseError::Obsolete(field)) } else { Ok(()) }
}

/// Checks the list of links that was once the commit's blobs; nobody reads it.
fn read_blobs(reader: &mut Reader<'_>) -> std::result::Result<(), CborError> {
    let len = reader.array()?;
    (0..len).try_for_each(|_| reader.link().map(drop))
}
