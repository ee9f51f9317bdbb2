//! What is measured, and what of it each row may cost.

use std::future::Future;
use std::pin::Pin;

use reqwest::Response;
use serde_json::{Value, json};

use crate::same::Same;
use crate::seed::{BLOB_LEN, EVENTS, HUGE, LARGE, MIDDLE, SMALL, TOLD, creation, post};
use crate::server::{PASSWORD, Server};

/// The name under which the time to the first answer is asked for.
pub(crate) const START: &str = "start";

/// An operation, or what it costs to tell of one.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Whose repository it is about.
    pub(crate) account: usize,
    pub(crate) run: Run,
    /// What it may cost.
    pub(crate) goal: Goal,
    /// How the answers of two servers are made comparable.
    pub(crate) same: Same,
    /// Whether it is about the blob.
    pub(crate) needs_blob: bool,
}

/// What a row may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// So many times less than the reference.
    Times(f64),
    /// So many microseconds beside one scrypt.
    BesideScrypt(f64),
}

pub(crate) type Asking<'a> = Pin<Box<dyn Future<Output = Result<Response, reqwest::Error>> + Send + 'a>>;
/// Asks once, about an account and with a number that is never the same twice.
pub(crate) type Ask = for<'a> fn(&'a Server, usize, u64) -> Asking<'a>;

pub(crate) enum Run {
    /// Asked over and over by so many clients at once, at most so many times a round: what grows by it stays small.
    Each { at_once: usize, at_most: usize, ask: Ask },
    /// Records created while so many firehose consumers listen; the cost of a delivery.
    Delivery { consumers: usize },
    /// A consumer that starts so many events ago; the cost of an event.
    Backfill { events: u64 },
}

const POSTS: &str = "app.bsky.feed.post";

/// A row of its own account, asked by four clients at once, without end, and ten times cheaper than the reference.
const fn each(name: &'static str, account: usize, same: Same, ask: Ask) -> Row {
    let run = Run::Each { at_once: 4, at_most: usize::MAX, ask };
    Row { name, account, run, goal: Goal::Times(10.0), same, needs_blob: false }
}

impl Row {
    const fn clients(mut self, clients: usize) -> Self {
        if let Run::Each { at_once, .. } = &mut self.run {
            *at_once = clients;
        }
        self
    }

    const fn at_most(mut self, times: usize) -> Self {
        if let Run::Each { at_most, .. } = &mut self.run {
            *at_most = times;
        }
        self
    }

    const fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    const fn of_the_blob(mut self) -> Self {
        self.needs_blob = true;
        self
    }
}

/// What is read is in an account that no row writes to, so that both servers have the same there.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    each("createRecord at 100 records", SMALL, Same::Names, |server, of, n| Box::pin(create(server, of, n))).at_most(400),
    each("createRecord at 50,000 records", LARGE, Same::Names, |server, of, n| Box::pin(create(server, of, n))).at_most(400),
    each("createRecord at 100,000 records", HUGE, Same::Names, |server, of, n| Box::pin(create(server, of, n))).at_most(400),
    each("applyWrites of 200", LARGE, Same::Names, |server, of, n| Box::pin(batch(server, of, n))).clients(1).at_most(5),
    each("getRecord", MIDDLE, Same::Json, |server, of, _| Box::pin(get_record(server, of))),
    each("listRecords of 100", MIDDLE, Same::Json, |server, of, _| Box::pin(list_records(server, of))),
    each("describeRepo", MIDDLE, Same::Json, |server, of, _| Box::pin(describe_repo(server, of))),
    each("sync.getRecord", MIDDLE, Same::Blocks, |server, of, _| Box::pin(proof(server, of))),
    each("getRepo of 10,000 records", MIDDLE, Same::Blocks, |server, of, _| Box::pin(export(server, of))).clients(1).goal(Goal::Times(4.0)),
    each("getSession", SMALL, Same::Json, |server, of, _| Box::pin(server.get("com.atproto.server.getSession", Some(of)))),
    each("createSession", SMALL, Same::Names, |server, of, _| Box::pin(log_in(server, of))).clients(2).at_most(20).goal(Goal::BesideScrypt(3000.0)),
    each("uploadBlob of 1 MiB", SMALL, Same::Names, |server, of, n| Box::pin(upload(server, of, n))).clients(2).at_most(100).goal(Goal::Times(4.0)),
    each("getBlob of 1 MiB", SMALL, Same::Bytes, |server, of, _| Box::pin(blob(server, of))).clients(2).of_the_blob(),
    Row { run: Run::Delivery { consumers: 100 }, ..each("firehose delivery, 100 consumers", SMALL, Same::Live, |server, of, n| Box::pin(create(server, of, n))) },
    Row { run: Run::Backfill { events: EVENTS }, ..each("firehose backfill, an event", TOLD, Same::Frames, |server, of, n| Box::pin(create(server, of, n))) },
];

pub(crate) async fn create(server: &Server, account: usize, number: u64) -> Result<Response, reqwest::Error> {
    let repo = &server.seed.accounts[account].did;
    let input = json!({ "repo": repo, "collection": POSTS, "record": post(number as usize) });
    server.post("com.atproto.repo.createRecord", Some(account), &input).await
}

async fn batch(server: &Server, account: usize, number: u64) -> Result<Response, reqwest::Error> {
    let repo = &server.seed.accounts[account].did;
    let writes: Vec<Value> = (0..200).map(|nth| creation(&post((number * 200 + nth) as usize))).collect();
    server.post("com.atproto.repo.applyWrites", Some(account), &json!({ "repo": repo, "writes": writes })).await
}

async fn get_record(server: &Server, account: usize) -> Result<Response, reqwest::Error> {
    let account = &server.seed.accounts[account];
    let path = format!("com.atproto.repo.getRecord?repo={}&collection={POSTS}&rkey={}", account.did, account.rkey);
    server.get(&path, None).await
}

async fn list_records(server: &Server, account: usize) -> Result<Response, reqwest::Error> {
    let did = &server.seed.accounts[account].did;
    server.get(&format!("com.atproto.repo.listRecords?repo={did}&collection={POSTS}&limit=100"), None).await
}

async fn describe_repo(server: &Server, account: usize) -> Result<Response, reqwest::Error> {
    let did = &server.seed.accounts[account].did;
    server.get(&format!("com.atproto.repo.describeRepo?repo={did}"), None).await
}

async fn proof(server: &Server, account: usize) -> Result<Response, reqwest::Error> {
    let account = &server.seed.accounts[account];
    let path = format!("com.atproto.sync.getRecord?did={}&collection={POSTS}&rkey={}", account.did, account.rkey);
    server.get(&path, None).await
}

async fn export(server: &Server, account: usize) -> Result<Response, reqwest::Error> {
    server.get(&format!("com.atproto.sync.getRepo?did={}", server.seed.accounts[account].did), None).await
}

async fn log_in(server: &Server, account: usize) -> Result<Response, reqwest::Error> {
    let login = json!({ "identifier": server.seed.accounts[account].handle, "password": PASSWORD });
    server.post("com.atproto.server.createSession", None, &login).await
}

async fn upload(server: &Server, account: usize, number: u64) -> Result<Response, reqwest::Error> {
    let mut bytes = vec![7; BLOB_LEN];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    server.upload(account, bytes).await
}

async fn blob(server: &Server, account: usize) -> Result<Response, reqwest::Error> {
    let path = format!("com.atproto.sync.getBlob?did={}&cid={}", server.seed.accounts[account].did, server.seed.blob);
    server.get(&path, None).await
}
