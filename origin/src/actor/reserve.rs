//! Signing keys kept for accounts that are yet to come, one file each under `reserved_keys`, as the reference has them:
//! named after the DID they were asked for with, or else after themselves.
//!
//! Anybody may ask for one, so there is a bound to how many are kept, and what was not fetched for a week goes.
//!
//! Specification: lexicon `com.atproto.server.reserveSigningKey`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use shared::crypto::{Curve, PublicKey, SigningKey};
use shared::syntax::Did;

use super::{ActorError, Actors};
use crate::db::blocking;
use crate::files::{make_directory, sync_directory};
use crate::random;

/// How many keys are kept.
const KEPT: usize = 1000;
/// How long one is kept.
const AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The longest name that file systems take, in bytes.
const NAME_MAX: usize = 255;

/// Why no key is reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// As many are kept as may be.
    #[error("too many signing keys are reserved, try again later")]
    Full,
    /// The DID is too long to name a file.
    #[error("DID is too long")]
    Name,
    /// The key cannot be read or written.
    #[error(transparent)]
    Actor(#[from] ActorError),
}

impl From<crate::db::DbError> for ReserveError {
    fn from(error: crate::db::DbError) -> Self {
        Self::Actor(error.into())
    }
}

impl Actors {
    /// Keeps a signing key for an account that is to come, and tells its public half; for the same DID the same again.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub async fn reserve_key(&self, did: Option<&Did>) -> Result<PublicKey, ReserveError> {
        if did.is_some_and(|did| did.as_str().len() > NAME_MAX) {
            return Err(ReserveError::Name);
        }
        let (directory, did) = (self.inner.directory.join("reserved_keys"), did.cloned());
        blocking(move || reserve(&directory, did.as_ref())).await
    }

    /// The key that is kept for the account of `did`: the one that was asked for with it, else the one whose public half is
    /// `public`. None if there is neither.
    ///
    /// # Errors
    /// When a key cannot be read.
    pub async fn reserved_key(&self, did: &Did, public: Option<&PublicKey>) -> Result<Option<SigningKey>, ActorError> {
        let (directory, names) = (self.inner.directory.join("reserved_keys"), names(did, public));
        blocking(move || {
            let kept = names.iter().filter(|name| name.as_str().len() <= NAME_MAX);
            kept.filter_map(|name| read(&directory, name).transpose()).next().transpose()
        })
        .await
    }

    /// Forgets the key that was kept for the account of `did`, which has it now.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub async fn forget_reserved(&self, did: &Did, public: &PublicKey) -> Result<(), ActorError> {
        let (directory, names) = (self.inner.directory.join("reserved_keys"), names(did, Some(public)));
        blocking(move || {
            for name in names.iter().filter(|name| name.as_str().len() <= NAME_MAX) {
                let path = directory.join(name.as_str());
                match fs::remove_file(&path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(&path, source)),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}

/// What the file of a key may be called: the DID it is for, or its own.
fn names(did: &Did, public: Option<&PublicKey>) -> Vec<Did> {
    let own = public.and_then(|key| Did::parse(&key.to_did_key()).ok());
    [Some(did.clone()), own].into_iter().flatten().collect()
}

fn reserve(directory: &Path, did: Option<&Did>) -> Result<PublicKey, ReserveError> {
    make_directory(directory).map_err(|source| failed(directory, source))?;
    if let Some(did) = did
        && let Some(kept) = read(directory, did)?
    {
        return Ok(kept.public_key());
    }
    if sweep(directory)? >= KEPT {
        return Err(ReserveError::Full);
    }
    let key = SigningKey::from_bytes(Curve::K256, &random::bytes::<32>()).map_err(|source| {
        ReserveError::Actor(ActorError::Io { path: directory.to_owned(), source: io::Error::other(source) })
    })?;
    let name = did.map_or_else(|| key.public_key().to_did_key(), ToString::to_string);
    // Whole or not at all, and never in place of one that was told.
    let part = directory.join(format!("{}.part", random::grouped(1, 16)));
    let path = directory.join(&name);
    let linked = write(&part, &key).and_then(|()| fs::hard_link(&part, &path));
    let _left_over = fs::remove_file(&part);
    match linked {
        Ok(()) => {
            sync_directory(directory).map_err(|source| failed(directory, source))?;
            Ok(key.public_key())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match did.map(|did| read(directory, did)) {
            Some(kept) => Ok(kept?.unwrap_or(key).public_key()),
            None => Err(failed(&path, error).into()),
        },
        Err(error) => Err(failed(&path, error).into()),
    }
}

fn write(path: &Path, key: &SigningKey) -> io::Result<()> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(&key.to_bytes())?;
    file.sync_all()
}

fn read(directory: &Path, did: &Did) -> Result<Option<SigningKey>, ActorError> {
    let path = directory.join(did.as_str());
    match fs::read(&path) {
        Ok(bytes) => match SigningKey::from_bytes(Curve::K256, &bytes) {
            Ok(key) => Ok(Some(key)),
            Err(source) => Err(ActorError::Key { did: did.clone(), source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(&path, source)),
    }
}

/// Removes keys that nobody came for, and tells how many there are still.
fn sweep(directory: &Path) -> Result<usize, ActorError> {
    let before = SystemTime::now().checked_sub(AGE);
    let mut kept = 0;
    for entry in fs::read_dir(directory).map_err(|source| failed(directory, source))? {
        let entry = entry.map_err(|source| failed(directory, source))?;
        let modified = entry.metadata().and_then(|about| about.modified()).ok();
        match (modified, before) {
            (Some(modified), Some(before)) if modified < before => {
                fs::remove_file(entry.path()).map_err(|source| failed(&entry.path(), source))?;
            }
            _ => kept += 1,
        }
    }
    Ok(kept)
}

fn failed(path: &Path, source: io::Error) -> ActorError {
    ActorError::Io { path: PathBuf::from(path), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_for_its_did_and_swept_when_nobody_came() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("reserved_keys");
        let did = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
        let first = reserve(&directory, Some(&did)).unwrap();
        assert_eq!(reserve(&directory, Some(&did)).unwrap(), first);
        let path = directory.join(did.as_str());
        assert_eq!(fs::read(&path).unwrap().len(), 32);
        let own = reserve(&directory, None).unwrap();
        assert!(directory.join(own.to_did_key()).is_file());

        let old = SystemTime::now() - AGE - Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        reserve(&directory, None).unwrap();
        assert!(!path.exists());
        assert_ne!(reserve(&directory, Some(&did)).unwrap(), first);
    }

    #[test]
    fn no_more_keys_are_kept_than_may_be() {
        let directory = tempfile::tempdir().unwrap();
        for nth in 0..KEPT {
            fs::write(directory.path().join(nth.to_string()), b"").unwrap();
        }
        assert!(matches!(reserve(directory.path(), None), Err(ReserveError::Full)));
    }
}
