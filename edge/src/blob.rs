//! Blobs: what an answer says of one, beside its bytes.

use std::ops::Range;

use shared::cid::Cid;
use shared::xrpc::conditional::Part;
use shared::xrpc::{ErrorBody, error_name};

use crate::answer::Answer;

/// What a browser may do with a blob: nothing.
const POLICY: &str = "default-src 'none'; sandbox";

/// What is asked for of a blob, by its headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'h> {
    /// `Range`; nothing for a HEAD, which has none.
    pub range: Option<&'h str>,
    /// `If-Range`
    pub if_range: Option<&'h str>,
    /// `If-None-Match`
    pub if_none_match: Option<&'h str>,
}

/// The answer for a blob; its body is the bytes to be sent.
#[must_use]
pub fn answer(cid: &Cid, mime_type: &str, size: u64, asked: Asked<'_>) -> Answer<Range<u64>> {
    let tag = format!("\"{cid}\"");
    let (status, range) = match Part::asked(asked.range, asked.if_range, size, &tag) {
        Part::Whole => (200, 0..size),
        Part::Bytes(range) => (206, range),
        Part::None => return unsatisfiable(size),
    };
    let media_type = if mime_type.is_empty() { "application/octet-stream" } else { mime_type };
    let mut headers = vec![
        ("content-type", media_type.to_owned()),
        ("content-length", (range.end - range.start).to_string()),
        ("accept-ranges", "bytes".to_owned()),
        ("etag", tag),
        ("x-content-type-options", "nosniff".to_owned()),
        ("content-disposition", format!("attachment; filename=\"{cid}\"")),
        ("content-security-policy", POLICY.to_owned()),
        ("access-control-allow-origin", "*".to_owned()),
        ("access-control-expose-headers", "etag".to_owned()),
    ];
    if status == 206 {
        headers.push(("content-range", format!("bytes {}-{}/{size}", range.start, range.end - 1)));
    }
    Answer { status, headers, body: Some(range) }.private().unless_known(asked.if_none_match)
}

fn unsatisfiable(size: u64) -> Answer<Range<u64>> {
    let headers = vec![
        ("content-type", "application/json; charset=utf-8".to_owned()),
        ("content-range", format!("bytes */{size}")),
        ("access-control-allow-origin", "*".to_owned()),
    ];
    Answer { status: 416, headers, body: None }.private()
}

/// The body of an answer that has no bytes of the blob: a refusal's, where the range cannot be had.
#[must_use]
pub fn refusal(status: u16) -> Option<Vec<u8>> {
    let body = ErrorBody::new(error_name::of_status(status), "range not satisfiable");
    (status == 416).then(|| serde_json::to_vec(&body).unwrap_or_default())
}
