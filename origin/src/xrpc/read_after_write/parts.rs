//! JSON of which a few places are looked at and changed: all else stays the text that it came as.
//!
//! What is opened costs memory for its own fields or items, not for what is below them, so that nobody who writes records
//! decides how much an answer takes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::Unpatched;

/// A value in a text, opened or not, or a new one.
#[derive(Debug, Clone)]
pub(super) enum Part<'t> {
    Text(&'t RawValue),
    Object(Object<'t>),
    List(Vec<Part<'t>>),
    New(Box<RawValue>),
}

/// An object's fields, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Object<'t>(Vec<(Cow<'t, str>, Part<'t>)>);

impl<'t> Part<'t> {
    /// Reads a text, which is JSON from its beginning to its end.
    pub(super) fn of(text: &'t [u8]) -> Result<Self, Unpatched> {
        Ok(Self::Text(serde_json::from_slice(text)?))
    }

    pub(super) fn new(value: &impl Serialize) -> Result<Self, Unpatched> {
        Ok(Self::New(to_raw_value(value)?))
    }

    /// What it says, as a type that names what of it matters. For what was not opened.
    pub(super) fn read<'s, T: Deserialize<'s>>(&'s self) -> Result<T, Unpatched> {
        match self {
            Self::Text(text) => Ok(serde_json::from_str(text.get())?),
            Self::New(text) => Ok(serde_json::from_str(text.get())?),
            Self::Object(_) | Self::List(_) => Err(Unpatched::Lacks("text")),
        }
    }

    /// Opens an object.
    pub(super) fn object(&mut self) -> Result<&mut Object<'t>, Unpatched> {
        if let Self::Text(text) = *self {
            *self = Self::Object(serde_json::from_str(text.get())?);
        }
        match self {
            Self::Object(object) => Ok(object),
            _ => Err(Unpatched::Lacks("object")),
        }
    }

    /// Opens a list.
    pub(super) fn list(&mut self) -> Result<&mut Vec<Part<'t>>, Unpatched> {
        if let Self::Text(text) = *self {
            let items: Vec<&'t RawValue> = serde_json::from_str(text.get())?;
            *self = Self::List(items.into_iter().map(Self::Text).collect());
        }
        match self {
            Self::List(items) => Ok(items),
            _ => Err(Unpatched::Lacks("list")),
        }
    }

    /// Opens the object that is reached by these names.
    pub(super) fn object_at(&mut self, names: &[&'static str]) -> Result<&mut Object<'t>, Unpatched> {
        let mut part = self;
        for name in names {
            part = part.object()?.get_mut(name).ok_or(Unpatched::Lacks(name))?;
        }
        part.object()
    }
}

impl<'t> Object<'t> {
    pub(super) fn get(&self, name: &str) -> Option<&Part<'t>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, part)| part)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Part<'t>> {
        self.0.iter_mut().find(|(known, _)| known == name).map(|(_, part)| part)
    }

    /// Gives it a field, or takes it.
    pub(super) fn set(&mut self, name: &'static str, part: Option<Part<'t>>) {
        match (self.get_mut(name), part) {
            (Some(known), Some(part)) => *known = part,
            (None, Some(part)) => self.0.push((Cow::Borrowed(name), part)),
            (_, None) => self.0.retain(|(known, _)| known != name),
        }
    }
}

impl<'de: 't, 't> Deserialize<'de> for Object<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, text)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((Cow::Owned(name), Part::Text(text)));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, part)| (name, part)))
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::New(text) => text.serialize(serializer),
            Self::Object(object) => object.serialize(serializer),
            Self::List(items) => items.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn text(part: &Part<'_>) -> String {
        serde_json::to_string(part).unwrap()
    }

    #[test]
    fn what_is_not_changed_stays_as_it_came() {
        let came = r#"{ "n": 1.50, "a": {"x":[1, 2 ,{ }],"y" : "\u0041"}, "n": 1e999 }"#;
        let mut part = Part::of(came.as_bytes()).unwrap();
        assert_eq!(text(&part), came);
        let inner = part.object_at(&["a"]).unwrap();
        inner.get_mut("x").unwrap().list().unwrap().insert(1, Part::new(&Value::Null).unwrap());
        inner.set("z", Some(Part::new(&true).unwrap()));
        inner.set("y", None);
        assert_eq!(text(&part), r#"{"n":1.50,"a":{"x":[1,null,2,{ }],"z":true},"n":1e999}"#);
        let other = part.object().unwrap();
        other.set("a", Some(Part::new(&7).unwrap()));
        assert_eq!(other.get("a").unwrap().read::<i64>().unwrap(), 7);
        assert_eq!(text(&part), r#"{"n":1.50,"a":7,"n":1e999}"#);
    }

    #[test]
    fn what_is_none_is_not_opened() {
        for wrong in ["", "{", "{} x", "[1,]", "\"", "nul"] {
            assert!(Part::of(wrong.as_bytes()).is_err(), "{wrong}");
        }
        for (came, object, list) in
            [("{}", true, false), ("[]", false, true), ("7", false, false), ("null", false, false)]
        {
            let part = Part::of(came.as_bytes()).unwrap();
            assert_eq!((part.clone().object().is_ok(), part.clone().list().is_ok()), (object, list), "{came}");
        }
        assert!(Part::of(br#"{"a":{}}"#).unwrap().object_at(&["a", "b"]).is_err());
        // As deep as it likes: nothing below is looked at.
        let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
        assert_eq!(Part::of(deep.as_bytes()).unwrap().list().unwrap().len(), 1);
    }
}
