//! What a directory answers when it refuses, in the words of plc.directory.

use std::fmt;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use shared::data::json::JsonError;
use shared::identity::plc::{Operation, PlcError};

use super::directory::MAX_OPERATION_LEN;

/// Why a directory does not do as asked. `Display` is the text that it answers with.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No operation of this DID was ever taken.
    NotRegistered(String),
    /// The DID was ended by a tombstone.
    NotAvailable(String),
    /// The body is larger than is read.
    BodyTooLarge,
    /// The body is not JSON of the data model.
    Json(JsonError),
    /// The body, as text, is JSON but no operation.
    NotAnOperation(String),
    /// The operation is one, but not one that may be added.
    Operation(PlcError, Box<Operation>),
    /// The operation is larger than is taken.
    TooLarge,
    /// Too many operations of this DID stand in this time.
    RateLimit {
        /// The time's name.
        time: &'static str,
        /// How many may stand.
        limit: usize,
    },
    /// A query parameter is malformed.
    Parameter(&'static str),
    /// The database failed.
    Database(rusqlite::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegistered(did) => write!(f, "DID not registered: {did}"),
            Self::NotAvailable(did) => write!(f, "DID not available: {did}"),
            Self::BodyTooLarge => f.write_str("request entity too large"),
            Self::Json(error) => write!(f, "{error}"),
            Self::NotAnOperation(text) => write!(f, "Not a valid operation: {text}"),
            Self::Operation(error, operation) => explain(error, operation, f),
            Self::TooLarge => {
                write!(f, "Operation too large ({MAX_OPERATION_LEN} bytes maximum in cbor encoding)")
            }
            Self::RateLimit { time, limit } => write!(f, "To many operations within last {time} (max {limit})"),
            Self::Parameter(name) => write!(f, "Invalid {name} parameter"),
            Self::Database(_) => f.write_str("Internal Server Error"),
        }
    }
}

/// Says in plc.directory's words what is wrong with an operation; its spelling mistakes are kept.
fn explain(error: &PlcError, operation: &Operation, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let json = || serde_json::to_string(operation).unwrap();
    match error {
        PlcError::TooMany { what: "rotationKeys", limit, .. } => {
            write!(f, "Too many rotationKey entries (max {limit})")
        }
        PlcError::TooMany { what: "verificationMethods", limit, .. } => {
            write!(f, "Too many Verification Method entries (max {limit})")
        }
        PlcError::TooMany { what: "services", limit, .. } => write!(f, "To many service entries (max {limit})"),
        PlcError::TooMany { what, limit, .. } => write!(f, "To many {what} entries (max {limit})"),
        PlcError::TooLong { what, limit, .. } => write!(f, "{what} too long (max {limit})"),
        PlcError::DuplicateAlias(alias) => write!(f, "duplicate alsoKnownAs entry: {alias}"),
        PlcError::RotationKey(key) => write!(f, "Invalid rotationKey: {key}"),
        PlcError::VerificationMethod(key) => write!(f, "Invalid verificationMethod key: {key}"),
        PlcError::Deprecated => write!(f, "Not a valid operation: {}", json()),
        PlcError::Signature => write!(f, "Invalid signature on op: {}", json()),
        PlcError::GenesisDid { expected } => {
            write!(f, "Hash of genesis operation does not match DID identifier: {expected}")
        }
        PlcError::TooLate { elapsed } => write!(
            f,
            "Recovery operation occurred outside of the allowed 72 hr recovery window. Time lapsed: {}",
            elapsed / 1000
        ),
        PlcError::NotGenesis
        | PlcError::NoPrev
        | PlcError::UnknownPrev { .. }
        | PlcError::Tombstoned
        | PlcError::NotLater => f.write_str("Operations not correctly ordered"),
        other => write!(f, "{other}"),
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotRegistered(_) => StatusCode::NOT_FOUND,
            // The status that its published interface gives; its source answers 404 with the same text.
            Self::NotAvailable(_) => StatusCode::GONE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Database(error) => {
                eprintln!("plc: {error}");
                StatusCode::INTERNAL_SERVER_ERROR
            }
            _ => StatusCode::BAD_REQUEST,
        };
        (status, axum::Json(json!({ "message": self.to_string() }))).into_response()
    }
}
