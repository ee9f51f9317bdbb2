//! Writing DAG-CBOR: every head in its shortest form.
//!
//! A [`Writer`] appends; the caller of [`Writer::map`] and [`Writer::array`] writes as many items as it announced, and
//! the keys of a map in order. [`Writer::value`] does so by itself.

use crate::cid::Cid;
use crate::data::Value;

/// A growing DAG-CBOR document.
#[derive(Debug, Default, Clone)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty document.
    #[must_use]
    pub fn new() -> Self {
        Self(Vec::with_capacity(256))
    }

    /// The bytes written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Starts a map of `fields` fields: so often a key by [`Self::text`], in DAG-CBOR order, and its value.
    pub fn map(&mut self, fields: usize) -> &mut Self {
        self.head(5, fields as u64)
    }

    /// Starts an array of `items` items.
    pub fn array(&mut self, items: usize) -> &mut Self {
        self.head(4, items as u64)
    }

    /// A string.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.head(3, text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// A byte string.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.head(2, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// A link.
    pub fn link(&mut self, cid: &Cid) -> &mut Self {
        let bytes = cid.as_bytes();
        self.head(6, 42).head(2, bytes.len() as u64 + 1);
        self.0.push(0);
        self.0.extend_from_slice(bytes);
        self
    }

    /// A link, or null.
    pub fn link_or_null(&mut self, cid: Option<&Cid>) -> &mut Self {
        match cid {
            Some(cid) => self.link(cid),
            None => self.null(),
        }
    }

    /// A signed integer.
    pub fn int(&mut self, number: i64) -> &mut Self {
        match u64::try_from(number) {
            Ok(number) => self.head(0, number),
            // −1 − n for a negative n is its bitwise complement, and never negative.
            Err(_) => self.head(1, (!number).unsigned_abs()),
        }
    }

    /// True or false.
    pub fn bool(&mut self, truth: bool) -> &mut Self {
        self.0.push(if truth { 0xf5 } else { 0xf4 });
        self
    }

    /// Null.
    pub fn null(&mut self) -> &mut Self {
        self.0.push(0xf6);
        self
    }

    /// Any value.
    pub fn value(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.null(),
            Value::Bool(truth) => self.bool(*truth),
            Value::Int(number) => self.int(*number),
            Value::String(text) => self.text(text),
            Value::Bytes(bytes) => self.bytes(bytes),
            Value::Link(cid) => self.link(cid),
            Value::Array(items) => {
                self.array(items.len());
                items.iter().fold(self, Self::value)
            }
            Value::Map(map) => {
                self.map(map.len());
                map.iter().fold(self, |writer, (key, value)| writer.text(key).value(value))
            }
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "each arm's range fits its width")]
    fn head(&mut self, major: u8, argument: u64) -> &mut Self {
        let major = major << 5;
        match argument {
            0..24 => self.0.push(major | argument as u8),
            24..0x100 => self.0.extend_from_slice(&[major | 24, argument as u8]),
            0x100..0x1_0000 => {
                let [a, b] = (argument as u16).to_be_bytes();
                self.0.extend_from_slice(&[major | 25, a, b]);
            }
            0x1_0000..0x1_0000_0000 => {
                self.0.push(major | 26);
                self.0.extend_from_slice(&(argument as u32).to_be_bytes());
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend_from_slice(&argument.to_be_bytes());
            }
        }
        self
    }
}
