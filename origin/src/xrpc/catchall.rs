//! Calls of methods that are not answered here.

use axum::extract::Request;
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};

use super::proxy;
use crate::app::App;
use crate::error::XrpcError;

/// Methods that nobody may call in an account's name elsewhere: what they do is this server's, or its owner's, alone.
const PROTECTED: [&str; 16] = [
    "com.atproto.admin.sendEmail",
    "com.atproto.identity.requestPlcOperationSignature",
    "com.atproto.identity.signPlcOperation",
    "com.atproto.identity.updateHandle",
    "com.atproto.server.activateAccount",
    "com.atproto.server.confirmEmail",
    "com.atproto.server.createAppPassword",
    "com.atproto.server.deactivateAccount",
    "com.atproto.server.getAccountInviteCodes",
    "com.atproto.server.getSession",
    "com.atproto.server.listAppPasswords",
    "com.atproto.server.requestAccountDelete",
    "com.atproto.server.requestEmailConfirmation",
    "com.atproto.server.requestEmailUpdate",
    "com.atproto.server.revokeAppPassword",
    "com.atproto.server.updateEmail",
];

/// Methods that an app password reaches only if it is privileged.
const PRIVILEGED: [&str; 15] = [
    "chat.bsky.actor.deleteAccount",
    "chat.bsky.actor.exportAccountData",
    "chat.bsky.convo.deleteMessageForSelf",
    "chat.bsky.convo.getConvo",
    "chat.bsky.convo.getConvoForMembers",
    "chat.bsky.convo.getLog",
    "chat.bsky.convo.getMessages",
    "chat.bsky.convo.leaveConvo",
    "chat.bsky.convo.listConvos",
    "chat.bsky.convo.muteConvo",
    "chat.bsky.convo.sendMessage",
    "chat.bsky.convo.sendMessageBatch",
    "chat.bsky.convo.unmuteConvo",
    "chat.bsky.convo.updateRead",
    "com.atproto.server.createAccount",
];

/// Whether nobody may call `name`, in any case, in an account's name elsewhere.
pub(super) fn is_protected(name: &str) -> bool {
    PROTECTED.iter().any(|protected| protected.eq_ignore_ascii_case(name))
}

/// Whether an app password must be privileged to have `name`, in any case, called elsewhere.
pub(super) fn is_privileged(name: &str) -> bool {
    PRIVILEGED.iter().any(|privileged| privileged.eq_ignore_ascii_case(name))
}

/// The answer to a call of `name`, which no route took: another service's, if one takes it.
pub(super) async fn answer(app: &App, name: &str, request: Request) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::POST) {
        return proxy::pass(app, name, request).await;
    }
    XrpcError::invalid_request("XRPC requests only supports GET and POST").into_response()
}
