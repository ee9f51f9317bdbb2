//! What the suite drives: real servers on ports of their own, in directories of their own, ended with the test.
//!
//! [`Pds`] is the origin, run in the test's process. Nothing is
//! faked but what is not ours. A test that fails may leave nothing behind: processes end when their handle is dropped or
//! the test process dies, directories go with their handle.
#![expect(clippy::unwrap_used, reason = "a harness that cannot start has nothing to return to")]

mod pds;

pub use pds::Pds;
