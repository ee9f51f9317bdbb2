//! The definitions that a host knows, by name.

use std::collections::BTreeMap;

use super::builtin::{METHODS, RECORDS};
use super::{Def, LexiconDoc, Method, Record, Reference};
use crate::data::{Value, json};

/// The definitions that a host knows, by name; what records are judged by.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    defs: BTreeMap<Reference, Def>,
}

impl Catalog {
    /// A catalog that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every record type that the reference server 0.5.35 knows, with all that they refer to. Reads 19 kB of JSON, a
    /// fraction of a millisecond of work: build it once.
    #[must_use]
    pub fn builtin() -> Self {
        let mut catalog = Self::new();
        RECORDS.iter().for_each(|list| catalog.add_list(list));
        catalog
    }

    /// [`Self::builtin`] and the methods of `com.atproto`, for whoever checks requests and answers. Another 49 kB.
    #[must_use]
    pub fn with_methods() -> Self {
        let mut catalog = Self::builtin();
        METHODS.iter().for_each(|list| catalog.add_list(list));
        catalog
    }

    /// Adds an embedded list of documents. One that did not parse would be missing; a test parses them all.
    fn add_list(&mut self, list: &str) {
        if let Ok(Value::Array(docs)) = json::parse(list.as_bytes()) {
            docs.iter().filter_map(|doc| LexiconDoc::from_value(doc).ok()).for_each(|doc| self.add(doc));
        }
    }

    /// Adds a document's definitions, each in place of the one that had its name.
    pub fn add(&mut self, doc: LexiconDoc) {
        self.defs.extend(doc.defs);
    }

    /// The definition of this absolute name: `com.example.record` or `com.example.defs#name`.
    #[must_use]
    pub fn def(&self, name: &str) -> Option<&Def> {
        self.defs.get(name)
    }

    /// The record type `nsid`.
    #[must_use]
    pub fn record(&self, nsid: &str) -> Option<&Record> {
        match self.def(nsid)? {
            Def::Record(record) => Some(record),
            _ => None,
        }
    }

    /// The method `nsid`.
    #[must_use]
    pub fn method(&self, nsid: &str) -> Option<&Method> {
        match self.def(nsid)? {
            Def::Method(method) => Some(method),
            _ => None,
        }
    }

    /// Whether records of the type `nsid` can be validated.
    #[must_use]
    pub fn knows_record(&self, nsid: &str) -> bool {
        self.record(nsid).is_some()
    }

    /// Every definition, in order of the names.
    pub fn defs(&self) -> impl Iterator<Item = (&Reference, &Def)> {
        self.defs.iter()
    }

    /// Every reference to a definition that is not here, once: validating a value that leads to one fails.
    #[must_use]
    pub fn unresolved(&self) -> Vec<&Reference> {
        let mut missing = Vec::new();
        for def in self.defs.values() {
            def.each_reference(&mut |reference| missing.push(reference));
        }
        missing.retain(|reference| !self.defs.contains_key(*reference));
        missing.sort_unstable();
        missing.dedup();
        missing
    }
}
