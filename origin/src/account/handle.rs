//! Which handles can be had here.
//!
//! A handle under one of this server's own domains is a front part of the operator's lengths, without dots, that is not
//! reserved. One from outside is had by whoever it resolves to, which the caller finds out. Either must be a handle
//! ([`Handle::parse`]), under a domain that exists, and without slurs. The administrator may give what is reserved and
//! what offends, but nothing of another length.
//!
//! Specification: <https://atproto.com/specs/handle>.

use shared::syntax::{Handle, SyntaxError, Tld};

use super::slur::has_slur;
use super::words;

/// The handles that an operator lets people have.
#[derive(Clone, Debug)]
pub struct HandlePolicy {
    /// The domains under which this server gives handles, each with its leading dot.
    pub domains: Vec<String>,
    /// How short a front part may be, in characters.
    pub min: usize,
    /// How long a front part may be, in characters.
    pub max: usize,
    /// Whether nobody gets the built-in list's front parts.
    pub reserved: bool,
    /// Front parts that anybody gets although that list has them.
    pub unreserved: Vec<String>,
}

impl Default for HandlePolicy {
    /// The reference's: 3 to 18 characters, none of about a thousand names, no domain.
    fn default() -> Self {
        Self { domains: Vec::new(), min: 3, max: 18, reserved: true, unreserved: Vec::new() }
    }
}

/// How strictly a handle is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rigour {
    /// By every rule.
    Full,
    /// As the administrator may: not by what is reserved or offends.
    Admin,
}

/// What a handle is to this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandleClaim {
    /// It is under a domain of this server.
    Local(Handle),
    /// It is not: it must resolve to the account's DID, else [`HandleError::Unresolved`].
    External(Handle),
}

/// Why a handle cannot be had. Messages are the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// It is no handle.
    #[error("{0}")]
    Syntax(SyntaxError),
    /// Nothing under its top-level domain can be resolved.
    #[error("Handle TLD is invalid or disallowed")]
    Tld,
    /// It holds a slur.
    #[error("Inappropriate language in handle")]
    Language,
    /// Its front part has a dot.
    #[error("Invalid characters in handle")]
    Characters,
    /// Its front part is too short.
    #[error("Handle too short")]
    TooShort,
    /// Its front part is too long.
    #[error("Handle too long")]
    TooLong,
    /// Its front part is reserved.
    #[error("Reserved handle")]
    Reserved,
    /// It is from outside, and there is no DID yet that it could resolve to.
    #[error("Not a supported handle domain")]
    UnsupportedDomain,
    /// It is from outside and resolves to something else, or to nothing.
    #[error("External handle did not resolve to DID")]
    Unresolved,
}

impl HandleError {
    /// The XRPC error name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Syntax(_) | Self::Tld | Self::Language | Self::Characters | Self::TooShort | Self::TooLong => {
                "InvalidHandle"
            }
            Self::Reserved => "HandleNotAvailable",
            Self::UnsupportedDomain => "UnsupportedDomain",
            Self::Unresolved => "InvalidRequest",
        }
    }
}

impl HandlePolicy {
    /// Whether `handle` is under one of this server's domains.
    #[must_use]
    pub fn is_local(&self, handle: &Handle) -> bool {
        self.front(handle).is_some()
    }

    pub(super) fn claim(&self, handle: &str, has_did: bool, rigour: Rigour) -> Result<HandleClaim, HandleError> {
        let handle = Handle::parse(handle).map_err(HandleError::Syntax)?;
        if handle.tld() == Tld::Reserved {
            return Err(HandleError::Tld);
        }
        if rigour == Rigour::Full && has_slur(handle.as_str()) {
            return Err(HandleError::Language);
        }
        match self.front(&handle) {
            Some(front) => {
                self.check_front(front, rigour)?;
                Ok(HandleClaim::Local(handle))
            }
            None if has_did => Ok(HandleClaim::External(handle)),
            None => Err(HandleError::UnsupportedDomain),
        }
    }

    /// What stands before the first of this server's domains that the handle ends with.
    fn front<'a>(&self, handle: &'a Handle) -> Option<&'a str> {
        self.domains.iter().find_map(|domain| handle.as_str().strip_suffix(domain.as_str()))
    }

    fn check_front(&self, front: &str, rigour: Rigour) -> Result<(), HandleError> {
        let reserved =
            self.reserved && words::RESERVED.contains(front) && !self.unreserved.iter().any(|free| free == front);
        match front.len() {
            _ if front.contains('.') => Err(HandleError::Characters),
            len if len < self.min => Err(HandleError::TooShort),
            len if len > self.max => Err(HandleError::TooLong),
            _ if reserved && rigour == Rigour::Full => Err(HandleError::Reserved),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> HandlePolicy {
        HandlePolicy { domains: vec![".trainers.gg".to_owned(), ".test".to_owned()], ..HandlePolicy::default() }
    }

    fn refused(handle: &str) -> HandleError {
        policy().claim(handle, true, Rigour::Full).unwrap_err()
    }

    #[test]
    fn a_local_handle_is_three_to_eighteen_characters_without_a_dot() {
        let claim = policy().claim("Ash-Ketchum.Trainers.GG", false, Rigour::Full).unwrap();
        assert_eq!(claim, HandleClaim::Local(Handle::parse("ash-ketchum.trainers.gg").unwrap()));
        assert!(policy().claim("abc.test", false, Rigour::Full).is_ok());
        assert!(policy().claim(&format!("{}.test", "x".repeat(18)), false, Rigour::Full).is_ok());
        assert_eq!(refused("ab.test"), HandleError::TooShort);
        assert_eq!(refused(&format!("{}.test", "x".repeat(19))), HandleError::TooLong);
        assert_eq!(refused("a.bcd.test"), HandleError::Characters);
        assert!(matches!(refused("a_b.test"), HandleError::Syntax(_)));
        // The first domain that fits counts, as the reference has it: `.test` does not begin at a label of its own here.
        assert_eq!(refused("x.trainers.gg"), HandleError::TooShort);
    }

    #[test]
    fn lengths_and_reserved_names_are_the_operators() {
        let own = HandlePolicy { min: 1, max: 20, unreserved: vec!["blog".to_owned()], ..policy() };
        assert!(own.claim("x.test", false, Rigour::Full).is_ok());
        assert!(own.claim(&format!("{}.test", "x".repeat(20)), false, Rigour::Full).is_ok());
        assert!(own.claim("blog.test", false, Rigour::Full).is_ok());
        assert_eq!(own.claim("bot.test", false, Rigour::Full), Err(HandleError::Reserved));
        let free = HandlePolicy { reserved: false, ..policy() };
        assert!(free.claim("bot.test", false, Rigour::Full).is_ok());
    }

    #[test]
    fn the_administrator_may_give_what_is_reserved_and_nothing_of_another_length() {
        for name in ["blog", "atp", "admin", "taylorswift13"] {
            let handle = format!("{name}.test");
            assert_eq!(refused(&handle), HandleError::Reserved, "{name}");
            assert!(policy().claim(&handle, false, Rigour::Admin).is_ok(), "{name}");
        }
        assert_eq!(policy().claim("ab.test", false, Rigour::Admin), Err(HandleError::TooShort));
        assert_eq!(policy().claim("k1ke.test", false, Rigour::Full), Err(HandleError::Language));
        assert!(policy().claim("k1ke.test", false, Rigour::Admin).is_ok());
    }

    #[test]
    fn a_handle_from_outside_needs_a_did_to_resolve_to() {
        let handle = Handle::parse("alice.example.com").unwrap();
        assert_eq!(policy().claim("alice.example.com", true, Rigour::Full), Ok(HandleClaim::External(handle)));
        let without = policy().claim("alice.example.com", false, Rigour::Full).unwrap_err();
        assert_eq!(
            (without.name(), without.to_string().as_str()),
            ("UnsupportedDomain", "Not a supported handle domain")
        );
        assert_eq!(refused("alice.onion"), HandleError::Tld);
        assert_eq!(refused("alice.local").name(), "InvalidHandle");
    }
}
