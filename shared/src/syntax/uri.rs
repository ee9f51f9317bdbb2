//! The `uri` and `cid` string formats of lexicons: checks of form, lenient by design.
//!
//! A [`Uri`] is of any scheme and is not taken apart. A CID string may be in any multibase; whoever needs the CID itself
//! parses it with [`crate::cid`].
//!
//! Implements the `uri` and `cid` formats of <https://atproto.com/specs/lexicon>.

use super::{Kind, Rule, SyntaxError};
use crate::cid::Cid;

const LEN_MAX: usize = 8192;

identifier! {
    /// A URI of any scheme, such as `https://example.com/a?b#c`; at most 8192 bytes. Text beyond ASCII is tolerated,
    /// white space and control characters are not.
    Uri, check: check, store: Box::from
}

fn check(text: &str) -> Result<(), SyntaxError> {
    Kind::Uri.sized(text, LEN_MAX)?;
    let broke = |at| Err(Kind::Uri.broke(Rule::Character { at }));
    let in_scheme = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let colon = text.bytes().take_while(in_scheme).count();
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return broke(0);
    }
    match text.get(colon..).and_then(|rest| rest.strip_prefix(':')) {
        None | Some("") => broke(text.len().min(colon + 1)),
        Some(rest) => match rest.find(|c: char| c.is_whitespace() || c.is_control()) {
            Some(at) => broke(colon + 1 + at),
            None => Ok(()),
        },
    }
}

const CID_LEN_MIN: usize = 8;
const CID_LEN_MAX: usize = 256;

/// Whether `text` is spelled as a CID: a multibase letter, then 7 to 255 characters of that base's alphabet.
///
/// Of any codec and hash. The base32 form, which nearly all are in, must also decode to a CIDv1; the other forms are
/// judged by their spelling alone, as the official vectors hold valid ones that decode to nothing. The older form without
/// a multibase letter (`Qm…`) is refused.
#[must_use]
pub fn is_cid_string(text: &str) -> bool {
    let Some((base, digits)) = text.split_at_checked(1) else { return false };
    let alphabet: fn(u8) -> bool = match base {
        "0" => |b| matches!(b, b'0' | b'1'),
        "7" => |b| matches!(b, b'0'..=b'7'),
        "9" => |b| b.is_ascii_digit(),
        "f" => |b| matches!(b, b'0'..=b'9' | b'a'..=b'f'),
        "F" => |b| matches!(b, b'0'..=b'9' | b'A'..=b'F'),
        "b" => return Cid::parse(text).is_ok(),
        "B" => |b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'),
        "c" => |b| matches!(b, b'a'..=b'z' | b'2'..=b'7' | b'='),
        "C" => |b| matches!(b, b'A'..=b'Z' | b'2'..=b'7' | b'='),
        "v" => |b| matches!(b, b'0'..=b'9' | b'a'..=b'v'),
        "V" => |b| matches!(b, b'0'..=b'9' | b'A'..=b'V'),
        "t" => |b| matches!(b, b'0'..=b'9' | b'a'..=b'v' | b'='),
        "T" => |b| matches!(b, b'0'..=b'9' | b'A'..=b'V' | b'='),
        "h" => |b| matches!(b, b'a'..=b'k' | b'm'..=b'u' | b'w'..=b'z' | b'1' | b'3'..=b'9'),
        "k" => |b| matches!(b, b'0'..=b'9' | b'a'..=b'z'),
        "K" => |b| matches!(b, b'0'..=b'9' | b'A'..=b'Z'),
        "z" | "Z" => |b| b.is_ascii_alphanumeric() && !matches!(b, b'0' | b'O' | b'I' | b'l'),
        "m" => |b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'),
        "M" => |b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='),
        "u" => |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'),
        "U" => |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'='),
        _ => return false,
    };
    (CID_LEN_MIN..=CID_LEN_MAX).contains(&text.len()) && digits.bytes().all(alphabet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_a_scheme_and_something_after_it() {
        for good in ["a:b", "a+b-c.d:e", "http://\u{e9}", "file:///x", "HTTP://x"] {
            assert!(Uri::check(good).is_ok(), "{good}");
        }
        for (bad, at) in [("http:", 5), ("1a:b", 0), ("a", 1), ("a_b:c", 2), ("a:b\u{a0}", 3), ("a:\u{7f}", 2)] {
            assert_eq!(Uri::parse(bad).unwrap_err().rule, Rule::Character { at }, "{bad}");
        }
        assert_eq!(
            Uri::parse(&format!("a:{}", "b".repeat(8191))).unwrap_err().to_string(),
            "uri is 8193 bytes, limit 8192"
        );
    }

    #[test]
    fn a_cid_string_keeps_to_the_alphabet_of_its_base() {
        let hex = "f017012202c5f688262e0ece8569aa6f94d60aad55ca8d9d83734e4a7430d0cff6588ec2b";
        assert!(is_cid_string(hex));
        assert!(!is_cid_string(&hex.replace('c', "g")));
        assert!(!is_cid_string("QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"));
        assert!(!is_cid_string("") && !is_cid_string("bafybei") && !is_cid_string("\u{e9}afybeia"));
        assert!(is_cid_string(&"z".repeat(256)) && !is_cid_string(&"z".repeat(257)));
        assert!(is_cid_string(&Cid::of_cbor(&[]).to_string()) && !is_cid_string("bafyreibutnothingmore"));
    }
}
