//! `com.atproto.sync.*`: repositories and their blobs, as others mirror them.

pub(super) mod blob;

use shared::syntax::{AtIdentifier, Did};

use super::repo;
use crate::app::App;
use crate::auth::Reader;
use crate::error::XrpcError;

/// Whether the repository of `did` may be read by `reader`: anybody may while its account is active, and its owner and the
/// administrator always.
async fn readable(app: &App, did: &Did, reader: &Reader) -> Result<(), XrpcError> {
    repo::available(app, &AtIdentifier::Did(did.clone()), reader.sees_all_of(did)).await.map(drop)
}
