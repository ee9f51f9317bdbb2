//! An edge for the origin to talk to: it speaks the contract of `shared::link` in full, and does as a test tells it.
//!
//! It believes nothing: requests by their signature alone, commits by the account's key and by where they lead back to.
//! A push that does not follow on what a replica has is acknowledged as [`Outcome::Behind`], and the replica then pulls
//! before it counts as anything.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use reqwest::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::cid::Cid;
use shared::firehose::verify::{Known, VerifyError, verify_commit};
use shared::firehose::{Event, Frame};
use shared::link::{
    self, Ack, BodyDigest, Change, FeedKeys, HOST_PUSH, HostPush, Item, MEDIA_TYPE, Outcome, PURGE, Position, Pull,
    PullAnswer, Purge, Purged, Push, Region, RegionAnswer, RegionQuestion, Register, RegisterAnswer, Replica, Request,
    SnapshotReader, decode, encode,
};
use shared::repo::commit::Commit;
use shared::syntax::Did;
use tokio::time::sleep;

pub(super) const KEY: &str = "the feed key of these tests";
pub(super) const FORWARD_KEY: &str = "the forward key of these tests";

/// How the edge treats what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// As it should.
    Good,
    /// It takes nothing in, and answers 503.
    Failing,
    /// It takes nothing in, and does not answer.
    Silent,
    /// It takes everything in, and its answers are lost.
    Mute,
    /// It takes everything in, and answers after so many milliseconds.
    Slow(u64),
}

/// A replica, and what it was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Copy {
    pub(super) position: Position,
    pub(super) head: Option<(shared::syntax::Tid, Cid)>,
    pub(super) records: BTreeMap<String, Cid>,
    pub(super) blobs: Vec<Cid>,
    pub(super) state: Option<link::State>,
    /// It pulls before anybody may read it.
    pub(super) behind: bool,
    /// It has to be filled anew.
    pub(super) refill: bool,
    known: Option<Known>,
    filling: bool,
    kept: Vec<Push>,
}

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) mood: Mood,
    pub(super) copies: HashMap<Replica, Copy>,
    pub(super) pushes: Vec<(Replica, Push)>,
    pub(super) hosts: Vec<(Region, HostPush)>,
    pub(super) purges: Vec<Purge>,
    pub(super) refused: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) url: String,
    keys: FeedKeys,
    seen: Arc<Mutex<Seen>>,
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(super) fn nonce() -> [u8; 16] {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    nanos.to_be_bytes()
}

pub(super) fn region(name: &str) -> Region {
    Region::parse(name).unwrap()
}

pub(super) fn replica(did: &str, name: &str) -> Replica {
    Replica { account: Did::parse(did).unwrap(), region: region(name) }
}

impl Edge {
    pub(super) async fn start() -> Self {
        Self::start_with(KEY, None).await
    }

    /// With these keys.
    pub(super) async fn start_with(current: &str, next: Option<&str>) -> Self {
        let seen = Seen {
            mood: Mood::Good,
            copies: HashMap::new(),
            pushes: Vec::new(),
            hosts: Vec::new(),
            purges: Vec::new(),
            refused: 0,
        };
        let keys = FeedKeys::new(current.as_bytes(), next.map(str::as_bytes)).unwrap();
        let mut edge = Self { url: String::new(), keys, seen: Arc::new(Mutex::new(seen)) };
        edge.url = tests::serve(Router::new().fallback(hear).with_state(edge.clone())).await;
        edge
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub(super) fn set(&self, mood: Mood) {
        self.seen().mood = mood;
    }

    pub(super) fn copy(&self, replica: &Replica) -> Copy {
        self.seen().copies.get(replica).cloned().unwrap_or_default()
    }

    /// Waits until something is so, for ten seconds at most.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Seen) -> bool) {
        for _ in 0..2000 {
            if is_so(&self.seen()) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}: {:?}", self.seen());
    }

    /// Asks the origin at `url` as the edge does.
    pub(super) async fn ask(&self, url: &str, path: &str, message: &impl Serialize) -> reqwest::Response {
        let body = encode(message).unwrap();
        let digest = BodyDigest::of(&body).unwrap();
        let signed = self.keys.sign(Request { method: "POST", path }, digest, now(), nonce());
        let mut request = Client::new().post(format!("{url}{path}")).body(body);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        request.send().await.unwrap()
    }

    async fn asked<A: DeserializeOwned>(&self, url: &str, path: &str, message: &impl Serialize) -> A {
        let answer = self.ask(url, path, message).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (200, MEDIA_TYPE));
        decode(&answer.bytes().await.unwrap()).unwrap()
    }

    /// A new replica: registered, filled, and told what came meanwhile.
    pub(super) async fn fill(&self, url: &str, replica: &Replica) {
        self.seen().copies.insert(replica.clone(), Copy { filling: true, ..Copy::default() });
        let register = Register { replica: replica.clone() };
        let answer: RegisterAnswer = self.asked(url, link::REGISTER, &register).await;
        assert!(matches!(answer, RegisterAnswer::Registered(_)), "{answer:?}");
        let copy = self.snapshot(url, replica).await;
        let mut seen = self.seen();
        let kept = seen.copies.insert(replica.clone(), copy).unwrap_or_default().kept;
        let copy = seen.copies.get_mut(replica).unwrap();
        for push in &kept {
            copy.take(push);
        }
    }

    async fn snapshot(&self, url: &str, replica: &Replica) -> Copy {
        let answer = self.ask(url, link::SNAPSHOT, replica).await;
        assert_eq!(answer.status(), 200);
        let (mut reader, mut chunks) = (SnapshotReader::new(), answer.bytes_stream());
        let (mut copy, mut blocks) = (Copy::default(), HashMap::new());
        while let Some(chunk) = chunks.next().await {
            reader.push(chunk.unwrap());
            while let Some(item) = reader.next_item().unwrap() {
                match item {
                    Item::Head(head) => {
                        copy.position = head.position;
                        copy.head = head.revision.map(|revision| (revision.rev, revision.commit));
                        copy.state = Some(head.state);
                    }
                    Item::Block(block) => drop(blocks.insert(block.cid, block.bytes)),
                    Item::Records(records) => {
                        copy.records.extend(records.into_iter().map(|record| (record.path, record.cid)));
                    }
                    Item::Blobs(blobs) => copy.blobs.extend(blobs.into_iter().map(|blob| blob.cid)),
                    Item::References(_) | Item::End => {}
                }
            }
        }
        reader.finish().unwrap();
        if let Some((rev, commit)) = &copy.head {
            let signed = Commit::from_block(&blocks[commit]).unwrap();
            assert!(signed.is_signed_by(&copy.state.as_ref().unwrap().signing_key));
            assert!(copy.records.values().all(|cid| blocks.contains_key(cid)));
            copy.known = Some(Known { rev: *rev, data: signed.data });
        }
        copy
    }

    /// Pulls until there is no more.
    pub(super) async fn pull(&self, url: &str, replica: &Replica) -> PullAnswer {
        loop {
            let pull = Pull { replica: replica.clone(), position: self.copy(replica).position };
            let answer: PullAnswer = self.asked(url, link::PULL, &pull).await;
            let PullAnswer::Changes { pushes, more, .. } = &answer else { return answer };
            let mut seen = self.seen();
            let copy = seen.copies.get_mut(replica).unwrap();
            copy.behind = false;
            for push in pushes {
                assert_eq!(copy.take(push), Outcome::Applied, "{push:?}");
            }
            if !more {
                return answer;
            }
        }
    }

    pub(super) async fn region(&self, url: &str, name: &str, after: Position) -> RegionAnswer {
        self.asked(url, link::REGION, &RegionQuestion { region: region(name), after }).await
    }

    fn told(&self, path: &str, body: &[u8]) -> Response {
        let mut seen = self.seen();
        if path == PURGE {
            seen.purges.push(decode(body).unwrap());
            return said(&Purged { done: true, blobs: 1 });
        }
        if let Some(name) = path.strip_prefix(HOST_PUSH) {
            let push: HostPush = decode(body).unwrap();
            let position = push.position;
            seen.hosts.push((region(name), push));
            return said(&Ack { outcome: Outcome::Applied, position });
        }
        let replica = Replica::of_push_path(path).unwrap();
        let push: Push = decode(body).unwrap();
        assert_eq!(push.account, replica.account);
        seen.pushes.push((replica.clone(), push.clone()));
        match seen.copies.get_mut(&replica) {
            Some(copy) => {
                let outcome = copy.take(&push);
                said(&Ack { outcome, position: copy.position })
            }
            None => said(&Ack { outcome: Outcome::Gone, position: Position(0) }),
        }
    }
}

impl Copy {
    /// Takes a push in, as far as it can be believed and follows.
    fn take(&mut self, push: &Push) -> Outcome {
        if self.filling {
            self.kept.push(push.clone());
            return Outcome::Kept;
        }
        if push.position <= self.position {
            return Outcome::Applied;
        }
        if push.previous != self.position || self.behind || self.refill {
            self.behind = true;
            return Outcome::Behind;
        }
        match &push.change {
            Change::Commit(commit) => match Frame::decode(&commit.frame).unwrap() {
                Frame::Event { event: Event::Commit(event), .. } => {
                    let key = self.state.as_ref().unwrap().signing_key;
                    match verify_commit(&event, self.known.as_ref(), &key, now() * 1_000_000) {
                        Ok(verified) => {
                            self.known = Some(verified.head);
                            self.head = Some((event.rev, event.commit));
                            for op in event.ops {
                                let path = op.path.to_string();
                                match op.cid {
                                    Some(cid) => drop(self.records.insert(path, cid)),
                                    None => drop(self.records.remove(&path)),
                                }
                            }
                            self.blobs.extend(commit.blobs.iter().map(|blob| blob.cid.clone()));
                        }
                        // It was in the snapshot.
                        Err(VerifyError::Stale(_)) => {}
                        Err(error) => panic!("a commit that nobody can believe: {error}"),
                    }
                }
                _ => self.refill = true,
            },
            Change::State(state) => {
                let state = (**state).clone();
                self.blobs.retain(|cid| !state.deleted_blobs.contains(cid));
                if self.state.as_ref().is_none_or(|held| held.version <= state.version) {
                    self.state = Some(state);
                }
            }
            Change::Unknown => self.refill = true,
        }
        self.position = push.position;
        Outcome::Applied
    }
}

fn said(answer: &impl Serialize) -> Response {
    encode(answer).unwrap().into_response()
}

async fn hear(State(edge): State<Edge>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let request = Request { method: method.as_str(), path: uri.path_and_query().unwrap().as_str() };
    if edge.keys.verify(request, header, BodyDigest::of(&body).unwrap(), now()).is_err() {
        edge.seen().refused += 1;
        return StatusCode::NOT_FOUND.into_response();
    }
    let mood = edge.seen().mood;
    match mood {
        Mood::Failing => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Silent => std::future::pending().await,
        Mood::Good | Mood::Mute | Mood::Slow(_) => {}
    }
    let answer = edge.told(uri.path(), &body);
    match mood {
        Mood::Slow(millis) => sleep(Duration::from_millis(millis)).await,
        Mood::Mute => return StatusCode::BAD_GATEWAY.into_response(),
        _ => {}
    }
    answer
}
