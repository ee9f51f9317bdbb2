//! Parameters: from the query string to the method's type.
//!
//! A name that stands there several times is a list. Integers are digits after an optional `-`, booleans are `true` and
//! `false`, an empty value is none, and names that the method does not know are passed over. Defaults are the types'.
//! What is wrong is told in the words of the method's schema.
//!
//! Specification: <https://atproto.com/specs/xrpc#lexicon-http-endpoints>.

use std::borrow::Cow;

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::explain;
use crate::error::XrpcError;

/// The parameters of `nsid` in a query string.
pub(super) fn read<P: DeserializeOwned>(nsid: &str, query: Option<&str>) -> Result<P, XrpcError> {
    let given = Given::parse(query.unwrap_or_default());
    P::deserialize(&given).map_err(|error| {
        let issue = explain::params(nsid, &given).unwrap_or_else(|| error.to_string());
        XrpcError::invalid_request(format!("Invalid {nsid} params: {issue}"))
    })
}

/// What stands in a query string: each name with its values, in order.
pub(super) struct Given<'q>(Vec<(Cow<'q, str>, Values<'q>)>);

/// The values of one name, at least one.
#[derive(Clone)]
pub(super) struct Values<'q>(Vec<Cow<'q, str>>);

impl<'q> Given<'q> {
    fn parse(query: &'q str) -> Self {
        let mut given: Vec<(Cow<'q, str>, Values<'q>)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if value.is_empty() {
                continue;
            }
            match given.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.0.push(value),
                None => given.push((name, Values(vec![value]))),
            }
        }
        Self(given)
    }

    /// The values of `name`, none if it is not there.
    pub(super) fn get(&self, name: &str) -> &[Cow<'q, str>] {
        self.0.iter().find(|(known, _)| known == name).map_or(&[], |(_, values)| &values.0)
    }
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

#[cfg(test)]
mod tests {
    use shared::api::repo::{GetRecordParams, ListRecordsParams};
    use shared::api::server::GetServiceAuthParams;
    use shared::api::sync::GetBlocksParams;

    use super::*;

    fn refused<P: DeserializeOwned + std::fmt::Debug>(nsid: &str, query: &str) -> String {
        read::<P>(nsid, Some(query)).unwrap_err().to_string()
    }

    #[test]
    fn parameters_have_their_types_and_defaults() {
        let listing = "com.atproto.repo.listRecords";
        let query = "repo=did%3Aplc%3Aabc&collection=a.b.c&reverse=true&limit=7&other=1&cursor=";
        let params: ListRecordsParams = read(listing, Some(query)).unwrap();
        assert_eq!((params.repo.as_str(), params.limit.get(), params.reverse), ("did:plc:abc", 7, true));
        assert_eq!(params.cursor, None);
        let params: ListRecordsParams = read(listing, Some("repo=a.test&collection=a.b.c")).unwrap();
        assert_eq!((params.limit.get(), params.reverse), (50, false));
        read::<()>("com.atproto.server.getSession", Some("a=b")).unwrap();
        read::<()>("com.atproto.server.getSession", None).unwrap();
    }

    #[test]
    fn a_repeated_name_is_a_list_and_only_where_there_is_one() {
        let cid = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454";
        let query = format!("did=did:plc:abc&cids={cid}&cids={cid}");
        let params: GetBlocksParams = read("com.atproto.sync.getBlocks", Some(&query)).unwrap();
        assert_eq!(params.cids.len(), 2);
        let one: GetBlocksParams =
            read("com.atproto.sync.getBlocks", Some(&format!("did=did:plc:abc&cids={cid}"))).unwrap();
        assert_eq!(one.cids.len(), 1);
        let twice = refused::<GetServiceAuthParams>("com.atproto.server.getServiceAuth", "aud=a&aud=b");
        assert_eq!(
            twice,
            r#"Invalid com.atproto.server.getServiceAuth params: Expected string value type (got ["a", "b"])"#
        );
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_the_schema() {
        let listing = "com.atproto.repo.listRecords";
        for (query, issue) in [
            ("collection=a.b.c", "Missing required key \"repo\""),
            ("repo=a.test&collection=a.b.c&limit=0", "integer too small (minimum 1, got 0)"),
            ("repo=a.test&collection=a.b.c&limit=101", "integer too big (maximum 100, got 101)"),
            ("repo=a.test&collection=a.b.c&limit=x", "Expected integer value type (got \"x\")"),
            ("repo=a.test&collection=a.b.c&reverse=1", "Expected boolean value type (got \"1\")"),
        ] {
            let expected = format!("Invalid {listing} params: {issue}");
            assert_eq!(refused::<ListRecordsParams>(listing, query), expected, "{query}");
        }
        let bad = refused::<GetRecordParams>("com.atproto.repo.getRecord", "repo=@&collection=a.b.c&rkey=x");
        assert!(bad.starts_with("Invalid com.atproto.repo.getRecord params: Invalid AT identifier"), "{bad}");
    }
}
