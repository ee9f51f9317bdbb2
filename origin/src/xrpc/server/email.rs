//! What an account does by mail: codes are asked for, and used.

use shared::api::server::{ConfirmEmail, RequestEmailUpdateOutput, RequestPasswordReset, ResetPassword, UpdateEmail};
use shared::syntax::Did;

use super::super::call::{Answer, Call};
use super::super::input::Json;
use crate::account::{Account, AccountError, EmailChange, Include, Purpose};
use crate::app::App;
use crate::auth::Caller;
use crate::error::XrpcError;

/// com.atproto.server.requestPasswordReset
///
/// Whether there is such an account is not told, by the answer or by the time that it takes.
pub(in super::super) async fn request_password_reset(
    Call { app, input: Json(input), .. }: Call<(), (), Json<RequestPasswordReset>>,
) -> Answer<()> {
    app.mailer().send_reset(app.accounts(), input.email);
    Ok(())
}

/// com.atproto.server.resetPassword
pub(in super::super) async fn reset_password(
    Call { app, input: Json(input), .. }: Call<(), (), Json<ResetPassword>>,
) -> Answer<()> {
    match app.accounts().reset_password(input.token.expose(), input.password.expose()).await {
        Ok(_) => Ok(()),
        Err(AccountError::PasswordTooLong) => Err(XrpcError::invalid_request("Invalid password length.")),
        Err(error) => Err(error.into()),
    }
}

/// com.atproto.server.requestEmailConfirmation
pub(in super::super) async fn request_email_confirmation(Call { app, caller, .. }: Call<Caller>) -> Answer<()> {
    mail_code(&app, &caller.did, Purpose::ConfirmEmail).await
}

/// com.atproto.server.confirmEmail
pub(in super::super) async fn confirm_email(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<ConfirmEmail>>,
) -> Answer<()> {
    app.accounts().confirm_email(&caller.did, &input.email, input.token.expose()).await?;
    Ok(())
}

/// com.atproto.server.requestEmailUpdate
///
/// An address that was never confirmed can be changed without a code: it may not be the owner's at all.
pub(in super::super) async fn request_email_update(
    Call { app, caller, .. }: Call<Caller>,
) -> Answer<Json<RequestEmailUpdateOutput>> {
    let account = with_email(&app, &caller.did).await?;
    let token_required = account.email_confirmed_at.is_some();
    if token_required {
        app.mailer().send_code(app.accounts(), &account, Purpose::UpdateEmail).await?;
    }
    Ok(Json(RequestEmailUpdateOutput { token_required }))
}

/// com.atproto.server.updateEmail
pub(in super::super) async fn update_email(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<UpdateEmail>>,
) -> Answer<()> {
    let token = input.token.as_ref().map(|token| token.expose());
    match app.accounts().set_email(&caller.did, &input.email, EmailChange::Owner { token }).await {
        Err(error @ AccountError::NotFound) => Err(XrpcError::invalid_request(error.to_string())),
        changed => Ok(changed?),
    }
}

/// com.atproto.server.requestAccountDelete
pub(in super::super) async fn request_account_delete(Call { app, caller, .. }: Call<Caller>) -> Answer<()> {
    mail_code(&app, &caller.did, Purpose::DeleteAccount).await
}

/// Mails a code to the owner of the account of `did`.
pub(in super::super) async fn mail_code(app: &App, did: &Did, purpose: Purpose) -> Answer<()> {
    let account = with_email(app, did).await?;
    Ok(app.mailer().send_code(app.accounts(), &account, purpose).await?)
}

/// The account of `did`, whatever its status, if there is an address to write to.
pub(in super::super) async fn with_email(app: &App, did: &Did) -> Answer<Account> {
    let account = app.accounts().by_did(did, Include::ALL).await?;
    let account = account.ok_or_else(|| XrpcError::invalid_request(AccountError::NotFound.to_string()))?;
    if account.email.is_some() { Ok(account) } else { Err(AccountError::NoEmail.into()) }
}
