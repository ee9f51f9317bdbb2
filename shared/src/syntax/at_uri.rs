//! AT-URIs in the restricted form that lexicons use: `at://authority[/collection[/rkey]]`.
//!
//! No query, fragment, escape or trailing slash. A handle in the authority is lower-cased; nothing else is touched.
//!
//! Implements <https://atproto.com/specs/at-uri-scheme>.

use super::{AtIdentifier, Did, Handle, Kind, Nsid, RecordKey, Rule, SyntaxError};

const SCHEME: &str = "at://";
const LEN_MAX: usize = 8192;

identifier! {
    /// The address of a repository, a collection or a record; at most 8192 bytes.
    AtUri, check: check, store: store
}

impl AtUri {
    /// The address of a record, by DID as all addresses that a server returns.
    #[must_use]
    pub fn record(did: &Did, collection: &Nsid, rkey: &RecordKey) -> Self {
        let parts = [SCHEME, did.as_str(), "/", collection.as_str(), "/", rkey.as_str()];
        Self(parts.concat().into_boxed_str())
    }

    /// Whose repository it points into.
    #[must_use]
    pub fn authority(&self) -> AtIdentifier {
        let (authority, ..) = split(self.tail());
        if authority.starts_with("did:") { Did(authority.into()).into() } else { Handle(authority.into()).into() }
    }

    /// The collection, if it points into one.
    #[must_use]
    pub fn collection(&self) -> Option<Nsid> {
        let (_, collection, _) = split(self.tail());
        collection.map(|text| Nsid(text.into()))
    }

    /// The record key, if it points at a record.
    #[must_use]
    pub fn rkey(&self) -> Option<RecordKey> {
        let (_, _, rkey) = split(self.tail());
        rkey.map(|text| RecordKey(text.into()))
    }

    fn tail(&self) -> &str {
        self.as_str().strip_prefix(SCHEME).unwrap_or_default()
    }
}

/// Splits what follows the scheme at its first two slashes; a third one stays in the record key, which refuses it.
fn split(tail: &str) -> (&str, Option<&str>, Option<&str>) {
    let mut parts = tail.splitn(3, '/');
    (parts.next().unwrap_or_default(), parts.next(), parts.next())
}

fn check(text: &str) -> Result<(), SyntaxError> {
    Kind::AtUri.sized(text, LEN_MAX)?;
    let tail = text.strip_prefix(SCHEME).ok_or(Kind::AtUri.broke(Rule::Prefix(SCHEME)))?;
    let (authority, collection, rkey) = split(tail);
    AtIdentifier::check(authority)?;
    collection.map_or(Ok(()), Nsid::check)?;
    rkey.map_or(Ok(()), RecordKey::check)
}

fn store(text: &str) -> Box<str> {
    let mut owned = text.to_owned();
    let end = SCHEME.len() + split(text.strip_prefix(SCHEME).unwrap_or_default()).0.len();
    if let Some(authority) = owned.get_mut(SCHEME.len()..end).filter(|authority| !authority.starts_with("did:")) {
        authority.make_ascii_lowercase();
    }
    owned.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_address_comes_apart_into_what_made_it() {
        let did = Did::parse("did:plc:asdf123").unwrap();
        let collection = Nsid::parse("com.example.Feed").unwrap();
        let rkey = RecordKey::parse("~A:1").unwrap();
        let uri = AtUri::record(&did, &collection, &rkey);
        assert_eq!(uri, AtUri::parse("at://did:plc:asdf123/com.example.Feed/~A:1").unwrap());
        assert_eq!((uri.authority(), uri.collection(), uri.rkey()), (did.into(), Some(collection), Some(rkey)));
    }

    #[test]
    fn collection_and_record_key_are_optional() {
        let repo = AtUri::parse("at://a.test").unwrap();
        assert_eq!((repo.collection(), repo.rkey()), (None, None));
        let collection = AtUri::parse("at://a.test/a.b.c").unwrap();
        assert_eq!((collection.collection(), collection.rkey()), (Some(Nsid::parse("a.b.c").unwrap()), None));
    }

    #[test]
    fn only_a_handle_is_lower_cased() {
        assert_eq!(AtUri::parse("at://Alice.TEST/a.b.C/Key").unwrap().as_str(), "at://alice.test/a.b.C/Key");
        assert_eq!(AtUri::parse("at://did:x:Y/a.b.C/Key").unwrap().as_str(), "at://did:x:Y/a.b.C/Key");
    }

    #[test]
    fn an_error_names_the_part_that_broke() {
        assert_eq!(AtUri::parse("at://a").unwrap_err().kind, Kind::Handle);
        assert_eq!(AtUri::parse("at://did:a").unwrap_err().kind, Kind::Did);
        assert_eq!(AtUri::parse("at://a.test/b").unwrap_err().kind, Kind::Nsid);
        assert_eq!(AtUri::parse("at://a.test/a.b.c/d/e").unwrap_err().kind, Kind::RecordKey);
        assert_eq!(AtUri::parse("AT://a.test").unwrap_err().to_string(), "at-uri does not start with at://");
    }
}
