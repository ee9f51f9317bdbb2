//! The official interop vectors and a table of malformed inputs, run against [`shared`].
//!
//! [`run`] judges every case of every file that the official collection has, and says for each file how many cases there
//! were and how many there must be, so that a vector that is not read fails as loudly as one that is read wrong. The
//! same library runs natively under `cargo test` and as wasm on Node (`run.mjs`): one build of `shared` serves both.
//!
//! The vectors are those of <https://github.com/bluesky-social/atproto-interop-tests>, read from outside the project
//! (`build.rs` says where from). The malformed inputs are our own.

mod crypto;
mod data_model;
mod lexicon;
mod malformed;
mod official;
mod report;
mod syntax;
mod tree;
#[cfg(target_family = "wasm")]
mod wasm;

pub use report::{Failure, Group, Report};

/// Runs everything.
#[must_use]
pub fn run() -> Report {
    let mut groups = Vec::new();
    groups.extend(syntax::groups());
    groups.extend(crypto::groups());
    groups.extend(data_model::groups());
    groups.extend(tree::groups());
    groups.extend(lexicon::groups());
    groups.extend(malformed::groups());
    let unread = official::unread(&groups);
    groups.push(unread);
    Report { groups }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
