//! Request bodies: what kind a method takes, decoded and within its limit.
//!
//! A body is JSON of the method's input type, raw bytes for the handler to read, or must not be there. Its Content-Type
//! is required and checked; `gzip`, `deflate` and `br` are undone, and the limit is on what comes out as well as on what
//! the client announces, so a small body cannot grow without bound.
//!
//! Specification: <https://atproto.com/specs/xrpc#lexicon-http-endpoints>.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, header};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::de::{DeserializeOwned, Error as _};

use super::explain;
use super::proxy::Aside;
use crate::coding;
use crate::error::XrpcError;
use crate::pipethrough;

/// The largest JSON input of most methods, in bytes.
pub(super) const JSON: u64 = 150 * 1024;
/// The largest JSON input of methods that write records, in bytes.
pub(super) const WRITES: u64 = 1_000_000;

/// How long a client may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_secs(60);

/// A body on its way in, decoded and within its limit.
pub(super) type Decoded = Pin<Box<dyn Stream<Item = Result<Bytes, XrpcError>> + Send>>;

/// What a method reads its body into.
pub(super) trait Input: Sized + Send + 'static {
    /// The media type that the method's schema names, `None` for no input.
    #[cfg(test)]
    const ENCODING: Option<&'static str>;

    /// Reads the body of a call of `nsid`, of at most `limit` bytes.
    fn read(
        nsid: &'static str,
        headers: &HeaderMap,
        body: Body,
        limit: u64,
    ) -> impl Future<Output = Result<Self, XrpcError>> + Send;
}

/// JSON: as an input one that was read, as an answer one to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned + Send + 'static> Input for Json<T> {
    #[cfg(test)]
    const ENCODING: Option<&'static str> = Some("application/json");

    async fn read(nsid: &'static str, headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, XrpcError> {
        present(headers)?;
        check_type(headers, "application/json")?;
        let text = collect(headers, body, limit).await?;
        // The reference reads nothing as an empty object.
        let text: &[u8] = if text.is_empty() { b"{}" } else { &text };
        // A list would be taken for the fields in their order.
        let read = match text.trim_ascii_start().first() {
            Some(b'[') => Err(serde_json::Error::custom("Expected object value type (got a list) at $")),
            _ => serde_json::from_slice(text),
        };
        read.map(Self).map_err(|error| {
            let issue = explain::input(nsid, text).unwrap_or_else(|| error.to_string());
            XrpcError::invalid_request(issue)
        })
    }
}

/// Bytes of any type, for the handler to read.
pub(super) struct Upload {
    /// What the client says they are.
    pub(super) media_type: String,
    /// The bytes.
    pub(super) body: Decoded,
}

impl Input for Upload {
    #[cfg(test)]
    const ENCODING: Option<&'static str> = Some("*/*");

    async fn read(_: &'static str, headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, XrpcError> {
        present(headers)?;
        let media_type = media_type(headers)?;
        Ok(Self { media_type, body: decode(headers, body, limit)? })
    }
}

/// A CAR file, for the handler to read.
pub(super) struct Car(pub(super) Decoded);

impl Input for Car {
    #[cfg(test)]
    const ENCODING: Option<&'static str> = Some("application/vnd.ipld.car");

    async fn read(_: &'static str, headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, XrpcError> {
        present(headers)?;
        check_type(headers, "application/vnd.ipld.car")?;
        Ok(Self(decode(headers, body, limit)?))
    }
}

/// No input. A body is refused, unless it is empty.
impl Input for () {
    #[cfg(test)]
    const ENCODING: Option<&'static str> = None;

    async fn read(_: &'static str, headers: &HeaderMap, body: Body, _: u64) -> Result<Self, XrpcError> {
        let unexpected = || XrpcError::invalid_request("A request body was provided when none was expected");
        if headers.contains_key(header::TRANSFER_ENCODING) {
            // That says only how it would be framed.
            let mut pieces = body.into_data_stream();
            while let Some(piece) = pieces.next().await {
                if !piece.map_err(io::Error::other).map_err(unreadable)?.is_empty() {
                    return Err(unexpected());
                }
            }
            return Ok(());
        }
        match length(headers)? {
            None | Some(0) => Ok(()),
            Some(_) => Err(unexpected()),
        }
    }
}

impl<I: Input> Input for Aside<I> {
    #[cfg(test)]
    const ENCODING: Option<&'static str> = I::ENCODING;

    async fn read(nsid: &'static str, headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, XrpcError> {
        Ok(Self { input: I::read(nsid, headers, body, limit).await?, headers: headers.clone() })
    }
}

/// No input, and those headers that a service is told of to which the call may be passed on.
pub(super) struct Passable(pub(super) HeaderMap);

impl Input for Passable {
    #[cfg(test)]
    const ENCODING: Option<&'static str> = None;

    async fn read(nsid: &'static str, headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, XrpcError> {
        <()>::read(nsid, headers, body, limit).await?;
        Ok(Self(pipethrough::asked_of(headers)))
    }
}

/// Refuses a request that announces no body.
fn present(headers: &HeaderMap) -> Result<(), XrpcError> {
    if headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::CONTENT_LENGTH) {
        Ok(())
    } else {
        Err(XrpcError::invalid_request("A request body is expected but none was provided"))
    }
}

/// Refuses a body of another media type.
fn check_type(headers: &HeaderMap, expected: &str) -> Result<(), XrpcError> {
    let found = media_type(headers)?;
    if found == expected {
        Ok(())
    } else {
        Err(XrpcError::invalid_request(format!("Wrong request encoding (Content-Type): {found}")))
    }
}

/// The media type of the body, in lower case and without parameters.
fn media_type(headers: &HeaderMap) -> Result<String, XrpcError> {
    let value = text(headers, header::CONTENT_TYPE).and_then(|value| value.split(';').next());
    let found = value.map(str::trim).filter(|value| value.contains('/')).map(str::to_ascii_lowercase);
    found.ok_or_else(|| XrpcError::invalid_request("Request encoding (Content-Type) required but not provided"))
}

/// The length that the client announces.
fn length(headers: &HeaderMap) -> Result<Option<u64>, XrpcError> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|value| value.parse().ok());
    length.map(Some).ok_or_else(|| XrpcError::invalid_request("invalid content-length"))
}

/// The whole body.
async fn collect(headers: &HeaderMap, body: Body, limit: u64) -> Result<Vec<u8>, XrpcError> {
    let announced = length(headers)?.and_then(|length| usize::try_from(length).ok());
    let mut pieces = decode(headers, body, limit)?;
    let mut whole = Vec::with_capacity(announced.unwrap_or_default());
    while let Some(piece) = pieces.try_next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// The body with its Content-Encoding undone, of at most `limit` bytes before and after.
fn decode(headers: &HeaderMap, body: Body, limit: u64) -> Result<Decoded, XrpcError> {
    if length(headers)?.is_some_and(|length| length > limit) {
        return Err(XrpcError::too_large());
    }
    let coding = text(headers, header::CONTENT_ENCODING).unwrap_or_default();
    let pieces = coding::undone(coding, unless_silent(body, SILENCE)).ok_or_else(XrpcError::unsupported_encoding)?;
    let mut left = limit;
    Ok(Box::pin(pieces.map(move |piece| {
        let piece = piece.map_err(unreadable)?;
        left = left.checked_sub(piece.len() as u64).ok_or_else(XrpcError::too_large)?;
        Ok(piece)
    })))
}

/// The body, for as long as its client goes on with it and is not silent for longer than `limit`.
fn unless_silent(body: Body, limit: Duration) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(body.into_data_stream(), move |mut pieces| async move {
        let piece = tokio::time::timeout(limit, pieces.try_next()).await;
        let piece = piece.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)?;
        Ok(piece.map(|piece| (piece, pieces)))
    })
}

fn unreadable(error: io::Error) -> XrpcError {
    match error.kind() {
        io::ErrorKind::TimedOut => XrpcError::timed_out(),
        _ => XrpcError::invalid_request("the request body could not be read").caused_by(error),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests;
