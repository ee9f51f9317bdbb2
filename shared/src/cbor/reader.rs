//! Reading strict DAG-CBOR from a slice, item by item.
//!
//! A [`Reader`] stands between items and moves forward only; what it hands out borrows from the input. Whatever the
//! input, it neither panics nor allocates more than a constant times its length.

use std::cmp::Ordering;

use super::{CborError, CborErrorKind, MAX_DEPTH};
use crate::cid::Cid;
use crate::data::{Map, Value, key_order};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
pub(super) const TEXT: u8 = 3;
pub(super) const ARRAY: u8 = 4;
pub(super) const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;
const LINK_TAG: u64 = 42;

/// A cursor over DAG-CBOR bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// How many items may still be reserved before they are seen: in all, one for every four bytes of the input, so that
    /// nested lengths cannot each claim the rest of it. An item is rarely shorter, and then the list grows.
    reserve: usize,
}

type Result<T> = std::result::Result<T, CborError>;

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0, reserve: bytes.len() / 4 }
    }

    /// How many bytes it has read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// What it has not read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `TrailingBytes` when there is more to read.
    pub fn finish(self) -> Result<()> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.error(CborErrorKind::TrailingBytes)) }
    }

    /// An error at the present position, for callers that find a rule of their own broken.
    #[must_use]
    pub fn error(&self, kind: CborErrorKind) -> CborError {
        CborError { kind, at: self.at }
    }

    /// Any value.
    ///
    /// # Errors
    /// Whatever rule of DAG-CBOR the bytes break.
    pub fn value(&mut self) -> Result<Value> {
        let start = self.at;
        let (major, argument) = self.head()?;
        match major {
            UNSIGNED => self.signed(start, argument, false).map(Value::Int),
            NEGATIVE => self.signed(start, argument, true).map(Value::Int),
            BYTES => self.take(argument).map(|bytes| Value::Bytes(bytes.to_vec())),
            TEXT => self.utf8(argument).map(|text| Value::String(text.to_owned())),
            ARRAY => {
                let len = self.len(argument)?;
                self.nested(|reader| {
                    let mut items = Vec::with_capacity(reader.reserve(len));
                    for _ in 0..len {
                        items.push(reader.value()?);
                    }
                    Ok(Value::Array(items))
                })
            }
            MAP => {
                let len = self.len(argument)?;
                self.nested(|reader| {
                    let mut map = Map::with_capacity(reader.reserve(len));
                    for _ in 0..len {
                        let at = reader.at;
                        let key = reader.key()?;
                        if let Some(last) = map.last_key()
                            && key_order(last, key) != Ordering::Less
                        {
                            return Err(key_error(at, last == key));
                        }
                        let value = reader.value()?;
                        map.push_last(key.to_owned(), value);
                    }
                    Ok(Value::Map(map))
                })
            }
            TAG => self.tagged(start, argument).map(Value::Link),
            _ => match argument {
                FALSE => Ok(Value::Bool(false)),
                TRUE => Ok(Value::Bool(true)),
                _ => Ok(Value::Null),
            },
        }
    }

    /// The fields of a map, each handed to `field` with the reader before its value, which `field` must read.
    ///
    /// # Errors
    /// What `field` returns; `Expected` when it is not a map; a key out of order.
    pub fn map<E: From<CborError>>(
        &mut self,
        mut field: impl FnMut(&'a str, &mut Self) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let len = self.sized(MAP, "a map")?;
        self.nested(|reader| reader.fields(len, &mut field))
    }

    /// The items of an array, each of which `item` must read.
    ///
    /// # Errors
    /// What `item` returns; `Expected` when it is not an array.
    pub fn items<E: From<CborError>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let len = self.array()?;
        self.nested(|reader| (0..len).try_for_each(|_| item(reader)))
    }

    /// Passes over any value, checking it as [`Self::value`] does but building nothing.
    ///
    /// # Errors
    /// Whatever rule of DAG-CBOR the bytes break.
    pub fn skip(&mut self) -> Result<()> {
        let start = self.at;
        let (major, argument) = self.head()?;
        match major {
            UNSIGNED | NEGATIVE => self.signed(start, argument, major == NEGATIVE).map(drop),
            BYTES => self.take(argument).map(drop),
            TEXT => self.utf8(argument).map(drop),
            ARRAY => {
                let len = self.len(argument)?;
                self.nested(|reader| (0..len).try_for_each(|_| reader.skip()))
            }
            MAP => {
                let len = self.len(argument)?;
                self.nested(|reader| reader.fields(len, &mut |_, reader: &mut Self| reader.skip()))
            }
            TAG => self.tagged(start, argument).map(drop),
            _ => Ok(()),
        }
    }

    /// The length of an array; so many items follow.
    ///
    /// # Errors
    /// `Expected` when it is not an array, `Truncated` when the input cannot hold so many items.
    pub fn array(&mut self) -> Result<usize> {
        self.sized(ARRAY, "an array")
    }

    /// A string.
    ///
    /// # Errors
    /// `Expected` when it is not a string, `Utf8` when its bytes are no text.
    pub fn text(&mut self) -> Result<&'a str> {
        let len = self.expect(TEXT, "a string")?;
        self.utf8(len)
    }

    /// A byte string.
    ///
    /// # Errors
    /// `Expected` when it is not a byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.expect(BYTES, "bytes")?;
        self.take(len)
    }

    /// A link.
    ///
    /// # Errors
    /// `Expected` when it is not a link, `Link` or `Cid` when it is a malformed one.
    pub fn link(&mut self) -> Result<Cid> {
        let start = self.at;
        let tag = self.expect(TAG, "a link")?;
        self.tagged(start, tag)
    }

    /// A signed integer.
    ///
    /// # Errors
    /// `Expected` when it is not an integer, `IntegerRange` when it does not fit.
    pub fn int(&mut self) -> Result<i64> {
        let start = self.at;
        match self.head()? {
            (UNSIGNED, argument) => self.signed(start, argument, false),
            (NEGATIVE, argument) => self.signed(start, argument, true),
            _ => Err(CborError { kind: CborErrorKind::Expected("an integer"), at: start }),
        }
    }

    /// A non-negative integer.
    ///
    /// # Errors
    /// `Expected` when it is not one, `IntegerRange` when it is beyond 2^63 − 1.
    pub fn uint(&mut self) -> Result<u64> {
        let start = self.at;
        let argument = self.expect(UNSIGNED, "a non-negative integer")?;
        self.signed(start, argument, false).map(i64::unsigned_abs)
    }

    /// True or false.
    ///
    /// # Errors
    /// `Expected` when it is neither.
    pub fn bool(&mut self) -> Result<bool> {
        let start = self.at;
        match self.head()? {
            (SIMPLE, FALSE) => Ok(false),
            (SIMPLE, TRUE) => Ok(true),
            _ => Err(CborError { kind: CborErrorKind::Expected("a boolean"), at: start }),
        }
    }

    /// `None` for null, which is read; otherwise what `read` makes of it.
    ///
    /// # Errors
    /// What `read` returns.
    pub fn nullable<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.rest().first() == Some(&(SIMPLE << 5 | NULL as u8)) {
            self.at += 1;
            return Ok(None);
        }
        read(self).map(Some)
    }

    fn expect(&mut self, major: u8, what: &'static str) -> Result<u64> {
        let start = self.at;
        match self.head()? {
            (found, argument) if found == major => Ok(argument),
            _ => Err(CborError { kind: CborErrorKind::Expected(what), at: start }),
        }
    }

    fn sized(&mut self, major: u8, what: &'static str) -> Result<usize> {
        let argument = self.expect(major, what)?;
        self.len(argument)
    }

    /// Major type and argument of the next item, which are checked but for what the argument counts.
    #[inline]
    fn head(&mut self) -> Result<(u8, u64)> {
        let start = self.at;
        let first = *self.bytes.get(start).ok_or(CborError { kind: CborErrorKind::Truncated, at: start })?;
        let (major, low) = (first >> 5, first & 0x1f);
        if low < 24 && major != SIMPLE {
            self.at = start + 1;
            return Ok((major, u64::from(low)));
        }
        self.long_head(start, major, low)
    }

    fn long_head(&mut self, start: usize, major: u8, low: u8) -> Result<(u8, u64)> {
        let fail = |kind| Err(CborError { kind, at: start });
        if major == SIMPLE {
            self.at = start + 1;
            return match low {
                20..=22 => Ok((major, u64::from(low))),
                24 => fail(CborErrorKind::Simple(self.rest().first().copied().unwrap_or_default())),
                25..=27 => fail(CborErrorKind::Float),
                31 => fail(CborErrorKind::Indefinite),
                other => fail(CborErrorKind::Simple(other)),
            };
        }
        let (width, least) = match low {
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 => return fail(CborErrorKind::Indefinite),
            _ => return fail(CborErrorKind::NotMinimal),
        };
        let Some(bytes) = self.bytes.get(start + 1..start + 1 + width) else {
            return fail(CborErrorKind::Truncated);
        };
        let argument = bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        if argument < least {
            return fail(CborErrorKind::NotMinimal);
        }
        self.at = start + 1 + width;
        Ok((major, argument))
    }

    /// A count of items, each of at least one byte, that the rest of the input can hold.
    fn len(&self, argument: u64) -> Result<usize> {
        usize::try_from(argument)
            .ok()
            .filter(|len| *len <= self.bytes.len() - self.at)
            .ok_or(self.error(CborErrorKind::Truncated))
    }

    /// How many of `len` items may be reserved before they are seen.
    fn reserve(&mut self, len: usize) -> usize {
        let granted = len.min(self.reserve);
        self.reserve -= granted;
        granted
    }

    #[inline]
    fn take(&mut self, argument: u64) -> Result<&'a [u8]> {
        let len = self.len(argument)?;
        let taken = self.bytes.get(self.at..self.at + len).unwrap_or_default();
        self.at += len;
        Ok(taken)
    }

    #[inline]
    fn utf8(&mut self, argument: u64) -> Result<&'a str> {
        let at = self.at;
        std::str::from_utf8(self.take(argument)?).map_err(|_| CborError { kind: CborErrorKind::Utf8, at })
    }

    fn key(&mut self) -> Result<&'a str> {
        let start = self.at;
        match self.head()? {
            (TEXT, len) => self.utf8(len),
            _ => Err(CborError { kind: CborErrorKind::KeyType, at: start }),
        }
    }

    fn signed(&self, start: usize, argument: u64, negative: bool) -> Result<i64> {
        let size = i64::try_from(argument).map_err(|_| CborError { kind: CborErrorKind::IntegerRange, at: start })?;
        Ok(if negative { -1 - size } else { size })
    }

    fn tagged(&mut self, start: usize, tag: u64) -> Result<Cid> {
        let fail = |kind| CborError { kind, at: start };
        if tag != LINK_TAG {
            return Err(fail(CborErrorKind::Tag(tag)));
        }
        let (major, argument) = self.head()?;
        if major != BYTES {
            return Err(fail(CborErrorKind::Link));
        }
        let bytes = self.take(argument)?;
        let cid = bytes.strip_prefix(&[0]).ok_or(fail(CborErrorKind::Link))?;
        Cid::from_bytes(cid).map_err(|error| fail(CborErrorKind::Cid(error)))
    }

    /// The fields of a map of `len`, whose head is read.
    fn fields<E: From<CborError>>(
        &mut self,
        len: usize,
        field: &mut impl FnMut(&'a str, &mut Self) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut last: Option<&str> = None;
        for _ in 0..len {
            let at = self.at;
            let key = self.key()?;
            if let Some(last) = last
                && key_order(last, key) != Ordering::Less
            {
                return Err(key_error(at, last == key).into());
            }
            last = Some(key);
            field(key, self)?;
        }
        Ok(())
    }

    fn nested<T, E: From<CborError>>(
        &mut self,
        read: impl FnOnce(&mut Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(CborErrorKind::Depth).into());
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }
}

fn key_error(at: usize, same: bool) -> CborError {
    CborError { kind: if same { CborErrorKind::DuplicateKey } else { CborErrorKind::KeyOrder }, at }
}
