//! The feed's rows, as they are written with events and without, over restarts and restores.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use shared::firehose::{AccountStatus, Body, Event, Identity};
use shared::link::Region;

use super::*;
use crate::db::{Options, Synchronous};
use crate::sequencer::writer::RootSink;
use crate::sequencer::{Batch, NewHead, Sequencer};

struct Nowhere;

impl RootSink for Nowhere {
    fn moved(&mut self, _: &HashMap<Did, NewHead>) -> Result<(), DbError> {
        Ok(())
    }
}

fn did(n: usize) -> Did {
    Did::parse(&format!("did:web:a{n}.test")).unwrap()
}

fn handle(name: &str) -> Handle {
    Handle::parse(name).unwrap()
}

fn replica(n: usize) -> Replica {
    Replica { account: did(n), region: Region::parse("weur").unwrap() }
}

fn named(n: usize, name: &str) -> Batch {
    let event = Event::Identity(Identity { did: did(n), handle: Some(handle(name)) });
    batch(n, event.encode().unwrap())
}

fn deleted(n: usize) -> Batch {
    let event = Event::Account(shared::firehose::Account::inactive(did(n), AccountStatus::Deleted));
    batch(n, event.encode().unwrap())
}

fn batch(n: usize, event: Body) -> Batch {
    Batch { did: did(n), events: vec![event], head: None, repair: false, drained: None, released: Vec::new() }
}

/// A sequencer whose feed has begun.
fn open(directory: &Path) -> (Sequencer, Vec<Registered>) {
    let options = Options { synchronous: Synchronous::Full, auto_checkpoint: true, cache_kib: 256 };
    let sequencer = Sequencer::open(&directory.join("sequencer.sqlite"), options, Box::new(Nowhere)).unwrap();
    let (registered, _) = sequencer.feed().begin(|| Ok(vec![(did(1), handle("old.test"))])).unwrap();
    sequencer.feed().tell(Box::new(|_| {}));
    (sequencer, registered)
}

async fn put(sequencer: &Sequencer, batch: Batch) {
    sequencer.append(batch, None).await.unwrap().unwrap();
}

#[tokio::test]
async fn rows_form_a_chain_for_each_account_and_name_what_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, _) = open(directory.path());
    let feed = sequencer.feed();
    let start = feed.position().await.unwrap();
    for batch in [named(1, "one.test"), named(2, "two.test"), named(1, "one.test"), deleted(1)] {
        put(&sequencer, batch).await;
    }
    drop(feed.change(&did(1), true, None).await.unwrap());
    let rows = feed.rows(&did(1), Position(0), 10).await.unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0].previous, Position(0));
    assert!(rows.windows(2).all(|pair| pair[1].previous == pair[0].position && pair[0].position < pair[1].position));
    assert!(matches!(rows[3].what, What::Refill) && matches!(rows[0].what, What::State));
    assert_eq!(feed.last(&did(1)).await.unwrap(), rows[3].position);

    let since = feed.since(start).await.unwrap();
    assert!(since.complete);
    assert_eq!(since.handles, ["old.test", "one.test", "two.test"].map(handle));
    let mut changed = since.changed;
    changed.sort_by_key(|changed| changed.position);
    assert_eq!(changed.iter().map(|changed| &changed.account).collect::<Vec<_>>(), [&did(2), &did(1)]);
    // A deleted account is dropped everywhere.
    let purges = feed.purges(10).await.unwrap();
    assert_eq!(purges.iter().map(|(_, purge)| purge.scope.clone()).collect::<Vec<_>>(), [PurgeScope::Everything]);
    feed.purged(purges[0].0).await.unwrap();
    assert_eq!(feed.purges_waiting().await.unwrap(), 0);
}

#[tokio::test]
async fn a_backup_that_is_restored_gives_no_position_again() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, _) = open(directory.path());
    put(&sequencer, named(1, "a.test")).await;
    let backup = rusqlite::Connection::open(directory.path().join("sequencer.sqlite")).unwrap();
    let copy = directory.path().join("restored");
    std::fs::create_dir(&copy).unwrap();
    backup.execute("VACUUM INTO ?1", [copy.join("sequencer.sqlite").to_str().unwrap()]).unwrap();
    let mut later = Vec::new();
    for _ in 0..50 {
        put(&sequencer, named(1, "b.test")).await;
        later.push(sequencer.feed().position().await.unwrap());
    }
    // A restore takes longer than the events that came after the backup ran ahead of the clock.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (restored, _) = open(&copy);
    put(&restored, named(1, "c.test")).await;
    let rows = restored.feed().rows(&did(1), Position(0), 10).await.unwrap();
    assert!(rows[1].position > *later.last().unwrap(), "{rows:?} {later:?}");
    for position in later {
        assert!(!restored.feed().since(position).await.unwrap().complete);
    }
}

#[tokio::test]
async fn replicas_outlive_a_restart_but_not_another_server() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, _) = open(directory.path());
    put(&sequencer, named(1, "a.test")).await;
    let at = sequencer.feed().register(&replica(1)).await.unwrap();
    put(&sequencer, named(1, "b.test")).await;
    drop(sequencer);
    let (sequencer, registered) = open(directory.path());
    assert_eq!(registered.len(), 1);
    assert!(registered[0].acknowledged == at && registered[0].last > at);
    let last = registered[0].last;
    sequencer.feed().acknowledged(vec![(replica(1), last)]).await.unwrap();
    drop(sequencer);
    // Another start without any event in between.
    let (sequencer, registered) = open(directory.path());
    assert_eq!(registered[0].acknowledged, last);
    drop(sequencer);
    let other = rusqlite::Connection::open(directory.path().join("sequencer.sqlite")).unwrap();
    let sql = "INSERT INTO repo_seq (did, eventType, event, sequencedAt) SELECT did, eventType, event, sequencedAt FROM repo_seq";
    other.execute(sql, []).unwrap();
    let (sequencer, registered) = open(directory.path());
    assert!(registered.is_empty());
    assert!(sequencer.feed().rows(&did(1), Position(0), 10).await.unwrap().is_empty());
    assert!(!sequencer.feed().since(last).await.unwrap().complete);
}

#[tokio::test]
async fn old_rows_go_but_for_each_accounts_last() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, _) = open(directory.path());
    let feed = sequencer.feed();
    for n in [1, 1, 2, 1] {
        put(&sequencer, named(n, "a.test")).await;
    }
    let second = feed.rows(&did(1), Position(0), 10).await.unwrap()[1].position;
    let (first, last) = (feed.last(&did(2)).await.unwrap(), feed.last(&did(1)).await.unwrap());
    feed.prune(now_millis() + 1000).await.unwrap();
    put(&sequencer, named(1, "b.test")).await;
    assert_eq!(feed.rows(&did(1), Position(0), 10).await.unwrap().len(), 2);
    assert_eq!(feed.rows(&did(1), last, 10).await.unwrap()[0].previous, last);
    assert_eq!(feed.last(&did(2)).await.unwrap(), first);
    // One who stood before what is gone may have missed it; one who stood at its end has not.
    assert!(!feed.since(first).await.unwrap().complete);
    assert!(!feed.since(second).await.unwrap().complete);
    let since = feed.since(last).await.unwrap();
    assert!(since.complete && since.changed.len() == 1);
}

#[tokio::test]
async fn nobody_reads_an_account_while_it_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, _) = open(directory.path());
    let feed = sequencer.feed().clone();
    let order = Arc::new(Mutex::new(Vec::new()));
    let changing = feed.change(&did(1), false, None).await.unwrap();
    let reading = {
        let (feed, order) = (feed.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            feed.made().await;
            order.lock().unwrap().push("read");
        })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    order.lock().unwrap().push("changed");
    drop(changing);
    reading.await.unwrap();
    assert_eq!(*order.lock().unwrap(), ["changed", "read"]);
}
