//! `prepare-downgrade`: leaving a data directory so that the reference server goes on with it.
//!
//! Everything is told that is to be told, what was begun is finished, and every database is one file again, its log
//! emptied into it; the edge's replicas are forgotten, to be filled anew. Nothing of this is needed after a clean stop of a server whose log Litestream does not keep; it is
//! after one that was killed. Done twice, it changes nothing more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::syntax::Did;

use crate::actor::read_root;
use crate::announce::AnnounceError;
use crate::app::App;
use crate::db::{Db, DbError, Options};
use crate::lifecycle::{self, LifecycleError};
use crate::sequencer::{SequenceError, Told};

/// What was seen to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Accounts whose commits were told.
    pub told: usize,
    /// Stores of accounts.
    pub stores: usize,
}

/// Why the directory is not ready.
#[derive(Debug, thiserror::Error)]
pub enum DowngradeError {
    /// What happened to accounts is not told.
    #[error("what happened to accounts cannot be told")]
    Announce(#[from] AnnounceError),
    /// The commits of some accounts are not told.
    #[error("the commits of {0} accounts cannot be told; the log of a start says why")]
    Untold(usize),
    /// Accounts that may be asked for again cannot be looked through.
    #[error("accounts that may be asked for again cannot be looked through")]
    Attempts(#[from] LifecycleError),
    /// Something that was begun cannot be finished, such as a change at a directory that is not reached.
    #[error("what was begun for {0} accounts cannot be finished; the log of a start says why")]
    Unfinished(usize),
    /// The other server would go on from an older repository than was told.
    #[error("the store of {0} is older than what was told of it: run `headwater sequencer recover` first")]
    Behind(Did),
    /// The sequence failed.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A database failed.
    #[error("{} cannot be made one file", path.display())]
    Db {
        /// Which one.
        path: PathBuf,
        /// What it said.
        source: DbError,
    },
    /// The stores cannot be found.
    #[error("the stores cannot be listed")]
    Io(#[from] io::Error),
}

/// Makes the directory ready. `seen_to` is told how many stores are done, again and again.
///
/// # Errors
/// A [`DowngradeError`]: what was not seen to is as it was.
pub async fn prepare(app: &App, mut seen_to: impl FnMut(usize)) -> Result<Ready, DowngradeError> {
    app.announcements().deliver().await?;
    let storage = &app.config().storage;
    let swept = app.sweep().await.map_err(|source| failed(&storage.sequencer_db)(source))?;
    if swept.failed > 0 {
        return Err(DowngradeError::Untold(swept.failed));
    }
    // The other server goes on with none of them.
    lifecycle::forget_attempts(app, Duration::ZERO).await?;
    app.finish_begun().await;
    let begun = app.accounts().unfinished_blocking().map_err(|source| failed(&storage.account_db)(source))?;
    if !begun.is_empty() {
        return Err(DowngradeError::Unfinished(begun.len()));
    }
    app.actors().sequencer().roots_told().await?;

    let mut ready = Ready { told: swept.told, stores: 0 };
    for (did, store) in stores(&storage.actors)? {
        let (sequencer, sequence) = (app.actors().sequencer().clone(), &storage.sequencer_db);
        let of = did.clone();
        let told = crate::db::blocking(move || sequencer.told_blocking(&of)).await.map_err(failed(sequence))?;
        if !settle(&store, app.actors().options(), told).await? {
            return Err(DowngradeError::Behind(did));
        }
        ready.stores += 1;
        seen_to(ready.stores);
    }
    // The other server tells replicas of nothing, not even by an event of all that it does.
    app.feed().stop();
    let feed = app.actors().sequencer().feed().clone();
    let sequence = &storage.sequencer_db;
    crate::db::blocking(move || feed.end()).await.map_err(failed(sequence))?;
    for path in [&storage.account_db, &storage.sequencer_db, &storage.did_cache_db] {
        if path.exists() {
            settle(path, app.actors().options(), Told::default()).await?;
        }
    }
    Ok(ready)
}

/// Makes one database one file. A store's events up to the one that was `told` last go; any above it, as there are after a
/// restore of an older sequence, stay for the next start of this server. False, with nothing done: the store is older than
/// what was told.
async fn settle(path: &Path, options: Options, told: Told) -> Result<bool, DowngradeError> {
    let of = path.to_owned();
    let settled = crate::db::blocking(move || -> Result<bool, DbError> {
        let db = Db::open_existing(&of, options)?;
        if told.last.is_some()
            && let Some((_, rev)) = db.read_blocking(read_root)?
            && told.beyond(rev).is_some()
        {
            return Ok(false);
        }
        if let Some(told) = told.by_us {
            db.write_blocking(|tx| -> Result<(), DbError> {
                let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'headwater_pending'";
                if tx.query_row(sql, [], |row| row.get::<_, i64>(0))? > 0 {
                    tx.execute(r#"DELETE FROM "headwater_pending" WHERE "rev" <= ?1"#, [told.as_str()])?;
                }
                Ok(())
            })?;
        }
        db.checkpoint_blocking()?;
        Ok(true)
    });
    settled.await.map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(DbError) -> DowngradeError {
    let path = path.to_owned();
    move |source| DowngradeError::Db { path, source }
}

/// Every account's store: `<two hex digits>/<DID>/store.sqlite`.
fn stores(actors: &Path) -> io::Result<Vec<(Did, PathBuf)>> {
    let mut stores = Vec::new();
    if !actors.exists() {
        return Ok(stores);
    }
    for shard in fs::read_dir(actors)? {
        let shard = shard?.path();
        if !shard.is_dir() {
            continue;
        }
        for account in fs::read_dir(shard)? {
            let account = account?;
            let (name, store) = (account.file_name(), account.path().join("store.sqlite"));
            if let Some(did) = name.to_str().and_then(|name| Did::parse(name).ok())
                && store.is_file()
            {
                stores.push((did, store));
            }
        }
    }
    Ok(stores)
}
