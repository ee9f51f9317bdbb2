//! Whether a repository is served: not if its account is gone, taken down or deactivated.
//!
//! Its owner and the administrator read on where others may not. What is read of a repository and its blobs by `sync`
//! methods, and `describeRepo`, goes through here; `getRecord` and `listRecords` of `repo` answer as if there were none.
//!
//! Specification: <https://atproto.com/specs/account#hosting-status>.

use shared::syntax::AtIdentifier;
use shared::xrpc::refusal::Refusal;

use crate::account::{Account, Include};
use crate::app::App;
use crate::auth::Reader;
use crate::error::XrpcError;

/// The account of `repo`, if `reader` may read its repository.
///
/// # Errors
/// 400 `RepoNotFound`, `RepoTakendown` or `RepoDeactivated`.
pub(super) async fn available(app: &App, repo: &AtIdentifier, reader: &Reader) -> Result<Account, XrpcError> {
    let account = app.accounts().by_identifier(repo, Include::ALL).await?;
    let account = account.ok_or_else(|| Refusal::repo_not_found(repo))?;
    if reader.sees_all_of(&account.did) {
        return Ok(account);
    }
    match account.status().reason().and_then(|status| Refusal::unavailable(repo, &status)) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(account),
    }
}
