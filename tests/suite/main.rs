//! The suite: the real origin and the real Worker, over HTTP. Every test's name is a sentence that it proves.
#![expect(clippy::unwrap_used, reason = "tests")]

mod account;
mod blob;
mod edge;
mod firehose;
mod health;
mod identity;
mod import;
mod plc;
mod record;
mod sync;
