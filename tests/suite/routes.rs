//! Every route of the reference server but OAuth's: who may call it, how, and what who comes without a token is told.
//! What an account's status makes of each is [`crate::statuses`].

use std::collections::BTreeSet;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use shared::api::METHODS;
use tests::service::{Seen, Service};
use tests::{Pds, Plc};

use crate::client::ADMIN;

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

/// The names of all of them.
pub(crate) fn nsids() -> BTreeSet<&'static str> {
    ROUTES.iter().map(|(nsid, ..)| *nsid).collect()
}

/// A server with a view of the network that answers whatever it is asked.
async fn start(plc: &Plc) -> (Pds, Service) {
    let view = Service::start(plc, |_: &Seen| axum::response::IntoResponse::into_response(axum::Json(json!({})))).await;
    let more = [
        ADMIN,
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
    let listed = nsids();
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
