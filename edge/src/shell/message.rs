//! Requests and responses of the platform, made and read.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::link::{MAX_BODY_LEN, decode, encode};
use wasm_bindgen::JsValue;
use worker::{Error, Headers, Method, Request, RequestInit, Response, ResponseBuilder, Result, Stub};

use super::within;
use crate::answer::{Answer, Mark};
use crate::error::Refusal;

/// The response that `refusal` stands for.
pub(super) fn refused(refusal: Refusal) -> Result<web_sys::Response> {
    let headers = web_sys::Headers::new()?;
    for (name, value) in refusal.headers() {
        headers.set(name, value)?;
    }
    let init = web_sys::ResponseInit::new();
    init.set_status(refusal.status());
    init.set_headers(&headers);
    Ok(web_sys::Response::new_with_opt_str_and_init(Some(&refusal.body()), &init)?)
}

/// The beginning of the response that an answer is, and its body.
pub(super) fn begun<B>(answer: Answer<B>, mark: Mark) -> Result<(ResponseBuilder, Option<B>)> {
    let Answer { status, headers: named, body } = answer.marked(mark);
    Ok((Response::builder().with_status(status).with_headers(headers(&named)?), body))
}

/// The response that an answer is; a HEAD gets its length and no body.
pub(super) fn response(answer: Answer, mark: Mark, head: bool) -> Result<web_sys::Response> {
    let (builder, body) = begun(answer, mark)?;
    Ok(match body {
        Some(body) => whole(builder, body, head)?,
        None => builder.empty(),
    }
    .into())
}

/// The response with this body; a HEAD gets its length only.
pub(super) fn whole(builder: ResponseBuilder, body: Vec<u8>, head: bool) -> Result<Response> {
    let builder = builder.with_header("content-length", &body.len().to_string())?;
    Ok(if head { builder.empty() } else { builder.fixed(body) })
}

/// How long an object may take to begin an answer: longer than it may wait for the origin itself. After that the origin is
/// asked instead, as after any failure of an object.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends a message to an object.
pub(super) async fn call(object: &Stub, path: &str, body: &[u8]) -> Result<Response> {
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(JsValue::from(js_sys::Uint8Array::from(body))));
    let request = Request::new_with_init(&format!("https://object{path}"), &init)?;
    let answered = within(PATIENCE, object.fetch_with_request(request)).await;
    answered.unwrap_or_else(|| Err(failed(format!("an object takes too long to answer {path}"))))
}

/// Sends a message to an object and reads what it says; `None` if that is nothing.
pub(super) async fn ask<T: DeserializeOwned>(object: &Stub, path: &str, message: &impl Serialize) -> Result<Option<T>> {
    let mut response = call(object, path, &written(message)?).await?;
    match response.status_code() {
        204 => Ok(None),
        200 => read(&response.bytes().await?).map(Some),
        status => Err(failed(format!("an object answered {path} with {status}"))),
    }
}

/// A message's bytes.
pub(super) fn written(message: &impl Serialize) -> Result<Vec<u8>> {
    encode(message).map_err(failed)
}

/// The message that these bytes are.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    decode(body).map_err(failed)
}

/// The response of an object that says this.
pub(super) fn said(message: &impl Serialize) -> Result<Response> {
    Response::from_bytes(written(message)?)
}

/// The response of an object that says nothing.
pub(super) fn nothing() -> Result<Response> {
    Ok(Response::empty()?.with_status(204))
}

/// A body that is not longer than a message may be.
pub(super) async fn body(request: &web_sys::Request) -> Result<Option<Vec<u8>>> {
    let length = request.headers().get("content-length")?.and_then(|length| length.parse::<usize>().ok());
    // What comes in pieces has no length; the platform bounds it, and what is too long is not signed.
    if length.is_some_and(|length| length > MAX_BODY_LEN) {
        return Ok(None);
    }
    let bytes = wasm_bindgen_futures::JsFuture::from(request.array_buffer()?).await?;
    let bytes = js_sys::Uint8Array::new(&bytes).to_vec();
    Ok(Some(bytes).filter(|bytes| bytes.len() <= MAX_BODY_LEN))
}

/// Headers, to be set.
pub(super) fn headers(of: &[(&'static str, String)]) -> Result<Headers> {
    let headers = Headers::new();
    for (name, value) in of {
        headers.append(name, value)?;
    }
    Ok(headers)
}

/// An error of ours as the platform's.
pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::RustError(error.to_string())
}
