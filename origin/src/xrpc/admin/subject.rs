//! The status of accounts and records: taken down, deactivated, or neither.

use shared::api::admin::{
    GetSubjectStatusOutput, GetSubjectStatusParams, StatusAttr, Subject, UpdateSubjectStatus, UpdateSubjectStatusOutput,
};
use shared::cid::Cid;
use shared::syntax::{AtIdentifier, AtUri, Did};
use shared::xrpc::error_name;

use super::super::call::{Answer, Call};
use super::super::input::Json;
use crate::account::{Deactivation, Include};
use crate::actor::{ActorError, takedown};
use crate::app::App;
use crate::error::XrpcError;
use crate::lifecycle;

/// com.atproto.admin.updateSubjectStatus
pub(in super::super) async fn update_subject_status(
    Call { app, input: Json(input), .. }: Call<(), (), Json<UpdateSubjectStatus>>,
) -> Answer<Json<UpdateSubjectStatusOutput>> {
    let UpdateSubjectStatus { subject, takedown, deactivated } = input;
    let activates = deactivated.as_ref().is_some_and(|deactivated| !deactivated.applied);
    if activates && takedown.as_ref().is_some_and(|takedown| takedown.applied) {
        return Err(XrpcError::invalid_request("Cannot activate and takedown an account at the same time"));
    }
    match &subject {
        Subject::Repo { did } => update_account(&app, did, takedown.as_ref(), deactivated.as_ref()).await?,
        Subject::Record { uri, .. } => {
            if let Some(takedown) = &takedown {
                update_record(&app, uri, takedown).await?;
            }
        }
        Subject::Blob { did, cid, .. } => {
            if let Some(takedown) = &takedown {
                update_blob(&app, did, cid, takedown).await?;
            }
        }
    }
    Ok(Json(UpdateSubjectStatusOutput { subject, takedown }))
}

/// com.atproto.admin.getSubjectStatus
pub(in super::super) async fn get_subject_status(
    Call { app, params, .. }: Call<(), GetSubjectStatusParams>,
) -> Answer<Json<GetSubjectStatusOutput>> {
    let not_found = || XrpcError::refused(error_name::NOT_FOUND, "Subject not found");
    let status = match params {
        GetSubjectStatusParams { blob: Some(_), did: None, .. } => {
            return Err(XrpcError::invalid_request("Must provide a did to request blob state"));
        }
        GetSubjectStatusParams { blob: Some(cid), did: Some(did), .. } => {
            let wanted = cid.clone();
            let store = app.actors().store(&did).await.map_err(|_| not_found())?;
            let reference = store.db()?.read(move |c| takedown::of_blob(c, &wanted)).await?.ok_or_else(not_found)?;
            let subject = Subject::Blob { did, cid, record_uri: None };
            GetSubjectStatusOutput { subject, takedown: Some(applied(reference)), deactivated: None }
        }
        GetSubjectStatusParams { uri: Some(uri), .. } => {
            let did = owner(&app, &uri).await?;
            let wanted = own_uri(&uri, &did)?;
            let store = app.actors().store(&did).await.map_err(|_| not_found())?;
            let found = store.db()?.read(move |c| takedown::of_record(c, &wanted)).await?;
            let (cid, reference) = found.ok_or_else(not_found)?;
            let subject = Subject::Record { uri, cid };
            GetSubjectStatusOutput { subject, takedown: Some(applied(reference)), deactivated: None }
        }
        GetSubjectStatusParams { did: Some(did), .. } => {
            let account = app.accounts().by_did(&did, Include::ALL).await?.ok_or_else(not_found)?;
            let deactivated = StatusAttr { applied: account.deactivated_at.is_some(), reference: None };
            GetSubjectStatusOutput {
                subject: Subject::Repo { did },
                takedown: Some(applied(account.takedown_ref)),
                deactivated: Some(deactivated),
            }
        }
        _ => return Err(XrpcError::invalid_request("No provided subject")),
    };
    Ok(Json(status))
}

fn applied(reference: Option<String>) -> StatusAttr {
    StatusAttr { applied: reference.is_some(), reference }
}

async fn update_account(
    app: &App,
    did: &Did,
    takedown: Option<&StatusAttr>,
    deactivated: Option<&StatusAttr>,
) -> Answer<()> {
    match takedown {
        Some(StatusAttr { applied: true, reference }) => {
            lifecycle::take_down(app, did, reference.clone()).await?;
        }
        Some(_) => {
            lifecycle::restore(app, did).await?;
        }
        None => {}
    }
    match deactivated {
        Some(StatusAttr { applied: true, .. }) => {
            lifecycle::deactivate(app, did, Deactivation::default()).await?;
        }
        Some(_) => {
            lifecycle::activate(app, did).await?;
        }
        None => {}
    }
    if takedown.is_none() && deactivated.is_none() {
        // Asked for nothing, the reference tells again what is.
        lifecycle::announce(app, did).await?;
    }
    Ok(())
}

/// A record that is taken down is not shown by itself; it stays in the repository, which could not be verified without.
async fn update_record(app: &App, uri: &AtUri, takedown: &StatusAttr) -> Answer<()> {
    let did = owner(app, uri).await?;
    let (uri, reference) = (own_uri(uri, &did)?, reference(takedown));
    let store = app.actors().store(&did).await?;
    let told = app.actors().sequencer().feed().change(&did, false, None).await?;
    let found = store.db()?.write(move |tx| takedown::set_record(tx, &uri, reference.as_deref())).await?;
    drop(told);
    app.feed().surely_told(&did).await;
    if found { Ok(()) } else { Err(XrpcError::refused(error_name::NOT_FOUND, "Subject not found")) }
}

async fn update_blob(app: &App, did: &Did, cid: &Cid, takedown: &StatusAttr) -> Answer<()> {
    let found = match takedown.applied {
        true => app.actors().take_down_blob(did, cid, takedown.reference.clone()).await?,
        false => app.actors().restore_blob(did, cid).await?,
    };
    app.feed().surely_told(did).await;
    if found { Ok(()) } else { Err(XrpcError::refused(error_name::NOT_FOUND, "Subject not found")) }
}

/// What is kept of a takedown; None if it ends.
fn reference(takedown: &StatusAttr) -> Option<String> {
    let now = || crate::time::now_datetime().as_str().to_owned();
    takedown.applied.then(|| takedown.reference.clone().unwrap_or_else(now))
}

/// Whose record it is.
async fn owner(app: &App, uri: &AtUri) -> Answer<Did> {
    let account = match uri.authority() {
        AtIdentifier::Did(did) => return Ok(did),
        handle @ AtIdentifier::Handle(_) => app.accounts().by_identifier(&handle, Include::ALL).await?,
    };
    let account = account.ok_or_else(|| XrpcError::refused(error_name::NOT_FOUND, "Subject not found"))?;
    Ok(account.did)
}

/// The record's address with its owner's DID.
fn own_uri(uri: &AtUri, did: &Did) -> Answer<AtUri> {
    match (uri.collection(), uri.rkey()) {
        (Some(collection), Some(rkey)) => Ok(AtUri::record(did, &collection, &rkey)),
        _ => Err(ActorError::NotFound(did.clone()).into()),
    }
}
