//! App passwords.

use shared::api::Secret;
use shared::api::server::{
    AppPassword, CreateAppPassword, CreateAppPasswordOutput, ListAppPasswordsOutput, RevokeAppPassword,
};

use super::super::call::{Answer, Call};
use super::super::input::Json;
use super::super::stored_time;
use crate::auth::Caller;

/// com.atproto.server.createAppPassword
pub(in super::super) async fn create_app_password(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<CreateAppPassword>>,
) -> Answer<Json<CreateAppPasswordOutput>> {
    let privileged = input.privileged.unwrap_or(false);
    let made = app.accounts().create_app_password(&caller.did, &input.name, privileged).await?;
    Ok(Json(CreateAppPasswordOutput {
        created_at: stored_time(&made.kept.created_at)?,
        name: made.kept.name,
        password: Secret::new(made.password),
        privileged: Some(made.kept.privileged),
    }))
}

/// com.atproto.server.listAppPasswords
pub(in super::super) async fn list_app_passwords(
    Call { app, caller, .. }: Call<Caller>,
) -> Answer<Json<ListAppPasswordsOutput>> {
    let kept = app.accounts().app_passwords(&caller.did).await?;
    let passwords = kept.into_iter().map(|kept| {
        let created_at = stored_time(&kept.created_at)?;
        Ok(AppPassword { name: kept.name, created_at, privileged: Some(kept.privileged) })
    });
    Ok(Json(ListAppPasswordsOutput { passwords: passwords.collect::<Answer<_>>()? }))
}

/// com.atproto.server.revokeAppPassword
pub(in super::super) async fn revoke_app_password(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<RevokeAppPassword>>,
) -> Answer<()> {
    app.accounts().revoke_app_password(&caller.did, &input.name).await?;
    Ok(())
}
