//! Every route of the reference server but OAuth's: who may call it, how, and what who comes without a token is told; and
//! what each account's status makes of each read and write.

use std::collections::BTreeSet;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use shared::api::METHODS;
use tests::service::{Seen, Service};
use tests::{Pds, Plc};

use crate::client::{ADMIN, As, JWT, User, get, post};

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Anybody.
    Anybody,
    /// Anybody; who comes with a token has to be a service that acts for an account.
    ServiceOptional,
    /// Anybody; an account or the administrator sees more.
    Reader,
    /// An account here, by a session.
    Account,
    /// That, or the account by its own key.
    AccountOrService,
    /// An account here, or the moderator.
    AccountOrModerator,
    /// A session that is refreshed or ended.
    Refresh,
    /// The administrator.
    Admin,
    /// The administrator, or the moderator.
    Moderator,
}

use Who::*;

impl Who {
    /// What is told who comes without a token; `None` if that is no reason to refuse.
    fn refusal(self) -> Option<(u16, &'static str)> {
        match self {
            Anybody | ServiceOptional | Reader => None,
            Account | AccountOrService | AccountOrModerator | Refresh => Some((401, "AuthMissing")),
            Admin | Moderator => Some((401, "AuthenticationRequired")),
        }
    }

    /// What is told who comes with a bearer that is no token.
    fn refuses_nonsense(self) -> Option<(u16, &'static str)> {
        match self {
            Anybody => None,
            Admin => Some((401, "AuthenticationRequired")),
            ServiceOptional | Moderator => Some((401, "BadJwt")),
            Reader | Account | AccountOrService | AccountOrModerator | Refresh => Some((400, "InvalidToken")),
        }
    }
}

const Q: Method = Method::GET;
const P: Method = Method::POST;
/// An account, a record and a blob that are not here.
const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
const CID: &str = "bafkreibjfgx2gprinfvicegelk5kosd6y2frmqpqzwqkg7usac74l3t2v4";

/// Every route: its method, how it is called, by whom, and with which parameters it can be.
const ROUTES: &[(&str, Method, Who, &str)] = &[
    ("app.bsky.actor.getPreferences", Q, AccountOrModerator, ""),
    ("app.bsky.actor.getProfile", Q, Account, "actor=alice.test"),
    ("app.bsky.actor.getProfiles", Q, Account, "actors=alice.test"),
    ("app.bsky.actor.putPreferences", P, Account, ""),
    ("app.bsky.feed.getActorLikes", Q, Account, "actor=alice.test"),
    ("app.bsky.feed.getAuthorFeed", Q, Account, "actor=alice.test"),
    ("app.bsky.feed.getFeed", Q, Account, "feed=at://alice.test/app.bsky.feed.generator/x"),
    ("app.bsky.feed.getPostThread", Q, Account, "uri=at://alice.test/app.bsky.feed.post/x"),
    ("app.bsky.feed.getTimeline", Q, Account, ""),
    ("app.bsky.notification.registerPush", P, Account, ""),
    ("app.bsky.notification.unregisterPush", P, Account, ""),
    ("com.atproto.admin.deleteAccount", P, Admin, ""),
    ("com.atproto.admin.disableAccountInvites", P, Moderator, ""),
    ("com.atproto.admin.disableInviteCodes", P, Moderator, ""),
    ("com.atproto.admin.enableAccountInvites", P, Moderator, ""),
    ("com.atproto.admin.getAccountInfo", Q, Moderator, "did=did:plc:7iza6de2dwap2sbkpav7c6c6"),
    ("com.atproto.admin.getAccountInfos", Q, Moderator, "dids=did:plc:7iza6de2dwap2sbkpav7c6c6"),
    ("com.atproto.admin.getInviteCodes", Q, Moderator, ""),
    ("com.atproto.admin.getSubjectStatus", Q, Moderator, ""),
    ("com.atproto.admin.sendEmail", P, Moderator, ""),
    ("com.atproto.admin.updateAccountEmail", P, Admin, ""),
    ("com.atproto.admin.updateAccountHandle", P, Admin, ""),
    ("com.atproto.admin.updateAccountPassword", P, Admin, ""),
    ("com.atproto.admin.updateSubjectStatus", P, Moderator, ""),
    ("com.atproto.identity.getRecommendedDidCredentials", Q, Account, ""),
    ("com.atproto.identity.requestPlcOperationSignature", P, Account, ""),
    ("com.atproto.identity.resolveHandle", Q, Anybody, "handle=alice.test"),
    ("com.atproto.identity.signPlcOperation", P, Account, ""),
    ("com.atproto.identity.submitPlcOperation", P, Account, ""),
    ("com.atproto.identity.updateHandle", P, Account, ""),
    ("com.atproto.moderation.createReport", P, Account, ""),
    ("com.atproto.repo.applyWrites", P, Account, ""),
    ("com.atproto.repo.createRecord", P, Account, ""),
    ("com.atproto.repo.deleteRecord", P, Account, ""),
    ("com.atproto.repo.describeRepo", Q, Anybody, "repo=alice.test"),
    ("com.atproto.repo.getRecord", Q, Anybody, "repo=alice.test&collection=a.b.c&rkey=d"),
    ("com.atproto.repo.importRepo", P, Account, ""),
    ("com.atproto.repo.listMissingBlobs", Q, Account, ""),
    ("com.atproto.repo.listRecords", Q, Anybody, "repo=alice.test&collection=a.b.c"),
    ("com.atproto.repo.putRecord", P, Account, ""),
    ("com.atproto.repo.uploadBlob", P, AccountOrService, ""),
    ("com.atproto.server.activateAccount", P, Account, ""),
    ("com.atproto.server.checkAccountStatus", Q, Account, ""),
    ("com.atproto.server.confirmEmail", P, Account, ""),
    ("com.atproto.server.createAccount", P, ServiceOptional, ""),
    ("com.atproto.server.createAppPassword", P, Account, ""),
    ("com.atproto.server.createInviteCode", P, Admin, ""),
    ("com.atproto.server.createInviteCodes", P, Admin, ""),
    ("com.atproto.server.createSession", P, Anybody, ""),
    ("com.atproto.server.deactivateAccount", P, Account, ""),
    ("com.atproto.server.deleteAccount", P, Anybody, ""),
    ("com.atproto.server.deleteSession", P, Refresh, ""),
    ("com.atproto.server.describeServer", Q, Anybody, ""),
    ("com.atproto.server.getAccountInviteCodes", Q, Account, ""),
    ("com.atproto.server.getServiceAuth", Q, Account, "aud=did:web:a.test"),
    ("com.atproto.server.getSession", Q, Account, ""),
    ("com.atproto.server.listAppPasswords", Q, Account, ""),
    ("com.atproto.server.refreshSession", P, Refresh, ""),
    ("com.atproto.server.requestAccountDelete", P, Account, ""),
    ("com.atproto.server.requestEmailConfirmation", P, Account, ""),
    ("com.atproto.server.requestEmailUpdate", P, Account, ""),
    ("com.atproto.server.requestPasswordReset", P, Anybody, ""),
    ("com.atproto.server.reserveSigningKey", P, Anybody, ""),
    ("com.atproto.server.resetPassword", P, Anybody, ""),
    ("com.atproto.server.revokeAppPassword", P, Account, ""),
    ("com.atproto.server.updateEmail", P, Account, ""),
    (
        "com.atproto.sync.getBlob",
        Q,
        Reader,
        "did=did:plc:7iza6de2dwap2sbkpav7c6c6&cid=bafkreibjfgx2gprinfvicegelk5kosd6y2frmqpqzwqkg7usac74l3t2v4",
    ),
    (
        "com.atproto.sync.getBlocks",
        Q,
        Reader,
        "did=did:plc:7iza6de2dwap2sbkpav7c6c6&cids=bafkreibjfgx2gprinfvicegelk5kosd6y2frmqpqzwqkg7usac74l3t2v4",
    ),
    ("com.atproto.sync.getCheckout", Q, Reader, "did=did:plc:7iza6de2dwap2sbkpav7c6c6"),
    ("com.atproto.sync.getHead", Q, Reader, "did=did:plc:7iza6de2dwap2sbkpav7c6c6"),
    ("com.atproto.sync.getLatestCommit", Q, Reader, "did=did:plc:7iza6de2dwap2sbkpav7c6c6"),
    ("com.atproto.sync.getRecord", Q, Reader, "did=did:plc:7iza6de2dwap2sbkpav7c6c6&collection=a.b.c&rkey=d"),
    ("com.atproto.sync.getRepo", Q, Reader, "did=did:plc:7iza6de2dwap2sbkpav7c6c6"),
    ("com.atproto.sync.getRepoStatus", Q, Anybody, "did=did:plc:7iza6de2dwap2sbkpav7c6c6"),
    ("com.atproto.sync.listBlobs", Q, Reader, "did=did:plc:7iza6de2dwap2sbkpav7c6c6"),
    ("com.atproto.sync.listRepos", Q, Anybody, ""),
    ("com.atproto.sync.subscribeRepos", Q, Anybody, ""),
    ("com.atproto.temp.checkSignupQueue", Q, Account, ""),
];

/// A server with a view of the network that answers whatever it is asked.
async fn start(plc: &Plc) -> (Pds, Service) {
    let view = Service::start(plc, |_: &Seen| axum::response::IntoResponse::into_response(axum::Json(json!({})))).await;
    let more = [
        ADMIN,
        JWT,
        ("PDS_BSKY_APP_VIEW_URL", view.url()),
        ("PDS_BSKY_APP_VIEW_DID", "did:web:view.test"),
        ("PDS_MOD_SERVICE_URL", view.url()),
        ("PDS_MOD_SERVICE_DID", "did:web:view.test"),
    ];
    (Pds::start_open_with(plc, &more).await, view)
}

/// Status and error name of an answer.
async fn told(request: RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap();
    let error = serde_json::from_slice::<Value>(&body).ok().and_then(|body| Some(body["error"].as_str()?.to_owned()));
    (status, error.unwrap_or_default())
}

#[tokio::test]
async fn every_route_of_the_reference_server_is_there_and_refuses_who_may_not_call() {
    let listed: BTreeSet<_> = ROUTES.iter().map(|(nsid, ..)| *nsid).collect();
    let typed: BTreeSet<_> = METHODS.iter().map(|method| method.nsid).collect();
    assert!(typed.is_subset(&listed), "{:?} are left out", typed.difference(&listed));
    let plc = Plc::start().await;
    let (pds, view) = start(&plc).await;
    for (nsid, verb, who, query) in ROUTES {
        let url = pds.url(&format!("/xrpc/{nsid}?{query}"));
        let call = || Client::new().request(verb.clone(), &url);
        let bare = told(call()).await;
        match who.refusal() {
            Some((status, error)) => assert_eq!(bare, (status, error.to_owned()), "{nsid} without a token"),
            None => assert!(!["AuthMissing", "AuthenticationRequired"].contains(&&*bare.1), "{nsid}: {bare:?}"),
        }
        if let Some((status, error)) = who.refuses_nonsense() {
            assert_eq!(told(call().bearer_auth("nonsense")).await, (status, error.to_owned()), "{nsid} with nonsense");
        }
        // What is passed on takes any verb; what is answered here takes its own.
        if typed.contains(nsid) {
            let other = if *verb == Q { P } else { Q };
            let wrong = told(Client::new().request(other, &url)).await;
            assert_eq!(wrong, (400, "InvalidRequest".to_owned()), "{nsid} by the wrong verb");
        }
    }
    assert_eq!(view.seen().len(), 1, "only getRecord is asked for without a token");
}

/// What an account can be worth.
const STATUSES: [&str; 5] = ["active", "deactivated", "takendown", "deleted", "unknown"];

/// What each status makes of each call, in the order of [`STATUSES`]. Reads are anybody's; what has to be sent is sent with
/// the session that the account had while it was active.
#[rustfmt::skip]
const MATRIX: &[(&str, [&str; 5])] = &[
    ("com.atproto.identity.resolveHandle", ["200", "400 HandleNotFound", "400 HandleNotFound", "400 HandleNotFound", "400 HandleNotFound"]),
    ("com.atproto.repo.describeRepo", ["200", "400 RepoDeactivated", "400 RepoTakendown", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.repo.getRecord", ["200", "200", "200", "200", "200"]),
    ("com.atproto.repo.listRecords", ["200", "400 InvalidRequest", "400 InvalidRequest", "400 InvalidRequest", "400 InvalidRequest"]),
    ("com.atproto.sync.getBlob", ["200", "400 RepoDeactivated", "400 RepoTakendown", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.getBlocks", ["200", "400 RepoDeactivated", "400 RepoTakendown", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.getCheckout", ["200", "400 RepoDeactivated", "400 RepoTakendown", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.getHead", ["200", "400 RepoDeactivated", "400 RepoTakendown", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.getLatestCommit", ["200", "400 RepoDeactivated", "400 RepoTakendown", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.getRecord", ["200", "400 RepoDeactivated", "400 RepoTakendown", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.getRepo", ["200", "400 RepoDeactivated", "400 RepoTakendown", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.getRepoStatus", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.listBlobs", ["200", "400 RepoDeactivated", "400 RepoTakendown", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.getBlob, its owner", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.getLatestCommit, its owner", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.getRepo, its owner", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.sync.listBlobs, its owner", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.identity.getRecommendedDidCredentials, its owner", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.repo.listMissingBlobs, its owner", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.server.checkAccountStatus, its owner", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.server.getAccountInviteCodes, its owner", ["200", "400 NotFound", "401 AccountTakedown", "403 AccountNotFound", "403 AccountNotFound"]),
    ("com.atproto.server.getServiceAuth, its owner", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.server.getSession, its owner", ["200", "200", "400 InvalidRequest", "400 InvalidRequest", "400 InvalidRequest"]),
    ("com.atproto.server.listAppPasswords, its owner", ["200", "200", "200", "200", "200"]),
    ("app.bsky.actor.getPreferences, its owner", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("app.bsky.feed.getTimeline, its owner", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("com.atproto.server.createSession", ["200", "200", "401 AccountTakedown", "401 AuthenticationRequired", "401 AuthenticationRequired"]),
    ("com.atproto.repo.createRecord", ["200", "401 AccountDeactivated", "401 AccountTakedown", "403 AccountNotFound", "403 AccountNotFound"]),
    ("com.atproto.repo.putRecord", ["200", "401 AccountDeactivated", "401 AccountTakedown", "403 AccountNotFound", "403 AccountNotFound"]),
    ("com.atproto.repo.deleteRecord", ["200", "401 AccountDeactivated", "401 AccountTakedown", "403 AccountNotFound", "403 AccountNotFound"]),
    ("com.atproto.repo.applyWrites", ["200", "401 AccountDeactivated", "401 AccountTakedown", "403 AccountNotFound", "403 AccountNotFound"]),
    ("com.atproto.repo.uploadBlob", ["200", "200", "401 AccountTakedown", "403 AccountNotFound", "403 AccountNotFound"]),
    ("com.atproto.identity.updateHandle", ["200", "200", "401 AccountTakedown", "403 AccountNotFound", "403 AccountNotFound"]),
    ("com.atproto.server.createAppPassword", ["200", "200", "401 AccountTakedown", "403 AccountNotFound", "403 AccountNotFound"]),
    ("com.atproto.server.revokeAppPassword", ["200", "200", "200", "200", "200"]),
    ("com.atproto.server.requestEmailUpdate", ["200", "200", "401 AccountTakedown", "403 AccountNotFound", "403 AccountNotFound"]),
    ("com.atproto.moderation.createReport", ["200", "200", "200", "400 RepoNotFound", "400 RepoNotFound"]),
    ("app.bsky.actor.putPreferences", ["200", "200", "401 AccountTakedown", "403 AccountNotFound", "403 AccountNotFound"]),
    ("com.atproto.server.deactivateAccount", ["200", "200", "200", "400 InvalidRequest", "400 InvalidRequest"]),
    ("com.atproto.server.activateAccount", ["200", "200", "400 AccountNotFound", "400 AccountNotFound", "400 AccountNotFound"]),
];

#[tokio::test]
async fn what_an_account_is_worth_decides_what_can_be_read_and_written() {
    let plc = Plc::start().await;
    let (pds, _view) = start(&plc).await;
    let mut table = String::new();
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for status in STATUSES {
        let subject = account(&pds, status).await;
        for (nth, (name, request)) in calls(&pds, &subject, status).await.into_iter().enumerate() {
            let (code, error) = told(request).await;
            let cell = if error.is_empty() { code.to_string() } else { format!("{code} {error}") };
            match found.get_mut(nth) {
                Some((_, cells)) => cells.push(cell),
                None => found.push((name, vec![cell])),
            }
        }
    }
    for (name, cells) in &found {
        table += &format!("    ({name:?}, {cells:?}),\n");
    }
    let expected: Vec<(String, Vec<String>)> =
        MATRIX.iter().map(|(name, cells)| ((*name).to_owned(), cells.map(str::to_owned).to_vec())).collect();
    assert_eq!(found, expected, "the matrix is now:\n{table}");
}

/// An account, its blob and its commit.
struct Subject {
    user: User,
    blob: String,
    commit: String,
}

/// An account with a record and a blob, of this status.
async fn account(pds: &Pds, status: &str) -> Subject {
    let user = User::new(pds, &format!("{status}-one")).await;
    let call = Client::new().post(pds.url("/xrpc/com.atproto.repo.uploadBlob")).header("content-type", "text/plain");
    let As::Token(token) = user.token() else { panic!("they have a token") };
    let blob = call.bearer_auth(token).body(format!("blob of {status}")).send().await.unwrap();
    let blob = blob.json::<Value>().await.unwrap()["blob"].clone();
    let record = json!({ "$type": "com.example.note", "blob": blob });
    let input = json!({ "repo": user.did, "collection": "com.example.note", "rkey": "one", "record": record });
    assert_eq!(post(pds, "repo.putRecord", user.token(), input).await.0, 200);
    let (_, head) = get(pds, "sync.getLatestCommit", As::Nobody, &[("did", &user.did)]).await;
    let made = |user: User| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Subject { user, blob: text(&blob["ref"]["$link"]), commit: text(&head["cid"]) }
    };
    let subject = json!({ "$type": "com.atproto.admin.defs#repoRef", "did": user.did });
    let (method, by, input) = match status {
        "deactivated" => ("server.deactivateAccount", user.token(), json!({})),
        "takendown" => {
            ("admin.updateSubjectStatus", As::Admin, json!({ "subject": subject, "takedown": { "applied": true } }))
        }
        "deleted" => ("admin.deleteAccount", As::Admin, json!({ "did": user.did })),
        _ => return made(user),
    };
    assert_eq!(post(pds, method, by, input).await.0, 200, "{status}");
    made(user)
}

/// Every call of the matrix, about an account of this status.
async fn calls(pds: &Pds, subject: &Subject, status: &str) -> Vec<(String, RequestBuilder)> {
    // One that was never here is asked for by a name of its own; its token is one that this server would have given.
    let handle = if status == "unknown" { "nobody.test".to_owned() } else { format!("{status}-one.test") };
    let user = &subject.user;
    let stranger = User { did: DID.to_owned(), access: String::new(), refresh: String::new() };
    let (did, token) = match status {
        "unknown" => (DID, stranger.minted(shared::token::session::Scope::Access, "did:web:localhost", 0)),
        _ => (user.did.as_str(), user.minted(shared::token::session::Scope::Access, "did:web:localhost", 0)),
    };
    let (cid, commit) = if status == "unknown" { (CID, CID) } else { (&*subject.blob, &*subject.commit) };
    let reads = |nsid: &str, query: &[(&str, &str)]| {
        let call = Client::new().get(pds.url(&format!("/xrpc/{nsid}"))).query(query);
        (nsid.to_owned(), call)
    };
    let owns = |nsid: &str, query: &[(&str, &str)]| {
        let (name, call) = reads(nsid, query);
        (format!("{name}, its owner"), call.bearer_auth(&token))
    };
    let sends = |nsid: &str, input: Value| {
        let call = Client::new().post(pds.url(&format!("/xrpc/{nsid}"))).bearer_auth(&token);
        (nsid.to_owned(), if input.is_null() { call } else { call.json(&input) })
    };
    let place = json!({ "repo": did, "collection": "com.example.note", "rkey": "two" });
    let with = |more: Value| {
        let mut input = place.clone();
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let record = json!({ "$type": "com.example.note" });
    let write =
        json!({ "$type": "com.atproto.repo.applyWrites#create", "collection": "com.example.note", "value": record });
    let upload = Client::new().post(pds.url("/xrpc/com.atproto.repo.uploadBlob")).bearer_auth(&token);
    let did_only = [("did", did)];
    let login = json!({ "identifier": handle, "password": "correct horse" });
    vec![
        reads("com.atproto.identity.resolveHandle", &[("handle", &handle)]),
        reads("com.atproto.repo.describeRepo", &[("repo", did)]),
        reads("com.atproto.repo.getRecord", &[("repo", did), ("collection", "com.example.note"), ("rkey", "one")]),
        reads("com.atproto.repo.listRecords", &[("repo", did), ("collection", "com.example.note")]),
        reads("com.atproto.sync.getBlob", &[("did", did), ("cid", cid)]),
        reads("com.atproto.sync.getBlocks", &[("did", did), ("cids", commit)]),
        reads("com.atproto.sync.getCheckout", &did_only),
        reads("com.atproto.sync.getHead", &did_only),
        reads("com.atproto.sync.getLatestCommit", &did_only),
        reads("com.atproto.sync.getRecord", &[("did", did), ("collection", "com.example.note"), ("rkey", "one")]),
        reads("com.atproto.sync.getRepo", &did_only),
        reads("com.atproto.sync.getRepoStatus", &did_only),
        reads("com.atproto.sync.listBlobs", &did_only),
        owns("com.atproto.sync.getBlob", &[("did", did), ("cid", cid)]),
        owns("com.atproto.sync.getLatestCommit", &did_only),
        owns("com.atproto.sync.getRepo", &did_only),
        owns("com.atproto.sync.listBlobs", &did_only),
        owns("com.atproto.identity.getRecommendedDidCredentials", &[]),
        owns("com.atproto.repo.listMissingBlobs", &[]),
        owns("com.atproto.server.checkAccountStatus", &[]),
        owns("com.atproto.server.getAccountInviteCodes", &[]),
        owns("com.atproto.server.getServiceAuth", &[("aud", "did:web:a.test"), ("lxm", "com.example.query")]),
        owns("com.atproto.server.getSession", &[]),
        owns("com.atproto.server.listAppPasswords", &[]),
        owns("app.bsky.actor.getPreferences", &[]),
        owns("app.bsky.feed.getTimeline", &[]),
        sends("com.atproto.server.createSession", login),
        sends("com.atproto.repo.createRecord", with(json!({ "record": record }))),
        sends("com.atproto.repo.putRecord", with(json!({ "record": record }))),
        sends("com.atproto.repo.deleteRecord", place.clone()),
        sends("com.atproto.repo.applyWrites", json!({ "repo": did, "writes": [write] })),
        ("com.atproto.repo.uploadBlob".to_owned(), upload.header("content-type", "text/plain").body("more")),
        sends("com.atproto.identity.updateHandle", json!({ "handle": format!("{status}-two.test") })),
        sends("com.atproto.server.createAppPassword", json!({ "name": "x" })),
        sends("com.atproto.server.revokeAppPassword", json!({ "name": "x" })),
        sends("com.atproto.server.requestEmailUpdate", Value::Null),
        sends(
            "com.atproto.moderation.createReport",
            json!({ "reasonType": "com.atproto.moderation.defs#reasonSpam",
            "subject": { "$type": "com.atproto.admin.defs#repoRef", "did": DID } }),
        ),
        sends("app.bsky.actor.putPreferences", json!({ "preferences": [] })),
        sends("com.atproto.server.deactivateAccount", json!({})),
        sends("com.atproto.server.activateAccount", Value::Null),
    ]
}
