//! Running a row on a server for a while.

use std::error::Error;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{try_join, try_join_all};
use shared::firehose::Frame;
use tokio_tungstenite::tungstenite::Message;

use crate::rows::{Ask, Row, Run, create};
use crate::seed::SMALL;
use crate::server::Server;

/// Unlike any other number that was asked with.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// How many records are created for the firehose to tell of.
const WRITES: usize = 300;

/// What one round of a row came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figure {
    /// The server's CPU time an operation, in microseconds.
    pub(crate) cpu: f64,
    /// Operations a second.
    pub(crate) rate: f64,
    /// How long each took, in microseconds, in order; none where it is not for one to wait.
    pub(crate) latencies: Vec<u32>,
}

/// Runs `row` on `server` for `time` at most, or for as long as it takes where the row says how much there is to do.
pub(crate) async fn measure(row: &Row, server: &Server, time: Duration) -> Result<Figure, Box<dyn Error>> {
    match row.run {
        Run::Each { at_once, at_most, ask } => each(server, at_once, at_most, ask, row.account, time).await,
        Run::Delivery { consumers } => delivery(server, consumers).await,
        Run::Backfill { events } => backfill(server, events, time).await,
    }
}

async fn each(
    server: &Server,
    at_once: usize,
    at_most: usize,
    ask: Ask,
    account: usize,
    time: Duration,
) -> Result<Figure, Box<dyn Error>> {
    // Connections are made and caches filled before.
    try_join_all((0..at_once).map(|_| one(server, ask, account))).await?;
    let (begun, cpu, asked) = (Instant::now(), server.cpu()?, AtomicUsize::new(0));
    let clients = (0..at_once).map(|_| async {
        let mut latencies = Vec::new();
        while begun.elapsed() < time && asked.fetch_add(1, Ordering::Relaxed) < at_most {
            latencies.push(one(server, ask, account).await?);
        }
        Ok::<_, Box<dyn Error>>(latencies)
    });
    let mut latencies: Vec<u32> = try_join_all(clients).await?.concat();
    let (cpu, took) = (server.cpu()?.since(&cpu), begun.elapsed());
    latencies.sort_unstable();
    let done = latencies.len() as f64;
    Ok(Figure { cpu: cpu / done, rate: done / took.as_secs_f64(), latencies })
}

/// Asks once, takes the whole answer, and tells how long that took in microseconds.
async fn one(server: &Server, ask: Ask, account: usize) -> Result<u32, Box<dyn Error>> {
    let begun = Instant::now();
    let answer = ask(server, account, NUMBER.fetch_add(1, Ordering::Relaxed)).await?.error_for_status()?;
    let mut body = answer.bytes_stream();
    while let Some(piece) = body.next().await {
        piece?;
    }
    Ok(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX))
}

/// Creates records with nobody listening, and as many with `consumers` listening: the difference is theirs. A latency is
/// how long after its writer asked an event was with the last of them.
async fn delivery(server: &Server, consumers: usize) -> Result<Figure, Box<dyn Error>> {
    let cpu = server.cpu()?;
    write(server).await?;
    let alone = server.cpu()?.since(&cpu);
    let sockets = try_join_all((0..consumers).map(|_| Consumer::connect(server, None))).await?;
    let (begun, cpu) = (Instant::now(), server.cpu()?);
    let listening = try_join_all(sockets.into_iter().map(|consumer| consumer.take(WRITES)));
    let (asked, arrived) = try_join(write(server), listening).await?;
    let (cpu, took) = (server.cpu()?.since(&cpu) - alone, begun.elapsed());
    let last = |nth: usize| arrived.iter().filter_map(|consumer| consumer.get(nth)).max();
    let waited = asked.iter().enumerate().filter_map(|(nth, asked)| Some(last(nth)?.duration_since(*asked)));
    let mut latencies: Vec<u32> = waited.map(|took| u32::try_from(took.as_micros()).unwrap_or(u32::MAX)).collect();
    latencies.sort_unstable();
    let done = (consumers * WRITES) as f64;
    Ok(Figure { cpu: cpu / done, rate: done / took.as_secs_f64(), latencies })
}

/// Creates records one after the other; when each was asked for.
async fn write(server: &Server) -> Result<Vec<Instant>, Box<dyn Error>> {
    let mut asked = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        asked.push(Instant::now());
        create(server, SMALL, NUMBER.fetch_add(1, Ordering::Relaxed)).await?.error_for_status()?;
    }
    Ok(asked)
}

/// Reads the same stretch of old events over and over, each time as a new consumer.
async fn backfill(server: &Server, events: u64, time: Duration) -> Result<Figure, Box<dyn Error>> {
    let (from, last) = (server.seed.last.saturating_sub(events), server.seed.last);
    Consumer::connect(server, Some(from)).await?.until(last).await?;
    let (begun, cpu, mut read) = (Instant::now(), server.cpu()?, 0);
    while begun.elapsed() < time {
        read += Consumer::connect(server, Some(from)).await?.until(last).await?.len();
    }
    let (cpu, took) = (server.cpu()?.since(&cpu), begun.elapsed());
    Ok(Figure { cpu: cpu / read as f64, rate: read as f64 / took.as_secs_f64(), latencies: Vec::new() })
}

/// A firehose consumer.
pub(crate) struct Consumer(
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
);

impl Consumer {
    pub(crate) async fn connect(server: &Server, cursor: Option<u64>) -> Result<Self, Box<dyn Error>> {
        let cursor = cursor.map(|cursor| format!("?cursor={cursor}")).unwrap_or_default();
        let url = format!("{}/xrpc/com.atproto.sync.subscribeRepos{cursor}", server.url.replacen("http", "ws", 1));
        Ok(Self(tokio_tungstenite::connect_async(url).await?.0))
    }

    /// Reads so many events; when each was there.
    async fn take(mut self, events: usize) -> Result<Vec<Instant>, Box<dyn Error>> {
        let mut arrived = Vec::with_capacity(events);
        for _ in 0..events {
            self.next().await?;
            arrived.push(Instant::now());
        }
        Ok(arrived)
    }

    /// Reads until the event with this sequence number.
    pub(crate) async fn until(mut self, last: u64) -> Result<Vec<Bytes>, Box<dyn Error>> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await?;
            frames.push(frame.clone());
            match Frame::decode(&frame)? {
                Frame::Event { seq, .. } if seq.get() < last => {}
                Frame::Event { .. } => return Ok(frames),
                other => return Err(format!("the firehose says {other:?}").into()),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Bytes, Box<dyn Error>> {
        while let Some(message) = self.0.next().await {
            if let Message::Binary(frame) = message? {
                return Ok(frame);
            }
        }
        Err("the firehose has ended".into())
    }
}
