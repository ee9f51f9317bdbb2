//! Parts of an answer, or none of it: the headers `Range` and `If-None-Match` of a request.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use shared::xrpc::conditional::Part;

use super::input::Input;
use super::output;
use crate::error::XrpcError;

/// Which part of the answer is asked for: input of a query, besides its parameters.
#[derive(Debug, Clone, Default)]
pub(super) struct RangeAsked(HeaderMap);

impl Input for RangeAsked {
    #[cfg(test)]
    const ENCODING: Option<&'static str> = None;

    async fn read(nsid: &'static str, headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, XrpcError> {
        <()>::read(nsid, headers, body, limit).await?;
        let names = [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH];
        let asked = names.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name.clone(), value)));
        Ok(Self(asked.map(|(name, value)| (name, value.clone())).collect()))
    }
}

impl RangeAsked {
    /// The part that is asked for of something of `size` bytes with the strong tag `tag`.
    pub(super) fn of(&self, size: u64, tag: &str) -> Part {
        let text = |name| self.0.get(name).map(|value| value.to_str().unwrap_or_default());
        Part::asked(text(header::RANGE), text(header::IF_RANGE), size, tag)
    }

    /// Whether who asks has what is tagged so, and will be told just that.
    pub(super) fn is_known(&self, tag: &str) -> bool {
        output::has(&self.0, tag)
    }
}
