//! A client that writes without a pause, and notes what it was told.

use std::sync::{Arc, Mutex};

use reqwest::Client;
use serde_json::{Value, json};
use shared::cid::Cid;

use super::ledger::{Acknowledged, Ledger};

const COLLECTION: &str = "com.example.kept";

/// A source of choices that a seed repeats.
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    /// The next number below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// An account to write to.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) did: String,
    pub(super) token: String,
}

/// One of the clients of an account; the paths that it writes are its own.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) account: Account,
    pub(super) name: String,
    pub(super) random: Random,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) made: u64,
}

/// A record that was never written before, and the CID that it will have.
pub(super) fn record(name: &str, number: u64, padding: u64) -> (Value, Cid) {
    let padding = "x".repeat(usize::try_from(padding).unwrap());
    let record = json!({ "$type": COLLECTION, "by": name, "number": number, "padding": padding });
    let value = shared::data::json::parse(record.to_string().as_bytes()).unwrap();
    (record, Cid::of_cbor(&shared::cbor::encode(&value)))
}

/// A change: the method, what is sent, and what stands where afterwards.
struct Change {
    method: &'static str,
    input: Value,
    changes: Vec<(String, Option<Cid>)>,
    refused: bool,
}

impl Writer {
    /// Writes until the server at `url` is gone, or `writes` times.
    pub(super) async fn run(mut self, url: String, writes: u64) {
        let client = Client::new();
        for _ in 0..writes {
            let Some(change) = self.next() else { continue };
            let did = self.account.did.clone();
            if !change.refused {
                self.ledger.lock().unwrap().begin(&did, &change.changes);
            }
            let request = client
                .post(format!("{url}/xrpc/com.atproto.repo.{}", change.method))
                .bearer_auth(&self.account.token)
                .json(&change.input);
            let answer = match request.send().await {
                Ok(answer) => Ok((answer.status().as_u16(), answer.json::<Value>().await)),
                Err(error) => Err(error),
            };
            let mut ledger = self.ledger.lock().unwrap();
            match answer {
                Ok((200, Ok(body))) if !change.refused => {
                    let text = |field: &str| body["commit"][field].as_str().unwrap().to_owned();
                    let (rev, commit) = (text("rev"), text("cid"));
                    ledger.acknowledge(Acknowledged { did, rev, commit, changes: change.changes });
                }
                Ok((400, Ok(_))) if change.refused => {}
                Ok((status, Ok(body))) => {
                    ledger.faults.push(format!("{} {}: {status} {body}", change.method, change.input));
                    return;
                }
                Ok((_, Err(_))) | Err(_) => {
                    ledger.doubts += u64::from(!change.refused);
                    return;
                }
            }
        }
    }

    /// One of this writer's keys, with what stands there; `None` when that is in doubt.
    fn place(&mut self) -> Option<(String, Option<Cid>)> {
        let rkey = format!("{}-{}", self.name, self.random.below(40));
        let path = format!("{COLLECTION}/{rkey}");
        let found = self.ledger.lock().unwrap().certain(&self.account.did, &path).ok()?;
        Some((rkey, found))
    }

    fn record(&mut self) -> (Value, Cid) {
        self.made += 1;
        let padding = self.random.below(3000);
        record(&format!("{}-{}", self.name, self.random.0), self.made, padding)
    }

    fn next(&mut self) -> Option<Change> {
        if self.random.below(4) == 0 {
            return self.batch();
        }
        let (rkey, found) = self.place()?;
        let path = format!("{COLLECTION}/{rkey}");
        let (record, cid) = self.record();
        let place = json!({ "repo": self.account.did, "collection": COLLECTION, "rkey": rkey });
        let with = |more: Value| {
            let mut input = place.clone();
            input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            input
        };
        let change = |method, input, after, refused| Change { method, input, changes: vec![(path, after)], refused };
        Some(match (found, self.random.below(8)) {
            // On a used key, and over a record that is not there: both are refused.
            (Some(_), 0) => change("createRecord", with(json!({ "record": record })), Some(cid), true),
            (_, 1) => {
                let stale = Cid::of_cbor(b"never there").to_string();
                change("putRecord", with(json!({ "record": record, "swapRecord": stale })), Some(cid), true)
            }
            (None, _) => change("createRecord", with(json!({ "record": record })), Some(cid), false),
            (Some(_), 2..5) => change("deleteRecord", place.clone(), None, false),
            (Some(_), _) => change("putRecord", with(json!({ "record": record })), Some(cid), false),
        })
    }

    /// Several changes in one; sometimes with one too many that makes all of it be refused.
    fn batch(&mut self) -> Option<Change> {
        let (mut writes, mut changes) = (Vec::new(), Vec::new());
        for _ in 0..=self.random.below(6) {
            let (rkey, found) = self.place()?;
            let path = format!("{COLLECTION}/{rkey}");
            if changes.iter().any(|(other, _)| *other == path) {
                continue;
            }
            let (record, cid) = self.record();
            let (kind, value, after) = match (found, self.random.below(2)) {
                (None, _) => ("create", Some(record), Some(cid)),
                (Some(_), 0) => ("delete", None, None),
                (Some(_), _) => ("update", Some(record), Some(cid)),
            };
            let kind = format!("com.atproto.repo.applyWrites#{kind}");
            let mut write = json!({ "$type": kind, "collection": COLLECTION, "rkey": rkey });
            write.as_object_mut().unwrap().extend(value.map(|value| ("value".to_owned(), value)));
            writes.push(write);
            changes.push((path, after));
        }
        let refused = self.random.below(5) == 0;
        if refused {
            let kind = "com.atproto.repo.applyWrites#delete";
            writes.push(json!({ "$type": kind, "collection": COLLECTION, "rkey": "never-there" }));
        }
        let input = json!({ "repo": self.account.did, "writes": writes });
        Some(Change { method: "applyWrites", input, changes, refused })
    }
}
