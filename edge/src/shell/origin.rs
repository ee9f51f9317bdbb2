//! The way to the origin.
//!
//! A client's request is sent on as it is, and the origin's response handed back as it is: the request's own object is the
//! template of the one sent, and the response's of the one returned. Method, headers, both bodies, the query's exact bytes,
//! status, repeated headers, redirects and WebSockets pass through, and bodies stream without entering wasm. What is
//! added: who vouches for the client, and the response header `x-edge`.
//!
//! The contract's own questions are messages of the edge's, signed.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use js_sys::Reflect;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::link::{self, BodyDigest, MEDIA_TYPE, Region, Vouched};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Request, RequestInit, Response, ResponseInit};
use worker::{AbortController, Fetch, Method, console_error, console_warn};

use super::message::{self, failed};
use super::within;
use crate::answer::Mark;
use crate::error::Refusal;
use crate::gateway::{authority, target};
use crate::settings::Settings;

/// A switching-protocols response carries a WebSocket: it is handed on untouched.
const SWITCHING_PROTOCOLS: u16 = 101;
/// How long the origin may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(3);
/// Headers by which a proxy says whom it speaks for. Under the edge's signature they say nothing.
const PROXIES: [&str; 4] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded"];

/// Who sent a request.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) region: Region,
}

/// Lets the origin answer `request`.
///
/// # Errors
///
/// [`Refusal::OriginAway`] when no answer came, [`Refusal::Internal`] when the platform refuses the request or the
/// response.
pub(super) async fn forward(
    request: &Request,
    settings: &Settings,
    client: &Client,
    mark: Mark,
) -> Result<Response, Refusal> {
    let internal = |what: &str, reason: &JsValue| {
        console_error!("{what}: {reason:?}");
        Refusal::Internal
    };
    let request =
        redirected(request, settings, client).map_err(|reason| internal("no request can be made", &reason))?;
    let response = JsFuture::from(worker_scope().fetch_with_request(&request)).await.map_err(|reason| {
        console_warn!("the origin did not answer: {reason:?}");
        Refusal::OriginAway
    })?;
    marked(response.unchecked_into(), mark).map_err(|reason| internal("the origin's response was refused", &reason))
}

/// `request`, addressed to the origin, with the edge's word for who sent it.
fn redirected(request: &Request, settings: &Settings, client: &Client) -> Result<Request, JsValue> {
    let (url, path) = (request.url(), target(&request.url()).to_owned());
    let sent =
        Request::new_with_str_and_init(&format!("{}{path}", settings.origin), request.unchecked_ref::<RequestInit>())?;
    let headers = sent.headers();
    let keys: Vec<String> =
        js_sys::try_iter(&headers.keys())?.into_iter().flatten().filter_map(|key| key.ok()?.as_string()).collect();
    for key in keys.iter().filter(|key| key.starts_with(link::HEADER_PREFIX)) {
        headers.delete(key)?;
    }
    // The platform asks for what it can read, not for what the client can, and says what that was.
    if let Some(accepted) = cf_property(request, "clientAcceptEncoding") {
        headers.set("accept-encoding", &accepted)?;
    }
    if let Some(keys) = &settings.keys {
        for name in PROXIES {
            headers.delete(name)?;
        }
        let vouched = Vouched {
            client: client.address,
            host: authority(&url).unwrap_or_default().to_owned(),
            region: client.region.clone(),
        };
        let signed = link::Request { method: &sent.method(), path: &path };
        for (name, value) in keys.forward.sign(signed, &vouched, super::now() / 1000) {
            headers.set(name, &value)?;
        }
    }
    Ok(sent)
}

/// A text that the platform knows of a request.
pub(super) fn cf_property(request: &Request, name: &str) -> Option<String> {
    let cf = Reflect::get(request, &JsValue::from_str("cf")).ok()?;
    Reflect::get(&cf, &JsValue::from_str(name)).ok()?.as_string()
}

/// `response` with the header that says who answered.
fn marked(response: Response, mark: Mark) -> Result<Response, JsValue> {
    if response.status() == SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    // The response of a fetch has immutable headers; a response made from it has not.
    let init = response.unchecked_ref::<ResponseInit>();
    let marked = Response::new_with_opt_readable_stream_and_init(response.body().as_ref(), init)?;
    marked.headers().set("x-edge", mark.as_str())?;
    Ok(marked)
}

fn worker_scope() -> web_sys::WorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// What the origin says to a question.
pub(super) enum Told<T> {
    /// This.
    Answer(T),
    /// It refuses, with this status.
    Refused(u16),
    /// It does not answer.
    Away,
}

/// Asks the origin one of the contract's questions.
pub(super) async fn ask<T: DeserializeOwned>(settings: &Settings, path: &str, question: &impl Serialize) -> Told<T> {
    match send(settings, path, question).await {
        Told::Answer(mut response) => match response.bytes().await.and_then(|body| message::read(&body)) {
            Ok(answer) => Told::Answer(answer),
            Err(error) => {
                console_warn!("the origin's answer to {path} cannot be read: {error}");
                Told::Away
            }
        },
        Told::Refused(status) => Told::Refused(status),
        Told::Away => Told::Away,
    }
}

/// The same, for an answer that is no message.
pub(super) async fn send(settings: &Settings, path: &str, question: &impl Serialize) -> Told<worker::Response> {
    let sent = async {
        let request = signed(settings, path, &message::written(question)?)?;
        in_time(Fetch::Request(request)).await
    };
    match sent.await {
        Ok(response) if response.status_code() == 200 => Told::Answer(response),
        // It is busy, failing or stopping, or there is only a gateway before it: that says nothing of what was asked.
        Ok(response) if matches!(response.status_code(), 429 | 500..) => Told::Away,
        Ok(response) => Told::Refused(response.status_code()),
        Err(error) => {
            console_warn!("the origin does not answer {path}: {error}");
            Told::Away
        }
    }
}

/// A public page of the origin's, as anybody gets it; `None` if it does not answer with 200.
pub(super) async fn page(settings: &Settings, path: &str) -> Option<worker::Response> {
    let request = worker::Request::new(&format!("{}{path}", settings.origin), Method::Get).ok()?;
    let response = in_time(Fetch::Request(request)).await.ok()?;
    Some(response).filter(|response| response.status_code() == 200)
}

fn signed(settings: &Settings, path: &str, body: &[u8]) -> worker::Result<worker::Request> {
    let keys = settings.keys.as_ref().ok_or_else(|| failed("there are no keys"))?;
    let digest = BodyDigest::of(body).map_err(failed)?;
    let nonce = nonce()?;
    let request = link::Request { method: "POST", path };
    let headers = message::headers(&keys.feed.sign(request, digest, super::now() / 1000, nonce))?;
    headers.set("content-type", MEDIA_TYPE)?;
    let mut init = worker::RequestInit::new();
    init.with_method(Method::Post).with_headers(headers).with_body(Some(JsValue::from(js_sys::Uint8Array::from(body))));
    worker::Request::new_with_init(&format!("{}{path}", settings.origin), &init)
}

fn nonce() -> worker::Result<[u8; 16]> {
    let scope = worker_scope();
    let mut nonce = [0; 16];
    scope.crypto()?.get_random_values_with_u8_array(&mut nonce)?;
    Ok(nonce)
}

async fn in_time(fetch: Fetch) -> worker::Result<worker::Response> {
    let controller = AbortController::default();
    let signal = controller.signal();
    let sent = within(PATIENCE, fetch.send_with_signal(&signal)).await;
    sent.unwrap_or_else(|| {
        controller.abort();
        Err(failed("it takes too long"))
    })
}

/// The address that stands for nobody.
pub(super) const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
