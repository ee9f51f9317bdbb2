//! An answered write is on the disk: seen from outside, in what the server asks of the system between a request and its
//! answer.
//!
//! A kill does not lose what the system holds for the disk, so killing the server proves nothing of this. Here the server
//! runs under strace, and the calls of all its threads are put in order of their time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use reqwest::{Body, Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::process::{headwater, under};
use tests::{Plc, Process, Repository, environment};
use tokio::process::Command;

const CALLS: &str = "trace=fsync,fdatasync,pwrite64,recvfrom,read,write,writev,sendto,sendmsg,openat,?mkdir,mkdirat,\
    ?link,linkat,?rename,renameat,renameat2";

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

/// A server under strace.
struct Traced {
    /// Before strace, which it would outlive.
    traced: Tracee,
    server: Process,
    client: Client,
    directory: TempDir,
    trace: TempDir,
    _plc: Plc,
}

/// The server's own process, which ends when this is dropped.
struct Tracee(String);

impl Tracee {
    fn end(&self, signal: &str) {
        let _gone = std::process::Command::new("kill").args(["-s", signal, &self.0]).stderr(Stdio::null()).status();
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        self.end("KILL");
    }
}

impl Traced {
    /// `None` without strace.
    async fn start(synchronous: &str) -> Option<Self> {
        if !Command::new("strace").arg("--version").output().await.is_ok_and(|output| output.status.success()) {
            environment::skip("strace is not there");
            return None;
        }
        let (plc, directory, trace) = (Plc::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let program = PathBuf::from(env!("CARGO_BIN_EXE_headwater-under-test"));
        let mut command = headwater(&program, &directory.path().join("data"), &plc);
        command.env("PDS_SQLITE_SYNCHRONOUS", synchronous);
        let output = trace.path().join("calls");
        let strace = ["strace", "-ff", "-ttt", "-T", "-y", "-s", "256", "-e", CALLS, "-o", output.to_str().unwrap()];
        let server = Process::start(under(&strace, &command)).await;
        let children = format!("/proc/{0}/task/{0}/children", server.id());
        let traced = Tracee(std::fs::read_to_string(children).unwrap().trim().to_owned());
        Some(Self { traced, server, client: Client::new(), directory, trace, _plc: plc })
    }

    /// Asks for something that has to succeed.
    async fn post(&self, nsid: &str, ask: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Value {
        let answer = ask(self.client.post(self.server.url(&format!("/xrpc/com.atproto.{nsid}")))).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{nsid}");
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    }

    async fn sign_up(&self) -> (String, String) {
        let input = json!({ "handle": "alice.test", "email": "alice@example.com", "password": "correct horse" });
        let made = self.post("server.createAccount", |call| call.json(&input)).await;
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        (text("did"), text("accessJwt"))
    }

    /// Ends the server; every call that it made, in order.
    async fn stop(self) -> Vec<Call> {
        // Strace ends with the program that it runs, not the other way round.
        let Self { traced, server, trace, .. } = self;
        traced.end("TERM");
        server.ended().await;
        calls(trace.path())
    }
}

/// The calls between the last request for `method` and its answer, both included: where they begin and end.
fn around(calls: &[Call], method: &str) -> (usize, usize) {
    // Not the whole path: a connection's first bytes are read by themselves.
    let asks = format!("{method} HTTP/1.1");
    let asked = calls.iter().rposition(|call| call.text.starts_with("recvfrom(") && call.text.contains(&asks));
    let asked = asked.expect("the last request is in the trace");
    let answers = |call: &Call| !call.text.starts_with("recvfrom(") && call.text.contains("HTTP/1.1 200 OK");
    (asked, asked + calls[asked..].iter().position(answers).expect("its answer is in the trace"))
}

/// What the server asked of the system between one createRecord and its answer, both included; `None` without strace.
async fn around_a_write(synchronous: &str) -> Option<Vec<Call>> {
    let traced = Traced::start(synchronous).await?;
    let (did, token) = traced.sign_up().await;
    for number in 0..3 {
        let record = json!({ "text": "hello", "number": number });
        let input = json!({ "repo": did, "collection": "com.example.note", "record": record });
        traced.post("repo.createRecord", |call| call.bearer_auth(&token).json(&input)).await;
    }
    let calls = traced.stop().await;
    let (asked, answered) = around(&calls, "createRecord");
    Some(calls[asked..=answered].to_vec())
}

/// What a loss of power after these calls could take, of everything under `directory`: files whose last bytes, and
/// directories whose last names, were not synced since. Not what SQLite keeps for the moment, nor what an import is staged
/// in.
fn unsynced(calls: &[Call], directory: &Path) -> BTreeSet<String> {
    let now = calls.last().unwrap().begun;
    let passing = |path: &str| path.ends_with("-shm") || path.contains("/headwater-import.sqlite");
    let inside = |path: &str| path.starts_with(directory.to_str().unwrap()) && !passing(path);
    let (mut changed, mut seen) = (BTreeMap::<String, f64>::new(), BTreeSet::new());
    let mut name = |changed: &mut BTreeMap<String, f64>, path: &str, at: f64| {
        if inside(path) && seen.insert(path.to_owned()) {
            changed.insert(Path::new(path).parent().unwrap().to_str().unwrap().to_owned(), at);
        }
    };
    for call in calls.iter().filter(|call| call.ended <= now && !call.text.contains(" = -1 ")) {
        let (kind, rest) = call.text.split_once('(').unwrap();
        let file = rest.split_once('<').and_then(|(_, rest)| Some(rest.split_once('>')?.0));
        match kind {
            "write" | "pwrite64" => {
                if let Some(file) = file.filter(|file| inside(file)) {
                    changed.insert(file.to_owned(), call.ended);
                }
            }
            "openat" if rest.contains("O_CREAT") => name(&mut changed, rest.split('"').nth(1).unwrap(), call.ended),
            "mkdir" | "mkdirat" => name(&mut changed, rest.split('"').nth(1).unwrap(), call.ended),
            "link" | "linkat" | "rename" | "renameat" | "renameat2" => {
                name(&mut changed, rest.split('"').nth(3).unwrap(), call.ended);
            }
            "fsync" | "fdatasync" => {
                let file = file.unwrap();
                if changed.get(file).is_some_and(|at| *at <= call.begun) {
                    changed.remove(file);
                }
            }
            _ => {}
        }
    }
    changed.into_keys().map(|path| path[directory.to_str().unwrap().len()..].to_owned()).collect()
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

#[tokio::test]
async fn what_an_answer_promises_is_on_the_disk_with_the_names_that_lead_to_it() {
    let Some(traced) = Traced::start("full").await else { return };
    let (did, token) = traced.sign_up().await;
    let blob = traced
        .post("repo.uploadBlob", |call| call.bearer_auth(&token).header("content-type", "text/plain").body("a blob"))
        .await["blob"]
        .clone();
    let record = json!({ "$type": "com.example.note", "blob": blob });
    let input = json!({ "repo": did, "collection": "com.example.note", "record": record });
    traced.post("repo.createRecord", |call| call.bearer_auth(&token).json(&input)).await;
    traced.post("server.deactivateAccount", |call| call.bearer_auth(&token).json(&json!({}))).await;
    let file = Repository::new(&did, 50, 1000).file();
    traced
        .post("repo.importRepo", |call| {
            let call = call.bearer_auth(&token).header("content-type", "application/vnd.ipld.car");
            call.body(Body::wrap_stream(file))
        })
        .await;
    let directory = traced.directory.path().to_owned();
    let calls = traced.stop().await;

    let until = |end: usize| unsynced(&calls[..=end], &directory);
    for method in ["createAccount", "uploadBlob", "createRecord", "deactivateAccount", "importRepo"] {
        let (_, answered) = around(&calls, method);
        let mut left = until(answered);
        // The list of repositories is kept a moment later, and known to be behind until then.
        left.remove("/data/account.sqlite-wal");
        // So is that there is nothing left to settle of a repository that was moved in; nothing is told of this one.
        if method == "importRepo" {
            left.remove("/data/sequencer.sqlite-wal");
        }
        assert_eq!(left, BTreeSet::new(), "after {method}");
    }
    let (asked, answered) = around(&calls, "createAccount");
    let told = calls[asked..answered].iter().position(|call| call.writes("/sequencer.sqlite-wal>"));
    assert_eq!(until(asked + told.expect("it is told")), BTreeSet::new(), "told before it is on the disk");
}
