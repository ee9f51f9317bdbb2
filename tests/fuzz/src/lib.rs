//! What the fuzz targets share: a bound on the memory that a decoder may take.
//!
//! Each target feeds bytes to one decoder of `shared` and asserts what must hold whatever they are: no panic, memory
//! within a constant times the input, and for what is accepted, the way back to the same bytes. They run under
//! `cargo fuzz run -s none --fuzz-dir tests/fuzz TARGET tests/fuzz/corpus/TARGET tests/fuzz/seeds/TARGET` on the stable
//! toolchain. The example `seeds` makes the seeds.

/// Bytes of memory that a byte of input may cost: a one-byte item of CBOR becomes a value of 40 bytes, and a list that grows
/// holds its old place too while it moves.
const FACTOR: usize = 128;
/// Bytes of memory that any input may cost.
const CONSTANT: usize = 64 * 1024;

/// What `run` returns, having taken memory within the bound for an input of `len` bytes.
///
/// # Panics
/// When it took more at any one time.
pub fn bounded<T>(len: usize, run: impl FnOnce() -> T) -> T {
    bounded_by(FACTOR * len + CONSTANT, run)
}

/// [`bounded`] with a bound of its own, in bytes.
///
/// # Panics
/// When it took more at any one time.
pub fn bounded_by<T>(bound: usize, run: impl FnOnce() -> T) -> T {
    let mut out = None;
    let taken = allocation_counter::measure(|| out = Some(run())).bytes_max;
    assert!(taken <= bound as u64, "took {taken} bytes of memory, bound {bound}");
    out.expect("it ran")
}
