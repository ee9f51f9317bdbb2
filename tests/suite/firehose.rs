//! The firehose, as relays follow it: over a WebSocket, verifying everything.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Client;
use serde_json::{Value, json};
use shared::crypto::PublicKey;
use shared::firehose::verify::{Known, verify_commit};
use shared::firehose::{Event, Frame};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::sync::{Account, Host};

/// A consumer.
struct Consumer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// How many pings the server has sent.
    pings: usize,
}

impl Consumer {
    async fn connect(host: &Host, query: &str) -> Self {
        let url = host.pds.url(&format!("/xrpc/com.atproto.sync.subscribeRepos{query}")).replace("http://", "ws://");
        Self::over(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    fn over(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self { socket, pings: 0 }
    }

    /// The next message that is no ping; those are answered by reading on.
    async fn message(&mut self) -> Option<Message> {
        loop {
            match timeout(Duration::from_secs(20), self.socket.next()).await.expect("a message in time") {
                Some(Ok(Message::Ping(_))) => self.pings += 1,
                message => return message.map(|message| message.unwrap()),
            }
        }
    }

    /// The bytes of the next frame.
    async fn frame(&mut self) -> Bytes {
        match self.message().await {
            Some(Message::Binary(frame)) => frame,
            other => panic!("{other:?} is not a frame"),
        }
    }

    async fn event(&mut self) -> (u64, Event) {
        match Frame::decode(&self.frame().await).unwrap() {
            Frame::Event { seq, event, .. } => (seq.get(), event),
            other => panic!("{other:?} is not an event"),
        }
    }

    /// The events up to the one at `last`.
    async fn through(&mut self, last: u64) -> Vec<(u64, Event)> {
        let mut events = Vec::new();
        while events.last().is_none_or(|(seq, _)| *seq < last) {
            events.push(self.event().await);
        }
        events
    }

    /// What the server refuses the consumer with: an error, and the close after it.
    async fn refused(&mut self) -> (String, u16, String) {
        let Frame::Error(error) = Frame::decode(&self.frame().await).unwrap() else { panic!("no error") };
        let (code, reason) = self.closed().await;
        (error.error, code, reason)
    }

    async fn closed(&mut self) -> (u16, String) {
        match self.message().await {
            Some(Message::Close(Some(close))) => (close.code.into(), close.reason.as_str().to_owned()),
            other => panic!("{other:?} is not a close"),
        }
    }
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Commit(_) => "commit",
        Event::Sync(_) => "sync",
        Event::Identity(_) => "identity",
        Event::Account(_) => "account",
    }
}

/// Follows accounts by their commits as a relay does; every one must verify and follow the one before.
#[derive(Default)]
struct Follower {
    keys: HashMap<String, PublicKey>,
    known: HashMap<String, Known>,
    commits: usize,
}

impl Follower {
    async fn follow(&mut self, host: &Host, event: &Event) {
        let Event::Commit(commit) = event else { return };
        let did = commit.repo.to_string();
        if !self.keys.contains_key(&did) {
            self.keys.insert(did.clone(), host.key(&did).await);
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_micros()).unwrap();
        let verified = verify_commit(commit, self.known.get(&did), &self.keys[&did], now).unwrap();
        self.known.insert(did, verified.head);
        self.commits += 1;
    }
}

async fn write_both(host: &Host, alice: &Account, bob: &Account, rounds: usize) {
    for nth in 0..rounds {
        let rkey = format!("key{}", nth % 7);
        tokio::join!(host.post(alice, &rkey, nth + 1), host.post(bob, &rkey, nth + 1));
    }
    for by in [alice, bob] {
        host.write(by, "deleteRecord", json!({ "collection": "com.example.thing", "rkey": "key0" })).await;
    }
}

#[tokio::test]
async fn two_accounts_are_followed_live_and_replayed_alike() {
    let host = Host::new().await;
    let mut live = Consumer::connect(&host, "").await;
    let (alice, bob) = (host.account("alice").await, host.account("bobby").await);
    write_both(&host, &alice, &bob, 20).await;
    let (mut frames, mut follower, mut kinds, mut last) = (Vec::new(), Follower::default(), Vec::new(), 0);
    // Four events of a creation each, 20 puts each, and a deletion each.
    for _ in 0..2 * (4 + 20 + 1) {
        let frame = live.frame().await;
        let Frame::Event { seq, event, .. } = Frame::decode(&frame).unwrap() else { panic!("no event") };
        assert!(seq.get() > last);
        last = seq.get();
        follower.follow(&host, &event).await;
        kinds.push(kind(&event));
        frames.push(frame);
    }
    assert_eq!(kinds[..4], ["identity", "account", "commit", "sync"]);
    assert_eq!((follower.commits, follower.known.len()), (2 * (1 + 20 + 1), 2));
    for (query, skipped) in [("?cursor=0", 0), ("?cursor=1", 1), ("?cursor=30", 30), ("?cursor=-1", 0)] {
        let mut replayed = Consumer::connect(&host, query).await;
        for frame in &frames[skipped..] {
            assert_eq!(replayed.frame().await, *frame, "{query}");
        }
        host.post(&alice, &query[8..], 1).await;
        assert!(matches!(replayed.event().await, (seq, Event::Commit(_)) if seq > last), "{query}");
        // The live one sees it, too; what is replayed next begins before it.
        frames.push(live.frame().await);
    }
}

#[tokio::test]
async fn events_written_while_consumers_come_are_neither_lost_nor_doubled() {
    let host = Host::new().await;
    let (alice, bob) = (host.account("alice").await, host.account("bobby").await);
    let writing = write_both(&host, &alice, &bob, 60);
    let reading = async {
        let mut seen = Vec::new();
        for nth in 0..8 {
            tokio::time::sleep(Duration::from_millis(nth * 20)).await;
            let mut consumer = Consumer::connect(&host, "?cursor=0").await;
            seen.push(tokio::spawn(async move { consumer.through(2 * (4 + 60 + 1)).await }));
        }
        seen
    };
    let ((), seen) = tokio::join!(writing, reading);
    for events in seen {
        let events = events.await.unwrap();
        let seqs: Vec<_> = events.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(seqs, (1..=2 * (4 + 60 + 1)).collect::<Vec<_>>());
        let mut follower = Follower::default();
        for (_, event) in &events {
            follower.follow(&host, event).await;
        }
        assert_eq!(follower.commits, 2 * (1 + 60 + 1));
    }
}

#[tokio::test]
async fn cursors_that_cannot_be_are_refused_over_the_connection() {
    let host = Host::new().await;
    host.account("alice").await;
    for cursor in ["5", "9000000000000000"] {
        let refused = Consumer::connect(&host, &format!("?cursor={cursor}")).await.refused().await;
        assert_eq!(refused, ("FutureCursor".to_owned(), 1008, "FutureCursor".to_owned()));
    }
    for cursor in ["abc", "1.5", "18446744073709551616", "1&cursor=2"] {
        let refused = Consumer::connect(&host, &format!("?cursor={cursor}")).await.refused().await;
        assert_eq!(refused, ("InvalidRequest".to_owned(), 1008, "InvalidRequest".to_owned()), "{cursor}");
    }
    // The last event there is: nothing yet, and then the next.
    let mut consumer = Consumer::connect(&host, "?cursor=4").await;
    host.account("bobby").await;
    assert_eq!(consumer.event().await.0, 5);
}

#[tokio::test]
async fn a_cursor_before_the_window_is_told_so_and_goes_on_with_the_window() {
    let host = Host::with(&[("PDS_REPO_BACKFILL_LIMIT_MS", "60000")]).await;
    let alice = host.account("alice").await;
    let database = rusqlite::Connection::open(host.pds.directory().join("sequencer.sqlite")).unwrap();
    database.execute("UPDATE repo_seq SET sequencedAt = '2024-01-01T00:00:00.000Z' WHERE seq < 4", []).unwrap();
    for nth in 0..3 {
        host.post(&alice, &nth.to_string(), 1).await;
    }
    let mut consumer = Consumer::connect(&host, "?cursor=1").await;
    let first = Frame::decode(&consumer.frame().await).unwrap();
    assert!(matches!(first, Frame::Info(info) if info.name == "OutdatedCursor"));
    assert_eq!(consumer.through(7).await.first().unwrap().0, 4);
    let mut within = Consumer::connect(&host, "?cursor=5").await;
    assert_eq!(within.event().await.0, 6);
}

#[tokio::test]
async fn without_a_websocket_there_is_nothing_to_be_had() {
    let host = Host::new().await;
    let url = host.pds.url("/xrpc/com.atproto.sync.subscribeRepos?cursor=abc");
    let answer = Client::new().get(&url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["upgrade"]), (426, &"websocket".parse().unwrap()));
    assert_eq!(answer.json::<Value>().await.unwrap()["error"], "InvalidRequest");
    let posted = Client::new().post(&url).send().await.unwrap();
    assert_eq!(posted.status(), 400);
    let old = Client::new().get(&url).header("connection", "upgrade").header("upgrade", "websocket");
    let old = old.header("sec-websocket-version", "8").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let old = old.send().await.unwrap();
    assert_eq!((old.status().as_u16(), &old.headers()["sec-websocket-version"]), (426, &"13".parse().unwrap()));
}

#[tokio::test]
async fn what_a_consumer_says_is_passed_over_and_its_pings_are_answered() {
    let host = Host::new().await;
    let mut consumer = Consumer::connect(&host, "").await;
    consumer.socket.send(Message::text("hello")).await.unwrap();
    consumer.socket.send(Message::binary(vec![7; 1000])).await.unwrap();
    consumer.socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    assert_eq!(consumer.message().await, Some(Message::Pong(Bytes::from_static(b"there?"))));
    host.account("alice").await;
    assert_eq!(consumer.event().await.0, 1);
    consumer.socket.send(Message::Close(None)).await.unwrap();
    while let Some(message) = timeout(Duration::from_secs(5), consumer.socket.next()).await.unwrap() {
        assert!(matches!(message, Ok(Message::Binary(_) | Message::Close(_))), "{message:?}");
    }
}

#[tokio::test]
async fn connections_are_closed_when_the_server_stops() {
    let host = Host::new().await;
    let mut consumer = Consumer::connect(&host, "").await;
    host.account("alice").await;
    consumer.through(4).await;
    let started = std::time::Instant::now();
    let told = tokio::spawn(async move {
        let closed = consumer.closed().await;
        // The answer to it leaves with the next look at the connection.
        assert!(matches!(consumer.socket.next().await, None | Some(Err(tungstenite::Error::ConnectionClosed))));
        closed
    });
    host.pds.stop().await;
    assert_eq!(told.await.unwrap().0, 1001);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_consumer_that_takes_nothing_is_closed_and_goes_on_later_where_it_was_and_others_never_wait() {
    let host = Host::with(&[("PDS_MAX_SUBSCRIPTION_BUFFER", "2")]).await;
    let alice = host.account("alice").await;
    let url = host.pds.url("/xrpc/com.atproto.sync.subscribeRepos?cursor=0");
    let address = url.trim_start_matches("http://").split('/').next().unwrap().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    // So that little is on the way.
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = MaybeTlsStream::Plain(socket.connect(address).await.unwrap());
    let paused = tokio_tungstenite::client_async(url.replace("http://", "ws://"), stream).await.unwrap().0;
    let mut paused = Consumer::over(paused);
    let mut other = Consumer::connect(&host, "?cursor=0").await;
    let last = 4 + 24;
    for nth in 0..last - 4 {
        host.post(&alice, &nth.to_string(), 900_000).await;
    }
    let all = other.through(last).await;
    assert_eq!(all.len() as u64, last);
    // It is granted half a minute.
    tokio::time::sleep(Duration::from_secs(35)).await;
    host.post(&alice, "more", 1).await;
    assert_eq!(other.event().await.0, last + 1);
    assert_eq!(other.pings, 1, "half a minute without anything else");
    let mut seen = 0;
    let error = loop {
        match Frame::decode(&paused.frame().await).unwrap() {
            Frame::Event { seq, .. } => {
                assert_eq!(seq.get(), seen + 1);
                seen = seq.get();
            }
            Frame::Error(error) => break error.error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((error.as_str(), paused.closed().await.0), ("ConsumerTooSlow", 1008));
    assert!(seen < last, "{seen}");
    let mut again = Consumer::connect(&host, &format!("?cursor={seen}")).await;
    let rest = again.through(last + 1).await;
    assert_eq!(rest.first().unwrap().0, seen + 1);
    assert_eq!(rest.len() as u64, last + 1 - seen);
}
