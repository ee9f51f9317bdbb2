//! How a call is answered, step by step.
//!
//! 1. The path names a method, and the verb is the method's.
//! 2. Parameters are read.
//! 3. Whoever calls proves to be who they must be.
//! 4. The body is read.
//! 5. It is counted, where clients may not ask as often as they like.
//! 6. The handler does what there is to do, and its answer goes out.
//!
//! The order decides which error a client sees who makes two at once, and is the reference's.
//!
//! A query ends when its client goes away. A procedure does not: once its input is read it goes on in a task of its own,
//! so that it cannot stop between two things that belong together.
//!
//! Specification: <https://atproto.com/specs/xrpc>.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequestParts as _, Request, State, WebSocketUpgrade};
use axum::http::{HeaderValue, Method as Verb, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use serde::de::DeserializeOwned;
use shared::xrpc::{Method, MethodKind};

use super::input::Input;
use super::limit::Meter;
use super::{catchall, output, params, path};
use crate::app::App;
use crate::auth::{Asked, Auth};
use crate::error::XrpcError;

/// What a handler is called with.
pub(super) struct Call<C = (), P = (), I = ()> {
    /// The server.
    pub(super) app: App,
    /// Who calls.
    pub(super) caller: C,
    /// The parameters.
    pub(super) params: P,
    /// The input.
    pub(super) input: I,
    /// GET, or HEAD for all but the body of the answer; POST of a procedure.
    pub(super) verb: Verb,
    /// What was asked for: path and query, as they came.
    pub(super) uri: Uri,
    /// What counts it.
    pub(super) meter: Meter,
    /// The method, as the route table spells it.
    pub(super) nsid: &'static str,
}

impl<C, P, I> Call<C, P, I> {
    /// The same call with another input.
    pub(super) fn map<J>(self, change: impl FnOnce(I) -> J) -> Call<C, P, J> {
        let Self { app, caller, params, input, verb, uri, meter, nsid } = self;
        Call { app, caller, params, input: change(input), verb, uri, meter, nsid }
    }
}

/// What a handler answers.
pub(super) type Answer<T> = Result<T, XrpcError>;

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A line of the route table: a method and what answers it.
pub(super) struct Route {
    pub(super) method: Method,
    /// The media type of its input, `None` if it takes none.
    #[cfg(test)]
    pub(super) input: Option<&'static str>,
    run: Box<dyn Fn(App, Request) -> Answering + Send + Sync>,
}

/// A query: answered by `handler` to whoever satisfies `auth`.
pub(super) fn query<A, P, I, O, H, F>(nsid: &'static str, auth: A, handler: H) -> Route
where
    A: Auth,
    P: DeserializeOwned + Send + 'static,
    I: Input,
    O: IntoResponse,
    H: Fn(Call<A::Caller, P, I>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer<O>> + Send + 'static,
{
    route(Method::query(nsid), auth, 0, move |call| {
        let answering = AssertUnwindSafe(handler(call)).catch_unwind();
        async move { answering.await.unwrap_or_else(|_| Err(panicked(nsid))) }
    })
}

/// A procedure: its input has at most `limit` bytes.
pub(super) fn procedure<A, P, I, O, H, F>(nsid: &'static str, auth: A, limit: u64, handler: H) -> Route
where
    A: Auth,
    P: DeserializeOwned + Send + 'static,
    I: Input,
    O: IntoResponse + Send + 'static,
    H: Fn(Call<A::Caller, P, I>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer<O>> + Send + 'static,
{
    route(Method::procedure(nsid), auth, limit, move |call| {
        let answering = tokio::spawn(handler(call));
        async move { answering.await.unwrap_or_else(|_| Err(panicked(nsid))) }
    })
}

/// A subscription: a WebSocket that `handler` opens and speaks over. Parameters are read first, but what is wrong with
/// them is for the handler to tell over the connection. Without one there is nothing to be had.
pub(super) fn subscription<P, H>(nsid: &'static str, handler: H) -> Route
where
    P: DeserializeOwned + Send + 'static,
    H: Fn(App, WebSocketUpgrade, Result<P, XrpcError>) -> Response + Send + Sync + 'static,
{
    let handler = Arc::new(handler);
    let run = move |app: App, request: Request| -> Answering {
        let handler = Arc::clone(&handler);
        Box::pin(async move {
            let mut parts = request.into_parts().0;
            match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
                Ok(upgrade) => handler(app, upgrade, params::read(nsid, parts.uri.query())),
                Err(rejected) => no_websocket(&rejected).into_response(),
            }
        })
    };
    Route {
        method: Method::subscription(nsid),
        #[cfg(test)]
        input: None,
        run: Box::new(run),
    }
}

/// Why there is no WebSocket where one must be.
fn no_websocket(rejected: &WebSocketUpgradeRejection) -> XrpcError {
    match rejected {
        WebSocketUpgradeRejection::WebSocketKeyHeaderMissing(_) => {
            XrpcError::invalid_request("Sec-WebSocket-Key is missing")
        }
        WebSocketUpgradeRejection::InvalidWebSocketVersionHeader(_) => {
            XrpcError::upgrade_required().with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
        }
        _ => XrpcError::upgrade_required(),
    }
}

fn panicked(nsid: &str) -> XrpcError {
    XrpcError::internal(format!("the handler of {nsid} panicked"))
}

fn route<A, P, I, O, H, F>(method: Method, auth: A, limit: u64, handler: H) -> Route
where
    A: Auth,
    P: DeserializeOwned + Send + 'static,
    I: Input,
    O: IntoResponse,
    H: Fn(Call<A::Caller, P, I>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer<O>> + Send,
{
    let (auth, handler) = (Arc::new(auth), Arc::new(handler));
    let run = move |app: App, request: Request| -> Answering {
        let (auth, handler) = (Arc::clone(&auth), Arc::clone(&handler));
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if parts.method == Verb::HEAD {
                // Only a GET has ranges: RFC 9110, section 14.2.
                parts.headers.remove(header::RANGE);
            }
            let params = match params::read(method.nsid, parts.uri.query()) {
                Ok(params) => params,
                Err(error) => return error.into_response(),
            };
            let meter = Meter::of(&app, &parts.extensions, &parts.headers);
            let answered = async {
                let asked = Asked { app: &app, nsid: method.nsid, headers: &parts.headers };
                let caller = auth.verify(&asked).await?;
                let input = I::read(method.nsid, &parts.headers, body, limit).await?;
                meter.begin(method.nsid).await?;
                let (verb, uri) = (parts.method.clone(), parts.uri.clone());
                let (app, meter) = (app.clone(), meter.clone());
                handler(Call { app, caller, params, input, verb, uri, meter, nsid: method.nsid }).await
            };
            let mut answer = answered.await.into_response();
            meter.tell(&mut answer);
            if A::DECIDES {
                output::keep_private(&mut answer);
            }
            output::unless_known(&parts.method, &parts.headers, answer)
        })
    };
    Route {
        method,
        #[cfg(test)]
        input: I::ENCODING,
        run: Box::new(run),
    }
}

/// Every method that is answered here, by its name in lower case.
pub(super) struct Routes(HashMap<String, Route>);

impl Routes {
    pub(super) fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        Self(routes.into_iter().map(|route| (route.method.nsid.to_ascii_lowercase(), route)).collect())
    }

    /// The method that is called `name`, in any case.
    fn find(&self, name: &str) -> Option<&Route> {
        self.0.get(&name.to_ascii_lowercase())
    }
}

/// Answers what is asked below `/xrpc/`.
pub(super) async fn answer(State((app, routes)): State<(App, Arc<Routes>)>, request: Request) -> Response {
    let Some(name) = path::method_name(request.uri().path()) else {
        return XrpcError::invalid_request("invalid xrpc path").into_response();
    };
    let Some(route) = routes.find(name) else {
        return unrouted(&app, request).await;
    };
    let (found, expected) = (request.method().clone(), verb(route.method.kind));
    match found {
        Verb::GET | Verb::HEAD if expected == Verb::GET => (route.run)(app, request).await,
        Verb::POST if expected == Verb::POST => (route.run)(app, request).await,
        Verb::GET | Verb::HEAD | Verb::POST => {
            XrpcError::invalid_request(format!("Incorrect HTTP method ({found}) expected {expected}")).into_response()
        }
        _ => unrouted(&app, request).await,
    }
}

/// Answers what no line of the table does.
async fn unrouted(app: &App, request: Request) -> Response {
    let name = path::method_name(request.uri().path()).unwrap_or_default().to_owned();
    let meter = Meter::of(app, request.extensions(), request.headers());
    let mut answer = match meter.begin(&name).await {
        Ok(()) => catchall::answer(app, &name, request).await,
        Err(refused) => refused.into_response(),
    };
    meter.tell(&mut answer);
    answer
}

/// The verb that a method is called with; a HEAD is a GET whose answer has no body.
fn verb(kind: MethodKind) -> Verb {
    match kind {
        MethodKind::Query | MethodKind::Subscription => Verb::GET,
        MethodKind::Procedure => Verb::POST,
    }
}
