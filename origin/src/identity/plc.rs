//! The did:plc directory, as a client sees it.
//!
//! What it answers about a DID must be about that DID. What it refuses it gives reasons for, which go to whoever asked;
//! when it fails itself, or is not reached, nothing is known of what became of an operation.
//!
//! Specification: <https://web.plc.directory/spec/v0.1/did-plc>; the operations are [`shared::identity::plc`]'s.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::data::json;
use shared::identity::plc::{AuditEntry, Operation, State};
use shared::identity::{DidDocument, DidDocumentError};
use shared::syntax::Did;
use url::Url;

use crate::fetch::{Answer, Bounds, Client, FetchError};

/// How long sending an operation may take. Whoever creates an account waits for it.
const SEND_TIMEOUT: Duration = Duration::from_secs(8);
/// The longest log that is read, in bytes: some hundreds of operations.
const LOG_LIMIT: u64 = 8 * 1024 * 1024;

const ACCEPT: &str = "application/did+ld+json,application/json";

/// A did:plc directory; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Directory {
    client: Client,
    url: Url,
    bounds: Bounds,
}

/// Why a directory did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It refuses: the operation or the question is wrong.
    #[error("did:plc directory refuses with status {status}: {}", .message.as_deref().unwrap_or("it does not say why"))]
    Refused {
        /// Its status, below 500.
        status: u16,
        /// What it says, for whoever asked.
        message: Option<String>,
    },
    /// It fails.
    #[error("did:plc directory fails with status {status}")]
    Failed {
        /// Its status, 500 or above.
        status: u16,
    },
    /// It was not reached, or did not answer in bounds. An operation may have arrived.
    #[error("did:plc directory cannot be asked")]
    Fetch(#[from] FetchError),
    /// Its answer is not what it should be.
    #[error("did:plc directory answers what cannot be read")]
    Answer,
    /// Its answer is not the document of the DID.
    #[error("did:plc directory answers with another document")]
    Document(#[from] DidDocumentError),
    /// The DID is not a did:plc.
    #[error("{did} is not a did:plc")]
    NotPlc {
        /// The DID.
        did: Did,
    },
}

impl Directory {
    /// The directory at `url`; a question may take `time`, an answer about one DID `limit` bytes.
    #[must_use]
    pub const fn new(client: Client, url: Url, time: Duration, limit: u64) -> Self {
        Self { client, url, bounds: Bounds { time, body: limit, redirects: 0 } }
    }

    /// The DID's document; `None` when the directory does not know the DID, or says that it was ended.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn document(&self, did: &Did) -> Result<Option<DidDocument>, DirectoryError> {
        let Some(answer) = self.get(did, "", self.bounds).await? else { return Ok(None) };
        let document = from_json(&answer.body)?;
        Ok(Some(DidDocument::parse(did, document)?))
    }

    /// The DID's present state, which the next operation starts from; `None` as for [`Self::document`].
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn state(&self, did: &Did) -> Result<Option<State>, DirectoryError> {
        let Some(answer) = self.get(did, "/data", self.bounds).await? else { return Ok(None) };
        let data = json::parse(&answer.body).map_err(|_| DirectoryError::Answer)?;
        State::from_data(did, data).map(Some).map_err(|_| DirectoryError::Answer)
    }

    /// The DID's last operation, which the next one names; `None` as for [`Self::document`].
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn last_operation(&self, did: &Did) -> Result<Option<Operation>, DirectoryError> {
        let Some(answer) = self.get(did, "/log/last", self.bounds).await? else { return Ok(None) };
        let operation = json::parse(&answer.body).map_err(|_| DirectoryError::Answer)?;
        Operation::from_value(operation).map(Some).map_err(|_| DirectoryError::Answer)
    }

    /// The DID's whole log, not verified; `None` when the directory does not know the DID.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn audit_log(&self, did: &Did) -> Result<Option<Vec<AuditEntry>>, DirectoryError> {
        let bounds = Bounds { body: LOG_LIMIT, ..self.bounds };
        let Some(answer) = self.get(did, "/log/audit", bounds).await? else { return Ok(None) };
        from_json(&answer.body).map(Some)
    }

    /// Adds an operation to the DID's log. Sending the same one again is refused, not repeated.
    ///
    /// # Errors
    /// [`DirectoryError`]. After [`DirectoryError::Fetch`] and [`DirectoryError::Failed`] the log tells whether it
    /// arrived.
    pub async fn send(&self, did: &Did, operation: &Operation) -> Result<(), DirectoryError> {
        let url = self.url_of(did, "")?;
        let json = serde_json::to_vec(&operation.to_value()).map_err(|_| DirectoryError::Answer)?;
        let bounds = Bounds { time: SEND_TIMEOUT, ..self.bounds };
        let answer = self.client.post_json(url, json, bounds).await?;
        if answer.status.is_success() { Ok(()) } else { Err(failure(&answer)) }
    }

    async fn get(&self, did: &Did, what: &str, bounds: Bounds) -> Result<Option<Answer>, DirectoryError> {
        let answer = self.client.get(self.url_of(did, what)?, ACCEPT, bounds).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            status if status.is_success() => Ok(Some(answer)),
            _ => Err(failure(&answer)),
        }
    }

    /// A did:plc is spelled with characters that stand for themselves in a URL.
    fn url_of(&self, did: &Did, what: &str) -> Result<Url, DirectoryError> {
        if !did.is_plc() {
            return Err(DirectoryError::NotPlc { did: did.clone() });
        }
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{did}{what}", self.url.path().trim_end_matches('/')));
        Ok(url)
    }
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, DirectoryError> {
    serde_json::from_slice(body).map_err(|_| DirectoryError::Answer)
}

fn failure(answer: &Answer) -> DirectoryError {
    #[derive(Deserialize)]
    struct Reason {
        message: String,
    }
    let status = answer.status.as_u16();
    if status >= 500 {
        return DirectoryError::Failed { status };
    }
    let message = serde_json::from_slice(&answer.body).ok().map(|Reason { message }| message);
    DirectoryError::Refused { status, message }
}

#[cfg(test)]
mod tests;
