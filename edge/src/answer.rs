//! Answers as the origin gives them: status, headers and body of a public read.
//!
//! What must be equal to the origin's is all here: media types, tags, what caches and pages may do. What is the edge's own
//! is one header, `x-edge`, which says where an answer came from.

use serde::Serialize;
use shared::xrpc::conditional::{is_known, tag_of};
use shared::xrpc::refusal::Refusal;

/// Where an answer came from, and how old it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// From what the edge holds; as fresh as the origin's.
    Hit,
    /// From the origin, since the edge does not hold it; it may from now on.
    Miss,
    /// From the origin, whose it is to answer.
    Forward,
    /// From what the edge holds, while the origin does not answer: it may be old.
    Stale,
    /// From the edge itself: a refusal.
    Reply,
}

impl Mark {
    /// The value of `x-edge`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Forward => "forward",
            Self::Stale => "stale",
            Self::Reply => "reply",
        }
    }
}

/// An answer, its body of kind `B`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<B = Vec<u8>> {
    /// The HTTP status.
    pub status: u16,
    /// The headers, but for what the platform adds; names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body; `None` for none at all.
    pub body: Option<B>,
}

/// The media type of JSON.
const JSON: &str = "application/json; charset=utf-8";
/// The size in bytes from which the origin compresses, for who can read that.
const COMPRESSED: usize = 1024;
/// The media type of CAR files.
const CAR: &str = "application/vnd.ipld.car";

impl<B> Answer<B> {
    fn new(status: u16, media_type: &str, tag: Option<String>, body: B) -> Self {
        let mut headers =
            vec![("content-type", media_type.to_owned()), ("access-control-allow-origin", "*".to_owned())];
        if let Some(tag) = tag {
            headers.push(("etag", tag));
            headers.push(("access-control-expose-headers", "etag".to_owned()));
        }
        Self { status, headers, body: Some(body) }
    }

    /// A CAR file whose length nobody knows beforehand; `tag` without its quotes.
    pub(crate) fn car_of_any_length(tag: Option<&str>, body: B) -> Self {
        Self::new(200, CAR, tag.map(quoted), body).compressible()
    }

    /// Says that caches may not give it to somebody else.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.headers.push(("cache-control", "private".to_owned()));
        self.headers.push(("vary", "Authorization".to_owned()));
        self
    }

    /// Says that it differs by what encodings the asker accepts: the origin compresses what is this large.
    fn compressible(mut self) -> Self {
        self.headers.push(("vary", "accept-encoding".to_owned()));
        self
    }

    /// Says where it came from.
    #[must_use]
    pub fn marked(mut self, mark: Mark) -> Self {
        self.headers.push(("x-edge", mark.as_str().to_owned()));
        self
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// 304 without a body in place of what the asker has, by the value of `If-None-Match`.
    #[must_use]
    pub fn unless_known(mut self, if_none_match: Option<&str>) -> Self {
        let known = match (self.header("etag"), if_none_match) {
            (Some(tag), Some(list)) => matches!(self.status, 200 | 206) && is_known(list, tag),
            _ => false,
        };
        if known {
            self.status = 304;
            self.headers.retain(|(name, value)| {
                let of_the_body = matches!(*name, "content-type" | "content-length" | "content-range");
                !of_the_body && value != "accept-encoding"
            });
            self.body = None;
        }
        self
    }

    /// The same with another kind of body.
    pub(crate) fn map<C>(self, map: impl FnOnce(B) -> C) -> Answer<C> {
        Answer { status: self.status, headers: self.headers, body: self.body.map(map) }
    }
}

impl Answer<Vec<u8>> {
    fn whole(status: u16, media_type: &str, tag: Option<String>, body: Vec<u8>) -> Self {
        let large = body.len() >= COMPRESSED;
        let answer = Self::new(status, media_type, tag, body);
        if large { answer.compressible() } else { answer }
    }

    /// A CAR file; `tag` without its quotes.
    pub(crate) fn car(tag: &str, body: Vec<u8>) -> Self {
        Self::whole(200, CAR, Some(quoted(tag)), body)
    }

    /// JSON that anybody may see, tagged with its hash; `None` when it cannot be written, which is a damaged block.
    pub(crate) fn json(output: &impl Serialize) -> Option<Self> {
        serde_json::to_vec(output).ok().map(Self::json_text)
    }

    /// The same of JSON that is written already.
    #[must_use]
    pub fn json_text(json: Vec<u8>) -> Self {
        Self::whole(200, JSON, Some(tag_of(&json)), json)
    }

    /// A refusal in the error envelope.
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        Self::error(400, refusal.to_json())
    }

    /// The same of an envelope that is written already.
    #[must_use]
    pub fn error(status: u16, envelope: Vec<u8>) -> Self {
        Self::whole(status, JSON, None, envelope)
    }

    /// Text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::whole(200, "text/plain; charset=utf-8", None, text.into())
    }
}

fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}
