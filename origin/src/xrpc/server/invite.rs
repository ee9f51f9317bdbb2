//! Invite codes, as the administrator gives them and as accounts have them to give away.

use shared::api::server::{
    AccountCodes, CreateInviteCode, CreateInviteCodeOutput, CreateInviteCodes, CreateInviteCodesOutput,
    GetAccountInviteCodesOutput, GetAccountInviteCodesParams, InviteCode, InviteCodeUse,
};
use shared::syntax::Did;
use shared::xrpc::error_name;

use super::super::call::{Answer, Call};
use super::super::input::Json;
use super::super::stored_time;
use crate::account::{self, AccountError};
use crate::auth::Caller;
use crate::error::XrpcError;

/// Who holds codes that are for nobody.
const ADMIN: &str = "admin";
/// How many codes are made at once.
const AT_ONCE: usize = 10_000;

/// com.atproto.server.createInviteCode
pub(in super::super) async fn create_invite_code(
    Call { app, input: Json(input), .. }: Call<(), (), Json<CreateInviteCode>>,
) -> Answer<Json<CreateInviteCodeOutput>> {
    let holders = holders(input.for_account.map(|account| vec![account]));
    let made = app.accounts().create_invite_codes(holders, 1, input.use_count.into()).await?;
    let code = made.into_iter().flat_map(|(_, codes)| codes).next();
    let code = code.ok_or_else(|| XrpcError::internal("no code was made"))?;
    Ok(Json(CreateInviteCodeOutput { code }))
}

/// com.atproto.server.createInviteCodes
pub(in super::super) async fn create_invite_codes(
    Call { app, input: Json(input), .. }: Call<(), (), Json<CreateInviteCodes>>,
) -> Answer<Json<CreateInviteCodesOutput>> {
    let holders = holders(input.for_accounts);
    let each = usize::try_from(input.code_count).unwrap_or(usize::MAX);
    if each.saturating_mul(holders.len()) > AT_ONCE {
        return Err(XrpcError::invalid_request(format!("Too many codes. Max: {AT_ONCE}")));
    }
    let made = app.accounts().create_invite_codes(holders, input.code_count, input.use_count.into()).await?;
    let codes = made.into_iter().map(|(account, codes)| AccountCodes { account, codes }).collect();
    Ok(Json(CreateInviteCodesOutput { codes }))
}

/// com.atproto.server.getAccountInviteCodes
pub(in super::super) async fn get_account_invite_codes(
    Call { app, caller, params, .. }: Call<Caller, GetAccountInviteCodesParams>,
) -> Answer<Json<GetAccountInviteCodesOutput>> {
    let GetAccountInviteCodesParams { include_used, create_available } = params;
    match app.accounts().account_invite_codes(&caller.did, include_used, create_available).await {
        Ok(codes) => Ok(Json(GetAccountInviteCodesOutput { codes: shown_all(codes)? })),
        Err(AccountError::NotFound) => Err(XrpcError::refused(error_name::NOT_FOUND, "Account not found")),
        Err(error) => Err(error.into()),
    }
}

fn holders(accounts: Option<Vec<Did>>) -> Vec<String> {
    let accounts = accounts.map(|accounts| accounts.iter().map(ToString::to_string).collect());
    accounts.unwrap_or_else(|| vec![ADMIN.to_owned()])
}

/// Codes as answers hold them.
pub(in super::super) fn shown_all(codes: Vec<account::InviteCode>) -> Answer<Vec<InviteCode>> {
    codes.into_iter().map(shown).collect()
}

/// A code as answers hold it.
pub(in super::super) fn shown(code: account::InviteCode) -> Answer<InviteCode> {
    let uses = code.uses.into_iter().map(|used| {
        let used_at = stored_time(&used.used_at)?;
        Ok(InviteCodeUse { used_by: used.used_by, used_at })
    });
    Ok(InviteCode {
        uses: uses.collect::<Answer<_>>()?,
        created_at: stored_time(&code.created_at)?,
        available: u32::try_from(code.available.max(0)).unwrap_or(u32::MAX),
        code: code.code,
        disabled: code.disabled,
        for_account: code.for_account,
        created_by: code.created_by,
    })
}
