//! Bodies read: types, lengths, codings, and what each is refused with.

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder};
use serde_json::{Value, json};
use shared::api::repo::PutRecord;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::*;

const METHOD: &str = "com.atproto.repo.putRecord";

fn headers(of: &[(&str, &str)]) -> HeaderMap {
    of.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
}

async fn read<I: Input>(of: &[(&str, &str)], body: Vec<u8>, limit: u64) -> Result<I, XrpcError> {
    let announced = body.len().to_string();
    let mut all = headers(of);
    if !all.contains_key(header::TRANSFER_ENCODING) {
        all.insert(header::CONTENT_LENGTH, announced.parse().unwrap());
    }
    I::read(METHOD, &all, Body::from(body), limit).await
}

async fn value(of: &[(&str, &str)], body: Vec<u8>, limit: u64) -> Result<Value, String> {
    let read = read::<Json<Value>>(of, body, limit).await;
    read.map(|Json(value)| value).map_err(|error| format!("{} {}: {error}", error.status().as_u16(), error.name()))
}

async fn encoded<W: AsyncWrite + Unpin>(mut writer: W, text: &[u8], into: impl FnOnce(W) -> Vec<u8>) -> Vec<u8> {
    writer.write_all(text).await.unwrap();
    writer.shutdown().await.unwrap();
    into(writer)
}

#[tokio::test]
async fn a_body_must_be_there_and_say_what_it_is() {
    let none =
        Json::<Value>::read(METHOD, &headers(&[("content-type", "application/json")]), Body::empty(), JSON).await;
    assert_eq!(none.unwrap_err().to_string(), "A request body is expected but none was provided");
    for (content_type, message) in [
        (None, "Request encoding (Content-Type) required but not provided"),
        (Some("json"), "Request encoding (Content-Type) required but not provided"),
        (Some("text/plain; charset=utf-8"), "Wrong request encoding (Content-Type): text/plain"),
    ] {
        let given: Vec<_> = content_type.map(|value| ("content-type", value)).into_iter().collect();
        let expected = format!("400 InvalidRequest: {message}");
        assert_eq!(value(&given, b"{}".to_vec(), JSON).await.unwrap_err(), expected);
    }
    for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(
            value(&[("content-type", content_type)], b"{\"a\":1}".to_vec(), JSON).await.unwrap(),
            json!({"a": 1})
        );
    }
    assert_eq!(value(&[("content-type", "application/json")], Vec::new(), JSON).await.unwrap(), json!({}));
}

#[tokio::test]
async fn encodings_are_undone_within_the_limit() {
    let text = format!("\"{}\"", "x".repeat(9_998)).into_bytes();
    let gzip = encoded(GzipEncoder::new(Vec::new()), &text, GzipEncoder::into_inner).await;
    let deflate = encoded(ZlibEncoder::new(Vec::new()), &text, ZlibEncoder::into_inner).await;
    let br = encoded(BrotliEncoder::new(Vec::new()), &text, BrotliEncoder::into_inner).await;
    for (encoding, body) in [("gzip", gzip), ("deflate", deflate), ("br", br), ("identity", text)] {
        let given = [("content-type", "application/json"), ("content-encoding", encoding)];
        let read = value(&given, body.clone(), 10_000).await.unwrap();
        assert_eq!(read.as_str().map(str::len), Some(9_998), "{encoding}");
        let refused = value(&given, body, 9_999).await.unwrap_err();
        assert_eq!(refused, "413 PayloadTooLarge: request entity too large", "{encoding}");
    }
    let given = [("content-type", "application/json"), ("content-encoding", "zstd")];
    let refused = value(&given, b"{}".to_vec(), JSON).await.unwrap_err();
    assert_eq!(refused, "415 UnsupportedMediaType: unsupported content-encoding");
    let broken =
        value(&[("content-type", "application/json"), ("content-encoding", "gzip")], b"{}".to_vec(), JSON).await;
    assert!(broken.unwrap_err().starts_with("400 InvalidRequest: the request body could not be read"));
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_before_the_body() {
    let announced = headers(&[("content-type", "application/json"), ("content-length", "11")]);
    let endless = Body::from_stream(futures_util::stream::pending::<io::Result<Bytes>>());
    let refused = Json::<Value>::read(METHOD, &announced, endless, 10).await.unwrap_err();
    assert_eq!(refused.status().as_u16(), 413);
}

#[tokio::test]
async fn where_none_is_expected_a_body_may_be_empty_and_no_more() {
    read::<()>(&[], Vec::new(), JSON).await.unwrap();
    <()>::read(METHOD, &HeaderMap::new(), Body::empty(), JSON).await.unwrap();
    read::<()>(&[("transfer-encoding", "chunked")], Vec::new(), JSON).await.unwrap();
    for given in [&[("transfer-encoding", "chunked")][..], &[]] {
        let refused = read::<()>(given, b"x".to_vec(), JSON).await.unwrap_err();
        assert_eq!(refused.to_string(), "A request body was provided when none was expected");
    }
}

#[tokio::test]
async fn what_is_wrong_with_json_is_told_in_the_words_of_the_schema() {
    let record = r#""repo":"a.test","collection":"a.b.c""#;
    for (text, issue) in [
        ("{", "invalid JSON at byte 1".to_owned()),
        ("[]", "Expected object value type (got []) at $".to_owned()),
        (r#"{"repo":"a.test","collection":"a.b.c","record":{}}"#, "Missing required key \"rkey\" at $".to_owned()),
        (&format!(r#"{{{record},"rkey":7,"record":{{}}}}"#), "Expected string value type (got 7) at $.rkey".to_owned()),
        (&format!(r#"{{{record},"rkey":"a","record":{{"x":1.5}}}}"#), "number is not an integer at byte 63".to_owned()),
    ] {
        let refused = read::<Json<PutRecord>>(&[("content-type", "application/json")], text.into(), JSON).await;
        assert_eq!(refused.unwrap_err().to_string(), issue, "{text}");
    }
}

#[tokio::test]
async fn bytes_of_any_type_are_handed_over_as_they_come() {
    let Upload { media_type, body } = read(&[("content-type", "Image/PNG; x=y")], b"abc".to_vec(), 3).await.unwrap();
    let pieces: Vec<Bytes> = body.try_collect().await.unwrap();
    assert_eq!((media_type.as_str(), pieces.concat()), ("image/png", b"abc".to_vec()));
}

#[tokio::test]
async fn a_client_that_goes_silent_is_given_up() {
    let begun = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"abc"))]).chain(stream::pending());
    let mut pieces = Box::pin(unless_silent(Body::from_stream(begun), Duration::from_millis(20)));
    assert_eq!(pieces.try_next().await.unwrap(), Some(Bytes::from_static(b"abc")));
    let silent = unreadable(pieces.try_next().await.unwrap_err());
    assert_eq!((silent.status().as_u16(), silent.name()), (408, "InvalidRequest"));
}
