//! Whether a repository is served: not if its account is gone, taken down or deactivated.
//!
//! Its owner and the administrator read on where others may not. What is read of a repository and its blobs by `sync`
//! methods, and `describeRepo`, goes through here; `getRecord` and `listRecords` of `repo` answer as if there were none.
//!
//! Specification: <https://atproto.com/specs/account#hosting-status>.

use shared::syntax::AtIdentifier;
use shared::xrpc::error_name;

use crate::account::{Account, Include, Status};
use crate::app::App;
use crate::auth::Reader;
use crate::error::XrpcError;

/// The account of `repo`, if `reader` may read its repository.
///
/// # Errors
/// 400 `RepoNotFound`, `RepoTakendown` or `RepoDeactivated`.
pub(super) async fn available(app: &App, repo: &AtIdentifier, reader: &Reader) -> Result<Account, XrpcError> {
    let account = app.accounts().by_identifier(repo, Include::ALL).await?;
    let refused = |name, what| Err(XrpcError::refused(name, format!("{what}: {repo}")));
    let Some(account) = account else {
        return refused(error_name::REPO_NOT_FOUND, "Could not find repo for DID");
    };
    match account.status() {
        _ if reader.sees_all_of(&account.did) => Ok(account),
        Status::Takendown => refused(error_name::REPO_TAKENDOWN, "Repo has been takendown"),
        Status::Deactivated => refused(error_name::REPO_DEACTIVATED, "Repo has been deactivated"),
        Status::Active | Status::Deleted => Ok(account),
    }
}
