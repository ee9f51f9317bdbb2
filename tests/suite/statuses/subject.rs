//! Accounts of every status on whichever server, each with one of everything that a call may need.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder};
use rusqlite::Connection;
use serde_json::{Value, json};
use shared::crypto::{Curve, SigningKey};
use shared::data;
use shared::identity::plc::{Body, Operation};
use shared::syntax::Did;
use shared::token::session::{Scope, access_token, refresh_token};
use shared::token::{HmacKey, Signer, sign};
use tests::Plc;

/// The administrator's password of a server whose statuses are asked for.
pub(crate) const ADMIN: (&str, &str) = ("PDS_ADMIN_PASSWORD", "admin password");
/// The secret of its sessions.
pub(crate) const JWT: (&str, &str) = ("PDS_JWT_SECRET", "the secret of all sessions");
/// The service that it passes calls on to.
pub(crate) const VIEW: &str = "did:web:view.test";
/// The DID of such a server.
const HERE: &str = "did:web:localhost";
/// The byte that its rotation key is made of.
const ROTATION: u8 = 0x5d;
/// An account that is not here, nor known to the directory.
const NOBODY: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
pub(super) const PASSWORD: &str = "correct horse";
/// What codes are mailed for.
const PURPOSES: [&str; 5] = ["confirm_email", "update_email", "reset_password", "delete_account", "plc_operation"];

/// What an account can be worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Deactivated,
    Takendown,
    Deleted,
    /// It was never here.
    Unknown,
}

impl Status {
    pub(crate) const ALL: [Self; 5] = [Self::Active, Self::Deactivated, Self::Takendown, Self::Deleted, Self::Unknown];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::Takendown => "takendown",
            Self::Deleted => "deleted",
            Self::Unknown => "unknown",
        }
    }
}

/// What a server whose statuses are asked for has to know, `view` being the service that it passes calls on to.
pub(crate) fn environment(view: &str) -> Vec<(&'static str, String)> {
    let own = [ADMIN, JWT].map(|(name, value)| (name, value.to_owned()));
    let more = [
        ("PDS_INVITE_REQUIRED", "false".to_owned()),
        ("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", data_encoding::HEXLOWER.encode(&[ROTATION; 32])),
        ("PDS_BSKY_APP_VIEW_URL", view.to_owned()),
        ("PDS_BSKY_APP_VIEW_DID", VIEW.to_owned()),
        ("PDS_MOD_SERVICE_URL", view.to_owned()),
        ("PDS_MOD_SERVICE_DID", VIEW.to_owned()),
    ];
    own.into_iter().chain(more).collect()
}

/// A server of either kind, started with [`environment`].
pub(crate) struct Server<'a> {
    /// Without a slash at the end.
    pub(crate) url: String,
    /// Where its data is.
    pub(crate) directory: PathBuf,
    pub(crate) plc: &'a Plc,
}

impl Server<'_> {
    pub(super) fn request(&self, method: Method, nsid: &str) -> RequestBuilder {
        Client::new().request(method, format!("{}/xrpc/{nsid}", self.url))
    }

    /// What a call has to succeed with.
    async fn body(&self, request: RequestBuilder) -> Bytes {
        let answer = request.send().await.unwrap();
        let (status, url) = (answer.status(), answer.url().clone());
        let body = answer.bytes().await.unwrap();
        assert_eq!(status, 200, "{url}: {}", String::from_utf8_lossy(&body));
        body
    }

    async fn json(&self, request: RequestBuilder) -> Value {
        serde_json::from_slice(&self.body(request).await).unwrap_or_default()
    }

    fn by_admin(&self, nsid: &str) -> RequestBuilder {
        self.request(Method::POST, nsid).basic_auth("admin", Some(ADMIN.1))
    }
}

/// An account, and what its owner has had since it was active.
pub(crate) struct Subject {
    pub(super) did: String,
    /// The first part of its handle.
    stem: String,
    pub(super) access: String,
    pub(super) refresh: String,
    pub(super) app_password: String,
    /// The CIDs of its blob and of its record, which names that.
    pub(super) blob: String,
    pub(super) record: String,
    /// Its repository.
    pub(super) file: Bytes,
    /// An operation of its DID that changes nothing, signed by the server.
    pub(super) operation: Value,
    /// Tokens of its own key, for uploadBlob and for createAccount.
    pub(super) upload_token: String,
    pub(super) move_token: String,
    /// The code in each of its mails.
    pub(super) code: String,
}

impl Subject {
    /// The `nth` account of this status.
    pub(super) async fn new(server: &Server<'_>, status: Status, nth: usize) -> Self {
        let mut it = Self::active(server, status, nth).await;
        let repo = json!({ "$type": "com.atproto.admin.defs#repoRef", "did": it.did });
        let call = match status {
            Status::Active => return it,
            Status::Deactivated => {
                let call = server.request(Method::POST, "com.atproto.server.deactivateAccount");
                call.bearer_auth(&it.access).json(&json!({}))
            }
            Status::Takendown => {
                let input = json!({ "subject": repo, "takedown": { "applied": true, "ref": "1" } });
                server.by_admin("com.atproto.admin.updateSubjectStatus").json(&input)
            }
            Status::Deleted => server.by_admin("com.atproto.admin.deleteAccount").json(&json!({ "did": it.did })),
            Status::Unknown => {
                it.is_nobody(nth);
                return it;
            }
        };
        server.body(call).await;
        it
    }

    async fn active(server: &Server<'_>, status: Status, nth: usize) -> Self {
        let stem = format!("{}-{nth}", status.name());
        let account = json!({ "handle": format!("{stem}.test"), "email": format!("{stem}@example.com"),
            "password": PASSWORD });
        let made = server.request(Method::POST, "com.atproto.server.createAccount").json(&account);
        let made = server.json(made).await;
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let (did, access) = (text(&made["did"]), text(&made["accessJwt"]));
        let post = |nsid: &str| server.request(Method::POST, nsid).bearer_auth(&access);
        let get =
            |nsid: &str, query: &[(&str, &str)]| server.request(Method::GET, nsid).bearer_auth(&access).query(query);

        let upload = post("com.atproto.repo.uploadBlob").header("content-type", "text/plain");
        let blob = server.json(upload.body(format!("blob of {stem}"))).await["blob"].clone();
        let record = json!({ "$type": "com.example.note", "blob": blob });
        let place = json!({ "repo": did, "collection": "com.example.note", "rkey": "one", "record": record });
        let written = server.json(post("com.atproto.repo.putRecord").json(&place)).await;
        let password = post("com.atproto.server.createAppPassword").json(&json!({ "name": "phone" }));
        let app_password = text(&server.json(password).await["password"]);
        let exp = (now() + 1800).to_string();
        let own_token = async |lxm: &str| {
            let query = [("aud", HERE), ("exp", exp.as_str()), ("lxm", lxm)];
            text(&server.json(get("com.atproto.server.getServiceAuth", &query)).await["token"])
        };
        let code = code(&stem);
        keep_code(server, &did, &code);
        Self {
            refresh: text(&made["refreshJwt"]),
            blob: text(&blob["ref"]["$link"]),
            record: text(&written["cid"]),
            file: server.body(get("com.atproto.sync.getRepo", &[("did", &did)])).await,
            operation: operation(server.plc, &did).await,
            upload_token: own_token("com.atproto.repo.uploadBlob").await,
            move_token: own_token("com.atproto.server.createAccount").await,
            did,
            stem,
            access,
            app_password,
            code,
        }
    }

    /// Turns it into one that was never here, with tokens that this server would have given it.
    fn is_nobody(&mut self, nth: usize) {
        let key = HmacKey::new(JWT.1.as_bytes()).unwrap();
        let (here, did) = (Did::parse(HERE).unwrap(), Did::parse(NOBODY).unwrap());
        self.access = access_token(&key, &here, &did, Scope::Access, now());
        self.refresh = refresh_token(&key, &here, &did, "never given", now());
        let own = |lxm: &str| {
            let claims = json!({ "iss": NOBODY, "aud": HERE, "lxm": lxm, "iat": now(), "exp": now() + 1800 });
            sign("JWT", &claims, Signer::Ecdsa(&SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap()))
        };
        self.upload_token = own("com.atproto.repo.uploadBlob");
        self.move_token = own("com.atproto.server.createAccount");
        NOBODY.clone_into(&mut self.did);
        self.stem = format!("nobody-{nth}");
        self.code = code(&self.stem);
    }

    pub(super) fn handle(&self) -> String {
        format!("{}.test", self.stem)
    }

    pub(super) fn email(&self) -> String {
        format!("{}@example.com", self.stem)
    }

    /// A handle and an address that nobody has yet.
    pub(super) fn other_handle(&self) -> String {
        format!("{}x.test", self.stem)
    }

    pub(super) fn other_email(&self) -> String {
        format!("{}x@example.com", self.stem)
    }

    pub(super) fn uri(&self) -> String {
        format!("at://{}/com.example.note/one", self.did)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A code in the form of mailed ones, another for each account.
fn code(stem: &str) -> String {
    let (name, nth) = stem.rsplit_once('-').unwrap();
    format!("{}-{nth:0>5}", &name.to_uppercase()[..5])
}

/// Has the server know a code of each kind, as if it had mailed it.
fn keep_code(server: &Server<'_>, did: &str, code: &str) {
    let accounts = Connection::open(server.directory.join("account.sqlite")).unwrap();
    accounts.busy_timeout(Duration::from_secs(5)).unwrap();
    let sql = "INSERT INTO email_token (purpose, did, token, requestedAt) \
        VALUES (?1, ?2, ?3, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))";
    for purpose in PURPOSES {
        accounts.execute(sql, [purpose, did, code]).unwrap();
    }
}

/// The next operation of a DID, by which all stays as it is.
async fn operation(plc: &Plc, did: &str) -> Value {
    let last = reqwest::get(plc.url(&format!("/{did}/log/last"))).await.unwrap().text().await.unwrap();
    let last = Operation::from_value(data::json::parse(last.as_bytes()).unwrap()).unwrap();
    let key = SigningKey::from_bytes(Curve::K256, &[ROTATION; 32]).unwrap();
    serde_json::to_value(Body::update(last.state().unwrap(), &last.cid()).sign(&key)).unwrap()
}
