//! Repository paths: `collection/rkey`, the key of a record in the tree.
//!
//! Every new write goes to a [`Path`]. Keys read from an existing tree may be older and odder and stay bytes.
//!
//! Implements the path rules of <https://atproto.com/specs/repository>.

use super::{Kind, Nsid, RecordKey, Rule, SyntaxError};

identifier! {
    /// A collection and a record key joined by one slash; at most 830 bytes.
    Path, check: check, store: Box::from
}

impl Path {
    /// Joins the two.
    #[must_use]
    pub fn new(collection: &Nsid, rkey: &RecordKey) -> Self {
        Self(format!("{collection}/{rkey}").into_boxed_str())
    }

    /// The collection.
    #[must_use]
    pub fn collection(&self) -> Nsid {
        Nsid(self.parts().0.into())
    }

    /// The record key.
    #[must_use]
    pub fn rkey(&self) -> RecordKey {
        RecordKey(self.parts().1.into())
    }

    fn parts(&self) -> (&str, &str) {
        self.as_str().split_once('/').unwrap_or_default()
    }
}

fn check(text: &str) -> Result<(), SyntaxError> {
    let Some((collection, rkey)) = text.split_once('/') else {
        return Err(Kind::Path.broke(Rule::Parts { found: 1, min: 2, max: 2 }));
    };
    Nsid::check(collection)?;
    RecordKey::check(rkey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_collection_and_a_record_key() {
        let (collection, rkey) = (Nsid::parse("com.example.foo").unwrap(), RecordKey::parse("self").unwrap());
        let path = Path::new(&collection, &rkey);
        assert_eq!(path.as_str(), "com.example.foo/self");
        assert_eq!((path.collection(), path.rkey()), (collection, rkey));
        assert_eq!(Path::parse(path.as_str()).unwrap(), path);
    }

    #[test]
    fn two_valid_parts_and_nothing_else_are_a_path() {
        for bad in ["", "a.b.c", "/a.b.c/d", "a.b.c/", "a.b.c/d/", "a.b.c/d/e", "a.b/c", "a.b.c/.", "a.b.c/..", "/"] {
            assert!(Path::parse(bad).is_err(), "{bad:?}");
        }
    }
}
