//! Conditional answers and parts of answers: `ETag` with `If-None-Match`, `Range` with `If-Range`.
//!
//! One range of bytes is answered as such. Several at once, other units and what cannot be read are passed over, as the
//! specification allows: the answer is the whole then.
//!
//! Specification: RFC 9110, sections 8.8.3, 13.1.2, 13.1.5 and 14.

use std::ops::Range;

use data_encoding::BASE64URL_NOPAD;
use twox_hash::XxHash3_128;

/// The strong tag, with its quotes, of an answer that has no better name than its bytes. Right whatever the answer was
/// made of.
///
/// XXH3, of 128 bits, which costs a tenth of SHA-256. It does not withstand who looks for two answers with one tag: that is
/// an account's owner at most, who would have readers of its own records keep an old answer.
#[must_use]
pub fn tag_of(body: &[u8]) -> String {
    format!("\"{}\"", BASE64URL_NOPAD.encode(&XxHash3_128::oneshot(body).to_be_bytes()))
}

/// Whether a list of tags, the value of `If-None-Match`, names `tag` by the weak comparison.
#[must_use]
pub fn is_known(list: &str, tag: &str) -> bool {
    fn opaque(tag: &str) -> &str {
        tag.strip_prefix("W/").unwrap_or(tag)
    }
    list.split(',').map(str::trim).any(|known| known == "*" || opaque(known) == opaque(tag))
}

/// What part of something there is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// These bytes, of which there are some.
    Bytes(Range<u64>),
    /// What is asked for lies behind its end.
    None,
}

impl Part {
    /// The part that the headers `Range` and `If-Range` ask for, of something of `size` bytes with the strong tag `tag`.
    #[must_use]
    pub fn asked(range: Option<&str>, if_range: Option<&str>, size: u64, tag: &str) -> Self {
        let unchanged = if_range.is_none_or(|known| known == tag);
        range.filter(|_| unchanged).and_then(|range| part(range, size)).unwrap_or(Self::Whole)
    }
}

/// `None` for what is passed over.
fn part(range: &str, size: u64) -> Option<Part> {
    let (unit, range) = range.split_once('=')?;
    let (first, last) = range.split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        // The last so many bytes.
        let length = number(last)?.min(size);
        return Some(if length == 0 { Part::None } else { Part::Bytes(size - length..size) });
    }
    let first = number(first)?;
    let end = if last.is_empty() { size } else { number(last)?.saturating_add(1) };
    if end <= first && !last.is_empty() {
        return None;
    }
    Some(if first >= size { Part::None } else { Part::Bytes(first..end.min(size)) })
}

/// A number; what is too large is as good as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_cut_to_what_there_is_and_anything_else_is_the_whole() {
        let whole = Some(Part::Whole);
        let bytes = |range| Some(Part::Bytes(range));
        for (range, expected) in [
            ("bytes=0-0", bytes(0..1)),
            ("bytes=2-5", bytes(2..6)),
            ("Bytes = 2 - 5 ", bytes(2..6)),
            ("bytes=2-", bytes(2..10)),
            ("bytes=0-9", bytes(0..10)),
            ("bytes=5-10", bytes(5..10)),
            ("bytes=5-99999999999999999999999", bytes(5..10)),
            ("bytes=-3", bytes(7..10)),
            ("bytes=-30", bytes(0..10)),
            ("bytes=-0", Some(Part::None)),
            ("bytes=10-", Some(Part::None)),
            ("bytes=10-12", Some(Part::None)),
            ("bytes=99999999999999999999999-", Some(Part::None)),
            ("bytes=5-4", whole.clone()),
            ("bytes=0-1,3-4", whole.clone()),
            ("bytes=-", whole.clone()),
            ("bytes=a-b", whole.clone()),
            ("bytes=+1-2", whole.clone()),
            ("bytes", whole.clone()),
            ("items=0-1", whole.clone()),
            ("", whole.clone()),
        ] {
            assert_eq!(Some(Part::asked(Some(range), None, 10, "\"x\"")), expected, "{range}");
        }
        assert_eq!(Part::asked(Some("bytes=0-"), None, 0, "\"x\""), Part::None);
    }

    #[test]
    fn a_part_of_something_else_is_the_whole() {
        let tag = "\"x\"";
        let asked = |if_range| Part::asked(Some("bytes=0-0"), Some(if_range), 10, tag);
        assert_eq!(asked("\"x\""), Part::Bytes(0..1));
        for other in ["\"y\"", "W/\"x\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(asked(other), Part::Whole, "{other}");
        }
    }

    #[test]
    fn tags_are_of_the_bytes_and_compared_weakly() {
        let tag = tag_of(b"body");
        assert_ne!(tag_of(b"other"), tag);
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            assert!(is_known(&known, &tag), "{known}");
        }
        assert!(!is_known("\"x\"", &tag));
    }
}
