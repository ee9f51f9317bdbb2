//! The edge: a Cloudflare Worker on the public hostname, in front of the origin.
//!
//! It decides where a request is answered, never what the answer is: delete it and every request still works at the
//! origin. Public reads of accounts are answered by replicas near the reader, which hold what the origin holds and give
//! its bytes; blobs by a bucket, if their account's replica says that they are public; all else by the origin.
//!
//! A panic in a Worker ends every request that is under way in its isolate, so what can panic is refused by lint.
//!
//! # Layout
//!
//! All but the shell is pure, compiled and tested natively.
//!
//! - [`settings`]: what the edge is configured with. [`gateway`]: what is done with a request; [`read`]: what it asks of a
//!   replica; [`placement`]: which region is near; [`limit`]: how often a client may ask.
//! - [`replica`]: one account in one region. [`host`]: what concerns a whole region; [`fresh`]: how old all of it may be.
//!   [`sql`]: the database under both. [`inner`]: what gateway and objects say to each other.
//! - [`answer`], [`blob`], [`error`]: what goes out. [`counters`]: what is counted.
//! - `shell` (wasm only): the platform's events, objects, bucket, and the way to the origin.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed"))]

pub mod answer;
pub mod blob;
pub mod counters;
pub mod error;
pub mod fresh;
pub mod gateway;
pub mod host;
pub mod inner;
pub mod limit;
pub mod placement;
pub mod read;
pub mod replica;
pub mod settings;
#[cfg(target_arch = "wasm32")]
mod shell;
pub mod sql;
