//! What a start makes of accounts whose making or deletion broke off.

use std::path::Path;

use shared::cid::Cid;
use shared::crypto::{Curve, SigningKey};
use shared::firehose::Kind;
use shared::syntax::Handle;

use super::*;
use crate::account::{NewAccount, RepoRoot, Status};
use crate::config::Config;

fn open(directory: &Path) -> App {
    let directory = directory.to_str().unwrap();
    // Nobody is there.
    let variables = [("PDS_DATA_DIRECTORY", directory), ("PDS_DID_PLC_URL", "http://127.0.0.1:1")];
    App::open(Config::from_variables(variables).unwrap()).unwrap()
}

fn did(name: &str) -> Did {
    Did::parse(&format!("did:web:{name}.test")).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap()
}

/// An account with everything that a sign-up makes.
async fn account(app: &App, name: &str) -> Did {
    sign_up(app, did(name), name).await
}

/// As [`account`], of this DID.
pub(crate) async fn sign_up(app: &App, did: Did, name: &str) -> Did {
    let created = app.actors().create(&did, key()).await.unwrap();
    let new = NewAccount {
        did: did.clone(),
        handle: Handle::parse(&format!("{name}.test")).unwrap(),
        login: None,
        invite_code: None,
        deactivated: false,
        root: RepoRoot { cid: created.head.commit.clone(), rev: created.head.rev },
    };
    let events = |account: &Account| Ok(vec![account.account_event().encode()?, created.commit, created.sync]);
    app.accounts().create(new, events).await.unwrap();
    app.announcements().deliver().await.unwrap();
    did
}

async fn told(app: &App, of: &Did) -> Vec<Kind> {
    let events = app.actors().sequencer().range(0, None, 100).await.unwrap();
    let about = |event: &crate::sequencer::Stored| {
        String::from_utf8_lossy(event.body.as_bytes()).contains(of.as_str()).then(|| event.body.kind())
    };
    events.iter().filter_map(about).collect()
}

#[tokio::test]
async fn a_deletion_that_broke_off_after_its_rows_is_finished_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let app = open(directory.path());
    let (alice, bob) = (account(&app, "alice").await, account(&app, "bob").await);
    let tombstone = Status::Deleted.event(alice.clone()).encode().unwrap();
    assert!(app.accounts().delete(&alice, vec![tombstone]).await.unwrap());
    assert_eq!(told(&app, &alice).await.len(), 3);
    drop(app);

    let app = open(directory.path());
    app.finish_earlier().await;
    assert_eq!(told(&app, &alice).await, [Kind::Account]);
    assert_eq!(told(&app, &bob).await.len(), 3);
    assert!(matches!(app.actors().store(&alice).await, Err(ActorError::NotFound(_))));
    assert!(app.actors().store(&bob).await.is_ok());
    assert!(app.accounts().unfinished().await.unwrap().is_empty());
    // And the DID may come again.
    account(&app, "alice").await;
}

#[tokio::test]
async fn an_account_that_was_not_made_leaves_nothing_and_one_that_was_stays() {
    let directory = tempfile::tempdir().unwrap();
    let app = open(directory.path());
    let (alice, bob) = (did("alice"), account(&app, "bob").await);
    app.accounts().note(&alice, Work::Creation(None)).await.unwrap();
    app.accounts().note(&bob, Work::Creation(None)).await.unwrap();
    app.actors().create(&alice, key()).await.unwrap();
    drop(app);

    let app = open(directory.path());
    app.finish_earlier().await;
    assert!(matches!(app.actors().store(&alice).await, Err(ActorError::NotFound(_))));
    assert!(app.actors().store(&bob).await.is_ok());
    assert!(app.accounts().unfinished().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_only_the_directory_knows_stays_noted_until_it_can_be_asked() {
    let directory = tempfile::tempdir().unwrap();
    let app = open(directory.path());
    let alice = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
    let noted = [
        (alice.clone(), Work::Creation(Some(Cid::of_raw(b"genesis")))),
        (alice.clone(), Work::Renaming(Handle::parse("alice.test").unwrap())),
    ];
    for (did, work) in noted.clone() {
        app.accounts().note(&did, work).await.unwrap();
    }
    drop(app);
    let app = open(directory.path());
    app.finish_earlier().await;
    assert_eq!(app.accounts().unfinished().await.unwrap(), noted);
}

#[tokio::test]
async fn a_recovery_deletes_what_is_older_than_its_tombstone_and_nothing_that_is_newer() {
    let directory = tempfile::tempdir().unwrap();
    let app = open(directory.path());
    let (alice, bob) = (account(&app, "alice").await, did("bob"));
    let sequence = rusqlite::Connection::open(directory.path().join("sequencer.sqlite")).unwrap();
    assert!(delete(&app, &alice).await.unwrap());
    // As one that moves here again has it, whose account is not in a restored account.sqlite.
    app.actors().create(&alice, key()).await.unwrap();
    for rehearsal in [true, false] {
        let newer = recover(&app, &alice, 0, rehearsal).await.unwrap();
        assert!(matches!((newer.deleted, newer.failure), (false, Some(Unrecovered::NoAccount))));
    }
    let later = "UPDATE repo_seq SET sequencedAt = '2999-01-01T00:00:00.000Z' WHERE did = ?1";
    assert_eq!(sequence.execute(later, [alice.as_str()]).unwrap(), 1);
    for rehearsal in [true, false] {
        assert!(app.actors().has_files(&alice).await.unwrap());
        let older = recover(&app, &alice, 0, rehearsal).await.unwrap();
        assert!(older.deleted && older.failure.is_none());
    }
    assert!(!app.actors().has_files(&alice).await.unwrap());

    // What the reference left of an account that it deleted before 2024; and an account that has come since.
    let insert =
        "INSERT INTO repo_seq (did, eventType, event, sequencedAt) VALUES (?1, ?2, x'', '2024-01-01T00:00:00Z')";
    sequence.execute(insert, [bob.as_str(), "tombstone"]).unwrap();
    let gone = recover(&app, &bob, 0, false).await.unwrap();
    assert!(!gone.deleted && gone.failure.is_none());
    sequence.execute(insert, [bob.as_str(), "append"]).unwrap();
    assert!(matches!(recover(&app, &bob, 0, false).await.unwrap().failure, Some(Unrecovered::NoAccount)));
}
