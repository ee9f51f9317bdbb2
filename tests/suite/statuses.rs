//! What each account's status makes of every method: one table, of status and error name in each cell.
//!
//! The calls are made of whichever server ([`Server`]), so that the reference server is asked the very same
//! ([`crate::peers`]).

mod matrix;
mod rows;
mod subject;

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::RequestBuilder;
use serde_json::Value;
use tests::service::{Service, view};
use tests::{Pds, Plc};

use crate::routes::nsids;
pub(crate) use matrix::MATRIX;
use rows::{Asked, ROWS, Which};
use subject::Subject;
pub(crate) use subject::{Server, Status, environment};

/// Methods that no account's status has a part in, with the reason.
const WITHOUT_ACCOUNT: [(&str, &str); 3] = [
    ("com.atproto.admin.getInviteCodes", "lists codes; whose they are is only shown"),
    ("com.atproto.server.describeServer", "is about the server"),
    ("com.atproto.sync.subscribeRepos", "tells what happened, whatever it is worth now: tests of the firehose"),
];

/// A row of the matrix: what is called and how, and what comes of it for each of [`Status::ALL`].
pub(crate) type Cells = (&'static str, [&'static str; 5]);

/// What `server` makes of every row, as [`MATRIX`] has it.
pub(crate) async fn cells(server: &Server<'_>) -> Vec<(&'static str, Vec<String>)> {
    let columns = join_all(Status::ALL.map(|status| column(server, status))).await;
    let row = |nth: usize| columns.iter().map(|column| column[nth].clone()).collect();
    ROWS.iter().enumerate().map(|(nth, (name, ..))| (*name, row(nth))).collect()
}

/// What it makes of every row about an account of this status, one after the other.
async fn column(server: &Server<'_>, status: Status) -> Vec<String> {
    let shared = Subject::new(server, status, 0).await;
    let mut cells = Vec::new();
    for (nth, (name, which, call)) in ROWS.iter().enumerate() {
        let own = match which {
            Which::Shared => None,
            Which::Own => Some(Subject::new(server, status, nth + 1).await),
        };
        let subject = own.as_ref().unwrap_or(&shared);
        let nsid = nsid(name);
        cells.push(cell(call(&Asked { server, subject, nsid }), &subject.did).await);
    }
    cells
}

/// The method that a row calls.
fn nsid(row: &'static str) -> &'static str {
    row.split(',').next().unwrap()
}

/// Status and error name of an answer; of one that tells what the account is worth, that.
async fn cell(request: RequestBuilder, did: &str) -> String {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
    let told = match body["error"].as_str() {
        Some(error) => error,
        None => worth(&body, did),
    };
    format!("{status} {told}").trim_end().to_owned()
}

/// What an answer says that the account is worth, if it says anything.
fn worth<'a>(body: &'a Value, did: &str) -> &'a str {
    if let Some(listed) = body["repos"].as_array().or_else(|| body["infos"].as_array()) {
        return listed.iter().find(|one| one["did"] == did).map_or("not listed", |one| worth(one, did));
    }
    if body["uri"].as_str().is_some_and(|uri| !uri.contains(did)) {
        return "from elsewhere";
    }
    let applied = |name: &str| body[name]["applied"].as_bool();
    if body["subject"]["did"] == did && applied("deactivated").is_some() {
        return match (applied("takedown"), applied("deactivated")) {
            (Some(true), _) => "takendown",
            (_, Some(true)) => "deactivated",
            _ => "active",
        };
    }
    match body["active"].as_bool().or_else(|| body["activated"].as_bool()) {
        Some(true) => "active",
        Some(false) => body["status"].as_str().unwrap_or("inactive"),
        None if body["deactivatedAt"].is_string() => "deactivated",
        None => "",
    }
}

#[test]
fn every_route_has_a_row_or_no_account_in_it() {
    let rows: BTreeSet<_> = MATRIX.iter().map(|(name, _)| nsid(name)).collect();
    let without: BTreeSet<_> = WITHOUT_ACCOUNT.iter().map(|(nsid, _)| *nsid).collect();
    assert!(rows.is_disjoint(&without));
    assert_eq!(rows.union(&without).copied().collect::<BTreeSet<_>>(), nsids());
}

#[test]
fn every_row_succeeds_for_an_active_account_but_what_would_make_another_of_it() {
    let refused = MATRIX.iter().filter(|(_, cells)| !cells[0].starts_with("200")).map(|(name, _)| *name);
    assert!(
        refused.clone().all(|name| nsid(name) == "com.atproto.server.createAccount"),
        "{:?}",
        refused.collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_is_worth_decides_what_can_be_read_and_written() {
    let plc = Plc::start().await;
    let service = Service::start(&plc, view).await;
    let environment = environment(service.url());
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let pds = Pds::start_open_with(&plc, &environment).await;
    let server = Server { url: pds.url(""), directory: pds.directory().to_owned(), plc: &plc };
    let found = cells(&server).await;
    let expected: Vec<_> = MATRIX.iter().map(|(name, cells)| (*name, cells.map(str::to_owned).to_vec())).collect();
    let new = found.iter().filter(|row| !expected.contains(row));
    let new: String = new.map(|(name, cells)| format!("    ({name:?}, {cells:?}),\n")).collect();
    assert!(new.is_empty(), "these rows are other ones now:\n{new}");
    assert_eq!(found.len(), expected.len(), "a row of the matrix is not asked for");
}
