//! Consumers of the firehose: cursors, backfill, taking too little, and the end.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::sink;
use shared::firehose::{Account, AccountStatus, Event, Frame, Identity};
use shared::syntax::{Did, Tid};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::db::{Options, Synchronous};
use crate::sequencer::{Batch, NewHead, RootSink};

const OPTIONS: Options = Options { synchronous: Synchronous::Normal, auto_checkpoint: true, cache_kib: 512 };
const POLICY: Policy = Policy { window: Duration::from_secs(3600), buffer: 10, patience: Duration::from_millis(200) };

struct NoRoots;

impl RootSink for NoRoots {
    fn moved(&mut self, _: &HashMap<Did, NewHead>) -> Result<(), DbError> {
        Ok(())
    }
}

fn open(directory: &Path) -> Sequencer {
    Sequencer::open(&directory.join("sequencer.sqlite"), OPTIONS, Box::new(NoRoots)).unwrap()
}

fn did(n: usize) -> Did {
    Did::parse(&format!("did:plc:account{n}")).unwrap()
}

/// An event that is `weight` bytes heavier than it has to be.
fn event(n: usize, weight: usize) -> Batch {
    let handle = (weight == 0).then(|| "alice.test".parse().unwrap());
    let small = Event::Identity(Identity { did: did(n), handle }).encode().unwrap();
    let heavy = || {
        let blocks = Bytes::from(vec![0; weight]);
        let rev = Tid::from_parts(1_700_000_000_000_000, 1);
        Event::Sync(shared::firehose::Sync { did: did(n), rev, blocks }).encode().unwrap()
    };
    Batch {
        did: did(n),
        events: vec![if weight == 0 { small } else { heavy() }],
        head: None,
        repair: false,
        drained: None,
        released: Vec::new(),
    }
}

async fn append(sequencer: &Sequencer, count: usize, weight: usize) {
    let tickets: Vec<_> = (0..count).map(|n| sequencer.append(event(n, weight), None)).collect();
    for ticket in tickets {
        ticket.await.unwrap().unwrap();
    }
}

/// Changes rows as somebody else with the file open would.
fn meddle(directory: &Path, sql: &str) {
    rusqlite::Connection::open(directory.join("sequencer.sqlite")).unwrap().execute_batch(sql).unwrap();
}

struct Consumer {
    frames: mpsc::Receiver<Bytes>,
    task: JoinHandle<End<mpsc::error::SendError<Bytes>>>,
}

fn connect(sequencer: &Sequencer, cursor: Option<u64>, policy: Policy) -> Consumer {
    let (sender, frames) = mpsc::channel(1);
    let outbox = Outbox::new(sequencer.clone(), policy);
    let sink = sink::unfold(sender, |sender, frame| async move {
        sender.send(frame).await?;
        Ok(sender)
    });
    Consumer { frames, task: tokio::spawn(outbox.run(cursor, Box::pin(sink))) }
}

impl Consumer {
    async fn frame(&mut self) -> Frame {
        let frame = timeout(Duration::from_secs(10), self.frames.recv()).await.unwrap().unwrap();
        Frame::decode(&frame).unwrap()
    }

    async fn seq(&mut self) -> u64 {
        match self.frame().await {
            Frame::Event { seq, .. } => seq.get(),
            other => panic!("{other:?}"),
        }
    }

    async fn seqs(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.len() < count {
            seqs.push(self.seq().await);
        }
        seqs
    }

    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(50), self.frames.recv()).await.is_err()
    }

    async fn error(mut self) -> String {
        let Frame::Error(told) = self.frame().await else { panic!("an event") };
        match self.task.await.unwrap() {
            End::Refused(error) => assert_eq!(error, told),
            other => panic!("{other:?}"),
        }
        assert!(self.frames.recv().await.is_none());
        told.error
    }
}

#[tokio::test]
async fn a_cursor_is_exclusive_and_none_means_from_now_on() {
    let directory = tempfile::tempdir().unwrap();
    let sequencer = open(directory.path());
    append(&sequencer, 20, 0).await;
    let mut before = connect(&sequencer, Some(19), POLICY);
    let mut at = connect(&sequencer, Some(20), POLICY);
    let mut live = connect(&sequencer, None, POLICY);
    let mut all = connect(&sequencer, Some(0), POLICY);
    assert_eq!(before.seq().await, 20);
    assert_eq!(all.seqs(20).await, (1..=20).collect::<Vec<_>>());
    assert!(at.is_silent().await && live.is_silent().await && before.is_silent().await);
    append(&sequencer, 1, 0).await;
    for consumer in [&mut before, &mut at, &mut live, &mut all] {
        assert_eq!(consumer.seq().await, 21);
    }
    assert_eq!(connect(&sequencer, Some(22), POLICY).error().await, FUTURE_CURSOR);
}

#[tokio::test]
async fn the_first_event_ever_and_the_first_after_a_restart_are_seen_once() {
    let directory = tempfile::tempdir().unwrap();
    {
        let sequencer = open(directory.path());
        let mut consumer = connect(&sequencer, Some(0), POLICY);
        assert_eq!(connect(&sequencer, Some(1), POLICY).error().await, FUTURE_CURSOR);
        assert!(consumer.is_silent().await);
        append(&sequencer, 2, 0).await;
        assert_eq!(consumer.seqs(2).await, [1, 2]);
        consumer.task.abort();
    }
    let sequencer = open(directory.path());
    let mut consumer = connect(&sequencer, Some(1), POLICY);
    append(&sequencer, 1, 0).await;
    assert_eq!(consumer.seqs(2).await, [2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_consumers_get_every_event_once_while_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let sequencer = open(directory.path());
    // More than memory holds, so that replays begin in the database.
    append(&sequencer, 1200, 9000).await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (sequencer, done) = (sequencer.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                append(&sequencer, 40, 500).await;
            }
        })
    };
    let mut readers = Vec::new();
    for n in 0..40 {
        let last = sequencer.last();
        let cursor = match n % 4 {
            0 => last.saturating_sub(1200),
            1 => last - 1,
            2 => last,
            _ => last * n / 40,
        };
        // On a busy machine a reader may not get a turn for a while.
        let patient = Policy { patience: Duration::from_secs(30), ..POLICY };
        let mut consumer = connect(&sequencer, Some(cursor), patient);
        readers.push(tokio::spawn(async move {
            for expected in cursor + 1..cursor + 1500 {
                assert_eq!(consumer.seq().await, expected);
            }
        }));
        tokio::task::yield_now().await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_cursor_before_the_window_is_told_so_and_gets_the_window() {
    let directory = tempfile::tempdir().unwrap();
    let sequencer = open(directory.path());
    append(&sequencer, 10, 0).await;
    meddle(directory.path(), "UPDATE repo_seq SET sequencedAt = '2020-01-01T00:00:00.000Z' WHERE seq <= 6");
    let sequencer = {
        drop(sequencer);
        open(directory.path())
    };
    let mut outdated = connect(&sequencer, Some(3), POLICY);
    let Frame::Info(info) = outdated.frame().await else { panic!("not told") };
    assert_eq!(info.name, OUTDATED_CURSOR);
    assert_eq!(outdated.seqs(4).await, [7, 8, 9, 10]);
    assert_eq!(connect(&sequencer, Some(0), POLICY).seqs(4).await, [7, 8, 9, 10], "0 asks for what there is");
    assert_eq!(connect(&sequencer, Some(6), POLICY).seqs(4).await, [7, 8, 9, 10], "the next one is within");

    meddle(directory.path(), "UPDATE repo_seq SET sequencedAt = '2020-01-01T00:00:00.000Z'");
    let mut outdated = connect(&sequencer, Some(9), POLICY);
    assert!(matches!(outdated.frame().await, Frame::Info(_)));
    assert!(outdated.is_silent().await, "nothing is left of the window");
    append(&sequencer, 1, 0).await;
    assert_eq!(outdated.seq().await, 11);
}

#[tokio::test]
async fn a_replay_that_falls_out_of_the_window_ends() {
    let directory = tempfile::tempdir().unwrap();
    let sequencer = open(directory.path());
    append(&sequencer, 1500, 9000).await;
    let mut consumer = connect(&sequencer, Some(1), Policy { patience: Duration::from_secs(60), ..POLICY });
    assert_eq!(consumer.seq().await, 2);
    meddle(directory.path(), "UPDATE repo_seq SET sequencedAt = '2020-01-01T00:00:00.000Z' WHERE seq < 400");
    let mut last = 2;
    let told = loop {
        match consumer.frame().await {
            Frame::Event { seq, .. } => last = seq.get(),
            Frame::Error(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told.error, CONSUMER_TOO_SLOW);
    assert!(last < 100, "what was read already is sent, no more: {last}");
}

#[tokio::test]
async fn a_consumer_that_takes_nothing_is_told_and_the_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let sequencer = open(directory.path());
    let stalled = connect(&sequencer, None, POLICY);
    let mut other = connect(&sequencer, None, POLICY);
    tokio::task::yield_now().await;
    let counting = tokio::spawn(async move { other.seqs(3000).await });
    append(&sequencer, 3000, 5000).await;
    assert_eq!(counting.await.unwrap(), (1..=3000).collect::<Vec<_>>());
    tokio::time::sleep(2 * POLICY.patience).await;
    let mut stalled = stalled;
    let mut taken = 0;
    let told = loop {
        match stalled.frame().await {
            Frame::Event { .. } => taken += 1,
            Frame::Error(error) => break error.error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told, CONSUMER_TOO_SLOW);
    assert!(taken <= 3, "only what the connection held: {taken}");
}

#[tokio::test]
async fn a_consumer_that_pauses_is_left_in_peace_when_little_waits_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let sequencer = open(directory.path());
    let mut paused = connect(&sequencer, Some(0), POLICY);
    append(&sequencer, 8, 0).await;
    tokio::time::sleep(3 * POLICY.patience).await;
    assert_eq!(paused.seqs(8).await, (1..=8).collect::<Vec<_>>());
    // Far behind, but taking one now and then.
    append(&sequencer, 40, 0).await;
    for expected in 9..20 {
        tokio::time::sleep(POLICY.patience / 4).await;
        assert_eq!(paused.seq().await, expected);
    }
    assert_eq!(paused.seqs(29).await, (20..=48).collect::<Vec<_>>());
}

#[tokio::test]
async fn deleted_accounts_and_rows_of_other_times_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let sequencer = open(directory.path());
    append(&sequencer, 3, 0).await;
    let tombstone = Event::Account(Account::inactive(did(1), AccountStatus::Deleted)).encode().unwrap();
    let tombstone = Batch { events: vec![tombstone], ..event(1, 0) };
    let at = sequencer.append(tombstone, None).await.unwrap().unwrap();
    sequencer.forget(did(1), at).await.unwrap();
    assert_eq!(connect(&sequencer, Some(0), POLICY).seqs(3).await, [1, 3, 4], "out of memory");
    drop(sequencer);

    // Far more old rows than a page, one that was withdrawn, one that nobody can read, and one with no time.
    meddle(
        directory.path(),
        "INSERT INTO repo_seq (did, eventType, event, invalidated, sequencedAt)
           WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
           SELECT 'did:plc:old', 'handle', x'a0', 0, strftime('%Y-%m-%dT%H:%M:%fZ') FROM n;
         INSERT INTO repo_seq (did, eventType, event, invalidated, sequencedAt) VALUES
           ('did:plc:old', 'identity', x'a0', 1, strftime('%Y-%m-%dT%H:%M:%fZ')),
           ('did:plc:old', 'identity', x'ff', 0, strftime('%Y-%m-%dT%H:%M:%fZ')),
           ('did:plc:old', 'identity', x'a0', 0, 'yesterday')",
    );
    let sequencer = open(directory.path());
    assert_eq!(sequencer.last(), 2007);
    let mut consumer = connect(&sequencer, Some(0), POLICY);
    assert_eq!(consumer.seqs(3).await, [1, 3, 4], "out of the database");
    assert!(consumer.is_silent().await);
    append(&sequencer, 1, 0).await;
    assert_eq!(consumer.seq().await, 2008);
}

#[tokio::test]
async fn pages_are_bounded_by_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let sequencer = open(directory.path());
    append(&sequencer, 100, 9000).await;
    for page in [sequencer.range(0, None, 100).await.unwrap().len(), sequencer.recent(0).unwrap().len()] {
        assert!((14..=16).contains(&page), "{page}");
    }
}
