//! The matrix of statuses, asked of the reference server: what stands there for ours holds for it, but for what the
//! README's table of differences says.

use std::collections::BTreeSet;

use tests::Plc;
use tests::peers::{Place, Version, packages};
use tests::service::{Service, view};

use crate::statuses::{MATRIX, Server, Status, cells, environment};
use Status::{Deactivated, Deleted, Takendown, Unknown};

/// Cells of a row in which a reference server answers something else: the row, the statuses, the answer.
type Other = (&'static str, &'static [Status], &'static str);

/// It was, or never was.
const GONE: &[Status] = &[Deleted, Unknown];
const FAILS: &str = "500 InternalServerError";

/// By lines of the README's table, as their first column has them.
#[rustfmt::skip]
const DIFFERENCES: &[(&str, &[Other])] = &[
    ("a token of an account that is not here: `NotFound`, `InvalidRequest` or 500, by the method", &[
        ("app.bsky.actor.getPreferences, its owner", GONE, "400 NotFound"),
        ("app.bsky.actor.getProfile, its owner", GONE, FAILS),
        ("app.bsky.actor.getProfiles, its owner", GONE, FAILS),
        ("app.bsky.feed.getActorLikes, its owner", GONE, FAILS),
        ("app.bsky.feed.getAuthorFeed, its owner", GONE, FAILS),
        ("app.bsky.feed.getFeed, its owner", GONE, FAILS),
        ("app.bsky.feed.getPostThread, its owner", GONE, FAILS),
        ("app.bsky.feed.getTimeline, its owner", GONE, FAILS),
        ("app.bsky.notification.registerPush, its owner", GONE, FAILS),
        ("app.bsky.notification.unregisterPush, its owner", GONE, FAILS),
        ("com.atproto.identity.getRecommendedDidCredentials, its owner", GONE, FAILS),
        ("com.atproto.identity.submitPlcOperation, its owner", GONE, FAILS),
        ("com.atproto.moderation.createReport, its owner", GONE, FAILS),
        ("com.atproto.repo.listMissingBlobs, its owner", GONE, "400 NotFound"),
        ("com.atproto.repo.uploadBlob, by its own key", &[Deleted], FAILS),
        ("com.atproto.server.activateAccount, its owner", &[Deleted], FAILS),
        ("com.atproto.server.activateAccount, its owner", &[Unknown], "400 InvalidRequest"),
        ("com.atproto.server.checkAccountStatus, its owner", GONE, "400 NotFound"),
        ("com.atproto.server.getServiceAuth, its owner", GONE, FAILS),
    ]),
    ("deleting, taking down or changing an account that does not exist, or what is its own, tells the firehose of it, is answered as done, or is a 500", &[
        ("com.atproto.admin.updateAccountPassword", GONE, "200"),
        ("com.atproto.admin.updateSubjectStatus, takes it down", GONE, "200"),
        ("com.atproto.admin.updateSubjectStatus, restores it", GONE, "200"),
        ("com.atproto.admin.updateSubjectStatus, deactivates it", GONE, "400 InvalidRequest"),
        ("com.atproto.admin.updateSubjectStatus, activates it", &[Deleted], FAILS),
        ("com.atproto.admin.updateSubjectStatus, activates it", &[Unknown], "400 InvalidRequest"),
        ("com.atproto.admin.updateSubjectStatus, takes its record down", GONE, FAILS),
        ("com.atproto.admin.updateSubjectStatus, takes its blob down", GONE, FAILS),
    ]),
    ("createAccount with the handle or the address of an account that is deactivated or taken down: 500", &[
        ("com.atproto.server.createAccount, of another with its handle", &[Deactivated, Takendown], FAILS),
        ("com.atproto.server.createAccount, of another with its address", &[Deactivated, Takendown], FAILS),
    ]),
    ("requestPasswordReset tells whether an account exists, by its answer and its time", &[
        ("com.atproto.server.requestPasswordReset", GONE, "400 InvalidRequest"),
    ]),
];

/// In which the version that most hosts run differs from the newer one, which ours is like.
#[rustfmt::skip]
const OLDER: &[Other] = &[
    ("com.atproto.admin.updateAccountHandle", &[Takendown], "200"),
    ("com.atproto.admin.updateAccountHandle", &[Deleted], FAILS),
    ("com.atproto.admin.updateSubjectStatus, deactivates it", GONE, "200"),
    ("com.atproto.admin.updateSubjectStatus, activates it", &[Takendown, Deleted, Unknown], "200"),
    ("com.atproto.identity.resolveHandle", &[Deactivated, Takendown, Deleted, Unknown], "400 InvalidRequest"),
    ("com.atproto.server.deactivateAccount, its owner", GONE, "200"),
];

/// What a reference server should answer in a cell, if not the same as ours.
fn other(version: Version, name: &str, status: Status) -> Option<&'static Other> {
    let older = OLDER.iter().filter(|_| version == Version::V0_4_217);
    let both = DIFFERENCES.iter().flat_map(|(_, cells)| cells.iter());
    older.chain(both).find(|(row, statuses, _)| *row == name && statuses.contains(&status))
}

async fn compare(version: Version) {
    let Some(packages) = packages() else { return };
    let plc = Plc::start().await;
    let service = Service::start(&plc, view).await;
    // By name: to a bare address its newer version passes nothing on.
    let view = service.url().replace("127.0.0.1", "localhost");
    let place = Place::new(&plc).with_all(environment(&view));
    let reference = place.start_reference(&packages, version).await;
    let server = Server { url: place.url(""), directory: place.directory().to_owned(), plc: &plc };
    let found = cells(&server).await;
    assert!(reference.stop().await.success());

    assert_eq!(found.len(), MATRIX.len());
    let mut wrong = Vec::new();
    for ((name, theirs), (_, ours)) in found.iter().zip(MATRIX) {
        for ((status, theirs), ours) in Status::ALL.into_iter().zip(theirs).zip(ours) {
            let other = other(version, name, status).map(|(.., cell)| *cell);
            if theirs != other.unwrap_or(ours) {
                wrong.push(format!("{name}, {status:?}: {theirs}, and expected is {}", other.unwrap_or(ours)));
            } else if other == Some(ours) {
                wrong.push(format!("{name}, {status:?}: differs no more"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_difference_in_what_a_status_makes_is_a_line_of_the_readme() {
    let readme = include_str!("../../../README.md");
    for (line, _) in DIFFERENCES {
        assert!(readme.contains(&format!("\n| {line} |")), "{line}");
    }
    let rows: BTreeSet<_> = MATRIX.iter().map(|(name, _)| *name).collect();
    for (row, ..) in DIFFERENCES.iter().flat_map(|(_, cells)| cells.iter()).chain(OLDER) {
        assert!(rows.contains(row), "{row} is no row");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_each_status_is_answered_as_the_reference_server_does() {
    compare(Version::V0_5_35).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_each_status_is_answered_as_what_most_hosts_run_does() {
    compare(Version::V0_4_217).await;
}
