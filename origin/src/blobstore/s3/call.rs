//! How anything is asked of a bucket: signed, in time, and again if need be.
//!
//! Every call is bounded in time, with all that it is tried again. It is tried again only where doing it twice is doing it
//! once, or if it never got there. A refusal counts under any status, since servers report failures of long calls under
//! 200.

use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::error::S3Error;
use super::xml;
use crate::aws::{Signer, encode_path, encode_query};
use crate::config::S3;
use crate::fetch::{Client, ClientError, Reach};
use crate::random;
use crate::time::now_datetime;

/// How often something is tried.
const ATTEMPTS: u32 = 4;
/// How long is waited before the second time; twice as long before each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest answer that is not a blob: a page of a list is a third of it.
const ANSWER_LEN: usize = 2 * 1024 * 1024;
/// The SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Where a bucket is asked, and the right to.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: Client,
    /// What keys are put behind, without a slash at its end.
    base: String,
    signer: Signer,
}

/// What is asked.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Empty: the bucket itself.
    pub(super) key: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Bytes,
    /// The body's SHA-256, in hex.
    pub(super) sha256: String,
    pub(super) twice: Twice,
}

/// What it is to do something a second time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// The same as once.
    AsOnce,
    /// Something else.
    Differs,
}

impl Endpoint {
    pub(super) fn new(config: &S3) -> Result<Self, ClientError> {
        let S3 { bucket, endpoint, path_style, .. } = config;
        let mut url = endpoint.clone();
        let mut path = endpoint.path().trim_end_matches('/').to_owned();
        if *path_style {
            path = format!("{path}/{}", encode_path(bucket));
        } else if let Some(host) = endpoint.host_str() {
            // A bucket that can be a label of a name makes a name of a name.
            let _is_one = url.set_host(Some(&format!("{bucket}.{host}")));
        }
        url.set_path(&path);
        Ok(Self {
            // The operator says where it is.
            client: Client::new(Reach::Anywhere)?,
            base: url.as_str().trim_end_matches('/').to_owned(),
            signer: Signer {
                service: "s3",
                region: config.region.clone(),
                access_key_id: config.access_key_id.clone(),
                secret_access_key: config.secret_access_key.clone(),
                session_token: config.session_token.clone(),
            },
        })
    }

    /// A call whose answer has to be a document of this name.
    pub(super) async fn call_for(&self, expected: &str, ask: Ask<'_>, limit: Duration) -> Result<(), S3Error> {
        let (_, body) = self.call(ask, limit).await?;
        match xml::root(&body) {
            Some(root) if root == expected => Ok(()),
            _ => Err(S3Error::Answer("that it is done was expected")),
        }
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn call(&self, ask: Ask<'_>, limit: Duration) -> Result<(HeaderMap, Bytes), S3Error> {
        self.tried(&ask, limit, || self.answered(&ask, limit)).await
    }

    /// Asks; an answer of success, to be read as it comes.
    pub(super) async fn open(&self, ask: &Ask<'_>, limit: Duration) -> Result<Response, S3Error> {
        self.tried(ask, limit, || self.opened(ask, limit)).await
    }

    /// Does something until it goes well, cannot, or has taken too long.
    async fn tried<T, F: Future<Output = Result<T, S3Error>>>(
        &self,
        ask: &Ask<'_>,
        limit: Duration,
        once: impl Fn() -> F,
    ) -> Result<T, S3Error> {
        let deadline = Instant::now() + limit;
        let (mut attempts, mut pause) = (1, FIRST_PAUSE);
        loop {
            let error = match in_time(deadline, limit, once()).await {
                Err(error) if attempts < ATTEMPTS && ask.may_be_tried_again(&error) => error,
                done => return done,
            };
            // Those who failed together do not come again together.
            let [jitter] = random::bytes();
            let wait = pause / 2 + pause * u32::from(jitter) / 512;
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::debug!(error = &error as &dyn std::error::Error, "the bucket is asked again");
            tokio::time::sleep(wait).await;
            (attempts, pause) = (attempts + 1, pause * 2);
        }
    }

    async fn answered(&self, ask: &Ask<'_>, limit: Duration) -> Result<(HeaderMap, Bytes), S3Error> {
        let response = self.send(ask, limit).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response, limit).await?;
        let refusal = xml::refusal(&body);
        if !status.is_success() || !refusal.code.is_empty() {
            return Err(S3Error::of(status, &headers, refusal));
        }
        Ok((headers, body))
    }

    /// Asks once; an answer of success, to be read as it comes.
    async fn opened(&self, ask: &Ask<'_>, limit: Duration) -> Result<Response, S3Error> {
        let response = self.send(ask, limit).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        Err(S3Error::of(status, &headers, xml::refusal(&read(response, limit).await?)))
    }

    async fn send(&self, ask: &Ask<'_>, limit: Duration) -> Result<Response, S3Error> {
        let mut text = self.base.clone();
        text.push('/');
        text.push_str(&encode_path(ask.key));
        if !ask.query.is_empty() {
            text.push('?');
            text.push_str(&encode_query(ask.query));
        }
        let url = Url::parse(&text).map_err(|_| S3Error::Answer("a URL to ask at was expected"))?;
        let mut headers = ask.headers.clone();
        headers.push((CONTENT_SHA256, ask.sha256.clone()));
        let headers = self.signer.sign(ask.method.as_str(), &url, headers, &ask.sha256, &now_datetime());
        let mut request = self.client.request(ask.method.clone(), url).map_err(S3Error::Url)?;
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if ask.method != Method::GET && ask.method != Method::HEAD {
            request = request.header(CONTENT_LENGTH, HeaderValue::from(ask.body.len())).body(ask.body.clone());
        }
        request.send().await.map_err(|error| S3Error::of_exchange(error, limit))
    }
}

impl<'a> Ask<'a> {
    pub(super) fn new(method: Method, key: &'a str) -> Self {
        let sha256 = EMPTY_SHA256.to_owned();
        let (headers, body) = (Vec::new(), Bytes::new());
        Self { method, key, query: &[], headers, body, sha256, twice: Twice::AsOnce }
    }

    /// With an XML document.
    pub(super) fn of(method: Method, key: &'a str, body: String) -> Self {
        let sha256 = HEXLOWER.encode(&Sha256::digest(&body));
        let headers = vec![(CONTENT_TYPE, "application/xml".to_owned())];
        Self { headers, body: body.into(), sha256, ..Self::new(method, key) }
    }

    fn may_be_tried_again(&self, error: &S3Error) -> bool {
        error.never_got_there() || (self.twice == Twice::AsOnce && error.may_pass())
    }
}

/// The whole of an answer that is not a blob.
async fn read(mut response: Response, limit: Duration) -> Result<Bytes, S3Error> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| S3Error::of_exchange(error, limit))? {
        if body.len() + piece.len() > ANSWER_LEN {
            return Err(S3Error::Answer("a shorter answer was expected"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.into())
}

/// What comes of something that must not take longer.
pub(super) async fn in_time<T>(
    deadline: Instant,
    limit: Duration,
    work: impl Future<Output = Result<T, S3Error>>,
) -> Result<T, S3Error> {
    tokio::time::timeout_at(deadline.into(), work).await.unwrap_or(Err(S3Error::Timeout { limit }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::api::Secret;

    use super::*;
    use crate::aws::host_of;

    #[test]
    fn a_bucket_is_asked_by_its_path_or_by_a_name_of_its_own_behind_the_endpoints_path() {
        for (endpoint, path_style, base, host) in [
            ("https://s3.eu-west-1.amazonaws.com", false, "https://blobs.s3.eu-west-1.amazonaws.com", None),
            ("https://abc.example.com/storage/v1/s3/", true, "https://abc.example.com/storage/v1/s3/blobs", None),
            ("http://127.0.0.1:9000", true, "http://127.0.0.1:9000/blobs", Some("127.0.0.1:9000")),
            ("http://[::1]:9000/", true, "http://[::1]:9000/blobs", Some("[::1]:9000")),
        ] {
            let config = S3 {
                bucket: "blobs".to_owned(),
                region: "auto".to_owned(),
                endpoint: Url::parse(endpoint).unwrap(),
                path_style,
                access_key_id: "id".to_owned(),
                secret_access_key: Secret::new("secret"),
                session_token: None,
                upload_timeout: Duration::from_secs(1),
                request_timeout: Duration::from_secs(1),
            };
            let endpoint = Endpoint::new(&config).unwrap();
            assert_eq!(endpoint.base, base);
            let host = host.map_or_else(|| base.split('/').nth(2).unwrap().to_owned(), str::to_owned);
            assert_eq!(host_of(&Url::parse(&endpoint.base).unwrap()), host);
        }
    }
}
