//! `com.atproto.server.*`: accounts, sessions, app passwords, invites and mail.
//!
//! `activateAccount`, `deleteSession`, `requestAccountDelete` and `requestEmailConfirmation` have neither input nor
//! output; `refreshSession` has its input in the Authorization header. See <https://atproto.com/specs/xrpc> and
//! <https://atproto.com/specs/account>.

use serde::{Deserialize, Serialize};

use super::{Secret, is_true, not_null, yes};
use crate::cid::Cid;
use crate::data::Value;
use crate::firehose::AccountStatus;
use crate::syntax::{Datetime, Did, Handle, Nsid, Tid, Uri};

/// Output of `com.atproto.server.describeServer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeServerOutput {
    /// Whether a new account needs an invite code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite_code_required: Option<bool>,
    /// Whether a new account needs a telephone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_verification_required: Option<bool>,
    /// The largest blob that it takes, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob_upload_limit: Option<u64>,
    /// The domains that handles can be under, each with a leading dot.
    pub available_user_domains: Vec<String>,
    /// Its policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<Links>,
    /// How to reach its operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<Contact>,
    /// The server's own DID.
    pub did: Did,
}

/// Where a server's policies are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Links {
    /// Its privacy policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy_policy: Option<Uri>,
    /// Its terms of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms_of_service: Option<Uri>,
}

/// How to reach a server's operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// By mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// Input of `com.atproto.server.createAccount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateAccount {
    /// The owner's address.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The handle that is wanted.
    pub handle: Handle,
    /// The DID of an account that moves in; a new did:plc is made if none.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub did: Option<Did>,
    /// An invite code.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub invite_code: Option<String>,
    /// The code that a telephone was sent.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub verification_code: Option<String>,
    /// The telephone.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub verification_phone: Option<String>,
    /// The password; an account without one is entered by OAuth only.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A did:key of the owner's, to be the new DID's rotation key of greatest authority.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub recovery_key: Option<String>,
    /// A signed did:plc operation; for entryways only.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub plc_op: Option<Value>,
}

/// Output of `com.atproto.server.createAccount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateAccountOutput {
    /// The access token of a first session.
    pub access_jwt: Secret,
    /// Its refresh token.
    pub refresh_jwt: Secret,
    /// The account's handle.
    pub handle: Handle,
    /// The account.
    pub did: Did,
    /// Its DID document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did_doc: Option<Value>,
}

/// Input of `com.atproto.server.createSession`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateSession {
    /// A handle, a DID or a mail address.
    pub identifier: String,
    /// The account's password or one of its app passwords.
    pub password: Secret,
    /// A mailed code, where the account wants one.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub auth_factor_token: Option<Secret>,
    /// Whether to make a limited session for an account that is taken down, rather than to fail.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub allow_takendown: Option<bool>,
}

/// Output of `com.atproto.server.createSession`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateSessionOutput {
    /// The access token.
    pub access_jwt: Secret,
    /// The refresh token.
    pub refresh_jwt: Secret,
    /// The account's handle, or `handle.invalid`.
    pub handle: Handle,
    /// The account.
    pub did: Did,
    /// Its DID document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did_doc: Option<Value>,
    /// Its mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether that is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_confirmed: Option<bool>,
    /// Whether sessions need a mailed code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_auth_factor: Option<bool>,
    /// Whether the account is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// Why not, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<AccountStatus>,
}

/// Output of `com.atproto.server.refreshSession`.
pub type RefreshSessionOutput = CreateSessionOutput;

/// Output of `com.atproto.server.getSession`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetSessionOutput {
    /// The account's handle, or `handle.invalid`.
    pub handle: Handle,
    /// The account.
    pub did: Did,
    /// Its DID document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did_doc: Option<Value>,
    /// Its mail address, if the caller may see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether that is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_confirmed: Option<bool>,
    /// Whether sessions need a mailed code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_auth_factor: Option<bool>,
    /// Whether the account is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// Why not, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<AccountStatus>,
}

/// Input of `com.atproto.server.createAppPassword`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateAppPassword {
    /// What its owner calls it.
    pub name: String,
    /// Whether it also reaches private messages and the like.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
}

/// Output of `com.atproto.server.createAppPassword`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateAppPasswordOutput {
    /// What its owner calls it.
    pub name: String,
    /// The password, shown this once.
    pub password: Secret,
    /// When it was made.
    pub created_at: Datetime,
    /// Whether it also reaches private messages and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
}

/// Output of `com.atproto.server.listAppPasswords`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListAppPasswordsOutput {
    /// The caller's app passwords, newest first.
    pub passwords: Vec<AppPassword>,
}

/// What is shown of an app password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppPassword {
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub created_at: Datetime,
    /// Whether it also reaches private messages and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
}

/// Input of `com.atproto.server.revokeAppPassword`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeAppPassword {
    /// What its owner calls it.
    pub name: String,
}

/// An invite code and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InviteCode {
    /// The code.
    pub code: String,
    /// How often it could be used when it was new.
    pub available: u32,
    /// Whether an operator disabled it.
    pub disabled: bool,
    /// Whose it is: a DID, or `admin`.
    pub for_account: String,
    /// Who made it: a DID, or `admin`.
    pub created_by: String,
    /// When.
    pub created_at: Datetime,
    /// Who used it.
    pub uses: Vec<InviteCodeUse>,
}

/// One use of an invite code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InviteCodeUse {
    /// The account that was created with it.
    pub used_by: Did,
    /// When.
    pub used_at: Datetime,
}

/// Input of `com.atproto.server.createInviteCode`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateInviteCode {
    /// How often it can be used.
    pub use_count: u32,
    /// Whose it is; the operator's if none.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub for_account: Option<Did>,
}

/// Output of `com.atproto.server.createInviteCode`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateInviteCodeOutput {
    /// The code.
    pub code: String,
}

/// Input of `com.atproto.server.createInviteCodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateInviteCodes {
    /// How many codes each account gets; one if the client does not say.
    #[serde(default = "one")]
    pub code_count: u32,
    /// How often each can be used.
    pub use_count: u32,
    /// Whose they are; the operator's if none.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub for_accounts: Option<Vec<Did>>,
}

const fn one() -> u32 {
    1
}

/// Output of `com.atproto.server.createInviteCodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateInviteCodesOutput {
    /// The codes by account.
    pub codes: Vec<AccountCodes>,
}

/// The new invite codes of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCodes {
    /// Whose: a DID, or `admin`.
    pub account: String,
    /// The codes.
    pub codes: Vec<String>,
}

/// Parameters of `com.atproto.server.getAccountInviteCodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetAccountInviteCodesParams {
    /// Whether to show used-up codes; true if the client does not say.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub include_used: bool,
    /// Whether to make the codes that the account has earned; true if the client does not say.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub create_available: bool,
}

/// Output of `com.atproto.server.getAccountInviteCodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAccountInviteCodesOutput {
    /// The caller's codes.
    pub codes: Vec<InviteCode>,
}

/// Parameters of `com.atproto.server.getServiceAuth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetServiceAuthParams {
    /// Whom the token is for: a DID, with or without the fragment of one of its services. Any text here, as in the
    /// schema; [`crate::token::service::Audience`] judges it, and the token repeats it as it came.
    pub aud: String,
    /// When it ends, in seconds since 1970; a minute from now if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// The method that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lxm: Option<Nsid>,
}

/// Output of `com.atproto.server.getServiceAuth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetServiceAuthOutput {
    /// The token.
    pub token: Secret,
}

/// Input of `com.atproto.server.requestPasswordReset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestPasswordReset {
    /// The account's mail address.
    pub email: String,
}

/// Input of `com.atproto.server.resetPassword`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetPassword {
    /// The mailed token.
    pub token: Secret,
    /// The new password.
    pub password: Secret,
}

/// Input of `com.atproto.server.confirmEmail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmEmail {
    /// The account's mail address.
    pub email: String,
    /// The mailed token.
    pub token: Secret,
}

/// Output of `com.atproto.server.requestEmailUpdate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestEmailUpdateOutput {
    /// Whether a token was mailed that `updateEmail` will need.
    pub token_required: bool,
}

/// Input of `com.atproto.server.updateEmail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateEmail {
    /// The new mail address.
    pub email: String,
    /// Whether sessions shall need a mailed code.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub email_auth_factor: Option<bool>,
    /// The mailed token.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

/// Input of `com.atproto.server.deleteAccount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteAccount {
    /// The account.
    pub did: Did,
    /// Its password.
    pub password: Secret,
    /// The mailed token.
    pub token: Secret,
}

/// Input of `com.atproto.server.deactivateAccount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeactivateAccount {
    /// When the owner would like it deleted.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub delete_after: Option<Datetime>,
}

/// Output of `com.atproto.server.checkAccountStatus`: how far an account's move to this server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckAccountStatusOutput {
    /// Whether the account is active here.
    pub activated: bool,
    /// Whether its DID points here, with the right keys.
    pub valid_did: bool,
    /// Its latest commit's CID.
    pub repo_commit: Cid,
    /// That commit's revision.
    pub repo_rev: Tid,
    /// How many blocks its repository has.
    pub repo_blocks: u64,
    /// How many records.
    pub indexed_records: u64,
    /// How many private values.
    pub private_state_values: u64,
    /// How many blobs its records refer to.
    pub expected_blobs: u64,
    /// How many of them are here.
    pub imported_blobs: u64,
}

/// Input of `com.atproto.server.reserveSigningKey`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveSigningKey {
    /// The account that will use it.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub did: Option<Did>,
}

/// Output of `com.atproto.server.reserveSigningKey`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReserveSigningKeyOutput {
    /// The public half as did:key.
    pub signing_key: String,
}
