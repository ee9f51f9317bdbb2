//! Mail servers that ask for TLS and a log-in, and such as refuse, hang or hang up.

use std::time::{Duration, Instant};

use origin::config::Config;
use origin::mail::{Stage, check};
use rcgen::{CertifiedKey, KeyPair};
use serde_json::{Value, json};
use tests::Smtp;

use super::{INVALID, Mailed, code, refused};

/// A mail server's certificate for `localhost`, and its key.
struct Identity(CertifiedKey<KeyPair>);

impl Identity {
    fn new() -> Self {
        Self(rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap())
    }

    /// The options of a server that has it and asks for a log-in.
    fn options(&self, secure: bool) -> Value {
        let (key, cert) = (self.0.signing_key.serialize_pem(), self.0.cert.pem());
        json!({ "secure": secure, "key": key, "cert": cert, "user": "me@example.com", "pass": "p/a:s#s" })
    }

    /// The URL of such a server that trusts it.
    fn url(&self, scheme: &str, login: &str, port: u16) -> String {
        let mut url = reqwest::Url::parse(&format!("{scheme}://{login}localhost:{port}")).unwrap();
        url.query_pairs_mut().append_pair("tls.ca", &self.0.cert.pem());
        url.into()
    }
}

const LOGIN: &str = "me%40example.com:p%2Fa%3As%23s@";

#[tokio::test]
async fn tls_and_a_login_are_used_where_they_are_asked_for_and_one_connection_does() {
    for (scheme, secure) in [("smtps", true), ("smtp", false)] {
        let identity = Identity::new();
        let Some(smtp) = Smtp::start(identity.options(secure)).await else { return };
        let url = identity.url(scheme, LOGIN, smtp.port());
        let mut it = Mailed::with(smtp, &url, &[]).await;
        for _ in 0..3 {
            it.ok("server.requestAccountDelete", None).await;
            let mail = it.smtp.mail().await;
            assert_eq!((&mail["secure"], &mail["user"]), (&json!(true), &json!("me@example.com")), "{scheme}");
            assert_eq!((&mail["connections"], &mail["hello"]), (&json!(1), &json!("localhost")), "{scheme}");
        }
    }
}

#[tokio::test]
async fn a_mail_that_is_not_taken_is_a_500_and_leaves_the_code_before_good() {
    let Some(smtp) = Smtp::start(json!({})).await else { return };
    let url = format!("smtp://localhost:{}", smtp.port());
    let mut it = Mailed::with(smtp, &url, &[]).await;
    let token = it.code("server.requestEmailConfirmation").await;
    // Nobody answers any more.
    it.smtp.stop().await;
    let answer = it.post("server.requestEmailConfirmation", None).await;
    assert_eq!(refused(&answer), (500, "InternalServerError", "Internal Server Error"));
    let confirm = json!({ "email": "alice@example.com", "token": token });
    assert_eq!(it.post("server.confirmEmail", Some(confirm.clone())).await.0, 200);
    assert_eq!(refused(&it.post("server.confirmEmail", Some(confirm)).await), INVALID);
}

#[tokio::test]
async fn a_server_that_refuses_hangs_or_hangs_up_fails_the_request_in_time() {
    for options in [
        json!({ "refuse": "sender" }),
        json!({ "refuse": "recipient" }),
        json!({ "refuse": "content" }),
        json!({ "closes": true }),
        json!({ "silent": true }),
        json!({ "user": "me", "pass": "other" }),
    ] {
        let Some(smtp) = Smtp::start(options.clone()).await else { return };
        let url = format!("smtp://me:pass@localhost:{}?socketTimeout=1500", smtp.port());
        let it = Mailed::with(smtp, &url, &[]).await;
        let begun = Instant::now();
        let answer = it.post("server.requestAccountDelete", None).await;
        assert_eq!(refused(&answer), (500, "InternalServerError", "Internal Server Error"), "{options}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{options}");
        let rows = rusqlite::Connection::open(it.pds.directory().join("account.sqlite")).unwrap();
        let left: i64 = rows.query_row("SELECT count(*) FROM email_token", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{options}");
    }
}

#[tokio::test]
async fn a_check_says_what_is_wrong_with_a_mail_server() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    tests::prepare_client();
    let tried = async |url: &str| {
        let variables = [
            ("PDS_DATA_DIRECTORY", directory),
            ("PDS_EMAIL_SMTP_URL", url),
            ("PDS_EMAIL_FROM_ADDRESS", "a@example.com"),
        ];
        let email = Config::from_variables(variables).unwrap().email.unwrap();
        check(&email, "pds.example.com", "ash@example.org").await.map_err(|error| (error.stage, error.to_string()))
    };
    let identity = Identity::new();
    let Some(mut smtp) = Smtp::start(identity.options(false)).await else { return };
    let port = smtp.port();
    tried(&identity.url("smtp", LOGIN, port)).await.unwrap();
    assert_eq!(smtp.mail().await["subject"], "Test from pds.example.com");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let plain = Smtp::start(json!({})).await.unwrap();
    let mut cases = vec![
        ("smtp://no-such-host.invalid".to_owned(), Stage::Resolve, "no address for the name no-such-host.invalid"),
        (format!("smtp://localhost:{nobody}"), Stage::Connect, "No mail server answers at localhost"),
        (format!("smtp://localhost:{port}"), Stage::Tls, "certificate"),
        (format!("smtp://localhost:{}?requireTLS=true", plain.port()), Stage::Tls, "does not offer STARTTLS"),
        (format!("smtps://localhost:{}", plain.port()), Stage::Tls, "use smtp:// instead"),
        (identity.url("smtp", "me:wrong@", port), Stage::Login, "does not accept name and password"),
        (identity.url("smtp", "", port), Stage::Sender, "some servers want a log-in first"),
    ];
    let mut refusing = Vec::new();
    for (refuse, stage, words) in [
        ("sender", Stage::Sender, "PDS_EMAIL_FROM_ADDRESS"),
        ("recipient", Stage::Recipient, "recipient refused by the test"),
        ("content", Stage::Content, "content refused by the test"),
    ] {
        let smtp = Smtp::start(json!({ "refuse": refuse })).await.unwrap();
        cases.push((format!("smtp://localhost:{}", smtp.port()), stage, words));
        refusing.push(smtp);
    }
    for (url, stage, words) in cases {
        let (found, said) = tried(&url).await.unwrap_err();
        assert!(found == Some(stage) && said.contains(words), "{url}: {found:?} {said}");
    }
    let unchecked = format!("smtp://{LOGIN}localhost:{port}?tls.rejectUnauthorized=false");
    tried(&unchecked).await.unwrap();
}

#[tokio::test]
async fn an_address_beyond_ascii_gets_its_mail() {
    let Some(mut it) = Mailed::start(json!({}), &[]).await else { return };
    it.ok("server.updateEmail", Some(json!({ "email": "jürgen@bücher.example" }))).await;
    it.ok("server.requestAccountDelete", None).await;
    let mail = it.smtp.mail().await;
    code(&mail);
    assert_eq!(mail["envelope"]["to"].as_array().unwrap().len(), 1, "{mail}");
}
