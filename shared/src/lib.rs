//! The AT Protocol, pure: every type and rule that the origin and the edge have in common.
//!
//! Nothing here does I/O, reads a clock, draws a random number, waits or spawns: time, randomness and storage are
//! arguments. Streaming is sans-io: bytes are fed in, items come out. Every file cites the specification page that it
//! implements, except [`link`], which is Headwater's own contract between edge and origin.
//!
//! # Layout
//!
//! Dependencies point upwards only:
//!
//! - [`syntax`], [`cid`]: identifiers, parsed at the door; a value of such a type is valid.
//! - [`data`], [`cbor`]: the data model, its JSON form and its strict DAG-CBOR form.
//! - [`crypto`]: k256 and p256 keys, `did:key`, signatures.
//! - [`repo`]: the Merkle search tree, commits, CAR files; [`repo::Repo::apply`] turns writes into one diff.
//! - [`firehose`]: event frames and their verification as a consumer does it.
//! - [`identity`], [`token`]: DID documents, did:plc operations, JWTs.
//! - [`lexicon`]: schemas and the validation of records.
//! - [`xrpc`], [`api`]: the error envelope and the inputs and outputs of `com.atproto.*`.
//! - [`link`]: what edge and origin say to each other.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic))]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed"))]

pub mod api;
pub mod cbor;
pub mod cid;
pub mod crypto;
pub mod data;
pub mod firehose;
pub mod identity;
pub mod lexicon;
pub mod link;
pub mod repo;
pub mod syntax;
pub mod token;
pub mod xrpc;
