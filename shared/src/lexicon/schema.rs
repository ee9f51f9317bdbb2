//! The schema language, typed: what a checked lexicon document says.
//!
//! Only facts that decide a verdict or that a program asks for are kept: descriptions, known values and defaults are
//! checked when a document is parsed and then dropped. References are absolute.
//!
//! Specification: <https://atproto.com/specs/lexicon>, <https://atproto.com/specs/permission> for permission sets.

use std::borrow::Borrow;
use std::fmt;

use crate::data::Map;
use crate::syntax::{AtIdentifier, AtUri, Datetime, Did, Handle, Language, Nsid, RecordKey, Tid, Uri, is_cid_string};
use crate::xrpc::MethodKind;

/// One schema document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LexiconDoc {
    /// Its identifier.
    pub id: Nsid,
    /// Its definitions, each under its absolute name.
    pub defs: Vec<(Reference, Def)>,
}

/// The absolute name of a definition: `com.example.record`, or `com.example.defs#name` for any but the main one.
///
/// As a `$type` the name reads the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(Box<str>);

/// One definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Def {
    /// A record type.
    Record(Record),
    /// Something that is called over HTTP.
    Method(Method),
    /// A bundle of permissions that an application asks for by name.
    PermissionSet(PermissionSet),
    /// A name that is its own value.
    Token,
    /// A part of records and messages.
    Data(Schema),
}

/// A record type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What its record keys look like.
    pub key: KeyType,
    /// What its records look like.
    pub object: Object,
}

/// What the record keys of a collection look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyType {
    /// Any record key.
    Any,
    /// A TID.
    Tid,
    /// An NSID.
    Nsid,
    /// This one key.
    Literal(RecordKey),
}

/// A query, a procedure or a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Which of the three.
    pub kind: MethodKind,
    /// The parameters in the query string, an object of scalars and lists of scalars.
    pub parameters: Option<Schema>,
    /// The request body, of procedures only.
    pub input: Option<Body>,
    /// The response body, of all but subscriptions.
    pub output: Option<Body>,
    /// The messages of a subscription.
    pub message: Option<Schema>,
    /// The names of the errors that it declares.
    pub errors: Vec<String>,
}

/// The body of a request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Its media type, without parameters; `*/*` is any.
    pub encoding: String,
    /// What a JSON body looks like.
    pub schema: Option<Schema>,
}

/// A bundle of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionSet {
    /// Its name for people.
    pub title: Option<String>,
    /// The title in other languages, by language tag.
    pub title_lang: Map,
    /// What it is for.
    pub detail: Option<String>,
    /// The detail in other languages, by language tag.
    pub detail_lang: Map,
    /// What it permits.
    pub permissions: Vec<Permission>,
}

/// One permission of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// What it is about: `repo`, `rpc`, …
    pub resource: String,
    /// All its fields, `type` and `resource` included: scalars and lists of scalars.
    pub fields: Map,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// Null and nothing else.
    Null,
    /// A boolean.
    Boolean {
        /// The only one allowed, if not both.
        only: Option<bool>,
    },
    /// An integer.
    Integer(Box<Integer>),
    /// A string.
    String(Box<Text>),
    /// Bytes, of a length within bounds.
    Bytes(Bounds),
    /// A link.
    CidLink,
    /// A blob reference.
    Blob(Box<Blob>),
    /// A list.
    Array(Box<Array>),
    /// An object with known fields.
    Object(Object),
    /// Whatever a definition says.
    Ref(Reference),
    /// One of several objects, told apart by `$type`.
    Union(Union),
    /// Any object that is not a blob.
    Unknown,
}

/// An integer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Integer {
    /// Its range.
    pub range: Bounds,
    /// The only ones allowed; empty when any is.
    pub one_of: Vec<i64>,
}

/// A string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// What it must be spelled like.
    pub format: Option<Format>,
    /// Its length in bytes of UTF-8.
    pub length: Bounds,
    /// Its length in grapheme clusters.
    pub graphemes: Bounds,
    /// The only ones allowed; empty when any is.
    pub one_of: Vec<String>,
}

/// The smallest and the largest number allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// No smaller than this.
    pub min: Option<i64>,
    /// No larger than this.
    pub max: Option<i64>,
}

/// A blob reference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob {
    /// The media types allowed, `image/*` and `*/*` among them; empty when any is.
    pub accept: Vec<String>,
    /// The largest size in bytes.
    pub max_size: Option<i64>,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// What each item is.
    pub items: Schema,
    /// How many items there are.
    pub length: Bounds,
}

/// An object with known fields; others may stand beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// The known fields, in DAG-CBOR order of their names.
    pub properties: Vec<Property>,
}

/// One field of an [`Object`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: Box<str>,
    /// What it holds.
    pub schema: Schema,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it may be null.
    pub nullable: bool,
}

/// One of several objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Union {
    /// The known ones.
    pub refs: Vec<Reference>,
    /// Whether there are no others.
    pub closed: bool,
}

/// What a string is spelled like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the identifier of that name in `syntax`")]
pub enum Format {
    AtIdentifier,
    AtUri,
    Cid,
    Datetime,
    Did,
    Handle,
    Language,
    Nsid,
    RecordKey,
    Tid,
    Uri,
}

impl Reference {
    /// The name that `text` means in the document `base`, be it relative (`#name`) or absolute; `#main` is left out.
    /// `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str, base: &Nsid) -> Option<Self> {
        let (nsid, name) = text.split_once('#').unwrap_or((text, "main"));
        let nsid = if nsid.is_empty() && text.starts_with('#') { base.as_str() } else { nsid };
        Nsid::check(nsid).ok()?;
        match name {
            "main" => Some(Self(nsid.into())),
            name if is_def_name(name) => Some(Self(format!("{nsid}#{name}").into())),
            _ => None,
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a definition can be called `name`: letters, digits, `_` and `-`.
fn is_def_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

impl Borrow<str> for Reference {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Format {
    const ALL: [Self; 11] = [
        Self::AtIdentifier,
        Self::AtUri,
        Self::Cid,
        Self::Datetime,
        Self::Did,
        Self::Handle,
        Self::Language,
        Self::Nsid,
        Self::RecordKey,
        Self::Tid,
        Self::Uri,
    ];

    /// The format of this name in the schema language.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Its name in the schema language.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AtIdentifier => "at-identifier",
            Self::AtUri => "at-uri",
            Self::Cid => "cid",
            Self::Datetime => "datetime",
            Self::Did => "did",
            Self::Handle => "handle",
            Self::Language => "language",
            Self::Nsid => "nsid",
            Self::RecordKey => "record-key",
            Self::Tid => "tid",
            Self::Uri => "uri",
        }
    }

    /// Whether `text` is spelled like this.
    #[must_use]
    pub fn matches(self, text: &str) -> bool {
        match self {
            Self::AtIdentifier => AtIdentifier::check(text).is_ok(),
            Self::AtUri => AtUri::check(text).is_ok(),
            Self::Cid => is_cid_string(text),
            Self::Datetime => Datetime::check(text).is_ok(),
            Self::Did => Did::check(text).is_ok(),
            Self::Handle => Handle::check(text).is_ok(),
            // As strict as the reference and the AppView, which both refuse a repeated subtag.
            Self::Language => Language::parse(text).is_ok_and(|tag| !tag.repeats_subtag()),
            Self::Nsid => Nsid::check(text).is_ok(),
            Self::RecordKey => RecordKey::check(text).is_ok(),
            Self::Tid => Tid::check(text).is_ok(),
            Self::Uri => Uri::check(text).is_ok(),
        }
    }
}

impl Def {
    /// Hands every reference in the definition to `visit`.
    pub(super) fn each_reference<'a>(&'a self, visit: &mut impl FnMut(&'a Reference)) {
        match self {
            Self::Record(record) => record.object.each_reference(visit),
            Self::Method(method) => {
                let bodies =
                    [&method.input, &method.output].into_iter().flatten().filter_map(|body| body.schema.as_ref());
                bodies.chain(&method.parameters).chain(&method.message).for_each(|schema| schema.each_reference(visit));
            }
            Self::Data(schema) => schema.each_reference(visit),
            Self::PermissionSet(_) | Self::Token => {}
        }
    }
}

impl Schema {
    fn each_reference<'a>(&'a self, visit: &mut impl FnMut(&'a Reference)) {
        match self {
            Self::Array(array) => array.items.each_reference(visit),
            Self::Object(object) => object.each_reference(visit),
            Self::Ref(reference) => visit(reference),
            Self::Union(union) => union.refs.iter().for_each(visit),
            _ => {}
        }
    }
}

impl Object {
    fn each_reference<'a>(&'a self, visit: &mut impl FnMut(&'a Reference)) {
        self.properties.iter().for_each(|property| property.schema.each_reference(visit));
    }
}
