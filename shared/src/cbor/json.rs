//! DAG-CBOR as JSON, written without building a value in between.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use serde::ser::{Error as _, SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use super::reader::{ARRAY, MAP, TEXT};
use super::{CborError, Reader};

/// A block as it is stored, which serialises as the JSON of the value that it is: what [`crate::data::Value`] would.
///
/// The bytes are looked at only then. Serialising fails where [`super::decode`] would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(pub Bytes);

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut reader = Reader::new(&self.0);
        let written = write(&mut reader, serializer)?;
        reader.finish().map_err(S::Error::custom)?;
        Ok(written)
    }
}

/// The next item of a reader.
struct Item<'r, 'a>(RefCell<&'r mut Reader<'a>>);

impl Serialize for Item<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write(&mut self.0.borrow_mut(), serializer)
    }
}

/// Why writing ended: what is read is not DAG-CBOR, or what is written to takes no more.
enum Failure<E> {
    Read(CborError),
    Write(E),
}

impl<E> From<CborError> for Failure<E> {
    fn from(error: CborError) -> Self {
        Self::Read(error)
    }
}

impl<E: serde::ser::Error> Failure<E> {
    fn into_error(self) -> E {
        match self {
            Self::Read(error) => unreadable(error),
            Self::Write(error) => error,
        }
    }
}

fn unreadable<E: serde::ser::Error>(error: impl fmt::Display) -> E {
    E::custom(error)
}

fn write<S: Serializer>(reader: &mut Reader<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    match reader.rest().first().map(|first| first >> 5) {
        Some(MAP) => {
            let mut map = serializer.serialize_map(None)?;
            let fields =
                reader.map(|key, reader| map.serialize_entry(key, &Item(RefCell::new(reader))).map_err(Failure::Write));
            fields.map_err(Failure::into_error)?;
            map.end()
        }
        Some(ARRAY) => {
            let mut items = serializer.serialize_seq(None)?;
            let written =
                reader.items(|reader| items.serialize_element(&Item(RefCell::new(reader))).map_err(Failure::Write));
            written.map_err(Failure::into_error)?;
            items.end()
        }
        Some(TEXT) => serializer.serialize_str(reader.text().map_err(unreadable)?),
        _ => reader.value().map_err(unreadable)?.serialize(serializer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::{decode, encode};
    use crate::data::json::parse;

    #[test]
    fn it_is_the_json_of_the_value() {
        let link = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm";
        let text = format!(
            r#"{{"$type":"a.b.c","empty":{{}},"none":[],"n":-5,"t":true,"z":null,"s":"\"\u0001é\n","l":{{"$link":"{link}"}},"b":{{"$bytes":"AAEC"}},"a":[1,[2,{{"x":"y"}}],"z"]}}"#
        );
        let block = encode(&parse(text.as_bytes()).unwrap());
        let direct = serde_json::to_string(&Encoded(block.clone().into())).unwrap();
        assert_eq!(direct, serde_json::to_string(&decode(&block).unwrap()).unwrap());
    }

    #[test]
    fn what_cannot_be_decoded_is_not_written() {
        let deep = [vec![0x81; 300], vec![0x00]].concat();
        let deep_maps = [[0xa1, 0x61, b'a'].repeat(300), vec![0x00]].concat();
        let unordered = [0xa2, 0x61, b'b', 0, 0x61, b'a', 0].to_vec();
        let (cut, more, float) = (vec![0x82, 0], vec![0, 0], vec![0xf9, 0, 0]);
        for block in [deep, deep_maps, unordered, cut, more, float, Vec::new()] {
            assert!(decode(&block).is_err());
            assert!(serde_json::to_string(&Encoded(block.clone().into())).is_err(), "{block:02x?}");
        }
    }
}
