//! Service auth: a token by which an account acts at another service.

use shared::api::Secret;
use shared::api::server::{GetServiceAuthOutput, GetServiceAuthParams};
use shared::token::service::{Audience, DEFAULT_LIFETIME, NewToken};
use shared::token::session::Scope;
use shared::xrpc::error_name;

use super::super::call::{Answer, Call};
use super::super::catchall::{is_privileged, is_protected};
use super::super::input::Json;
use crate::auth::Caller;
use crate::error::XrpcError;
use crate::random;
use crate::time::{now_millis, now_seconds};

/// How long a token for one method may last, in milliseconds.
const HOUR: i64 = 60 * 60 * 1000;
/// How long one for any method may, in milliseconds.
const MINUTE: i64 = 60 * 1000;
/// All that an account that is taken down may do elsewhere: leave.
const MOVING_OUT: &str = "com.atproto.server.createAccount";

/// com.atproto.server.getServiceAuth
pub(in super::super) async fn get_service_auth(
    Call { app, caller, params, .. }: Call<Caller, GetServiceAuthParams>,
) -> Answer<Json<GetServiceAuthOutput>> {
    let GetServiceAuthParams { aud, exp, lxm } = params;
    let Caller { did, scope } = caller;
    if Audience::parse(&aud).is_err() {
        return Err(XrpcError::invalid_request("aud must be a valid atproto DID or did#serviceId reference"));
    }
    let method = lxm.as_ref().map(shared::syntax::Nsid::as_str);
    if scope == Scope::Takendown && method != Some(MOVING_OUT) {
        return Err(XrpcError::refused(error_name::INVALID_TOKEN, "Bad token scope"));
    }
    if let Some(method) = method.filter(|method| is_privileged(method) && scope == Scope::AppPass) {
        let message = format!("insufficient access to request a service auth token for the following method: {method}");
        return Err(XrpcError::invalid_request(message));
    }
    // A zero is no time, as the reference reads it.
    let exp = exp.filter(|exp| *exp != 0);
    if let Some(exp) = exp {
        check_lifetime(exp.saturating_mul(1000).saturating_sub(now_millis()), method.is_some())?;
    }
    if let Some(method) = method.filter(|method| is_protected(method)) {
        let message = format!("cannot request a service auth token for the following protected method: {method}");
        return Err(XrpcError::invalid_request(message));
    }
    let store = app.actors().store(&did).await?;
    let iat = now_seconds();
    let exp = exp.and_then(|exp| u64::try_from(exp).ok()).unwrap_or(iat + DEFAULT_LIFETIME);
    let token = NewToken { iss: &did, aud: &aud, lxm: lxm.as_ref(), iat, exp, jti: random::bytes() };
    Ok(Json(GetServiceAuthOutput { token: Secret::new(token.sign(store.key()?)) }))
}

/// Refuses a token that would last until `left` milliseconds from now, if that is too long or over.
fn check_lifetime(left: i64, for_one_method: bool) -> Result<(), XrpcError> {
    let message = if left < 0 {
        "expiration is in past"
    } else if left > HOUR {
        "cannot request a token with an expiration more than an hour in the future"
    } else if !for_one_method && left > MINUTE {
        "cannot request a method-less token with an expiration more than a minute in the future"
    } else {
        return Ok(());
    };
    Err(XrpcError::refused(error_name::BAD_EXPIRATION, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lasts_an_hour_for_one_method_and_a_minute_for_any() {
        for (left, for_one_method, fits) in [
            (-1, true, false),
            (0, true, true),
            (HOUR, true, true),
            (HOUR + 1, true, false),
            (MINUTE, false, true),
            (MINUTE + 1, false, false),
        ] {
            assert_eq!(check_lifetime(left, for_one_method).is_ok(), fits, "{left} {for_one_method}");
        }
    }
}
