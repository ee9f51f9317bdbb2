//! `com.atproto.temp.*`: what may change without notice.
//!
//! See <https://atproto.com/specs/lexicon>.

use serde::{Deserialize, Serialize};

/// Output of `com.atproto.temp.checkSignupQueue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckSignupQueueOutput {
    /// Whether the caller's account is ready; always, where there is no queue.
    pub activated: bool,
    /// How many wait before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place_in_queue: Option<u64>,
    /// How long it will wait, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_time_ms: Option<u64>,
}
