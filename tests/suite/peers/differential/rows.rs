//! The table of requests: for every route one that is right, and from it every kind of wrong one.

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use shared::cid::Cid;
use shared::repo::{Block, car};
use shared::syntax::Did;
use shared::token::HmacKey;
use shared::token::session::{self, Scope};
use tests::Repository;
use tests::peers::ADMIN_PASSWORD;

use super::super::caller::{As, Caller};
use super::super::world::World;

/// How large a file may be that is imported, in bytes.
pub(super) const IMPORT_LIMIT: usize = 2_000_000;

/// The view of the network that calls are passed on to.
pub(super) const VIEW: &str = "did:web:view.test";
/// A feed and a post that it knows.
const FEED: &str = "at://did:plc:7iza6de2dwap2sbkpav7c6c6/app.bsky.feed.generator/one";
const THREAD: &str = "at://did:plc:7iza6de2dwap2sbkpav7c6c6/app.bsky.feed.post/one";

/// One request.
#[derive(Debug)]
pub(super) struct Row {
    /// What is asked, and what is wrong with it.
    pub(super) name: String,
    pub(super) method: Method,
    /// With the query.
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Vec<u8>>,
    /// Whether the body is sent in chunks, its length not told before.
    pub(super) chunked: bool,
}

impl Row {
    fn new(method: Method, path: &str) -> Self {
        Self {
            name: format!("{method} {path}"),
            method,
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
            chunked: false,
        }
    }

    fn but(mut self, what: &str) -> Self {
        self.name = format!("{}, {what}", self.name);
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn authorized(self, who: &str) -> Self {
        if who.is_empty() { self } else { self.header("authorization", who) }
    }

    fn bytes(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self
    }

    fn chunked(mut self) -> Self {
        self.chunked = true;
        self.but("in chunks")
    }

    fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").bytes(&serde_json::to_vec(body).unwrap())
    }
}

/// Credentials of all kinds, as the header has them.
struct Credentials {
    alice: String,
    admin: String,
    bad: Vec<(&'static str, String)>,
}

impl Credentials {
    async fn new(world: &World, caller: &Caller<'_>) -> Self {
        let bearer = |token: &str| format!("Bearer {token}");
        let app = caller.log_in("alice.test", &world.app_password).await;
        let [service, alice, nobody] =
            ["did:web:pds.example.com", &world.alice.did, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"]
                .map(|did| Did::parse(did).unwrap());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let key = HmacKey::new(b"the secret of all sessions").unwrap();
        let made =
            |key: &HmacKey, aud: &Did, did: &Did, scope, at| bearer(&session::access_token(key, aud, did, scope, at));
        let other = HmacKey::new(b"another secret").unwrap();
        let bad = vec![
            ("without credentials", String::new()),
            ("with a scheme alone", "Bearer".to_owned()),
            ("with three words", "Bearer one two".to_owned()),
            ("with an unknown scheme", "Digest abc".to_owned()),
            ("with nonsense in Basic", "Basic !!!".to_owned()),
            ("with the administrator's name and a wrong password", basic("admin", "wrong")),
            ("with another name and the right password", basic("root", ADMIN_PASSWORD)),
            ("as the administrator", basic("admin", ADMIN_PASSWORD)),
            ("with a token that is none", "Bearer nonsense".to_owned()),
            ("with three parts of nothing", "Bearer a.b.c".to_owned()),
            ("with a refresh token", bearer(&world.bob.refresh)),
            ("with an expired token", made(&key, &service, &alice, Scope::Access, now - 3 * 3600)),
            ("with another server's key", made(&other, &service, &alice, Scope::Access, now)),
            ("with a token for another server", made(&key, &nobody, &alice, Scope::Access, now)),
            ("with the token of nobody here", made(&key, &service, &nobody, Scope::Access, now)),
            ("with a token for a sign-up queue", made(&key, &service, &alice, Scope::SignupQueued, now)),
            ("with a token of a taken down account", made(&key, &service, &alice, Scope::Takendown, now)),
            ("with an app password's session", bearer(app["accessJwt"].as_str().unwrap())),
            ("as a deactivated account", bearer(&world.gone.access)),
            ("as another account", bearer(&world.bob.access)),
            ("with DPoP and no proof", "DPoP nonsense".to_owned()),
        ];
        Self { alice: bearer(&world.alice.access), admin: basic("admin", ADMIN_PASSWORD), bad }
    }
}

fn basic(name: &str, password: &str) -> String {
    let request = reqwest::Client::new().get("http://localhost/").basic_auth(name, Some(password)).build().unwrap();
    request.headers()["authorization"].to_str().unwrap().to_owned()
}

/// Every request, in an order in which what one does is the same for those after it on both servers.
pub(super) async fn rows(world: &World, caller: &Caller<'_>) -> Vec<Row> {
    let credentials = Credentials::new(world, caller).await;
    let mut rows = paths();
    for (nsid, who, parameters) in queries(world, caller, &credentials).await {
        query(&nsid, &who, &parameters, &credentials, &mut rows);
    }
    for (nsid, who, input) in procedures(world, &credentials) {
        procedure(&nsid, &who, &input, &credentials, &mut rows);
    }
    rows.extend(blobs(&credentials));
    rows.extend(imports(&credentials, &world.alice.did).await);
    rows
}

type Parameters = Vec<(&'static str, String)>;
type Borrowed<'a> = Vec<(&'static str, &'a str)>;

async fn queries(world: &World, caller: &Caller<'_>, known: &Credentials) -> Vec<(String, String, Parameters)> {
    let did = &world.alice.did;
    let listed = format!("com.atproto.repo.listRecords?repo={did}&collection=app.bsky.feed.post");
    let listed = caller.get_json(&listed, As::Nobody).await;
    let record = &listed["records"][0];
    let rkey = record["uri"].as_str().unwrap().rsplit('/').next().unwrap();
    let cid = record["cid"].as_str().unwrap();
    let head = caller.get_json(&format!("com.atproto.sync.getLatestCommit?did={did}"), As::Nobody).await;
    let rev = head["rev"].as_str().unwrap();
    let blobs = caller.get_json(&format!("com.atproto.sync.listBlobs?did={did}"), As::Nobody).await;
    let blob = blobs["cids"][0].as_str().unwrap();
    let (nobody, alice, admin) = ("", known.alice.as_str(), known.admin.as_str());
    let post = "app.bsky.feed.post";
    let table: Vec<(&str, &str, Borrowed<'_>)> = vec![
        ("identity.resolveHandle", nobody, vec![("handle", "alice.test")]),
        ("identity.resolveHandle", nobody, vec![("handle", "gone.test")]),
        ("identity.resolveHandle", nobody, vec![("handle", "nobody-here.test")]),
        ("identity.getRecommendedDidCredentials", alice, vec![]),
        ("repo.describeRepo", nobody, vec![("repo", did)]),
        ("repo.describeRepo", nobody, vec![("repo", "alice.test")]),
        ("repo.describeRepo", nobody, vec![("repo", &world.gone.did)]),
        ("repo.getRecord", nobody, vec![("repo", did), ("collection", post), ("rkey", rkey), ("cid", cid)]),
        ("repo.getRecord", nobody, vec![("repo", "alice.test"), ("collection", post), ("rkey", "missing")]),
        ("repo.getRecord", nobody, vec![("repo", &world.gone.did), ("collection", post), ("rkey", rkey)]),
        (
            "repo.listRecords",
            nobody,
            vec![("repo", did), ("collection", post), ("limit", "3"), ("cursor", rkey), ("reverse", "true")],
        ),
        ("repo.listRecords", nobody, vec![("repo", &world.gone.did), ("collection", post)]),
        ("repo.listMissingBlobs", alice, vec![("limit", "10"), ("cursor", cid)]),
        ("server.describeServer", nobody, vec![]),
        ("server.getSession", alice, vec![]),
        ("server.listAppPasswords", alice, vec![]),
        ("server.getAccountInviteCodes", alice, vec![("includeUsed", "false"), ("createAvailable", "false")]),
        ("server.checkAccountStatus", alice, vec![]),
        ("server.getServiceAuth", alice, vec![("aud", "did:web:example.com"), ("lxm", "app.bsky.feed.getTimeline")]),
        ("server.getServiceAuth", alice, vec![("aud", "did:web:example.com"), ("exp", "1")]),
        ("server.getServiceAuth", alice, vec![("aud", "did:web:example.com"), ("exp", "99999999999")]),
        (
            "server.getServiceAuth",
            alice,
            vec![("aud", "did:web:example.com"), ("lxm", "com.atproto.server.getSession")],
        ),
        ("sync.getBlob", nobody, vec![("did", did), ("cid", blob)]),
        ("sync.getBlob", nobody, vec![("did", &world.gone.did), ("cid", blob)]),
        ("sync.getBlob", nobody, vec![("did", did), ("cid", cid)]),
        ("sync.getBlocks", nobody, vec![("did", did), ("cids", cid)]),
        ("sync.getBlocks", nobody, vec![("did", did), ("cids", blob)]),
        ("sync.getCheckout", nobody, vec![("did", did)]),
        ("sync.getHead", nobody, vec![("did", did)]),
        ("sync.getLatestCommit", nobody, vec![("did", did)]),
        ("sync.getLatestCommit", nobody, vec![("did", &world.gone.did)]),
        ("sync.getRecord", nobody, vec![("did", did), ("collection", post), ("rkey", rkey)]),
        ("sync.getRecord", nobody, vec![("did", did), ("collection", post), ("rkey", "missing")]),
        ("sync.getRepo", nobody, vec![("did", did), ("since", rev)]),
        ("sync.getRepo", nobody, vec![("did", &world.gone.did)]),
        ("sync.getRepoStatus", nobody, vec![("did", did)]),
        ("sync.getRepoStatus", nobody, vec![("did", &world.gone.did)]),
        ("sync.listBlobs", nobody, vec![("did", did), ("since", rev), ("limit", "10"), ("cursor", blob)]),
        ("sync.listRepos", nobody, vec![("limit", "1"), ("cursor", "1700000000000::did:plc:abc")]),
        ("admin.getAccountInfo", admin, vec![("did", did)]),
        ("admin.getAccountInfos", admin, vec![("dids", did)]),
        ("admin.getInviteCodes", admin, vec![("sort", "recent"), ("limit", "10")]),
        ("admin.getInviteCodes", admin, vec![("sort", "usage"), ("cursor", "nonsense")]),
        ("admin.getSubjectStatus", admin, vec![("did", did)]),
        ("admin.getSubjectStatus", admin, vec![("did", did), ("blob", blob)]),
        ("temp.checkSignupQueue", alice, vec![]),
        ("app.bsky.actor.getPreferences", alice, vec![]),
        ("app.bsky.actor.getProfile", alice, vec![("actor", did)]),
        ("app.bsky.actor.getProfiles", alice, vec![("actors", did)]),
        ("app.bsky.feed.getActorLikes", alice, vec![("actor", did), ("limit", "10")]),
        ("app.bsky.feed.getAuthorFeed", alice, vec![("actor", did), ("limit", "10")]),
        ("app.bsky.feed.getFeed", alice, vec![("feed", FEED), ("limit", "10")]),
        ("app.bsky.feed.getPostThread", alice, vec![("uri", THREAD), ("depth", "3")]),
        ("app.bsky.feed.getTimeline", alice, vec![("limit", "10")]),
        ("app.bsky.graph.getFollows", alice, vec![("actor", did)]),
    ];
    let owned = |parameters: Borrowed<'_>| -> Parameters {
        parameters.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
    };
    table.into_iter().map(|(name, who, parameters)| (nsid(name), who.to_owned(), owned(parameters))).collect()
}

/// The name of a method; most are `com.atproto`'s.
fn nsid(name: &str) -> String {
    if name.starts_with("app.") { name.to_owned() } else { format!("com.atproto.{name}") }
}

fn procedures(world: &World, known: &Credentials) -> Vec<(String, String, Value)> {
    let did = &world.alice.did;
    let post = json!({ "text": "hello", "createdAt": "2026-01-01T00:00:00Z" });
    let key = "3jzfcijpj2z2a";
    let (nobody, alice, admin) = ("", known.alice.as_str(), known.admin.as_str());
    let refresh = format!("Bearer {}", world.alice.refresh);
    let preference = json!({ "$type": "app.bsky.actor.defs#adultContentPref", "enabled": true });
    let push = json!({ "serviceDid": VIEW, "token": "abc", "platform": "ios", "appId": "xyz.blueskyweb.app" });
    let table = [
        (
            "repo.createRecord",
            alice,
            json!({
                "repo": did, "collection": "app.bsky.feed.post", "validate": true, "record": post,
                "swapCommit": "bafyreib2rxk3rh6kzwq2d3dkvzrbzrrsyo5mmrmmpdfgpmmxkgqqqqqqqq",
            }),
        ),
        (
            "repo.putRecord",
            alice,
            json!({
                "repo": did, "collection": "app.bsky.feed.post", "rkey": key, "validate": true, "record": post,
                "swapRecord": null,
            }),
        ),
        ("repo.deleteRecord", alice, json!({ "repo": did, "collection": "app.bsky.feed.post", "rkey": key })),
        (
            "repo.applyWrites",
            alice,
            json!({ "repo": did, "validate": true, "writes": [{
            "$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post", "value": post,
        }] }),
        ),
        (
            "server.createAccount",
            nobody,
            json!({
                "handle": "dora.test", "email": "dora@example.com", "password": "password of dora",
                "inviteCode": "localhost-aaaaa-bbbbb",
            }),
        ),
        ("server.createSession", nobody, json!({ "identifier": "nobody-here.test", "password": "wrong" })),
        ("server.createInviteCode", admin, json!({ "useCount": 1, "forAccount": did })),
        ("server.createInviteCodes", admin, json!({ "codeCount": 2, "useCount": 1, "forAccounts": [did] })),
        ("server.createAppPassword", alice, json!({ "name": "tablet", "privileged": false })),
        ("server.revokeAppPassword", alice, json!({ "name": "no such" })),
        ("server.reserveSigningKey", nobody, json!({ "did": "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb" })),
        ("server.deactivateAccount", alice, json!({ "deleteAfter": "2100-01-01T00:00:00Z" })),
        ("server.activateAccount", alice, Value::Null),
        ("app.bsky.actor.putPreferences", alice, json!({ "preferences": [preference] })),
        ("app.bsky.notification.registerPush", alice, push.clone()),
        ("app.bsky.notification.unregisterPush", alice, push),
        (
            "moderation.createReport",
            alice,
            json!({
                "reasonType": "com.atproto.moderation.defs#reasonSpam", "reason": "too much",
                "subject": { "$type": "com.atproto.admin.defs#repoRef", "did": world.bob.did },
                "modTool": { "name": "a tool", "meta": { "any": [1, "thing"] } },
            }),
        ),
        ("server.requestPasswordReset", nobody, json!({ "email": "alice@example.com" })),
        ("server.resetPassword", nobody, json!({ "token": "AAAAA-BBBBB", "password": "new" })),
        ("server.requestEmailConfirmation", alice, Value::Null),
        ("server.confirmEmail", alice, json!({ "email": "alice@example.com", "token": "AAAAA-BBBBB" })),
        ("server.requestEmailUpdate", alice, Value::Null),
        ("server.updateEmail", alice, json!({ "email": "alice2@example.com" })),
        ("server.requestAccountDelete", alice, Value::Null),
        ("server.deleteAccount", nobody, json!({ "did": did, "password": "wrong", "token": "AAAAA-BBBBB" })),
        ("identity.updateHandle", alice, json!({ "handle": "alice-new.test" })),
        ("identity.requestPlcOperationSignature", alice, Value::Null),
        ("identity.signPlcOperation", alice, json!({ "token": "AAAAA-BBBBB" })),
        ("identity.submitPlcOperation", alice, json!({ "operation": { "type": "plc_operation" } })),
        ("admin.updateAccountEmail", admin, json!({ "account": did, "email": "alice3@example.com" })),
        ("admin.updateAccountHandle", admin, json!({ "did": did, "handle": "alice-admin.test" })),
        ("admin.disableInviteCodes", admin, json!({ "codes": ["localhost-aaaaa-bbbbb"], "accounts": [] })),
        ("admin.disableAccountInvites", admin, json!({ "account": did, "note": "enough" })),
        ("admin.enableAccountInvites", admin, json!({ "account": did })),
        (
            "admin.updateSubjectStatus",
            admin,
            json!({
                "subject": { "$type": "com.atproto.admin.defs#repoRef", "did": world.bob.did },
                "takedown": { "applied": false },
            }),
        ),
        (
            "admin.sendEmail",
            admin,
            json!({
                "recipientDid": world.bob.did, "content": "hello", "subject": "you", "senderDid": did,
                "comment": "none",
            }),
        ),
        ("admin.updateAccountPassword", admin, json!({ "did": world.gone.did, "password": "new password" })),
        ("admin.deleteAccount", admin, json!({ "did": "did:plc:cccccccccccccccccccccccc" })),
        ("server.refreshSession", refresh.as_str(), Value::Null),
        ("server.deleteSession", refresh.as_str(), Value::Null),
    ];
    table.into_iter().map(|(name, who, input)| (nsid(name), who.to_owned(), input)).collect()
}

/// The right request, and every way in which its parameters, credentials or method can be wrong.
fn query(nsid: &str, who: &str, parameters: &Parameters, known: &Credentials, rows: &mut Vec<Row>) {
    let ask = |parameters: &Parameters| {
        let path = if parameters.is_empty() {
            format!("/xrpc/{nsid}")
        } else {
            format!("/xrpc/{nsid}?{}", encode(parameters))
        };
        Row::new(Method::GET, &path).authorized(who)
    };
    rows.push(ask(parameters));
    for at in 0..parameters.len() {
        let mut without = parameters.clone();
        let (name, value) = without.remove(at);
        rows.push(ask(&without).but(&format!("without {name}")));
        let long = "a".repeat(3000);
        let odd = ["", "!!", "0", "-1", "1001", "true", "did:plc:nobody", "a.b.c", "\u{1F600}", &long];
        for bad in odd {
            let mut wrong = parameters.clone();
            bad.clone_into(&mut wrong[at].1);
            rows.push(ask(&wrong).but(&format!("{name} wrong")));
        }
        let mut twice = parameters.clone();
        twice.push((name, value));
        rows.push(ask(&twice).but(&format!("{name} twice")));
    }
    let mut more = parameters.clone();
    more.push(("unknown", "1".to_owned()));
    rows.push(ask(&more).but("one more"));
    for (what, bad) in &known.bad {
        let mut row = ask(parameters).but(what);
        row.headers.clear();
        rows.push(row.authorized(bad));
    }
    rows.push(ask(parameters).but("with a body").json(&json!({})));
    let post = ask(parameters);
    rows.push(Row { method: Method::POST, name: format!("POST instead of {}", post.name), ..post });
}

fn encode(parameters: &Parameters) -> String {
    let request = reqwest::Client::new().get("http://localhost/").query(parameters).build().unwrap();
    request.url().query().unwrap_or_default().to_owned()
}

/// The right request last, after every way in which its input, credentials or method can be wrong.
fn procedure(nsid: &str, who: &str, input: &Value, known: &Credentials, rows: &mut Vec<Row>) {
    let path = format!("/xrpc/{nsid}");
    let ask = || Row::new(Method::POST, &path).authorized(who);
    let with = |row: Row, input: &Value| if input.is_null() { row } else { row.json(input) };
    rows.push(Row::new(Method::GET, &path).authorized(who));
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        rows.push(with(Row::new(method, &path).authorized(who), input));
    }
    for (what, bad) in &known.bad {
        let only_scrypt = nsid.ends_with("createSession");
        if !only_scrypt {
            rows.push(with(Row::new(Method::POST, &path).but(what).authorized(bad), input));
        }
    }
    let query = format!("{path}?unknown=1");
    rows.push(Row::new(Method::POST, &query).authorized(who));
    rows.extend(bodies(&ask));
    for (what, wrong) in variants(input) {
        rows.push(ask().but(&what).json(&wrong));
    }
    rows.push(with(ask(), input).but("as it should be"));
}

/// Bodies that are wrong for every method with an input in JSON.
fn bodies(ask: &dyn Fn() -> Row) -> Vec<Row> {
    let kind = |value: &str| ask().header("content-type", value);
    let json = || kind("application/json");
    let nested = [b"[".repeat(5000), b"]".repeat(5000)].concat();
    let large = [b"{\"a\":\"".to_vec(), vec![b'a'; 1_100_000], b"\"}".to_vec()].concat();
    vec![
        ask().but("without a body"),
        json().bytes(b"").but("with an empty body"),
        ask().bytes(b"{}").but("without a content type"),
        kind("text/plain").bytes(b"{}").but("as text"),
        kind("application/x-www-form-urlencoded").bytes(b"a=b").but("as a form"),
        kind("application/cbor").bytes(b"\xa0").but("as CBOR"),
        kind("nonsense").bytes(b"{}").but("as nonsense"),
        kind("application/json; charset=utf-8").bytes(b"{}").but("empty object with a charset"),
        json().bytes(b"{").but("JSON cut off"),
        json().bytes(b"{\"a\":1}}").but("more than JSON"),
        json().bytes(b"{\"a\":\"\xff\"}").but("not UTF-8"),
        json().bytes(b"{\"a\":\"\\ud800\"}").but("half a surrogate"),
        json().bytes(b"null").but("null"),
        json().bytes(b"17").but("a number"),
        json().bytes(b"\"text\"").but("a string"),
        json().bytes(b"[]").but("a list"),
        json().bytes(b"{}").but("an empty object"),
        json().bytes(b"{\"__proto__\":{}}").but("a prototype"),
        json().bytes(&nested).but("nested deeply"),
        json().bytes(&large).but("too large"),
        json().bytes(&large).but("too large").chunked(),
        json().bytes(b"{\"a\":1").but("JSON cut off").chunked(),
        json().bytes(b"{}").but("an empty object").chunked(),
        ask().bytes(b"{}").but("without a content type").chunked(),
        json().header("content-encoding", "gzip").bytes(b"{}").but("not gzip"),
        json().header("content-encoding", "nonsense").bytes(b"{}").but("an unknown coding"),
    ]
}

/// `input` with one thing wrong, for each field and each kind of wrong.
fn variants(input: &Value) -> Vec<(String, Value)> {
    let Some(fields) = input.as_object() else { return Vec::new() };
    let mut variants = Vec::new();
    for name in fields.keys() {
        let mut without = input.clone();
        without.as_object_mut().unwrap().remove(name);
        variants.push((format!("without {name}"), without));
        let odd = [
            json!(null),
            json!(17),
            json!(1.5),
            json!(true),
            json!("nonsense!"),
            json!(""),
            json!([]),
            json!({}),
            json!(["text"]),
            json!({ "$type": "nonsense" }),
            json!("a".repeat(3000)),
        ];
        for bad in odd {
            if *name == "password" && bad.is_string() {
                continue;
            }
            let mut wrong = input.clone();
            let label = bad.to_string().chars().take(20).collect::<String>();
            wrong[name] = bad;
            variants.push((format!("{name} {label}"), wrong));
        }
    }
    variants
}

fn blobs(known: &Credentials) -> Vec<Row> {
    let path = "/xrpc/com.atproto.repo.uploadBlob";
    let ask = || Row::new(Method::POST, path).authorized(&known.alice);
    let kind = |value: &str| ask().header("content-type", value);
    let mut rows = vec![
        kind("text/plain").bytes(b"hello").but("text"),
        kind("text/plain").bytes(b"").but("empty"),
        ask().bytes(b"hello").but("without a content type"),
        ask().but("without a body"),
        kind("nonsense").bytes(b"hello").but("of no kind"),
        kind("*/*").bytes(b"hello").but("of every kind"),
        kind("text/plain").header("content-encoding", "gzip").bytes(b"hello").but("not gzip"),
        kind("text/plain").header("content-encoding", "nonsense").bytes(b"hello").but("an unknown coding"),
        kind("text/plain").bytes(&vec![b'a'; 6_000_000]).but("too large"),
        kind("text/plain").bytes(&vec![b'a'; 6_000_000]).but("too large").chunked(),
        kind("text/plain").bytes(b"hello in chunks").but("text").chunked(),
        kind("text/plain").bytes(b"").but("empty").chunked(),
        ask().bytes(b"hello").but("without a content type").chunked(),
        Row::new(Method::GET, path).authorized(&known.alice),
    ];
    for (what, bad) in &known.bad {
        rows.push(
            Row::new(Method::POST, path).but(what).authorized(bad).header("content-type", "text/plain").bytes(b"x"),
        );
    }
    rows
}

/// Files that are no sound repository of the account, and hostile CBOR in them.
async fn imports(known: &Credentials, did: &str) -> Vec<Row> {
    let path = "/xrpc/com.atproto.repo.importRepo";
    let ask = || Row::new(Method::POST, path).authorized(&known.alice);
    let file = |bytes: &[u8]| ask().header("content-type", "application/vnd.ipld.car").bytes(bytes);
    let mut sound = Vec::new();
    let mut pieces = Box::pin(Repository::new(did, 20, 100).file());
    while let Some(piece) = pieces.next().await {
        sound.extend_from_slice(&piece.unwrap());
    }
    let blocks = car::read(sound.clone().into(), car::MAX_BLOCK_LEN).unwrap();
    let root = blocks.single_root().unwrap().clone();
    let of = |roots: &[Cid], blocks: &[Block]| {
        let mut file = car::header(roots);
        blocks.iter().for_each(|block| car::section(&block.cid, &block.bytes, &mut file));
        file
    };
    // A commit's place with CBOR that nobody may take for one.
    let hostile = |bytes: &[u8]| {
        let block = Block { cid: Cid::of_cbor(bytes), bytes: bytes.to_vec().into() };
        of(std::slice::from_ref(&block.cid), std::slice::from_ref(&block))
    };
    let mut flipped = sound.clone();
    *flipped.last_mut().unwrap() ^= 1;
    // Sound as far as anybody reads.
    let mut large = sound.clone();
    while large.len() <= IMPORT_LIMIT {
        let record = vec![0x60; 100_000];
        car::section(&Cid::of_cbor(&record), &record, &mut large);
    }
    let deep = [b"\x81".repeat(100_000), b"\x00".to_vec()].concat();
    let mut rows = vec![
        ask().but("without a body"),
        file(b"").but("nothing"),
        file(b"hello, world").but("no car"),
        file(&sound[..sound.len() - 1]).but("cut off"),
        file(&sound[..sound.len() - 1]).but("cut off").chunked(),
        file(&sound[..10]).but("cut off in its header"),
        file(&large).but("too large"),
        file(&large).but("too large").chunked(),
        file(&flipped).but("a flipped bit"),
        file(&[0xff; 64]).but("a length without an end"),
        file(&car::header(std::slice::from_ref(&root))).but("a header alone"),
        file(&of(&[], &blocks.blocks)).but("no root"),
        file(&of(&[root.clone(), blocks.blocks[1].cid.clone()], &blocks.blocks)).but("two roots"),
        file(&of(std::slice::from_ref(&blocks.blocks.last().unwrap().cid), &blocks.blocks)).but("a record as root"),
        file(&of(std::slice::from_ref(&root), &blocks.blocks[..blocks.blocks.len() - 1])).but("a record less"),
        file(&of(std::slice::from_ref(&root), &blocks.blocks[..1])).but("the commit alone"),
        file(&hostile(b"\xa0")).but("an empty map as commit"),
        file(&hostile(b"\x80")).but("a list as commit"),
        file(&hostile(b"\x00")).but("a number as commit"),
        file(&hostile(b"\xa1\x61a")).but("CBOR cut off"),
        file(&hostile(b"\xbf\xff")).but("an endless map"),
        file(&hostile(b"\xfb\x7f\xf8\0\0\0\0\0\0")).but("not a number"),
        file(&hostile(b"\xd8\x2a\x41\x00")).but("a link to nothing"),
        file(&hostile(b"\xa2\x61a\x00\x61a\x01")).but("a key twice"),
        file(&hostile(b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff")).but("a list of more than there is"),
        file(&hostile(&deep)).but("lists in lists"),
        ask().header("content-type", "application/cbor").bytes(&sound).but("as CBOR"),
        ask().header("content-type", "application/json").bytes(b"{}").but("as JSON"),
        ask().bytes(&sound).but("without a content type"),
        file(&sound).header("content-encoding", "gzip").but("not gzip"),
        file(&sound).header("content-encoding", "nonsense").but("an unknown coding"),
        Row::new(Method::GET, path).authorized(&known.alice),
    ];
    for (what, bad) in &known.bad {
        let row = Row::new(Method::POST, path).but(what).authorized(bad);
        rows.push(row.header("content-type", "application/vnd.ipld.car").bytes(&sound));
    }
    rows
}

/// Paths that name no method, and what is not a method.
fn paths() -> Vec<Row> {
    let paths = [
        "/",
        "/robots.txt",
        "/nothing",
        "/xrpc",
        "/xrpc/",
        "/xrpc/a",
        "/xrpc/_health",
        "/xrpc/a.b.c",
        "/xrpc//a.b.c",
        "/xrpc/com.atproto.server.describeServer/",
        "/xrpc/com.atproto.server.describeServer//",
        "/xrpc/com.atproto.server.describeServer/more",
        "/xrpc/COM.ATPROTO.SERVER.DESCRIBESERVER",
        "/xrpc/com.atproto.server..describeServer",
        "/xrpc/com.atproto.server.nothing",
        "/xrpc/-a.b.c",
        "/xrpc/a_b.c.d",
        "/xrpc/app.bsky.feed.getTimeline",
        "/xrpc/com.atproto.sync.subscribeRepos",
        "/xrpc/com.atproto.admin.sendEmail",
        "/.well-known/nothing",
        "/tls-check",
        "/.well-known/atproto-did",
    ];
    let mut rows = Vec::new();
    for path in paths {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            rows.push(Row::new(method, path));
        }
    }
    rows
}
