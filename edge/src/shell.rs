//! The platform's events: each is planned by the pure part and carried out by the shell.
//!
//! Requests and responses stay the platform's own objects from end to end, so bodies stream beside the wasm and never
//! through it.

use worker::{Context, Env, console_error, event};

use crate::error::Refusal;
use crate::gateway::{Plan, plan};
use crate::origin;

#[event(fetch)]
async fn fetch(request: web_sys::Request, env: Env, _context: Context) -> worker::Result<web_sys::Response> {
    match plan(&request.url()) {
        Plan::Forward => match origin::forward(&request, &env).await {
            Ok(response) => Ok(response),
            Err(refusal) => reply(refusal),
        },
        Plan::Reply(refusal) => reply(refusal),
    }
}

/// The response that `refusal` stands for.
fn reply(refusal: Refusal) -> worker::Result<web_sys::Response> {
    if refusal == Refusal::Internal {
        console_error!("answered a request with an internal error");
    }
    let headers = web_sys::Headers::new()?;
    for (name, value) in refusal.headers() {
        headers.set(name, value)?;
    }
    let init = web_sys::ResponseInit::new();
    init.set_status(refusal.status());
    init.set_headers(&headers);
    Ok(web_sys::Response::new_with_opt_str_and_init(Some(&refusal.body()), &init)?)
}
