//! What public reads of an account are refused with: the same words wherever they are answered.
//!
//! The names are what clients branch on; the messages are the reference server's, since people and tests know them.

use super::{ErrorBody, error_name};
use crate::cid::Cid;
use crate::firehose::AccountStatus;
use crate::syntax::{AtIdentifier, AtUri, Did};

/// A read that is refused: status 400 and this body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The name, one of [`error_name`].
    pub name: &'static str,
    /// The message.
    pub message: String,
}

impl Refusal {
    /// `getRecord`: no such record, or none that may be shown.
    #[must_use]
    pub fn record_not_found(uri: &AtUri) -> Self {
        Self { name: error_name::RECORD_NOT_FOUND, message: format!("Could not locate record: {uri}") }
    }

    /// `listRecords`: no account, or none that is active.
    #[must_use]
    pub fn no_repo_to_list(repo: &AtIdentifier) -> Self {
        Self { name: error_name::INVALID_REQUEST, message: format!("Could not find repo: {repo}") }
    }

    /// `describeRepo` and the `sync` methods: no account.
    #[must_use]
    pub fn repo_not_found(repo: &AtIdentifier) -> Self {
        Self { name: error_name::REPO_NOT_FOUND, message: format!("Could not find repo for DID: {repo}") }
    }

    /// The same methods: an account that is not active; `None` for a status that is served.
    #[must_use]
    pub fn unavailable(repo: &AtIdentifier, status: &AccountStatus) -> Option<Self> {
        match status {
            AccountStatus::Takendown => {
                Some(Self { name: error_name::REPO_TAKENDOWN, message: format!("Repo has been takendown: {repo}") })
            }
            AccountStatus::Deactivated => {
                Some(Self { name: error_name::REPO_DEACTIVATED, message: format!("Repo has been deactivated: {repo}") })
            }
            _ => None,
        }
    }

    /// `getBlocks`: the repository lacks some of the blocks.
    #[must_use]
    pub fn blocks_not_found(cids: &[Cid]) -> Self {
        let cids: Vec<_> = cids.iter().map(ToString::to_string).collect();
        Self { name: error_name::INVALID_REQUEST, message: format!("Could not find cids: {}", cids.join(", ")) }
    }

    /// An account without a repository.
    #[must_use]
    pub fn no_root(name: &'static str, did: &Did) -> Self {
        Self { name, message: format!("Could not find root for DID: {did}") }
    }

    /// `getBlob`: no such blob, or none that may be shown.
    #[must_use]
    pub fn blob_not_found() -> Self {
        Self { name: error_name::INVALID_REQUEST, message: "Blob not found".to_owned() }
    }

    /// The body: JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Two strings cannot fail to be JSON.
        serde_json::to_vec(&ErrorBody::new(self.name, self.message.as_str())).unwrap_or_default()
    }
}
