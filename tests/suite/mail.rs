//! E-mail: every mail read back from a real mail server, and its code used to the end.

mod faults;

use reqwest::Client;
use serde_json::{Value, json};
use tests::{Pds, Plc, Smtp};

use crate::account::sign_up;

/// A server with an account, and the mail server that its mails go to.
struct Mailed {
    pds: Pds,
    plc: Plc,
    smtp: Smtp,
    did: String,
    token: String,
}

impl Mailed {
    /// `None` where there is no mail server to be had.
    async fn start(options: Value, more: &[(&str, &str)]) -> Option<Self> {
        let smtp = Smtp::start(options).await?;
        let url = format!("smtp://localhost:{}", smtp.port());
        Some(Self::with(smtp, &url, more).await)
    }

    async fn with(smtp: Smtp, url: &str, more: &[(&str, &str)]) -> Self {
        let plc = Plc::start().await;
        let own = [
            ("PDS_EMAIL_SMTP_URL", url),
            ("PDS_EMAIL_FROM_ADDRESS", "\"Ash's PDS\" <pds@example.com>"),
            ("PDS_MODERATION_EMAIL_SMTP_URL", url),
            ("PDS_MODERATION_EMAIL_ADDRESS", "moderators@example.com"),
            ("PDS_ADMIN_PASSWORD", "admin-pass"),
        ];
        let pds = Pds::start_open_with(&plc, &[&own, more].concat()).await;
        let made = sign_up(&pds, "alice").await;
        let field = |name: &str| made[name].as_str().unwrap().to_owned();
        Self { did: field("did"), token: field("accessJwt"), pds, plc, smtp }
    }

    /// Calls a procedure as the account.
    async fn post(&self, method: &str, input: Option<Value>) -> (u16, Value) {
        post(&self.pds, method, Some(&self.token), input).await
    }

    async fn ok(&self, method: &str, input: Option<Value>) -> Value {
        let (status, body) = self.post(method, input).await;
        assert_eq!(status, 200, "{method}: {body}");
        body
    }

    /// Asks for a mail and returns the code that it brings.
    async fn code(&mut self, method: &str) -> String {
        self.ok(method, None).await;
        code(&self.smtp.mail().await)
    }
}

async fn post(pds: &Pds, method: &str, token: Option<&str>, input: Option<Value>) -> (u16, Value) {
    let mut request = Client::new().post(pds.url(&format!("/xrpc/com.atproto.{method}")));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(input) = input {
        request = request.json(&input);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

/// The code in a mail of whichever server.
pub(crate) fn mailed(mail: &Value) -> &str {
    let is_code = |word: &&str| word.len() == 11 && word.as_bytes()[5] == b'-' && word.to_uppercase() == *word;
    let text = mail["text"].as_str().unwrap();
    text.split_whitespace().find(is_code).unwrap_or_else(|| panic!("no code in {text}"))
}

/// The code in a mail: the same in its text and its HTML.
fn code(mail: &Value) -> String {
    let code = mailed(mail);
    assert!(mail["html"].as_str().unwrap().contains(&format!(">{code}</p>")), "{mail}");
    code.to_owned()
}

/// Status, error name and message.
fn refused(answer: &(u16, Value)) -> (u16, &str, &str) {
    (answer.0, answer.1["error"].as_str().unwrap_or_default(), answer.1["message"].as_str().unwrap_or_default())
}

const INVALID: (u16, &str, &str) = (400, "InvalidToken", "Token is invalid");

#[tokio::test]
async fn a_password_is_reset_by_the_mailed_code_and_nobody_learns_who_has_an_account() {
    let Some(mut it) = Mailed::start(json!({}), &[]).await else { return };
    let ask = |email: &str| post(&it.pds, "server.requestPasswordReset", None, Some(json!({ "email": email })));
    assert_eq!(ask("nobody@example.com").await, ask("ALICE@example.com").await);
    let mail = it.smtp.mail().await;
    assert_eq!(mail["subject"], "Password Reset Requested");
    assert_eq!((&mail["to"], &mail["envelope"]["to"]), (&json!("alice@example.com"), &json!(["alice@example.com"])));
    assert_eq!(
        (&mail["from"], &mail["envelope"]["from"]),
        (&json!("\"Ash's PDS\" <pds@example.com>"), &json!("pds@example.com"))
    );
    assert!(
        mail["text"].as_str().unwrap().contains("alice.test")
            && mail["messageId"].as_str().unwrap().ends_with("@example.com>")
    );
    let code = code(&mail);

    let reset = |token: &str, password: &str| {
        post(&it.pds, "server.resetPassword", None, Some(json!({ "token": token, "password": password })))
    };
    assert_eq!(refused(&reset("AAAAA-AAAAA", "new").await), INVALID);
    let long = "x".repeat(257);
    assert_eq!(refused(&reset(&code, &long).await), (400, "InvalidRequest", "Invalid password length."));
    assert_eq!(reset(&code.to_lowercase(), "new horse").await.0, 200);
    assert_eq!(refused(&reset(&code, "newer horse").await), INVALID);
    let login = |password: &str| {
        let input = json!({ "identifier": "alice.test", "password": password });
        post(&it.pds, "server.createSession", None, Some(input))
    };
    assert_eq!((login("correct horse").await.0, login("new horse").await.0), (401, 200));
    assert!(it.smtp.is_quiet().await);
}

#[tokio::test]
async fn an_address_is_confirmed_and_then_changed_by_mailed_codes() {
    let Some(mut it) = Mailed::start(json!({}), &[]).await else { return };
    // Not confirmed: it can be changed without a code, and none is mailed.
    assert_eq!(it.ok("server.requestEmailUpdate", None).await, json!({ "tokenRequired": false }));
    assert!(it.smtp.is_quiet().await);
    it.ok("server.requestEmailConfirmation", None).await;
    let mail = it.smtp.mail().await;
    assert_eq!(mail["subject"], "Email Confirmation");
    let token = code(&mail);
    assert!(mail["html"].as_str().unwrap().contains(&format!("https://bsky.app/intent/verify-email?code={token}")));
    let confirm =
        |email: &str, token: &str| it.post("server.confirmEmail", Some(json!({ "email": email, "token": token })));
    assert_eq!(refused(&confirm("bob@example.com", &token).await), (400, "InvalidEmail", "invalid email"));
    assert_eq!(refused(&confirm("alice@example.com", "x").await), INVALID);
    assert_eq!(confirm("Alice@example.com", &token).await.0, 200);
    assert_eq!(refused(&confirm("alice@example.com", &token).await), INVALID);

    assert_eq!(it.ok("server.requestEmailUpdate", None).await, json!({ "tokenRequired": true }));
    let mail = it.smtp.mail().await;
    assert_eq!(mail["subject"], "Email Update Requested");
    let token = code(&mail);
    let update = |input: Value| it.post("server.updateEmail", Some(input));
    let required = (400, "TokenRequired", "confirmation token required");
    assert_eq!(refused(&update(json!({ "email": "new@example.com" })).await), required);
    assert_eq!(refused(&update(json!({ "email": "new@example.com", "token": "x" })).await), INVALID);
    let unsupported = "This email address is not supported, please use a different email.";
    let thrown_away = update(json!({ "email": "a@mailinator.com", "token": token })).await;
    assert_eq!(refused(&thrown_away), (400, "InvalidRequest", unsupported));
    assert_eq!(update(json!({ "email": "New@example.com", "token": token })).await.0, 200);
    let session = Client::new().get(it.pds.url("/xrpc/com.atproto.server.getSession")).bearer_auth(&it.token);
    let session: Value = session.send().await.unwrap().json().await.unwrap();
    assert_eq!((&session["email"], &session["emailConfirmed"]), (&json!("new@example.com"), &json!(false)));
}

#[tokio::test]
async fn an_identity_is_changed_by_the_mailed_code_and_told() {
    let Some(mut it) = Mailed::start(json!({}), &[]).await else { return };
    let url = it.pds.url("/xrpc/com.atproto.identity.getRecommendedDidCredentials");
    let recommended: Value = Client::new().get(url).bearer_auth(&it.token).send().await.unwrap().json().await.unwrap();
    let registered: Value = reqwest::get(it.plc.url(&format!("/{}/data", it.did))).await.unwrap().json().await.unwrap();
    for field in ["rotationKeys", "alsoKnownAs", "verificationMethods", "services"] {
        assert_eq!(recommended[field], registered[field], "{field}");
    }

    let sign = |input: Value| it.post("identity.signPlcOperation", Some(input));
    let missing = "email confirmation token required to sign PLC operations";
    assert_eq!(refused(&sign(json!({})).await), (400, "InvalidRequest", missing));
    assert_eq!(refused(&sign(json!({ "token": "x" })).await), INVALID);
    let token = it.code("identity.requestPlcOperationSignature").await;
    let sign = |input: Value| it.post("identity.signPlcOperation", Some(input));
    for wrong in [json!({ "token": token, "services": [] }), json!({ "token": token, "rotationKeys": ["x"] })] {
        assert_eq!(refused(&sign(wrong.clone()).await).0, 400, "{wrong}");
    }
    let own_key = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme";
    let mut keys = recommended["rotationKeys"].as_array().unwrap().clone();
    keys.insert(0, json!(own_key));
    let (status, signed) = sign(json!({ "token": token, "rotationKeys": keys })).await;
    assert_eq!(status, 200, "{signed}");
    assert_eq!(refused(&sign(json!({ "token": token })).await), INVALID);

    let operation = &signed["operation"];
    let submit = |operation: Value| it.post("identity.submitPlcOperation", Some(json!({ "operation": operation })));
    let with = |field: &str, value: Value| {
        let mut changed = operation.clone();
        changed[field] = value;
        changed
    };
    let pds = |kind: &str, endpoint: &str| json!({ "atproto_pds": { "type": kind, "endpoint": endpoint } });
    let kind = "AtprotoPersonalDataServer";
    for (wrong, message) in [
        (json!({}), "Invalid operation"),
        (with("type", json!("plc_tombstone")), "Invalid operation"),
        (with("rotationKeys", json!([own_key])), "Rotation keys do not include server's rotation key"),
        (with("services", pds("Other", "https://example.com")), "Incorrect type on atproto_pds service"),
        (with("services", pds(kind, "https://example.com")), "Incorrect endpoint on atproto_pds service"),
        (with("verificationMethods", json!({ "atproto": own_key })), "Incorrect signing key"),
        (with("alsoKnownAs", json!(["at://bob.test"])), "Incorrect handle in alsoKnownAs"),
    ] {
        assert_eq!(refused(&submit(wrong).await), (400, "InvalidRequest", message));
    }
    let forged = submit(with("alsoKnownAs", json!(["at://alice.test", "at://x.test"]))).await;
    assert_eq!(forged.0, 400, "{forged:?}");
    let events = || {
        let rows = rusqlite::Connection::open(it.pds.directory().join("sequencer.sqlite")).unwrap();
        let sql = "SELECT count(*) FROM repo_seq WHERE eventType = 'identity'";
        rows.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(events(), 1);
    assert_eq!(submit(operation.clone()).await.0, 200);
    assert_eq!(events(), 2);
    let registered: Value = reqwest::get(it.plc.url(&format!("/{}/data", it.did))).await.unwrap().json().await.unwrap();
    assert_eq!(registered["rotationKeys"], json!(keys));
}

#[tokio::test]
async fn a_deletion_is_asked_for_by_mail_and_a_hostile_name_stays_text() {
    let name = "<script>alert(1)</script> & \"Co\"";
    let Some(mut it) = Mailed::start(json!({}), &[("PDS_SERVICE_NAME", name), ("PDS_PRIMARY_COLOR", "#123456")]).await
    else {
        return;
    };
    it.ok("server.requestAccountDelete", None).await;
    let mail = it.smtp.mail().await;
    assert_eq!(mail["subject"], "Account Deletion Requested");
    code(&mail);
    let html = mail["html"].as_str().unwrap();
    assert!(!html.contains("<script") && html.contains("#123456"), "{html}");
    assert!(mail["text"].as_str().unwrap().contains(name));
}

#[tokio::test]
async fn moderators_write_to_an_account_and_no_header_gets_in() {
    let Some(mut it) = Mailed::start(json!({}), &[]).await else { return };
    let send = |password: &str, input: Value| {
        let request = Client::new().post(it.pds.url("/xrpc/com.atproto.admin.sendEmail")).json(&input);
        let request = request.basic_auth("admin", Some(password.to_owned()));
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let input = json!({
        "recipientDid": it.did, "senderDid": it.did, "subject": "Hi\r\nBcc: eve@example.net",
        "content": "<h1>Dear</h1><p>Post <b>less</b>.</p>",
    });
    assert_eq!(send("wrong", input.clone()).await.0, 401);
    assert_eq!(send("admin-pass", input).await, (200, json!({ "sent": true })));
    let mail = it.smtp.mail().await;
    assert_eq!(
        (&mail["from"], &mail["envelope"]["to"]),
        (&json!("moderators@example.com"), &json!(["alice@example.com"]))
    );
    assert_eq!(mail["html"].as_str().unwrap().trim(), "<h1>Dear</h1><p>Post <b>less</b>.</p>");
    assert!(mail["text"].as_str().unwrap().contains("Post"), "{mail}");
    assert!(!mail["headers"].as_array().unwrap().contains(&json!("bcc")), "{mail}");
    let nobody = json!({ "recipientDid": "did:web:nobody.test", "senderDid": it.did, "content": "x" });
    let send =
        Client::new().post(it.pds.url("/xrpc/com.atproto.admin.sendEmail")).basic_auth("admin", Some("admin-pass"));
    let answer = send.json(&nobody).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["message"], "Recipient not found");
}

#[tokio::test]
async fn without_a_session_nothing_is_mailed_or_changed() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    for method in [
        "server.requestEmailConfirmation",
        "server.confirmEmail",
        "server.requestEmailUpdate",
        "server.updateEmail",
        "server.requestAccountDelete",
        "identity.requestPlcOperationSignature",
        "identity.signPlcOperation",
        "identity.submitPlcOperation",
    ] {
        let answer = post(&pds, method, None, None).await;
        assert_eq!(refused(&answer), (401, "AuthMissing", "Authentication Required"), "{method}");
    }
    assert_eq!(post(&pds, "admin.sendEmail", None, None).await.0, 401);
    for method in ["server.requestPasswordReset", "server.resetPassword"] {
        let answer = post(&pds, method, None, Some(json!({}))).await;
        assert_eq!(refused(&answer).1, "InvalidRequest", "{method}");
    }
    // And without a mail server everything else works.
    let made = sign_up(&pds, "alice").await;
    let token = made["accessJwt"].as_str();
    for method in ["server.requestEmailConfirmation", "server.requestAccountDelete"] {
        assert_eq!(post(&pds, method, token, None).await.0, 200, "{method}");
    }
}
