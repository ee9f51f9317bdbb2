//! Writes the seeds of every target: `cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds`.
//!
//! A seed is one small input that the target's decoder accepts, or nearly: real shapes, made with `shared` itself, so
//! that they follow when a format changes.

use std::fs;
use std::path::Path as FilePath;

use serde_json::{Value, json};
use shared::cbor::{self, Writer};
use shared::cid::Cid;
use shared::crypto::{Curve, SigningKey};
use shared::data::json as data_json;
use shared::firehose::{Account, AccountStatus, Commit, Event, Identity, Info, Seq, StreamError, Sync};
use shared::identity::DidDocument;
use shared::identity::plc::{Body, Operation, State};
use shared::link::{
    self, BodyDigest, Change, Changed, FeedKeys, ForwardKeys, Lease, Position, PublicBlob, PullAnswer, Purge,
    PurgeScope, Push, PushedCommit, Record as LinkRecord, Region, RegionAnswer, Replica, Request, Revision,
    SnapshotHead, SnapshotWriter, State as LinkState, Vouched,
};
use shared::repo::{BlockMap, CommitDiff, Record, Repo, Swap, Write, car};
use shared::syntax::{Datetime, Did, Handle, Nsid, Path, Tid};
use shared::token::HmacKey;
use shared::token::service::NewToken;
use shared::token::session::{Scope, access_token, refresh_token};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const CID: &str = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm";
const BLOB: &str = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity";

fn main() -> Outcome<()> {
    records()?;
    repository()?;
    identity()?;
    tokens()?;
    identifiers()?;
    lexicons()?;
    link()
}

/// Writes a seed of `target`.
fn seed(target: &str, name: &str, content: impl AsRef<[u8]>) -> Outcome<()> {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), content)?)
}

fn key() -> Outcome<SigningKey> {
    Ok(SigningKey::from_bytes(Curve::K256, &[7; 32])?)
}

fn did() -> Outcome<Did> {
    Ok(Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz")?)
}

fn post(text: &str) -> Value {
    json!({
        "$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-01-02T03:04:05.678Z", "langs": ["en"],
        "facets": [{"index": {"byteStart": 0, "byteEnd": 2},
            "features": [{"$type": "app.bsky.richtext.facet#link", "uri": "https://example.com"}]}],
        "embed": {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image":
            {"$type": "blob", "ref": {"$link": BLOB}, "mimeType": "image/png", "size": 1234}}]},
    })
}

fn records() -> Outcome<()> {
    let like = json!({"$type": "app.bsky.feed.like", "createdAt": "2026-01-02T03:04:05.678Z",
        "subject": {"cid": CID, "uri": "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3jzfcijpj2z2a"}});
    let odd = json!({"a": [null, true, false, 0, -1, 9_007_199_254_740_991_i64, [], {}],
        "b": {"$bytes": "AAEC"}, "c": {"$link": CID}, "é😀\u{0}": "\u{7f}\"\\"});
    for (name, value) in [("post", post("hé 😀")), ("like", like), ("odd", odd)] {
        let text = serde_json::to_vec(&value)?;
        seed("json", name, &text)?;
        seed("cbor", name, cbor::encode(&data_json::parse(&text)?))?;
    }
    seed("json", "numbers", r#"{"a":[1.0,1e3,-0,-0.0,1E-400,0.5e1,12300e-2],"a":"\ud83d\ude00\u0041\/"}"#)?;
    seed(
        "cbor",
        "heads",
        b"\x86\x18\x18\x19\x01\x00\x1a\x00\x01\x00\x00\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x3a\x7f\xff\xff\xff\x38\x18",
    )?;
    let cid = Cid::parse(CID)?;
    seed("cid", "bytes", cid.as_bytes())?;
    seed("cid", "text", CID)?;
    seed("cid", "foreign", [[1, 0x70, 0x12, 0x20].as_slice(), &[7; 32]].concat())?;
    seed("cid", "identity", [1, 0x55, 0, 2, 1, 2])?;
    seed("cid", "legacy", "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR")?;
    seed("cid", "base58", "zdpuAyvkgEDQm9TenwGkd5eNaosSxjgEYd8QatfPetgB1CdEZ")
}

fn repository() -> Outcome<()> {
    let (did, key) = (did()?, key()?);
    let mut store = BlockMap::default();
    let path = |n: u32| {
        Path::parse(&format!("app.bsky.feed.post/{}", Tid::from_parts(1_700_000_000_000_000 + u64::from(n), 7)))
    };
    let record = |text: &str| -> Outcome<Record> {
        let bytes = cbor::encode(&data_json::parse(&serde_json::to_vec(&post(text))?)?);
        Ok(Record { cid: Cid::of_cbor(&bytes), bytes: bytes.into() })
    };
    let rev = |n: u64| Tid::from_parts(1_700_000_001_000_000 + n, 7);
    let first = (0..12)
        .map(|n| Ok(Write::Create { path: path(n)?, record: record(&n.to_string())? }))
        .collect::<Outcome<_>>()?;
    let head = None;
    let first = Repo { did: &did, head, blocks: &store }.apply(first, &key, rev(0))?.ok_or("no commit")?;
    store.extend(first.new_blocks().cloned());
    let second = vec![
        Write::Create { path: path(100)?, record: record("new")? },
        Write::Update { path: path(3)?, record: record("changed")?, swap: Swap::Any },
        Write::Delete { path: path(5)?, swap: Swap::Any },
    ];
    let head = first.head.clone();
    let second =
        Repo { did: &did, head: Some(&head), blocks: &store }.apply(second, &key, rev(1))?.ok_or("no commit")?;

    for (name, diff) in [("first", &first), ("second", &second)] {
        let file = car::to_vec(&diff.head.commit, diff.event_blocks());
        seed("commit", name, &diff.commit.bytes)?;
        seed("car", name, [file.as_slice(), &[7, 64, 255, 2]].concat())?;
        seed("car", &format!("{name}-small-blocks"), [file.as_slice(), &[1, 1, 1, 1]].concat())?;
        for (at, node) in diff.nodes.iter().enumerate() {
            seed("mst_node", &format!("{name}-{at}"), [&[0], node.bytes.as_ref()].concat())?;
        }
    }
    seed("mst_node", "empty", b"\0\xa2\x61e\x80\x61l\xf6")?;
    // Three nodes by description: two leaves, then a root over them with one of its own.
    seed("mst_node", "described", [1, 1, 255, 0, 0, 1, 255, 1, 1, 255, 0, 9, 9, 255, 2, 1, 0, 0, 5, 5, 1, 3])?;
    events(&did, &first, &second)
}

fn events(did: &Did, first: &CommitDiff, second: &CommitDiff) -> Outcome<()> {
    let commit = |diff: &CommitDiff| Event::Commit(Commit::of(did.clone(), diff));
    let sync = Sync::at(did.clone(), first.head.rev, &first.commit);
    let identity = Identity { did: did.clone(), handle: Some(Handle::parse("alice.example.com")?) };
    let events = [
        ("commit-first", commit(first)),
        ("commit-second", commit(second)),
        ("sync", Event::Sync(sync)),
        ("identity", Event::Identity(identity)),
        ("account", Event::Account(Account::active(did.clone()))),
        ("account-gone", Event::Account(Account::inactive(did.clone(), AccountStatus::Deleted))),
    ];
    let seq = Seq::new(123_456).ok_or("a seq")?;
    let time = Datetime::from_unix_millis(1_700_000_000_000);
    for (name, event) in events {
        let body = event.encode()?;
        seed("firehose", &format!("{name}-body"), body.as_bytes())?;
        seed("firehose", name, body.stamp(seq, &time)?)?;
    }
    let info = Info { name: "OutdatedCursor".to_owned(), message: Some("older than what is kept".to_owned()) };
    seed("firehose", "info", info.encode())?;
    let error = StreamError { error: "FutureCursor".to_owned(), message: None };
    seed("firehose", "error", error.encode())?;
    let mut unknown = Writer::new();
    unknown.map(2).text("t").text("#new").text("op").int(1).map(1).text("seq").int(1);
    seed("firehose", "unknown", unknown.into_bytes())
}

fn identity() -> Outcome<()> {
    let (key, rotation) = (key()?, SigningKey::from_bytes(Curve::P256, &[8; 32])?);
    let handle = Handle::parse("alice.example.com")?;
    let state = State::of_account(&[rotation.public_key()], &key.public_key(), &handle, "https://pds.example.com");
    let genesis = Body::genesis(state.clone()).sign(&rotation);
    let did = genesis.did()?;
    let mut moved = state.clone();
    moved.set_pds("https://other.example.com");
    let update = Body::update(moved, &genesis.cid()).sign(&rotation);
    let tombstone = Body::tombstone(&update.cid()).sign(&rotation);
    let operations = [("genesis", &genesis), ("update", &update), ("tombstone", &tombstone)];
    for (name, operation) in operations {
        seed("identity", name, serde_json::to_vec(&operation.to_value())?)?;
    }
    let entry = |operation: &Operation, minute: u32| {
        json!({"did": did.as_str(), "operation": operation.to_value(), "cid": operation.cid(), "nullified": false,
            "createdAt": format!("2026-01-01T00:{minute:02}:00.000Z")})
    };
    let log: Vec<Value> = operations.iter().zip(0..).map(|((_, operation), at)| entry(operation, at)).collect();
    seed("identity", "log", serde_json::to_vec(&log)?)?;
    seed("identity", "document", serde_json::to_vec(&DidDocument::new(&did, &state))?)?;
    seed("identity", "data", serde_json::to_vec(&state.to_data(&did))?)
}

fn tokens() -> Outcome<()> {
    let (did, hmac, lxm) = (did()?, HmacKey::new(&[7; 32])?, Nsid::parse("com.atproto.server.createAccount")?);
    let aud = Did::parse("did:web:example.com")?;
    let now = 1_700_000_000;
    seed("jwt", "access", access_token(&hmac, &aud, &did, Scope::Access, now))?;
    seed("jwt", "refresh", refresh_token(&hmac, &aud, &did, "id", now))?;
    for (name, curve) in [("service-k256", Curve::K256), ("service-p256", Curve::P256)] {
        let token = NewToken { iss: &did, aud: aud.as_str(), lxm: Some(&lxm), iat: now, exp: now + 60, jti: [7; 16] };
        seed("jwt", name, token.sign(&SigningKey::from_bytes(curve, &[7; 32])?))?;
    }
    seed("jwt", "audience", "did:web:example.com#bsky_appview")
}

fn identifiers() -> Outcome<()> {
    let texts = [
        ("did-plc", "did:plc:ewvi7nxzyoun6zhxrhs64oiz"),
        ("did-web", "did:web:example.com%3A8080"),
        ("handle", "Alice.example-1.com"),
        ("nsid", "com.example.fooBar"),
        ("record-key", "a.-:_~9"),
        ("path", "app.bsky.feed.post/3jzfcijpj2z2a"),
        ("tid", "3jzfcijpj2z2a"),
        ("at-uri", "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3jzfcijpj2z2a"),
        ("at-uri-handle", "at://alice.example.com"),
        ("datetime", "2026-01-02T03:04:05.678901-12:30"),
        ("datetime-leap", "2000-02-29T23:59:59Z"),
        ("language", "zh-cmn-Hans-CN-u-co-phonebk-x-a"),
        ("language-grandfathered", "i-klingon"),
        ("uri", "https://user@example.com:80/a?b#c"),
        ("cid", CID),
    ];
    texts.iter().try_for_each(|(name, text)| seed("syntax", name, text))
}

fn lexicons() -> Outcome<()> {
    let schema = json!({"lexicon": 1, "id": "com.example.thing", "defs": {
        "main": {"type": "record", "key": "any", "record": {"type": "object", "required": ["a"], "nullable": ["n"],
            "properties": {
                "a": {"type": "integer", "minimum": 1, "maximum": 9, "enum": [1, 2, 3], "default": 1},
                "s": {"type": "string", "format": "at-uri", "maxLength": 99, "maxGraphemes": 9, "knownValues": ["x"]},
                "n": {"type": "boolean", "const": true}, "b": {"type": "bytes", "minLength": 1, "maxLength": 3},
                "c": {"type": "cid-link"}, "d": {"type": "blob", "accept": ["image/*"], "maxSize": 9},
                "l": {"type": "array", "maxLength": 3, "items": {"type": "ref", "ref": "#other"}},
                "u": {"type": "union", "refs": ["#other", "com.example.far"], "closed": true},
                "x": {"type": "unknown"}}}},
        "other": {"type": "object", "properties": {"more": {"type": "ref", "ref": "#other"}}},
        "name": {"type": "token"}}});
    let query = json!({"lexicon": 1, "id": "com.example.ask", "defs": {"main": {"type": "query",
        "parameters": {"type": "params", "required": ["q"], "properties": {"q": {"type": "string"},
            "many": {"type": "array", "items": {"type": "integer"}}}},
        "output": {"encoding": "application/json", "schema": {"type": "object", "properties": {}}},
        "errors": [{"name": "Gone"}]}}});
    let set = json!({"lexicon": 1, "id": "com.example.set", "defs": {"main": {"type": "permission-set", "title": "a",
        "permissions": [{"type": "permission", "resource": "repo", "collection": ["com.example.thing"]}]}}});
    let thing = json!({"$type": "com.example.thing", "a": 2, "n": null, "s": "at://a.example.com", "b": {"$bytes": "AA"},
        "c": {"$link": CID}, "l": [{"more": {"more": {}}}], "u": {"$type": "com.example.thing#other"}, "x": {"y": []}});
    for (name, document, record) in [
        ("record", &schema, &thing),
        ("query", &query, &thing),
        ("set", &set, &post("hé")),
        ("post", &schema, &post("a")),
    ] {
        seed("lexicon", name, [serde_json::to_vec(document)?, vec![0], serde_json::to_vec(record)?].concat())?;
    }
    Ok(())
}

/// Messages, a snapshot and signed requests, each behind the byte that the target tells them apart by.
fn link() -> Outcome<()> {
    let (account, cid) = (did()?, Cid::parse(BLOB)?);
    let replica = Replica { account: account.clone(), region: Region::parse("weur")? };
    let blobs = vec![PublicBlob { cid: cid.clone(), mime_type: "image/png".to_owned(), size: 7 }];
    let state = LinkState {
        version: 7,
        status: Some(AccountStatus::Deactivated),
        handle: Some(Handle::parse("alice.example.com")?),
        did_document: Some("{}".to_owned()),
        signing_key: key()?.public_key(),
        taken_down_records: vec!["app.bsky.feed.post/3jzfcijpj2z2a".to_owned()],
        taken_down_blobs: vec![cid.clone()],
        deleted_blobs: Vec::new(),
    };
    let commit = Change::Commit(PushedCommit { frame: b"frame".as_slice().into(), blobs: blobs.clone() });
    let push = |change| Push { account: account.clone(), position: Position(9), previous: Position(8), change };
    let (commit, changed) = (push(commit), push(Change::State(Box::new(state.clone()))));
    let lease = Lease { millis: 60_000 };
    let pulled = PullAnswer::Changes { pushes: vec![commit.clone(), changed.clone()], more: true, lease };
    let region = RegionAnswer {
        position: Position(9),
        lease,
        complete: true,
        changed: vec![Changed { account: account.clone(), position: Position(9) }],
        behind: vec![account.clone()],
        handles: vec![Handle::parse("alice.example.com")?],
        server: 3,
    };
    let purge = Purge { account: account.clone(), scope: PurgeScope::Blobs(vec![cid]) };
    let message = |name: &str, body: Vec<u8>| seed("link", name, [vec![0], body].concat());
    message("push-commit", link::encode(&commit)?)?;
    message("push-state", link::encode(&changed)?)?;
    message("pull-answer", link::encode(&pulled)?)?;
    message("region-answer", link::encode(&region)?)?;
    message("replica", link::encode(&replica)?)?;
    message("purge", link::encode(&purge)?)?;

    let revision = Revision { rev: Tid::from_parts(1_700_000_000_000_000, 7), commit: Cid::of_cbor(b"commit") };
    let head = SnapshotHead { account: account.clone(), position: Position(9), state, revision: Some(revision) };
    let mut out = vec![1];
    let mut snapshot = SnapshotWriter::new(&head, &mut out)?;
    snapshot.block(&Cid::of_cbor(b"commit"), b"commit", &mut out);
    snapshot.records(&[LinkRecord { path: "a.b.c/d".to_owned(), cid: Cid::of_cbor(b"record") }], &mut out)?;
    snapshot.blobs(&blobs, &mut out)?;
    snapshot.end(&mut out)?;
    seed("link", "snapshot", out)?;

    let request = |path: &str, headers: &[(&str, String)]| {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("\u{2}POST\n{path}\n{headers}")
    };
    let now = 1_700_000_000;
    let path = replica.push_path();
    let signed = Request { method: "POST", path: &path };
    let feed = FeedKeys::new(&[7; 32], None)?.sign(signed, BodyDigest::of(b"")?, now, [7; 16]);
    seed("link", "feed", request(&path, &feed))?;
    let path = "/xrpc/com.atproto.server.createAccount?a=b";
    let vouched = Vouched { client: [192, 0, 2, 1].into(), host: "pds.example.com".to_owned(), region: replica.region };
    let forward = ForwardKeys::new(&[7; 32], None)?.sign(Request { method: "POST", path }, &vouched, now);
    seed("link", "forward", request(path, &forward))
}
