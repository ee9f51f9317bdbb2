//! Passwords: how they are hashed and checked, and how many at once.
//!
//! Hashes are the reference's, so that every account keeps its password in both directions: scrypt with N = 2^14, r = 8,
//! p = 1 and 64 bytes of output, written `<salt>:<hex>`, where the salt is text and goes in as its own bytes, also where
//! it looks like hex. An account's salt is random. An app password's follows from the DID, which once let the reference
//! find it by equality.
//!
//! A hash costs about 30 ms and 16 MiB, on purpose, which makes a log-in the cheapest attack on a server. So only so many
//! run at once, a few more wait, and the rest are turned away with [`AccountError::Busy`] before anything about an account
//! is looked up: being turned away tells nothing.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use shared::syntax::Did;
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::AccountError;
use crate::db::DbError;
use crate::random;

/// The longest password that can be chosen, in UTF-16 units.
pub const NEW_PASSWORD_MAX: usize = 256;
/// The longest password that can log in, in UTF-16 units: longer ones could be chosen once.
pub const OLD_PASSWORD_MAX: usize = 512;
/// How long every attempt to log in takes at least, so that its time does not tell whether the account exists. The HTTP
/// layer waits, after the hashing place was given back.
pub const LOGIN_FLOOR: Duration = Duration::from_millis(350);

/// How many wait per one that runs. At 30 ms each, the last waits for half a second.
const WAITING_PER_RUNNING: usize = 16;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 64;
const LOG_N: u8 = 14;
const R: u32 = 8;
const P: u32 = 1;

/// The stored form of a password: `<salt>:<hex>`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The text that is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(secret)")
    }
}

/// How long a password is, as its limits count.
pub(super) fn length(password: &str) -> usize {
    password.encode_utf16().count()
}

/// Where passwords are hashed.
#[derive(Clone, Debug)]
pub(super) struct Passwords {
    /// A permit for everyone who waits or runs.
    places: Arc<Semaphore>,
    /// A permit for everyone who runs.
    running: Arc<Semaphore>,
    /// Threads that do nothing else, as many as may run. The allocator keeps what a thread has freed for that thread: of
    /// a pool's many threads each would come to keep 16 MiB.
    threads: mpsc::Sender<Work>,
}

type Work = Box<dyn FnOnce() + Send>;

/// The right to have passwords hashed, one after the other.
#[derive(Debug)]
pub(super) struct Place {
    passwords: Passwords,
    permit: Arc<OwnedSemaphorePermit>,
}

impl Passwords {
    /// Hashes on at most `threads` threads, at least one.
    pub(super) fn new(threads: usize) -> Self {
        let (queue, work) = mpsc::channel::<Work>();
        let work = Arc::new(Mutex::new(work));
        let started = (0..threads.max(1)).filter(|_| {
            let work = Arc::clone(&work);
            thread::Builder::new().name("password".to_owned()).spawn(move || run(&work)).is_ok()
        });
        // Where the system gives no thread nothing can be hashed, and everybody is turned away.
        let threads = started.count();
        let places = Arc::new(Semaphore::new(threads.saturating_mul(1 + WAITING_PER_RUNNING)));
        Self { places, running: Arc::new(Semaphore::new(threads)), threads: queue }
    }

    /// Takes a place, if one is left.
    pub(super) fn place(&self) -> Result<Place, AccountError> {
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| AccountError::Busy)?;
        Ok(Place { passwords: self.clone(), permit: Arc::new(permit) })
    }
}

impl Place {
    /// Hashes an account's password with a salt of its own.
    pub(super) async fn hash(&self, password: &str) -> Result<PasswordHash, AccountError> {
        self.salted(password, HEXLOWER.encode(&random::bytes::<SALT_BYTES>())).await
    }

    /// Hashes an app password of `did`.
    pub(super) async fn hash_app_password(&self, did: &Did, password: &str) -> Result<PasswordHash, AccountError> {
        let digest = Sha256::digest(did.as_str());
        let (salt, _) = digest.split_at(SALT_BYTES);
        self.salted(password, HEXLOWER.encode(salt)).await
    }

    /// Whether `password` is the one that `stored` was made of. What is not in the form of a hash is no password's.
    pub(super) async fn verify(&self, password: &str, stored: &str) -> Result<bool, AccountError> {
        let Some((salt, _)) = stored.split_once(':') else {
            return Ok(false);
        };
        let derived = self.salted(password, salt.to_owned()).await?;
        Ok(same(derived.as_str(), stored))
    }

    async fn salted(&self, password: &str, salt: String) -> Result<PasswordHash, AccountError> {
        let running = Arc::clone(&self.passwords.running).acquire_owned().await.map_err(|_| AccountError::Busy)?;
        let place = Arc::clone(&self.permit);
        let password = password.to_owned();
        let (done, hashed) = oneshot::channel();
        let work = move || {
            let hash = derive(&password, &salt);
            // Given back by the thread that did the work: a caller that went away frees nothing before it is done.
            drop((running, place));
            let _gone = done.send(hash);
        };
        self.passwords.threads.send(Box::new(work)).map_err(|_| DbError::Abandoned)?;
        Ok(hashed.await.map_err(|_| DbError::Abandoned)?)
    }
}

/// Does what comes, until nobody is left who could send anything.
fn run(work: &Mutex<mpsc::Receiver<Work>>) {
    loop {
        // One waits with the lock in its hand, the others wait for the lock.
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(next) = next else { return };
        next();
    }
}

fn derive(password: &str, salt: &str) -> PasswordHash {
    let params = scrypt::Params::new(LOG_N, R, P, HASH_BYTES).expect("the parameters are within scrypt's bounds");
    let mut hash = [0; HASH_BYTES];
    scrypt::scrypt(password.as_bytes(), salt.as_bytes(), &params, &mut hash).expect("64 bytes can be derived");
    PasswordHash(format!("{salt}:{}", HEXLOWER.encode(&hash)))
}

/// Compares in a time that depends on the lengths alone.
pub(super) fn same(derived: &str, stored: &str) -> bool {
    derived.as_bytes().ct_eq(stored.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the reference's own functions, 0.5.35.
    const ACCOUNT: &str = "5f1d3a0c9e7b42468aa0c1de93b7f605:1fa430873d0839ea388c3a366897f0a89832864a17717c8148a88700e54bf8b896f65874230370213e50ea283441598b79da07cbd3dc289af07d82e96acff097";
    const APP: &str = "296696a312a8139629d6569d752b57cc:7c86736f6daeb06fe2f3cf3bbd48045b91998ce530727486cb7db6541f6495837e9b91257e9d47d7fbefdffdb6d9fb80498bf79b8157062b01131a9fa946662c";

    #[tokio::test]
    async fn the_references_hashes_verify() {
        let place = Passwords::new(1).place().unwrap();
        assert!(place.verify("correct horse", ACCOUNT).await.unwrap());
        assert!(!place.verify("correct horsf", ACCOUNT).await.unwrap());
        let did = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
        assert_eq!(place.hash_app_password(&did, "abcd-efgh-2345-ijkl").await.unwrap().as_str(), APP);
    }

    #[tokio::test]
    async fn a_password_is_its_bytes_and_its_salt_is_its_own() {
        let place = Passwords::new(1).place().unwrap();
        let (one, two) = (place.hash("pä\u{308}ss🙂").await.unwrap(), place.hash("pä\u{308}ss🙂").await.unwrap());
        assert_ne!(one.as_str(), two.as_str());
        assert_eq!(one.as_str().len(), 32 + 1 + 128);
        assert!(place.verify("pä\u{308}ss🙂", one.as_str()).await.unwrap());
        assert!(!place.verify("pa\u{308}\u{308}ss🙂", one.as_str()).await.unwrap());
        assert_eq!(length("pä\u{308}ss🙂"), 7);
    }

    #[tokio::test]
    async fn what_is_no_hash_is_nobodys_password() {
        let place = Passwords::new(1).place().unwrap();
        let (_, hex) = ACCOUNT.split_once(':').unwrap();
        for stored in ["", ":", "nonsense", hex] {
            assert!(!place.verify("", stored).await.unwrap(), "{stored}");
        }
    }

    #[tokio::test]
    async fn who_finds_no_place_is_turned_away_and_a_place_comes_back() {
        let passwords = Passwords::new(1);
        let held: Vec<_> = (0..=WAITING_PER_RUNNING).map(|_| passwords.place().unwrap()).collect();
        assert!(matches!(passwords.place(), Err(AccountError::Busy)));
        drop(held);
        assert!(passwords.place().is_ok());
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_keeps_its_thread_until_the_work_is_done() {
        let passwords = Passwords::new(1);
        let place = passwords.place().unwrap();
        let hashing = tokio::spawn(async move { place.hash("x").await });
        while passwords.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        hashing.abort();
        assert!(hashing.await.is_err());
        assert_eq!(passwords.running.available_permits(), 0);
        assert!(passwords.place().unwrap().hash("y").await.is_ok());
    }
}
