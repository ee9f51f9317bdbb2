//! Namespaced identifiers: the names of collections, methods and schemas.
//!
//! An [`Nsid`] keeps the case it came in. The authority is a domain name and so means the same in any case, but a
//! collection is part of a repository's keys, where another spelling is another key. The length of the authority is bounded
//! only by that of the whole: the official vectors hold a valid one of 283 bytes, more than a domain name can have.
//!
//! Implements <https://atproto.com/specs/nsid>.

use super::{Kind, Rule, SyntaxError, check_labels};

const LEN_MAX: usize = 317;

identifier! {
    /// A reversed domain name and a name under it, such as `com.example.fooBar`; at most 317 bytes.
    Nsid, check: check, store: Box::from
}

impl Nsid {
    /// The last segment: `fooBar` of `com.example.fooBar`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts().1
    }

    /// The domain that owns the name, the right way round and in lower case: `example.com` of `com.example.fooBar`.
    #[must_use]
    pub fn authority(&self) -> String {
        let labels: Vec<&str> = self.parts().0.rsplit('.').collect();
        labels.join(".").to_ascii_lowercase()
    }

    /// All segments in the order written, at least three.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.as_str().split('.')
    }

    fn parts(&self) -> (&str, &str) {
        self.as_str().rsplit_once('.').unwrap_or_default()
    }
}

fn check(text: &str) -> Result<(), SyntaxError> {
    let broke = |rule| Err(Kind::Nsid.broke(rule));
    Kind::Nsid.sized(text, LEN_MAX)?;
    let found = check_labels(Kind::Nsid, text)?;
    let (authority, name) = text.rsplit_once('.').unwrap_or((text, ""));
    if found < 3 {
        return broke(Rule::Parts { found, min: 3, max: LEN_MAX / 2 + 1 });
    }
    if authority.starts_with(|c: char| c.is_ascii_digit()) {
        return broke(Rule::Character { at: 0 });
    }
    // The name is a label too, so its length is already checked.
    let name_at = authority.len() + 1;
    let wrong = name.bytes().enumerate().find(|&(i, b)| b == b'-' || (i == 0 && b.is_ascii_digit()));
    wrong.map_or(Ok(()), |(i, _)| broke(Rule::Character { at: name_at + i }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_nsid_tells_its_authority_name_and_segments() {
        let nsid = Nsid::parse("app.BSKY.feed.postGate").unwrap();
        assert_eq!(nsid.authority(), "feed.bsky.app");
        assert_eq!(nsid.name(), "postGate");
        assert_eq!(nsid.segments().collect::<Vec<_>>(), ["app", "BSKY", "feed", "postGate"]);
        assert_eq!(nsid.as_str(), "app.BSKY.feed.postGate");
    }

    #[test]
    fn the_name_has_letters_and_digits_only_and_starts_with_a_letter() {
        assert!(Nsid::parse("a.b-c.f00").is_ok());
        assert_eq!(Nsid::parse("a.b-c.d-e").unwrap_err().rule, Rule::Character { at: 7 });
        assert_eq!(Nsid::parse("a.b.1c").unwrap_err().rule, Rule::Character { at: 4 });
        assert_eq!(Nsid::parse("1.b.c").unwrap_err().rule, Rule::Character { at: 0 });
        assert_eq!(Nsid::parse("a.b").unwrap_err().rule, Rule::Parts { found: 2, min: 3, max: 159 });
    }

    #[test]
    fn the_whole_is_bounded_at_317_bytes_and_a_segment_at_63() {
        let name = "n".repeat(63);
        let long_as_allowed = format!("{}bb.{name}", "a.".repeat(125));
        assert_eq!(long_as_allowed.len(), 316);
        assert!(Nsid::parse(&long_as_allowed).is_ok());
        assert_eq!(
            Nsid::parse(&format!("bb.{long_as_allowed}")).unwrap_err().to_string(),
            "nsid is 319 bytes, limit 317"
        );
        assert_eq!(Nsid::parse(&format!("a.b.{name}n")).unwrap_err().rule, Rule::Label { at: 4 });
    }
}
