//! Slurs that a name must not hold: the reference's seven patterns, as far as names reach, which are ASCII.
//!
//! A name is looked at as it is and once more without its dots, dashes and underscores. The patterns are matched by hand
//! because every record's key is looked at too, on the way of each write; nearly all letters are passed over at the first
//! comparison.

/// A step of a pattern.
enum Step {
    /// From `min` to `max` of these characters.
    Some(&'static str, usize, usize),
    /// One of these sequences.
    OneOf(&'static [&'static [Step]]),
    /// A border of a word: of letters, digits and underscores.
    Border,
}

use Step::{Border, OneOf, Some as Few};

const fn one(of: &'static str) -> Step {
    Few(of, 1, 1)
}

const fn maybe(of: &'static str) -> Step {
    Few(of, 0, 1)
}

const I: &str = "iI1l";
const E: &str = "e3E";
const N: &str = "nN";
const R: &str = "rR";
const Y: &str = "yY";
const S: Step = maybe("sS");

const RY: &[Step] = &[one(R), one(Y)];
const RIE: &[Step] = &[one(R), one(I), one(E)];
const ER: &[Step] = &[one(E), one(R)];
const LET: &[Step] = &[one("l"), one(E), one("t")];
const NOTHING: &[Step] = &[];

const PATTERNS: [&[Step]; 7] = [
    &[Border, one("c"), one("hH"), one(I), one(N), one("k"), S, Border],
    &[Border, one("c"), Few("Oo0", 2, 2), one(N), S, Border],
    &[
        Border,
        one("f"),
        one("aA@4"),
        Few("gG", 1, 2),
        OneOf(&[&[one("Oo0e3EiI1l"), Few("tT", 1, 2), OneOf(&[RY, RIE, NOTHING])], NOTHING]),
        S,
        Border,
    ],
    &[Border, one("k"), one("iI1lyY"), one("k"), one(E), OneOf(&[RY, RIE, NOTHING]), Few("sS", 0, usize::MAX), Border],
    &[
        Border,
        one(N),
        one("iI1loOa4A"),
        Few("gGq", 2, 2),
        OneOf(&[LET, &[one("e3EaA"), maybe(R)], &[one("n"), one("Oo0"), one("gGq")], &[maybe("a4A")]]),
        S,
        Border,
    ],
    &[one(N), one("iI1loOa4A"), Few("gGq", 2, 2), OneOf(&[LET, ER]), S],
    &[
        Border,
        one("tT"),
        one(R),
        Few("aA4", 1, usize::MAX),
        Few(N, 1, 2),
        OneOf(&[&[one(I), one(E)], &[one(Y)], ER]),
        S,
        Border,
    ],
];

/// Whether `name`, a handle or a record key, holds a slur.
#[must_use]
pub fn has_slur(name: &str) -> bool {
    let separator = |b: &u8| matches!(b, b'.' | b'-' | b'_');
    let whole = name.as_bytes();
    if holds(whole) {
        return true;
    }
    let joined: Vec<u8> = whole.iter().copied().filter(|b| !separator(b)).collect();
    joined.len() < whole.len() && holds(&joined)
}

fn holds(text: &[u8]) -> bool {
    PATTERNS.iter().any(|pattern| (0..text.len()).any(|at| matches(pattern, text, at, &|_| true)))
}

/// Whether the pattern matches from `at`, and what comes after it from where it ends.
fn matches(pattern: &[Step], text: &[u8], at: usize, then: &dyn Fn(usize) -> bool) -> bool {
    let Some((step, rest)) = pattern.split_first() else {
        return then(at);
    };
    match step {
        Border => border(text, at) && matches(rest, text, at, then),
        OneOf(sequences) => {
            sequences.iter().any(|sequence| matches(sequence, text, at, &|end| matches(rest, text, end, then)))
        }
        Few(of, min, max) => {
            let run = text.iter().skip(at).take(*max).take_while(|b| of.as_bytes().contains(b)).count();
            (*min..=run).any(|length| matches(rest, text, at + length, then))
        }
    }
}

fn border(text: &[u8], at: usize) -> bool {
    let word =
        |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    word(at.checked_sub(1)) != word(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurs_are_found_as_words_however_they_are_spelt() {
        for name in ["k1ke.test", "my-kykes.test", "k-i-k-e", "c00n", "n1gg3rs", "sniggers", "tr4444nny", "faGG0T"] {
            assert!(has_slur(name), "{name}");
        }
    }

    #[test]
    fn words_that_hold_them_by_chance_pass_and_so_does_a_capital_that_the_patterns_lack() {
        for name in
            ["kikenya.test", "raccoon.test", "k-i-k-e.test", "transit.test", "3jzfcijpj2z2a", "self", "Coon", ""]
        {
            assert!(!has_slur(name), "{name}");
        }
    }
}
