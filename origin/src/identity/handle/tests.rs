//! Handles resolved by DNS and by well-known files, and the answers that are believed.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use hickory_resolver::config::ConnectionConfig;
use tokio::net::{TcpListener, UdpSocket};

use super::*;

const DNS_DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
const HTTP_DID: &str = "did:web:example.com";
const TIME: Duration = Duration::from_millis(500);

/// A name server that knows TXT records, each of one or more strings, and never answers what it is told to keep.
async fn name_server(records: &[(&str, &[&[&str]])], silent_for: &[&str]) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let silent_for: Vec<String> = silent_for.iter().map(|name| (*name).to_owned()).collect();
    let records: HashMap<String, Vec<Vec<u8>>> = records
        .iter()
        .map(|(name, texts)| {
            let data = |strings: &&[&str]| {
                strings.iter().flat_map(|text| [&[text.len() as u8], text.as_bytes()].concat()).collect()
            };
            ((*name).to_owned(), texts.iter().map(data).collect())
        })
        .collect();
    tokio::spawn(async move {
        let mut query = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            let (name, end) = question(&query[..length]);
            if !silent_for.contains(&name) {
                socket.send_to(&answer(&query[..end], records.get(&name)), from).await.unwrap();
            }
        }
    });
    address
}

/// The name that a query asks for, and where its question ends.
fn question(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    (labels.join("."), at + 5)
}

/// The answer to a query that is cut after its question.
fn answer(query: &[u8], records: Option<&Vec<Vec<u8>>>) -> Vec<u8> {
    let mut answer = query.to_vec();
    let count = records.map_or(0, Vec::len) as u8;
    // An answer, and without records that there is no such name.
    answer[2..12].copy_from_slice(&[0x81, if count == 0 { 0x83 } else { 0x80 }, 0, 1, 0, count, 0, 0, 0, 0]);
    for data in records.into_iter().flatten() {
        // The name of the question, TXT, IN, a day.
        answer.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1, 0, 1, 0x51, 0x80, 0, data.len() as u8]);
        answer.extend_from_slice(data);
    }
    answer
}

fn dns_of(server: SocketAddr) -> TokioResolver {
    let mut connection = ConnectionConfig::udp();
    connection.port = server.port();
    let mut config = NameServerConfig::udp(server.ip());
    config.connections = vec![connection];
    dns(ResolverConfig::from_parts(None, Vec::new(), vec![config]), ResolverOpts::default(), TIME).unwrap()
}

async fn web_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router =
        Router::new().route("/.well-known/atproto-did", get(well_known)).route("/moved", get(async || HTTP_DID));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn well_known(headers: HeaderMap) -> Response {
    match headers["host"].to_str().unwrap() {
        "none.test" => axum::http::StatusCode::NOT_FOUND.into_response(),
        "other.test" => "<html>welcome</html>".into_response(),
        "long.test" => "did:".repeat(1000).into_response(),
        "moved.test" => Redirect::to("/moved").into_response(),
        "slow.test" => std::future::pending().await,
        _ => format!("  {HTTP_DID}\r\nmore\n").into_response(),
    }
}

/// A resolver for which every handle's web server is the same one.
async fn handles(records: &[(&str, &[&[&str]])], silent_for: &[&str]) -> Handles {
    let server = name_server(records, silent_for).await;
    Handles {
        client: Client::to(Reach::Anywhere, web_server().await),
        reach: Reach::Anywhere,
        scheme: "http",
        time: TIME,
        dns: Some(dns_of(server)),
        backup: Vec::new(),
        backup_dns: OnceCell::new(),
    }
}

async fn resolve(handles: &Handles, handle: &str) -> Option<String> {
    handles.resolve(&Handle::parse(handle).unwrap()).await.map(|did| did.to_string())
}

#[tokio::test]
async fn dns_is_believed_before_https() {
    let dns_did = format!("did={DNS_DID}");
    let (head, tail) = dns_did.split_at(9);
    let handles = handles(
        &[
            ("_atproto.alice.test", &[&[&dns_did]]),
            ("_atproto.split.test", &[&["v=spf1 -all"], &[head, tail]]),
            ("_atproto.twice.test", &[&[&dns_did], &[&dns_did]]),
            ("_atproto.slow.test", &[&[&dns_did]]),
        ],
        &[],
    )
    .await;
    for handle in ["alice.test", "split.test", "twice.test", "slow.test"] {
        assert_eq!(resolve(&handles, handle).await.as_deref(), Some(DNS_DID), "{handle}");
    }
}

#[tokio::test]
async fn https_is_believed_where_dns_says_nothing_usable() {
    let handles = handles(
        &[("_atproto.spf.test", &[&["v=spf1 -all"]]), ("_atproto.typo.test", &[&["did=plc:123"]])],
        &["_atproto.silent.test"],
    )
    .await;
    for handle in ["unknown.test", "spf.test", "typo.test", "silent.test", "moved.test"] {
        assert_eq!(resolve(&handles, handle).await.as_deref(), Some(HTTP_DID), "{handle}");
    }
    for handle in ["none.test", "other.test", "long.test", "slow.test"] {
        assert_eq!(resolve(&handles, handle).await, None, "{handle}");
    }
}

#[tokio::test]
async fn two_dids_in_dns_are_none() {
    let (one, other) = (format!("did={DNS_DID}"), format!("did={HTTP_DID}"));
    let handles = handles(&[("_atproto.two.test", &[&[&one], &[&other]])], &[]).await;
    assert_eq!(resolve(&handles, "two.test").await, None);
}

#[tokio::test]
async fn reserved_names_are_not_looked_up_and_test_ones_only_in_development() {
    let mut handles = handles(&[], &[]).await;
    assert_eq!(resolve(&handles, "alice.test").await.as_deref(), Some(HTTP_DID));
    for handle in ["alice.invalid", "alice.local", "handle.invalid", "alice.onion"] {
        assert_eq!(resolve(&handles, handle).await, None, "{handle}");
    }
    handles.reach = Reach::Public;
    assert_eq!(resolve(&handles, "alice.test").await, None);
}

#[tokio::test]
async fn backup_name_servers_are_asked_last() {
    let mut handles = handles(&[], &[]).await;
    let record = format!("did={DNS_DID}");
    let backup = name_server(&[("_atproto.none.test", &[&[&record]])], &[]).await;
    handles.backup = vec!["ns.example.com".to_owned()];
    handles.backup_dns = OnceCell::new_with(Some(dns_of(backup)));
    assert_eq!(resolve(&handles, "none.test").await.as_deref(), Some(DNS_DID));
    assert_eq!(resolve(&handles, "alice.test").await.as_deref(), Some(HTTP_DID));
    assert_eq!(resolve(&handles, "other.test").await, None);
}

#[tokio::test]
async fn a_change_in_dns_is_seen_at_once() {
    let record = format!("did={DNS_DID}");
    let before = name_server(&[("_atproto.none.test", &[&[&record]])], &[]).await;
    let mut handles = handles(&[], &[]).await;
    assert_eq!(resolve(&handles, "none.test").await, None);
    handles.dns = Some(dns_of(before));
    assert_eq!(resolve(&handles, "none.test").await.as_deref(), Some(DNS_DID));
}

#[tokio::test]
async fn resolution_is_bounded_in_time() {
    let handles = handles(&[], &["_atproto.slow.test"]).await;
    let started = Instant::now();
    assert_eq!(resolve(&handles, "slow.test").await, None);
    assert!(started.elapsed() < TIME * 3, "{:?}", started.elapsed());
}
