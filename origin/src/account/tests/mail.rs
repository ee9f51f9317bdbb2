//! Mailed tokens, addresses, passwords.

use super::*;
use crate::account::EmailChange;

async fn age(accounts: &Accounts, minutes: i64) {
    meddle(accounts, &format!("UPDATE email_token SET requestedAt = '{}'", at(-minutes * 60 * 1000)));
}

async fn issue(accounts: &Accounts, did: &Did, purpose: Purpose) -> String {
    accounts.create_email_token(did, purpose).await.unwrap().token().to_owned()
}

#[tokio::test]
async fn a_token_that_was_not_mailed_gives_way_to_the_one_before() {
    let (_directory, accounts) = opened(config());
    let alice = make(&accounts, "alice").await;
    let check = |token: String| {
        let (accounts, alice) = (accounts.clone(), alice.clone());
        async move { accounts.check_email_token(&alice, Purpose::DeleteAccount, &token).await.is_ok() }
    };
    let first = accounts.create_email_token(&alice, Purpose::DeleteAccount).await.unwrap();
    let second = accounts.create_email_token(&alice, Purpose::DeleteAccount).await.unwrap();
    let token = |issued: &IssuedToken| issued.token().to_owned();
    assert!(!check(token(&first)).await && check(token(&second)).await);
    accounts.withdraw_email_token(second.clone()).await.unwrap();
    assert!(check(token(&first)).await && !check(token(&second)).await);
    // There is nothing left to withdraw.
    accounts.withdraw_email_token(second).await.unwrap();
    assert!(check(token(&first)).await);
    let third = issue(&accounts, &alice, Purpose::DeleteAccount).await;
    accounts.withdraw_email_token(first.clone()).await.unwrap();
    assert!(check(third).await && !check(token(&first)).await);
    let alone = accounts.create_email_token(&alice, Purpose::ConfirmEmail).await.unwrap();
    accounts.withdraw_email_token(alone).await.unwrap();
    assert_eq!(count(&accounts, "SELECT count(*) FROM email_token"), 1);
}

#[tokio::test]
async fn a_token_is_its_accounts_for_its_purpose_in_any_case() {
    let (_directory, accounts) = opened(config());
    let (alice, bob) = (make(&accounts, "alice").await, make(&accounts, "bob").await);
    let token = issue(&accounts, &alice, Purpose::PlcOperation).await;
    assert!(token.len() == 11 && token.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7' | b'-')), "{token}");
    accounts.check_email_token(&alice, Purpose::PlcOperation, &token.to_lowercase()).await.unwrap();
    for (who, purpose) in [(&bob, Purpose::PlcOperation), (&alice, Purpose::DeleteAccount)] {
        let error = accounts.check_email_token(who, purpose, &token).await.unwrap_err();
        assert_eq!((error.name(), error.to_string().as_str()), ("InvalidToken", "Token is invalid"));
    }
    let newer = issue(&accounts, &alice, Purpose::PlcOperation).await;
    let old = accounts.check_email_token(&alice, Purpose::PlcOperation, &token).await;
    assert!(matches!(old, Err(AccountError::TokenInvalid)));
    accounts.use_email_token(&alice, Purpose::PlcOperation, &newer).await.unwrap();
    let twice = accounts.use_email_token(&alice, Purpose::PlcOperation, &newer).await;
    assert!(matches!(twice, Err(AccountError::TokenInvalid)));
    let nobody = accounts.create_email_token(&did("nobody"), Purpose::ConfirmEmail).await;
    assert!(matches!(nobody, Err(AccountError::NotFound)));
}

#[tokio::test]
async fn a_token_lasts_a_quarter_of_an_hour() {
    let (_directory, accounts) = opened(config());
    let alice = make(&accounts, "alice").await;
    let token = issue(&accounts, &alice, Purpose::ResetPassword).await;
    age(&accounts, 14).await;
    accounts.check_email_token(&alice, Purpose::ResetPassword, &token).await.unwrap();
    age(&accounts, 15).await;
    let error = accounts.use_email_token(&alice, Purpose::ResetPassword, &token).await.unwrap_err();
    assert_eq!((error.name(), error.to_string().as_str()), ("ExpiredToken", "Token is expired"));
    assert!(matches!(accounts.reset_password(&token, "x").await, Err(AccountError::TokenExpired)));
}

#[tokio::test]
async fn an_address_is_confirmed_by_who_reads_its_mail() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let token = issue(&accounts, &alice, Purpose::ConfirmEmail).await;
    let other = accounts.confirm_email(&alice, "bob@mail.example", &token).await.unwrap_err();
    assert_eq!(other.name(), "InvalidEmail");
    let confirmed = accounts.confirm_email(&alice, "Alice@mail.example", &token).await.unwrap();
    assert!(confirmed.email_confirmed_at.is_some());
    let again = accounts.confirm_email(&alice, "alice@mail.example", &token).await;
    assert!(matches!(again, Err(AccountError::TokenInvalid)));
}

#[tokio::test]
async fn a_confirmed_address_changes_with_a_token_only() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let owner = |token| EmailChange::Owner { token };
    accounts.set_email(&alice, "One@mail.example", owner(None)).await.unwrap();
    meddle(&accounts, "UPDATE account SET emailConfirmedAt = '2026-01-01T00:00:00.000Z'");
    let without = accounts.set_email(&alice, "two@mail.example", owner(None)).await.unwrap_err();
    assert_eq!((without.name(), without.to_string().as_str()), ("TokenRequired", "confirmation token required"));
    let token = issue(&accounts, &alice, Purpose::UpdateEmail).await;
    let wrong = accounts.set_email(&alice, "two@mail.example", owner(Some("AAAAA-AAAAA"))).await;
    assert!(matches!(wrong, Err(AccountError::TokenInvalid)));
    accounts.create_email_token(&alice, Purpose::ResetPassword).await.unwrap();
    accounts.set_email(&alice, "two@mail.example", owner(Some(&token))).await.unwrap();
    let account = accounts.by_did(&alice, Include::ACTIVE).await.unwrap().unwrap();
    assert_eq!((account.email.as_deref(), account.email_confirmed_at), (Some("two@mail.example"), None));
    assert_eq!(count(&accounts, "SELECT count(*) FROM email_token"), 0);
}

#[tokio::test]
async fn an_address_is_one_accounts_and_the_administrators_is_not_judged() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    make_with_password(&accounts, "bob", "x").await;
    for how in [EmailChange::Owner { token: None }, EmailChange::Admin] {
        let taken = accounts.set_email(&alice, "BOB@mail.example", how).await;
        assert!(matches!(taken, Err(AccountError::EmailInUse)), "{how:?}");
    }
    let thrown_away = accounts.set_email(&alice, "a@mailinator.com", EmailChange::Owner { token: None }).await;
    assert!(matches!(thrown_away, Err(AccountError::EmailUnsupported)));
    accounts.set_email(&alice, "a@mailinator.com", EmailChange::Admin).await.unwrap();
    accounts.set_email(&alice, "a@mailinator.com", EmailChange::Admin).await.unwrap();
}

#[tokio::test]
async fn a_new_password_ends_every_session_and_a_token_is_used_once() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "old").await;
    let token = issue(&accounts, &alice, Purpose::ResetPassword).await;
    let long = "x".repeat(257);
    assert!(matches!(accounts.reset_password(&token, &long).await, Err(AccountError::PasswordTooLong)));
    assert_eq!(accounts.reset_password(&token.to_lowercase(), "new").await.unwrap(), alice);
    assert_eq!(count(&accounts, "SELECT count(*) FROM refresh_token"), 0);
    assert!(matches!(accounts.reset_password(&token, "newer").await, Err(AccountError::TokenInvalid)));
    assert!(accounts.is_password(&alice, "new").await.unwrap());
    assert!(!accounts.is_password(&alice, "old").await.unwrap());
    assert!(accounts.set_password(&alice, "newest").await.unwrap());
    assert!(!accounts.set_password(&did("nobody"), "x").await.unwrap());
}

#[tokio::test]
async fn deleting_takes_the_own_password_and_the_mailed_token() {
    let (_directory, accounts) = opened(config());
    let alice = make_with_password(&accounts, "alice", "x").await;
    let app = accounts.create_app_password(&alice, "phone", false).await.unwrap();
    let token = issue(&accounts, &alice, Purpose::DeleteAccount).await;
    let nobody = accounts.check_deletion(&did("nobody"), "x", &token).await;
    assert!(matches!(nobody, Err(AccountError::NotFound)));
    for password in ["y", app.password.as_str()] {
        let wrong = accounts.check_deletion(&alice, password, &token).await;
        assert!(matches!(wrong, Err(AccountError::Credentials)));
    }
    let wrong = accounts.check_deletion(&alice, "x", "AAAAA-AAAAA").await;
    assert!(matches!(wrong, Err(AccountError::TokenInvalid)));
    accounts.check_deletion(&alice, "x", &token).await.unwrap();
}
