//! The answers the edge gives by itself when a request cannot be passed on: XRPC error envelopes, as the origin's are.
//!
//! They are marked as not to be stored, and readable by web pages of any origin, without which a browser client would see
//! an unexplained network error. <https://atproto.com/specs/xrpc#error-responses>

use shared::xrpc::{ErrorBody, error_name};

/// A request that the edge refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 404: nothing is served to the public at this path.
    NotFound,
    /// 429: this client asks too often.
    TooMany,
    /// 500: this Worker is not set up, or the platform failed it.
    Internal,
    /// 503: the origin cannot be reached; trying again helps.
    OriginAway,
}

impl Refusal {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::OriginAway => 503,
        }
    }

    /// The response headers.
    #[must_use]
    pub fn headers(self) -> Vec<(&'static str, &'static str)> {
        let mut headers = vec![
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            ("access-control-allow-origin", "*"),
            ("x-edge", "reply"),
        ];
        if matches!(self, Self::OriginAway | Self::TooMany) {
            // Seconds: an origin that is being replaced is back in a few, and so is a client's share.
            headers.push(("retry-after", "5"));
        }
        headers
    }

    /// The response body, JSON.
    #[must_use]
    pub fn body(self) -> String {
        let (error, message) = match self {
            Self::NotFound => (error_name::NOT_FOUND, "nothing is served here"),
            Self::TooMany => (error_name::RATE_LIMIT_EXCEEDED, "Rate Limit Exceeded"),
            Self::Internal => (error_name::INTERNAL_SERVER_ERROR, "Internal Server Error"),
            Self::OriginAway => (error_name::NOT_ENOUGH_RESOURCES, "the server cannot be reached at the moment"),
        };
        // Two strings cannot fail to be JSON.
        serde_json::to_string(&ErrorBody::new(error, message)).unwrap_or_default()
    }
}
