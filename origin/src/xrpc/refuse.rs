//! What the errors of the modules below are to a client.
//!
//! Whoever asked for the impossible is told so in the reference's words; whatever is our own fault is a 500 that tells
//! nothing. Every variant is named, so that a new one is thought about here.

use std::error::Error;

use axum::http::StatusCode;
use shared::repo::car::CarError;
use shared::repo::mst::MstError;
use shared::repo::{ApplyError, MAX_OPS};
use shared::xrpc::error_name;
use shared::xrpc::refusal::Refusal;

use crate::account::{AccountError, ErrorKind};
use crate::actor::blobs::UploadError;
use crate::actor::import::ImportError;
use crate::actor::prepare::PrepareError;
use crate::actor::read::ReadError;
use crate::actor::{ActorError, ReserveError, WriteError};
use crate::announce::AnnounceError;
use crate::blobstore::{BlobstoreError, S3Error};
use crate::db::DbError;
use crate::error::XrpcError;
use crate::identity::ResolveError;
use crate::identity::plc::DirectoryError;
use crate::lifecycle::LifecycleError;
use crate::mail::{CodeError, MailError};
use crate::rotation::KmsError;

impl From<Refusal> for XrpcError {
    fn from(Refusal { name, message }: Refusal) -> Self {
        Self::refused(name, message)
    }
}

impl From<AccountError> for XrpcError {
    fn from(error: AccountError) -> Self {
        let status = match error.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Unfit => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => return Self::internal(error),
        };
        Self::new(status, error.name(), error.to_string())
    }
}

impl From<DbError> for XrpcError {
    fn from(error: DbError) -> Self {
        Self::internal(error)
    }
}

impl From<ActorError> for XrpcError {
    fn from(error: ActorError) -> Self {
        match error {
            ActorError::NotFound(did) => {
                Self::refused(error_name::REPO_NOT_FOUND, format!("Could not find repo for DID: {did}"))
            }
            ActorError::Blobs(error) => error.into(),
            error => Self::internal(error),
        }
    }
}

impl From<BlobstoreError> for XrpcError {
    fn from(error: BlobstoreError) -> Self {
        match error {
            BlobstoreError::TooLarge { .. } => Self::too_large(),
            BlobstoreError::Body(cause) => of_body(cause),
            BlobstoreError::S3(error) => error.into(),
            error @ (BlobstoreError::Io(_) | BlobstoreError::Task(_)) => Self::internal(error),
        }
    }
}

impl From<S3Error> for XrpcError {
    fn from(error: S3Error) -> Self {
        match &error {
            S3Error::Timeout { .. } => {
                Self::upstream_timeout("Operation timed out, please try again.").caused_by(error)
            }
            _ if error.is_permanent() => Self::internal(error),
            _ => Self::busy("blobs cannot be had at the moment, please try again").caused_by(error),
        }
    }
}

impl From<UploadError> for XrpcError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::TakenDown(_) => Self::invalid_request("Blob has been takendown, cannot re-upload"),
            UploadError::Blobstore(error) => error.into(),
            UploadError::Actor(error) => error.into(),
        }
    }
}

impl From<ImportError> for XrpcError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::TooLarge { .. } => Self::too_large(),
            ImportError::Body(cause) => of_body(cause),
            error @ ImportError::Busy => Self::conflict(error.to_string()),
            ImportError::Car(CarError::Roots(_)) => Self::invalid_request("expected one root"),
            ImportError::Tree(error @ (MstError::Store(_) | MstError::Unwritten)) => Self::internal(error),
            // Each is about the file, and says where it is wrong.
            error @ (ImportError::Car(_)
            | ImportError::NoCommit(_)
            | ImportError::Commit(_)
            | ImportError::OtherAccount { .. }
            | ImportError::Tree(_)
            | ImportError::RecordMissing { .. }
            | ImportError::Record { .. }) => Self::invalid_request(chain(&error)),
            error @ ImportError::Staging(_) => Self::internal(error),
            ImportError::Write(error) => error.into(),
        }
    }
}

/// The error that a stream of a request's body ended with.
fn of_body(cause: Box<dyn Error + Send + Sync>) -> XrpcError {
    match cause.downcast::<XrpcError>() {
        Ok(error) => *error,
        Err(cause) => XrpcError::invalid_request("the request body could not be read").caused_by(cause),
    }
}

/// An error and what led to it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl From<ReadError> for XrpcError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Actor(error) => error.into(),
            ReadError::BlocksMissing(cids) => Refusal::blocks_not_found(&cids).into(),
            error @ ReadError::Busy => Self::busy(error.to_string()),
            error @ (ReadError::Damaged(_)
            | ReadError::Tree(_)
            | ReadError::Unfinished
            | ReadError::Unreplicable(_)) => Self::internal(error),
        }
    }
}

impl From<PrepareError> for XrpcError {
    fn from(error: PrepareError) -> Self {
        Self::invalid_request(error.to_string())
    }
}

impl From<AnnounceError> for XrpcError {
    fn from(error: AnnounceError) -> Self {
        Self::internal(error)
    }
}

impl From<ReserveError> for XrpcError {
    fn from(error: ReserveError) -> Self {
        match error {
            error @ ReserveError::Full => Self::busy(error.to_string()),
            error @ ReserveError::Name => Self::invalid_request(error.to_string()),
            ReserveError::Actor(error) => error.into(),
        }
    }
}

impl From<LifecycleError> for XrpcError {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::Account(error) => error.into(),
            LifecycleError::Actor(error) => error.into(),
            LifecycleError::Write(error) => error.into(),
            LifecycleError::Announce(error) => error.into(),
            LifecycleError::Directory(error) => error.into(),
            LifecycleError::RotationKey(error) => error.into(),
            LifecycleError::Resolve(error) => error.into(),
            error @ (LifecycleError::Document(_)
            | LifecycleError::OtherHandle
            | LifecycleError::StaleHandle
            | LifecycleError::NoIdentity
            | LifecycleError::NotReserved
            | LifecycleError::Unsupported(_)
            | LifecycleError::RecoveryKey(_)) => Self::invalid_request(error.to_string()),
            error @ LifecycleError::Incompatible(_) => {
                Self::refused(error_name::INCOMPATIBLE_DID_DOC, error.to_string())
            }
            error @ LifecycleError::NotTheirs(_) => {
                Self::unauthorized(error_name::AUTHENTICATION_REQUIRED, error.to_string())
            }
            error @ (LifecycleError::Sequence(_)
            | LifecycleError::Db(_)
            | LifecycleError::Key(_)
            | LifecycleError::Operation(_)) => Self::internal(error),
        }
    }
}

impl From<WriteError> for XrpcError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Apply(error) => error.into(),
            WriteError::Actor(error) => error.into(),
            WriteError::Blobstore(error) => error.into(),
            WriteError::SwapCommit(at) => Self::refused(error_name::INVALID_SWAP, format!("Commit was at {at}")),
            error @ WriteError::Behind { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                error_name::REPO_BEHIND,
                "This repository takes no writes until its operator has restored it",
            )
            .caused_by(error),
            // It was active when the call began.
            WriteError::NotAdmitted => Self::unauthorized(error_name::ACCOUNT_DEACTIVATED, "Account is deactivated"),
            WriteError::BlobNotFound(cid) => {
                Self::refused(error_name::BLOB_NOT_FOUND, format!("Could not find blob: {cid}"))
            }
            WriteError::BlobMimeType { said, is, .. } => {
                let message = format!("Referenced Mimetype does not match stored blob. Expected: {is}, Got: {said}");
                Self::refused(error_name::INVALID_MIME_TYPE, message)
            }
            WriteError::BlobSize { said, is, .. } => {
                let message = format!("Referenced Size does not match stored blob. Expected: {is}, Got: {said}");
                Self::refused(error_name::INVALID_SIZE, message)
            }
            error @ (WriteError::NothingToDo
            | WriteError::RevExhausted(_)
            | WriteError::Damaged(_)
            | WriteError::Event(_)
            | WriteError::Sequence(_)) => Self::internal(error),
        }
    }
}

impl From<ApplyError> for XrpcError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::TooManyWrites(_) => Self::invalid_request(format!("Too many writes. Max: {MAX_OPS}")),
            ApplyError::CommitTooLarge(_) => Self::invalid_request("Too many writes. Max event size: 2MB"),
            ApplyError::SwapMismatch { current, .. } => {
                let current = current.map_or_else(|| "null".to_owned(), |cid| cid.to_string());
                Self::refused(error_name::INVALID_SWAP, format!("Record was at {current}"))
            }
            error @ (ApplyError::PathTwice(_)
            | ApplyError::RecordTooLarge { .. }
            | ApplyError::RecordExists(_)
            | ApplyError::RecordMissing(_)) => Self::invalid_request(error.to_string()),
            error @ (ApplyError::RevNotAbove { .. } | ApplyError::Mst(_)) => Self::internal(error),
        }
    }
}

impl From<ResolveError> for XrpcError {
    fn from(error: ResolveError) -> Self {
        Self::invalid_request("Could not resolve DID").caused_by(error)
    }
}

impl From<MailError> for XrpcError {
    fn from(error: MailError) -> Self {
        Self::internal(error)
    }
}

impl From<CodeError> for XrpcError {
    fn from(error: CodeError) -> Self {
        match error {
            // Not a name of these methods' own.
            CodeError::Account(error @ AccountError::NotFound) => Self::invalid_request(error.to_string()),
            CodeError::Account(error) => error.into(),
            CodeError::Mail(error) => error.into(),
        }
    }
}

impl From<KmsError> for XrpcError {
    fn from(error: KmsError) -> Self {
        Self::upstream("The key of PLC operations cannot be used").caused_by(error)
    }
}

impl From<DirectoryError> for XrpcError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Refused { message, .. } => {
                Self::invalid_request(message.unwrap_or_else(|| "Unable to perform PLC operation".to_owned()))
            }
            error => Self::upstream("Unable to perform PLC operation").caused_by(error),
        }
    }
}
