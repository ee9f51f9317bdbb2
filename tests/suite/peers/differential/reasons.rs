//! Why answers differ: the lines of the README's table that show in a status or an error's name.

use std::collections::BTreeSet;

use super::{Answer, Row};

/// A line of the table, and whether an answer is of its kind.
type Reason = (&'static str, fn(&Row, &Answer, &Answer) -> bool);

/// Errors' names that are the reference server's libraries' own.
const LIBRARIES: [(&str, &str); 4] = [
    ("SyntaxError", "InvalidRequest"),
    ("Error", "InvalidRequest"),
    ("PayloadTooLargeError", "PayloadTooLarge"),
    ("UnsupportedMediaTypeError", "UnsupportedMediaType"),
];

const REASONS: &[Reason] = &[
    ("a body that is not JSON, too large or wrongly compressed: its libraries' own names", |_, theirs, ours| {
        theirs.status == ours.status && LIBRARIES.contains(&(theirs.error.as_str(), ours.error.as_str()))
    }),
    ("what is no route: a page in HTML", |row, theirs, ours| {
        !row.path.starts_with("/xrpc/") && theirs.status == 404 && [404, 405].contains(&ours.status)
    }),
    ("another method than GET on _health: 400", |row, theirs, ours| {
        row.path == "/xrpc/_health" && (theirs.status, ours.status) == (400, 405)
    }),
    ("tls-check: the image's own", |row, theirs, ours| {
        row.path == "/tls-check" && (theirs.status, ours.status) == (404, 400)
    }),
    ("a token that is none where a service's is taken: 500", |row, theirs, ours| {
        let service = ["server.createAccount", "repo.uploadBlob"].iter().any(|name| row.path.ends_with(name));
        service
            && theirs.status == 500
            && [400, 401].contains(&ours.status)
            && ["with a token that is none", "with three parts of nothing"].iter().any(|kind| row.name.ends_with(kind))
    }),
    ("a blob wrongly compressed: 500", |row, theirs, ours| {
        row.name.ends_with("uploadBlob, not gzip") && (theirs.status, ours.status) == (500, 400)
    }),
    ("a file that is no sound repository: 500", |row, theirs, ours| {
        row.path.ends_with("importRepo") && (theirs.status, ours.status) == (500, 400)
    }),
    ("another account's repository is imported", |row, theirs, ours| {
        row.path.ends_with("importRepo") && (theirs.status, ours.status) == (200, 400)
    }),
    ("an account that is gone: NotFound, InvalidRequest or 500, by the route", |row, theirs, ours| {
        row.name.ends_with("with the token of nobody here")
            && ["NotFound", "InvalidRequest", "InternalServerError"].contains(&theirs.error.as_str())
            && ["RepoNotFound", "AccountNotFound"].contains(&ours.error.as_str())
    }),
    ("subscribeRepos without a WebSocket: 401 where there is a view of the network", |row, theirs, ours| {
        row.path == "/xrpc/com.atproto.sync.subscribeRepos" && theirs.status == 401 && [400, 426].contains(&ours.status)
    }),
    ("a key called __proto__ is refused", |row, theirs, ours| {
        row.name.ends_with("a prototype") && (theirs.status, ours.status) == (400, 200)
    }),
    ("sessions end when a takedown is lifted, too", |row, theirs, ours| {
        row.name.ends_with("refreshSession, with a refresh token") && (theirs.status, ours.status) == (400, 200)
    }),
    ("a password reset tells whether an account exists", |row, theirs, ours| {
        row.path.ends_with("requestPasswordReset") && (theirs.status, ours.status) == (400, 200)
    }),
    ("a duplicate app password: 500", |row, theirs, ours| {
        row.path.ends_with("createAppPassword") && (theirs.status, ours.status) == (500, 400)
    }),
];

/// Which lines were needed.
#[derive(Debug, Default)]
pub(super) struct Reasons(BTreeSet<&'static str>);

impl Reasons {
    /// Whether a line of the table says why the origin's answer is another.
    pub(super) fn explain(&mut self, row: &Row, theirs: &Answer, ours: &Answer) -> bool {
        // OAuth is not served yet.
        if row.name.contains("with DPoP") {
            return true;
        }
        let reason = REASONS.iter().find(|(_, matches)| matches(row, theirs, ours));
        self.0.extend(reason.map(|(name, _)| name));
        reason.is_some()
    }

    /// No line of the table has become untrue.
    pub(super) fn were_all_needed(&self) {
        let idle: Vec<&str> = REASONS.iter().map(|(name, _)| *name).filter(|name| !self.0.contains(name)).collect();
        assert!(idle.is_empty(), "these differ no more: {idle:#?}");
    }
}
