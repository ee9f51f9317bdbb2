//! XRPC: the error envelope, what a method is, and the names that errors go by.
//!
//! Every failed call answers `{"error": name, "message": text}`. Clients branch on the name and people read the message,
//! so a name always comes from [`error_name`] and a message never carries meaning that only it holds.
//!
//! Implements <https://atproto.com/specs/xrpc>.

use serde::{Deserialize, Serialize};

pub mod conditional;
pub mod error_name;
pub mod params;
pub mod refusal;

/// The body of a failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The name, one of [`error_name`] if we made it.
    pub error: String,
    /// What happened, for people. Optional, since other servers leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ErrorBody {
    /// A body with both parts.
    pub fn new(error: impl Into<String>, message: impl Into<String>) -> Self {
        Self { error: error.into(), message: Some(message.into()) }
    }
}

/// A method as its schema defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method {
    /// Its name, under `/xrpc/`.
    pub nsid: &'static str,
    /// How it is called.
    pub kind: MethodKind,
}

impl Method {
    /// A query.
    #[must_use]
    pub const fn query(nsid: &'static str) -> Self {
        Self { nsid, kind: MethodKind::Query }
    }

    /// A procedure.
    #[must_use]
    pub const fn procedure(nsid: &'static str) -> Self {
        Self { nsid, kind: MethodKind::Procedure }
    }

    /// A subscription.
    #[must_use]
    pub const fn subscription(nsid: &'static str) -> Self {
        Self { nsid, kind: MethodKind::Subscription }
    }
}

/// How a method is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MethodKind {
    /// GET (or HEAD), parameters in the query string; changes nothing.
    Query,
    /// POST, input in the body.
    Procedure,
    /// A WebSocket.
    Subscription,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_body_is_read_with_and_without_a_message() {
        let both = r#"{"error":"InvalidSwap","message":"Record was at null"}"#;
        let body = ErrorBody::new(error_name::INVALID_SWAP, "Record was at null");
        assert_eq!(serde_json::to_string(&body).unwrap(), both);
        assert_eq!(serde_json::from_str::<ErrorBody>(both).unwrap(), body);
        let bare = ErrorBody { error: "Gone".into(), message: None };
        assert_eq!(serde_json::from_str::<ErrorBody>(r#"{"error":"Gone","code":7}"#).unwrap(), bare);
        assert_eq!(serde_json::to_string(&bare).unwrap(), r#"{"error":"Gone"}"#);
    }
}
