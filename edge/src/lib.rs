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
//!
//! # Figures
//!
//! `cargo xtask bench --edge`: one workerd and the origin on two cores of a virtual machine that others were busy on, so
//! that nothing here says how long a network takes. One run.
//!
//! | what | |
//! |---|---|
//! | workerd's CPU of a `getRecord` from a replica, gateway included, over 10,000 | 470 us |
//! | workerd's CPU of a commit that a replica applies, checked and made on its own tree | 2,439 us |
//! | requests a second, 16 clients on the same cores: of one replica | 2,532 |
//! | the same: of a blob of 100 kB | 1,170 |
//! | the same: of what is passed on | 2,657 |
//! | a write at the origin, median of 200: without replicas | 0.9 ms |
//! | the same: with three replicas, which it waits for | 6.4 ms |
//! | 2,400 reads of 1,000 accounts by a Zipf law, 20 a second over three regions, a write a second: hits | 1,549 |
//! | the same: first reads of an account in a region, passed on while its replica is filled | 851 |
//! | the same: of reads of what was filled, those that did not wait for the origin | 100 in 100 |
//! | workerd from its start, with miniflare, to the first answer | 544 ms |
//! | workerd resident when idle, and the wasm's memory in it | 74 MiB, 1 MiB |
//! | a replica of 100,000 records filled: time, and workerd's CPU | 7.6 s, 6.2 s |
//! | workerd resident with it and 854 others, and the wasm's memory in it | 657 MiB, 2 MiB |
//! | the same after 8 exports of it at once, 11.8 s and 12.7 s of workerd's CPU | 726 MiB, 2 MiB |
//! | the Worker | 1.75 MB, 0.63 MB compressed |
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
