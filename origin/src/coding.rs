//! Content codings: undone, and agreed upon where this server may have to read what it passes on.
//!
//! Whoever undoes one bounds what comes out: a small body can be coded of a large one.
//!
//! Specification: RFC 9110, sections 8.4 and 12.5.3.

use std::io;
use std::pin::Pin;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::Stream;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::error::XrpcError;

/// The pieces of a body.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// `pieces` without the coding that is called `coding`, which may be empty. `None` if it is none that is known here.
pub(crate) fn undone(coding: &str, pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Option<Pieces> {
    Some(match coding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Box::pin(pieces),
        "gzip" | "x-gzip" => Box::pin(ReaderStream::new(GzipDecoder::new(StreamReader::new(Box::pin(pieces))))),
        "deflate" => Box::pin(ReaderStream::new(ZlibDecoder::new(StreamReader::new(Box::pin(pieces))))),
        "br" => Box::pin(ReaderStream::new(BrotliDecoder::new(StreamReader::new(Box::pin(pieces))))),
        _ => return None,
    })
}

/// What is known here, with how much each is liked: where this server may have to undo it, and where that matters less
/// than the bytes on the way. The reference has the same.
const PLAIN_FIRST: [(&str, &str); 4] = [("identity", "1"), ("gzip", "0.3"), ("deflate", "0.2"), ("br", "0.1")];
const COMPRESSED_FIRST: [(&str, &str); 4] = [("gzip", "1"), ("deflate", "0.9"), ("br", "0.8"), ("identity", "0.1")];

/// The `Accept-Encoding` for a service whose answer this server may have to read, and the client of `headers` gets:
/// what both can undo, in the order that this server likes.
///
/// # Errors
/// 400 for a header that is none, 406 if there is nothing that both can undo.
pub(crate) fn acceptable(headers: &HeaderMap, compressed_first: bool) -> Result<HeaderValue, XrpcError> {
    let accepted = accepted(headers)?;
    let takes = |coding: &str| {
        let named = |name: &str| accepted.iter().rfind(|(known, _)| known == name).map(|(_, takes)| *takes);
        // What nobody speaks of is taken only if it is nothing.
        named(coding).or_else(|| named("*")).unwrap_or(coding == "identity")
    };
    let liked = if compressed_first { COMPRESSED_FIRST } else { PLAIN_FIRST };
    let mut common: Vec<String> = Vec::new();
    for (coding, weight) in liked.into_iter().filter(|(coding, _)| takes(coding)) {
        common.push(format!("{coding};q={weight}"));
    }
    if common.is_empty() {
        return Err(XrpcError::not_acceptable("this service does not support any of the requested encodings"));
    }
    if !takes("identity") {
        common.push("*;q=0".to_owned());
    }
    HeaderValue::try_from(common.join(",")).map_err(XrpcError::internal)
}

/// The codings that a client names, in lower case, and whether it takes them.
fn accepted(headers: &HeaderMap) -> Result<Vec<(String, bool)>, XrpcError> {
    let mut accepted = Vec::new();
    for line in headers.get_all(header::ACCEPT_ENCODING) {
        let malformed = |part: &str| XrpcError::invalid_request(format!("Invalid accept-encoding: \"{part}\""));
        let line = line.to_str().map_err(|_| malformed("?"))?;
        if line.is_empty() {
            continue;
        }
        for part in line.split(',') {
            let (coding, weight) = match part.split_once(';') {
                None => (part.trim(), Some(true)),
                Some((coding, weight)) => (coding.trim(), takes(weight)),
            };
            match weight {
                Some(takes) if !coding.is_empty() && !coding.contains('=') => {
                    accepted.push((coding.to_ascii_lowercase(), takes));
                }
                _ => return Err(malformed(part)),
            }
        }
    }
    Ok(accepted)
}

/// Whether what has this weight, `q=` and a number of 0 to 1, is taken; `None` if it is no weight.
fn takes(weight: &str) -> Option<bool> {
    let (name, value) = weight.trim().split_once('=')?;
    let value: f64 = value.trim().parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
    name.eq_ignore_ascii_case("q").then_some(value > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &[&str], compressed_first: bool) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for line in accept {
            headers.append(header::ACCEPT_ENCODING, line.parse().unwrap());
        }
        let agreed = acceptable(&headers, compressed_first);
        agreed.map(|value| value.to_str().unwrap().to_owned()).map_err(|error| format!("{} {error}", error.status()))
    }

    /// The values are what the reference's own function gives for these headers.
    #[test]
    fn a_service_is_asked_for_what_both_can_undo() {
        for (accept, plain, compressed) in [
            (&[][..], "identity;q=1", "identity;q=0.1"),
            (&[""], "identity;q=1", "identity;q=0.1"),
            (&["gzip"], "identity;q=1,gzip;q=0.3", "gzip;q=1,identity;q=0.1"),
            (
                &["gzip, deflate, br, zstd"],
                "identity;q=1,gzip;q=0.3,deflate;q=0.2,br;q=0.1",
                "gzip;q=1,deflate;q=0.9,br;q=0.8,identity;q=0.1",
            ),
            (
                &["*"],
                "identity;q=1,gzip;q=0.3,deflate;q=0.2,br;q=0.1",
                "gzip;q=1,deflate;q=0.9,br;q=0.8,identity;q=0.1",
            ),
            (&["BR;q=0.5,gzip;q=0"], "identity;q=1,br;q=0.1", "br;q=0.8,identity;q=0.1"),
            (&["gzip", "br;Q=1"], "identity;q=1,gzip;q=0.3,br;q=0.1", "gzip;q=1,br;q=0.8,identity;q=0.1"),
            (&["gzip,identity;q=0"], "gzip;q=0.3,*;q=0", "gzip;q=1,*;q=0"),
            (&["gzip,*;q=0"], "gzip;q=0.3,*;q=0", "gzip;q=1,*;q=0"),
            (&["identity,*;q=0"], "identity;q=1", "identity;q=0.1"),
            (&["zstd"], "identity;q=1", "identity;q=0.1"),
        ] {
            assert_eq!(asked(accept, false).as_deref(), Ok(plain), "{accept:?}");
            assert_eq!(asked(accept, true).as_deref(), Ok(compressed), "{accept:?}");
        }
        let nothing = "406 Not Acceptable this service does not support any of the requested encodings";
        for accept in ["identity;q=0", "*;q=0", "zstd,identity;q=0"] {
            assert_eq!(asked(&[accept], false).unwrap_err(), nothing, "{accept}");
        }
        for accept in ["gzip,", "gzip;q=2", "gzip;x=1", "gzip;q", "gzip;q=1;q=1", "=gzip", "gzip;q=-1", "gzip;q=x"] {
            let refused = asked(&[accept], false).unwrap_err();
            assert!(refused.starts_with("400 Bad Request Invalid accept-encoding: "), "{accept}: {refused}");
        }
    }
}
