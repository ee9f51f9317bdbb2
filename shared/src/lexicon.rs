//! Lexicons: schemas of records and methods, and the question whether a value keeps to one.
//!
//! Two doors. [`Catalog::builtin`] knows every record type of the network's main applications;
//! [`Catalog::validate_record`] says whether a record and its key are what their type demands. [`LexiconDoc::parse`]
//! reads a schema document that an operator or the network brings, and [`Catalog::add`] puts it beside the others.
//!
//! What always holds: a schema in a catalog has been checked, so validation never meets a contradiction in it, only a
//! reference whose target is missing, which is an [`Issue`] like any other. A reference can only lead to a definition
//! that looks into the value (or at one that ends there), so validation ends at the value's own depth, which the
//! parsers of [`crate::data`] and [`crate::cbor`] bound. Fields that a schema does not name are left alone, at every
//! level.
//!
//! Issues are worded as the clients of the reference server know them, capitals included.
//!
//! Specification: <https://atproto.com/specs/lexicon>, <https://atproto.com/specs/record-key>.

mod builtin;
mod catalog;
mod issue;
mod parse;
mod path;
mod schema;
mod validate;

#[cfg(test)]
mod tests;

pub use catalog::Catalog;
pub use issue::{Expected, Issue, LexiconError, Measure};
pub use parse::SchemaFault;
pub use path::{Located, Path, Segment};
pub use schema::{
    Array, Blob, Body, Bounds, Def, Format, Integer, KeyType, LexiconDoc, Method, Object, Permission, PermissionSet,
    Property, Record, Reference, Schema, Text, Union,
};

/// Why a text is not a lexicon document, and where.
pub type SchemaError = Located<SchemaFault>;
/// Why a value does not keep to a schema, and where.
pub type Invalid = Located<Issue>;
