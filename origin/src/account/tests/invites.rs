//! Invite codes.

use super::*;

async fn admin_code(accounts: &Accounts, uses: i64) -> String {
    let made = accounts.create_invite_codes(vec!["admin".to_owned()], 1, uses).await.unwrap();
    made[0].1[0].clone()
}

async fn sign_up(accounts: &Accounts, name: &str, code: &str) -> Result<Tokens, AccountError> {
    accounts.create(NewAccount { invite_code: Some(code.to_owned()), ..new_account(name) }, quiet).await
}

fn earning() -> AccountConfig {
    let invites = InvitePolicy { required: true, interval_millis: Some(7 * DAY), epoch_millis: 0 };
    AccountConfig { invites, ..config() }
}

#[tokio::test]
async fn a_code_is_of_the_server_and_good_for_its_number_of_sign_ups() {
    let (_directory, accounts) = opened(config());
    let code = admin_code(&accounts, 2).await;
    let letters = code.strip_prefix("pds-test-").unwrap();
    assert!(letters.len() == 11 && letters.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7' | b'-')), "{code}");
    sign_up(&accounts, "one", &code).await.unwrap();
    sign_up(&accounts, "two", &code).await.unwrap();
    let error = sign_up(&accounts, "three", &code).await.unwrap_err();
    assert_eq!((error.name(), error.to_string().as_str()), ("InvalidInviteCode", "Provided invite code not available"));
    assert!(matches!(sign_up(&accounts, "three", "no-such-code").await, Err(AccountError::InviteUnavailable)));
    let invited = accounts.invited_by(vec![did("one"), did("three")]).await.unwrap();
    assert_eq!(invited.keys().collect::<Vec<_>>(), [&did("one")]);
    assert_eq!(invited[&did("one")].uses.len(), 2);
}

#[tokio::test]
async fn a_code_is_checked_early_only_where_one_is_needed() {
    let (_directory, accounts) = opened(earning());
    let reserve = |accounts: &Accounts| {
        let accounts = accounts.clone();
        async move { accounts.reserve_sign_up(&handle("alice"), Some("a@b.co"), None, Some("nonsense")).await.map(drop) }
    };
    assert!(matches!(reserve(&accounts).await, Err(AccountError::InviteUnavailable)));
    let (_directory, open) = opened(config());
    assert!(reserve(&open).await.is_ok());
}

#[tokio::test]
async fn a_code_dies_with_its_disabling_and_with_its_holders_takedown() {
    let (_directory, accounts) = opened(config());
    let alice = make(&accounts, "alice").await;
    let holders = vec!["admin".to_owned(), alice.as_str().to_owned()];
    let made = accounts.create_invite_codes(holders, 3, 1).await.unwrap();
    let (own, hers) = (&made[0].1, &made[1].1);
    accounts.disable_invite_codes(vec![own[0].clone()], Vec::new()).await.unwrap();
    assert!(matches!(sign_up(&accounts, "one", &own[0]).await, Err(AccountError::InviteUnavailable)));
    sign_up(&accounts, "one", &own[1]).await.unwrap();

    accounts.take_down(&alice, None, quiet).await.unwrap();
    assert!(matches!(sign_up(&accounts, "two", &hers[0]).await, Err(AccountError::InviteUnavailable)));
    accounts.restore(&alice, quiet).await.unwrap();
    sign_up(&accounts, "two", &hers[0]).await.unwrap();
    accounts.disable_invite_codes(Vec::new(), vec![alice.as_str().to_owned()]).await.unwrap();
    assert!(matches!(sign_up(&accounts, "three", &hers[1]).await, Err(AccountError::InviteUnavailable)));
    let refused = accounts.disable_invite_codes(Vec::new(), vec!["admin".to_owned()]).await.unwrap_err();
    assert_eq!(refused.to_string(), "cannot disable admin invite codes");
    sign_up(&accounts, "three", &own[2]).await.unwrap();
}

#[tokio::test]
async fn an_account_is_given_what_it_has_earned_once() {
    let (_directory, accounts) = opened(earning());
    let alice = make(&accounts, "alice").await;
    meddle(&accounts, &format!("UPDATE actor SET createdAt = '{}'", at(-22 * DAY)));
    assert_eq!(accounts.account_invite_codes(&alice, true, false).await.unwrap(), []);
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let (accounts, alice) = (accounts.clone(), alice.clone());
            tokio::spawn(async move { accounts.account_invite_codes(&alice, true, true).await.unwrap().len() })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 3);
    }
    let codes = accounts.account_invite_codes(&alice, true, true).await.unwrap();
    assert!(codes.iter().all(|code| code.created_by == alice.as_str() && code.available == 1));
    sign_up(&accounts, "bob", &codes[0].code).await.unwrap();
    assert_eq!(accounts.account_invite_codes(&alice, false, true).await.unwrap().len(), 2);
    let all = accounts.account_invite_codes(&alice, true, true).await.unwrap();
    assert_eq!(all[0].uses[0].used_by, did("bob"));
}

#[tokio::test]
async fn codes_of_an_account_that_may_not_invite_are_made_for_the_books() {
    let (_directory, accounts) = opened(earning());
    let alice = make_with_password(&accounts, "alice", "x").await;
    meddle(&accounts, &format!("UPDATE actor SET createdAt = '{}'", at(-22 * DAY)));
    assert!(accounts.set_invites_disabled(&alice, true).await.unwrap());
    assert!(!accounts.set_invites_disabled(&did("nobody"), true).await.unwrap());
    assert_eq!(accounts.account_invite_codes(&alice, true, true).await.unwrap(), []);
    let held = accounts.invite_codes_of(vec![alice.clone(), did("nobody")]).await.unwrap();
    assert_eq!(held[&alice].iter().filter(|code| code.disabled).count(), 3);
    assert_eq!(held[&did("nobody")], []);
    accounts.set_invites_disabled(&alice, false).await.unwrap();
    assert_eq!(accounts.account_invite_codes(&alice, true, true).await.unwrap(), []);
    accounts.deactivate(&alice, Deactivation::default(), quiet).await.unwrap();
    let inactive = accounts.account_invite_codes(&alice, true, true).await;
    assert!(matches!(inactive, Err(AccountError::NotFound)));
}

#[tokio::test]
async fn every_code_is_listed_once_in_either_order() {
    let (_directory, accounts) = opened(config());
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(admin_code(&accounts, 9).await);
    }
    codes.sort();
    for (nth, code) in codes.iter().enumerate() {
        // The third and the fourth are of one moment.
        let day = nth.min(2) + nth.saturating_sub(3);
        meddle(
            &accounts,
            &format!("UPDATE invite_code SET createdAt = '2026-01-0{}T00:00:00.000Z' WHERE code = '{code}'", day + 1),
        );
    }
    sign_up(&accounts, "one", &codes[2]).await.unwrap();
    sign_up(&accounts, "two", &codes[2]).await.unwrap();
    sign_up(&accounts, "six", &codes[0]).await.unwrap();
    let listed = |sort| {
        let accounts = accounts.clone();
        async move {
            let (mut all, mut cursor) = (Vec::new(), None::<String>);
            loop {
                let (page, next) = accounts.invite_codes(sort, 2, cursor.as_deref()).await.unwrap();
                all.extend(page.into_iter().map(|code| code.code));
                match next {
                    Some(next) => cursor = Some(next),
                    None => return all,
                }
            }
        }
    };
    let of = |order: [usize; 5]| order.map(|nth| codes[nth].clone());
    assert_eq!(listed(InviteSort::Recent).await, of([4, 3, 2, 1, 0]));
    assert_eq!(listed(InviteSort::Usage).await, of([2, 0, 4, 3, 1]));
    assert!(matches!(accounts.invite_codes(InviteSort::Usage, 2, Some("x")).await, Err(AccountError::Cursor)));
}
