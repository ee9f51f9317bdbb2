//! Accounts that were read a moment ago, so that a client that asks again and again costs no query each time.
//!
//! What is given is what the database would: an account is known for as long as nothing was written to the database through
//! this process, which alone writes there while it runs, and for a second at most, for an operator who edits it by hand.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shared::syntax::Did;

use super::Account;

/// How long an account is known.
const FOR: Duration = Duration::from_secs(1);
/// How many are; about half a kilobyte each.
const MOST: usize = 4096;

/// The accounts.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<HashMap<Did, Known>>);

#[derive(Debug)]
struct Known {
    account: Account,
    /// [`crate::db::Db::changes`] before it was read.
    changes: u64,
    at: Instant,
}

impl Known {
    fn is_current(&self, changes: u64, now: Instant) -> bool {
        self.changes == changes && now.saturating_duration_since(self.at) < FOR
    }
}

impl Recent {
    /// The account, if it is known as it is now.
    pub(super) fn get(&self, did: &Did, changes: u64) -> Option<Account> {
        let known = self.held();
        let known = known.get(did).filter(|known| known.is_current(changes, Instant::now()))?;
        Some(known.account.clone())
    }

    /// Keeps what was read after a look at `changes`.
    pub(super) fn put(&self, account: &Account, changes: u64) {
        let (mut known, at) = (self.held(), Instant::now());
        if known.len() >= MOST && !known.contains_key(&account.did) {
            known.retain(|_, known| known.is_current(changes, at));
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(account.did.clone(), Known { account: account.clone(), changes, at });
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Did, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: usize) -> Account {
        Account {
            did: Did::parse(format!("did:web:a{number}.example").as_str()).unwrap(),
            handle: None,
            email: None,
            email_confirmed_at: None,
            invites_disabled: false,
            created_at: String::new(),
            takedown_ref: None,
            deactivated_at: None,
            delete_after: None,
        }
    }

    #[test]
    fn an_account_is_known_until_something_is_written_and_for_a_second_at_most() {
        let (recent, one) = (Recent::default(), account(1));
        recent.put(&one, 7);
        assert_eq!(recent.get(&one.did, 7), Some(one.clone()));
        assert_eq!(recent.get(&one.did, 8), None);
        assert_eq!(recent.get(&account(2).did, 7), None);
        recent.held().get_mut(&one.did).unwrap().at -= FOR;
        assert_eq!(recent.get(&one.did, 7), None);
    }

    #[test]
    fn there_are_never_more_than_so_many() {
        let recent = Recent::default();
        for number in 0..MOST + 10 {
            recent.put(&account(number), 0);
        }
        assert_eq!(recent.held().len(), 10);
        // Those that are out of date go first.
        let recent = Recent::default();
        for number in 0..MOST {
            recent.put(&account(number), u64::from(number % 2 == 0));
        }
        recent.put(&account(MOST), 1);
        assert_eq!(recent.held().len(), MOST / 2 + 1);
    }
}
