//! A client of one server, and the accounts that it made there.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use rusqlite::{Connection, OpenFlags, Params};
use serde_json::{Value, json};
use shared::firehose::{Body, Kind};
use shared::syntax::Did;
use shared::token::HmacKey;
use shared::token::session::{Scope, access_token, refresh_token};
use tests::Pds;

/// The administrator's password of a [`Pds`] that is started with it.
pub(crate) const ADMIN: (&str, &str) = ("PDS_ADMIN_PASSWORD", "master:key");
/// The secret of its sessions.
pub(crate) const JWT: (&str, &str) = ("PDS_JWT_SECRET", "a secret that tests know");

/// What an answer came to: status, and its JSON or null.
pub(crate) type Answer = (u16, Value);

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum As<'a> {
    Nobody,
    Admin,
    Token(&'a str),
    Header(&'a str),
}

fn request(pds: &Pds, verb: Method, method: &str, by: As<'_>) -> RequestBuilder {
    let request = Client::new().request(verb, pds.url(&format!("/xrpc/com.atproto.{method}")));
    match by {
        As::Nobody => request,
        As::Admin => request.basic_auth("admin", Some(ADMIN.1)),
        As::Token(token) => request.bearer_auth(token),
        As::Header(value) => request.header("authorization", value),
    }
}

async fn answered(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap();
    (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
}

/// Calls a procedure.
pub(crate) async fn post(pds: &Pds, method: &str, by: As<'_>, input: Value) -> Answer {
    answered(request(pds, Method::POST, method, by).json(&input)).await
}

/// Calls a procedure that takes no input.
pub(crate) async fn poke(pds: &Pds, method: &str, by: As<'_>) -> Answer {
    answered(request(pds, Method::POST, method, by)).await
}

/// Calls a query.
pub(crate) async fn get(pds: &Pds, method: &str, by: As<'_>, params: &[(&str, &str)]) -> Answer {
    answered(request(pds, Method::GET, method, by).query(params)).await
}

/// Status and error name of a refusal.
pub(crate) fn refusal((status, body): &Answer) -> (u16, &str) {
    (*status, body["error"].as_str().unwrap_or_else(|| panic!("{status} {body}")))
}

pub(crate) fn message((_, body): &Answer) -> &str {
    body["message"].as_str().unwrap_or_else(|| panic!("{body}"))
}

/// An account and its first session.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) did: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl User {
    /// Signs up `name`.
    pub(crate) async fn new(pds: &Pds, name: &str) -> Self {
        Self::of(&crate::account::sign_up(pds, name).await)
    }

    pub(crate) fn of(session: &Value) -> Self {
        let field = |name: &str| session[name].as_str().unwrap_or_else(|| panic!("{session}")).to_owned();
        Self { did: field("did"), access: field("accessJwt"), refresh: field("refreshJwt") }
    }

    pub(crate) fn token(&self) -> As<'_> {
        As::Token(&self.access)
    }

    /// An access token of this account in another scope, or for another server, or of another time.
    pub(crate) fn minted(&self, scope: Scope, aud: &str, seconds_ago: u64) -> String {
        let key = HmacKey::new(JWT.1.as_bytes()).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let (aud, did) = (Did::parse(aud).unwrap(), Did::parse(&self.did).unwrap());
        access_token(&key, &aud, &did, scope, now - seconds_ago)
    }

    /// Every bearer that must never open what an account's own log-in opens, with the name of its refusal.
    pub(crate) fn bad_bearers(&self) -> Vec<(String, u16, &'static str)> {
        let key = HmacKey::new(b"another secret").unwrap();
        let (aud, did) = (Did::parse("did:web:localhost").unwrap(), Did::parse(&self.did).unwrap());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        vec![
            ("Bearer".to_owned(), 400, "InvalidToken"),
            ("Bearer x".to_owned(), 400, "InvalidToken"),
            ("Basic YWRtaW46bWFzdGVyOmtleQ==".to_owned(), 400, "InvalidToken"),
            (format!("Bearer {}", self.refresh), 400, "InvalidToken"),
            (format!("Bearer {}", self.minted(Scope::Access, "did:web:localhost", 3 * 3600)), 400, "ExpiredToken"),
            (format!("Bearer {}", self.minted(Scope::Access, "did:web:other.test", 0)), 400, "InvalidToken"),
            (format!("Bearer {}", access_token(&key, &aud, &did, Scope::Access, now)), 400, "InvalidToken"),
            (format!("Bearer {}", refresh_token(&key, &aud, &did, "x", now)), 400, "InvalidToken"),
        ]
    }
}

/// The accounts' database, beside the server.
pub(crate) fn accounts(pds: &Pds) -> Connection {
    let db = Connection::open(pds.directory().join("account.sqlite")).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db
}

/// Changes accounts behind the server's back, as what is not served yet would; how many rows. Waits for as long as the
/// server may know an account that it has read before.
pub(crate) fn meddle_with_accounts(pds: &Pds, sql: &str, params: impl Params) -> usize {
    let changed = accounts(pds).execute(sql, params).unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    changed
}

/// Makes a mailed token for `purpose`, as the database holds it.
pub(crate) fn mail_token(pds: &Pds, did: &str, purpose: &str, token: &str) {
    let sql = "INSERT OR REPLACE INTO email_token (purpose, did, token, requestedAt) \
        VALUES (?1, ?2, ?3, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))";
    accounts(pds).execute(sql, [purpose, did, token]).unwrap();
}

/// What the firehose tells of an account: the kinds of its events in order, `#account` with what it is worth.
pub(crate) fn told(pds: &Pds, did: &str) -> Vec<String> {
    let path = pds.directory().join("sequencer.sqlite");
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut rows = db.prepare("SELECT eventType, event FROM repo_seq WHERE did = ?1 ORDER BY seq").unwrap();
    let events = rows.query_map([did], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
    events
        .map(|event| {
            let (kind, body) = event.unwrap();
            let body = Body::from_stored(Kind::of_stored_name(&kind).unwrap(), body.into());
            match body.decode().unwrap() {
                shared::firehose::Event::Account(account) => {
                    let reason =
                        account.status.map_or("active".to_owned(), |status| json!(status).as_str().unwrap().to_owned());
                    format!("account {reason}")
                }
                shared::firehose::Event::Identity(identity) => format!("identity {}", identity.handle.unwrap()),
                _ => kind,
            }
        })
        .collect()
}
