//! DAG-CBOR as JSON, written without building a value in between.

use bytes::Bytes;

use super::reader::{ARRAY, MAP, TEXT};
use super::{CborError, Reader};

/// A block as it is stored. Its bytes are looked at when it is written as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(pub Bytes);

impl Encoded {
    /// Appends the JSON of the value that it is: what `serde_json` makes of [`crate::data::Value`].
    ///
    /// # Errors
    /// What [`super::decode`] refuses; `out` then ends anywhere.
    pub fn append_json(&self, out: &mut Vec<u8>) -> Result<(), CborError> {
        let mut reader = Reader::new(&self.0);
        append(&mut reader, out)?;
        reader.finish()
    }
}

fn append(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), CborError> {
    match reader.rest().first().map(|first| first >> 5) {
        Some(MAP) => {
            let mut before = b'{';
            reader.map(|key, reader| {
                out.push(std::mem::replace(&mut before, b','));
                append_text(key, out);
                out.push(b':');
                append(reader, out)
            })?;
            close(before == b'{', *b"{}", out);
        }
        Some(ARRAY) => {
            let mut before = b'[';
            reader.items(|reader| {
                out.push(std::mem::replace(&mut before, b','));
                append(reader, out)
            })?;
            close(before == b'[', *b"[]", out);
        }
        Some(TEXT) => append_text(reader.text()?, out),
        _ => {
            let value = reader.value()?;
            // Nothing of this can fail: it is written to memory.
            let _infallible = serde_json::to_writer(out, &value);
        }
    }
    Ok(())
}

/// Ends what was opened by its first item, if there was one.
fn close(empty: bool, [open, end]: [u8; 2], out: &mut Vec<u8>) {
    if empty {
        out.push(open);
    }
    out.push(end);
}

/// Appends a string. Most have nothing to escape, which is seen many bytes at a time.
pub(crate) fn append_text(text: &str, out: &mut Vec<u8>) {
    let escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    if text.as_bytes().chunks(32).any(|chunk| chunk.iter().fold(false, |any, byte| any | escaped(byte))) {
        let _infallible = serde_json::to_writer(out, text);
        return;
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cbor::{decode, encode};
    use crate::data::json::parse;

    fn json(block: &[u8]) -> Result<String, CborError> {
        let mut out = Vec::new();
        Encoded(block.to_vec().into()).append_json(&mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn it_is_the_json_of_the_value() {
        let link = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm";
        let text = format!(
            r#"{{"$type":"a.b.c","empty":{{}},"none":[],"n":-5,"t":true,"z":null,"s":"\"\u0001é\n","l":{{"$link":"{link}"}},"b":{{"$bytes":"AAEC"}},"a":[1,[2,{{"x":"y"}}],"z"]}}"#
        );
        let block = encode(&parse(text.as_bytes()).unwrap());
        assert_eq!(json(&block).unwrap(), serde_json::to_string(&decode(&block).unwrap()).unwrap());
    }

    #[test]
    fn strings_are_escaped_wherever_they_have_to_be() {
        for at in 0..70 {
            for odd in ['"', '\\', '\n', '\u{1f}', '\u{7f}', '/', 'é', '\u{2028}'] {
                let mut text = "x".repeat(at);
                text.push(odd);
                text.push_str("and more");
                let mut out = Vec::new();
                append_text(&text, &mut out);
                assert_eq!(out, serde_json::to_vec(&text).unwrap(), "{at} {odd:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_not_written() {
        let deep = [vec![0x81; 300], vec![0x00]].concat();
        let deep_maps = [[0xa1, 0x61, b'a'].repeat(300), vec![0x00]].concat();
        let unordered = [0xa2, 0x61, b'b', 0, 0x61, b'a', 0].to_vec();
        let (cut, more, float) = (vec![0x82, 0], vec![0, 0], vec![0xf9, 0, 0]);
        for block in [deep, deep_maps, unordered, cut, more, float, Vec::new()] {
            assert!(decode(&block).is_err());
            assert!(json(&block).is_err(), "{block:02x?}");
        }
    }
}
