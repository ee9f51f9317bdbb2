//! Every call of the matrix. What it sends succeeds for an active account, so that all else is the status's doing.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::subject::{ADMIN, PASSWORD, Server, Subject, VIEW};

/// Which account a row is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// The one of its status that most rows are about.
    Shared,
    /// One of its own: what is called changes it, and other rows with it.
    Own,
}

use Which::{Own, Shared};

/// What a row's call is made of.
pub(super) struct Asked<'a> {
    pub(super) server: &'a Server<'a>,
    pub(super) subject: &'a Subject,
    pub(super) nsid: &'a str,
}

/// By whom a row is called.
#[derive(Clone, Copy)]
enum By {
    Nobody,
    /// The account, by the session that it had while it was active.
    Owner,
    /// The same session's refresh token.
    Refresh,
    Admin,
}

use By::{Admin, Nobody, Owner, Refresh};

impl Asked<'_> {
    fn call(&self, method: Method, by: By) -> RequestBuilder {
        let request = self.server.request(method, self.nsid);
        match by {
            Nobody => request,
            Owner => request.bearer_auth(&self.subject.access),
            Refresh => request.bearer_auth(&self.subject.refresh),
            Admin => request.basic_auth("admin", Some(ADMIN.1)),
        }
    }

    fn get(&self, by: By, query: &[(&str, &str)]) -> RequestBuilder {
        self.call(Method::GET, by).query(query)
    }

    /// A query about the account, by its DID.
    fn of_did(&self, by: By) -> RequestBuilder {
        self.get(by, &[("did", &self.subject.did)])
    }

    fn post(&self, by: By, input: &Value) -> RequestBuilder {
        self.call(Method::POST, by).json(input)
    }

    /// A procedure without input.
    fn poke(&self, by: By) -> RequestBuilder {
        self.call(Method::POST, by)
    }

    /// A procedure about the account, by its DID.
    fn to_did(&self, by: By) -> RequestBuilder {
        self.post(by, &json!({ "did": self.subject.did }))
    }

    /// A write to the record `two`, with `record` if it is one that has it.
    fn write(&self, record: Value) -> RequestBuilder {
        let mut input = json!({ "repo": self.subject.did, "collection": NOTE, "rkey": "two" });
        if !record.is_null() {
            input["record"] = record;
        }
        self.post(Owner, &input)
    }

    /// What the record is found by.
    fn of_record(&self, by: By, repo: (&str, &str)) -> RequestBuilder {
        self.get(by, &[repo, ("collection", NOTE), ("rkey", "one")])
    }

    fn of_blob(&self, by: By) -> RequestBuilder {
        self.get(by, &[("did", &self.subject.did), ("cid", &self.subject.blob)])
    }

    fn of_block(&self, by: By) -> RequestBuilder {
        self.get(by, &[("did", &self.subject.did), ("cids", &self.subject.record)])
    }

    fn upload(&self, token: &str) -> RequestBuilder {
        self.call(Method::POST, Nobody).bearer_auth(token).header("content-type", "text/plain").body("more")
    }

    fn log_in(&self, identifier: &str, password: &str, allow_takendown: bool) -> RequestBuilder {
        let input = json!({ "identifier": identifier, "password": password, "allowTakendown": allow_takendown });
        self.post(Nobody, &input)
    }

    fn sign_up(&self, handle: &str, email: &str) -> RequestBuilder {
        self.post(Nobody, &json!({ "handle": handle, "email": email, "password": PASSWORD }))
    }

    /// Moves the account in from where its key is.
    fn move_in(&self) -> RequestBuilder {
        let it = self.subject;
        let input =
            json!({ "did": it.did, "handle": it.other_handle(), "email": it.other_email(), "password": PASSWORD });
        self.call(Method::POST, Nobody).bearer_auth(&it.move_token).json(&input)
    }

    fn push(&self) -> RequestBuilder {
        self.post(Owner, &json!({ "serviceDid": VIEW, "token": "t", "platform": "ios", "appId": "app" }))
    }

    /// Has the administrator change the status of the account, its record or its blob.
    fn judge(&self, subject: &Value, change: &str, applied: bool) -> RequestBuilder {
        let mut input = json!({ "subject": subject });
        input[change] = json!({ "applied": applied });
        self.post(Admin, &input)
    }

    fn repo(&self) -> Value {
        json!({ "$type": "com.atproto.admin.defs#repoRef", "did": self.subject.did })
    }

    fn record(&self) -> Value {
        json!({ "$type": "com.atproto.repo.strongRef", "uri": self.subject.uri(), "cid": self.subject.record })
    }

    fn blob(&self) -> Value {
        json!({ "$type": "com.atproto.admin.defs#repoBlobRef", "did": self.subject.did, "cid": self.subject.blob })
    }
}

const NOTE: &str = "com.example.note";
/// What calls that are passed on are about: their service answers the same whatever it is.
const ELSEWHERE: &str = "at://did:web:view.test/app.bsky.feed.post/3jzfcijpj2z2a";
const FEED: &str = "at://did:web:view.test/app.bsky.feed.generator/one";

/// A row: its name, which begins with the method's, whose account it is about, and the call.
type Row = (&'static str, Which, fn(&Asked<'_>) -> RequestBuilder);

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    ("app.bsky.actor.getPreferences, its owner", Shared, |it| it.get(Owner, &[])),
    ("app.bsky.actor.getProfile, its owner", Shared, |it| it.get(Owner, &[("actor", &it.subject.did)])),
    ("app.bsky.actor.getProfiles, its owner", Shared, |it| it.get(Owner, &[("actors", &it.subject.did)])),
    ("app.bsky.actor.putPreferences, its owner", Shared, |it| it.post(Owner, &json!({ "preferences": [] }))),
    ("app.bsky.feed.getActorLikes, its owner", Shared, |it| it.get(Owner, &[("actor", &it.subject.did)])),
    ("app.bsky.feed.getAuthorFeed, its owner", Shared, |it| it.get(Owner, &[("actor", &it.subject.did)])),
    ("app.bsky.feed.getFeed, its owner", Shared, |it| it.get(Owner, &[("feed", FEED)])),
    ("app.bsky.feed.getPostThread, its owner", Shared, |it| it.get(Owner, &[("uri", ELSEWHERE)])),
    ("app.bsky.feed.getTimeline, its owner", Shared, |it| it.get(Owner, &[])),
    ("app.bsky.notification.registerPush, its owner", Shared, |it| it.push()),
    ("app.bsky.notification.unregisterPush, its owner", Shared, |it| it.push()),

    ("com.atproto.admin.deleteAccount", Own, |it| it.to_did(Admin)),
    ("com.atproto.admin.disableAccountInvites", Shared, |it| it.post(Admin, &json!({ "account": it.subject.did }))),
    ("com.atproto.admin.disableInviteCodes", Shared, |it| it.post(Admin, &json!({ "accounts": [it.subject.did] }))),
    ("com.atproto.admin.enableAccountInvites", Shared, |it| it.post(Admin, &json!({ "account": it.subject.did }))),
    ("com.atproto.admin.getAccountInfo", Shared, |it| it.of_did(Admin)),
    ("com.atproto.admin.getAccountInfos", Shared, |it| it.get(Admin, &[("dids", &it.subject.did)])),
    ("com.atproto.admin.getSubjectStatus", Shared, |it| it.of_did(Admin)),
    ("com.atproto.admin.getSubjectStatus, of its record", Shared, |it| it.get(Admin, &[("uri", &it.subject.uri())])),
    ("com.atproto.admin.getSubjectStatus, of its blob", Shared, |it| it.get(Admin, &[("did", &it.subject.did), ("blob", &it.subject.blob)])),
    ("com.atproto.admin.sendEmail", Shared, |it| it.post(Admin, &json!({ "recipientDid": it.subject.did, "senderDid": VIEW, "content": "Hello" }))),
    ("com.atproto.admin.updateAccountEmail", Own, |it| it.post(Admin, &json!({ "account": it.subject.did, "email": it.subject.other_email() }))),
    ("com.atproto.admin.updateAccountHandle", Own, |it| it.post(Admin, &json!({ "did": it.subject.did, "handle": it.subject.other_handle() }))),
    ("com.atproto.admin.updateAccountPassword", Own, |it| it.post(Admin, &json!({ "did": it.subject.did, "password": "battery staple" }))),
    ("com.atproto.admin.updateSubjectStatus, takes it down", Own, |it| it.judge(&it.repo(), "takedown", true)),
    ("com.atproto.admin.updateSubjectStatus, restores it", Own, |it| it.judge(&it.repo(), "takedown", false)),
    ("com.atproto.admin.updateSubjectStatus, deactivates it", Own, |it| it.judge(&it.repo(), "deactivated", true)),
    ("com.atproto.admin.updateSubjectStatus, activates it", Own, |it| it.judge(&it.repo(), "deactivated", false)),
    ("com.atproto.admin.updateSubjectStatus, takes its record down", Own, |it| it.judge(&it.record(), "takedown", true)),
    ("com.atproto.admin.updateSubjectStatus, takes its blob down", Own, |it| it.judge(&it.blob(), "takedown", true)),

    ("com.atproto.identity.getRecommendedDidCredentials, its owner", Shared, |it| it.get(Owner, &[])),
    ("com.atproto.identity.signPlcOperation, its owner", Shared, |it| it.post(Owner, &json!({ "token": it.subject.code }))),
    ("com.atproto.identity.requestPlcOperationSignature, its owner", Shared, |it| it.poke(Owner)),
    ("com.atproto.identity.resolveHandle", Shared, |it| it.get(Nobody, &[("handle", &it.subject.handle())])),
    ("com.atproto.identity.submitPlcOperation, its owner", Shared, |it| it.post(Owner, &json!({ "operation": it.subject.operation }))),
    ("com.atproto.identity.updateHandle, its owner", Own, |it| it.post(Owner, &json!({ "handle": it.subject.other_handle() }))),

    ("com.atproto.moderation.createReport, its owner", Shared, |it| it.post(Owner, &json!({ "reasonType": "com.atproto.moderation.defs#reasonSpam", "subject": it.repo() }))),

    ("com.atproto.repo.applyWrites, its owner", Shared, |it| it.post(Owner, &json!({ "repo": it.subject.did, "writes": [{ "$type": "com.atproto.repo.applyWrites#create", "collection": NOTE, "value": { "$type": NOTE } }] }))),
    ("com.atproto.repo.createRecord, its owner", Shared, |it| it.write(json!({ "$type": NOTE }))),
    ("com.atproto.repo.putRecord, its owner", Shared, |it| it.write(json!({ "$type": NOTE, "n": 1 }))),
    ("com.atproto.repo.deleteRecord, its owner", Shared, |it| it.write(Value::Null)),
    ("com.atproto.repo.describeRepo", Shared, |it| it.get(Nobody, &[("repo", &it.subject.did)])),
    ("com.atproto.repo.describeRepo, by its handle", Shared, |it| it.get(Nobody, &[("repo", &it.subject.handle())])),
    ("com.atproto.repo.getRecord", Shared, |it| it.of_record(Nobody, ("repo", &it.subject.did))),
    ("com.atproto.repo.getRecord, by its handle", Shared, |it| it.of_record(Nobody, ("repo", &it.subject.handle()))),
    ("com.atproto.repo.importRepo, its owner", Own, |it| it.poke(Owner).header("content-type", "application/vnd.ipld.car").body(it.subject.file.clone())),
    ("com.atproto.repo.listMissingBlobs, its owner", Shared, |it| it.get(Owner, &[])),
    ("com.atproto.repo.listRecords", Shared, |it| it.get(Nobody, &[("repo", &it.subject.did), ("collection", NOTE)])),
    ("com.atproto.repo.listRecords, by its handle", Shared, |it| it.get(Nobody, &[("repo", &it.subject.handle()), ("collection", NOTE)])),
    ("com.atproto.repo.uploadBlob, its owner", Shared, |it| it.upload(&it.subject.access)),
    ("com.atproto.repo.uploadBlob, by its own key", Shared, |it| it.upload(&it.subject.upload_token)),

    ("com.atproto.server.activateAccount, its owner", Own, |it| it.poke(Owner)),
    ("com.atproto.server.checkAccountStatus, its owner", Shared, |it| it.get(Owner, &[])),
    ("com.atproto.server.confirmEmail, its owner", Own, |it| it.post(Owner, &json!({ "email": it.subject.email(), "token": it.subject.code }))),
    ("com.atproto.server.createAccount, of another with its handle", Own, |it| it.sign_up(&it.subject.handle(), &it.subject.other_email())),
    ("com.atproto.server.createAccount, of another with its address", Own, |it| it.sign_up(&it.subject.other_handle(), &it.subject.email())),
    ("com.atproto.server.createAccount, of its DID by its own key", Own, |it| it.move_in()),
    ("com.atproto.server.createAppPassword, its owner", Shared, |it| it.post(Owner, &json!({ "name": "tablet" }))),
    ("com.atproto.server.createInviteCode, for it", Shared, |it| it.post(Admin, &json!({ "useCount": 1, "forAccount": it.subject.did }))),
    ("com.atproto.server.createInviteCodes, for it", Shared, |it| it.post(Admin, &json!({ "codeCount": 1, "useCount": 1, "forAccounts": [it.subject.did] }))),
    ("com.atproto.server.createSession", Shared, |it| it.log_in(&it.subject.handle(), PASSWORD, false)),
    ("com.atproto.server.createSession, by its DID", Shared, |it| it.log_in(&it.subject.did, PASSWORD, false)),
    ("com.atproto.server.createSession, by its address", Shared, |it| it.log_in(&it.subject.email(), PASSWORD, false)),
    ("com.atproto.server.createSession, by an app password", Shared, |it| it.log_in(&it.subject.handle(), &it.subject.app_password, false)),
    ("com.atproto.server.createSession, even if taken down", Shared, |it| it.log_in(&it.subject.handle(), PASSWORD, true)),
    ("com.atproto.server.deactivateAccount, its owner", Own, |it| it.post(Owner, &json!({}))),
    ("com.atproto.server.deleteAccount", Own, |it| it.post(Nobody, &json!({ "did": it.subject.did, "password": PASSWORD, "token": it.subject.code }))),
    ("com.atproto.server.deleteSession, by its refresh token", Own, |it| it.poke(Refresh)),
    ("com.atproto.server.getAccountInviteCodes, its owner", Shared, |it| it.get(Owner, &[])),
    ("com.atproto.server.getServiceAuth, its owner", Shared, |it| it.get(Owner, &[("aud", VIEW), ("lxm", "com.example.query")])),
    ("com.atproto.server.getSession, its owner", Shared, |it| it.get(Owner, &[])),
    ("com.atproto.server.listAppPasswords, its owner", Shared, |it| it.get(Owner, &[])),
    ("com.atproto.server.refreshSession, by its refresh token", Own, |it| it.poke(Refresh)),
    ("com.atproto.server.requestAccountDelete, its owner", Shared, |it| it.poke(Owner)),
    ("com.atproto.server.requestEmailConfirmation, its owner", Shared, |it| it.poke(Owner)),
    ("com.atproto.server.requestEmailUpdate, its owner", Shared, |it| it.poke(Owner)),
    ("com.atproto.server.requestPasswordReset", Shared, |it| it.post(Nobody, &json!({ "email": it.subject.email() }))),
    ("com.atproto.server.reserveSigningKey, for it", Shared, |it| it.to_did(Nobody)),
    ("com.atproto.server.resetPassword", Own, |it| it.post(Nobody, &json!({ "token": it.subject.code, "password": "battery staple" }))),
    ("com.atproto.server.revokeAppPassword, its owner", Own, |it| it.post(Owner, &json!({ "name": "phone" }))),
    ("com.atproto.server.updateEmail, its owner", Own, |it| it.post(Owner, &json!({ "email": it.subject.other_email(), "token": it.subject.code }))),

    ("com.atproto.sync.getBlob", Shared, |it| it.of_blob(Nobody)),
    ("com.atproto.sync.getBlob, its owner", Shared, |it| it.of_blob(Owner)),
    ("com.atproto.sync.getBlob, the administrator", Shared, |it| it.of_blob(Admin)),
    ("com.atproto.sync.getBlocks", Shared, |it| it.of_block(Nobody)),
    ("com.atproto.sync.getBlocks, its owner", Shared, |it| it.of_block(Owner)),
    ("com.atproto.sync.getBlocks, the administrator", Shared, |it| it.of_block(Admin)),
    ("com.atproto.sync.getCheckout", Shared, |it| it.of_did(Nobody)),
    ("com.atproto.sync.getCheckout, its owner", Shared, |it| it.of_did(Owner)),
    ("com.atproto.sync.getCheckout, the administrator", Shared, |it| it.of_did(Admin)),
    ("com.atproto.sync.getHead", Shared, |it| it.of_did(Nobody)),
    ("com.atproto.sync.getHead, its owner", Shared, |it| it.of_did(Owner)),
    ("com.atproto.sync.getHead, the administrator", Shared, |it| it.of_did(Admin)),
    ("com.atproto.sync.getLatestCommit", Shared, |it| it.of_did(Nobody)),
    ("com.atproto.sync.getLatestCommit, its owner", Shared, |it| it.of_did(Owner)),
    ("com.atproto.sync.getLatestCommit, the administrator", Shared, |it| it.of_did(Admin)),
    ("com.atproto.sync.getRecord", Shared, |it| it.of_record(Nobody, ("did", &it.subject.did))),
    ("com.atproto.sync.getRecord, its owner", Shared, |it| it.of_record(Owner, ("did", &it.subject.did))),
    ("com.atproto.sync.getRecord, the administrator", Shared, |it| it.of_record(Admin, ("did", &it.subject.did))),
    ("com.atproto.sync.getRepo", Shared, |it| it.of_did(Nobody)),
    ("com.atproto.sync.getRepo, its owner", Shared, |it| it.of_did(Owner)),
    ("com.atproto.sync.getRepo, the administrator", Shared, |it| it.of_did(Admin)),
    ("com.atproto.sync.getRepoStatus", Shared, |it| it.of_did(Nobody)),
    ("com.atproto.sync.listBlobs", Shared, |it| it.of_did(Nobody)),
    ("com.atproto.sync.listBlobs, its owner", Shared, |it| it.of_did(Owner)),
    ("com.atproto.sync.listBlobs, the administrator", Shared, |it| it.of_did(Admin)),
    ("com.atproto.sync.listRepos", Shared, |it| it.get(Nobody, &[("limit", "1000")])),

    ("com.atproto.temp.checkSignupQueue, its owner", Shared, |it| it.get(Owner, &[])),
];
