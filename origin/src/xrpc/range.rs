//! Parts of an answer: the `Range` header of a request.
//!
//! One range of bytes is answered as such. Several at once, other units and what cannot be read are passed over, as the
//! specification allows: the answer is the whole then.
//!
//! Specification: RFC 9110, section 14, and for `If-Range` section 13.1.5.

use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};

use super::input::Input;
use crate::error::XrpcError;

/// Which part of the answer is asked for: input of a query, besides its parameters.
#[derive(Debug, Clone, Default)]
pub(super) struct RangeAsked {
    range: Option<HeaderValue>,
    if_range: Option<HeaderValue>,
}

/// What part of something there is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// These bytes, of which there are some.
    Bytes(Range<u64>),
    /// What is asked for lies behind its end.
    None,
}

impl Input for RangeAsked {
    #[cfg(test)]
    const ENCODING: Option<&'static str> = None;

    async fn read(nsid: &'static str, headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, XrpcError> {
        <()>::read(nsid, headers, body, limit).await?;
        let header = |name| headers.get(name).cloned();
        Ok(Self { range: header(header::RANGE), if_range: header(header::IF_RANGE) })
    }
}

impl RangeAsked {
    /// The part that is asked for of something of `size` bytes with the strong tag `tag`.
    pub(super) fn of(&self, size: u64, tag: &HeaderValue) -> Part {
        let unchanged = self.if_range.as_ref().is_none_or(|known| known == tag);
        let range = self.range.as_ref().filter(|_| unchanged).and_then(|range| range.to_str().ok());
        range.and_then(|range| part(range, size)).unwrap_or(Part::Whole)
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
            let asked = RangeAsked { range: Some(range.parse().unwrap()), if_range: None };
            assert_eq!(Some(asked.of(10, &"\"x\"".parse().unwrap())), expected, "{range}");
        }
        let empty = RangeAsked { range: Some("bytes=0-".parse().unwrap()), if_range: None };
        assert_eq!(empty.of(0, &"\"x\"".parse().unwrap()), Part::None);
    }

    #[test]
    fn a_part_of_something_else_is_the_whole() {
        let asked = |if_range: &str| RangeAsked {
            range: Some("bytes=0-0".parse().unwrap()),
            if_range: Some(if_range.parse().unwrap()),
        };
        let tag = "\"x\"".parse().unwrap();
        assert_eq!(asked("\"x\"").of(10, &tag), Part::Bytes(0..1));
        for other in ["\"y\"", "W/\"x\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(asked(other).of(10, &tag), Part::Whole, "{other}");
        }
    }
}
