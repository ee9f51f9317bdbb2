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
//! One complete run. The server under measurement had the allocator settings of the image (`origin/Dockerfile`); a bare
//! binary keeps more after log-ins, or spends a third more on each. The goal is ten times on each row, and three
//! milliseconds beside scrypt; listRecords, getSession, createSession and the backfill miss it here, where the reference
//! took a quarter to a half less than it did on other machines.
//!
//! | operation | Headwater | reference | times |
//! |---|---|---|---|
//! | createRecord at 100 records | 462 | 5,343 | 11.6 |
//! | createRecord at 50,000 records | 565 | 5,991 | 10.6 |
//! | createRecord at 100,000 records | 588 | 5,897 | 10.0 |
//! | applyWrites of 200 | 12,208 | 193,816 | 15.9 |
//! | getRecord | 42 | 1,009 | 23.8 |
//! | listRecords of 100 | 279 | 2,455 | 8.8 |
//! | describeRepo | 65 | 1,370 | 21.0 |
//! | sync.getRecord | 87 | 2,034 | 23.3 |
//! | getRepo of 10,000 records | 25,056 | 147,465 | 5.9 |
//! | getSession | 45 | 346 | 7.6 |
//! | createSession, of which scrypt 23,997 | 28,764 | 38,941 | 1.4 |
//! | uploadBlob of 1 MiB | 1,831 | 10,260 | 5.6 |
//! | getBlob of 1 MiB | 424 | 5,182 | 12.2 |
//! | firehose, a delivery at 100 consumers | 1.8 | 43.2 | 23.7 |
//! | firehose, an event of a backfill | 5.0 | 48.4 | 9.6 |
//! | start to first answer, ms | 11.1 | 1,520 | 137 |
//! | resident when idle, MiB | 19.6 | 289.7 | 14.8 |
//! | resident after all rows, MiB | 48.3 | 777.7 | 16.1 |
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
