//! An answered write is on the disk: seen from outside, in what the server asks of the system between a request and its
//! answer.
//!
//! A kill does not lose what the system holds for the disk, so killing the server proves nothing of this. Here the server
//! runs under strace, and the calls of all its threads are put in order of their time.

use std::path::{Path, PathBuf};

use reqwest::Client;
use serde_json::{Value, json};
use tests::process::{headwater, under};
use tests::{Plc, Process, environment};
use tokio::process::Command;

const CALLS: &str = "trace=fsync,fdatasync,pwrite64,recvfrom,read,write,writev,sendto,sendmsg";

/// A call to the system, when it began and ended, in seconds.
#[derive(Debug, Clone)]
struct Call {
    begun: f64,
    ended: f64,
    text: String,
}

impl Call {
    /// A line such as `1700000000.000001 fdatasync(7</a/b-wal>) = 0 <0.000100>`; `None` for one that tells of no call that
    /// ended.
    fn parse(line: &str) -> Option<Self> {
        let (begun, rest) = line.split_once(' ')?;
        let (text, took) = rest.rsplit_once(" <")?;
        let (begun, took): (f64, f64) = (begun.parse().ok()?, took.strip_suffix('>')?.parse().ok()?);
        Some(Self { begun, ended: begun + took, text: text.to_owned() })
    }

    fn writes(&self, file: &str) -> bool {
        self.text.starts_with("pwrite64(") && self.text.contains(file)
    }

    fn syncs(&self, file: &str) -> bool {
        (self.text.starts_with("fdatasync(") || self.text.starts_with("fsync("))
            && self.text.contains(file)
            && self.text.ends_with("= 0")
    }
}

/// Every call that was traced, in order.
fn calls(directory: &Path) -> Vec<Call> {
    let mut calls = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read(file.unwrap().path()).unwrap();
        calls.extend(String::from_utf8_lossy(&text).lines().filter_map(Call::parse));
    }
    calls.sort_by(|one, other| one.begun.total_cmp(&other.begun));
    calls
}

/// What the server asked of the system between one createRecord and its answer, both included; `None` without strace.
async fn around_a_write(synchronous: &str) -> Option<Vec<Call>> {
    if !Command::new("strace").arg("--version").output().await.is_ok_and(|output| output.status.success()) {
        environment::skip("strace is not there");
        return None;
    }
    let (plc, directory, trace) = (Plc::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let program = PathBuf::from(env!("CARGO_BIN_EXE_headwater-under-test"));
    let mut command = headwater(&program, directory.path(), &plc);
    command.env("PDS_SQLITE_SYNCHRONOUS", synchronous);
    let output = trace.path().join("calls");
    let strace = ["strace", "-ff", "-ttt", "-T", "-y", "-s", "96", "-e", CALLS, "-o", output.to_str().unwrap()];
    let server = Process::start(under(&strace, &command)).await;
    let client = Client::new();
    let call = |method: &str| client.post(server.url(&format!("/xrpc/com.atproto.{method}")));
    let account = json!({ "handle": "alice.test", "email": "alice@example.com", "password": "correct horse" });
    let account: Value = call("server.createAccount").json(&account).send().await.unwrap().json().await.unwrap();
    for number in 0..3 {
        let record = json!({ "text": "hello", "number": number });
        let input = json!({ "repo": account["did"], "collection": "com.example.note", "record": record });
        let token = account["accessJwt"].as_str().unwrap();
        let written = call("repo.createRecord").bearer_auth(token).json(&input).send().await.unwrap();
        assert_eq!(written.status(), 200);
    }
    // Strace ends with the program that it runs, not the other way round.
    let children = format!("/proc/{0}/task/{0}/children", server.id());
    let traced = std::fs::read_to_string(children).unwrap().trim().to_owned();
    assert!(Command::new("kill").args(["-s", "TERM", &traced]).status().await.unwrap().success());
    server.ended().await;

    let calls = calls(trace.path());
    let asks = |call: &Call| call.text.contains("POST /xrpc/com.atproto.repo.createRecord");
    let asked = calls.iter().rposition(asks).expect("the last request is in the trace");
    let answers = |call: &Call| call.text.contains("HTTP/1.1 200 OK");
    let answered = calls.iter().skip(asked).position(answers).expect("its answer is in the trace");
    Some(calls[asked..=asked + answered].to_vec())
}

/// How often a log was written to, and whether a sync followed the last time and ended before the answer began.
fn log(calls: &[Call], name: &str) -> (usize, Option<Call>) {
    let answer = calls.last().unwrap();
    let writes: Vec<_> = calls.iter().filter(|call| call.writes(name)).collect();
    let last = writes.iter().map(|call| call.ended).fold(f64::MIN, f64::max);
    let synced = calls.iter().find(|call| call.syncs(name) && call.begun >= last && call.ended <= answer.begun);
    (writes.len(), synced.cloned())
}

#[tokio::test]
async fn both_logs_are_synced_between_a_write_and_its_answer() {
    let Some(calls) = around_a_write("full").await else { return };
    let (stored, store) = log(&calls, "/store.sqlite-wal>");
    let (sequenced, sequence) = log(&calls, "/sequencer.sqlite-wal>");
    assert!(stored > 0 && sequenced > 0, "{calls:#?}");
    let (store, sequence) =
        (store.expect("the store's log is synced"), sequence.expect("the sequence's log is synced"));
    let told = calls.iter().find(|call| call.writes("/sequencer.sqlite-wal>")).unwrap();
    assert!(store.ended <= told.begun, "an event is told before its commit is on the disk: {calls:#?}");
    assert!(sequence.begun >= told.ended);
}

#[tokio::test]
async fn without_syncs_at_every_write_the_trace_shows_none() {
    let Some(calls) = around_a_write("normal").await else { return };
    for name in ["/store.sqlite-wal>", "/sequencer.sqlite-wal>"] {
        let (writes, synced) = log(&calls, name);
        assert!(writes > 0 && synced.is_none(), "{calls:#?}");
    }
}
