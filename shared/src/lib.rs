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
//! `cargo bench -p shared`, two shared cores of a virtual machine, other work beside; what stands in one row was measured
//! in turn, so the ratios hold where the times do not.
//!
//! | what | time or rate | beside |
//! |---|---|---|
//! | decode records of 250 bytes | 350 MB/s | 2.0 times `serde_ipld_dagcbor`, 2.8 times `ciborium` |
//! | decode tree nodes | 197 MB/s | 2.3 times, 3.6 times |
//! | encode records | 1,542 MB/s | 11 times, 2.8 times |
//! | encode tree nodes | 653 MB/s | 7.5 times, 2.3 times |
//! | JSON to a value, by the rules for new records | 203 MB/s | 0.65 times `serde_json` to its own value |
//! | insert one key into a tree of 100 keys | 10 us | 4.9 nodes loaded |
//! | … of 10,000 keys | 20 us | 5.9 nodes loaded |
//! | … of 1,000,000 keys | 36 us | 9.9 nodes loaded, 1.8 times the tree of 10,000 |
//! | … of 1,000,000 keys, with its covering proof | 41 us | 10.2 nodes for the event, 6.0 kB |
//! | build a tree of 100,000 keys, ascending / in no order | 0.27 s / 0.90 s | |
//! | read a CAR file of 590 kB, every block checked | 1,386 MB/s | SHA-256 of the same bytes alone: 1,807 MB/s |
//! | write a CAR file | 31 GB/s | |
//! | sign, k256 / p256 | 20,100 / 7,800 a second | |
//! | verify, k256 / p256 | 10,800 / 2,600 a second | |
//! | [`repo::Repo::apply`], one create among 10,000 records | 54 us | the signature alone: 42 us |
//! | an event verified and undone by a consumer | 89 us | |
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
