//! Operations on an account's did:plc identity: what it should be here, signed by this server's key, and sent.
//!
//! Whoever can have this server sign can take the identity away, so that takes a code that was mailed. Sending takes
//! none: only what leaves the account at this server is sent.

use shared::api::Secret;
use shared::api::identity::{
    GetRecommendedDidCredentialsOutput, SignPlcOperation, SignPlcOperationOutput, SubmitPlcOperation,
};
use shared::crypto::PublicKey;
use shared::data::{Map, Value};
use shared::identity::plc::{ATPROTO_KEY, ATPROTO_PDS, Body, Operation, PDS_TYPE, PlcError, State};
use shared::syntax::{Did, Handle};

use super::super::call::{Answer, Call};
use super::super::input::Json;
use super::super::server::email;
use crate::account::{Include, Purpose};
use crate::app::App;
use crate::auth::Caller;
use crate::error::XrpcError;
use crate::lifecycle;

/// com.atproto.identity.getRecommendedDidCredentials
pub(in super::super) async fn get_recommended_did_credentials(
    Call { app, caller, .. }: Call<Caller>,
) -> Answer<Json<GetRecommendedDidCredentialsOutput>> {
    let home = Home::of(&app, &caller.did).await?;
    let own = app.identity_key().await?;
    let rotation_keys = app.config().identity.recovery_key.iter().chain([&own]).map(PublicKey::to_did_key).collect();
    let pds: Map = [("type", PDS_TYPE), ("endpoint", &home.pds)].into_iter().collect();
    Ok(Json(GetRecommendedDidCredentialsOutput {
        rotation_keys: Some(rotation_keys),
        also_known_as: home.handle.map(|handle| vec![format!("at://{handle}")]),
        verification_methods: Some([(ATPROTO_KEY, home.signing_key.as_str())].into_iter().collect::<Map>().into()),
        services: Some([(ATPROTO_PDS, pds)].into_iter().collect::<Map>().into()),
    }))
}

/// com.atproto.identity.requestPlcOperationSignature
pub(in super::super) async fn request_plc_operation_signature(Call { app, caller, .. }: Call<Caller>) -> Answer<()> {
    email::mail_code(&app, &caller.did, Purpose::PlcOperation).await
}

/// com.atproto.identity.signPlcOperation
///
/// The code is used up last: a directory that is away, or an input that makes no operation, costs no new one.
pub(in super::super) async fn sign_plc_operation(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<SignPlcOperation>>,
) -> Answer<Json<SignPlcOperationOutput>> {
    let did = caller.did;
    let code = input.token.as_ref().map(Secret::expose).filter(|code| !code.is_empty());
    let message = "email confirmation token required to sign PLC operations";
    let code = code.ok_or_else(|| XrpcError::invalid_request(message))?.to_owned();
    app.accounts().check_email_token(&did, Purpose::PlcOperation, &code).await?;
    only_plc(&did)?;
    let last = app.identity().directory().last_operation(&did).await?;
    let last = last.ok_or_else(|| XrpcError::invalid_request("Did is not registered"))?;
    let state = last.state().ok_or_else(|| XrpcError::invalid_request("Did is tombstoned"))?;
    let operation = Body::update(changed(&did, &state, input)?, &last.cid());
    let operation = app.rotation_key().sign(operation).await?;
    operation.check_limits().map_err(|error| refusal(&error))?;
    app.accounts().use_email_token(&did, Purpose::PlcOperation, &code).await?;
    Ok(Json(SignPlcOperationOutput { operation: operation.to_value() }))
}

/// com.atproto.identity.submitPlcOperation
pub(in super::super) async fn submit_plc_operation(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<SubmitPlcOperation>>,
) -> Answer<()> {
    let did = caller.did;
    let operation = Operation::from_value(input.operation).ok().filter(|it| matches!(it.body(), Body::Update { .. }));
    let operation = operation.ok_or_else(|| XrpcError::invalid_request("Invalid operation"))?;
    let state = operation.state().unwrap_or_default();
    let own = app.identity_key().await?.to_did_key();
    Home::of(&app, &did).await?.check(&state, &own).map_err(XrpcError::invalid_request)?;
    only_plc(&did)?;
    Ok(lifecycle::change_identity(&app, &did, &operation).await?)
}

/// What the identity of an account here must say.
struct Home {
    handle: Option<Handle>,
    signing_key: String,
    pds: String,
}

impl Home {
    async fn of(app: &App, did: &Did) -> Answer<Self> {
        let store = app.actors().store(did).await?;
        let signing_key = store.key()?.public_key().to_did_key();
        let account = app.accounts().by_did(did, Include::DEACTIVATED).await?;
        Ok(Self { handle: account.and_then(|account| account.handle), signing_key, pds: app.public_url() })
    }

    /// Says what of `state` would take the account away from this server, whose rotation key is `own`.
    fn check(&self, state: &State, own: &str) -> Result<(), &'static str> {
        if !state.rotation_keys.iter().any(|key| key == own) {
            return Err("Rotation keys do not include server's rotation key");
        }
        let pds = state.services.get(ATPROTO_PDS);
        if pds.is_none_or(|pds| pds.kind != PDS_TYPE) {
            return Err("Incorrect type on atproto_pds service");
        }
        if pds.is_none_or(|pds| pds.endpoint != self.pds) {
            return Err("Incorrect endpoint on atproto_pds service");
        }
        if state.verification_methods.get(ATPROTO_KEY) != Some(&self.signing_key) {
            return Err("Incorrect signing key");
        }
        if let Some(handle) = &self.handle
            && state.also_known_as.first() != Some(&format!("at://{handle}"))
        {
            return Err("Incorrect handle in alsoKnownAs");
        }
        Ok(())
    }
}

fn only_plc(did: &Did) -> Answer<()> {
    if did.is_plc() { Ok(()) } else { Err(XrpcError::invalid_request(format!("{did} is not a did:plc"))) }
}

/// `state` with what `input` says in place of what it was.
fn changed(did: &Did, state: &State, input: SignPlcOperation) -> Answer<State> {
    let Value::Map(mut data) = state.to_data(did) else {
        return Err(XrpcError::internal("the state of an identity is not a map"));
    };
    let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::from).collect());
    for (name, value) in [
        ("rotationKeys", input.rotation_keys.map(texts)),
        ("alsoKnownAs", input.also_known_as.map(texts)),
        ("verificationMethods", input.verification_methods),
        ("services", input.services),
    ] {
        if let Some(value) = value {
            data.insert(name, value);
        }
    }
    State::from_data(did, data.into()).map_err(|error| refusal(&error))
}

fn refusal(error: &PlcError) -> XrpcError {
    XrpcError::invalid_request(format!("Invalid operation: {error}"))
}
