//! The route table: every method that is answered here, who may call it, how large its input may be, and what answers it.
//!
//! Whatever the table does not name falls to [`catchall`]. What a line means, step by step, is in [`call`]; the handlers
//! are in the modules named after the methods' names. <https://atproto.com/specs/xrpc>

mod availability;
mod call;
mod catchall;
mod explain;
mod identity;
mod input;
mod output;
mod params;
mod path;
mod range;
mod refuse;
mod repo;
mod server;
mod sync;

use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use shared::data::{Value, json};
use shared::identity::DidDocument;
use shared::token::session::Scope;

use crate::app::App;
use crate::auth::{Access, AccessOrAdminOptional, AccessOrService, Anybody, Refresh, ServiceOptional, Standing};
use crate::config::Limits;
use call::{Route, Routes, procedure, query, subscription};
use input::{JSON, WRITES};
use repo::{blob, import};
use server::{account, session};

#[rustfmt::skip]
fn table(limits: &Limits) -> Vec<Route> {
    let standard = Access::standard;
    let not_taken_down = Standing { not_taken_down: true, ..Standing::default() };
    let reader = || AccessOrAdminOptional(standard());
    let own_reader = || AccessOrAdminOptional(standard().or(Scope::Takendown));
    vec![
        query("com.atproto.identity.resolveHandle", Anybody, identity::resolve_handle),

        procedure("com.atproto.repo.applyWrites", standard(), WRITES, repo::apply_writes),
        procedure("com.atproto.repo.createRecord", standard(), WRITES, repo::create_record),
        procedure("com.atproto.repo.deleteRecord", standard(), JSON, repo::delete_record),
        query("com.atproto.repo.describeRepo", Anybody, repo::describe_repo),
        query("com.atproto.repo.getRecord", Anybody, repo::get_record),
        procedure("com.atproto.repo.importRepo", Access::full().only(not_taken_down), limits.import, import::import_repo),
        query("com.atproto.repo.listMissingBlobs", standard(), blob::list_missing_blobs),
        query("com.atproto.repo.listRecords", Anybody, repo::list_records),
        procedure("com.atproto.repo.putRecord", standard(), WRITES, repo::put_record),
        procedure("com.atproto.repo.uploadBlob", AccessOrService(standard().only(not_taken_down)), limits.blob, blob::upload_blob),

        procedure("com.atproto.server.createAccount", ServiceOptional, JSON, account::create_account),
        procedure("com.atproto.server.createSession", Anybody, JSON, session::create_session),
        procedure("com.atproto.server.deleteSession", Refresh { expired: true }, JSON, session::delete_session),
        query("com.atproto.server.describeServer", Anybody, server::describe_server),
        query("com.atproto.server.getSession", standard().or(Scope::SignupQueued), session::get_session),
        procedure("com.atproto.server.refreshSession", Refresh { expired: false }, JSON, session::refresh_session),

        query("com.atproto.sync.getBlob", own_reader(), sync::blob::get_blob),
        query("com.atproto.sync.getBlocks", reader(), sync::get_blocks),
        query("com.atproto.sync.getCheckout", reader(), sync::get_checkout),
        query("com.atproto.sync.getHead", reader(), sync::get_head),
        query("com.atproto.sync.getLatestCommit", reader(), sync::get_latest_commit),
        query("com.atproto.sync.getRecord", reader(), sync::get_record),
        query("com.atproto.sync.getRepo", own_reader(), sync::get_repo),
        query("com.atproto.sync.getRepoStatus", Anybody, sync::get_repo_status),
        query("com.atproto.sync.listBlobs", own_reader(), sync::blob::list_blobs),
        query("com.atproto.sync.listRepos", Anybody, sync::list_repos),
        subscription("com.atproto.sync.subscribeRepos", sync::subscribe_repos),
    ]
}

/// Everything below `/xrpc/`.
pub(crate) fn router(app: App) -> Router<App> {
    let routes = Routes::new(table(&app.config().limits));
    let calls = any(call::answer).with_state((app, Arc::new(routes)));
    Router::new().route("/xrpc/", calls.clone()).route("/xrpc/{*method}", calls)
}

/// A DID document as an answer holds it; `None` if it is not of the data model, as a number with a fraction is not.
fn document_json(document: &DidDocument) -> Option<Value> {
    json::parse(&serde_json::to_vec(document.as_json()).ok()?).ok()
}

#[cfg(test)]
mod tests;
