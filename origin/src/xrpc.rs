//! The route table: every method that is answered here, who may call it, how large its input may be, and what answers it.
//!
//! Whatever the table does not name falls to [`catchall`]. What a line means, step by step, is in [`call`]; the handlers
//! are in the modules named after the methods' names; what an entryway answers instead is [`behind`] one. <https://atproto.com/specs/xrpc>

mod admin;
mod availability;
mod bsky;
mod call;
mod catchall;
mod entryway;
mod explain;
mod idempotency;
mod identity;
mod input;
mod limit;
mod output;
mod params;
mod path;
mod proxy;
mod range;
mod read_after_write;
mod refuse;
mod repo;
mod server;
mod sync;
mod temp;

use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use shared::api::admin::GetInviteCodesParams;
use shared::syntax::Datetime;
use shared::token::session::Scope;

use crate::app::App;
use crate::auth::{
    Access, AccessOrAdminOptional, AccessOrModerator, AccessOrService, Admin, Anybody, Moderator, Refresh,
    ServiceOptional, Standing,
};
use crate::config::Limits;
use crate::error::XrpcError;
use crate::identity::document_json;
use admin::subject;
use call::{Route, Routes, procedure, query, subscription};
use entryway::{as_account, as_caller, behind, refused};
use identity::operation;
use input::{JSON, WRITES};
use limit::{by_address, by_caller, by_login, limited};
use repo::{blob, import};
pub(crate) use server::version as server_version;
use server::{account, app_password, email, invite, service_auth, session};

#[rustfmt::skip]
fn table(limits: &Limits, has_view: bool, has_entryway: bool) -> Vec<Route> {
    let standard = Access::standard;
    let not_taken_down = Standing { not_taken_down: true, ..Standing::default() };
    let reader = || AccessOrAdminOptional(standard());
    let own_reader = || AccessOrAdminOptional(standard().or(Scope::Takendown));
    let routes = vec![
        procedure("com.atproto.admin.deleteAccount", Admin, JSON, admin::delete_account),
        procedure("com.atproto.admin.disableAccountInvites", Moderator, JSON, behind(refused, admin::disable_account_invites)),
        procedure("com.atproto.admin.disableInviteCodes", Moderator, JSON, behind(refused, admin::disable_invite_codes)),
        procedure("com.atproto.admin.enableAccountInvites", Moderator, JSON, behind(refused, admin::enable_account_invites)),
        query("com.atproto.admin.getAccountInfo", Moderator, admin::get_account_info),
        query("com.atproto.admin.getAccountInfos", Moderator, admin::get_account_infos),
        query("com.atproto.admin.getSubjectStatus", Moderator, subject::get_subject_status),
        procedure("com.atproto.admin.sendEmail", Moderator, JSON, behind(entryway::send_email, admin::send_email)),
        procedure("com.atproto.admin.updateAccountEmail", Admin, JSON, behind(entryway::update_account_email, admin::update_account_email)),
        procedure("com.atproto.admin.updateAccountHandle", Admin, JSON, admin::update_account_handle),
        procedure("com.atproto.admin.updateAccountPassword", Admin, JSON, behind(as_caller, admin::update_account_password)),
        procedure("com.atproto.admin.updateSubjectStatus", Moderator, JSON, subject::update_subject_status),

        query("com.atproto.identity.getRecommendedDidCredentials", standard(), operation::get_recommended_did_credentials),
        procedure("com.atproto.identity.requestPlcOperationSignature", Access::full().or(Scope::Takendown), JSON, behind(as_account, operation::request_plc_operation_signature)),
        query("com.atproto.identity.resolveHandle", Anybody, identity::resolve_handle),
        procedure("com.atproto.identity.signPlcOperation", Access::full().or(Scope::Takendown), JSON, behind(as_account, operation::sign_plc_operation)),
        procedure("com.atproto.identity.submitPlcOperation", standard(), JSON, operation::submit_plc_operation),
        procedure("com.atproto.identity.updateHandle", standard().only(not_taken_down), JSON, limited(limit::UPDATE_HANDLE, by_caller, behind(entryway::update_handle, identity::update_handle))),

        procedure(proxy::CREATE_REPORT, standard().or(Scope::Takendown), JSON, proxy::create_report),

        procedure("com.atproto.repo.applyWrites", standard(), WRITES, limited(limit::WRITES, limit::batch, repo::apply_writes)),
        procedure("com.atproto.repo.createRecord", standard(), WRITES, limited(limit::WRITES, limit::creation, repo::create_record)),
        procedure("com.atproto.repo.deleteRecord", standard(), JSON, limited(limit::WRITES, limit::deletion, repo::delete_record)),
        query("com.atproto.repo.describeRepo", Anybody, repo::describe_repo),
        query("com.atproto.repo.getRecord", Anybody, repo::get_record),
        procedure("com.atproto.repo.importRepo", Access::full().only(not_taken_down), limits.import, import::import_repo),
        query("com.atproto.repo.listMissingBlobs", standard(), blob::list_missing_blobs),
        query("com.atproto.repo.listRecords", Anybody, repo::list_records),
        procedure("com.atproto.repo.putRecord", standard(), WRITES, limited(limit::WRITES, limit::update, repo::put_record)),
        procedure("com.atproto.repo.uploadBlob", AccessOrService(standard().only(not_taken_down)), limits.blob, limited(limit::UPLOAD_BLOB, by_address, blob::upload_blob)),

        procedure("com.atproto.server.activateAccount", Access::full(), JSON, behind(as_caller, account::activate_account)),
        query("com.atproto.server.checkAccountStatus", standard(), account::check_account_status),
        procedure("com.atproto.server.confirmEmail", standard().only(not_taken_down), JSON, behind(as_account, email::confirm_email)),
        procedure("com.atproto.server.createAccount", ServiceOptional, JSON, limited(limit::CREATE_ACCOUNT, by_address, account::create_account)),
        procedure("com.atproto.server.createAppPassword", Access::full().only(not_taken_down), JSON, behind(as_account, app_password::create_app_password)),
        procedure("com.atproto.server.createInviteCode", Admin, JSON, behind(refused, invite::create_invite_code)),
        procedure("com.atproto.server.createInviteCodes", Admin, JSON, behind(refused, invite::create_invite_codes)),
        procedure("com.atproto.server.createSession", Anybody, JSON, limited(limit::CREATE_SESSION, by_login, behind(as_caller, session::create_session))),
        procedure("com.atproto.server.deactivateAccount", Access::full().or(Scope::Takendown), JSON, behind(as_account, account::deactivate_account)),
        procedure("com.atproto.server.deleteAccount", Anybody, JSON, limited(limit::DELETE_ACCOUNT, by_address, behind(entryway::delete_account, account::delete_account))),
        query("com.atproto.server.describeServer", Anybody, server::describe_server),
        query("com.atproto.server.getAccountInviteCodes", Access::full().only(not_taken_down), behind(as_account, invite::get_account_invite_codes)),
        query("com.atproto.server.getServiceAuth", standard().or(Scope::Takendown), service_auth::get_service_auth),
        query("com.atproto.server.getSession", standard().or(Scope::SignupQueued), behind(as_account, session::get_session)),
        query("com.atproto.server.listAppPasswords", standard(), behind(as_account, app_password::list_app_passwords)),
        procedure("com.atproto.server.refreshSession", Refresh { expired: false }, JSON, behind(entryway::refresh_session, session::refresh_session)),
        procedure("com.atproto.server.requestAccountDelete", Access::full().only(not_taken_down), JSON, limited(limit::REQUEST_ACCOUNT_DELETE, by_caller, behind(entryway::request_account_delete, email::request_account_delete))),
        procedure("com.atproto.server.requestEmailConfirmation", standard().only(not_taken_down), JSON, limited(limit::REQUEST_EMAIL_CONFIRMATION, by_caller, behind(as_account, email::request_email_confirmation))),
        procedure("com.atproto.server.requestEmailUpdate", Access::full().only(not_taken_down), JSON, limited(limit::REQUEST_EMAIL_UPDATE, by_caller, behind(as_account, email::request_email_update))),
        procedure("com.atproto.server.requestPasswordReset", Anybody, JSON, limited(limit::REQUEST_PASSWORD_RESET, by_address, behind(entryway::request_password_reset, email::request_password_reset))),
        procedure("com.atproto.server.reserveSigningKey", Anybody, JSON, account::reserve_signing_key),
        procedure("com.atproto.server.resetPassword", Anybody, JSON, limited(limit::RESET_PASSWORD, by_address, behind(as_caller, email::reset_password))),
        procedure("com.atproto.server.revokeAppPassword", standard(), JSON, behind(as_account, app_password::revoke_app_password)),
        procedure("com.atproto.server.updateEmail", Access::full().only(not_taken_down), JSON, behind(as_account, email::update_email)),

        query("com.atproto.sync.getBlob", own_reader(), sync::blob::get_blob),
        query("com.atproto.sync.getBlocks", reader(), sync::get_blocks),
        query("com.atproto.sync.getCheckout", reader(), sync::get_checkout),
        query("com.atproto.sync.getHead", reader(), sync::get_head),
        query("com.atproto.sync.getLatestCommit", reader(), sync::get_latest_commit),
        query("com.atproto.sync.getRecord", reader(), sync::get_record),
        query("com.atproto.sync.getRepo", own_reader(), limited(limit::GET_REPO, by_address, sync::get_repo)),
        query("com.atproto.sync.getRepoStatus", Anybody, sync::get_repo_status),
        query("com.atproto.sync.listBlobs", own_reader(), sync::blob::list_blobs),
        query("com.atproto.sync.listRepos", Anybody, sync::list_repos),
        subscription("com.atproto.sync.subscribeRepos", sync::subscribe_repos),

        query("com.atproto.temp.checkSignupQueue", standard().or(Scope::SignupQueued), behind(as_caller, temp::check_signup_queue)),
    ];
    // Those that differ in who may call: behind an entryway it is not asked here.
    let either = if has_entryway {
        [
            query("com.atproto.admin.getInviteCodes", Anybody, refused::<_, GetInviteCodesParams, ()>),
            procedure("com.atproto.server.deleteSession", Anybody, JSON, as_caller::<_, (), ()>),
        ]
    } else {
        [
            query("com.atproto.admin.getInviteCodes", Moderator, admin::get_invite_codes),
            procedure("com.atproto.server.deleteSession", Refresh { expired: true }, JSON, session::delete_session),
        ]
    };
    let with_view = vec![
        query("app.bsky.actor.getPreferences", AccessOrModerator(standard().or(Scope::Takendown)), bsky::get_preferences),
        query("app.bsky.actor.getProfile", standard(), read_after_write::get_profile),
        query("app.bsky.actor.getProfiles", standard(), read_after_write::get_profiles),
        procedure("app.bsky.actor.putPreferences", standard().only(not_taken_down), JSON, bsky::put_preferences),
        query("app.bsky.feed.getActorLikes", standard(), read_after_write::get_actor_likes),
        query("app.bsky.feed.getAuthorFeed", standard(), read_after_write::get_author_feed),
        query("app.bsky.feed.getFeed", standard(), bsky::get_feed),
        query("app.bsky.feed.getPostThread", standard(), read_after_write::get_post_thread),
        query("app.bsky.feed.getTimeline", standard(), read_after_write::get_timeline),
        procedure("app.bsky.notification.registerPush", standard().or(Scope::SignupQueued), JSON, bsky::register_push),
        procedure("app.bsky.notification.unregisterPush", standard(), JSON, bsky::unregister_push),
    ];
    routes.into_iter().chain(either).chain(with_view.into_iter().filter(|_| has_view)).collect()
}

/// Everything below `/xrpc/`.
pub(crate) fn router(app: App) -> Router<App> {
    let routes =
        Routes::new(table(&app.config().limits, app.config().services.app_view.is_some(), app.entryway().is_some()));
    let calls = any(call::answer).with_state((app, Arc::new(routes)));
    Router::new().route("/xrpc/", calls.clone()).route("/xrpc/{*method}", calls)
}

/// A time as an answer holds it, out of a database, where it is text.
fn stored_time(text: &str) -> Result<Datetime, XrpcError> {
    Datetime::parse(text).map_err(XrpcError::internal)
}

#[cfg(test)]
mod tests;
