//! The way to the origin: the client's request is sent on as it is, and the origin's response handed back as it is.
//!
//! The request's own object is the template of the one sent, and the response's of the one returned: method, headers,
//! both bodies, the query's exact bytes, status, repeated headers, redirects and WebSockets pass through, and bodies
//! stream without entering wasm. What is added: the response header `x-edge: forward`.
//!
//! The response of a fetch has immutable headers; a response made from it has not.

use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Request, RequestInit, Response, ResponseInit};
use worker::{Env, console_error, console_warn};

use crate::error::Refusal;
use crate::gateway::target;

/// The variable that holds the origin's own URL: scheme and authority, no path.
const ORIGIN_VARIABLE: &str = "EDGE_ORIGIN";

/// A switching-protocols response carries a WebSocket: it is handed on untouched.
const SWITCHING_PROTOCOLS: u16 = 101;

/// Lets the origin answer `request`.
///
/// # Errors
///
/// [`Refusal::OriginAway`] when no answer came, [`Refusal::Internal`] when the Worker does not know its origin or the
/// platform refuses the request or the response.
pub(crate) async fn forward(request: &Request, env: &Env) -> Result<Response, Refusal> {
    let request = redirected(request, env).map_err(|reason| {
        console_error!("{reason}");
        Refusal::Internal
    })?;
    let response = JsFuture::from(worker_scope().fetch_with_request(&request)).await.map_err(|reason| {
        console_warn!("the origin did not answer: {reason:?}");
        Refusal::OriginAway
    })?;
    marked(response.unchecked_into()).map_err(|reason| {
        console_error!("the origin's response was refused: {reason:?}");
        Refusal::Internal
    })
}

/// `request`, addressed to the origin.
fn redirected(request: &Request, env: &Env) -> Result<Request, String> {
    let origin = env.var(ORIGIN_VARIABLE).map_err(|_| format!("{ORIGIN_VARIABLE} is not set"))?.to_string();
    let url = format!("{}{}", origin.trim_end_matches('/'), target(&request.url()));
    Request::new_with_str_and_init(&url, request.unchecked_ref::<RequestInit>())
        .map_err(|reason| format!("no request can be made for {ORIGIN_VARIABLE} {origin}: {reason:?}"))
}

/// `response` with the header that says who answered.
fn marked(response: Response) -> Result<Response, JsValue> {
    if response.status() == SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    let init = response.unchecked_ref::<ResponseInit>();
    let marked = Response::new_with_opt_readable_stream_and_init(response.body().as_ref(), init)?;
    marked.headers().set("x-edge", "forward")?;
    Ok(marked)
}

fn worker_scope() -> web_sys::WorkerGlobalScope {
    js_sys::global().unchecked_into()
}
