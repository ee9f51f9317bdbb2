//! The door for Node: one exported function, and memory to read its answer from.

/// Runs everything and returns where the report is: its address in the upper 32 bits, its length in bytes in the lower
/// ones. The text is UTF-8 and stays.
#[expect(unsafe_code, reason = "an export keeps its name, which must then be the only one; no other item is exported")]
#[expect(unreachable_pub, reason = "reached from outside the module, by the name in its export table")]
#[unsafe(no_mangle)]
pub extern "C" fn report() -> u64 {
    let text: &'static str = crate::run().to_string().leak();
    (text.as_ptr() as u64) << 32 | text.len() as u64
}
