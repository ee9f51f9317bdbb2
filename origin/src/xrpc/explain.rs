//! What is wrong with parameters or input, in the words of the method's schema.
//!
//! Requests are read into their types, which is fast and refuses what the schema refuses, but says so in its own way.
//! Only what was refused is held against the schema too, whose issues are worded as clients of the reference server
//! know them. Reading the schemas takes a millisecond, once, at the first such request.

use std::sync::LazyLock;

use serde::Serialize;
use shared::data::{Map, Value, json};
use shared::lexicon::{Catalog, Property, Schema};
use shared::xrpc::params::Given;

use crate::error::XrpcError;

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::with_methods);

/// What the schema of `nsid` has against these parameters; `None` if nothing.
pub(super) fn params(nsid: &str, given: &Given<'_>) -> Option<String> {
    let schema = CATALOG.method(nsid)?.parameters.as_ref()?;
    let Schema::Object(object) = schema else { return None };
    let mut values = Map::new();
    for Property { name, schema, .. } in &object.properties {
        let given = given.get(name);
        let value = match (schema, given) {
            (_, []) => continue,
            (Schema::Array(array), given) => Value::Array(given.iter().map(|text| value(&array.items, text)).collect()),
            (schema, [text]) => value(schema, text),
            (_, given) => Value::Array(given.iter().map(|text| Value::from(text.as_ref())).collect()),
        };
        values.insert(&**name, value);
    }
    // The reference does not say where: the issue is one of a query string's few names.
    CATALOG.validate(schema, &Value::Map(values)).err().map(|invalid| invalid.kind.to_string())
}

/// What a text is as a value of `schema`; itself, if it is none.
fn value(schema: &Schema, text: &str) -> Value {
    match (schema, text) {
        (Schema::Boolean { .. }, "true") => Value::Bool(true),
        (Schema::Boolean { .. }, "false") => Value::Bool(false),
        (Schema::Integer(_), text) => text.parse().map_or_else(|_| Value::from(text), Value::Int),
        _ => Value::from(text),
    }
}

/// What the schema of `nsid` has against this input; `None` if nothing.
pub(super) fn input(nsid: &str, text: &[u8]) -> Option<String> {
    match json::parse(text) {
        Err(error) => Some(error.to_string()),
        Ok(value) => {
            let schema = CATALOG.method(nsid)?.input.as_ref()?.schema.as_ref()?;
            CATALOG.validate(schema, &value).err().map(|invalid| invalid.to_string())
        }
    }
}

/// Refuses an input whose type takes what its schema does not.
pub(super) fn check(nsid: &str, input: &impl Serialize) -> Result<(), XrpcError> {
    let text = serde_json::to_vec(input).map_err(XrpcError::internal)?;
    self::input(nsid, &text).map_or(Ok(()), |issue| Err(XrpcError::invalid_request(issue)))
}
