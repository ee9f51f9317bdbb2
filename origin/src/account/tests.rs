//! The store, driven without HTTP over a file of its own.

mod drop_in;
mod invites;
mod mail;
mod sessions;
mod sign_up;
mod statuses;

use shared::cid::Cid;
use shared::firehose::{Body, FirehoseError};
use shared::syntax::{Datetime, Tid};
use tempfile::TempDir;

use super::*;
use crate::db::Synchronous;
use crate::time::now_millis;

const OPTIONS: Options = Options { synchronous: Synchronous::Normal, auto_checkpoint: true, cache_kib: 512 };
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

fn config() -> AccountConfig {
    AccountConfig {
        service_did: Did::parse("did:web:pds.test").unwrap(),
        jwt_key: HmacKey::new(b"secret-of-the-test").unwrap(),
        hostname: "pds.test".to_owned(),
        handles: HandlePolicy { domains: vec![".test".to_owned()], ..HandlePolicy::default() },
        invites: InvitePolicy::default(),
        password_threads: 2,
    }
}

fn opened(config: AccountConfig) -> (TempDir, Accounts) {
    let directory = tempfile::tempdir().unwrap();
    let accounts = Accounts::open(&directory.path().join("account.sqlite"), OPTIONS, config).unwrap();
    (directory, accounts)
}

fn did(name: &str) -> Did {
    Did::parse(&format!("did:web:{name}.example")).unwrap()
}

fn handle(name: &str) -> Handle {
    Handle::parse(&format!("{name}.test")).unwrap()
}

fn root(content: &str) -> RepoRoot {
    RepoRoot { cid: Cid::of_cbor(content.as_bytes()), rev: Tid::parse("3jzfcijpj2z2a").unwrap() }
}

/// An account to be made, without a log-in: no time goes into hashing.
fn new_account(name: &str) -> NewAccount {
    NewAccount {
        did: did(name),
        handle: handle(name),
        login: None,
        invite_code: None,
        deactivated: false,
        root: root(name),
    }
}

fn quiet(_: &Account) -> Result<Vec<Body>, FirehoseError> {
    Ok(Vec::new())
}

fn told(account: &Account) -> Result<Vec<Body>, FirehoseError> {
    Ok(vec![account.account_event().encode()?])
}

async fn make(accounts: &Accounts, name: &str) -> Did {
    accounts.create(new_account(name), quiet).await.unwrap();
    did(name)
}

/// An account that logs in as `name@mail.example` with `password`.
async fn make_with_password(accounts: &Accounts, name: &str, password: &str) -> Did {
    let login = Some((format!("{name}@mail.example"), accounts.hash_password(password).await.unwrap()));
    accounts.create(NewAccount { login, ..new_account(name) }, quiet).await.unwrap();
    did(name)
}

/// Runs statements that no function of this module would.
fn meddle(accounts: &Accounts, sql: &str) {
    accounts.db().write_blocking(|tx| -> Result<_, DbError> { Ok(tx.execute_batch(sql)?) }).unwrap();
}

fn count(accounts: &Accounts, sql: &str) -> i64 {
    accounts.db().read_blocking(|c| -> Result<_, DbError> { Ok(c.query_row(sql, [], |row| row.get(0))?) }).unwrap()
}

fn at(millis: i64) -> Datetime {
    Datetime::from_unix_millis(now_millis() + millis)
}

async fn waiting(accounts: &Accounts) -> Vec<shared::firehose::Event> {
    let waiting = accounts.outbox_after(0, 100).await.unwrap();
    waiting.into_iter().map(|one| one.body.decode().unwrap()).collect()
}

#[tokio::test]
async fn an_account_is_found_by_did_by_handle_and_by_address() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let found = accounts.by_did(&alice, Include::ACTIVE).await.unwrap().unwrap();
    assert_eq!(found.handle, Some(handle("alice")));
    assert_eq!(found.email.as_deref(), Some("alice@mail.example"));
    assert_eq!(accounts.by_handle(&handle("ALICE"), Include::ACTIVE).await.unwrap().as_ref(), Some(&found));
    assert_eq!(accounts.by_email("Alice@Mail.EXAMPLE", Include::ACTIVE).await.unwrap().as_ref(), Some(&found));
    let identifier = AtIdentifier::parse("Alice.Test").unwrap();
    assert_eq!(accounts.by_identifier(&identifier, Include::ACTIVE).await.unwrap(), Some(found));
    assert_eq!(accounts.by_handle(&handle("bob"), Include::ALL).await.unwrap(), None);
}

#[tokio::test]
async fn inactive_accounts_are_found_by_who_asks_for_them() {
    let (_directory, accounts) = opened(config());
    let mut dids = Vec::new();
    for name in ["active", "asleep", "gone", "both"] {
        dids.push(make(&accounts, name).await);
    }
    accounts.deactivate(&dids[1], Deactivation::default(), quiet).await.unwrap();
    accounts.take_down(&dids[2], None, quiet).await.unwrap();
    accounts.deactivate(&dids[3], Deactivation::default(), quiet).await.unwrap();
    accounts.take_down(&dids[3], None, quiet).await.unwrap();
    for (include, expected) in [
        (Include::ACTIVE, &dids[..1]),
        (Include::DEACTIVATED, &dids[..2]),
        (Include { taken_down: true, deactivated: false }, &[dids[0].clone(), dids[2].clone()]),
        (Include::ALL, &dids[..]),
    ] {
        let found = accounts.by_dids(dids.clone(), include).await.unwrap();
        assert_eq!(found.into_iter().map(|account| account.did).collect::<Vec<_>>(), expected, "{include:?}");
    }
    let none = accounts.by_dids(vec![did("nobody")], Include::ALL).await.unwrap();
    assert_eq!(none, []);
}

#[tokio::test]
async fn the_list_of_repositories_is_paged_by_age_and_names_every_status() {
    let (_directory, accounts) = opened(config());
    for name in ["c", "a", "b"] {
        make(&accounts, &format!("{name}{name}{name}")).await;
    }
    // Two of one millisecond, which the DID tells apart.
    meddle(
        &accounts,
        "UPDATE actor SET createdAt = '2024-01-01T00:00:00.123Z' WHERE handle IN ('aaa.test', 'bbb.test')",
    );
    meddle(&accounts, "UPDATE actor SET createdAt = '2023-01-01T00:00:00.000Z' WHERE handle = 'ccc.test'");
    accounts.take_down(&did("aaa"), None, quiet).await.unwrap();
    accounts.deactivate(&did("bbb"), Deactivation::default(), quiet).await.unwrap();
    meddle(
        &accounts,
        "INSERT INTO actor (did, createdAt) VALUES ('did:web:rootless.example', '2022-01-01T00:00:00.000Z')",
    );

    let (first, cursor) = accounts.repos(2, None).await.unwrap();
    assert_eq!(first.iter().map(|repo| &repo.did).collect::<Vec<_>>(), [&did("ccc"), &did("aaa")]);
    assert_eq!(first[1].status, Status::Takendown);
    assert_eq!(first[0].head, root("ccc").cid.to_string());
    assert_eq!(cursor.as_deref(), Some("1704067200123::did:web:aaa.example"));
    let (second, cursor) = accounts.repos(2, cursor.as_deref()).await.unwrap();
    assert_eq!((second.len(), second[0].status), (1, Status::Deactivated));
    let (third, cursor) = accounts.repos(2, cursor.as_deref()).await.unwrap();
    assert_eq!((third.len(), cursor), (0, None));
    for cursor in ["x", "::", "1::", "::x", "x::y", "1::x::y", "1.5::x"] {
        assert!(matches!(accounts.repos(2, Some(cursor)).await, Err(AccountError::Cursor)), "{cursor}");
    }
}

#[tokio::test]
async fn roots_are_kept_in_batches_and_not_for_the_gone() {
    let (_directory, accounts) = opened(config());
    let (alice, bob) = (make(&accounts, "alice").await, make(&accounts, "bob").await);
    let (one, two) = (root("one"), root("two"));
    let batch = [(&alice, &one.cid, &one.rev), (&bob, &one.cid, &one.rev), (&alice, &two.cid, &two.rev)];
    accounts.db().write_blocking(|tx| -> Result<_, DbError> { Ok(put_roots(tx, batch)?) }).unwrap();
    assert_eq!(accounts.root(&alice).await.unwrap(), Some(two));
    assert_eq!(accounts.root(&bob).await.unwrap(), Some(one.clone()));
    let gone = did("gone");
    accounts
        .db()
        .write_blocking(|tx| -> Result<_, DbError> { Ok(put_roots(tx, [(&gone, &one.cid, &one.rev)])?) })
        .unwrap();
    assert_eq!(accounts.root(&gone).await.unwrap(), None);
}

#[tokio::test]
async fn a_look_up_by_name_or_address_uses_an_index() {
    let (_directory, accounts) = opened(config());
    let plan = |sql: &str| -> String {
        accounts
            .db()
            .read_blocking(|c| -> Result<_, DbError> {
                let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let steps =
                    statement.query_map(["x"], |row| row.get::<_, String>(3))?.collect::<Result<Vec<_>, _>>()?;
                Ok(steps.join("; "))
            })
            .unwrap()
    };
    let by_handle = plan(BY_HANDLE);
    assert!(by_handle.contains("actor_handle_lower_idx"), "{by_handle}");
    let by_email = plan(BY_EMAIL);
    assert!(by_email.contains("account_email_lower_idx"), "{by_email}");
}
