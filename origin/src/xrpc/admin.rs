//! `com.atproto.admin.*`: what administrators, and the moderators that they trust, do to accounts.

pub(super) mod subject;

use shared::api::admin::{
    AccountView, DeleteAccount, DisableAccountInvites, DisableInviteCodes, EnableAccountInvites, GetAccountInfoOutput,
    GetAccountInfoParams, GetAccountInfosOutput, GetAccountInfosParams, GetInviteCodesOutput, GetInviteCodesParams,
    InviteSort, SendEmail, SendEmailOutput, UpdateAccountEmail, UpdateAccountHandle, UpdateAccountPassword,
};
use shared::syntax::{Did, Handle};
use shared::xrpc::error_name;

use super::call::{Answer, Call};
use super::input::Json;
use super::server::invite;
use super::stored_time;
use crate::account::{self, Account, AccountError, EmailChange, Include, Rigour};
use crate::app::App;
use crate::error::XrpcError;
use crate::lifecycle;

/// com.atproto.admin.deleteAccount
///
/// That there is no such account is no error: it is as asked for.
pub(super) async fn delete_account(
    Call { app, input: Json(input), .. }: Call<(), (), Json<DeleteAccount>>,
) -> Answer<()> {
    lifecycle::delete(&app, &input.did).await?;
    Ok(())
}

/// com.atproto.admin.getAccountInfo
pub(super) async fn get_account_info(
    Call { app, params, .. }: Call<(), GetAccountInfoParams>,
) -> Answer<Json<GetAccountInfoOutput>> {
    let infos = views(&app, vec![params.did]).await?;
    let info = infos.into_iter().next();
    info.map(Json).ok_or_else(|| XrpcError::refused(error_name::NOT_FOUND, "Account not found"))
}

/// com.atproto.admin.getAccountInfos
pub(super) async fn get_account_infos(
    Call { app, params, .. }: Call<(), GetAccountInfosParams>,
) -> Answer<Json<GetAccountInfosOutput>> {
    Ok(Json(GetAccountInfosOutput { infos: views(&app, params.dids).await? }))
}

/// com.atproto.admin.sendEmail
///
/// The answer says whether there was a mail server to send it by.
pub(super) async fn send_email(
    Call { app, input: Json(input), .. }: Call<(), (), Json<SendEmail>>,
) -> Answer<Json<SendEmailOutput>> {
    let account = app.accounts().by_did(&input.recipient_did, Include::ALL).await?;
    let account = account.ok_or_else(|| XrpcError::invalid_request("Recipient not found"))?;
    let to = account.email.ok_or(AccountError::NoEmail)?;
    let subject = input.subject.as_deref().unwrap_or("Message via your PDS");
    let sent = app.mailer().send_moderation(&to, subject, input.content).await?;
    Ok(Json(SendEmailOutput { sent }))
}

/// com.atproto.admin.updateAccountEmail
pub(super) async fn update_account_email(
    Call { app, input: Json(input), .. }: Call<(), (), Json<UpdateAccountEmail>>,
) -> Answer<()> {
    let UpdateAccountEmail { account: of, email } = input;
    let account = app.accounts().by_identifier(&of, Include::ALL).await?;
    let account = account.ok_or_else(|| XrpcError::invalid_request(format!("Account does not exist: {of}")))?;
    Ok(app.accounts().set_email(&account.did, &email, EmailChange::Admin).await?)
}

/// com.atproto.admin.updateAccountHandle
pub(super) async fn update_account_handle(
    Call { app, input: Json(input), .. }: Call<(), (), Json<UpdateAccountHandle>>,
) -> Answer<()> {
    super::identity::renamed(lifecycle::rename(&app, &input.did, input.handle.as_str(), Rigour::Admin).await)
}

/// com.atproto.admin.updateAccountPassword
pub(super) async fn update_account_password(
    Call { app, input: Json(input), .. }: Call<(), (), Json<UpdateAccountPassword>>,
) -> Answer<()> {
    match app.accounts().set_password(&input.did, input.password.expose()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(AccountError::NotFound.into()),
        Err(AccountError::PasswordTooLong) => Err(XrpcError::invalid_request("Invalid password length.")),
        Err(error) => Err(error.into()),
    }
}

/// com.atproto.admin.disableAccountInvites
pub(super) async fn disable_account_invites(
    Call { app, input: Json(input), .. }: Call<(), (), Json<DisableAccountInvites>>,
) -> Answer<()> {
    app.accounts().set_invites_disabled(&input.account, true).await?;
    Ok(())
}

/// com.atproto.admin.enableAccountInvites
pub(super) async fn enable_account_invites(
    Call { app, input: Json(input), .. }: Call<(), (), Json<EnableAccountInvites>>,
) -> Answer<()> {
    app.accounts().set_invites_disabled(&input.account, false).await?;
    Ok(())
}

/// com.atproto.admin.disableInviteCodes
pub(super) async fn disable_invite_codes(
    Call { app, input: Json(input), .. }: Call<(), (), Json<DisableInviteCodes>>,
) -> Answer<()> {
    let DisableInviteCodes { codes, accounts } = input;
    Ok(app.accounts().disable_invite_codes(codes.unwrap_or_default(), accounts.unwrap_or_default()).await?)
}

/// com.atproto.admin.getInviteCodes
pub(super) async fn get_invite_codes(
    Call { app, params, .. }: Call<(), GetInviteCodesParams>,
) -> Answer<Json<GetInviteCodesOutput>> {
    let sort = match params.sort {
        InviteSort::Recent => account::InviteSort::Recent,
        InviteSort::Usage => account::InviteSort::Usage,
    };
    let page = app.accounts().invite_codes(sort, params.limit.get().into(), params.cursor.as_deref()).await?;
    let (codes, cursor) = page;
    Ok(Json(GetInviteCodesOutput { cursor, codes: invite::shown_all(codes)? }))
}

/// Those of these accounts that exist, each once. Nothing is said of invites where they are an entryway's.
async fn views(app: &App, mut dids: Vec<Did>) -> Answer<Vec<AccountView>> {
    let mut seen = std::collections::HashSet::new();
    dids.retain(|did| seen.insert(did.clone()));
    let accounts = app.accounts().by_dids(dids.clone(), Include::ALL).await?;
    let invites = app.entryway().is_none();
    let mut held = app.accounts().invite_codes_of(dids.clone()).await?;
    let mut invited = app.accounts().invited_by(dids).await?;
    let mut held_by = |did: &Did| invites.then(|| invite::shown_all(held.remove(did).unwrap_or_default()));
    let view = |account: Account| {
        let time = |text: Option<&String>| text.map(|text| stored_time(text)).transpose();
        Ok(AccountView {
            invites: held_by(&account.did).transpose()?,
            invited_by: invited.remove(&account.did).filter(|_| invites).map(invite::shown).transpose()?,
            indexed_at: stored_time(&account.created_at)?,
            email_confirmed_at: time(account.email_confirmed_at.as_ref())?,
            deactivated_at: time(account.deactivated_at.as_ref())?,
            invites_disabled: invites.then_some(account.invites_disabled),
            handle: account.handle.unwrap_or_else(Handle::invalid),
            email: account.email,
            did: account.did,
            related_records: None,
            invite_note: None,
            threat_signatures: None,
        })
    };
    accounts.into_iter().map(view).collect()
}
