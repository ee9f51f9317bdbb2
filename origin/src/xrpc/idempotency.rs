//! The `Idempotency-Key` header: what a client calls a request, so that it can send it again.
//!
//! The draft has a structured string, `"8e03978e-40d5-43dd-bc93-6894a57f9324"`; many clients leave the quotes out, so the
//! same text without them is the same key.
//!
//! Specification: <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07>, RFC 8941.

use axum::http::HeaderMap;

use crate::error::XrpcError;

const HEADER: &str = "idempotency-key";
/// The longest key, in bytes.
const MAX_LEN: usize = 255;

/// The request's key, if it has one.
///
/// # Errors
/// 400 for more than one, and one that is empty, longer than 255 bytes or no such string.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, XrpcError> {
    let mut given = headers.get_all(HEADER).iter();
    let (first, second) = (given.next(), given.next());
    let Some(first) = first else { return Ok(None) };
    let key = first.to_str().ok().filter(|_| second.is_none()).and_then(|text| read(text.trim()));
    let key = key.filter(|key| (1..=MAX_LEN).contains(&key.len()));
    let wrong = "Idempotency-Key must be one string of 1 to 255 printable ASCII characters";
    key.map(Some).ok_or_else(|| XrpcError::invalid_request(wrong))
}

fn read(text: &str) -> Option<String> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Not what separates one thing in a header from another.
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(&byte);
        return text.bytes().all(plain).then(|| text.to_owned());
    };
    let quoted = quoted.strip_suffix('"')?;
    let mut key = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    while let Some(next) = rest.next() {
        key.push(match next {
            '\\' => rest.next().filter(|escaped| matches!(escaped, '"' | '\\'))?,
            '"' => return None,
            ' '..='~' => next,
            _ => return None,
        });
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key_of(values: &[&[u8]]) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        key(&headers).map_err(|error| error.status().as_u16())
    }

    #[test]
    fn a_key_is_a_string_with_or_without_its_quotes() {
        assert_eq!(key_of(&[]), Ok(None));
        let longest = "x".repeat(255);
        for (value, key) in [
            ("8e03978e-40d5", "8e03978e-40d5"),
            ("\"8e03978e-40d5\"", "8e03978e-40d5"),
            (" a/b+c==:1 ", "a/b+c==:1"),
            (r#""a \"b\" \\, c;""#, r#"a "b" \, c;"#),
            (&longest, &longest),
        ] {
            assert_eq!(key_of(&[value.as_bytes()]), Ok(Some(key.to_owned())), "{value}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = format!("\"{}\"", "x".repeat(256));
        for values in [
            &["".as_bytes()][..],
            &[b"  "],
            &[b"\"\""],
            &[b"\""],
            &[b"\"a"],
            &[b"a\""],
            &[b"\"a\"b\""],
            &[b"\"a\\\""],
            &[b"\"a\\n\""],
            &[b"\"a\";b=1"],
            &[b"a b"],
            &[b"a, b"],
            &["h\u{e4}".as_bytes()],
            &[b"\"a\tb\""],
            &[long.as_bytes()],
            &[b"a", b"a"],
        ] {
            assert_eq!(key_of(values), Err(400), "{values:?}");
        }
    }
}
