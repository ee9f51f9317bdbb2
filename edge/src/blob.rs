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

/// The answer for a blob, its body the bytes to be sent; or, in place of an error, the answer that has none of them: 304 for
/// who has it, 416 for what is asked for behind its end.
///
/// # Errors
/// Those two.
pub fn answer(cid: &Cid, mime_type: &str, size: u64, asked: Asked<'_>) -> Result<Answer<Range<u64>>, Answer> {
    let tag = format!("\"{cid}\"");
    let (status, range) = match Part::asked(asked.range, asked.if_range, size, &tag) {
        Part::Whole => (200, 0..size),
        Part::Bytes(range) => (206, range),
        Part::None => return Err(unsatisfiable(size)),
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
    let answer = Answer { status, headers, body: Some(range) }.private().unless_known(asked.if_none_match);
    match answer.body {
        Some(_) => Ok(answer),
        None => Err(Answer { status: answer.status, headers: answer.headers, body: None }),
    }
}

fn unsatisfiable(size: u64) -> Answer {
    let error = ErrorBody::new(error_name::of_status(416), "range not satisfiable");
    // Two strings cannot fail to be JSON.
    let mut answer = Answer::error(416, serde_json::to_vec(&error).unwrap_or_default()).private();
    answer.headers.push(("content-range", format!("bytes */{size}")));
    answer
}
