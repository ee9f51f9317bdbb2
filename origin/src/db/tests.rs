//! Databases opened, brought forward and written to; readers beside a writer, and closures that panic.

use super::*;

const OPTIONS: Options = Options { synchronous: Synchronous::Full, auto_checkpoint: true, cache_kib: 512 };

const ONE: Step = Step { name: "001", sql: "CREATE TABLE a (x integer)" };
const TWO: Step = Step { name: "002", sql: "ALTER TABLE a ADD COLUMN y integer" };
const SCHEMA: Schema = Schema { steps: &[ONE, TWO], own: "CREATE TABLE IF NOT EXISTS headwater_x (x integer)" };

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.sqlite");
    (directory, path)
}

fn names(db: &Db) -> Vec<String> {
    db.read_blocking(|connection| -> Result<_, DbError> {
        let mut statement = connection.prepare("SELECT name FROM kysely_migration ORDER BY name")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    })
    .unwrap()
}

#[test]
fn an_older_file_is_brought_forward_once() {
    let (_directory, path) = file();
    let old = Schema { steps: &[ONE], own: "" };
    drop(Db::open(&path, OPTIONS, &old).unwrap());
    for _ in 0..2 {
        let db = Db::open(&path, OPTIONS, &SCHEMA).unwrap();
        assert_eq!(names(&db), ["001", "002"]);
        db.write_blocking(|tx| -> Result<_, DbError> { Ok(tx.execute("INSERT INTO a (x, y) VALUES (1, 2)", [])?) })
            .unwrap();
    }
}

#[test]
fn a_file_of_a_newer_server_is_refused_by_name_and_untouched() {
    let (_directory, path) = file();
    let newer = Schema { steps: &[ONE, Step { name: "0015", sql: "CREATE TABLE b (x integer)" }], own: "" };
    drop(Db::open(&path, OPTIONS, &newer).unwrap());
    let refused = Db::open(&path, OPTIONS, &SCHEMA).unwrap_err();
    assert!(matches!(refused, DbError::Schema { source: MigrateError::Unknown(name), .. } if name == "0015"));
    assert_eq!(names(&Db::open_existing(&path, OPTIONS).unwrap()), ["001", "0015"]);
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let (_directory, path) = file();
    let db = Db::open(&path, OPTIONS, &SCHEMA).unwrap();
    let failed = db.write_blocking(|tx| -> Result<(), DbError> {
        tx.execute("INSERT INTO a (x) VALUES (1)", [])?;
        Err(DbError::Abandoned)
    });
    assert!(failed.is_err());
    let count = |db: &Db| {
        db.read_blocking(|c| -> Result<i64, DbError> {
            Ok(c.query_row("SELECT count(*) FROM a", [], |row| row.get(0))?)
        })
    };
    assert_eq!(count(&db).unwrap(), 0);
    db.write_blocking(|tx| -> Result<_, DbError> { Ok(tx.execute("INSERT INTO a (x) VALUES (1)", [])?) }).unwrap();
    assert_eq!(count(&db).unwrap(), 1);
}

#[test]
fn readers_cannot_write_and_go_on_while_one_writes() {
    let (_directory, path) = file();
    let db = Db::open(&path, OPTIONS, &SCHEMA).unwrap();
    let refused = db.read_blocking(|c| -> Result<_, DbError> { Ok(c.execute("INSERT INTO a (x) VALUES (1)", [])?) });
    assert!(refused.is_err());
    db.write_blocking(|tx| -> Result<(), DbError> {
        tx.execute("INSERT INTO a (x) VALUES (1)", [])?;
        let seen: i64 = db.read_blocking(|c| -> Result<_, DbError> {
            Ok(c.query_row("SELECT count(*) FROM a", [], |row| row.get(0))?)
        })?;
        assert_eq!(seen, 0);
        Ok(())
    })
    .unwrap();
}

#[test]
fn without_auto_checkpoint_the_log_stays_on_closing() {
    for (auto_checkpoint, stays) in [(true, false), (false, true)] {
        let (_directory, path) = file();
        let db = Db::open(&path, Options { auto_checkpoint, ..OPTIONS }, &SCHEMA).unwrap();
        db.read_blocking(|_| -> Result<_, DbError> { Ok(()) }).unwrap();
        drop(db);
        let log = path.with_extension("sqlite-wal");
        assert_eq!(log.metadata().is_ok_and(|log| log.len() > 0), stays);
    }
}

#[tokio::test]
async fn a_panic_in_a_closure_is_an_error_and_the_database_goes_on() {
    let (_directory, path) = file();
    let db = Db::open(&path, OPTIONS, &SCHEMA).unwrap();
    let outcome: Result<(), DbError> = db.write(|_| panic!("in a closure")).await;
    assert!(matches!(outcome, Err(DbError::Abandoned)));
    db.write(|tx| -> Result<_, DbError> { Ok(tx.execute("INSERT INTO a (x) VALUES (1)", [])?) }).await.unwrap();
}
