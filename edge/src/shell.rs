//! The platform's events: each is planned by the pure part and carried out here.
//!
//! Requests and responses that the edge only passes on stay the platform's own objects from end to end, so that their
//! bodies stream beside the wasm and never through it.

mod blobs;
mod database;
mod gateway;
mod host_object;
mod message;
mod objects;
mod origin;
mod replica_object;
mod together;

use std::cell::OnceCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use worker::{Context, Delay, Env, console_error, event};

use crate::error::Refusal;
use crate::settings::Settings;

#[event(fetch)]
async fn fetch(request: web_sys::Request, env: Env, context: Context) -> worker::Result<web_sys::Response> {
    let Some(settings) = settings(&env) else { return message::refused(Refusal::Internal) };
    gateway::answer(request, env, context, settings).await
}

thread_local! {
    static SETTINGS: OnceCell<Option<Rc<Settings>>> = const { OnceCell::new() };
}

/// The settings, read once in an isolate, whose variables never change; `None` if they make no sense, which is logged.
fn settings(env: &Env) -> Option<Rc<Settings>> {
    let read = || {
        let variable = |name: &str| match env.var(name) {
            Ok(value) => Some(value.to_string()),
            Err(_) => env.secret(name).ok().map(|secret| secret.to_string()),
        };
        Settings::read(variable).map(Rc::new).inspect_err(|problem| console_error!("{problem}")).ok()
    };
    SETTINGS.with(|settings| settings.get_or_init(read).clone())
}

/// Milliseconds since 1970.
fn now() -> u64 {
    worker::Date::now().as_millis()
}

/// How large the memory of this isolate's wasm is, in bytes.
fn memory() -> u64 {
    const PAGE: u64 = 65_536;
    u64::try_from(core::arch::wasm32::memory_size::<0>()).unwrap_or(u64::MAX).saturating_mul(PAGE)
}

/// What `work` comes to; `None` if that takes longer.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), pin!(Delay::from(limit))).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}
