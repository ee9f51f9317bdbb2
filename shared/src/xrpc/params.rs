//! Parameters: from the query string to the method's type.
//!
//! A name that stands there several times is a list. Integers are digits after an optional `-`, booleans are `true` and
//! `false`, an empty value is none, and names that the method does not know are passed over. Defaults are the types'.
//!
//! Specification: <https://atproto.com/specs/xrpc#lexicon-http-endpoints>.

use std::borrow::Cow;

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// Why a query string is not a method's parameters, in the words of its type.
pub type ParamsError = Error;

/// What stands in a query string: each name with its values, in order.
#[derive(Debug, Clone)]
pub struct Given<'q>(Vec<(Cow<'q, str>, Values<'q>)>);

/// The values of one name, at least one.
#[derive(Debug, Clone)]
struct Values<'q>(Vec<Cow<'q, str>>);

impl<'q> Given<'q> {
    /// Reads a query string, without its question mark. There is none that cannot be read.
    #[must_use]
    pub fn parse(query: &'q str) -> Self {
        let given = form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty());
        Self::gathered(given.map(|(name, value)| (name, Values(vec![value]))))
    }

    fn gathered(all: impl IntoIterator<Item = (Cow<'q, str>, Values<'q>)>) -> Self {
        let mut given: Vec<(Cow<'q, str>, Values<'q>)> = Vec::new();
        for (name, mut values) in all {
            match given.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.0.append(&mut values.0),
                None => given.push((name, values)),
            }
        }
        Self(given)
    }

    /// The same with `name[]` and `name[0]` taken for `name`, as old clients write lists.
    #[must_use]
    pub fn without_brackets(self) -> Self {
        Self::gathered(self.0.into_iter().map(|(name, values)| {
            let before = before_brackets(&name).map(str::to_owned);
            (before.map_or(name, Cow::Owned), values)
        }))
    }

    /// The parameters as their type.
    ///
    /// # Errors
    /// When one is missing or not what the type takes.
    pub fn read<P: DeserializeOwned>(&self) -> Result<P, ParamsError> {
        P::deserialize(self)
    }

    /// The values of `name`, none if it is not there.
    #[must_use]
    pub fn get(&self, name: &str) -> &[Cow<'q, str>] {
        self.0.iter().find(|(known, _)| known == name).map_or(&[], |(_, values)| &values.0)
    }
}

/// What stands before brackets with or without a number at a name's end.
fn before_brackets(name: &str) -> Option<&str> {
    let (before, number) = name.strip_suffix(']')?.split_once('[')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(before)
}

impl<'de> Deserializer<'de> for &Given<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = self.0.iter().map(|(name, values)| (name.as_ref(), values.clone()));
        visitor.visit_map(MapDeserializer::new(entries))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl Values<'_> {
    fn one(&self) -> Result<&str, Error> {
        match self.0.as_slice() {
            [value] => Ok(value),
            _ => Err(Error::custom("more than one value")),
        }
    }

    fn integer<T: std::str::FromStr>(&self) -> Result<T, Error> {
        let text = self.one()?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        let integer = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        integer.ok_or_else(|| Error::custom(format_args!("{text:?} is not an integer in range")))
    }
}

impl<'de> IntoDeserializer<'de, Error> for Values<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.one()?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.one()? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            other => Err(Error::custom(format_args!("{other:?} is neither true nor false"))),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.integer()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.integer()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u32(self.integer()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new(self.0.into_iter().map(|value| Values(vec![value]))))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.one()?.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map
        struct identifier
    }
}
