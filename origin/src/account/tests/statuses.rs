//! Takedowns, deactivation, deletion, and what is told of them.

use super::*;
use crate::account::outbox;

async fn status(accounts: &Accounts, did: &Did) -> Status {
    accounts.status(did).await.unwrap()
}

#[tokio::test]
async fn a_takedown_wins_over_a_deactivation_and_leaves_it() {
    let (_directory, accounts) = opened(config());
    let alice = make(&accounts, "alice").await;
    assert_eq!(status(&accounts, &alice).await, Status::Active);
    accounts.deactivate(&alice, Deactivation::default(), told).await.unwrap();
    accounts.take_down(&alice, Some("ref".to_owned()), told).await.unwrap();
    assert_eq!(status(&accounts, &alice).await, Status::Takendown);
    assert!(matches!(accounts.activate(&alice, told).await, Err(AccountError::NotFound)));
    accounts.restore(&alice, told).await.unwrap();
    assert_eq!(status(&accounts, &alice).await, Status::Deactivated);
    accounts.activate(&alice, told).await.unwrap();
    assert_eq!(status(&accounts, &alice).await, Status::Active);
    accounts.announce(&alice, told).await.unwrap();
    let statuses = [Status::Deactivated, Status::Takendown, Status::Deactivated, Status::Active, Status::Active];
    assert_eq!(waiting(&accounts).await, statuses.map(|status| status.event(alice.clone())));
}

#[tokio::test]
async fn a_takedown_has_a_reference_and_ends_sessions_and_grants() {
    let (_directory, accounts) = opened(config());
    let alice = make(&accounts, "alice").await;
    meddle(
        &accounts,
        &format!(
            "INSERT INTO token (did, tokenId, createdAt, updatedAt, expiresAt, clientId, clientAuth, parameters)
             VALUES ('{alice}', 'tok-1', '', '', '', '', '', '')"
        ),
    );
    let taken = accounts.take_down(&alice, None, quiet).await.unwrap();
    assert!(Datetime::parse(&taken.takedown_ref.unwrap()).is_ok());
    assert_eq!(count(&accounts, "SELECT (SELECT count(*) FROM refresh_token) + (SELECT count(*) FROM token)"), 0);
    let again = accounts.take_down(&alice, Some("case 7".to_owned()), quiet).await.unwrap();
    assert_eq!(again.takedown_ref.as_deref(), Some("case 7"));
}

#[tokio::test]
async fn a_deactivation_keeps_sessions_and_ends_grants_if_asked() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    accounts.create_app_password(&alice, "phone", false).await.unwrap();
    meddle(
        &accounts,
        &format!("INSERT INTO authorized_client VALUES ('{alice}', 'client', '', '', '{{\"authorizedScopes\":[]}}')"),
    );
    let kept = "SELECT (SELECT count(*) FROM refresh_token) * 100 + (SELECT count(*) FROM app_password) * 10 \
        + (SELECT count(*) FROM authorized_client)";
    let later = Datetime::from_unix_millis(now_millis() + DAY);
    let how = Deactivation { delete_after: Some(later.clone()), credentials: false };
    let account = accounts.deactivate(&alice, how, quiet).await.unwrap();
    assert_eq!(account.delete_after.as_deref(), Some(later.as_str()));
    assert_eq!(count(&accounts, kept), 111);
    let how = Deactivation { delete_after: None, credentials: true };
    let account = accounts.deactivate(&alice, how, quiet).await.unwrap();
    assert_eq!(account.delete_after, None);
    assert_eq!(count(&accounts, kept), 100);
}

#[tokio::test]
async fn nothing_is_told_of_what_is_not_there() {
    let (_directory, accounts) = opened(config());
    let nobody = did("nobody");
    assert!(matches!(accounts.take_down(&nobody, None, told).await, Err(AccountError::NotFound)));
    assert!(matches!(accounts.restore(&nobody, told).await, Err(AccountError::NotFound)));
    assert!(matches!(accounts.deactivate(&nobody, Deactivation::default(), told).await, Err(AccountError::NotFound)));
    assert!(matches!(accounts.activate(&nobody, told).await, Err(AccountError::NotFound)));
    assert!(matches!(accounts.announce(&nobody, told).await, Err(AccountError::NotFound)));
    assert_eq!(waiting(&accounts).await, []);
    assert_eq!(status(&accounts, &nobody).await, Status::Deleted);
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing_that_opens_it_and_frees_its_names() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let app = accounts.create_app_password(&alice, "phone", false).await.unwrap();
    accounts.create_email_token(&alice, Purpose::DeleteAccount).await.unwrap();
    let gone = || vec![Status::Deleted.event(did("alice")).encode().unwrap()];
    assert!(accounts.delete(&alice, gone()).await.unwrap());
    assert_eq!(status(&accounts, &alice).await, Status::Deleted);
    for table in ["actor", "account", "repo_root", "email_token", "refresh_token", "app_password"] {
        assert_eq!(count(&accounts, &format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
    assert!(accounts.is_leaving(&alice).await.unwrap());
    // Of one that is gone nothing is told again, and what is left to do stays noted until it is done.
    assert!(!accounts.delete(&alice, gone()).await.unwrap());
    assert_eq!(waiting(&accounts).await.len(), 1);
    assert_eq!(accounts.unfinished().await.unwrap(), [(alice.clone(), Work::Deletion)]);
    accounts.finished(&alice, Work::Deletion).await.unwrap();
    assert!(!accounts.is_leaving(&alice).await.unwrap());
    make_with_password(&accounts, "alice", "y").await;
    assert!(matches!(accounts.login("alice.test", &app.password).await, Err(AccountError::Credentials)));
}

#[tokio::test]
async fn the_outbox_is_taken_in_order_and_its_numbers_never_come_back() {
    let (directory, accounts) = opened(config());
    let alice = make(&accounts, "alice").await;
    for _ in 0..3 {
        accounts.announce(&alice, told).await.unwrap();
    }
    let first = accounts.outbox_after(0, 2).await.unwrap();
    assert_eq!(first.iter().map(|one| one.id).collect::<Vec<_>>(), [1, 2]);
    let rest = accounts.outbox_after(2, 10).await.unwrap();
    assert_eq!((rest.len(), rest[0].id, &rest[0].did), (1, 3, &alice));
    accounts.outbox_clear(3).await.unwrap();
    assert_eq!(accounts.outbox_after(0, 10).await.unwrap(), []);
    drop(accounts);
    let accounts = Accounts::open(&directory.path().join("account.sqlite"), OPTIONS, config()).unwrap();
    accounts.announce(&alice, told).await.unwrap();
    assert_eq!(accounts.outbox_after(0, 10).await.unwrap()[0].id, 4);
    accounts.outbox_clear(3).await.unwrap();
    assert_eq!(accounts.outbox_after(0, 10).await.unwrap().len(), 1);
    accounts.db().write_blocking(|tx| -> Result<_, DbError> { Ok(outbox::clear(tx, 4)?) }).unwrap();
    assert_eq!(accounts.outbox_after(0, 10).await.unwrap(), []);
}
