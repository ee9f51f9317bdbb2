//! From JSON to checked lexicon documents.
//!
//! Everything that validation relies on is checked here: types are known and stand where they may, bounds are not
//! contradictory, constants and defaults are among the values allowed, required fields exist, references are spelled
//! right. Whether a reference has a target is the catalog's question. Unknown fields are ignored; an unknown type or
//! string format is refused, since nobody could say what it means.
//!
//! Specification: <https://atproto.com/specs/lexicon>.

use std::collections::HashSet;

use super::{
    Array, Blob, Body, Bounds, Def, Format, Integer, KeyType, LexiconDoc, Located, Method, Object, Permission,
    PermissionSet, Property, Record, Reference, Schema, SchemaError, Text, Union,
};
use crate::data::{Map, Value, json};
use crate::syntax::{Language, Nsid, RecordKey, SyntaxError};
use crate::xrpc::MethodKind;

/// What can be wrong with a lexicon document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// Not JSON within the rules of the data model.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// A field that must be there is not.
    #[error("missing field {0}")]
    Missing(&'static str),
    /// A value of another type than this.
    #[error("not {0}")]
    Not(&'static str),
    /// A version of the schema language other than 1.
    #[error("lexicon version is {0}, only 1 is known")]
    Version(i64),
    /// An identifier that is not an NSID.
    #[error(transparent)]
    Id(#[from] SyntaxError),
    /// A definition's name, or a reference, that is not spelled as one.
    #[error("malformed name {0:?}")]
    Name(String),
    /// A type that the language does not have.
    #[error("unknown type {0:?}")]
    UnknownType(String),
    /// A type that may not stand here.
    #[error("type {0:?} cannot stand here")]
    Misplaced(String),
    /// A string format that the language does not have.
    #[error("unknown format {0:?}")]
    UnknownFormat(String),
    /// A record key type that the language does not have.
    #[error("unknown record key type {0:?}")]
    UnknownKey(String),
    /// A field that is required or nullable, but has no schema.
    #[error("property {0:?} is not defined")]
    UndefinedProperty(String),
    /// A smallest value above the largest.
    #[error("minimum is {min}, maximum {max}")]
    Contradiction {
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
    },
    /// A constant or a default that the rest of the schema does not allow.
    #[error("{0} is not an allowed value")]
    NotAllowed(&'static str),
    /// A list of allowed values that allows none.
    #[error("list of allowed values is empty")]
    NothingAllowed,
    /// A media type with parameters, or several.
    #[error("encoding {0:?} is not one media type")]
    Encoding(String),
}

type Parsed<T> = Result<T, SchemaError>;

impl LexiconDoc {
    /// The document that `text` is.
    ///
    /// # Errors
    /// The first fault of a text that is not JSON, or not a document that keeps to the rules of the language.
    pub fn parse(text: &[u8]) -> Parsed<Self> {
        Self::from_value(&json::parse(text).map_err(SchemaFault::from)?)
    }

    /// The document that `value` is; a record of `com.atproto.lexicon.schema` holds one.
    ///
    /// # Errors
    /// As for [`Self::parse`].
    pub fn from_value(value: &Value) -> Parsed<Self> {
        let fields = Fields::of(value)?;
        fields.need("lexicon", |value| match as_int(value)? {
            1 => Ok(()),
            other => Err(SchemaFault::Version(other).into()),
        })?;
        let id = fields.need("id", |value| Ok(Nsid::parse(as_text(value)?).map_err(SchemaFault::from)?))?;
        let defs = fields.need("defs", |value| {
            let named = |(name, def)| definition(&id, name, def).map_err(|error| error.inside(name));
            as_map(value)?.iter().map(named).collect()
        })?;
        Ok(Self { id, defs })
    }
}

/// The definition `name` of the document `id`.
fn definition(id: &Nsid, name: &str, value: &Value) -> Parsed<(Reference, Def)> {
    let reference = Reference::parse(&format!("#{name}"), id).ok_or_else(|| SchemaFault::Name(name.to_owned()))?;
    let fields = Fields::of(value)?;
    let kind = fields.need("type", as_text)?;
    let def = match kind {
        "record" | "query" | "procedure" | "subscription" | "permission-set" if name != "main" => {
            return Err(misplaced(kind));
        }
        "record" => Def::Record(record(id, fields)?),
        "query" => Def::Method(method(id, fields, MethodKind::Query)?),
        "procedure" => Def::Method(method(id, fields, MethodKind::Procedure)?),
        "subscription" => Def::Method(method(id, fields, MethodKind::Subscription)?),
        "permission-set" => Def::PermissionSet(permission_set(fields)?),
        "token" => Def::Token,
        // A definition that only points elsewhere, or at nothing, would let references run in circles.
        "ref" | "union" | "unknown" => return Err(misplaced(kind)),
        _ => Def::Data(schema(id, value)?),
    };
    Ok((reference, def))
}

fn record(id: &Nsid, fields: Fields<'_>) -> Parsed<Record> {
    let key = fields.need("key", |value| {
        let name = as_text(value)?;
        match (name, name.strip_prefix("literal:").map(RecordKey::parse)) {
            ("any", _) => Ok(KeyType::Any),
            ("tid", _) => Ok(KeyType::Tid),
            ("nsid", _) => Ok(KeyType::Nsid),
            (_, Some(Ok(literal))) => Ok(KeyType::Literal(literal)),
            _ => Err(SchemaFault::UnknownKey(name.to_owned()).into()),
        }
    })?;
    let object = fields.need("record", |value| object(id, Fields::of_type(value, &["object"])?))?;
    Ok(Record { key, object })
}

fn method(id: &Nsid, fields: Fields<'_>, kind: MethodKind) -> Parsed<Method> {
    let mut method = Method { kind, parameters: None, input: None, output: None, message: None, errors: Vec::new() };
    method.parameters = fields.get("parameters", |value| parameters(id, value))?;
    if kind == MethodKind::Procedure {
        method.input = fields.get("input", |value| body(id, value))?;
    }
    if kind == MethodKind::Subscription {
        method.message = Some(fields.need("message", |value| message(id, value))?);
    } else {
        method.output = fields.get("output", |value| body(id, value))?;
    }
    let error = |value| Ok(Fields::of(value)?.need("name", as_name)?.to_owned());
    method.errors = fields.list("errors", error)?;
    Ok(method)
}

fn parameters(id: &Nsid, value: &Value) -> Parsed<Schema> {
    let object = object(id, Fields::of_type(value, &["params"])?)?;
    let is_scalar = |schema: &Schema| {
        matches!(schema, Schema::Boolean { .. } | Schema::Integer(_) | Schema::String(_) | Schema::Unknown)
    };
    let stray = object.properties.iter().find(|property| match &property.schema {
        Schema::Array(array) => !is_scalar(&array.items),
        schema => !is_scalar(schema),
    });
    match stray {
        Some(property) => Err(Located::from(NOT_SCALAR).inside(&*property.name).inside("properties")),
        None => Ok(Schema::Object(object)),
    }
}

fn body(id: &Nsid, value: &Value) -> Parsed<Body> {
    let fields = Fields::of(value)?;
    let encoding = fields.need("encoding", |value| {
        let mime = as_text(value)?;
        let single = mime.contains('/') && !mime.contains([',', ';', ' ']);
        if single { Ok(mime.to_owned()) } else { Err(SchemaFault::Encoding(mime.to_owned()).into()) }
    })?;
    let schema = fields.get("schema", |value| {
        Fields::of_type(value, &["object", "ref", "union"])?;
        schema(id, value)
    })?;
    Ok(Body { encoding, schema })
}

fn message(id: &Nsid, value: &Value) -> Parsed<Schema> {
    Fields::of(value)?.need("schema", |value| {
        Fields::of_type(value, &["union"])?;
        schema(id, value)
    })
}

fn permission_set(fields: Fields<'_>) -> Parsed<PermissionSet> {
    let text = |key| Ok::<_, SchemaError>(fields.get(key, as_text)?.map(str::to_owned));
    let translations = |value| {
        let by_language: &Map = as_map(value)?;
        let sound = by_language.iter().all(|(tag, text)| Language::check(tag).is_ok() && text.as_str().is_some());
        if sound { Ok(by_language.clone()) } else { Err(SchemaFault::Not("texts by language tag").into()) }
    };
    Ok(PermissionSet {
        title: text("title")?,
        title_lang: fields.get("title:lang", translations)?.unwrap_or_default(),
        detail: text("detail")?,
        detail_lang: fields.get("detail:lang", translations)?.unwrap_or_default(),
        permissions: fields.need("permissions", |value| items(value, permission))?,
    })
}

fn permission(value: &Value) -> Parsed<Permission> {
    let fields = Fields::of_type(value, &["permission"])?;
    let resource = fields.need("resource", as_name)?.to_owned();
    let is_scalar = |value: &Value| matches!(value, Value::Bool(_) | Value::Int(_) | Value::String(_));
    let stray = fields.0.iter().find(|(_, value)| match value {
        Value::Array(items) => !items.iter().all(is_scalar),
        value => !is_scalar(value),
    });
    match stray {
        Some((key, _)) => Err(Located::from(NOT_SCALAR).inside(key)),
        None => Ok(Permission { resource, fields: fields.0.clone() }),
    }
}

/// What stands where a value is described: a definition, a property, an item, a body.
fn schema(id: &Nsid, value: &Value) -> Parsed<Schema> {
    let fields = Fields::of(value)?;
    Ok(match fields.need("type", as_text)? {
        "null" => Schema::Null,
        "boolean" => boolean(fields)?,
        "integer" => Schema::Integer(Box::new(integer(fields)?)),
        "string" => Schema::String(Box::new(text(fields)?)),
        "bytes" => Schema::Bytes(fields.lengths("minLength", "maxLength")?),
        "cid-link" => Schema::CidLink,
        "blob" => {
            let accept = fields.list("accept", |mime| Ok(as_text(mime)?.to_owned()))?;
            Schema::Blob(Box::new(Blob { accept, max_size: fields.get("maxSize", as_length)? }))
        }
        "array" => {
            let items = fields.need("items", |value| schema(id, value))?;
            Schema::Array(Box::new(Array { items, length: fields.lengths("minLength", "maxLength")? }))
        }
        "object" => Schema::Object(object(id, fields)?),
        "ref" => Schema::Ref(fields.need("ref", |value| reference(id, value))?),
        "union" => {
            let refs = fields.need("refs", |value| items(value, |value| reference(id, value)))?;
            Schema::Union(Union { refs, closed: fields.get("closed", as_bool)?.unwrap_or_default() })
        }
        "unknown" => Schema::Unknown,
        kind @ ("token" | "params" | "record" | "query" | "procedure" | "subscription" | "permission-set") => {
            return Err(misplaced(kind));
        }
        kind => return Err(SchemaFault::UnknownType(kind.to_owned()).into()),
    })
}

fn reference(id: &Nsid, value: &Value) -> Parsed<Reference> {
    let text = as_text(value)?;
    Ok(Reference::parse(text, id).ok_or_else(|| SchemaFault::Name(text.to_owned()))?)
}

fn object(id: &Nsid, fields: Fields<'_>) -> Parsed<Object> {
    let properties = fields.need("properties", as_map)?;
    let defined = |value| match as_text(value)? {
        name if properties.contains_key(name) => Ok(name),
        name => Err(SchemaFault::UndefinedProperty(name.to_owned()).into()),
    };
    let names = |key| Ok::<HashSet<&str>, SchemaError>(fields.list(key, defined)?.into_iter().collect());
    let (required, nullable) = (names("required")?, names("nullable")?);
    let property = |(name, value)| {
        let schema = schema(id, value).map_err(|error| error.inside(name).inside("properties"))?;
        let (required, nullable) = (required.contains(name), nullable.contains(name));
        Ok(Property { name: name.into(), schema, required, nullable })
    };
    Ok(Object { properties: properties.iter().map(property).collect::<Parsed<_>>()? })
}

fn boolean(fields: Fields<'_>) -> Parsed<Schema> {
    let only = fields.get("const", as_bool)?;
    let default = fields.get("default", as_bool)?;
    if only.is_some() && default.is_some() && only != default {
        return Err(SchemaFault::NotAllowed("default").into());
    }
    Ok(Schema::Boolean { only })
}

fn integer(fields: Fields<'_>) -> Parsed<Integer> {
    let range = Bounds::new(fields.get("minimum", as_int)?, fields.get("maximum", as_int)?)?;
    let one_of = fields.choices(as_int)?;
    let default = fields.get("default", as_int)?;
    if default.is_some_and(|default| !range.hold(default) || !(one_of.is_empty() || one_of.contains(&default))) {
        return Err(SchemaFault::NotAllowed("default").into());
    }
    Ok(Integer { range, one_of })
}

fn text(fields: Fields<'_>) -> Parsed<Text> {
    let format = fields.get("format", |value| {
        let name = as_text(value)?;
        Ok(Format::from_name(name).ok_or_else(|| SchemaFault::UnknownFormat(name.to_owned()))?)
    })?;
    fields.list("knownValues", as_text)?;
    let one_of = fields.choices(as_text)?;
    let default = fields.get("default", as_text)?;
    if default.is_some_and(|default| !one_of.is_empty() && !one_of.contains(&default)) {
        return Err(SchemaFault::NotAllowed("default").into());
    }
    Ok(Text {
        format,
        length: fields.lengths("minLength", "maxLength")?,
        graphemes: fields.lengths("minGraphemes", "maxGraphemes")?,
        one_of: one_of.into_iter().map(str::to_owned).collect(),
    })
}

impl Bounds {
    fn new(min: Option<i64>, max: Option<i64>) -> Parsed<Self> {
        match (min, max) {
            (Some(min), Some(max)) if min > max => Err(SchemaFault::Contradiction { min, max }.into()),
            _ => Ok(Self { min, max }),
        }
    }

    fn hold(self, number: i64) -> bool {
        self.min.is_none_or(|min| min <= number) && self.max.is_none_or(|max| number <= max)
    }
}

/// The fields of one object of a document.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Map);

impl<'a> Fields<'a> {
    fn of(value: &'a Value) -> Parsed<Self> {
        as_map(value).map(Self)
    }

    /// The fields of an object whose `type` is one of `kinds`.
    fn of_type(value: &'a Value, kinds: &[&str]) -> Parsed<Self> {
        let fields = Self::of(value)?;
        let kind = fields.need("type", as_text)?;
        if kinds.contains(&kind) { Ok(fields) } else { Err(misplaced(kind)) }
    }

    fn get<T>(self, key: &'static str, read: impl FnOnce(&'a Value) -> Parsed<T>) -> Parsed<Option<T>> {
        self.0.get(key).map(read).transpose().map_err(|error| error.inside(key))
    }

    fn need<T>(self, key: &'static str, read: impl FnOnce(&'a Value) -> Parsed<T>) -> Parsed<T> {
        Ok(self.get(key, read)?.ok_or(SchemaFault::Missing(key))?)
    }

    /// The items of a list that may be missing.
    fn list<T>(self, key: &'static str, read: impl Fn(&'a Value) -> Parsed<T>) -> Parsed<Vec<T>> {
        Ok(self.get(key, |value| items(value, read))?.unwrap_or_default())
    }

    fn lengths(self, min: &'static str, max: &'static str) -> Parsed<Bounds> {
        Bounds::new(self.get(min, as_length)?, self.get(max, as_length)?)
    }

    /// The values that `const` or else `enum` leave; none for any.
    fn choices<T: PartialEq>(self, read: impl Fn(&'a Value) -> Parsed<T>) -> Parsed<Vec<T>> {
        let only = self.get("const", &read)?;
        let listed = self.get("enum", |value| items(value, &read))?;
        match (only, listed) {
            (Some(only), Some(listed)) if !listed.contains(&only) => Err(SchemaFault::NotAllowed("const").into()),
            (Some(only), _) => Ok(vec![only]),
            (None, Some(listed)) if listed.is_empty() => Err(SchemaFault::NothingAllowed.into()),
            (None, listed) => Ok(listed.unwrap_or_default()),
        }
    }
}

const NOT_SCALAR: SchemaFault = SchemaFault::Not("a scalar or a list of scalars");

fn misplaced(kind: &str) -> SchemaError {
    SchemaFault::Misplaced(kind.to_owned()).into()
}

fn items<'a, T>(value: &'a Value, read: impl Fn(&'a Value) -> Parsed<T>) -> Parsed<Vec<T>> {
    let items = value.as_array().ok_or(SchemaFault::Not("a list"))?;
    items.iter().enumerate().map(|(at, item)| read(item).map_err(|error| error.inside(at))).collect()
}

fn as_map(value: &Value) -> Parsed<&Map> {
    Ok(value.as_map().ok_or(SchemaFault::Not("an object"))?)
}

fn as_text(value: &Value) -> Parsed<&str> {
    Ok(value.as_str().ok_or(SchemaFault::Not("a string"))?)
}

fn as_name(value: &Value) -> Parsed<&str> {
    Ok(value.as_str().filter(|name| !name.is_empty()).ok_or(SchemaFault::Not("a non-empty string"))?)
}

fn as_int(value: &Value) -> Parsed<i64> {
    Ok(value.as_int().ok_or(SchemaFault::Not("an integer"))?)
}

fn as_length(value: &Value) -> Parsed<i64> {
    Ok(value.as_int().filter(|length| *length >= 0).ok_or(SchemaFault::Not("a length"))?)
}

fn as_bool(value: &Value) -> Parsed<bool> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        _ => Err(SchemaFault::Not("a boolean").into()),
    }
}
