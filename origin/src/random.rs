//! Randomness out of the system, in the forms that secrets here have.

use data_encoding::BASE32_NOPAD;

/// Unpredictable bytes, fit for secrets.
///
/// # Panics
/// When the system has none to give, which on Linux is before its generator is seeded and never after. Nothing secret can
/// be made then.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// A clock identifier for TIDs: one of the 32 that the reference draws from.
#[must_use]
pub fn clock_id() -> u16 {
    u16::from(bytes::<1>()[0] % 32)
}

/// `groups` groups of `size` letters of base32 in lower case (`a-z2-7`), joined by dashes. A letter is 5 bits, and there
/// can be 51 of them.
#[must_use]
pub fn grouped(groups: usize, size: usize) -> String {
    let letters = BASE32_NOPAD.encode(&bytes::<32>()).to_ascii_lowercase();
    let mut grouped = String::with_capacity(groups * (size + 1));
    for (nth, letter) in letters.chars().take(groups * size).enumerate() {
        if nth > 0 && nth % size == 0 {
            grouped.push('-');
        }
        grouped.push(letter);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_of_the_asked_size_and_never_the_same() {
        let one = grouped(4, 4);
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [4, 4, 4, 4]);
        assert!(one.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7' | b'-')), "{one}");
        assert_ne!(one, grouped(4, 4));
        assert_eq!(grouped(2, 5).len(), 11);
    }
}
