//! Parts of an answer: the `Range` header of a request.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use shared::xrpc::conditional::Part;

use super::input::Input;
use crate::error::XrpcError;

/// Which part of the answer is asked for: input of a query, besides its parameters.
#[derive(Debug, Clone, Default)]
pub(super) struct RangeAsked {
    range: Option<HeaderValue>,
    if_range: Option<HeaderValue>,
}

impl Input for RangeAsked {
    #[cfg(test)]
    const ENCODING: Option<&'static str> = None;

    async fn read(nsid: &'static str, headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, XrpcError> {
        <()>::read(nsid, headers, body, limit).await?;
        let header = |name| headers.get(name).cloned();
        Ok(Self { range: header(header::RANGE), if_range: header(header::IF_RANGE) })
    }
}

impl RangeAsked {
    /// The part that is asked for of something of `size` bytes with the strong tag `tag`.
    pub(super) fn of(&self, size: u64, tag: &str) -> Part {
        let text =
            |header: &Option<HeaderValue>| header.as_ref().map(|value| value.to_str().unwrap_or_default().to_owned());
        Part::asked(text(&self.range).as_deref(), text(&self.if_range).as_deref(), size, tag)
    }
}
