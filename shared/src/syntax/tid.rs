//! Timestamp identifiers: revisions, and the usual record keys.
//!
//! A TID is 64 bits in 13 characters of a base32 whose alphabet sorts as its values do: microseconds since 1970 (the top
//! bit is zero), then a ten-bit clock identifier. So TIDs order as text as they do as numbers. What is made here never
//! has the top bit set; what is read may, since the syntax lets it.
//!
//! Implements <https://atproto.com/specs/tid>.

use super::{Kind, Rule, SyntaxError};

const LEN: usize = 13;
const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
const CLOCK_BITS: u32 = 10;
const MICROS_MAX: u64 = (1 << 53) - 1;

/// A timestamp identifier such as `3jzfcijpj2z2a`: 13 characters, in memory too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tid([u8; LEN]);

impl Tid {
    /// Says whether `text` is valid, without making one.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn check(text: &str) -> Result<(), SyntaxError> {
        Self::parse(text).map(drop)
    }

    /// Reads 13 characters of `2-7a-z`, the first of them at most `j`.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let length = Rule::Length { len: text.len(), expected: LEN };
        let bytes: [u8; LEN] = text.as_bytes().try_into().map_err(|_| Kind::Tid.broke(length))?;
        Kind::Tid.spelled(text, |b| matches!(b, b'2'..=b'7' | b'a'..=b'z'))?;
        if bytes.first().is_some_and(|first| *first > b'j') {
            return Err(Kind::Tid.broke(Rule::Character { at: 0 }));
        }
        Ok(Self(bytes))
    }

    /// The 13 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The bytes are ASCII by construction, so the fallback is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// A TID of a time in microseconds since 1970 and a clock identifier. Times past the year 2255 become the last
    /// one that fits in 53 bits; of the clock identifier the low ten bits count.
    #[must_use]
    pub fn from_parts(micros: u64, clock_id: u16) -> Self {
        let clock = u64::from(clock_id) & ((1 << CLOCK_BITS) - 1);
        Self::from_bits(micros.min(MICROS_MAX) << CLOCK_BITS | clock)
    }

    /// The next TID of one clock: of `now_micros`, or if the clock has not moved past `prev`, one microsecond after
    /// `prev`. Always greater than `prev`, so a repository's revisions and a writer's record keys only ascend.
    ///
    /// `None` if no time is left above `prev`: it is of the year 2255 or later, which only a foreign or damaged
    /// repository can hold.
    #[must_use]
    pub fn next_after(prev: Option<&Self>, now_micros: u64, clock_id: u16) -> Option<Self> {
        let now = Self::from_parts(now_micros, clock_id);
        match prev {
            Some(prev) if now <= *prev => {
                let micros = prev.micros() + 1;
                (micros <= MICROS_MAX).then(|| Self::from_parts(micros, clock_id))
            }
            _ => Some(now),
        }
    }

    /// Microseconds since 1970; below 2^53 unless a foreign TID has the top bit set.
    #[must_use]
    pub fn micros(&self) -> u64 {
        self.bits() >> CLOCK_BITS
    }

    /// The clock identifier, 0 to 1023.
    #[must_use]
    pub fn clock_id(&self) -> u16 {
        u16::try_from(self.bits() & ((1 << CLOCK_BITS) - 1)).unwrap_or_default()
    }

    fn bits(&self) -> u64 {
        let digit = |b: u8| u64::from(if b.is_ascii_digit() { b - b'2' } else { b - b'a' + 6 });
        self.0.iter().fold(0, |bits, b| bits << 5 | digit(*b))
    }

    fn from_bits(bits: u64) -> Self {
        let mut rest = bits;
        let mut text = [b'2'; LEN];
        for slot in text.iter_mut().rev() {
            let digit = usize::try_from(rest & 31).unwrap_or_default();
            *slot = ALPHABET.get(digit).copied().unwrap_or(b'2');
            rest >>= 5;
        }
        Self(text)
    }
}

identifier!(Tid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_text_agree() {
        let tid = Tid::parse("3jzfcijpj2z2a").unwrap();
        assert_eq!((tid.micros(), tid.clock_id()), (1_688_137_381_887_007, 6));
        assert_eq!(Tid::from_parts(tid.micros(), tid.clock_id()), tid);
        assert_eq!(Tid::from_parts(0, 0).as_str(), "2222222222222");
        assert_eq!(Tid::parse("jzzzzzzzzzzzz").unwrap().bits(), u64::MAX);
    }

    #[test]
    fn the_greatest_tid_made_here_starts_with_b() {
        assert_eq!(Tid::from_parts(u64::MAX, u16::MAX).as_str(), "bzzzzzzzzzzzz");
    }

    #[test]
    fn ten_thousand_ascend_whatever_the_clock_does() {
        let mut clock = 1_700_000_000_000_000_u64;
        let mut prev: Option<Tid> = None;
        for step in 0..10_000_u64 {
            // Stands still, leaps ahead and falls back by an hour in turn.
            clock = match step % 7 {
                0 => clock + 3_600_000_000,
                3 => clock - 3_600_000_000,
                _ => clock,
            };
            let clock_id = if step % 2 == 0 { 7 } else { 1023 };
            let next = Tid::next_after(prev.as_ref(), clock, clock_id).unwrap();
            assert!(prev.is_none_or(|prev| prev < next && prev.as_str() < next.as_str()));
            assert_eq!(next.clock_id(), clock_id);
            prev = Some(next);
        }
    }

    #[test]
    fn a_clock_that_moves_is_followed_exactly() {
        let prev = Tid::from_parts(1000, 5);
        assert_eq!(Tid::next_after(Some(&prev), 1001, 5), Some(Tid::from_parts(1001, 5)));
        assert_eq!(Tid::next_after(Some(&prev), 1000, 6), Some(Tid::from_parts(1000, 6)));
        assert_eq!(Tid::next_after(Some(&prev), 1000, 5), Some(Tid::from_parts(1001, 5)));
        assert_eq!(Tid::next_after(Some(&prev), 0, 0), Some(Tid::from_parts(1001, 0)));
    }

    #[test]
    fn nothing_follows_the_last_moment() {
        for last in ["bzzzzzzzzzzzz", "bzzzzzzzzzz22", "c222222222222", "jzzzzzzzzzzzz"] {
            let last = Tid::parse(last).unwrap();
            assert_eq!(Tid::next_after(Some(&last), 1_700_000_000_000_000, 0), None, "{last}");
        }
    }
}
