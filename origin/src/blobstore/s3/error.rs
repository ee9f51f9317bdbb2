//! What can go wrong with a bucket.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::xml::Refusal;
use crate::fetch::FetchError;

/// Where a bucket says that it is.
const BUCKET_REGION: &str = "x-amz-bucket-region";

/// Why a bucket did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// It took too long.
    #[error("the bucket gave no answer within {} ms", .limit.as_millis())]
    Timeout {
        /// How long it might have taken.
        limit: Duration,
    },
    /// It could not be reached: nothing was asked.
    #[error("the bucket cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The exchange broke off: what was asked may be done or not.
    #[error("the exchange with the bucket broke off")]
    Exchange(#[source] reqwest::Error),
    /// It refused, or failed and said so.
    #[error("the bucket answered {status}: {code} {message}")]
    Refused {
        /// With this status.
        status: StatusCode,
        /// By this name; empty if it gave none.
        code: String,
        /// In these words.
        message: String,
        /// Where the bucket is, if it said so.
        region: Option<String>,
    },
    /// Its answer is none of S3.
    #[error("the answer is not a bucket's: {0}")]
    Answer(&'static str),
    /// Its URL cannot be asked.
    #[error("the bucket's URL cannot be asked")]
    Url(#[source] FetchError),
    /// Too many large uploads come in at once.
    #[error("too many large uploads are under way")]
    Busy,
}

impl S3Error {
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, refusal: Refusal) -> Self {
        let named = headers.get(BUCKET_REGION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let region = refusal.region.clone().or(named);
        Self::refused(status, Refusal { region, ..refusal })
    }

    pub(super) fn refused(status: StatusCode, Refusal { code, message, region }: Refusal) -> Self {
        Self::Refused { status, code, message, region }
    }

    pub(super) fn of_exchange(error: reqwest::Error, limit: Duration) -> Self {
        // The URL has the names of blobs, and the log has enough of them.
        let error = error.without_url();
        if error.is_timeout() && !error.is_connect() {
            Self::Timeout { limit }
        } else if error.is_connect() {
            Self::Unreachable(error)
        } else {
            Self::Exchange(error)
        }
    }

    /// Whether there is nothing under the key, in a bucket that is there. Other things that are not there, such as the
    /// bucket or whose key it is asked with, are refused by the same status.
    pub(super) fn is_no_such_key(&self) -> bool {
        match self {
            Self::Refused { status: StatusCode::NOT_FOUND, code, .. } => {
                matches!(code.as_str(), "NoSuchKey" | "NoSuchUpload")
            }
            _ => false,
        }
    }

    /// Whether nothing can have come of it.
    pub(super) fn never_got_there(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, code, .. } => *status == StatusCode::TOO_MANY_REQUESTS || code == "SlowDown",
            _ => false,
        }
    }

    /// Whether it may go well the next time.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Exchange(_) => true,
            Self::Refused { status, code, .. } => {
                status.is_server_error() && *status != StatusCode::NOT_IMPLEMENTED
                    || *status == StatusCode::TOO_MANY_REQUESTS
                    || matches!(code.as_str(), "InternalError" | "SlowDown" | "RequestTimeout" | "ServiceUnavailable")
            }
            _ => false,
        }
    }

    /// Whether it is for the operator to mend, and not a matter of time.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { .. } => !self.may_pass(),
            Self::Answer(_) | Self::Url(_) => true,
            Self::Timeout { .. } | Self::Unreachable(_) | Self::Exchange(_) | Self::Busy => false,
        }
    }
}
