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
//!
//! # Figures
//!
//! `cargo bench -p shared` on one core of a quiet virtual machine (AMD EPYC); what stands in one row was measured in turn,
//! so the ratios hold where the times do not.
//!
//! | what | time or rate | beside |
//! |---|---|---|
//! | decode records of 250 bytes | 606 MB/s | 2.2 times `serde_ipld_dagcbor`, 3.2 times `ciborium` |
//! | decode tree nodes | 332 MB/s | 2.6 times, 3.9 times |
//! | encode records | 2,602 MB/s | 7.9 times, 2.9 times |
//! | encode tree nodes | 1,194 MB/s | 6.5 times, 2.5 times |
//! | JSON to a value, by the rules for new records | 315 MB/s | 0.65 times `serde_json` to its own value |
//! | insert one key into a tree of 100 keys | 9 us | 4.9 nodes loaded |
//! | … of 10,000 keys | 18 us | 5.9 nodes loaded |
//! | … of 1,000,000 keys | 34 us | 9.9 nodes loaded, 1.85 times the tree of 10,000 |
//! | … of 1,000,000 keys, with its covering proof | 39 us | 10.2 nodes for the event, 6.0 kB |
//! | build a tree of 100,000 keys, ascending / in no order | 0.15 s / 0.37 s | |
//! | read a CAR file of 590 kB, every block checked | 406 us | SHA-256 of the same bytes alone: 328 us; 1.24 times |
//! | write a CAR file | 31 GB/s | |
//! | sign, k256 / p256 | 29,700 / 12,000 a second | |
//! | verify, k256 / p256 | 16,400 / 3,700 a second | |
//! | [`repo::Repo::apply`], one create among 10,000 records | 51 us | the signature alone: 34 us |
//! | an event verified and undone by a consumer | 88 us | |
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
