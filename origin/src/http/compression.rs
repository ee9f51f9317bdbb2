//! Compressing answers, with what the client accepts of `br`, `gzip` and `deflate`.
//!
//! Text, JSON and CAR files of a kibibyte or more are; blobs and parts of files never, since their bytes are what their
//! CID says. The levels are the fastest: a server's time is worth more here than the last tenth of the bytes.

use axum::body::HttpBody;
use axum::http::{Response, StatusCode, header};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{And, Predicate, SizeAbove};

/// The smallest answer that is compressed, in bytes.
const MIN_LEN: u16 = 1024;

pub(super) fn layer() -> CompressionLayer<And<SizeAbove, Compressible>> {
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(MIN_LEN).and(Compressible))
}

/// Whether an answer's type is one that compresses, and nothing speaks against it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compressible;

impl Predicate for Compressible {
    fn should_compress<B: HttpBody>(&self, answer: &Response<B>) -> bool {
        // Whoever is to save it as a file gets a blob.
        if answer.status() == StatusCode::PARTIAL_CONTENT || answer.headers().contains_key(header::CONTENT_DISPOSITION)
        {
            return false;
        }
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        !text(header::CACHE_CONTROL).contains("no-transform") && compresses(text(header::CONTENT_TYPE))
    }
}

fn compresses(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let one_of = |types: &[&str]| types.iter().any(|known| known.eq_ignore_ascii_case(media_type));
    media_type.starts_with("text/")
        || media_type.ends_with("+json")
        || one_of(&["application/json", "application/vnd.ipld.car", "application/javascript"])
}
