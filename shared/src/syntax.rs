//! Identifiers and string formats, parsed at the door.
//!
//! A value of one of these types is valid: the only ways to make one are `parse` and constructors that cannot go wrong,
//! and deserialising parses. Every type has `check`, which judges without allocating (the lexicon engine asks this for
//! each formatted string of a record), and `parse`, which checks and owns. All are compared, ordered and hashed by their
//! bytes.
//!
//! The scanners are written by hand, one pass over the bytes: they run on every request, at the edge too. The official
//! vectors decide what is valid; where they leave room, so do we.
//!
//! Implements <https://atproto.com/specs/did>, <https://atproto.com/specs/handle>, <https://atproto.com/specs/nsid>,
//! <https://atproto.com/specs/record-key>, <https://atproto.com/specs/tid>, <https://atproto.com/specs/at-uri-scheme>
//! and the string formats of <https://atproto.com/specs/lexicon>.

use std::{fmt, marker::PhantomData, str::FromStr};

/// Gives an identifier the face that all of them share.
///
/// The first form also declares the type over `Box<str>`: `check` judges the text, `store` makes the owned, normalised
/// copy of a text that passed. The second form is for types with another representation; they bring `check`, `parse`
/// and `as_str` themselves.
macro_rules! identifier {
    ($(#[$meta:meta])* $name:ident, check: $check:path, store: $store:path) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(super) Box<str>);

        impl $name {
            /// Says whether `text` is valid, without allocating.
            ///
            /// # Errors
            /// The first rule that `text` breaks.
            pub fn check(text: &str) -> Result<(), $crate::syntax::SyntaxError> {
                $check(text)
            }

            /// Checks `text` and owns it.
            ///
            /// # Errors
            /// The first rule that `text` breaks.
            pub fn parse(text: &str) -> Result<Self, $crate::syntax::SyntaxError> {
                $check(text)?;
                Ok(Self($store(text)))
            }

            /// The text, normalised if the type normalises.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        identifier!($name);
    };
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = $crate::syntax::SyntaxError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::syntax::SyntaxError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::syntax::ParseVisitor::new())
            }
        }
    };
}

mod at_identifier;
mod at_uri;
mod datetime;
mod did;
mod handle;
mod language;
mod nsid;
mod path;
mod record_key;
mod tid;
mod uri;

#[cfg(test)]
mod tests;

pub use at_identifier::AtIdentifier;
pub use at_uri::AtUri;
pub use datetime::Datetime;
pub use did::{Did, DidMethod, DidMethodError, DidWeb};
pub use handle::{Handle, Tld};
pub use language::Language;
pub use nsid::Nsid;
pub use path::Path;
pub use record_key::RecordKey;
pub use tid::Tid;
pub use uri::{Uri, is_cid_string};

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {rule}")]
pub struct SyntaxError {
    /// What the text should have been. For a compound (an AT-URI, a path) this is the part that failed.
    pub kind: Kind,
    /// The first rule that it breaks.
    pub rule: Rule,
}

/// The identifiers and string formats of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named after its type")]
pub enum Kind {
    AtUri,
    Datetime,
    Did,
    Handle,
    Language,
    Nsid,
    Path,
    RecordKey,
    Tid,
    Uri,
}

impl Kind {
    const fn broke(self, rule: Rule) -> SyntaxError {
        SyntaxError { kind: self, rule }
    }

    /// Refuses the empty text and one of more than `limit` bytes.
    const fn sized(self, text: &str, limit: usize) -> Result<(), SyntaxError> {
        match text.len() {
            0 => Err(self.broke(Rule::Empty)),
            len if len > limit => Err(self.broke(Rule::TooLong { len, limit })),
            _ => Ok(()),
        }
    }

    /// Refuses a text with a byte that `allowed` does not know. Every alphabet here is ASCII, so bytes are characters.
    fn spelled(self, text: &str, allowed: impl Fn(u8) -> bool) -> Result<(), SyntaxError> {
        match text.bytes().position(|byte| !allowed(byte)) {
            Some(at) => Err(self.broke(Rule::Character { at })),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtUri => "at-uri",
            Self::Datetime => "datetime",
            Self::Did => "did",
            Self::Handle => "handle",
            Self::Language => "language",
            Self::Nsid => "nsid",
            Self::Path => "path",
            Self::RecordKey => "record key",
            Self::Tid => "tid",
            Self::Uri => "uri",
        })
    }
}

/// A rule that a text can break. Positions are byte offsets into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// There is no text.
    #[error("is empty")]
    Empty,
    /// The text is longer than the type allows.
    #[error("is {len} bytes, limit {limit}")]
    TooLong {
        /// Bytes in the text.
        len: usize,
        /// Most bytes that are allowed.
        limit: usize,
    },
    /// The type has one length, and this is not it.
    #[error("is {len} bytes, must be {expected}")]
    Length {
        /// Bytes in the text.
        len: usize,
        /// The one length that is allowed.
        expected: usize,
    },
    /// A byte is outside the alphabet, or may not stand where it stands.
    #[error("has a character that is not allowed at byte {at}")]
    Character {
        /// Where it stands; the text's length if the text ends too early.
        at: usize,
    },
    /// The text does not begin as it must.
    #[error("does not start with {0}")]
    Prefix(&'static str),
    /// There are too few or too many dot- or slash-separated parts.
    #[error("has {found} parts, must have {min} to {max}")]
    Parts {
        /// Parts in the text.
        found: usize,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// A part of a domain name is empty, too long, or has a character or an outer hyphen that it may not have.
    #[error("has a part at byte {at} that is not 1 to 63 letters, digits or inner hyphens")]
    Label {
        /// Where the part begins.
        at: usize,
    },
    /// The text is one of the few that the type refuses by name.
    #[error("is reserved")]
    Reserved,
    /// The text has the right form, but no such moment exists.
    #[error("has no such {0}")]
    Moment(&'static str),
}

/// Checks dot-separated domain labels: 1 to 63 of letters, digits and inner hyphens each. Returns how many there are.
fn check_labels(kind: Kind, text: &str) -> Result<usize, SyntaxError> {
    const LABEL_MAX: usize = 63;
    let mut at = 0;
    let mut count = 0;
    for label in text.split('.') {
        let edges = label.bytes().next().zip(label.bytes().next_back());
        let hyphen_inside = edges.is_some_and(|(first, last)| first != b'-' && last != b'-');
        let spelled = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !hyphen_inside || !spelled || label.len() > LABEL_MAX {
            return Err(kind.broke(Rule::Label { at }));
        }
        at += label.len() + 1;
        count += 1;
    }
    Ok(count)
}

/// Owns a text in ASCII lower case.
fn lower_case(text: &str) -> Box<str> {
    text.to_ascii_lowercase().into_boxed_str()
}

/// Deserialises by parsing the borrowed text, so that the only copy made is the value's own.
struct ParseVisitor<T>(PhantomData<T>);

impl<T> ParseVisitor<T> {
    const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: FromStr<Err = SyntaxError>> serde::de::Visitor<'_> for ParseVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
