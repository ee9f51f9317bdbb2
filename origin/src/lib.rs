//! The origin: the AT Protocol personal data server that holds every account and takes every write.
//!
//! One process on one machine with one volume. It is a complete server by itself; `edge` in front of it is optional.
//! The protocol is `shared`'s; this crate adds what a server needs around it.
//!
//! # Layout
//!
//! Dependencies point downwards only:
//!
//! - [`serve()`], [`router`]: HTTP. The listener and the moment to stop are given to [`serve()`], so that a test runs the
//!   real server on a port of its own.
//! - `http`: every path, and what every request goes through; `xrpc`: the methods, by a route table. [`auth`]: who calls.
//! - [`error`]: the one form in which a failed request is answered.
//! - [`app`]: what a running server holds, the data directory's lock among it. [`streams`]: connections without an end.
//! - [`lifecycle`]: what happens to an account as a whole, in all the modules below.
//! - [`account`]: who has an account: logins, sessions, handles, invites.
//! - [`actor`]: each account's own store, and the one way in which a repository changes.
//! - [`sequencer`]: the one order in which everything is told to the world. [`announce`]: what happened to accounts, on
//!   its way there.
//! - [`blobstore`]: the bytes of blobs.
//! - [`identity`]: DIDs and handles, resolved and cached; the did:plc directory. [`fetch`]: asking other servers within
//!   bounds; [`pipethrough`]: passing their answers on. [`crawlers`]: telling relays that there is news.
//! - [`mail`]: what is written to the owners of accounts, and how it gets out.
//! - [`db`]: SQLite, opened and run off the async threads.
//! - [`config`], [`time`], [`random`]: the environment, read once, the clock, and the system's randomness.
#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed"))]

pub mod account;
pub mod actor;
pub mod announce;
pub mod app;
pub mod auth;
pub mod blobstore;
pub mod config;
pub mod crawlers;
pub mod db;
pub mod error;
pub mod fetch;
mod http;
pub mod identity;
pub mod lifecycle;
pub mod mail;
pub mod pipethrough;
pub mod random;
pub mod sequencer;
mod serve;
pub mod streams;
pub mod time;
mod xrpc;

pub use http::router;
pub use serve::{DRAIN_LIMIT, serve};
