//! Calls that another service answers, in the name of the account that makes them.
//!
//! A call goes to the service that its `atproto-proxy` header names, or to the one that the operator has for its method:
//! the moderator, who gets reports, or the application's view of the network. It is told who calls by a token that the
//! account's own key signs, good for that service and that method for a minute, and nothing else of the caller's
//! credentials. What it answers goes to the caller as it comes.
//!
//! Specification: <https://atproto.com/specs/xrpc#service-proxying>.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse as _, Response};
use shared::syntax::{Did, Nsid};
use shared::token::service::{DEFAULT_LIFETIME, NewToken};
use shared::token::session::Scope;
use shared::xrpc::error_name;
use url::Url;

use super::call::{Answer, Call};
use super::catchall::{is_privileged, is_protected};
use super::explain::check;
use super::input::Json;
use super::output;
use crate::app::App;
use crate::auth::{Access, Asked, Auth as _, Caller};
use crate::config::Remote;
use crate::error::XrpcError;
use crate::pipethrough::{Forward, asked_of, body_of, method_url};
use crate::random;
use crate::time::now_seconds;

/// Names the service that a call is for: `did#service`.
const PROXY: HeaderName = HeaderName::from_static("atproto-proxy");
/// The service of a view of the network, and of a moderator, in their documents.
const APP_VIEW: &str = "bsky_appview";
const LABELER: &str = "atproto_labeler";
pub(super) const CREATE_REPORT: &str = "com.atproto.moderation.createReport";

/// The methods of moderators' tools, which are the moderator's to answer.
const MODERATION: [&str; 27] = [
    "tools.ozone.communication.createTemplate",
    "tools.ozone.communication.deleteTemplate",
    "tools.ozone.communication.listTemplates",
    "tools.ozone.communication.updateTemplate",
    "tools.ozone.moderation.cancelScheduledActions",
    "tools.ozone.moderation.emitEvent",
    "tools.ozone.moderation.getAccountTimeline",
    "tools.ozone.moderation.getEvent",
    "tools.ozone.moderation.getRecord",
    "tools.ozone.moderation.getRepo",
    "tools.ozone.moderation.listScheduledActions",
    "tools.ozone.moderation.queryEvents",
    "tools.ozone.moderation.queryStatuses",
    "tools.ozone.moderation.scheduleAction",
    "tools.ozone.moderation.searchRepos",
    "tools.ozone.safelink.addRule",
    "tools.ozone.safelink.queryEvents",
    "tools.ozone.safelink.queryRules",
    "tools.ozone.safelink.removeRule",
    "tools.ozone.safelink.updateRule",
    "tools.ozone.team.addMember",
    "tools.ozone.team.deleteMember",
    "tools.ozone.team.listMembers",
    "tools.ozone.team.updateMember",
    "tools.ozone.verification.grantVerifications",
    "tools.ozone.verification.listVerifications",
    "tools.ozone.verification.revokeVerifications",
];

/// A service that a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Where it is.
    pub(super) url: Url,
    /// Who it is.
    pub(super) did: Did,
    /// Which service of its document.
    service: Box<str>,
}

impl Target {
    /// The service that a call of `nsid` with these headers is for.
    ///
    /// # Errors
    /// 400 for a header that is none or names nobody, and where no service is configured.
    pub(super) async fn of(app: &App, headers: &HeaderMap, nsid: &str) -> Answer<Self> {
        match headers.get(PROXY).map(HeaderValue::as_bytes) {
            None | Some(b"") => Self::usual(app, nsid),
            Some(named) => {
                let named = std::str::from_utf8(named);
                Self::named(app, named.map_err(|_| XrpcError::invalid_request("invalid proxy header format"))?).await
            }
        }
    }

    /// The service that `nsid` goes to when nobody says where.
    ///
    /// # Errors
    /// 400 where none is configured.
    pub(super) fn usual(app: &App, nsid: &str) -> Answer<Self> {
        let services = &app.config().services;
        let (remote, service) = if MODERATION.contains(&nsid) {
            (services.moderation.as_ref(), LABELER)
        } else if nsid == CREATE_REPORT {
            (services.report.as_ref(), LABELER)
        } else {
            (services.app_view.as_ref().map(|view| &view.remote), APP_VIEW)
        };
        let Some(Remote { url, did }) = remote else {
            return Err(XrpcError::invalid_request(format!("No service configured for {nsid}")));
        };
        Ok(Self { url: url.clone(), did: did.clone(), service: service.into() })
    }

    async fn named(app: &App, named: &str) -> Answer<Self> {
        let (did, service) = parse(named).map_err(XrpcError::invalid_request)?;
        if let Some(view) = &app.config().services.app_view
            && (view.remote.did.as_str(), APP_VIEW) == (did, service)
        {
            let Remote { url, did } = view.remote.clone();
            return Ok(Self { url, did, service: service.into() });
        }
        let unresolved = || XrpcError::invalid_request("could not resolve proxy did");
        let did = Did::parse(did).map_err(|_| unresolved())?;
        let document = app.identity().resolve_did(&did).await.map_err(|error| unresolved().caused_by(error))?;
        let document = document.ok_or_else(unresolved)?;
        let url = document.service(service, None).and_then(|url| Url::parse(url).ok());
        let url = url.ok_or_else(|| XrpcError::invalid_request("could not resolve proxy did service url"))?;
        Ok(Self { url, did, service: service.into() })
    }

    /// Whether it is the view of the network that the operator has.
    pub(super) fn is_app_view(&self, app: &App) -> bool {
        let view = app.config().services.app_view.as_ref();
        &*self.service == APP_VIEW && view.is_some_and(|view| view.remote.did == self.did)
    }

    /// A call of `nsid` there, in the name of `caller`, as it came: path, query and body.
    async fn forward(&self, app: &App, caller: &Did, nsid: &str, request: Request) -> Answer<Response> {
        let (parts, body) = request.into_parts();
        let mut headers = asked_of(&parts.headers);
        let body = (parts.method == Method::POST).then(|| {
            headers.extend(body_of(&parts.headers));
            let comes = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
            comes.iter().any(|name| parts.headers.contains_key(name)).then_some(body)
        });
        let forward = self.call(app, caller, nsid, parts.method, &parts.uri, headers).await?;
        app.pipethrough().forward(Forward { body: body.flatten(), ..forward }).await
    }

    /// A call of `nsid` there, in the name of `caller`, without a body: by path and query of `uri`, as they came.
    pub(super) async fn call(
        &self,
        app: &App,
        caller: &Did,
        nsid: &str,
        verb: Method,
        uri: &Uri,
        headers: HeaderMap,
    ) -> Answer<Forward> {
        let token = token(app, caller, self.did.as_str(), nsid).await?;
        Ok(self.call_with(token, verb, uri, headers))
    }

    /// As [`Self::call`], with a token that may be for another service or method.
    pub(super) fn call_with(&self, token: String, verb: Method, uri: &Uri, headers: HeaderMap) -> Forward {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{}", self.url.path().trim_end_matches('/'), uri.path()));
        url.set_query(uri.query());
        Forward { url, verb, headers, token: Some(token), body: None }
    }

    /// A query of `nsid` there, told what it may be of `headers`.
    pub(super) async fn query(
        &self,
        app: &App,
        nsid: &str,
        params: &[(&str, &str)],
        headers: &HeaderMap,
        token: String,
    ) -> Answer<Response> {
        let url = method_url(&self.url, nsid, params);
        let forward = Forward { url, verb: Method::GET, headers: asked_of(headers), token: Some(token), body: None };
        app.pipethrough().forward(forward).await
    }

    /// A procedure of `nsid` there, in the name of `caller`.
    pub(super) async fn procedure(
        &self,
        app: &App,
        caller: &Did,
        nsid: &str,
        input: &impl serde::Serialize,
    ) -> Answer<Response> {
        let json = serde_json::to_vec(input).map_err(XrpcError::internal)?;
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let token = Some(token(app, caller, self.did.as_str(), nsid).await?);
        let url = method_url(&self.url, nsid, &[]);
        let forward = Forward { url, verb: Method::POST, headers, token, body: Some(Body::from(json)) };
        app.pipethrough().forward(forward).await
    }

    /// One whose address is known.
    pub(super) fn at(url: Url, did: Did, service: &str) -> Self {
        Self { url, did, service: service.into() }
    }
}

/// DID and service of an `atproto-proxy` header, or what is wrong with it.
fn parse(named: &str) -> Result<(&str, &str), &'static str> {
    if named.starts_with('#') {
        return Err("no did specified in proxy header");
    }
    match named.split_once('#') {
        None | Some((_, "")) => Err("no service id specified in proxy header"),
        Some((_, service)) if service.contains('#') => Err("invalid proxy header format"),
        Some(_) if named.contains(' ') => Err("proxy header cannot contain spaces"),
        Some((did, service)) => Ok((did, service)),
    }
}

/// A token by which `audience` knows that `caller` calls `nsid`.
///
/// # Errors
/// When the account has no store, or `nsid` is no name of a method.
pub(super) async fn token(app: &App, caller: &Did, audience: &str, nsid: &str) -> Answer<String> {
    let nsid = Nsid::parse(nsid).map_err(|_| XrpcError::invalid_request("invalid xrpc path"))?;
    let store = app.actors().store(caller).await?;
    let iat = now_seconds();
    let exp = iat.saturating_add(DEFAULT_LIFETIME);
    let token = NewToken { iss: caller, aud: audience, lxm: Some(&nsid), iat, exp, jti: random::bytes() };
    Ok(token.sign(store.key()?))
}

/// Passes a call of `nsid`, which no route took, on to its service.
pub(super) async fn pass(app: &App, nsid: &str, request: Request) -> Response {
    let passed = async {
        if is_protected(nsid) {
            return Err(XrpcError::refused(error_name::INVALID_TOKEN, "Bad token method"));
        }
        let target = Target::of(app, request.headers(), nsid).await?;
        let caller = Access::standard().verify(&Asked { app, nsid, headers: request.headers() }).await?;
        if caller.scope == Scope::AppPass && is_privileged(nsid) {
            return Err(XrpcError::refused(error_name::INVALID_TOKEN, "Bad token method"));
        }
        target.forward(app, &caller.did, nsid, request).await
    };
    let mut answer = passed.await.into_response();
    output::keep_private(&mut answer);
    answer
}

/// What a service is asked beside the input: where a call is passed on though a route takes it.
pub(super) struct Aside<I> {
    pub(super) input: I,
    pub(super) headers: HeaderMap,
}

/// com.atproto.moderation.createReport
pub(super) async fn create_report(
    Call { app, caller, input: Aside { input: Json(report), headers }, .. }: Call<
        Caller,
        (),
        Aside<Json<shared::api::moderation::CreateReport>>,
    >,
) -> Answer<Response> {
    check(CREATE_REPORT, &report)?;
    let target = Target::of(&app, &headers, CREATE_REPORT).await?;
    target.procedure(&app, &caller.did, CREATE_REPORT, &report).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_by_did_and_fragment() {
        assert_eq!(parse("did:web:a.test#x"), Ok(("did:web:a.test", "x")));
        for (named, fault) in [
            ("#x", "no did specified in proxy header"),
            ("did:web:a.test", "no service id specified in proxy header"),
            ("did:web:a.test#", "no service id specified in proxy header"),
            ("did:web:a.test#x#y", "invalid proxy header format"),
            ("did:web:a.test #x", "proxy header cannot contain spaces"),
        ] {
            assert_eq!(parse(named), Err(fault), "{named}");
        }
    }
}
