//! `#commit` and its operations.

use bytes::Bytes;

use super::FirehoseError;
use super::event::{check_blocks, read_blocks, required};
use super::frame::Stamp;
use crate::cbor::{CborError, CborErrorKind, Reader, Writer};
use crate::cid::Cid;
use crate::repo::{Action, CommitDiff, MAX_COMMIT_LEN, MAX_OPS, RepoOp, car};
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
    /// A CAR file of at most [`MAX_COMMIT_LEN`] bytes: the commit, the records written, and the tree nodes that are new
    /// or that undoing the operations needs.
    pub blocks: Bytes,
}

impl Commit {
    /// The event of a commit to `repo`: everything that `diff` says about it.
    #[must_use]
    pub fn of(repo: Did, diff: &CommitDiff) -> Self {
        Self {
            repo,
            rev: diff.head.rev,
            since: diff.since,
            commit: diff.head.commit.clone(),
            prev_data: diff.prev_data.clone(),
            ops: diff.ops.clone(),
            blocks: car::to_vec(&diff.head.commit, diff.event_blocks()).into(),
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<()> {
        if self.ops.len() > MAX_OPS {
            return Err(FirehoseError::TooManyOps(self.ops.len()));
        }
        check_blocks(&self.blocks, MAX_COMMIT_LEN)?;
        writer.map(9 + usize::from(self.prev_data.is_some())).text("ops").array(self.ops.len());
        for (at, op) in self.ops.iter().enumerate() {
            // Stricter than when reading: what is emitted can be undone.
            if op.is_malformed() || op.prev.is_some() == (op.action == Action::Create) {
                return Err(FirehoseError::Op { at, action: op.action });
            }
            write_op(op, writer);
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
                "blocks" => blocks = Some(read_blocks(reader, source, MAX_COMMIT_LEN)?),
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

fn write_op(op: &RepoOp, writer: &mut Writer) {
    writer.map(3 + usize::from(op.prev.is_some())).text("cid").link_or_null(op.cid.as_ref());
    writer.text("path").text(op.path.as_str());
    if let Some(prev) = &op.prev {
        writer.text("prev").link(prev);
    }
    writer.text("action").text(op.action.as_str());
}

fn read_op(reader: &mut Reader<'_>) -> Result<RepoOp> {
    let (mut action, mut path, mut cid, mut prev) = (None, None, None, None);
    reader.map(|key, reader| {
        match key {
            "cid" => cid = Some(reader.nullable(Reader::link)?),
            "path" => path = Some(Path::parse(reader.text()?)?),
            "prev" => prev = Some(reader.link()?),
            "action" => action = Some(read_action(reader)?),
            _ => reader.skip()?,
        }
        Ok::<_, FirehoseError>(())
    })?;
    Ok(RepoOp {
        action: required(reader, "action", action)?,
        path: required(reader, "path", path)?,
        cid: required(reader, "cid", cid)?,
        prev,
    })
}

fn read_action(reader: &mut Reader<'_>) -> std::result::Result<Action, CborError> {
    match reader.text()? {
        "create" => Ok(Action::Create),
        "update" => Ok(Action::Update),
        "delete" => Ok(Action::Delete),
        _ => Err(reader.error(CborErrorKind::Expected("create, update or delete"))),
    }
}

fn read_ops(reader: &mut Reader<'_>) -> Result<Vec<RepoOp>> {
    let len = reader.array()?;
    if len > MAX_OPS {
        return Err(FirehoseError::TooManyOps(len));
    }
    let mut ops = Vec::new();
    for at in 0..len {
        let op = read_op(reader)?;
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
