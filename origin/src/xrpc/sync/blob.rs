//! `com.atproto.sync.*`: blobs on their way out.

use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderValue, Method as Verb, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use shared::api::sync::{GetBlobParams, ListBlobsOutput, ListBlobsParams};
use shared::cid::Cid;
use shared::xrpc::conditional::Part;
use shared::xrpc::refusal::Refusal;

use crate::actor::blobs;
use crate::auth::Reader;
use crate::error::XrpcError;
use crate::xrpc::call::{Answer, Call};
use crate::xrpc::output::Public;
use crate::xrpc::range::RangeAsked;

/// What a browser may do with a blob: nothing.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// com.atproto.sync.getBlob
pub(in crate::xrpc) async fn get_blob(
    Call { app, caller, params, input: asked, verb, .. }: Call<Reader, GetBlobParams, RangeAsked>,
) -> Answer<Response> {
    let GetBlobParams { did, cid } = params;
    super::readable(&app, &did, &caller).await?;
    let not_found = Refusal::blob_not_found;
    let store = app.actors().store(&did).await?;
    let served = store.db()?.read_short(|connection| blobs::served(connection, &cid))?;
    let served = served.ok_or_else(not_found)?;
    let blob = app.actors().blobs().open(&did, &cid, served.size)?.ok_or_else(not_found)?;
    let (size, tag) = (blob.size(), format!("\"{cid}\""));
    let (status, range) = match asked.of(size, &tag) {
        Part::Whole => (StatusCode::OK, 0..size),
        Part::Bytes(range) => (StatusCode::PARTIAL_CONTENT, range),
        Part::None => {
            let error = XrpcError::range_not_satisfiable();
            return Err(error.with_header(header::CONTENT_RANGE, value(format!("bytes */{size}"))?));
        }
    };
    // Nothing is sent for that does not go out.
    let sent = if verb == Verb::HEAD || asked.is_known(&tag) { 0..0 } else { range.clone() };
    let body = Body::from_stream(blob.read(sent).await?.ok_or_else(not_found)?);
    answer(&cid, &served.mime_type, size, range, (status, body).into_response())
}

fn value(text: String) -> Answer<HeaderValue> {
    HeaderValue::try_from(text).map_err(XrpcError::internal)
}

/// What is said of a blob, or of a part of it. It cannot be mistaken for a page, a script or a picture of this server's.
fn answer(cid: &Cid, mime_type: &str, size: u64, range: Range<u64>, mut answer: Response) -> Answer<Response> {
    let part = answer.status() == StatusCode::PARTIAL_CONTENT;
    let headers = answer.headers_mut();
    if part {
        let last = range.end - 1;
        headers.insert(header::CONTENT_RANGE, value(format!("bytes {}-{last}/{size}", range.start))?);
    }
    let unknown = || HeaderValue::from_static("application/octet-stream");
    let media_type = HeaderValue::try_from(mime_type).ok().filter(|media_type| !media_type.is_empty());
    headers.insert(header::CONTENT_TYPE, media_type.unwrap_or_else(unknown));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, value(format!("\"{cid}\""))?);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_DISPOSITION, value(format!("attachment; filename=\"{cid}\""))?);
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    Ok(answer)
}

/// com.atproto.sync.listBlobs
pub(in crate::xrpc) async fn list_blobs(
    Call { app, caller, params, .. }: Call<Reader, ListBlobsParams>,
) -> Answer<Public<ListBlobsOutput>> {
    let ListBlobsParams { did, since, limit, cursor } = params;
    super::readable(&app, &did, &caller).await?;
    let store = app.actors().store(&did).await?;
    let list = move |connection: &_| blobs::list(connection, since, cursor.as_deref(), limit.get().into());
    let cids = store.db()?.read(list).await?;
    Ok(Public(ListBlobsOutput { cursor: cids.last().map(ToString::to_string), cids }))
}
