//! Signing up, and changing names.

use shared::firehose;

use super::*;

fn wanted<'a>(handle: &'a str, email: &'a str) -> SignUp<'a> {
    SignUp { handle, email: Some(email), password: Some("x"), ..SignUp::default() }
}

#[test]
fn what_is_wrong_is_said_in_the_references_order() {
    let closed = AccountConfig { invites: InvitePolicy { required: true, ..InvitePolicy::default() }, ..config() };
    let (_directory, accounts) = opened(closed);
    let long = "x".repeat(257);
    let mut sign_up = SignUp { handle: "no", password: Some(&long), ..SignUp::default() };
    let said = |sign_up: &SignUp<'_>| {
        let error = accounts.check_sign_up(sign_up).unwrap_err();
        (error.name(), error.to_string())
    };
    let expected = |name, message: &str| (name, message.to_owned());
    let too_long = "Password too long. Maximum length is 256 characters.";
    assert_eq!(said(&sign_up), expected("InvalidRequest", too_long));
    sign_up.password = None;
    assert_eq!(said(&sign_up), expected("InvalidInviteCode", "No invite code provided"));
    sign_up.invite_code = Some("code");
    assert_eq!(said(&sign_up), expected("InvalidRequest", "Email is required"));
    sign_up.email = Some("a@mailinator.com");
    let unsupported = "This email address is not supported, please use a different email.";
    assert_eq!(said(&sign_up), expected("InvalidRequest", unsupported));
    sign_up.email = Some("a@b.co");
    assert_eq!(said(&sign_up).0, "InvalidHandle");
    sign_up.handle = "alice.elsewhere.example.com";
    assert_eq!(said(&sign_up), expected("UnsupportedDomain", "Not a supported handle domain"));
    let own = did("alice");
    sign_up.did = Some(&own);
    assert!(matches!(accounts.check_sign_up(&sign_up), Ok(HandleClaim::External(_))));
    assert!(matches!(accounts.check_sign_up(&wanted("alice.test", "a@b.co")), Err(AccountError::InviteRequired)));
}

#[tokio::test]
async fn an_account_its_session_its_root_and_its_events_come_together() {
    let (_directory, accounts) = opened(config());
    let hash = accounts.hash_password("x").await.unwrap();
    let new = NewAccount { login: Some(("Alice@Mail.example".to_owned(), hash)), ..new_account("alice") };
    let events = |account: &Account| Ok(vec![account.identity_event().encode()?, account.account_event().encode()?]);
    let tokens = accounts.create(new, events).await.unwrap();
    assert!(!tokens.access.is_empty());
    let account = accounts.by_email("alice@mail.example", Include::ACTIVE).await.unwrap().unwrap();
    assert_eq!((account.status(), account.delete_after), (Status::Active, None));
    assert_eq!(accounts.root(&did("alice")).await.unwrap(), Some(root("alice")));
    assert_eq!(count(&accounts, "SELECT count(*) FROM refresh_token"), 1);
    let identity = firehose::Identity { did: did("alice"), handle: Some(handle("alice")) };
    let expected =
        [firehose::Event::Identity(identity), firehose::Event::Account(firehose::Account::active(did("alice")))];
    assert_eq!(waiting(&accounts).await, expected);
}

#[tokio::test]
async fn an_account_from_elsewhere_waits_for_three_days() {
    let (_directory, accounts) = opened(config());
    accounts.create(NewAccount { deactivated: true, ..new_account("alice") }, quiet).await.unwrap();
    let account = accounts.by_did(&did("alice"), Include::ALL).await.unwrap().unwrap();
    assert_eq!(account.status(), Status::Deactivated);
    let millis = |text: &str| Datetime::parse(text).unwrap().unix_micros() / 1000;
    assert_eq!(account.deactivated_at.as_deref(), Some(account.created_at.as_str()));
    assert_eq!(millis(&account.delete_after.unwrap()) - millis(&account.created_at), 3 * DAY);
}

#[tokio::test]
async fn nobody_gets_what_another_has_and_nothing_is_left_of_the_attempt() {
    let (_directory, accounts) = opened(config());
    let codes = accounts.create_invite_codes(vec!["admin".to_owned()], 1, 5).await.unwrap();
    let code = Some(codes[0].1[0].clone());
    let alice = make_with_password(&accounts, "alice", "x").await;
    accounts.take_down(&alice, None, quiet).await.unwrap();
    let hash = accounts.hash_password("x").await.unwrap();
    let other = |name: &str, handle: Handle, email: &str| NewAccount {
        handle,
        login: Some((email.to_owned(), hash.clone())),
        invite_code: code.clone(),
        ..new_account(name)
    };
    let said = accounts.create(other("alice", handle("bob"), "b@c.co"), told).await.unwrap_err();
    assert!(matches!(said, AccountError::DidTaken(_)));
    let said = accounts.create(other("bob", handle("alice"), "b@c.co"), told).await.unwrap_err();
    assert_eq!((said.name(), said.to_string().as_str()), ("InvalidRequest", "Handle already taken: alice.test"));
    let said = accounts.create(other("bob", handle("bob"), "ALICE@mail.example"), told).await.unwrap_err();
    assert!(matches!(said, AccountError::EmailTaken(_)));
    assert_eq!(count(&accounts, "SELECT count(*) FROM actor"), 1);
    assert_eq!(count(&accounts, "SELECT count(*) FROM invite_code_use"), 0);
    assert_eq!(waiting(&accounts).await, []);
    accounts.create(other("bob", handle("bob"), "b@c.co"), told).await.unwrap();
    assert_eq!(count(&accounts, "SELECT count(*) FROM invite_code_use"), 1);
}

#[tokio::test]
async fn a_reserved_name_is_anothers_until_it_is_let_go() {
    let (_directory, accounts) = opened(config());
    make_with_password(&accounts, "hidden", "x").await;
    accounts.take_down(&did("hidden"), None, quiet).await.unwrap();
    let held = accounts.reserve_sign_up(&handle("alice"), Some("a@b.co"), None, None).await.unwrap();
    let taken = |handle: &str, email: &str| {
        let (accounts, handle, email) = (accounts.clone(), super::handle(handle), email.to_owned());
        async move { accounts.reserve_sign_up(&handle, Some(&email), None, None).await.map(drop) }
    };
    assert!(matches!(taken("alice", "c@d.co").await, Err(AccountError::HandleTaken(_))));
    assert!(matches!(taken("bob", "A@B.co").await, Err(AccountError::EmailTaken(_))));
    assert!(matches!(taken("hidden", "c@d.co").await, Err(AccountError::HandleTaken(_))));
    assert!(matches!(taken("bob", "hidden@mail.example").await, Err(AccountError::EmailTaken(_))));
    let renamed = accounts.reserve_handle(&did("hidden"), &handle("alice")).await;
    assert!(matches!(renamed, Err(AccountError::HandleNotAvailable(_))));
    drop(held);
    assert!(taken("alice", "a@b.co").await.is_ok());
    assert!(accounts.reserve_handle(&did("hidden"), &handle("hidden")).await.is_ok());
}

#[tokio::test]
async fn a_handle_changes_for_everybody_at_once() {
    let (_directory, accounts) = opened(config());
    let alice = make(&accounts, "alice").await;
    make(&accounts, "bob").await;
    let changed = accounts.set_handle(&alice, &handle("carol"), told).await.unwrap();
    assert_eq!(changed.handle, Some(handle("carol")));
    assert_eq!(accounts.by_handle(&handle("alice"), Include::ALL).await.unwrap(), None);
    assert_eq!(accounts.by_handle(&handle("carol"), Include::ACTIVE).await.unwrap(), Some(changed));
    let taken = accounts.set_handle(&alice, &handle("bob"), told).await.unwrap_err();
    assert_eq!((taken.name(), taken.to_string().as_str()), ("HandleNotAvailable", "Handle already taken: bob.test"));
    // The same again is told again.
    accounts.set_handle(&alice, &handle("carol"), told).await.unwrap();
    assert!(matches!(accounts.set_handle(&did("nobody"), &handle("dave"), told).await, Err(AccountError::NotFound)));
    assert_eq!(waiting(&accounts).await.len(), 2);
}
