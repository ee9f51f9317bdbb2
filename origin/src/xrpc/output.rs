//! Answers: JSON, nothing, or whatever else a handler makes a [`Response`] of.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::xrpc::conditional::{is_known, tag_of};

use super::input::Json;
use crate::error::XrpcError;

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => json_response(json),
            Err(error) => XrpcError::internal(error).into_response(),
        }
    }
}

/// JSON that anybody may see, with an `ETag` by which a reader who has it already is told just that.
///
/// The tag is a hash of the answer, so it is right whatever the answer was made of.
pub(super) struct Public<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Public<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => public_json(json),
            Err(error) => XrpcError::internal(error).into_response(),
        }
    }
}

/// [`Public`] of JSON that is written already.
pub(super) fn public_json(json: Vec<u8>) -> Response {
    let tag = tag_of(&json);
    let mut response = json_response(json);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn json_response(json: Vec<u8>) -> Response {
    let mut response = Body::from(json).into_response();
    let json_type = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json_type);
    response
}

/// Lets no cache give an answer to somebody else than it was made for.
pub(super) fn keep_private(answer: &mut Response) {
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    headers.append(header::VARY, HeaderValue::from_static("Authorization"));
}

/// 304 without a body in place of an answer that the asker has: one whose `ETag` is named by `If-None-Match`.
pub(super) fn unless_known(method: &Method, asked: &HeaderMap, answer: Response) -> Response {
    let whole_or_part = matches!(answer.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    let reads = matches!(*method, Method::GET | Method::HEAD) && whole_or_part;
    let Some(tag) = answer.headers().get(header::ETAG).filter(|_| reads) else { return answer };
    if !tag.to_str().is_ok_and(|tag| has(asked, tag)) {
        return answer;
    }
    let (mut parts, _) = answer.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_RANGE);
    Response::from_parts(parts, Body::empty())
}

/// Whether `If-None-Match` names this tag.
pub(super) fn has(asked: &HeaderMap, tag: &str) -> bool {
    let names = |known: &HeaderValue| known.to_str().is_ok_and(|known| is_known(known, tag));
    asked.get_all(header::IF_NONE_MATCH).iter().any(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(if_none_match: &str) -> Response {
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, if_none_match.parse().unwrap());
        unless_known(&Method::GET, &asked, Public("body").into_response())
    }

    #[test]
    fn a_reader_who_has_the_answer_gets_no_body() {
        let tag = Public("body").into_response().headers()["etag"].to_str().unwrap().to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let answer = answered(&known);
            assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(answer.headers()["etag"], tag.as_str());
            assert!(!answer.headers().contains_key("content-type"));
        }
        assert_eq!(answered("\"x\"").status(), StatusCode::OK);
        assert_ne!(Public("other").into_response().headers()["etag"], tag.as_str());
    }
}
