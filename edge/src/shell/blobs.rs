//! The bucket of blobs: the platform's, or the origin's own.
//!
//! Bytes go out as the platform's own stream. What is copied in comes from a second, complete request for the blob, whose
//! length is known; the bucket itself checks that it hashes to its CID, and keeps what is there already.

use std::ops::Range;

use shared::cid::Cid;
use shared::syntax::Did;
use worker::{Bucket, Conditional, Data, Env, HttpMetadata, Object, Result};

use super::origin;
use crate::gateway::{blob_key, blob_prefix};
use crate::settings::Settings;

/// The name of the binding.
const BINDING: &str = "BLOBS";
/// How many pages of a thousand keys one order to drop copies drops.
const PAGES: usize = 5;

pub(super) fn bucket(env: &Env) -> Result<Bucket> {
    env.bucket(BINDING)
}

/// A blob, or a part of it; `None` if it is not there, or is not of this size.
pub(super) async fn open(
    bucket: &Bucket,
    did: &Did,
    cid: &Cid,
    size: u64,
    part: Range<u64>,
) -> Result<Option<web_sys::ReadableStream>> {
    let mut get = bucket.get(blob_key(did, cid));
    if part != (0..size) {
        get = get.range(worker::Range::OffsetWithLength { offset: part.start, length: part.end - part.start });
    }
    let Some(object) = get.execute().await? else { return Ok(None) };
    Ok(body(&object, size))
}

/// Whether a blob of this size is there.
pub(super) async fn has(bucket: &Bucket, did: &Did, cid: &Cid, size: u64) -> Result<bool> {
    Ok(bucket.head(blob_key(did, cid)).await?.is_some_and(|object| object.size() == size))
}

fn body(object: &Object, size: u64) -> Option<web_sys::ReadableStream> {
    if object.size() != size {
        return None;
    }
    match object.body()?.response_body().ok()? {
        worker::ResponseBody::Stream(stream) => Some(stream),
        _ => None,
    }
}

/// Copies a blob of the origin's into the bucket. Whether it is there now.
pub(super) async fn copy(bucket: &Bucket, settings: &Settings, did: &Did, cid: &Cid, size: u64) -> Result<bool> {
    let Some(digest) = cid.sha256() else { return Ok(false) };
    let path = format!("/xrpc/com.atproto.sync.getBlob?did={did}&cid={cid}");
    let Some(response) = origin::page(settings, &path.replace('%', "%25")).await else { return Ok(false) };
    let header = |name| response.headers().get(name).ok().flatten();
    if header("content-encoding").is_some() || header("content-length") != Some(size.to_string()) {
        return Ok(false);
    }
    let content_type = header("content-type");
    let worker::ResponseBody::Stream(stream) = response.body() else { return Ok(false) };
    let absent = Conditional { etag_does_not_match: Some("*".to_owned()), ..Conditional::default() };
    bucket
        .put(blob_key(did, cid), Data::ReadableStream(stream.clone()))
        .sha256(digest.to_vec())
        .only_if(absent)
        .http_metadata(HttpMetadata { content_type, ..HttpMetadata::default() })
        .execute()
        .await?;
    Ok(true)
}

/// Drops copies of an account's blobs: these, or all. How many went, and whether that is all.
pub(super) async fn drop_copies(bucket: &Bucket, did: &Did, cids: Option<&[Cid]>) -> Result<(u64, bool)> {
    if let Some(cids) = cids {
        for some in cids.chunks(1000) {
            bucket.delete_multiple(some.iter().map(|cid| blob_key(did, cid)).collect()).await?;
        }
        return Ok((cids.len() as u64, true));
    }
    let mut dropped = 0;
    for _ in 0..PAGES {
        let page = bucket.list().prefix(blob_prefix(did)).execute().await?;
        let keys: Vec<String> = page.objects().iter().map(Object::key).collect();
        if keys.is_empty() {
            return Ok((dropped, true));
        }
        dropped += keys.len() as u64;
        bucket.delete_multiple(keys).await?;
        if !page.truncated() {
            return Ok((dropped, true));
        }
    }
    Ok((dropped, false))
}
