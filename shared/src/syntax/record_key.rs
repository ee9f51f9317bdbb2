//! Record keys: the name of a record within its collection.
//!
//! A [`RecordKey`] is any valid key. Which kinds a collection takes (a TID, an NSID, one literal) is its schema's rule.
//!
//! Implements <https://atproto.com/specs/record-key>.

use super::{Kind, Rule, SyntaxError, Tid};

const LEN_MAX: usize = 512;

identifier! {
    /// 1 to 512 of letters, digits and `. _ : ~ -`, case-sensitive, but neither `.` nor `..`.
    RecordKey, check: check, store: Box::from
}

impl From<Tid> for RecordKey {
    fn from(tid: Tid) -> Self {
        Self(tid.as_str().into())
    }
}

fn check(text: &str) -> Result<(), SyntaxError> {
    Kind::RecordKey.sized(text, LEN_MAX)?;
    Kind::RecordKey.spelled(text, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'~' | b'-'))?;
    if matches!(text, "." | "..") { Err(Kind::RecordKey.broke(Rule::Reserved)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_and_dot_dot_are_reserved_and_three_dots_are_not() {
        assert_eq!(RecordKey::parse(".").unwrap_err().to_string(), "record key is reserved");
        assert_eq!(RecordKey::parse("..").unwrap_err().rule, Rule::Reserved);
        assert!(RecordKey::parse("...").is_ok());
    }

    #[test]
    fn keys_are_1_to_512_bytes() {
        assert!(RecordKey::parse(&"o".repeat(512)).is_ok());
        assert_eq!(RecordKey::parse(&"o".repeat(513)).unwrap_err().rule, Rule::TooLong { len: 513, limit: 512 });
        assert_eq!(RecordKey::parse("").unwrap_err().rule, Rule::Empty);
        assert_eq!(RecordKey::parse("a/b").unwrap_err().rule, Rule::Character { at: 1 });
    }
}
