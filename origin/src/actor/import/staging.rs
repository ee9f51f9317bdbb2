//! The staging file of an import: a SQLite database beside the store, which goes when it is let go of.
//!
//! It is written once and read once, so it has no journal and is never synced: after a crash it is deleted.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params};
use shared::cbor;
use shared::cid::Cid;
use shared::data::{self, Value};
use shared::repo::car::{self, CarReader};
use shared::repo::commit::Commit;
use shared::repo::mst::{Step, Walk};
use shared::repo::{Blockstore, BlockstoreError};
use shared::syntax::{Did, Nsid, Tid};

use super::ImportError;
use crate::actor::prepare::backlinks;
use crate::actor::store::read_block;

const FILE: &str = "headwater-import.sqlite";

/// `block`: what came. `tree`: what the tree links. `leaf`: its records; `kept`: the store has that very one there.
/// `backlink`, `blob`: what those that are not kept refer to.
const SCHEMA: &str = r"
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -4096;
CREATE TABLE block (cid TEXT NOT NULL, content BLOB NOT NULL);
CREATE TABLE tree (cid TEXT NOT NULL);
CREATE TABLE leaf (uri TEXT PRIMARY KEY, cid TEXT NOT NULL, collection TEXT NOT NULL, rkey TEXT NOT NULL, kept INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE backlink (uri TEXT NOT NULL, path TEXT NOT NULL, link_to TEXT NOT NULL);
CREATE TABLE blob (cid TEXT NOT NULL, uri TEXT NOT NULL);
BEGIN;
";

/// Where the staging file of a store in `directory` is.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Deletes what an earlier process left of an import. Blocks.
pub(in crate::actor) fn remove_leftover(directory: &Path) {
    // That it is not there is the rule; one that cannot be deleted is replaced by the next import.
    let _absent = fs::remove_file(path(directory));
}

/// A file that is deleted with this.
#[derive(Debug)]
pub(super) struct StagedFile(PathBuf);

impl AsRef<Path> for StagedFile {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        let _left_for_the_next = fs::remove_file(&self.0);
    }
}

/// An import on its way.
#[derive(Debug)]
pub(super) struct Staging {
    connection: Connection,
    reader: CarReader,
    root: Option<Cid>,
    file: StagedFile,
}

/// What a checked file's commit says.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) commit: Cid,
    pub(super) rev: Tid,
    pub(super) data: Cid,
}

impl Staging {
    /// Begins. Blocks, as all of it does.
    pub(super) fn create(path: PathBuf) -> Result<Self, ImportError> {
        let file = StagedFile(path);
        let _absent = fs::remove_file(&file);
        let open = || {
            let connection = Connection::open(&file)?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let connection = open().map_err(ImportError::Staging)?;
        Ok(Self { connection, reader: CarReader::new(car::MAX_BLOCK_LEN), root: None, file })
    }

    /// Takes the next bytes of the file.
    pub(super) fn take(&mut self, pieces: Vec<Bytes>) -> Result<(), ImportError> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO block (cid, content) VALUES (?1, ?2)")
            .map_err(ImportError::Staging)?;
        for piece in pieces {
            self.reader.push(piece);
            while let Some(block) = self.reader.next_block()? {
                insert.execute(params![block.cid.to_string(), &block.bytes[..]]).map_err(ImportError::Staging)?;
            }
            // Before much of it has come.
            self.reader.single_root()?;
        }
        Ok(())
    }

    /// Ends the file and makes its blocks findable.
    pub(super) fn close_file(mut self) -> Result<Self, ImportError> {
        self.root = self.reader.single_root()?.cloned();
        let reader = std::mem::replace(&mut self.reader, CarReader::new(0));
        reader.finish()?;
        self.connection.execute_batch("CREATE INDEX block_cid ON block (cid)").map_err(ImportError::Staging)?;
        Ok(self)
    }

    /// Checks commit, tree and records, and notes what they are made of. `ours` is the store, which holds what a diff
    /// leaves out.
    pub(super) fn check(&mut self, did: &Did, ours: &Connection) -> Result<Checked, ImportError> {
        let root = self.root.clone().ok_or(car::CarError::Truncated)?;
        let both = Both { staged: &self.connection, ours };
        let block = both.staged(&root).map_err(ImportError::Staging)?;
        let commit = Commit::from_block(&block.ok_or_else(|| ImportError::NoCommit(root.clone()))?)?;
        if commit.did != *did {
            return Err(ImportError::OtherAccount { expected: did.clone(), found: commit.did });
        }
        let notes = Notes { did, connection: &self.connection, both: &both };
        notes.link(&root)?;
        for step in Walk::new(&both, commit.data.clone()) {
            match step? {
                Step::Node(block) => notes.link(&block.cid)?,
                Step::Leaf { key, value } => notes.leaf(&key, &value)?,
            }
        }
        self.connection.execute_batch("CREATE INDEX tree_cid ON tree (cid)").map_err(ImportError::Staging)?;
        Ok(Checked { commit: root, rev: commit.rev, data: commit.data })
    }

    /// Makes it a file that another connection can read.
    pub(super) fn close(self) -> Result<StagedFile, ImportError> {
        let Self { connection, file, .. } = self;
        connection.execute_batch("COMMIT").map_err(ImportError::Staging)?;
        connection.close().map_err(|(_, error)| ImportError::Staging(error))?;
        Ok(file)
    }
}

/// What was staged, and behind it the store.
struct Both<'c> {
    staged: &'c Connection,
    ours: &'c Connection,
}

impl Both<'_> {
    fn staged(&self, cid: &Cid) -> rusqlite::Result<Option<Bytes>> {
        let mut statement = self.staged.prepare_cached("SELECT content FROM block WHERE cid = ?1 LIMIT 1")?;
        let content = statement.query_row([cid.to_string()], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        Ok(content.map(Bytes::from))
    }
}

impl Blockstore for Both<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlockstoreError> {
        match self.staged(cid)? {
            None => Ok(read_block(self.ours, cid)?),
            found => Ok(found),
        }
    }
}

/// Where the parts of the tree are written down.
struct Notes<'c> {
    did: &'c Did,
    connection: &'c Connection,
    both: &'c Both<'c>,
}

impl Notes<'_> {
    fn link(&self, cid: &Cid) -> Result<(), ImportError> {
        self.put("INSERT INTO tree (cid) VALUES (?1)", params![cid.to_string()])
    }

    fn leaf(&self, key: &str, cid: &Cid) -> Result<(), ImportError> {
        let (collection, rkey) = key.split_once('/').unwrap_or((key, ""));
        let uri = format!("at://{}/{key}", self.did);
        let kept = self.is_kept(&uri, cid).map_err(crate::db::DbError::from)?;
        self.link(cid)?;
        self.put(
            "INSERT INTO leaf (uri, cid, collection, rkey, kept) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![uri, cid.to_string(), collection, rkey, kept],
        )?;
        if !kept {
            self.references(key, collection, &uri, cid)?;
        }
        Ok(())
    }

    /// Whether the store has this very record there.
    fn is_kept(&self, uri: &str, cid: &Cid) -> rusqlite::Result<bool> {
        let mut statement = self.both.ours.prepare_cached(r#"SELECT "cid" FROM "record" WHERE "uri" = ?1"#)?;
        let ours = statement.query_row([uri], |row| row.get::<_, String>(0)).optional()?;
        Ok(ours.is_some_and(|ours| ours == cid.to_string()))
    }

    /// Reads a record and notes what it refers to; blobs in the shape of before 2023, too.
    fn references(&self, key: &str, collection: &str, uri: &str, cid: &Cid) -> Result<(), ImportError> {
        let bytes = self.both.get(cid).map_err(shared::repo::mst::MstError::Store)?;
        let bytes = bytes.ok_or_else(|| ImportError::RecordMissing { path: key.into(), cid: cid.clone() })?;
        let unreadable = |source| ImportError::Record { path: key.into(), source };
        let record = cbor::decode(&bytes).map_err(|error| unreadable(Some(error)))?;
        let Value::Map(map) = &record else { return Err(unreadable(None)) };
        if let Ok(collection) = Nsid::parse(collection) {
            for link in backlinks(&collection, map) {
                let sql = "INSERT INTO backlink (uri, path, link_to) VALUES (?1, ?2, ?3)";
                self.put(sql, params![uri, link.path, link.link_to])?;
            }
        }
        let blobs = data::blobs(&record).into_iter().map(|blob| blob.cid).chain(data::legacy_blobs(&record));
        for blob in blobs {
            self.put("INSERT INTO blob (cid, uri) VALUES (?1, ?2)", params![blob.to_string(), uri])?;
        }
        Ok(())
    }

    fn put(&self, sql: &'static str, values: impl rusqlite::Params) -> Result<(), ImportError> {
        let put = || self.connection.prepare_cached(sql)?.execute(values);
        put().map(drop).map_err(ImportError::Staging)
    }
}
