//! SQLite: opening a database, and running closures on its connections off the async threads.
//!
//! A [`Db`] has one connection that writes and a few that read beside it, all in WAL mode. A write is one transaction
//! that takes the write lock at its start; it is durable when it returns, unless the operator chose otherwise. Foreign
//! keys are enforced, because the reference's deletions rely on cascades. This is the only module that calls
//! `spawn_blocking`, and the only one that sets a pragma; SQL itself stands in the module that owns the table.
//!
//! Schemas are the reference's, reached by its own steps and recorded in its own bookkeeping ([`Schema`]), so that
//! either server opens the other's files. Headwater's own tables (`headwater_*`) stand beside them.

mod migrate;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

pub use migrate::{MigrateError, Schema, Step};

/// How many idle reading connections a database keeps.
const IDLE_READERS: usize = 4;
/// How long a connection waits for another process's lock, such as that of `sqlite3` or a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How large a write-ahead log stays, in bytes, once its content is in the database: after an import it was larger.
const LOG_BYTES: i64 = 64 * 1024 * 1024;
/// How long the write-ahead log grows, in pages, before its content is moved into the database. A page that many commits
/// change is moved once: at SQLite's own 1,000 pages a commit of a large repository costs a tenth more. What it takes is
/// 16 MB of disk for a database that is written to.
const LOG_PAGES: u32 = 4000;
/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 64;

/// When SQLite calls a transaction done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// When it is on the disk.
    #[default]
    Full,
    /// When it is in the write-ahead log, which the system may still lose with its power.
    Normal,
}

/// How a database is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// When a transaction is done.
    pub synchronous: Synchronous,
    /// Whether SQLite moves the write-ahead log into the database by itself. Off where Litestream does it: then no
    /// connection does, not on closing either.
    pub auto_checkpoint: bool,
    /// How much of the database a connection keeps in memory, in KiB.
    pub cache_kib: u32,
}

/// Why a database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// What SQLite said.
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Its schema is not one that this server knows or can bring forward.
    #[error("schema of {}", path.display())]
    Schema {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: MigrateError,
    },
    /// Another connection reads or writes it.
    #[error("the database is in use")]
    Busy,
    /// The closure panicked, or the runtime is shutting down.
    #[error("the database task did not finish")]
    Abandoned,
}

/// A handle to one database; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Db {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    options: Options,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    changes: AtomicU64,
}

impl Db {
    /// Opens the database at `path`, creating it or bringing it forward to `schema`.
    ///
    /// Blocks; for start-up and for callers that are off the async threads already.
    ///
    /// # Errors
    /// When the file cannot be opened, or its schema is not known.
    pub fn open(path: &Path, options: Options, schema: &Schema) -> Result<Self, DbError> {
        let mut writer = connect(path, options, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        schema.apply(&mut writer).map_err(|source| DbError::Schema { path: path.to_owned(), source })?;
        Ok(Self::over(path, options, writer))
    }

    /// Opens the database at `path`, which must exist, as it is.
    ///
    /// Blocks, as [`Self::open`] does.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be opened.
    pub fn open_existing(path: &Path, options: Options) -> Result<Self, DbError> {
        Ok(Self::over(path, options, connect(path, options, OpenFlags::SQLITE_OPEN_READ_WRITE)?))
    }

    fn over(path: &Path, options: Options, writer: Connection) -> Self {
        let (writer, readers) = (Mutex::new(writer), Mutex::new(Vec::new()));
        Self { inner: Arc::new(Inner { path: path.to_owned(), options, writer, readers, changes: AtomicU64::new(0) }) }
    }

    /// Runs `read` on a reading connection.
    ///
    /// Each statement sees its own snapshot; what must agree is read in one transaction.
    ///
    /// # Errors
    /// What `read` returns, or a [`DbError`].
    pub async fn read<T, E>(&self, read: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let db = self.clone();
        blocking(move || db.read_blocking(read)).await
    }

    /// Runs a short `read` on the calling thread, which may be an async one: a few rows that are found by their keys.
    ///
    /// Handing such a read to another thread and back costs several times what it does itself. The server has more async
    /// threads than cores, so that one that waits for the disk keeps nobody waiting.
    ///
    /// # Errors
    /// What `read` returns, or a [`DbError`].
    pub fn read_short<T, E: From<DbError>>(&self, read: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        self.read_blocking(read)
    }

    /// Runs `write` in a transaction, which is committed if it succeeds and rolled back if not.
    ///
    /// # Errors
    /// What `write` returns, or a [`DbError`].
    pub async fn write<T, E>(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let db = self.clone();
        blocking(move || db.write_blocking(write)).await
    }

    /// [`Self::read`] on the calling thread.
    ///
    /// # Errors
    /// What `read` returns, or a [`DbError`].
    pub fn read_blocking<T, E: From<DbError>>(&self, read: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let reader = held(&self.inner.readers).pop();
        let reader = match reader {
            Some(reader) => reader,
            None => self.connect_reader()?,
        };
        let outcome = read(&reader);
        // A connection inside a transaction that a failed closure left open is of no further use.
        if reader.is_autocommit() {
            let mut readers = held(&self.inner.readers);
            if readers.len() < IDLE_READERS {
                readers.push(reader);
            }
        }
        outcome
    }

    /// [`Self::write`] on the calling thread.
    ///
    /// # Errors
    /// What `write` returns, or a [`DbError`].
    pub fn write_blocking<T, E: From<DbError>>(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.inner.in_transaction(&mut held(&self.inner.writer), write)
    }

    /// A number that is another one after each write through this handle and its clones, before the write returns: what was
    /// read after a look at it is still so while it has not changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.inner.changes.load(Ordering::Acquire)
    }

    /// [`Self::write_blocking`] with the database at `path` beside this one, to be read under the name `staged`.
    ///
    /// # Errors
    /// What `write` returns, or a [`DbError`].
    pub fn write_beside_blocking<T, E: From<DbError>>(
        &self,
        path: &Path,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut writer = held(&self.inner.writer);
        // After a panic in an earlier call there is one.
        let _none = writer.execute("DETACH DATABASE staged", []);
        writer.execute("ATTACH DATABASE ?1 AS staged", [path.to_string_lossy()]).map_err(DbError::from)?;
        let done = self.inner.in_transaction(&mut writer, write);
        // Statements that know the other database must not outlive it. What is committed is, whether it goes or stays.
        writer.flush_prepared_statement_cache();
        let _stays_until_the_next = writer.execute("DETACH DATABASE staged", []);
        done
    }

    /// Moves the whole write-ahead log into the database and empties it, so that the one file is the database.
    ///
    /// # Errors
    /// When SQLite cannot, as while another process reads.
    pub fn checkpoint_blocking(&self) -> Result<(), DbError> {
        held(&self.inner.readers).clear();
        let writer = held(&self.inner.writer);
        let busy: bool = writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy { Err(DbError::Busy) } else { Ok(()) }
    }

    /// Where the database is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    fn connect_reader(&self) -> Result<Connection, DbError> {
        let reader = connect(&self.inner.path, self.inner.options, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(reader)
    }
}

/// Runs `work` on a thread that may block.
///
/// # Errors
/// What `work` returns; [`DbError::Abandoned`] when it panics.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<DbError> + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "this is the file that blocks")]
    let task = tokio::task::spawn_blocking(work);
    task.await.unwrap_or_else(|_| Err(DbError::Abandoned.into()))
}

/// Starts `work` on a thread that may block. Nobody is told when it is done, or panics: it tells whom it has to itself.
pub fn start_blocking(work: impl FnOnce() + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "this is the file that blocks")]
    let _nobody_waits = tokio::task::spawn_blocking(work);
}

impl Inner {
    fn in_transaction<T, E: From<DbError>>(
        &self,
        writer: &mut Connection,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(DbError::from)?;
        let done = write(&transaction)?;
        let committed = transaction.commit();
        // Also after a failure, which may have come when it was committed.
        self.changes.fetch_add(1, Ordering::Release);
        committed.map_err(DbError::from)?;
        Ok(done)
    }
}

/// A panic while the lock was held left no transaction behind: dropping one rolls it back.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path, options: Options, flags: OpenFlags) -> Result<Connection, DbError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A plan is made once, for whatever is bound to it. Otherwise binding anew may throw a prepared statement away.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
    let synchronous = match options.synchronous {
        Synchronous::Full => "full",
        Synchronous::Normal => "normal",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    if options.auto_checkpoint {
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    } else {
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    }
    Ok(connection)
}

#[cfg(test)]
mod tests;
