//! Handles: domain names that stand for accounts.
//!
//! Handles are case-insensitive; a [`Handle`] is always lower-case, so comparing two compares accounts' names. Syntax is
//! not permission: whether a top-level domain may be registered or resolved is [`Handle::tld`], a second question.
//!
//! Implements <https://atproto.com/specs/handle>.

use super::{Kind, Rule, SyntaxError, check_labels, lower_case};

const LEN_MAX: usize = 253;
const INVALID: &str = "handle.invalid";

identifier! {
    /// A domain name of at least two labels and at most 253 bytes, in lower case, such as `alice.example.com`.
    Handle, check: check, store: lower_case
}

impl Handle {
    /// The handle shown for an account whose own does not resolve back to it: `handle.invalid`. Never valid as input;
    /// see [`Handle::is_invalid`].
    #[must_use]
    pub fn invalid() -> Self {
        Self(INVALID.into())
    }

    /// Whether this is the placeholder `handle.invalid`.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.as_str() == INVALID
    }

    /// What the top-level domain allows.
    #[must_use]
    pub fn tld(&self) -> Tld {
        Tld::of(self.as_str())
    }
}

/// What a top-level domain allows a handle or a did:web to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tld {
    /// It can be registered and resolved.
    Public,
    /// `.test`: development setups only.
    Test,
    /// It can be neither registered nor resolved: `.alt`, `.arpa`, `.example`, `.internal`, `.invalid`, `.local`,
    /// `.localhost`, `.onion`.
    Reserved,
}

impl Tld {
    /// Judges the last label of a lower-case domain name.
    pub(super) fn of(domain: &str) -> Self {
        match domain.rsplit('.').next().unwrap_or_default() {
            "alt" | "arpa" | "example" | "internal" | "invalid" | "local" | "localhost" | "onion" => Self::Reserved,
            "test" => Self::Test,
            _ => Self::Public,
        }
    }
}

fn check(text: &str) -> Result<(), SyntaxError> {
    Kind::Handle.sized(text, LEN_MAX)?;
    let found = check_labels(Kind::Handle, text)?;
    if found < 2 {
        return Err(Kind::Handle.broke(Rule::Parts { found, min: 2, max: LEN_MAX / 2 + 1 }));
    }
    let tld = text.rsplit('.').next().unwrap_or_default();
    if tld.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Kind::Handle.broke(Rule::Character { at: text.len() - tld.len() }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_lower_case_however_it_was_written() {
        let handle = Handle::parse("Alice.Test").unwrap();
        assert_eq!(handle.as_str(), "alice.test");
        assert_eq!(handle, "alice.TEST".parse().unwrap());
    }

    #[test]
    fn reserved_top_level_domains_are_well_formed_but_reserved() {
        for tld in ["alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion"] {
            assert_eq!(Handle::parse(&format!("Alice.{tld}").to_uppercase()).unwrap().tld(), Tld::Reserved, "{tld}");
        }
        assert_eq!(Handle::parse("alice.test").unwrap().tld(), Tld::Test);
        assert_eq!(Handle::parse("test.local.com").unwrap().tld(), Tld::Public);
    }

    #[test]
    fn the_placeholder_is_known_in_any_case() {
        assert!(Handle::invalid().is_invalid());
        assert!(Handle::parse("HANDLE.invalid").unwrap().is_invalid());
        assert_eq!(Handle::invalid().tld(), Tld::Reserved);
    }

    #[test]
    fn errors_point_at_the_part_that_broke() {
        assert_eq!(Handle::parse("ab.-c.de").unwrap_err().rule, Rule::Label { at: 3 });
        assert_eq!(Handle::parse("ab..de").unwrap_err().rule, Rule::Label { at: 3 });
        assert_eq!(Handle::parse("ab.9de").unwrap_err().rule, Rule::Character { at: 3 });
        assert_eq!(Handle::parse("ab").unwrap_err().to_string(), "handle has 1 parts, must have 2 to 127");
        assert_eq!(Handle::parse("").unwrap_err().rule, Rule::Empty);
        let long = format!("{}test", "a.".repeat(125));
        assert_eq!(Handle::parse(&long).unwrap_err().rule, Rule::TooLong { len: 254, limit: 253 });
    }
}
