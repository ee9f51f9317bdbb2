//! A consumer of the firehose that stops reading costs neither the edge nor the origin memory.
//!
//! Both are processes of their own, whose resident memory is looked at while 200 MB are written, all of which they have to
//! offer to a consumer that takes none of it.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use tests::process::{self, headwater};
use tests::{Plc, Process};
use tokio::net::TcpSocket;
use tokio_tungstenite::client_async;

use super::scene::start_edge;

/// How much one of them may grow.
const MOST_KB: u64 = 8_000;
/// How much one record weighs, in bytes: about what a client may send.
const RECORD: usize = 140_000;
const OFFERED: usize = 200_000_000;
/// How much is written and read before.
const WARM: usize = 30_000_000;
const WRITERS: usize = 4;

fn resident(id: u32) -> u64 {
    process::memory(id).unwrap().0
}

/// Writes until so many bytes are written, by a few accounts at once, and calls `each` now and then.
async fn write(origin: &Process, accounts: &[Value], bytes: usize, mut each: impl FnMut()) {
    let http = Client::new();
    let url = origin.url("/xrpc/com.atproto.repo.putRecord");
    for round in 0..bytes / RECORD / accounts.len() {
        let puts = accounts.iter().map(|account| {
            let record = json!({ "text": format!("{round} {}", "x".repeat(RECORD)) });
            let input =
                json!({ "repo": account["did"], "collection": "com.example.thing", "rkey": "r", "record": record });
            http.post(&url).bearer_auth(account["accessJwt"].as_str().unwrap()).json(&input).send()
        });
        for answer in join_all(puts).await {
            let answer = answer.unwrap();
            assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        }
        each();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_stops_reading_costs_no_memory() {
    let (plc, data, kept) = (Plc::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let program = Path::new(env!("CARGO_BIN_EXE_headwater-under-test"));
    let origin = Process::start(headwater(program, data.path(), &plc)).await;
    let Some(edge) = start_edge(0, &origin.url(""), kept.path(), &[]).await else { return };
    let http = Client::new();
    let mut accounts = Vec::new();
    for number in 0..WRITERS {
        let input = json!({ "handle": format!("writer{number}.test"), "email": format!("a{number}@example.com"), "password": "correct horse" });
        let made = http.post(origin.url("/xrpc/com.atproto.server.createAccount")).json(&input).send().await.unwrap();
        accounts.push(made.error_for_status().unwrap().json::<Value>().await.unwrap());
    }

    // Reads what the two need to be warm, and then nothing, with little room on its own side.
    let address = edge.url("").trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16_384).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let url = edge.url("/xrpc/com.atproto.sync.subscribeRepos").replace("http://", "ws://");
    let (mut consumer, _) = client_async(url, stream).await.unwrap();
    let reading = async {
        let mut taken = 0;
        while taken < WARM / RECORD / WRITERS * WRITERS {
            taken += usize::from(consumer.next().await.unwrap().unwrap().len() > RECORD);
        }
    };
    tokio::join!(write(&origin, &accounts, WARM, || ()), reading);

    let processes = [("origin", origin.id()), ("workerd", edge.workerd())];
    let before = processes.map(|(_, id)| resident(id));
    let mut most = before;
    let begun = Instant::now();
    write(&origin, &accounts, OFFERED, || {
        for (most, (_, id)) in most.iter_mut().zip(processes) {
            *most = (*most).max(resident(id));
        }
    })
    .await;
    println!("SOAK {OFFERED} bytes offered in {:?}: {before:?} kB became {most:?}", begun.elapsed());
    for ((name, _), (before, most)) in processes.iter().zip(before.iter().zip(most)) {
        assert!(most - before < MOST_KB, "{name} grew from {before} to {most} kB");
    }

    // Who goes on is not cut off and has missed nothing.
    let mut missed = OFFERED / RECORD / WRITERS * WRITERS;
    let last = format!("{} x", OFFERED / RECORD / WRITERS - 1);
    let ended = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let frame = consumer.next().await.unwrap().unwrap().into_data();
            missed = missed.saturating_sub(usize::from(frame.len() > RECORD));
            if missed == 0 {
                break frame;
            }
        }
    });
    let frame = ended.await.expect("it gets what it missed");
    assert!(frame.windows(last.len()).any(|part| part == last.as_bytes()), "the last frame is not the last write");
}
