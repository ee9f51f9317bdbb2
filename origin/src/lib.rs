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
//! - [`commands`]: what operators ask for, of a running server or without one.
//! - `http`: every path, and what every request goes through; `xrpc`: the methods, by a route table. [`auth`]: who calls.
//! - `client_address`: where a request comes from. `rate_limit`: how often it may. `scratch`: Redis, for what servers
//!   share and may lose.
//! - [`error`]: the one form in which a failed request is answered.
//! - [`app`]: what a running server holds, the data directory's lock among it. [`streams`]: connections without an end.
//! - [`lifecycle`]: what happens to an account as a whole, in all the modules below.
//! - [`account`]: who has an account: logins, sessions, handles, invites.
//! - [`actor`]: each account's own store, and the one way in which a repository changes.
//! - [`sequencer`]: the one order in which everything is told to the world. [`announce`]: what happened to accounts, on
//!   its way there.
//! - [`blobstore`]: the bytes of blobs.
//! - [`feed`]: what the edge in front of the server is told and asks.
//! - [`identity`]: DIDs and handles, resolved and cached; the did:plc directory. [`fetch`]: asking other servers within
//!   bounds; [`pipethrough`]: passing their answers on. [`entryway`]: the server in front that keeps log-ins, if there is
//!   one. [`crawlers`]: telling relays that there is news.
//! - [`rotation`]: the key that signs did:plc operations; `aws`: signatures of requests to AWS.
//! - [`mail`]: what is written to the owners of accounts, and how it gets out.
//! - `coding`: compressed bodies. `files`: names in directories that stay. `fault`: where tests let the process die.
//! - [`db`]: SQLite, opened and run off the async threads.
//! - [`config`], [`time`], [`random`]: the environment, read once, the clock, and the system's randomness.
//!
//! # Figures
//!
//! `cargo xtask bench`: CPU of the server's process an operation, in microseconds, medians of three rounds in turn on two
//! cores of a virtual machine that others were busy on, so that the ratios hold better than the times. The reference is
//! `@atproto/pds` 0.5.35 on a copy of the same directory; its answers were compared first.
//!
//! One complete run. The goal is ten times on each row, four on those that hash, sync and copy a MiB or a repository, and
//! three milliseconds beside scrypt, which takes both servers the same: all are met.
//!
//! | operation | Headwater | reference | times |
//! |---|---|---|---|
//! | createRecord at 100 records | 361 | 4,480 | 12.4 |
//! | createRecord at 50,000 records | 425 | 4,651 | 11.0 |
//! | createRecord at 100,000 records | 469 | 4,779 | 10.2 |
//! | applyWrites of 200 | 8,911 | 164,950 | 18.5 |
//! | getRecord | 25 | 785 | 31.4 |
//! | listRecords of 100 | 116 | 1,901 | 16.5 |
//! | describeRepo | 31 | 1,038 | 33.8 |
//! | sync.getRecord | 60 | 2,045 | 34.3 |
//! | getRepo of 10,000 records | 18,305 | 115,287 | 6.3 |
//! | getSession | 20 | 219 | 10.9 |
//! | createSession, of which scrypt 23,958 | 24,391 | 24,183 | 1.0 |
//! | uploadBlob of 1 MiB | 1,507 | 9,017 | 6.0 |
//! | getBlob of 1 MiB | 242 | 4,584 | 19.0 |
//! | firehose, a delivery at 100 consumers | 1.2 | 36.3 | 30.9 |
//! | firehose, an event of a backfill | 3.9 | 39.4 | 10.1 |
//! | start to first answer, ms | 10.2 | 1,193 | 117 |
//! | resident when idle, MiB | 26.4 | 289.0 | 10.9 |
//! | resident after all rows, MiB | 79.5 | 737.2 | 9.3 |
//! | resident at most, MiB | 96.8 | 817.0 | 8.4 |
//!
//! The writers of createRecord are four at one account, whose commits share transactions ([`actor`]).
//!
//! Where the time of a createRecord went before commits that wait together shared a transaction, by `perf record -g` of
//! the server on that row, built with frame pointers:
//!
//! | what | share |
//! |---|---|
//! | two syncs of data, one of the account's store and one of the sequence | 17 % |
//! | some twenty pages into the two write-ahead logs: checksums, and two system calls each | 17 % |
//! | SQLite's statements: blocks, records, their indexes, the event, the sequence | 16 % |
//! | HTTP: sockets, hyper, JSON, validation, token, the line in the log | 13 % |
//! | the signature | 5 % |
//! | the tree, and the event's encoding | 4 % |
//! | looking up the account, twice | 4 % |
//! | moving logs into databases | 1 % |
//! | between threads: waking, waiting, scheduling | 22 % |
//!
//! What grows with the repository is the number of pages that a commit changes: CIDs stand in no order, and so every new
//! or dropped node is another page of the index of blocks.
#![forbid(unsafe_code)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed"))]

pub mod account;
pub mod actor;
pub mod announce;
pub mod app;
pub mod auth;
mod aws;
pub mod blobstore;
mod client_address;
mod coding;
pub mod commands;
pub mod config;
pub mod crawlers;
pub mod db;
pub mod entryway;
pub mod error;
mod fault;
pub mod feed;
pub mod fetch;
mod files;
mod http;
pub mod identity;
pub mod lifecycle;
pub mod mail;
pub mod pipethrough;
pub mod random;
mod rate_limit;
pub mod rotation;
mod scratch;
pub mod sequencer;
mod serve;
pub mod streams;
pub mod time;
mod xrpc;

pub use http::router;
pub use serve::{DRAIN_LIMIT, serve};
