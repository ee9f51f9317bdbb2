//! Calls that the entryway answers, where this server stands behind one.
//!
//! A line of the route table that is [`behind`] has two answers: the entryway's, and this server's own. Who may call, what
//! the input must be and what is counted is the same for both. The entryway is asked in the account's name
//! ([`as_account`]), with the credentials that came ([`as_caller`]), or not at all where everything is its own
//! ([`refused`]); what needs a look at the account first stands below.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::api::admin::{SendEmail, UpdateAccountEmail};
use shared::api::identity::UpdateHandle;
use shared::api::server::{DeleteAccount, RequestPasswordReset};
use shared::syntax::Did;

use super::call::{Answer, Call};
use super::input::Json;
use super::limit::Answering;
use super::proxy::{Aside, token};
use super::server::session;
use crate::account::{Account, AccountError, Include};
use crate::app::App;
use crate::auth::{Caller, Refresher, Standing};
use crate::entryway::Passed;
use crate::error::XrpcError;

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// A handler that answers as `passed` does behind an entryway, and as `own` does without.
pub(super) fn behind<C, P, I, O, A, FA, B, FB>(
    passed: A,
    own: B,
) -> impl Fn(Call<C, P, Aside<I>>) -> Answering<Response> + Send + Sync + 'static
where
    O: IntoResponse,
    A: Fn(Call<C, P, Aside<I>>) -> FA + Send + Sync + 'static,
    FA: Future<Output = Answer<Response>> + Send + 'static,
    B: Fn(Call<C, P, I>) -> FB + Send + Sync + 'static,
    FB: Future<Output = Answer<O>> + Send + 'static,
{
    move |call| {
        if call.app.entryway().is_some() {
            return Box::pin(passed(call));
        }
        let answering = own(call.map(|aside| aside.input));
        Box::pin(async move { answering.await.map(IntoResponse::into_response) })
    }
}

/// An input that the entryway can be sent.
pub(super) trait Sent {
    /// It, as JSON; `None` if there is none.
    fn sent(&self) -> Answer<Option<Vec<u8>>>;
}

impl Sent for () {
    fn sent(&self) -> Answer<Option<Vec<u8>>> {
        Ok(None)
    }
}

impl<T: Serialize> Sent for Json<T> {
    fn sent(&self) -> Answer<Option<Vec<u8>>> {
        serde_json::to_vec(&self.0).map(Some).map_err(XrpcError::internal)
    }
}

/// A call that the entryway is to answer.
struct Ask {
    app: App,
    headers: HeaderMap,
    passed: Passed,
}

impl Ask {
    /// `call`, and who makes it.
    fn of<C, P, I: Sent>(call: Call<C, P, Aside<I>>) -> Answer<(Self, C)> {
        let Call { app, caller, input: Aside { input, headers }, verb, uri, meter, nsid, .. } = call;
        let is_query = verb != Method::POST;
        let passed = Passed {
            nsid,
            verb: if is_query { Method::GET } else { verb },
            query: uri.query().filter(|_| is_query).map(str::to_owned),
            body: input.sent()?,
            client: meter.address(),
            authorization: None,
        };
        Ok((Self { app, headers, passed }, caller))
    }

    /// Asks in the name of `account`.
    async fn by(mut self, account: &Did) -> Answer<Response> {
        let entryway = self.app.entryway().ok_or_else(none)?;
        let token = token(&self.app, account, entryway.config().did.as_str(), self.passed.nsid).await?;
        let bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(XrpcError::internal)?;
        self.passed.authorization = Some(bearer);
        entryway.pass(self.passed).await
    }

    /// Asks with the credentials that came. A proof that is bound to this server's address would be none there.
    async fn on(mut self) -> Answer<Response> {
        let entryway = self.app.entryway().ok_or_else(none)?;
        let authorization = self.headers.get(header::AUTHORIZATION).filter(|value| !value.is_empty());
        if let Some(value) = authorization {
            let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
            if scheme.is_empty() {
                return Err(XrpcError::invalid_request("Invalid authorization header"));
            }
            let proof = self.headers.get(DPOP).is_some_and(|proof| !proof.is_empty());
            if scheme.eq_ignore_ascii_case(b"dpop") || proof {
                return Err(XrpcError::invalid_request("DPoP requests cannot be proxied"));
            }
        }
        self.passed.authorization = authorization.cloned();
        entryway.pass(self.passed).await
    }
}

fn none() -> XrpcError {
    XrpcError::internal("there is no entryway")
}

/// The entryway is asked in the name of the account that calls.
pub(super) async fn as_account<P, I: Sent>(call: Call<Caller, P, Aside<I>>) -> Answer<Response> {
    let (ask, caller) = Ask::of(call)?;
    ask.by(&caller.did).await
}

/// The entryway is asked by whoever calls.
pub(super) async fn as_caller<C, P, I: Sent>(call: Call<C, P, Aside<I>>) -> Answer<Response> {
    let (ask, _) = Ask::of(call)?;
    ask.on().await
}

/// Invites are the entryway's, and nobody asks for them through this server.
pub(super) async fn refused<C, P, I>(_: Call<C, P, I>) -> Answer<Response> {
    Err(XrpcError::invalid_request("Account invites are managed by the entryway service"))
}

/// com.atproto.admin.sendEmail: in the name of who is to get it.
pub(super) async fn send_email<C>(call: Call<C, (), Aside<Json<SendEmail>>>) -> Answer<Response> {
    let to = call.input.input.0.recipient_did.clone();
    let (ask, _) = Ask::of(call)?;
    let account = account(&ask.app, &to).await?;
    account.ok_or_else(|| XrpcError::invalid_request("Recipient not found"))?;
    ask.by(&to).await
}

/// com.atproto.admin.updateAccountEmail: of an account here.
pub(super) async fn update_account_email<C>(call: Call<C, (), Aside<Json<UpdateAccountEmail>>>) -> Answer<Response> {
    let of = call.input.input.0.account.clone();
    let (ask, _) = Ask::of(call)?;
    let account = ask.app.accounts().by_identifier(&of, Include::ALL).await?;
    account.ok_or_else(|| XrpcError::invalid_request(format!("Account does not exist: {of}")))?;
    ask.on().await
}

/// com.atproto.identity.updateHandle: the entryway is told whose, too.
///
/// It changes the document, and then has the row follow by com.atproto.admin.updateAccountHandle.
pub(super) async fn update_handle(call: Call<Caller, (), Aside<Json<UpdateHandle>>>) -> Answer<Response> {
    let handle = call.input.input.0.handle.clone();
    let (mut ask, Caller { did, .. }) = Ask::of(call)?;
    let input = serde_json::json!({ "handle": handle, "did": did });
    ask.passed.body = Some(input.to_string().into_bytes());
    ask.by(&did).await
}

/// com.atproto.server.deleteAccount: of an account here.
pub(super) async fn delete_account<C>(call: Call<C, (), Aside<Json<DeleteAccount>>>) -> Answer<Response> {
    let did = call.input.input.0.did.clone();
    let (ask, _) = Ask::of(call)?;
    account(&ask.app, &did).await?.ok_or_else(unknown)?;
    ask.on().await
}

/// com.atproto.server.refreshSession: of an account here that is not taken down.
pub(super) async fn refresh_session(call: Call<Refresher, (), Aside<()>>) -> Answer<Response> {
    let (ask, Refresher { did, .. }) = Ask::of(call)?;
    let account = account(&ask.app, &did).await?.ok_or_else(|| session::unknown(&did))?;
    Standing { not_taken_down: true, ..Standing::default() }.check(Some(account))?;
    ask.on().await
}

/// com.atproto.server.requestAccountDelete: of an account here.
pub(super) async fn request_account_delete(call: Call<Caller, (), Aside<()>>) -> Answer<Response> {
    let (ask, Caller { did, .. }) = Ask::of(call)?;
    account(&ask.app, &did).await?.ok_or_else(unknown)?;
    ask.by(&did).await
}

/// com.atproto.server.requestPasswordReset: where no account here has the address, from before there was an entryway.
pub(super) async fn request_password_reset<C>(
    call: Call<C, (), Aside<Json<RequestPasswordReset>>>,
) -> Answer<Response> {
    let Json(RequestPasswordReset { email }) = &call.input.input;
    if call.app.accounts().by_email(email, Include::ALL).await?.is_some() {
        call.app.mailer().send_reset(call.app.accounts(), email.clone());
        return Ok(().into_response());
    }
    let (ask, _) = Ask::of(call)?;
    ask.on().await
}

/// The account of `did`, whatever its status.
async fn account(app: &App, did: &Did) -> Answer<Option<Account>> {
    Ok(app.accounts().by_did(did, Include::ALL).await?)
}

fn unknown() -> XrpcError {
    XrpcError::invalid_request(AccountError::NotFound.to_string())
}
