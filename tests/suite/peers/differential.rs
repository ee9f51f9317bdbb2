//! The same requests to the reference server and to the origin, standing on equal data: the status and the error's name
//! have to be the same, but for what the README's table of differences says.

mod reasons;
mod rows;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::Path;

use futures_util::future::join;
use futures_util::stream;
use reqwest::{Body, Client, StatusCode};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tests::Plc;
use tests::peers::{Place, Version, packages};
use tests::service::{self, Seen, Service};

use super::caller::Caller;
use super::world::World;
use reasons::Reasons;
use rows::{IMPORT_LIMIT, Row, VIEW, rows};

/// What is compared of an answer.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    error: String,
    kind: String,
    allowed_origin: String,
}

impl Answer {
    async fn to(row: &Row, client: &Client, place: &Place) -> (Self, String) {
        let mut request = client.request(row.method.clone(), place.url(&row.path));
        for (name, value) in &row.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &row.body {
            request = match row.chunked {
                false => request.body(body.clone()),
                true => {
                    let pieces: Vec<_> = body.chunks(10_000).map(|piece| Ok::<_, Infallible>(piece.to_vec())).collect();
                    request.body(Body::wrap_stream(stream::iter(pieces)))
                }
            };
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{}: {error}", row.name));
        let header = |name| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let (status, kind) = (answer.status().as_u16(), header("content-type"));
        let allowed_origin = header("access-control-allow-origin");
        let body = answer.bytes().await.unwrap();
        let error =
            serde_json::from_slice::<Value>(&body).ok().and_then(|body| Some(body["error"].as_str()?.to_owned()));
        let text = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        (Self { status, error: error.unwrap_or_default(), kind, allowed_origin }, text)
    }
}

/// What a bad request must not change.
fn state(place: &Place) -> (i64, i64, i64) {
    let count = |file: &str, query: &str| -> i64 {
        let path = place.directory().join(file);
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        database.query_row(query, [], |row| row.get(0)).unwrap()
    };
    (
        count("sequencer.sqlite", "SELECT max(seq) FROM repo_seq"),
        count("account.sqlite", "SELECT count(*) FROM actor"),
        count("account.sqlite", "SELECT count(*) FROM app_password"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_good_or_bad_is_answered_as_the_reference_server_does() {
    let Some(packages) = packages() else { return };
    let (plc, copied) = (Plc::start().await, Plc::start().await);
    let views = [Service::start(&plc, service::view).await, Service::start(&copied, service::view).await];
    // One public name for both, whatever the port.
    let place = |plc, view: &Service| {
        let limit = IMPORT_LIMIT.to_string();
        let place = Place::new(plc).with("PDS_HOSTNAME", "pds.example.com").with("PDS_MAX_REPO_IMPORT_SIZE", &limit);
        // The reference reports to nobody by an address.
        let url = view.url().replace("127.0.0.1", "localhost");
        let place = place.with("PDS_BSKY_APP_VIEW_URL", &url).with("PDS_BSKY_APP_VIEW_DID", VIEW);
        place.with("PDS_REPORT_SERVICE_URL", &url).with("PDS_REPORT_SERVICE_DID", VIEW)
    };
    let (theirs, ours) = (place(&plc, &views[0]), place(&copied, &views[1]));
    let reference = theirs.start_reference(&packages, Version::V0_5_35).await;
    let world = World::make(&Caller::new(&theirs)).await;
    let rows = rows(&world, &Caller::new(&theirs)).await;
    assert!(reference.stop().await.success());
    copy(theirs.directory(), ours.directory());
    for account in world.accounts() {
        let log = reqwest::get(plc.url(&format!("/{}/log", account.did))).await.unwrap();
        for operation in log.json::<Vec<Value>>().await.unwrap() {
            let request = Client::new().post(copied.url(&format!("/{}", account.did))).json(&operation);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
        }
    }
    let reference = theirs.start_reference(&packages, Version::V0_5_35).await;
    let headwater = ours.start_headwater().await;

    // A connection each: one on which a large body was refused may be closed at any moment.
    let client =
        Client::builder().redirect(reqwest::redirect::Policy::none()).pool_max_idle_per_host(0).build().unwrap();
    let (mut differences, mut statuses) = (Vec::new(), BTreeMap::<u16, usize>::new());
    let mut reasons = Reasons::default();
    for row in &rows {
        let before = state(&ours);
        let ((wanted, text), (got, own_text)) =
            join(Answer::to(row, &client, &theirs), Answer::to(row, &client, &ours)).await;
        *statuses.entry(got.status).or_default() += 1;
        if wanted != got && !reasons.explain(row, &wanted, &got) {
            differences.push(format!("{}\n  reference {wanted:?} {text}\n  ours      {got:?} {own_text}", row.name));
        }
        if got.status >= StatusCode::BAD_REQUEST.as_u16() && state(&ours) != before {
            differences.push(format!("{}: was refused and changed something", row.name));
        }
    }
    println!("{} requests, by status: {statuses:?}", rows.len());
    assert!(differences.is_empty(), "{} of {}:\n{}", differences.len(), rows.len(), differences.join("\n"));
    reasons.were_all_needed();
    // What they pass on, they pass on alike; a record elsewhere is asked for by what is known of its place.
    let [by_theirs, by_ours] = views.map(|view| {
        let told = |seen: &Seen| {
            let body = serde_json::from_slice::<Value>(&seen.body.1).unwrap_or_default();
            format!("{} {} {:?} {body}\n", seen.verb, seen.path.replace("&unknown=1", ""), seen.token)
        };
        view.seen().iter().map(told).collect::<Vec<_>>()
    });
    let alone = |some: &[String], others: &[String]| -> String {
        some.iter().filter(|one| !others.contains(one)).cloned().collect()
    };
    let (more, less) = (alone(&by_ours, &by_theirs), alone(&by_theirs, &by_ours));
    assert!(more.is_empty() && less.is_empty(), "passed on by ours alone:\n{more}by the reference alone:\n{less}");
    assert!(by_ours.len() > 50 && by_ours.len() == by_theirs.len(), "{} and {}", by_ours.len(), by_theirs.len());
    assert!(headwater.stop().await.success());
    assert!(reference.stop().await.success());
}

pub(super) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
