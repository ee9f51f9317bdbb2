//! The samples, in the order of their methods. A default is never used as a sample's value, since it would not be
//! written. Objects with a `data` field stand for what a schema calls unknown.

use serde_json::json;

use super::{Json, Part, Sample};
use crate::api::{admin, bsky, identity, moderation, repo, server, sync, temp};

const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
const HANDLE: &str = "alice.test";
const EMAIL: &str = "alice@mail.test";
const NODE: &str = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm";
const BLOB: &str = "bafkreibjfgx2gprinfvicegelk5kosd6y2frmqpqzwqkg7usac74l3t2v4";
const REV: &str = "3jzfcijpj2z2a";
const TIME: &str = "2024-01-02T03:04:05.678Z";
const URI: &str = "at://did:plc:7iza6de2dwap2sbkpav7c6c6/com.example.note/3jzfcijpj2z2a";
const KEY: &str = "did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N";

pub(super) fn all() -> Vec<Sample> {
    let mut samples = bsky();
    samples.extend(admin());
    samples.extend(identity());
    samples.extend(moderation());
    samples.extend(repo());
    samples.extend(server());
    samples.extend(sync());
    samples.push(Sample::of::<temp::CheckSignupQueueOutput>(
        "com.atproto.temp.checkSignupQueue",
        Part::Output,
        json!({"activated": false, "placeInQueue": 7, "estimatedTimeMs": 60_000}),
    ));
    samples
}

fn bsky() -> Vec<Sample> {
    use Part::{Input, Output, Params};
    let preferences = json!({"preferences": [{"$type": "app.bsky.example", "data": {"a": [1.5, null]}}]});
    let push = json!({"serviceDid": DID, "token": "t", "platform": "ios", "appId": "app.test", "ageRestricted": true});
    vec![
        Sample::of::<bsky::GetPreferencesParams>("app.bsky.actor.getPreferences", Params, json!({"did": DID})),
        Sample::of::<bsky::Preferences>("app.bsky.actor.getPreferences", Output, preferences.clone()),
        Sample::of::<bsky::GetProfileParams>("app.bsky.actor.getProfile", Params, json!({"actor": HANDLE})),
        Sample::of::<bsky::GetProfilesParams>("app.bsky.actor.getProfiles", Params, json!({"actors": [HANDLE, DID]})),
        Sample::of::<bsky::Preferences>("app.bsky.actor.putPreferences", Input, preferences),
        Sample::of::<bsky::GetActorLikesParams>(
            "app.bsky.feed.getActorLikes",
            Params,
            json!({"actor": HANDLE, "limit": 7, "cursor": "x"}),
        ),
        Sample::of::<bsky::GetAuthorFeedParams>(
            "app.bsky.feed.getAuthorFeed",
            Params,
            json!({"actor": HANDLE, "limit": 7, "cursor": "x", "filter": "posts_no_replies", "includePins": true}),
        ),
        Sample::of::<bsky::GetFeedParams>(
            "app.bsky.feed.getFeed",
            Params,
            json!({"feed": URI, "limit": 7, "cursor": "x"}),
        ),
        Sample::of::<bsky::GetPostThreadParams>(
            "app.bsky.feed.getPostThread",
            Params,
            json!({"uri": URI, "depth": 0, "parentHeight": 1000}),
        ),
        Sample::of::<bsky::GetTimelineParams>(
            "app.bsky.feed.getTimeline",
            Params,
            json!({"algorithm": "latest", "limit": 7, "cursor": "x"}),
        ),
        Sample::of::<bsky::Push>("app.bsky.notification.registerPush", Input, push.clone()),
        Sample::of::<bsky::Push>("app.bsky.notification.unregisterPush", Input, push),
    ]
}

fn record() -> Json {
    json!({"$type": "com.example.note", "data": [1, null, true, {"$link": NODE}, {"$bytes": "AQID"}]})
}

fn invite_code() -> Json {
    json!({
        "code": "pds-test-abcde-23456",
        "available": 5,
        "disabled": false,
        "forAccount": DID,
        "createdBy": "admin",
        "createdAt": TIME,
        "uses": [{"usedBy": DID, "usedAt": TIME}],
    })
}

fn account_view() -> Json {
    json!({
        "did": DID,
        "handle": HANDLE,
        "email": EMAIL,
        "relatedRecords": [record()],
        "indexedAt": TIME,
        "invitedBy": invite_code(),
        "invites": [invite_code()],
        "invitesDisabled": true,
        "emailConfirmedAt": TIME,
        "inviteNote": "gave codes away",
        "deactivatedAt": TIME,
        "threatSignatures": [{"property": "phone", "value": "x"}],
    })
}

fn admin() -> Vec<Sample> {
    use Part::{Input, Output, Params};
    let account = json!({"$type": "com.atproto.admin.defs#repoRef", "did": DID});
    let record = json!({"$type": "com.atproto.repo.strongRef", "uri": URI, "cid": NODE});
    let blob = json!({"$type": "com.atproto.admin.defs#repoBlobRef", "did": DID, "cid": BLOB, "recordUri": URI});
    let applied = json!({"applied": true, "ref": "case 7"});
    let noted = json!({"account": DID, "note": "gave codes away"});
    vec![
        Sample::of::<admin::DeleteAccount>("com.atproto.admin.deleteAccount", Input, json!({"did": DID})),
        Sample::of::<admin::DisableAccountInvites>("com.atproto.admin.disableAccountInvites", Input, noted.clone()),
        Sample::of::<admin::DisableInviteCodes>(
            "com.atproto.admin.disableInviteCodes",
            Input,
            json!({"codes": ["pds-test-abcde-23456"], "accounts": [DID, "admin"]}),
        ),
        Sample::of::<admin::EnableAccountInvites>("com.atproto.admin.enableAccountInvites", Input, noted),
        Sample::of::<admin::GetAccountInfoParams>("com.atproto.admin.getAccountInfo", Params, json!({"did": DID})),
        Sample::of::<admin::GetAccountInfoOutput>("com.atproto.admin.getAccountInfo", Output, account_view()),
        Sample::of::<admin::GetAccountInfosParams>("com.atproto.admin.getAccountInfos", Params, json!({"dids": [DID]})),
        Sample::of::<admin::GetAccountInfosOutput>(
            "com.atproto.admin.getAccountInfos",
            Output,
            json!({"infos": [account_view()]}),
        ),
        Sample::of::<admin::GetInviteCodesParams>(
            "com.atproto.admin.getInviteCodes",
            Params,
            json!({"sort": "usage", "limit": 500, "cursor": "c"}),
        ),
        Sample::of::<admin::GetInviteCodesOutput>(
            "com.atproto.admin.getInviteCodes",
            Output,
            json!({"cursor": "c", "codes": [invite_code()]}),
        ),
        Sample::of::<admin::GetSubjectStatusParams>(
            "com.atproto.admin.getSubjectStatus",
            Params,
            json!({"did": DID, "uri": URI, "blob": BLOB}),
        ),
        Sample::of::<admin::GetSubjectStatusOutput>(
            "com.atproto.admin.getSubjectStatus",
            Output,
            json!({"subject": account, "takedown": applied, "deactivated": applied}),
        ),
        Sample::of::<admin::SendEmail>(
            "com.atproto.admin.sendEmail",
            Input,
            json!({"recipientDid": DID, "content": "<p>Hello", "subject": "Hello", "senderDid": DID, "comment": "first"}),
        ),
        Sample::of::<admin::SendEmailOutput>("com.atproto.admin.sendEmail", Output, json!({"sent": true})),
        Sample::of::<admin::UpdateAccountEmail>(
            "com.atproto.admin.updateAccountEmail",
            Input,
            json!({"account": HANDLE, "email": EMAIL}),
        ),
        Sample::of::<admin::UpdateAccountHandle>(
            "com.atproto.admin.updateAccountHandle",
            Input,
            json!({"did": DID, "handle": HANDLE}),
        ),
        Sample::of::<admin::UpdateAccountPassword>(
            "com.atproto.admin.updateAccountPassword",
            Input,
            json!({"did": DID, "password": "p"}),
        ),
        Sample::of::<admin::UpdateSubjectStatus>(
            "com.atproto.admin.updateSubjectStatus",
            Input,
            json!({"subject": blob, "takedown": applied, "deactivated": applied}),
        ),
        Sample::of::<admin::UpdateSubjectStatusOutput>(
            "com.atproto.admin.updateSubjectStatus",
            Output,
            json!({"subject": record, "takedown": applied}),
        ),
    ]
}

fn identity() -> Vec<Sample> {
    use Part::{Input, Output, Params};
    let operation = json!({"operation": {"type": "plc_operation", "data": {"prev": null, "keys": [KEY]}}});
    vec![
        Sample::of::<identity::GetRecommendedDidCredentialsOutput>(
            "com.atproto.identity.getRecommendedDidCredentials",
            Output,
            json!({
                "rotationKeys": [KEY],
                "alsoKnownAs": ["at://alice.test"],
                "verificationMethods": {"data": KEY},
                "services": {"data": {"type": "AtprotoPersonalDataServer", "endpoint": "https://pds.test"}},
            }),
        ),
        Sample::of::<identity::ResolveHandleParams>(
            "com.atproto.identity.resolveHandle",
            Params,
            json!({"handle": HANDLE}),
        ),
        Sample::of::<identity::ResolveHandleOutput>("com.atproto.identity.resolveHandle", Output, json!({"did": DID})),
        Sample::of::<identity::SignPlcOperation>(
            "com.atproto.identity.signPlcOperation",
            Input,
            json!({
                "token": "ABCDE-23456",
                "rotationKeys": [KEY],
                "alsoKnownAs": ["at://alice.test"],
                "verificationMethods": {"data": KEY},
                "services": {"data": {}},
            }),
        ),
        Sample::of::<identity::SignPlcOperationOutput>(
            "com.atproto.identity.signPlcOperation",
            Output,
            operation.clone(),
        ),
        Sample::of::<identity::SubmitPlcOperation>("com.atproto.identity.submitPlcOperation", Input, operation),
        Sample::of::<identity::UpdateHandle>("com.atproto.identity.updateHandle", Input, json!({"handle": HANDLE})),
    ]
}

fn moderation() -> Vec<Sample> {
    let subject = json!({"$type": "com.example.unheard#of", "data": 1});
    vec![
        Sample::of::<moderation::CreateReport>(
            "com.atproto.moderation.createReport",
            Part::Input,
            json!({
                "reasonType": "com.atproto.moderation.defs#reasonSpam",
                "reason": "again",
                "subject": subject,
                "modTool": {"name": "app/1", "meta": {"data": 1}},
            }),
        ),
        Sample::of::<moderation::CreateReportOutput>(
            "com.atproto.moderation.createReport",
            Part::Output,
            json!({
                "id": 7,
                "reasonType": "com.atproto.moderation.defs#reasonSpam",
                "reason": "again",
                "subject": subject,
                "reportedBy": DID,
                "createdAt": TIME,
            }),
        ),
    ]
}

fn repo() -> Vec<Sample> {
    use Part::{Input, Output, Params};
    let commit = json!({"cid": NODE, "rev": REV});
    let written = json!({"uri": URI, "cid": NODE, "commit": commit, "validationStatus": "unknown"});
    let op = |kind: &str, mut fields: Json| {
        fields["$type"] = format!("com.atproto.repo.applyWrites#{kind}").into();
        fields
    };
    let done = |kind: &str, status: &str| op(kind, json!({"uri": URI, "cid": NODE, "validationStatus": status}));
    vec![
        Sample::of::<repo::ApplyWrites>(
            "com.atproto.repo.applyWrites",
            Input,
            json!({
                "repo": DID,
                "validate": false,
                "writes": [
                    op("create", json!({"collection": "com.example.note", "rkey": REV, "value": record()})),
                    op("update", json!({"collection": "com.example.note", "rkey": REV, "value": record()})),
                    op("delete", json!({"collection": "com.example.note", "rkey": REV})),
                ],
                "swapCommit": NODE,
            }),
        ),
        Sample::of::<repo::ApplyWritesOutput>(
            "com.atproto.repo.applyWrites",
            Output,
            json!({
                "commit": commit,
                "results": [
                    done("createResult", "valid"), done("updateResult", "unknown"), op("deleteResult", json!({})),
                ],
            }),
        ),
        Sample::of::<repo::CreateRecord>(
            "com.atproto.repo.createRecord",
            Input,
            json!({
                "repo": HANDLE,
                "collection": "com.example.note",
                "rkey": REV,
                "validate": true,
                "record": record(),
                "swapCommit": NODE,
            }),
        ),
        Sample::of::<repo::CreateRecordOutput>("com.atproto.repo.createRecord", Output, written.clone()),
        Sample::of::<repo::DeleteRecord>(
            "com.atproto.repo.deleteRecord",
            Input,
            json!({
                "repo": DID,
                "collection": "com.example.note",
                "rkey": REV,
                "swapRecord": NODE,
                "swapCommit": NODE,
            }),
        ),
        Sample::of::<repo::DeleteRecordOutput>("com.atproto.repo.deleteRecord", Output, json!({"commit": commit})),
        Sample::of::<repo::DescribeRepoParams>("com.atproto.repo.describeRepo", Params, json!({"repo": HANDLE})),
        Sample::of::<repo::DescribeRepoOutput>(
            "com.atproto.repo.describeRepo",
            Output,
            json!({
                "handle": "handle.invalid",
                "did": DID,
                "didDoc": {"id": DID, "data": []},
                "collections": ["com.example.note"],
                "handleIsCorrect": false,
            }),
        ),
        Sample::of::<repo::GetRecordParams>(
            "com.atproto.repo.getRecord",
            Params,
            json!({"repo": DID, "collection": "com.example.note", "rkey": REV, "cid": NODE}),
        ),
        Sample::of::<repo::GetRecordOutput>(
            "com.atproto.repo.getRecord",
            Output,
            json!({"uri": URI, "cid": NODE, "value": record()}),
        ),
        Sample::of::<repo::ListMissingBlobsParams>(
            "com.atproto.repo.listMissingBlobs",
            Params,
            json!({"limit": 1000, "cursor": "c"}),
        ),
        Sample::of::<repo::ListMissingBlobsOutput>(
            "com.atproto.repo.listMissingBlobs",
            Output,
            json!({"cursor": "c", "blobs": [{"cid": BLOB, "recordUri": URI}]}),
        ),
        Sample::of::<repo::ListRecordsParams>(
            "com.atproto.repo.listRecords",
            Params,
            json!({"repo": DID, "collection": "com.example.note", "limit": 100, "cursor": "c", "reverse": true}),
        ),
        Sample::of::<repo::ListRecordsOutput>(
            "com.atproto.repo.listRecords",
            Output,
            json!({"cursor": "c", "records": [{"uri": URI, "cid": NODE, "value": record()}]}),
        ),
        Sample::of::<repo::PutRecord>(
            "com.atproto.repo.putRecord",
            Input,
            json!({
                "repo": DID,
                "collection": "com.example.note",
                "rkey": REV,
                "validate": true,
                "record": record(),
                "swapRecord": NODE,
                "swapCommit": NODE,
            }),
        ),
        Sample::of::<repo::PutRecordOutput>("com.atproto.repo.putRecord", Output, written),
        Sample::of::<repo::UploadBlobOutput>(
            "com.atproto.repo.uploadBlob",
            Output,
            json!({"blob": {"$type": "blob", "ref": {"$link": BLOB}, "mimeType": "image/png", "size": 0}}),
        ),
    ]
}

fn server() -> Vec<Sample> {
    use Part::{Input, Output, Params};
    let session = |more: Json| {
        let mut session = json!({
            "handle": HANDLE,
            "did": DID,
            "didDoc": {"id": DID, "data": []},
            "email": EMAIL,
            "emailConfirmed": true,
            "emailAuthFactor": false,
            "active": false,
            "status": "deactivated",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            session[key] = value.clone();
        }
        session
    };
    let tokens = json!({"accessJwt": "a.b.c", "refreshJwt": "d.e.f"});
    vec![
        Sample::of::<server::CheckAccountStatusOutput>(
            "com.atproto.server.checkAccountStatus",
            Output,
            json!({
                "activated": false,
                "validDid": true,
                "repoCommit": NODE,
                "repoRev": REV,
                "repoBlocks": 1,
                "indexedRecords": 2,
                "privateStateValues": 3,
                "expectedBlobs": 4,
                "importedBlobs": 5,
            }),
        ),
        Sample::of::<server::ConfirmEmail>(
            "com.atproto.server.confirmEmail",
            Input,
            json!({"email": EMAIL, "token": "ABCDE-23456"}),
        ),
        Sample::of::<server::CreateAccount>(
            "com.atproto.server.createAccount",
            Input,
            json!({
                "email": EMAIL,
                "handle": HANDLE,
                "did": DID,
                "inviteCode": "pds-test-abcde-23456",
                "verificationCode": "123",
                "verificationPhone": "555",
                "password": "p",
                "recoveryKey": KEY,
                "plcOp": {"data": null},
            }),
        ),
        Sample::of::<server::CreateAccountOutput>(
            "com.atproto.server.createAccount",
            Output,
            json!({
                "accessJwt": "a.b.c",
                "refreshJwt": "d.e.f",
                "handle": HANDLE,
                "did": DID,
                "didDoc": {"id": DID, "data": []},
            }),
        ),
        Sample::of::<server::CreateAppPassword>(
            "com.atproto.server.createAppPassword",
            Input,
            json!({"name": "phone", "privileged": true}),
        ),
        Sample::of::<server::CreateAppPasswordOutput>(
            "com.atproto.server.createAppPassword",
            Output,
            json!({"name": "phone", "password": "abcd-efgh-2345-ijkl", "createdAt": TIME, "privileged": true}),
        ),
        Sample::of::<server::CreateInviteCode>(
            "com.atproto.server.createInviteCode",
            Input,
            json!({"useCount": 5, "forAccount": DID}),
        ),
        Sample::of::<server::CreateInviteCodeOutput>(
            "com.atproto.server.createInviteCode",
            Output,
            json!({"code": "pds-test-abcde-23456"}),
        ),
        Sample::of::<server::CreateInviteCodes>(
            "com.atproto.server.createInviteCodes",
            Input,
            json!({"codeCount": 2, "useCount": 5, "forAccounts": [DID]}),
        ),
        Sample::of::<server::CreateInviteCodesOutput>(
            "com.atproto.server.createInviteCodes",
            Output,
            json!({"codes": [{"account": "admin", "codes": ["pds-test-abcde-23456"]}]}),
        ),
        Sample::of::<server::CreateSession>(
            "com.atproto.server.createSession",
            Input,
            json!({"identifier": EMAIL, "password": "p", "authFactorToken": "ABCDE-23456", "allowTakendown": true}),
        ),
        Sample::of::<server::CreateSessionOutput>("com.atproto.server.createSession", Output, session(tokens.clone())),
        Sample::of::<server::DeactivateAccount>(
            "com.atproto.server.deactivateAccount",
            Input,
            json!({"deleteAfter": "2024-01-02T03:04:05+01:00"}),
        ),
        Sample::of::<server::DeleteAccount>(
            "com.atproto.server.deleteAccount",
            Input,
            json!({"did": DID, "password": "p", "token": "ABCDE-23456"}),
        ),
        Sample::of::<server::DescribeServerOutput>(
            "com.atproto.server.describeServer",
            Output,
            json!({
                "inviteCodeRequired": true,
                "phoneVerificationRequired": false,
                "blobUploadLimit": 5_242_880,
                "availableUserDomains": [".test"],
                "links": {"privacyPolicy": "https://pds.test/privacy", "termsOfService": "https://pds.test/terms"},
                "contact": {"email": "operator@pds.test"},
                "did": "did:web:pds.test",
            }),
        ),
        Sample::of::<server::GetAccountInviteCodesParams>(
            "com.atproto.server.getAccountInviteCodes",
            Params,
            json!({"includeUsed": false, "createAvailable": false}),
        ),
        Sample::of::<server::GetAccountInviteCodesOutput>(
            "com.atproto.server.getAccountInviteCodes",
            Output,
            json!({"codes": [invite_code()]}),
        ),
        Sample::of::<server::GetServiceAuthParams>(
            "com.atproto.server.getServiceAuth",
            Params,
            json!({"aud": "did:web:api.test#api", "exp": 1_704_164_645, "lxm": "com.example.getNotes"}),
        ),
        Sample::of::<server::GetServiceAuthOutput>(
            "com.atproto.server.getServiceAuth",
            Output,
            json!({"token": "a.b.c"}),
        ),
        Sample::of::<server::GetSessionOutput>("com.atproto.server.getSession", Output, session(json!({}))),
        Sample::of::<server::ListAppPasswordsOutput>(
            "com.atproto.server.listAppPasswords",
            Output,
            json!({"passwords": [{"name": "phone", "createdAt": TIME, "privileged": false}]}),
        ),
        Sample::of::<server::RefreshSessionOutput>("com.atproto.server.refreshSession", Output, session(tokens)),
        Sample::of::<server::RequestEmailUpdateOutput>(
            "com.atproto.server.requestEmailUpdate",
            Output,
            json!({"tokenRequired": true}),
        ),
        Sample::of::<server::RequestPasswordReset>(
            "com.atproto.server.requestPasswordReset",
            Input,
            json!({"email": EMAIL}),
        ),
        Sample::of::<server::ReserveSigningKey>("com.atproto.server.reserveSigningKey", Input, json!({"did": DID})),
        Sample::of::<server::ReserveSigningKeyOutput>(
            "com.atproto.server.reserveSigningKey",
            Output,
            json!({"signingKey": KEY}),
        ),
        Sample::of::<server::ResetPassword>(
            "com.atproto.server.resetPassword",
            Input,
            json!({"token": "ABCDE-23456", "password": "p"}),
        ),
        Sample::of::<server::RevokeAppPassword>(
            "com.atproto.server.revokeAppPassword",
            Input,
            json!({"name": "phone"}),
        ),
        Sample::of::<server::UpdateEmail>(
            "com.atproto.server.updateEmail",
            Input,
            json!({"email": EMAIL, "emailAuthFactor": true, "token": "ABCDE-23456"}),
        ),
    ]
}

fn sync() -> Vec<Sample> {
    use Part::{Output, Params};
    vec![
        Sample::of::<sync::GetBlobParams>("com.atproto.sync.getBlob", Params, json!({"did": DID, "cid": BLOB})),
        Sample::of::<sync::GetBlocksParams>(
            "com.atproto.sync.getBlocks",
            Params,
            json!({"did": DID, "cids": [NODE, BLOB]}),
        ),
        Sample::of::<sync::GetCheckoutParams>("com.atproto.sync.getCheckout", Params, json!({"did": DID})),
        Sample::of::<sync::GetHeadParams>("com.atproto.sync.getHead", Params, json!({"did": DID})),
        Sample::of::<sync::GetHeadOutput>("com.atproto.sync.getHead", Output, json!({"root": NODE})),
        Sample::of::<sync::GetLatestCommitParams>("com.atproto.sync.getLatestCommit", Params, json!({"did": DID})),
        Sample::of::<sync::GetLatestCommitOutput>(
            "com.atproto.sync.getLatestCommit",
            Output,
            json!({"cid": NODE, "rev": REV}),
        ),
        Sample::of::<sync::GetRecordParams>(
            "com.atproto.sync.getRecord",
            Params,
            json!({"did": DID, "collection": "com.example.note", "rkey": REV}),
        ),
        Sample::of::<sync::GetRepoParams>("com.atproto.sync.getRepo", Params, json!({"did": DID, "since": REV})),
        Sample::of::<sync::GetRepoStatusParams>("com.atproto.sync.getRepoStatus", Params, json!({"did": DID})),
        Sample::of::<sync::GetRepoStatusOutput>(
            "com.atproto.sync.getRepoStatus",
            Output,
            json!({"did": DID, "active": false, "status": "takendown", "rev": REV}),
        ),
        Sample::of::<sync::ListBlobsParams>(
            "com.atproto.sync.listBlobs",
            Params,
            json!({"did": DID, "since": REV, "limit": 1, "cursor": "c"}),
        ),
        Sample::of::<sync::ListBlobsOutput>(
            "com.atproto.sync.listBlobs",
            Output,
            json!({"cursor": "c", "cids": [BLOB]}),
        ),
        Sample::of::<sync::ListReposParams>(
            "com.atproto.sync.listRepos",
            Params,
            json!({"limit": 1000, "cursor": "c"}),
        ),
        Sample::of::<sync::ListReposOutput>(
            "com.atproto.sync.listRepos",
            Output,
            json!({
                "cursor": "c",
                "repos": [{"did": DID, "head": NODE, "rev": REV, "active": false, "status": "suspended"}],
            }),
        ),
        Sample::of::<sync::SubscribeReposParams>("com.atproto.sync.subscribeRepos", Params, json!({"cursor": 7})),
    ]
}
