//! A snapshot comes in: registered first, so that nothing is missed; kept pushes are applied when it is whole.
//!
//! A snapshot that breaks off leaves a replica that is being filled, with some rows that the next one replaces.

use bytes::Bytes;
use shared::cid::Cid;
use shared::link::{Item, Position, Push, Region, SnapshotReader, decode};
use shared::repo::Head;
use shared::repo::commit::Commit;
use shared::syntax::Did;

use super::{Held, Phase, Replica, ReplicaError, place, schema};
use crate::sql::{Columns, Sql, Value};

/// How many rows one statement inserts, within the parameters that the platform allows.
const ROWS: usize = 30;

/// A snapshot on its way in.
#[derive(Debug, Default)]
pub struct Filling {
    reader: SnapshotReader,
    head: Option<shared::link::SnapshotHead>,
}

impl<S: Sql> Replica<S> {
    /// Makes the replica be: from now on it keeps what it is pushed. To be called before it registers, and again before
    /// each snapshot.
    ///
    /// # Errors
    /// A [`ReplicaError`].
    pub fn begin(&self, account: &Did, region: &Region, now: u64) -> Result<Filling, ReplicaError> {
        let known = self.held()?;
        self.transaction(|| {
            schema::create(&*self.sql)?;
            self.put(Held {
                account: account.clone(),
                region: region.clone(),
                phase: Phase::Filling,
                position: Position::default(),
                behind: false,
                verified: Position::default(),
                fresh_at: 0,
                read_at: known.map_or(now, |held| held.read_at),
                state: None,
                head: None,
            })
        })?;
        Ok(Filling::default())
    }

    /// Takes a snapshot for a replica that has begun.
    ///
    /// # Errors
    /// [`ReplicaError::Unexpected`] if it has not, or is somebody else's.
    pub fn resume(&self, account: &Did) -> Result<Filling, ReplicaError> {
        match self.held()? {
            Some(held) if held.account == *account && held.phase == Phase::Filling => Ok(Filling::default()),
            _ => Err(ReplicaError::Unexpected("a snapshot")),
        }
    }

    /// Takes a chunk of the snapshot.
    ///
    /// # Errors
    /// A [`ReplicaError`]; the snapshot is of no use then.
    pub fn fill(&self, filling: &mut Filling, chunk: Bytes) -> Result<(), ReplicaError> {
        filling.reader.push(chunk);
        self.transaction(|| {
            let mut blocks = Vec::new();
            while let Some(item) = filling.reader.next_item()? {
                match item {
                    Item::Head(head) => {
                        if self.held()?.is_none_or(|held| held.account != head.account) {
                            return Err(ReplicaError::Unexpected("somebody else's snapshot"));
                        }
                        schema::clear(&*self.sql)?;
                        filling.head = Some(*head);
                    }
                    Item::Block(block) => {
                        blocks.push(Value::from(&block.cid));
                        blocks.push(Value::Blob(block.bytes.into()));
                    }
                    Item::Records(records) => {
                        let mut values = Vec::with_capacity(records.len() * 3);
                        for record in &records {
                            let (collection, rkey) = place(&record.path);
                            values.extend([collection.into(), rkey.into(), (&record.cid).into()]);
                        }
                        self.insert("record (collection, rkey, cid)", 3, values)?;
                    }
                    Item::Blobs(blobs) => self.publish(&blobs)?,
                    Item::References(references) => {
                        let mut values = Vec::with_capacity(references.len() * 2);
                        for reference in references {
                            values.extend([reference.blob.to_string().into(), reference.path.into()]);
                        }
                        self.insert("reference (blob, path)", 2, values)?;
                    }
                    Item::End => {}
                }
            }
            self.insert("block (cid, bytes)", 2, blocks)
        })
    }

    /// The snapshot has ended: if it is whole, the replica serves. It has made sure of itself up to `registered`, the
    /// position at which the origin began to push to it.
    ///
    /// # Errors
    /// A [`ReplicaError`]; the replica is as it was, being filled.
    pub fn finish(&self, filling: Filling, registered: Position, now: u64) -> Result<(), ReplicaError> {
        let Filling { reader, head } = filling;
        reader.finish()?;
        let Some(snapshot) = head else { return Err(ReplicaError::Unexpected("a snapshot without a head")) };
        self.transaction(|| {
            let head = match &snapshot.revision {
                None => None,
                Some(revision) => Some(self.head_at(&revision.commit, &snapshot.account)?),
            };
            self.change(|held| {
                held.phase = Phase::Serving;
                held.position = snapshot.position;
                held.verified = registered.min(snapshot.position);
                held.fresh_at = now;
                held.state = Some(snapshot.state.into());
                held.head = head;
            })?;
            for row in self.sql.exec("SELECT push FROM kept ORDER BY position", Vec::new())? {
                let push: Push = decode(&Columns::of(row).bytes()?)?;
                self.follow(&push, now)?;
            }
            self.sql.exec("DELETE FROM kept", Vec::new())?;
            Ok(())
        })
    }

    /// The head whose commit is this one, out of its block.
    fn head_at(&self, commit: &Cid, account: &Did) -> Result<Head, ReplicaError> {
        let damaged = || ReplicaError::Damaged(commit.clone());
        let block = self.block(commit)?.ok_or_else(damaged)?;
        let signed = Commit::from_block(&block).map_err(|_| damaged())?;
        if signed.did != *account {
            return Err(damaged());
        }
        Ok(Head { commit: commit.clone(), rev: signed.rev, data: signed.data })
    }

    /// Inserts rows of so many columns; what is there is replaced.
    pub(super) fn insert(&self, into: &str, columns: usize, values: Vec<Value>) -> Result<(), ReplicaError> {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let mut values = values.into_iter();
        loop {
            let some: Vec<Value> = values.by_ref().take(ROWS * columns).collect();
            if some.is_empty() {
                return Ok(());
            }
            let rows = vec![row.as_str(); some.len() / columns].join(", ");
            self.sql.exec(&format!("INSERT OR REPLACE INTO {into} VALUES {rows}"), some)?;
        }
    }
}
