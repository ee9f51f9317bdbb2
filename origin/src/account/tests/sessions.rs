//! Logging in, refreshing, app passwords.

use shared::token::Verifier;
use shared::token::session::{self, REFRESH_LIFETIME, Scope};

use super::*;

fn refresh_id(tokens: &Tokens) -> String {
    let config = config();
    session::verify_refresh(&tokens.refresh, Verifier::Hmac(&config.jwt_key), &config.service_did, None).unwrap().id
}

fn scope(tokens: &Tokens) -> Scope {
    const ALL: [Scope; 4] = [Scope::Access, Scope::AppPass, Scope::AppPassPrivileged, Scope::Takendown];
    let config = config();
    let key = Verifier::Hmac(&config.jwt_key);
    session::verify_access(&tokens.access, key, &config.service_did, &ALL, 0).unwrap().scope
}

async fn opened_session(accounts: &Accounts, identifier: &str, password: &str) -> Tokens {
    let login = accounts.login(identifier, password).await.unwrap();
    accounts.open_session(&login, false).await.unwrap()
}

fn expiry(accounts: &Accounts, id: &str) -> i64 {
    let id = id.to_owned();
    let text: String = accounts
        .db()
        .read_blocking(|c| -> Result<_, DbError> {
            Ok(c.query_row("SELECT expiresAt FROM refresh_token WHERE id = ?1", [id], |row| row.get(0))?)
        })
        .unwrap();
    Datetime::parse(&text).unwrap().unix_micros() / 1000 - now_millis()
}

#[tokio::test]
async fn who_knows_the_password_gets_a_session_of_full_scope() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "correct horse").await;
    let tokens = opened_session(&accounts, "alice.test", "correct horse").await;
    assert_eq!(scope(&tokens), Scope::Access);
    let left = expiry(&accounts, &refresh_id(&tokens));
    assert!((left - i64::try_from(REFRESH_LIFETIME).unwrap() * 1000).abs() < 10_000, "{left}");
    accounts.refresh(&alice, &refresh_id(&tokens)).await.unwrap();
}

#[tokio::test]
async fn whatever_does_not_fit_is_one_and_the_same_error() {
    let (_directory, accounts) = opened(config());
    make_with_password(&accounts, "alice", "correct horse").await;
    make(&accounts, "mute").await;
    for (identifier, password) in [
        ("alice.test", "wrong"),
        ("alice.test", ""),
        ("bob.test", "correct horse"),
        ("bob@mail.example", "correct horse"),
        ("not an identifier", "correct horse"),
        ("", "correct horse"),
        ("mute.test", ""),
    ] {
        let error = accounts.login(identifier, password).await.unwrap_err();
        assert!(matches!(error, AccountError::Credentials), "{identifier}: {error}");
        assert_eq!((error.name(), error.kind()), ("AuthenticationRequired", ErrorKind::Unauthenticated));
    }
}

#[tokio::test]
async fn passwords_are_measured_in_utf_16_units() {
    let (_directory, accounts) = opened(config());
    let longest = "🙂".repeat(128);
    make_with_password(&accounts, "alice", &longest).await;
    assert!(accounts.login("alice.test", &longest).await.is_ok());
    let longer = format!("{longest}x");
    assert!(matches!(accounts.hash_password(&longer).await, Err(AccountError::PasswordTooLong)));
    assert!(matches!(accounts.login("alice.test", &longer).await, Err(AccountError::Credentials)));
    let never = "x".repeat(513);
    assert!(matches!(accounts.login("alice.test", &never).await, Err(AccountError::PasswordNeverSet)));
    assert!(matches!(accounts.login("alice.test", &"x".repeat(512)).await, Err(AccountError::Credentials)));
}

#[tokio::test]
async fn a_refresh_token_used_again_gives_the_same_next_one() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let first = refresh_id(&opened_session(&accounts, "alice.test", "x").await);
    let (_, once) = accounts.refresh(&alice, &first).await.unwrap();
    let (_, again) = accounts.refresh(&alice, &first).await.unwrap();
    assert_eq!(refresh_id(&once), refresh_id(&again));
    let left = expiry(&accounts, &first);
    assert!(left > 0 && left <= 2 * HOUR, "{left}");
    // Many at once are no different.
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (accounts, alice, id) = (accounts.clone(), alice.clone(), refresh_id(&once));
            tokio::spawn(async move { refresh_id(&accounts.refresh(&alice, &id).await.unwrap().1) })
        })
        .collect();
    let mut next = Vec::new();
    for call in calls {
        next.push(call.await.unwrap());
    }
    next.dedup();
    assert_eq!(next.len(), 1);
    assert_ne!(next[0], refresh_id(&once));
}

#[tokio::test]
async fn the_grace_does_not_grow_and_ends() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let first = refresh_id(&opened_session(&accounts, "alice.test", "x").await);
    accounts.refresh(&alice, &first).await.unwrap();
    meddle(&accounts, &format!("UPDATE refresh_token SET expiresAt = '{}' WHERE id = '{first}'", at(HOUR)));
    accounts.refresh(&alice, &first).await.unwrap();
    assert!(expiry(&accounts, &first) <= HOUR);
    meddle(&accounts, &format!("UPDATE refresh_token SET expiresAt = '{}' WHERE id = '{first}'", at(-1)));
    let over = accounts.refresh(&alice, &first).await.unwrap_err();
    assert_eq!((over.name(), over.to_string().as_str()), ("ExpiredToken", "Token has been revoked"));
    // It went with the account's other expired ones.
    assert_eq!(count(&accounts, &format!("SELECT count(*) FROM refresh_token WHERE id = '{first}'")), 0);
}

#[tokio::test]
async fn a_token_is_its_own_accounts_and_ends_with_its_session() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let bob = make(&accounts, "bob").await;
    let id = refresh_id(&opened_session(&accounts, "alice.test", "x").await);
    assert!(matches!(accounts.refresh(&bob, &id).await, Err(AccountError::Revoked)));
    assert!(matches!(accounts.refresh(&did("nobody"), &id).await, Err(AccountError::NotFound)));
    assert!(!accounts.close_session(&bob, &id).await.unwrap());
    assert!(accounts.close_session(&alice, &id).await.unwrap());
    assert!(!accounts.close_session(&alice, &id).await.unwrap());
    assert!(matches!(accounts.refresh(&alice, &id).await, Err(AccountError::Revoked)));
}

#[tokio::test]
async fn an_app_password_opens_what_it_is_for_until_it_is_revoked() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let phone = accounts.create_app_password(&alice, "phone", false).await.unwrap();
    let messages = accounts.create_app_password(&alice, "messages", true).await.unwrap();
    let taken = accounts.create_app_password(&alice, "phone", true).await.unwrap_err();
    assert!(matches!(&taken, AccountError::AppPasswordTaken(name) if name == "phone"));
    assert_eq!(taken.kind(), ErrorKind::Invalid);

    let tokens = opened_session(&accounts, "alice.test", &phone.password).await;
    assert_eq!(scope(&tokens), Scope::AppPass);
    assert_eq!(scope(&opened_session(&accounts, "alice.test", &messages.password).await), Scope::AppPassPrivileged);
    // The scope of a refreshed token is what the app password is worth now.
    meddle(&accounts, "UPDATE app_password SET privileged = 1 WHERE name = 'phone'");
    let (_, refreshed) = accounts.refresh(&alice, &refresh_id(&tokens)).await.unwrap();
    assert_eq!(scope(&refreshed), Scope::AppPassPrivileged);

    assert!(!accounts.is_password(&alice, &phone.password).await.unwrap());
    assert!(accounts.revoke_app_password(&alice, "phone").await.unwrap());
    assert!(!accounts.revoke_app_password(&alice, "phone").await.unwrap());
    assert!(matches!(accounts.login("alice.test", &phone.password).await, Err(AccountError::Credentials)));
    assert!(matches!(accounts.refresh(&alice, &refresh_id(&refreshed)).await, Err(AccountError::Revoked)));
    assert_eq!(accounts.app_passwords(&alice).await.unwrap(), [messages.kept]);
}

#[tokio::test]
async fn app_passwords_are_listed_newest_first() {
    let (_directory, accounts) = opened(config());
    let alice = make(&accounts, "alice").await;
    for name in ["one", "two"] {
        accounts.create_app_password(&alice, name, false).await.unwrap();
    }
    meddle(&accounts, &format!("UPDATE app_password SET createdAt = '{}' WHERE name = 'one'", at(-DAY)));
    let names: Vec<_> = accounts.app_passwords(&alice).await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["two", "one"]);
}

#[tokio::test]
async fn who_is_taken_down_may_come_in_to_leave_and_with_the_own_password_only() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let app = accounts.create_app_password(&alice, "phone", false).await.unwrap();
    let before = opened_session(&accounts, "alice.test", "x").await;
    accounts.take_down(&alice, None, quiet).await.unwrap();

    assert!(matches!(accounts.refresh(&alice, &refresh_id(&before)).await, Err(AccountError::Takedown)));
    assert!(matches!(accounts.login("alice.test", &app.password).await, Err(AccountError::Credentials)));
    let login = accounts.login("alice.test", "x").await.unwrap();
    assert_eq!(login.account.status(), Status::Takendown);
    assert!(matches!(accounts.open_session(&login, false).await, Err(AccountError::Takedown)));
    let tokens = accounts.open_session(&login, true).await.unwrap();
    assert_eq!(scope(&tokens), Scope::Takendown);
    accounts.restore(&alice, quiet).await.unwrap();
    for tokens in [before, tokens] {
        assert!(matches!(accounts.refresh(&alice, &refresh_id(&tokens)).await, Err(AccountError::Revoked)));
    }
}

#[tokio::test]
async fn a_log_in_that_raced_a_change_opens_nothing() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let app = accounts.create_app_password(&alice, "phone", false).await.unwrap();
    let by_password = accounts.login("alice.test", "x").await.unwrap();
    let by_app = accounts.login("alice.test", &app.password).await.unwrap();
    accounts.set_password(&alice, "y").await.unwrap();
    accounts.revoke_app_password(&alice, "phone").await.unwrap();
    for login in [by_password, by_app] {
        assert!(matches!(accounts.open_session(&login, false).await, Err(AccountError::Credentials)));
    }
    let late = accounts.login("alice.test", "y").await.unwrap();
    accounts.take_down(&alice, None, quiet).await.unwrap();
    assert!(matches!(accounts.open_session(&late, false).await, Err(AccountError::Takedown)));
    accounts.delete(&alice, Vec::new()).await.unwrap();
    assert!(matches!(accounts.open_session(&late, true).await, Err(AccountError::Credentials)));
}

#[tokio::test]
async fn when_every_place_is_taken_all_are_turned_away_alike() {
    let (_directory, accounts) = opened(AccountConfig { password_threads: 1, ..config() });
    make_with_password(&accounts, "alice", "x").await;
    let mut places = Vec::new();
    while let Ok(place) = accounts.inner.passwords.place() {
        places.push(place);
    }
    for identifier in ["alice.test", "nobody.test"] {
        let error = accounts.login(identifier, "x").await.unwrap_err();
        assert_eq!((error.name(), error.kind()), ("NotEnoughResources", ErrorKind::Busy));
    }
    drop(places);
    assert!(accounts.login("alice.test", "x").await.is_ok());
}
