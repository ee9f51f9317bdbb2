//! A DID or a handle: how clients name a repository.
//!
//! Implements the `at-identifier` format of <https://atproto.com/specs/lexicon>.

use super::{Did, Handle, SyntaxError};

/// A DID or a handle. Whatever starts with `did:` is judged as a DID.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AtIdentifier {
    /// The account itself.
    Did(Did),
    /// A name that resolves to one.
    Handle(Handle),
}

impl AtIdentifier {
    /// Says whether `text` is valid, without allocating.
    ///
    /// # Errors
    /// The first rule of a DID or a handle that `text` breaks.
    pub fn check(text: &str) -> Result<(), SyntaxError> {
        if is_did(text) { Did::check(text) } else { Handle::check(text) }
    }

    /// Checks `text` and owns it; a handle in lower case.
    ///
    /// # Errors
    /// The first rule of a DID or a handle that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if is_did(text) { Did::parse(text).map(Self::Did) } else { Handle::parse(text).map(Self::Handle) }
    }

    /// The text of the DID or the handle.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Did(did) => did.as_str(),
            Self::Handle(handle) => handle.as_str(),
        }
    }

    /// The DID, if it is one.
    #[must_use]
    pub const fn as_did(&self) -> Option<&Did> {
        match self {
            Self::Did(did) => Some(did),
            Self::Handle(_) => None,
        }
    }
}

identifier!(AtIdentifier);

impl From<Did> for AtIdentifier {
    fn from(did: Did) -> Self {
        Self::Did(did)
    }
}

impl From<Handle> for AtIdentifier {
    fn from(handle: Handle) -> Self {
        Self::Handle(handle)
    }
}

fn is_did(text: &str) -> bool {
    text.starts_with("did:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::Kind;

    #[test]
    fn the_prefix_decides_which_of_the_two_it_is() {
        let did = AtIdentifier::parse("did:web:a.com").unwrap();
        assert_eq!(did.as_did().map(Did::as_str), Some("did:web:a.com"));
        assert_eq!(AtIdentifier::parse("A.com").unwrap(), Handle::parse("a.com").unwrap().into());
        assert_eq!(AtIdentifier::parse("did:web").unwrap_err().kind, Kind::Did);
        assert_eq!(AtIdentifier::parse("did").unwrap_err().kind, Kind::Handle);
    }
}
