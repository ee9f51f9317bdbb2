use std::sync::Mutex;

use shared::cid::Cid;
use shared::firehose::{Account, AccountStatus, Event, Frame, Identity};

use super::*;
use crate::db::Synchronous;

const OPTIONS: Options = Options { synchronous: Synchronous::Full, auto_checkpoint: true, cache_kib: 512 };

#[derive(Clone, Default)]
struct Roots(Arc<Mutex<Vec<(Did, NewHead)>>>);

impl RootSink for Roots {
    fn moved(&mut self, heads: &[(Did, NewHead)]) {
        self.0.lock().unwrap().extend_from_slice(heads);
    }
}

fn did(n: usize) -> Did {
    Did::parse(&format!("did:plc:account{n}")).unwrap()
}

fn identity(n: usize) -> Body {
    Event::Identity(Identity { did: did(n), handle: None }).encode().unwrap()
}

fn batch(n: usize) -> Batch {
    Batch { did: did(n), events: vec![identity(n)], head: None, repair: false, drained: None }
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
async fn a_commits_head_is_kept_with_its_event_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let (sequencer, roots) = open(directory.path());
    let head = NewHead { commit: Cid::of_cbor(b"commit"), rev: Tid::from_parts(1_700_000_000_000_000, 1) };
    let told = roots.0.clone();
    let seen = Arc::new(Mutex::new(None));
    let on_done: OnDone = {
        let seen = seen.clone();
        Box::new(move |result| *seen.lock().unwrap() = Some((result.is_ok(), told.lock().unwrap().len())))
    };
    let ticket = sequencer.append(Batch { head: Some(head.clone()), ..batch(1) }, Some(on_done));
    drop(ticket);
    sequencer.append(batch(2), None).await.unwrap().unwrap();
    assert_eq!(sequencer.head_blocking(&did(1)).unwrap(), Some(head.rev));
    assert_eq!(sequencer.head_blocking(&did(2)).unwrap(), None);
    assert_eq!(*roots.0.lock().unwrap(), [(did(1), head)]);
    assert_eq!(*seen.lock().unwrap(), Some((true, 1)), "told before it is answered, whoever waits");
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
