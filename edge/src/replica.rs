//! A replica: one account's data in one region, in one object's database.
//!
//! It holds the blocks of the repository, where its records and their blobs are, and the account's state. It is filled by
//! a snapshot, follows by what it is pushed and what it pulls, and answers reads with the origin's bytes. All of that is
//! here and does no I/O but the database's; who sends and asks is the shell's to care for.
//!
//! - [`Replica::begin`], [`Replica::fill`], [`Replica::finish`]: a snapshot comes in. Until it is whole nobody is answered.
//! - [`Replica::push`], [`Replica::pulled`]: changes come in; `follow` makes them.
//! - [`Replica::read`], [`Replica::blob`]: reads go out; [`Replica::judge`] says before whether they may.
//!
//! # What always holds
//!
//! - Each change is made whole or not at all, and once: positions ascend, and a change that does not follow on the last
//!   one is never made but noted, so that the replica pulls before it answers again.
//! - A commit is in the database only if the account's key has signed it and the tree that its operations make of the one
//!   before has the root that it names. Whatever does not fit has the replica filled anew.
//! - The last version of the state holds, whatever came between: a takedown is never waited for.

mod export;
mod fill;
mod follow;
mod read;
mod schema;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use shared::cid::Cid;
use shared::link::{LinkError, Position, Region, State, decode, encode};
use shared::repo::Head;
use shared::syntax::{Did, Handle, Tid};

use crate::fresh::{Freshness, Standing, Verdict};
use crate::sql::{Columns, Sql, SqlError, Value};

pub use export::{CarBody, Export};
pub use fill::Filling;
pub use read::{Gate, Outcome};

/// How often it is written down that the replica is fresh and read: what was not is as old as that at most.
const NOTED: u64 = 60_000;

/// Why a replica cannot do what it is asked for. The request is the origin's to answer then.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The database failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// What is stored cannot be read, or what is to be stored cannot be written.
    #[error("the replica's state cannot be kept")]
    State(#[from] LinkError),
    /// What comes in is not for this replica, or comes when nothing was asked for.
    #[error("the replica does not expect {0}")]
    Unexpected(&'static str),
    /// A snapshot that breaks off or makes no sense.
    #[error("the snapshot is unsound")]
    Snapshot(#[from] shared::link::SnapshotError),
    /// A block that should be there is not, or is not what it should be.
    #[error("block {0} is missing or damaged")]
    Damaged(Cid),
    /// The tree cannot be read.
    #[error("the tree is unreadable")]
    Tree(#[from] shared::repo::mst::MstError),
}

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It is being filled, or has to be: it keeps what it is pushed, and answers nobody.
    Filling = 1,
    /// It answers.
    Serving = 2,
}

/// What a replica holds besides blocks, records and blobs: its one row.
#[derive(Debug, Clone)]
struct Held {
    account: Did,
    region: Region,
    phase: Phase,
    position: Position,
    behind: bool,
    verified: Position,
    fresh_at: u64,
    read_at: u64,
    /// What the origin says of the account; none before the snapshot's head.
    state: Option<Rc<State>>,
    /// Where the repository stands; none of an account that is not served.
    head: Option<Head>,
}

/// What is known of the row.
#[derive(Debug, Clone, Default)]
enum Known {
    /// Nothing: it is to be read.
    #[default]
    Unread,
    /// There is none, or this one.
    Read(Option<Rc<Held>>),
}

/// A replica over its database.
#[derive(Debug)]
pub struct Replica<S> {
    sql: Rc<S>,
    known: RefCell<Known>,
    /// Until when the replica's own last question lets it serve.
    until: Cell<u64>,
    /// When it was last known to be fresh.
    fresh_at: Cell<u64>,
    /// The exports that are on their way, for which blocks are kept that are not in the tree any more.
    exports: Rc<Cell<usize>>,
    /// Why it has to be filled anew, if that was not asked for.
    trouble: Cell<Option<&'static str>>,
}

/// What a replica is, to who would read from it or fill it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There is nothing.
    Absent,
    /// It has to be filled, or is being filled.
    Filling,
    /// It has what it needs to answer.
    Serving,
}

impl<S: Sql> Replica<S> {
    /// The replica in this database, which may be empty. Touches nothing.
    #[must_use]
    pub fn new(sql: S) -> Self {
        Self {
            sql: Rc::new(sql),
            known: RefCell::default(),
            until: Cell::default(),
            fresh_at: Cell::default(),
            exports: Rc::default(),
            trouble: Cell::default(),
        }
    }

    /// How far it is.
    ///
    /// # Errors
    /// A [`ReplicaError`]; so of every other call.
    pub fn presence(&self) -> Result<Presence, ReplicaError> {
        Ok(match self.held()?.map(|held| held.phase) {
            None => Presence::Absent,
            Some(Phase::Filling) => Presence::Filling,
            Some(Phase::Serving) => Presence::Serving,
        })
    }

    /// Whose it is and where; `None` if there is nothing.
    ///
    /// # Errors
    /// A [`ReplicaError`].
    pub fn identity(&self) -> Result<Option<shared::link::Replica>, ReplicaError> {
        let held = self.held()?;
        Ok(held.map(|held| shared::link::Replica { account: held.account.clone(), region: held.region.clone() }))
    }

    /// The account's handle, as far as is known.
    ///
    /// # Errors
    /// A [`ReplicaError`].
    pub fn handle(&self) -> Result<Option<Handle>, ReplicaError> {
        Ok(self.held()?.and_then(|held| held.state.as_ref()?.handle.clone()))
    }

    /// Where it stands, to be pulled from there.
    ///
    /// # Errors
    /// A [`ReplicaError`].
    pub fn position(&self) -> Result<Position, ReplicaError> {
        Ok(self.held()?.map(|held| held.position).unwrap_or_default())
    }

    /// Whether it may answer a read that brings `fresh`, at `now`. See [`Freshness::judge`].
    ///
    /// # Errors
    /// A [`ReplicaError`].
    pub fn judge(&self, fresh: &Freshness, now: u64, away: bool, max_stale: u64) -> Result<Verdict, ReplicaError> {
        let Some(held) = self.held()? else { return Ok(Verdict::Pull) };
        let fresh_at = held.fresh_at.max(self.fresh_at.get());
        let standing = Standing {
            position: held.position,
            verified: held.verified,
            behind: held.behind,
            until: self.until.get(),
            fresh_at,
        };
        let verdict = fresh.judge(&standing, now, away, max_stale);
        if verdict == Verdict::Fresh {
            self.fresh_at.set(now);
        }
        if now >= held.read_at.saturating_add(NOTED) {
            let fresh_at = self.fresh_at.get().max(held.fresh_at);
            self.change(|held| (held.read_at, held.fresh_at) = (now, fresh_at))?;
        }
        Ok(verdict)
    }

    /// When it was read last, to the minute, in milliseconds.
    ///
    /// # Errors
    /// A [`ReplicaError`].
    pub fn read_at(&self) -> Result<u64, ReplicaError> {
        Ok(self.held()?.map(|held| held.read_at).unwrap_or_default())
    }

    /// Has it filled anew before it answers anybody.
    ///
    /// # Errors
    /// A [`ReplicaError`].
    pub fn refill(&self) -> Result<(), ReplicaError> {
        self.change(|held| held.phase = Phase::Filling)
    }

    /// Why it has to be filled anew, if something came in that it could not take; told once, for the log.
    pub fn trouble(&self) -> Option<&'static str> {
        self.trouble.take()
    }

    /// Forgets what was read of the database, which somebody else has emptied.
    pub fn emptied(&self) {
        *self.known.borrow_mut() = Known::Read(None);
        self.until.set(0);
    }

    fn held(&self) -> Result<Option<Rc<Held>>, ReplicaError> {
        if let Known::Read(held) = &*self.known.borrow() {
            return Ok(held.clone());
        }
        let held = if schema::exists(&*self.sql)? { load(&*self.sql)?.map(Rc::new) } else { None };
        // Nobody reads on for an export that ended with the process.
        if held.is_some() {
            self.sql.exec("DELETE FROM block WHERE retired = 1", Vec::new())?;
        }
        *self.known.borrow_mut() = Known::Read(held.clone());
        Ok(held)
    }

    /// Changes the row.
    fn change(&self, change: impl FnOnce(&mut Held)) -> Result<(), ReplicaError> {
        let Some(held) = self.held()? else { return Err(ReplicaError::Unexpected("a change of nothing")) };
        let mut held = (*held).clone();
        change(&mut held);
        self.put(held)
    }

    fn put(&self, held: Held) -> Result<(), ReplicaError> {
        store(&*self.sql, &held)?;
        *self.known.borrow_mut() = Known::Read(Some(Rc::new(held)));
        Ok(())
    }

    /// Runs a transaction; what was known of the row is read again if it fails.
    fn transaction<T>(&self, run: impl FnOnce() -> Result<T, ReplicaError>) -> Result<T, ReplicaError> {
        let done = self.sql.transaction(run);
        if done.is_err() {
            *self.known.borrow_mut() = Known::Unread;
        }
        done
    }
}

fn load<S: Sql>(sql: &S) -> Result<Option<Held>, ReplicaError> {
    let rows = sql.exec(
        "SELECT account, region, phase, position, behind, verified, fresh_at, read_at, state, rev, head, data
         FROM replica",
        Vec::new(),
    )?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let mut row = Columns::of(row);
    let account = Did::parse(&row.text()?).map_err(|_| SqlError::Row)?;
    let region = Region::parse(&row.text()?).map_err(|_| SqlError::Row)?;
    let phase = if row.number()? == Phase::Serving as u64 { Phase::Serving } else { Phase::Filling };
    let (position, behind) = (Position(row.number()?), row.number()? != 0);
    let (verified, fresh_at, read_at) = (Position(row.number()?), row.number()?, row.number()?);
    let state = row.optional_bytes()?.map(|state| decode::<State>(&state).map(Rc::new)).transpose()?;
    let rev = row.text()?;
    let (commit, data) = (row.optional_bytes()?, row.optional_bytes()?);
    let cid = |bytes: &[u8]| Cid::from_bytes(bytes).map_err(|_| SqlError::Row);
    let head = match (commit, data) {
        (Some(commit), Some(data)) => {
            let rev = Tid::parse(&rev).map_err(|_| SqlError::Row)?;
            Some(Head { commit: cid(&commit)?, rev, data: cid(&data)? })
        }
        _ => None,
    };
    Ok(Some(Held { account, region, phase, position, behind, verified, fresh_at, read_at, state, head }))
}

fn store<S: Sql>(sql: &S, held: &Held) -> Result<(), ReplicaError> {
    let state = held.state.as_deref().map(encode).transpose()?;
    let head = held.head.as_ref();
    sql.exec(
        "INSERT OR REPLACE INTO replica
         (id, account, region, phase, position, behind, verified, fresh_at, read_at, state, rev, head, data)
         VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        vec![
            held.account.as_str().into(),
            held.region.as_str().into(),
            (held.phase as u64).into(),
            held.position.0.into(),
            held.behind.into(),
            held.verified.0.into(),
            held.fresh_at.into(),
            held.read_at.into(),
            state.map_or(Value::Null, Value::Blob),
            head.map_or("", |head| head.rev.as_str()).into(),
            head.map_or(Value::Null, |head| (&head.commit).into()),
            head.map_or(Value::Null, |head| (&head.data).into()),
        ],
    )?;
    Ok(())
}

/// The collection and the key of a repository path.
fn place(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or((path, ""))
}

/// The paths of records that are taken down.
fn taken_down(state: &State) -> HashSet<&str> {
    state.taken_down_records.iter().map(String::as_str).collect()
}
