//! Changes come in, pushed by the origin or pulled from it, and are made in order.

use std::rc::Rc;

use shared::cid::Cid;
use shared::data;
use shared::firehose::verify::{Known, VerifyError, verify_commit};
use shared::firehose::{Event, Frame};
use shared::link::{Ack, Change, Outcome, Position, PublicBlob, Push, PushedCommit, State, encode};
use shared::repo::mst::Tree;
use shared::repo::{Blockstore as _, Head, RepoOp};
use shared::{cbor, repo};

use super::export::Blocks;
use super::{Held, Phase, Replica, ReplicaError, place, schema};
use crate::sql::{Sql, Value};

/// The longest message that is kept, in bytes: a little less than the platform lets a row have.
const MAX_KEPT: usize = 1_900_000;

/// Why a change was not made.
enum Unfit {
    /// It does not follow: something is missed.
    Missed,
    /// It cannot be made here: the replica is filled anew.
    Refill(&'static str),
}

/// Where the repository stands after a change; nowhere of an account that is not served.
type Made = Result<Option<Head>, Unfit>;

impl<S: Sql> Replica<S> {
    /// Takes a change that the origin pushes; `message` is how it came.
    ///
    /// # Errors
    /// A [`ReplicaError`]: nothing is changed, and nothing may be acknowledged.
    pub fn push(&self, push: &Push, message: &[u8], now: u64) -> Result<Ack, ReplicaError> {
        let Some(held) = self.held()? else {
            return Ok(Ack { outcome: Outcome::Gone, position: Position::default() });
        };
        if held.account != push.account {
            return Err(ReplicaError::Unexpected("somebody else's change"));
        }
        let outcome = match held.phase {
            Phase::Filling => {
                // What does not fit a row has the next snapshot bring it, unless this one does.
                let kept = if message.len() > MAX_KEPT {
                    encode(&Push { change: Change::Unknown, ..push.clone() })?
                } else {
                    message.to_vec()
                };
                self.sql.exec(
                    "INSERT OR REPLACE INTO kept (position, push) VALUES (?, ?)",
                    vec![push.position.0.into(), Value::Blob(kept)],
                )?;
                Outcome::Kept
            }
            Phase::Serving => self.transaction(|| self.follow(push, now))?,
        };
        Ok(Ack { outcome, position: self.position()? })
    }

    /// Takes what a pull was answered with; the replica misses nothing of what there was at the region's position
    /// `region`, unless there is more. It may serve until `until`.
    ///
    /// # Errors
    /// A [`ReplicaError`]; what was taken until then is.
    pub fn pulled(
        &self,
        pushes: &[Push],
        more: bool,
        region: Position,
        until: u64,
        now: u64,
    ) -> Result<(), ReplicaError> {
        for push in pushes {
            self.transaction(|| self.follow(push, now))?;
        }
        let Some(held) = self.held()? else { return Ok(()) };
        let follows = pushes.last().is_none_or(|last| held.position >= last.position);
        if more || held.phase != Phase::Serving {
            return Ok(());
        }
        if !follows {
            // Those changes were for where it stood; it has been told others meanwhile, or they make no sense.
            return self.refill();
        }
        self.until.set(self.until.get().max(until));
        self.fresh_at.set(now);
        if held.behind || region > held.verified {
            self.change(|held| {
                held.behind = false;
                held.verified = held.verified.max(region);
                held.fresh_at = now;
            })?;
        }
        Ok(())
    }

    /// Makes a change, or notes that it could not be made. In a transaction.
    pub(super) fn follow(&self, push: &Push, now: u64) -> Result<Outcome, ReplicaError> {
        let Some(held) = self.held()? else { return Ok(Outcome::Gone) };
        if held.phase != Phase::Serving {
            return Ok(Outcome::Behind);
        }
        if push.position <= held.position {
            return Ok(Outcome::Applied);
        }
        if let Change::State(state) = &push.change {
            self.take_state(state)?;
        }
        // The state may have changed it.
        let Some(held) = self.held()? else { return Ok(Outcome::Gone) };
        if held.phase != Phase::Serving {
            return Ok(Outcome::Behind);
        }
        let made = match &push.change {
            _ if push.previous != held.position => Err(Unfit::Missed),
            Change::State(_) => Ok(held.head.clone()),
            Change::Commit(commit) if held.head.is_some() => self.commit(&held, commit, now)?,
            // Of an account that is not served nothing else is held. It is filled when it is served again.
            Change::Commit(_) if held.state.as_deref().is_some_and(|state| state.status.is_some()) => Ok(None),
            Change::Commit(_) => Err(Unfit::Refill("a commit to nothing")),
            Change::Unknown => Err(Unfit::Refill("a change that is not told")),
        };
        match made {
            Ok(head) => {
                self.change(|held| (held.position, held.head) = (push.position, head))?;
                Ok(Outcome::Applied)
            }
            Err(Unfit::Missed) => {
                self.change(|held| held.behind = true)?;
                Ok(Outcome::Behind)
            }
            Err(Unfit::Refill(why)) => {
                self.trouble.set(Some(why));
                self.refill()?;
                Ok(Outcome::Behind)
            }
        }
    }

    /// The last version of the state holds.
    fn take_state(&self, state: &State) -> Result<(), ReplicaError> {
        let Some(held) = self.held()? else { return Ok(()) };
        if held.state.as_ref().is_some_and(|known| known.version >= state.version) {
            return Ok(());
        }
        let served = state.status.is_none();
        if !served {
            schema::clear(&*self.sql)?;
        }
        for blob in &state.deleted_blobs {
            self.sql.exec("DELETE FROM blob WHERE cid = ?", vec![blob.to_string().into()])?;
        }
        self.change(|held| {
            held.state = Some(Rc::new(state.clone()));
            if !served {
                held.head = None;
            } else if held.head.is_none() {
                held.phase = Phase::Filling;
            }
        })
    }

    /// Makes a commit: checks who signed it, makes its operations on the tree that is here, and keeps what changed if
    /// that leads to the root that it names. Where the repository stands then is for the caller to write down.
    fn commit(&self, held: &Held, pushed: &PushedCommit, now: u64) -> Result<Made, ReplicaError> {
        let (Some(head), Some(state)) = (&held.head, &held.state) else { return Ok(Err(Unfit::Refill("no head"))) };
        let event = match Frame::decode(&pushed.frame) {
            Ok(Frame::Event { event: Event::Commit(commit), .. }) => commit,
            Ok(Frame::Event { event: Event::Account(_) | Event::Identity(_), .. }) => return Ok(Ok(held.head.clone())),
            _ => return Ok(Err(Unfit::Refill("a frame that is no commit"))),
        };
        let known = Known { rev: head.rev, data: head.data.clone() };
        let verified = match verify_commit(&event, Some(&known), &state.signing_key, now.saturating_mul(1000)) {
            Ok(verified) => verified,
            // A snapshot may be newer than the position that it names.
            Err(VerifyError::Stale(_)) => return Ok(Ok(held.head.clone())),
            Err(VerifyError::Gap) => return Ok(Err(Unfit::Refill("a commit that does not follow"))),
            Err(_) => return Ok(Err(Unfit::Refill("a commit that is not sound"))),
        };
        let blocks = Blocks(Rc::clone(&self.sql));
        let mut tree = Tree::open(&blocks, head.data.clone());
        for op in &event.ops {
            let path = op.path.as_str();
            let before = match &op.cid {
                Some(cid) => tree.set(path, cid.clone())?,
                None => tree.remove(path)?,
            };
            if before != op.prev {
                return Ok(Err(Unfit::Refill("an operation on something else")));
            }
        }
        let written = tree.write()?;
        if written.root != verified.head.data {
            return Ok(Err(Unfit::Refill("another tree")));
        }
        let Ok(Some(commit)) = verified.blocks.get(&event.commit) else {
            return Ok(Err(Unfit::Refill("a commit without its block")));
        };
        let mut new = vec![Value::from(&event.commit), Value::Blob(commit.into())];
        for node in written.new {
            new.extend([Value::from(&node.cid), Value::Blob(node.bytes.into())]);
        }
        for cid in event.ops.iter().filter_map(|op| op.cid.as_ref()) {
            // It was found there when the event was verified.
            if let Ok(Some(record)) = verified.blocks.get(cid) {
                new.extend([Value::from(cid), Value::Blob(record.into())]);
            }
        }
        self.insert("block (cid, bytes)", 2, new)?;
        let mut gone = written.removed;
        gone.push(head.commit.clone());
        for op in &event.ops {
            self.record(op, &verified.blocks)?;
            gone.extend(op.prev.clone());
        }
        self.publish(&pushed.blobs)?;
        self.drop_blocks(&gone)?;
        Ok(Ok(Some(Head { commit: event.commit.clone(), rev: event.rev, data: verified.head.data })))
    }

    /// Puts an operation's record where it is now, and what it refers to.
    fn record(&self, op: &RepoOp, blocks: &repo::BlockMap) -> Result<(), ReplicaError> {
        let path = op.path.as_str();
        let (collection, rkey) = place(path);
        let referred = self.sql.exec("DELETE FROM reference WHERE path = ? RETURNING blob", vec![path.into()])?;
        match &op.cid {
            None => {
                self.sql.exec(
                    "DELETE FROM record WHERE collection = ? AND rkey = ?",
                    vec![collection.into(), rkey.into()],
                )?;
            }
            Some(cid) => {
                let row = vec![collection.into(), rkey.into(), cid.into()];
                self.insert("record (collection, rkey, cid)", 3, row)?;
                let record = blocks.get(cid).ok().flatten().and_then(|block| cbor::decode(&block).ok());
                let mut values = Vec::new();
                for blob in record.iter().flat_map(data::blobs) {
                    values.extend([blob.cid.to_string().into(), path.into()]);
                }
                self.insert("reference (blob, path)", 2, values)?;
            }
        }
        // What no record refers to any more is not public.
        for row in referred {
            self.sql.exec(
                "DELETE FROM blob WHERE cid = ?1 AND NOT EXISTS (SELECT 1 FROM reference WHERE blob = ?1)",
                row,
            )?;
        }
        Ok(())
    }

    /// Writes down blobs that are public.
    pub(super) fn publish(&self, blobs: &[PublicBlob]) -> Result<(), ReplicaError> {
        let mut values = Vec::with_capacity(blobs.len() * 3);
        for PublicBlob { cid, mime_type, size } in blobs {
            values.extend([cid.to_string().into(), mime_type.as_str().into(), (*size).into()]);
        }
        self.insert("blob (cid, mime_type, size)", 3, values)
    }

    /// Drops blocks that no record is, unless an export needs them: then they are only not in the repository any more.
    fn drop_blocks(&self, gone: &[Cid]) -> Result<(), ReplicaError> {
        let statement = if self.exports.get() == 0 {
            "DELETE FROM block WHERE cid = ?1 AND NOT EXISTS (SELECT 1 FROM record WHERE cid = ?1)"
        } else {
            "UPDATE block SET retired = 1 WHERE cid = ?1 AND NOT EXISTS (SELECT 1 FROM record WHERE cid = ?1)"
        };
        for cid in gone {
            self.sql.exec(statement, vec![cid.into()])?;
        }
        Ok(())
    }
}
