//! Asking the edge: one signed request, one answer.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use shared::link::{BodyDigest, LinkError, MEDIA_TYPE, Request, TrustError, decode};

use super::Inner;
use crate::fetch::FetchError;
use crate::random;
use crate::time::now_seconds;

/// How long the edge may take to answer when it is told of a change.
pub(super) const TELLING: Duration = Duration::from_secs(3);
/// How long it may take to drop copies.
pub(super) const DROPPING: Duration = Duration::from_secs(30);
/// How large its answers may be, in bytes.
const ANSWER_LEN: usize = 64 * 1024;

/// Why the edge did not do what it was asked for, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It is not reached, or does not answer in time.
    #[error("the edge does not answer")]
    Exchange(#[source] reqwest::Error),
    /// It takes too long.
    #[error("the edge does not answer in time")]
    Timeout,
    /// It may not be asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It refuses, or failed.
    #[error("the edge answers with status {0}")]
    Status(StatusCode),
    /// What it answers is not what it should, or what it is told cannot be said.
    #[error(transparent)]
    Message(#[from] LinkError),
    /// What it is told is too long to be signed.
    #[error(transparent)]
    Unsigned(#[from] TrustError),
    /// It has begun, and is not done.
    #[error("the edge is not done yet")]
    Unfinished,
}

impl Inner {
    /// Sends a message to `path`, one of [`shared::link`]'s, and reads the answer, which may take `time`.
    pub(super) async fn send<A: DeserializeOwned>(
        &self,
        path: &str,
        message: Vec<u8>,
        time: Duration,
    ) -> Result<A, SendError> {
        tokio::time::timeout(time, self.exchange(path, message)).await.unwrap_or(Err(SendError::Timeout))
    }

    async fn exchange<A: DeserializeOwned>(&self, path: &str, message: Vec<u8>) -> Result<A, SendError> {
        let mut url = self.edge.url.clone();
        url.set_path(path);
        let digest = BodyDigest::of(&message)?;
        // As it goes over the wire.
        let signed = Request { method: "POST", path: url.path() };
        let headers = self.edge.feed.sign(signed, digest, now_seconds(), random::bytes::<16>());
        let mut request = self.client.request(Method::POST, url)?;
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request = request.header(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)).body(message);
        let mut answer = request.send().await.map_err(SendError::Exchange)?;
        if answer.status() != StatusCode::OK {
            return Err(SendError::Status(answer.status()));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(SendError::Exchange)? {
            body.extend_from_slice(&piece);
            if body.len() > ANSWER_LEN {
                return Err(LinkError::TooLong(body.len()).into());
            }
        }
        Ok(decode(&body)?)
    }
}
