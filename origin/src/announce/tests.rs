//! What is told of accounts: in order, once, and again where the sequence failed.

use std::path::Path;

use shared::syntax::Handle;

use super::*;
use crate::account::{Account, NewAccount, RepoRoot};
use crate::app::App;
use crate::config::Config;

fn open(directory: &Path) -> App {
    App::open(Config::from_variables([("PDS_DATA_DIRECTORY", directory)]).unwrap()).unwrap()
}

fn did(n: usize) -> Did {
    Did::parse(&format!("did:plc:account{n}")).unwrap()
}

/// Makes an account and leaves its events in the outbox.
async fn make(app: &App, n: usize) {
    let key = shared::crypto::SigningKey::from_bytes(shared::crypto::Curve::K256, &[7; 32]).unwrap();
    let created = app.actors().create(&did(n), key).await.unwrap();
    let new = NewAccount {
        did: did(n),
        handle: Handle::parse(&format!("account{n}.test")).unwrap(),
        login: None,
        invite_code: None,
        deactivated: false,
        root: RepoRoot { cid: created.head.commit.clone(), rev: created.head.rev },
    };
    let events = |account: &Account| {
        Ok(vec![account.identity_event().encode()?, account.account_event().encode()?, created.commit, created.sync])
    };
    app.accounts().create(new, events).await.unwrap();
}

async fn told(app: &App) -> Vec<Kind> {
    let stored = app.actors().sequencer().range(0, None, 1000).await.unwrap();
    stored.iter().map(|event| event.body.kind()).collect()
}

const CREATION: [Kind; 4] = [Kind::Identity, Kind::Account, Kind::Commit, Kind::Sync];

#[tokio::test]
async fn a_new_account_is_told_of_in_order_and_once() {
    let directory = tempfile::tempdir().unwrap();
    let app = open(directory.path());
    make(&app, 1).await;
    assert!(told(&app).await.is_empty());
    app.announcements().deliver().await.unwrap();
    app.announcements().deliver().await.unwrap();
    assert_eq!(told(&app).await, CREATION);
    app.actors().sequencer().roots_told().await.unwrap();
    let root = app.accounts().root(&did(1)).await.unwrap().unwrap();
    assert_eq!(app.actors().sequencer().told_blocking(&did(1)).unwrap().by_us, Some(root.rev));
    assert!(app.accounts().outbox_after(0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn many_waiting_changes_are_told_whole_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let app = open(directory.path());
    // More than two pages, and no multiple of one change ends a page.
    for n in 0..60 {
        make(&app, n).await;
    }
    app.announcements().catch_up().await.unwrap();
    assert_eq!(told(&app).await, CREATION.repeat(60));
}

#[tokio::test]
async fn what_was_told_before_the_process_died_is_not_told_again() {
    let directory = tempfile::tempdir().unwrap();
    {
        let app = open(directory.path());
        make(&app, 1).await;
        let waiting = app.accounts().outbox_after(0, 10).await.unwrap();
        let change = by_account(waiting).pop().unwrap();
        let ticket = app.actors().sequencer().append(change.into_batch().unwrap(), None);
        ticket.await.unwrap().unwrap();
        // Sequenced, and not cleared.
    }
    let app = open(directory.path());
    make(&app, 2).await;
    app.announcements().catch_up().await.unwrap();
    assert_eq!(told(&app).await, CREATION.repeat(2));
    assert!(app.accounts().outbox_after(0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_told_waits_and_is_told_later() {
    let directory = tempfile::tempdir().unwrap();
    let app = open(directory.path());
    make(&app, 1).await;
    let meddler = rusqlite::Connection::open(directory.path().join("sequencer.sqlite")).unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON repo_seq BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    meddler.execute_batch(full).unwrap();
    assert!(matches!(app.announcements().deliver().await, Err(AnnounceError::Sequence(_))));
    meddler.execute_batch("DROP TRIGGER full").unwrap();
    app.announcements().catch_up().await.unwrap();
    assert_eq!(told(&app).await, CREATION);
}
