//! Which methods are limited, by what, and what a client is told of it. The limits are the reference's.
//!
//! Every call uses a point of its client's address, but for those in [`UNLIMITED`]; a line of the route table that is
//! [`limited`] uses points of limits of its own, too. Points are used once the caller and the input are known to be good.
//! An answer tells of the limit with the fewest points left, as the headers of
//! <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-06> have it.

use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use shared::api::repo::{ApplyWrites, WriteOp};
use shared::api::server::CreateSession;

use super::call::{Answer, Call};
use super::input::Json;
use super::proxy::Aside;
use crate::app::App;
use crate::auth::Caller;
use crate::client_address::Client;
use crate::error::XrpcError;
use crate::rate_limit::{Limit, Reading};
use crate::time::now_millis;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What an address has for all methods together.
const GLOBAL: Limit = limit("rl-global-ip", 3000, 5 * MINUTE);
/// Methods that use none of that: one has a limit of its own; the other has to tell a name that is free from one that
/// is taken, and services that ask it do so for many people from one address.
const UNLIMITED: [&str; 2] = ["com.atproto.identity.resolveHandle", "com.atproto.sync.getRepo"];

pub(super) const CREATE_ACCOUNT: &[Limit] = &[limit("com.atproto.server.createAccount-0", 100, 5 * MINUTE)];
pub(super) const CREATE_SESSION: &[Limit] = &[
    limit("com.atproto.server.createSession-0", 300, DAY),
    limit("com.atproto.server.createSession-1", 30, 5 * MINUTE),
];
pub(super) const DELETE_ACCOUNT: &[Limit] = &[limit("com.atproto.server.deleteAccount-0", 50, 5 * MINUTE)];
pub(super) const GET_REPO: &[Limit] = &[limit("com.atproto.sync.getRepo-0", 6000, 5 * MINUTE)];
pub(super) const REQUEST_ACCOUNT_DELETE: &[Limit] = &[
    limit("com.atproto.server.requestAccountDelete-0", 15, DAY),
    limit("com.atproto.server.requestAccountDelete-1", 5, HOUR),
];
pub(super) const REQUEST_EMAIL_CONFIRMATION: &[Limit] = &[
    limit("com.atproto.server.requestEmailConfirmation-0", 15, DAY),
    limit("com.atproto.server.requestEmailConfirmation-1", 5, HOUR),
];
pub(super) const REQUEST_EMAIL_UPDATE: &[Limit] = &[
    limit("com.atproto.server.requestEmailUpdate-0", 15, DAY),
    limit("com.atproto.server.requestEmailUpdate-1", 5, HOUR),
];
pub(super) const REQUEST_PASSWORD_RESET: &[Limit] = &[
    limit("com.atproto.server.requestPasswordReset-0", 50, DAY),
    limit("com.atproto.server.requestPasswordReset-1", 15, HOUR),
];
pub(super) const RESET_PASSWORD: &[Limit] = &[limit("com.atproto.server.resetPassword-0", 50, 5 * MINUTE)];
pub(super) const UPDATE_HANDLE: &[Limit] = &[
    limit("com.atproto.identity.updateHandle-0", 10, 5 * MINUTE),
    limit("com.atproto.identity.updateHandle-1", 50, DAY),
];
pub(super) const UPLOAD_BLOB: &[Limit] = &[limit("com.atproto.repo.uploadBlob-0", 1000, DAY)];
/// What the methods that write records use together.
pub(super) const WRITES: &[Limit] = &[limit("rl-repo-write-hour", 5000, HOUR), limit("rl-repo-write-day", 35_000, DAY)];

const CREATION: u64 = 3;
const UPDATE: u64 = 2;
const DELETION: u64 = 1;

/// A limit by the reference's name for it, so that it counts together with this server in Redis: `rl-` and a name for what
/// methods use together, else the method and the limit's place among its limits.
const fn limit(name: &'static str, points: u64, seconds: u64) -> Limit {
    Limit { name, points, seconds }
}

/// What a call uses: whose points, and how many.
pub(super) type Share = (String, u64);

/// What a limited handler returns.
pub(super) type Answering<O> = Pin<Box<dyn Future<Output = Answer<O>> + Send>>;

/// A handler of a method with limits of its own: `share` says what a call uses of each.
pub(super) fn limited<C, P, I, O, H, F>(
    limits: &'static [Limit],
    share: impl Fn(&Call<C, P, I>) -> Share + Send + Sync + 'static,
    handler: H,
) -> impl Fn(Call<C, P, I>) -> Answering<O> + Send + Sync + 'static
where
    C: Send + 'static,
    P: Send + 'static,
    I: Send + 'static,
    O: 'static,
    H: Fn(Call<C, P, I>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer<O>> + Send + 'static,
{
    let handler = Arc::new(handler);
    move |call| {
        let handler = Arc::clone(&handler);
        let used = call.meter.counts.clone().map(|counts| (counts, share(&call)));
        Box::pin(async move {
            if let Some((counts, share)) = used {
                counts.use_up(limits, share).await?;
            }
            handler(call).await
        })
    }
}

/// A point of the client's address.
pub(super) fn by_address<C, P, I>(call: &Call<C, P, I>) -> Share {
    (call.meter.address(), 1)
}

/// A point of the caller's.
pub(super) fn by_caller<P, I>(call: &Call<Caller, P, I>) -> Share {
    (call.caller.did.to_string(), 1)
}

/// A point of whoever tries to log in as somebody from somewhere.
pub(super) fn by_login(call: &Call<(), (), Aside<Json<CreateSession>>>) -> Share {
    (format!("{}-{}", call.input.input.0.identifier, call.meter.address()), 1)
}

/// What the caller uses by making a record.
pub(super) fn creation<P, I>(call: &Call<Caller, P, I>) -> Share {
    (call.caller.did.to_string(), CREATION)
}

/// What the caller uses by putting a record.
pub(super) fn update<P, I>(call: &Call<Caller, P, I>) -> Share {
    (call.caller.did.to_string(), UPDATE)
}

/// What the caller uses by deleting a record.
pub(super) fn deletion<P, I>(call: &Call<Caller, P, I>) -> Share {
    (call.caller.did.to_string(), DELETION)
}

/// What the caller uses by a batch of writes.
pub(super) fn batch(call: &Call<Caller, (), Json<ApplyWrites>>) -> Share {
    let points = call.input.0.writes.iter().map(|write| match write {
        WriteOp::Create { .. } => CREATION,
        WriteOp::Update { .. } => UPDATE,
        WriteOp::Delete { .. } => DELETION,
    });
    (call.caller.did.to_string(), points.sum())
}

/// Counts what one request uses.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    client: IpAddr,
    /// `None` where nothing is counted.
    counts: Option<Arc<Counts>>,
}

#[derive(Debug)]
struct Counts {
    app: App,
    readings: Mutex<Vec<Reading>>,
}

impl Meter {
    /// One for a request.
    pub(super) fn of(app: &App, extensions: &Extensions, headers: &HeaderMap) -> Self {
        let known = extensions.get::<Client>();
        let client = known.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |client| client.address);
        let counts = app.rate_limiter().filter(|limiter| !limiter.lets_pass(client, headers));
        let counts = counts.map(|_| Arc::new(Counts { app: app.clone(), readings: Mutex::default() }));
        Self { client, counts }
    }

    /// Where the call comes from.
    pub(super) fn address(&self) -> String {
        self.client.to_string()
    }

    /// Uses what every call of `nsid` uses.
    ///
    /// # Errors
    /// 429 `RateLimitExceeded`.
    pub(super) async fn begin(&self, nsid: &str) -> Result<(), XrpcError> {
        match &self.counts {
            Some(counts) if !UNLIMITED.contains(&nsid) => counts.use_up(&[GLOBAL], (self.address(), 1)).await,
            _ => Ok(()),
        }
    }

    /// Tells the client how it stands.
    pub(super) fn tell(&self, answer: &mut Response) {
        let Some(counts) = &self.counts else { return };
        let readings = counts.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let tightest = readings.iter().find(|reading| reading.is_exceeded());
        let Some(reading) = tightest.or_else(|| readings.iter().min_by_key(|reading| reading.remaining())) else {
            return;
        };
        let back = u64::try_from(now_millis()).unwrap_or_default().saturating_add(millis(reading));
        let Limit { points, seconds, .. } = reading.limit;
        let headers = answer.headers_mut();
        headers.insert(HeaderName::from_static("ratelimit-limit"), points.into());
        headers.insert(HeaderName::from_static("ratelimit-reset"), (back / 1000).into());
        headers.insert(HeaderName::from_static("ratelimit-remaining"), reading.remaining().into());
        if let Ok(policy) = HeaderValue::try_from(format!("{points};w={seconds}")) {
            headers.insert(HeaderName::from_static("ratelimit-policy"), policy);
        }
    }
}

impl Counts {
    /// Uses a share of each limit.
    async fn use_up(&self, limits: &[Limit], (key, points): Share) -> Result<(), XrpcError> {
        let Some(limiter) = self.app.rate_limiter() else { return Ok(()) };
        if points == 0 {
            return Ok(());
        }
        let used = limiter.use_up(limits, &key, points).await;
        let refused = used.iter().find(|reading| reading.is_exceeded()).map(refusal);
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).extend(used);
        refused.map_or(Ok(()), Err)
    }
}

fn millis(reading: &Reading) -> u64 {
    u64::try_from(reading.back_in.as_millis()).unwrap_or(u64::MAX)
}

fn refusal(exceeded: &Reading) -> XrpcError {
    XrpcError::rate_limited().with_header(header::RETRY_AFTER, millis(exceeded).div_ceil(1000).into())
}
