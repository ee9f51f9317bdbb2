//! The transaction of a replay: an account's events in order, each held against where the store stands.

use std::collections::HashMap;

use bytes::Bytes;
use rusqlite::{Connection, Transaction};
use shared::cbor;
use shared::cid::Cid;
use shared::crypto::PublicKey;
use shared::data::{self, Value};
use shared::firehose::{Commit, Event, FirehoseError, Seq, Sync};
use shared::repo::car;
use shared::repo::commit::Commit as Signed;
use shared::repo::{self, Action, BlockMap, CommitDiff, Head, Repo, RepoOp};
use shared::syntax::{AtUri, Datetime, Did, Tid};

use super::{ReplayError, Replayed};
use crate::actor::WriteError;
use crate::actor::commit::{KEPT_NODES, delete_blocks, put_backlinks, put_record, put_reference, unlink};
use crate::actor::prepare::backlinks;
use crate::actor::recover::drop_pending;
use crate::actor::store::{self, Blocks, RecentBlocks};
use crate::sequencer::{Sequencer, Stored};

/// The transaction of a replay. `key` is the one that is here.
pub(super) fn replay(
    transaction: &Transaction<'_>,
    did: &Did,
    sequencer: &Sequencer,
    from: u64,
    key: Option<&PublicKey>,
) -> Result<(Replayed, Head), ReplayError> {
    let mut replaying = Replaying {
        transaction,
        did,
        head: store::read_head(transaction)?,
        nodes: HashMap::new(),
        commits: 0,
        told: None,
        forked: None,
        unread: None,
    };
    let (made, mut after) = (replaying.head.is_none(), from.saturating_sub(1));
    loop {
        let page = sequencer.repository_blocking(did, after)?;
        let Some(last) = page.last() else { break };
        after = last.seq.get();
        page.into_iter().try_for_each(|stored| replaying.take(stored))?;
    }
    let (commits, head) = replaying.end()?;
    let own_key = match store::read_block(transaction, &head.commit)?.as_deref().map(Signed::from_block) {
        Some(Ok(commit)) => key.is_some_and(|key| commit.is_signed_by(key)),
        _ => return Err(WriteError::Damaged(head.commit).into()),
    };
    Ok((Replayed { commits, made, own_key }, head))
}

/// A walk through an account's events.
struct Replaying<'t> {
    transaction: &'t Transaction<'t>,
    did: &'t Did,
    head: Option<Head>,
    /// Nodes of the last commit.
    nodes: HashMap<Cid, Bytes>,
    commits: u64,
    /// The revision that was told last.
    told: Option<Tid>,
    /// The first event that was written on top of an older repository than was told, unless that was set right.
    forked: Option<Seq>,
    /// An event that cannot be read, until a later one shows whether it is needed.
    unread: Option<(Seq, FirehoseError)>,
}

impl Replaying<'_> {
    fn take(&mut self, Stored { seq, time, body }: Stored) -> Result<(), ReplayError> {
        let event = match body.decode() {
            Ok(event) => event,
            // As some of before 2025, that were said to be too big. If the store has it, it is not needed; else the next
            // does not follow.
            Err(error) => {
                let rev = body.rev();
                self.told = rev.or(self.told);
                let is_needed = self.head.as_ref().is_none_or(|head| rev.is_none_or(|rev| rev > head.rev));
                self.unread = is_needed.then_some((seq, error));
                return Ok(());
            }
        };
        self.unread = None;
        match event {
            Event::Commit(commit) => self.commit(seq, &time, commit),
            Event::Sync(sync) => self.sync(seq, &time, sync),
            Event::Identity(_) | Event::Account(_) => Ok(()),
        }
    }

    fn commit(&mut self, seq: Seq, time: &Datetime, commit: Commit) -> Result<(), ReplayError> {
        let told = self.told.replace(commit.rev);
        if commit.since.is_some_and(|since| told.is_some_and(|told| since < told)) {
            self.forked.get_or_insert(seq);
        }
        match &self.head {
            Some(head) if commit.rev <= head.rev => return Ok(()),
            // Events of before 2025 do not say which tree was before.
            Some(head)
                if commit.since != Some(head.rev)
                    || commit.prev_data.as_ref().is_some_and(|data| *data != head.data) =>
            {
                return Err(ReplayError::Gap { seq, since: commit.since, head: head.rev });
            }
            None if commit.since.is_some() => return Err(ReplayError::NoBeginning { seq }),
            _ => {}
        }
        let told = blocks(seq, commit.blocks)?.1;
        self.put(seq, time, &commit.ops, &commit.commit, &told)
    }

    /// One that says nothing new, or that the same tree was signed anew, can be followed.
    fn sync(&mut self, seq: Seq, time: &Datetime, sync: Sync) -> Result<(), ReplayError> {
        (self.told, self.forked) = (Some(sync.rev), None);
        match &self.head {
            None => return Err(ReplayError::NoBeginning { seq }),
            Some(head) if sync.rev <= head.rev => return Ok(()),
            Some(_) => {}
        }
        let (commit, told) = blocks(seq, sync.blocks)?;
        match self.put(seq, time, &[], &commit, &told) {
            Err(ReplayError::Commit { source: repo::ReplayError::Tree { .. }, .. }) => {
                Err(ReplayError::Replaced { seq })
            }
            put => put,
        }
    }

    fn put(
        &mut self,
        seq: Seq,
        time: &Datetime,
        ops: &[RepoOp],
        commit: &Cid,
        told: &BlockMap,
    ) -> Result<(), ReplayError> {
        let blocks = RecentBlocks { recent: &self.nodes, stored: Blocks(self.transaction) };
        let repo = Repo { did: self.did, head: self.head.as_ref(), blocks: &blocks };
        let diff = repo.replay(ops, commit, told).map_err(|source| ReplayError::Commit { seq, source })?;
        store::write_blocks(self.transaction, &diff)?;
        self.index(&diff, time)?;
        delete_blocks(self.transaction, &diff)?;
        self.nodes = diff.nodes.into_iter().take(KEPT_NODES).map(|node| (node.cid, node.bytes)).collect();
        self.head = Some(diff.head);
        self.commits = self.commits.saturating_add(1);
        Ok(())
    }

    /// Brings records, backlinks and references to blobs in step. Which blobs are not needed any more shows at the end.
    fn index(&self, diff: &CommitDiff, time: &Datetime) -> Result<(), ReplayError> {
        let sql = r#"INSERT OR IGNORE INTO "headwater_released" ("cid") VALUES (?1)"#;
        let mut released = self.transaction.prepare_cached(sql)?;
        for op in &diff.ops {
            let collection = op.path.collection();
            let uri = AtUri::record(self.did, &collection, &op.path.rkey());
            let uri = uri.as_str();
            if op.action != Action::Create {
                for blob in unlink(self.transaction, uri)? {
                    released.execute([blob])?;
                }
            }
            put_record(self.transaction, uri, op, diff.head.rev, time)?;
            let block = op.cid.as_ref().and_then(|cid| diff.records.iter().find(|record| record.cid == *cid));
            let Some(Ok(record)) = block.map(|block| cbor::decode(&block.bytes)) else { continue };
            if let Value::Map(map) = &record {
                put_backlinks(self.transaction, uri, &backlinks(&collection, map))?;
            }
            let blobs = data::blobs(&record).into_iter().map(|blob| blob.cid).chain(data::legacy_blobs(&record));
            for blob in blobs {
                put_reference(self.transaction, uri, &blob)?;
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(u64, Head), ReplayError> {
        if let Some(seq) = self.forked {
            return Err(ReplayError::Forked { seq });
        }
        if let Some((seq, source)) = self.unread {
            return Err(ReplayError::Event { seq, source });
        }
        let head = self.head.ok_or(ReplayError::Nothing)?;
        if self.commits > 0 {
            store::write_root(self.transaction, self.did, &head)?;
            release(self.transaction)?;
            // All of it is in the sequence.
            drop_pending(self.transaction)?;
        }
        Ok((self.commits, head))
    }
}

/// Lets go of the blobs that were dropped on the way and that no record refers to in the end. Their files go later.
fn release(connection: &Connection) -> rusqlite::Result<()> {
    for sql in [
        r#"DELETE FROM "headwater_released" WHERE EXISTS
           (SELECT 1 FROM "record_blob" WHERE "blobCid" = "headwater_released"."cid")"#,
        r#"DELETE FROM "blob" WHERE "tempKey" IS NULL AND EXISTS
           (SELECT 1 FROM "headwater_released" WHERE "headwater_released"."cid" = "blob"."cid")"#,
    ] {
        connection.execute(sql, [])?;
    }
    Ok(())
}

/// The blocks of an event, of which the first is the commit that it names as its root.
fn blocks(seq: Seq, bytes: Bytes) -> Result<(Cid, BlockMap), ReplayError> {
    let read = || {
        let car = car::read(bytes, car::MAX_BLOCK_LEN)?;
        let root = car.single_root()?.clone();
        // Nobody can tell whether a block is what a foreign CID names.
        Ok((root, car.blocks.into_iter().filter(|block| block.cid.is_atproto()).collect()))
    };
    read().map_err(|source| ReplayError::Car { seq, source })
}
