//! The edge: a Cloudflare Worker on the public hostname, in front of the origin.
//!
//! It decides where a request is answered, never what the answer is: delete it and every request still works at the
//! origin. Today every request is answered by the origin, but for the paths that only the two halves may use.
//!
//! A panic in a Worker ends every request that is under way in its isolate, so what can panic is refused by lint.
//!
//! # Layout
//!
//! - [`gateway`]: what is done with a request. Pure, compiled and tested natively.
//! - [`error`]: the answers the edge gives by itself. Pure too.
//! - `shell`, `origin` (wasm only): the platform's event and the way to the origin.
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
pub mod counters;
pub mod error;
pub mod fresh;
pub mod gateway;
pub mod host;
#[cfg(target_arch = "wasm32")]
mod origin;
pub mod placement;
pub mod read;
pub mod replica;
#[cfg(target_arch = "wasm32")]
mod shell;
pub mod sql;
