//! The one order of events: over restarts, restores and failures, with roots and the dirty list in step.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use shared::cid::Cid;
use shared::firehose::{Account, AccountStatus, Event, Frame, Identity, Sync};
use shared::repo::Block;

use super::*;
use crate::db::Synchronous;

const OPTIONS: Options = Options { synchronous: Synchronous::Full, auto_checkpoint: true, cache_kib: 512 };

#[derive(Clone, Default)]
struct Roots(Arc<Mutex<Vec<(Did, NewHead)>>>, Arc<AtomicBool>);

impl RootSink for Roots {
    fn moved(&mut self, heads: &HashMap<Did, NewHead>) -> Result<(), DbError> {
        if self.1.load(Ordering::SeqCst) {
            return Err(DbError::Abandoned);
        }
        self.0.lock().unwrap().extend(heads.clone());
        Ok(())
    }
}

fn did(n: usize) -> Did {
    Did::parse(&format!("did:plc:account{n}")).unwrap()
}

fn identity(n: usize) -> Body {
    Event::Identity(Identity { did: did(n), handle: None }).encode().unwrap()
}

fn batch(n: usize) -> Batch {
    Batch { did: did(n), events: vec![identity(n)], head: None, repair: false, drained: None, released: Vec::new() }
}

fn open(directory: &Path) -> (Sequencer, Roots) {
    let roots = Roots::default();
    (Sequencer::open(&directory.join("sequencer.sqlite"), OPTIONS, Box::new(roots.clone())).unwrap(), roots)
}

#[tokio::test]
async fn events_take_ascending_places_and_replay_as_they_were_sent() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, _) = open(directory.path());
    let tickets: Vec<Ticket> = (0..300).map(|n| sequencer.append(batch(n), None)).collect();
    let mut places = Vec::new();
    for ticket in tickets {
        places.push(ticket.await.unwrap().unwrap().get());
    }
    assert_eq!(places, (1..=300).collect::<Vec<_>>());
    assert_eq!(sequencer.last(), 300);

    let mut live = Vec::new();
    while let Some(more) = sequencer.recent(live.len() as u64).filter(|more| !more.is_empty()) {
        live.extend(more);
    }
    let stored = sequencer.range(0, None, 1000).await.unwrap();
    assert_eq!(live.len(), 300);
    for ((place, frame), event) in live.iter().zip(&stored) {
        assert_eq!(*place, event.seq.get());
        assert_eq!(frame, &event.body.stamp(event.seq, &event.time).unwrap());
        assert!(matches!(Frame::decode(frame).unwrap(), Frame::Event { .. }));
    }
}

#[tokio::test]
async fn places_go_on_after_a_restart_also_when_the_last_event_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    {
        let (sequencer, _) = open(directory.path());
        sequencer.append(batch(1), None).await.unwrap().unwrap();
        let tombstone = Event::Account(Account::inactive(did(1), AccountStatus::Deleted)).encode().unwrap();
        let last = sequencer.append(Batch { events: vec![tombstone], ..batch(1) }, None).await.unwrap().unwrap();
        sequencer.append(batch(1), None).await.unwrap().unwrap();
        sequencer.forget(did(1), last).await.unwrap();
        assert_eq!(sequencer.recent(0).unwrap().len(), 2);
        sequencer.forget(did(1), Seq::new(4).unwrap()).await.unwrap();
        assert!(sequencer.range(0, None, 10).await.unwrap().is_empty());
    }
    let (sequencer, _) = open(directory.path());
    assert_eq!(sequencer.last(), 3);
    assert_eq!(sequencer.append(batch(2), None).await.unwrap().unwrap().get(), 4);
    assert!(sequencer.recent(0).is_none(), "what was before the start is in the database only");
    assert_eq!(sequencer.recent(3).unwrap().len(), 1);
}

#[tokio::test]
async fn a_commits_head_is_kept_with_its_event_and_told_to_who_asks() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, roots) = open(directory.path());
    let head = |n: u64| NewHead { commit: Cid::of_cbor(b"commit"), rev: Tid::from_parts(1_700_000_000_000_000 + n, 1) };
    let done = Arc::new(Mutex::new(None));
    let on_done: OnDone = {
        let done = done.clone();
        Box::new(move |result| *done.lock().unwrap() = Some(result.is_ok()))
    };
    let ticket = sequencer.append(Batch { head: Some(head(1)), ..batch(1) }, Some(on_done));
    drop(ticket);
    sequencer.append(batch(2), None).await.unwrap().unwrap();
    assert_eq!(sequencer.told_blocking(&did(1)).unwrap().by_us, Some(head(1).rev));
    assert_eq!(sequencer.told_blocking(&did(2)).unwrap(), Told::default());
    assert_eq!(*done.lock().unwrap(), Some(true), "whoever waits");
    sequencer.roots_told().await.unwrap();
    assert_eq!(*roots.0.lock().unwrap(), [(did(1), head(1))]);

    // Whoever does not ask is told soon, and once for what came together.
    for n in 2..=4 {
        sequencer.append(Batch { head: Some(head(n)), ..batch(1) }, None).await.unwrap().unwrap();
    }
    let soon = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while roots.0.lock().unwrap().last().map(|(_, last)| last.rev) != Some(head(4).rev) {
        assert!(std::time::Instant::now() < soon, "never told");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_another_server_told_since_counts() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, _) = open(directory.path());
    let rev = |n: u64| Tid::from_parts(1_700_000_000_000_000 + n, 1);
    let sync = |n: u64| {
        let block = Block { cid: Cid::of_cbor(b"commit"), bytes: Bytes::from_static(b"commit") };
        Event::Sync(Sync::at(did(1), rev(n), &block)).encode().unwrap()
    };
    let told = |by_us: Option<u64>, last: u64| Told { by_us: by_us.map(rev), last: Some(rev(last)) };
    // Without a head of ours, as the reference leaves it.
    sequencer.append(Batch { events: vec![sync(1), identity(1)], ..batch(1) }, None).await.unwrap().unwrap();
    assert_eq!(sequencer.told_blocking(&did(1)).unwrap(), told(None, 1));
    let head = Some(NewHead { commit: Cid::of_cbor(b"commit"), rev: rev(5) });
    sequencer.append(Batch { events: vec![sync(5)], head, ..batch(1) }, None).await.unwrap().unwrap();
    sequencer.append(batch(1), None).await.unwrap().unwrap();
    assert_eq!(sequencer.told_blocking(&did(1)).unwrap(), told(Some(5), 5));
    for last in [9, 3] {
        sequencer.append(Batch { events: vec![sync(last)], ..batch(1) }, None).await.unwrap().unwrap();
        assert_eq!(sequencer.told_blocking(&did(1)).unwrap(), told(Some(5), last));
    }
    let last = told(Some(5), 3);
    assert_eq!((last.beyond(rev(2)), last.beyond(rev(3)), last.beyond(rev(4))), (Some(rev(3)), None, None));
    assert_eq!(Told::default().beyond(rev(1)), None);
}

#[tokio::test]
async fn no_account_leaves_the_dirty_list_before_its_root_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, roots) = open(directory.path());
    let head = NewHead { commit: Cid::of_cbor(b"commit"), rev: Tid::from_parts(1_700_000_000_000_000, 1) };
    sequencer.mark_dirty(did(1)).await.unwrap();
    // Before, since it is told by itself after a while.
    roots.1.store(true, Ordering::SeqCst);
    sequencer.append(Batch { head: Some(head.clone()), ..batch(1) }, None).await.unwrap().unwrap();
    sequencer.mark_clean(did(1));
    assert!(matches!(sequencer.roots_told().await, Err(SequenceError::Db(_))));
    assert_eq!(sequencer.dirty().await.unwrap(), [did(1)]);
    roots.1.store(false, Ordering::SeqCst);
    sequencer.mark_clean(did(1));
    sequencer.roots_told().await.unwrap();
    assert_eq!(*roots.0.lock().unwrap(), [(did(1), head)]);
    assert!(sequencer.dirty().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_dirty_list_is_durable_and_shrinks() {
    let directory = tempfile::tempdir().unwrap();
    {
        let (sequencer, _) = open(directory.path());
        sequencer.mark_dirty(did(1)).await.unwrap();
        sequencer.mark_dirty(did(2)).await.unwrap();
        sequencer.mark_dirty(did(2)).await.unwrap();
        sequencer.mark_clean(did(1));
        sequencer.append(batch(3), None).await.unwrap().unwrap();
    }
    let (sequencer, _) = open(directory.path());
    assert_eq!(sequencer.dirty().await.unwrap(), [did(2)]);
}

#[tokio::test]
async fn after_a_failure_an_account_waits_for_its_repair_and_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, _) = open(directory.path());
    let path = directory.path().join("sequencer.sqlite");
    let meddler = rusqlite::Connection::open(&path).unwrap();
    meddler
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON repo_seq BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        .unwrap();
    let rev = Tid::from_parts(1_700_000_000_000_000, 1);
    let commit = |n| Batch { head: Some(NewHead { commit: Cid::of_cbor(b"commit"), rev }), ..batch(n) };
    assert!(matches!(sequencer.append(batch(2), None).await.unwrap(), Err(SequenceError::Db(_))));
    assert!(matches!(sequencer.append(commit(1), None).await.unwrap(), Err(SequenceError::Db(_))));
    meddler.execute_batch("DROP TRIGGER full").unwrap();
    assert!(matches!(sequencer.append(commit(1), None).await.unwrap(), Err(SequenceError::Gap)));
    sequencer.append(batch(1), None).await.unwrap().unwrap();
    sequencer.append(commit(2), None).await.unwrap().unwrap();
    sequencer.append(Batch { repair: true, ..commit(1) }, None).await.unwrap().unwrap();
    sequencer.append(commit(1), None).await.unwrap().unwrap();
    assert_eq!(sequencer.range(0, None, 10).await.unwrap().len(), 4);
}

#[tokio::test]
async fn an_event_that_cannot_be_sent_is_refused_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, _) = open(directory.path());
    let broken = Body::from_stored(Kind::Identity, Bytes::from_static(b"\xff"));
    let bad = sequencer.append(Batch { events: vec![identity(1), broken], ..batch(1) }, None);
    let good = sequencer.append(batch(2), None);
    assert!(matches!(bad.await.unwrap(), Err(SequenceError::Event(_))));
    good.await.unwrap().unwrap();
    let stored = sequencer.range(0, None, 10).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(sequencer.last(), stored[0].seq.get());
}
