//! What a replay makes of a store beside those who use it, and of one that has no key.

use rusqlite::Connection;
use shared::cbor;
use shared::data::Value;

use super::*;
use crate::actor::tests::{account, apply, create, did, open};

/// Adds an event of account 1 that nobody can read, or takes it away.
fn unreadable(directory: &Path, there: bool) {
    let sequence = Connection::open(directory.join("sequencer.sqlite")).unwrap();
    let sql = if there {
        "INSERT INTO repo_seq (did, eventType, event, sequencedAt) VALUES (?1, 'append', x'00', '2026-01-01T00:00:00Z')"
    } else {
        "DELETE FROM repo_seq WHERE did = ?1 AND event = x'00'"
    };
    assert_eq!(sequence.execute(sql, [did(1).as_str()]).unwrap(), 1);
}

#[tokio::test]
async fn a_replay_that_fails_leaves_one_store_to_those_who_use_it() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    apply(&actors, 1, vec![create("a", "1")]).await.unwrap();
    let store = actors.store(&did(1)).await.unwrap();
    unreadable(directory.path(), true);
    assert!(matches!(actors.replay(&did(1), 0).await, Err(ReplayError::Event { .. })));
    assert!(matches!(actors.rehearse_replay(&did(1), 0).await, Err(ReplayError::Event { .. })));
    // A second one would have a lock of its own, and a head.
    assert!(Arc::ptr_eq(&store, &actors.store(&did(1)).await.unwrap()));
    apply(&actors, 1, vec![create("b", "2")]).await.unwrap();
}

#[tokio::test]
async fn a_store_without_a_key_gets_one_when_it_is_where_the_sequence_says_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    apply(&actors, 1, vec![create("a", "1")]).await.unwrap();
    let files = actors.directory(&did(1));
    drop(actors);
    let actors = open(directory.path(), 10);
    let lost = |name: &str| fs::rename(files.join(name), directory.path().join(name)).unwrap();
    lost("key");
    unreadable(directory.path(), true);
    for database in [true, false] {
        assert!(matches!(actors.replay(&did(1), 0).await, Err(ReplayError::Event { .. })));
        assert!(matches!(actors.store(&did(1)).await, Err(ActorError::NotFound(_))));
        assert_eq!(files.join("store.sqlite").exists(), database);
        if database {
            lost("store.sqlite");
        }
    }
    assert!(!actors.has_files(&did(1)).await.unwrap(), "what was made for nothing is gone");
    unreadable(directory.path(), false);
    let made = actors.replay(&did(1), 0).await.unwrap();
    assert_eq!(made, Replayed { commits: 2, made: true, own_key: false });
    assert!(actors.store(&did(1)).await.is_ok() && files.join("key").exists());
    assert_eq!(actors.replay(&did(1), 0).await.unwrap(), Replayed { commits: 0, made: false, own_key: false });
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_no_harm_to_a_store_that_has_its_commit() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    apply(&actors, 1, vec![create("a", "1")]).await.unwrap();
    let files = actors.directory(&did(1));
    // As the reference told of a large commit until 2025.
    let event = actors.sequencer().repository_blocking(&did(1), 0).unwrap().pop().unwrap();
    let Value::Map(mut body) = cbor::decode(event.body.as_bytes()).unwrap() else { panic!() };
    body.insert("ops", Value::Array(Vec::new()));
    body.insert("tooBig", true);
    let sequence = Connection::open(directory.path().join("sequencer.sqlite")).unwrap();
    let sql = "UPDATE repo_seq SET event = ?2 WHERE seq = ?1";
    let seq = i64::try_from(event.seq.get()).unwrap();
    assert_eq!(sequence.execute(sql, (seq, cbor::encode(&Value::Map(body)))).unwrap(), 1);
    let unchanged = Replayed { commits: 0, made: false, own_key: true };
    assert_eq!(actors.replay(&did(1), 0).await.unwrap(), unchanged);
    drop(actors);
    fs::remove_file(files.join("store.sqlite")).unwrap();
    let actors = open(directory.path(), 10);
    let lost = actors.replay(&did(1), 0).await;
    assert!(
        matches!(lost, Err(ReplayError::Event { seq, source: FirehoseError::Obsolete("tooBig") }) if seq == event.seq)
    );
}
