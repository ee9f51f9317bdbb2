//! `com.atproto.admin.*`: what operators and moderators do to accounts.
//!
//! Methods without an output answer with an empty body. See <https://atproto.com/specs/xrpc>, admin token.

use serde::{Deserialize, Serialize};

use super::server::InviteCode;
use super::{Limit, Secret, not_null};
use crate::cid::Cid;
use crate::data::Value;
use crate::syntax::{AtIdentifier, AtUri, Datetime, Did, Handle};

/// An account as operators see it: output of `com.atproto.admin.getAccountInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountView {
    /// The account.
    pub did: Did,
    /// Its handle, or `handle.invalid`.
    pub handle: Handle,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Records that go with it; a PDS gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related_records: Option<Vec<Value>>,
    /// When it was created here.
    pub indexed_at: Datetime,
    /// The code that it was created with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<InviteCode>,
    /// The codes that it may give away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invites: Option<Vec<InviteCode>>,
    /// Whether it may get no more codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invites_disabled: Option<bool>,
    /// When its address was confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_confirmed_at: Option<Datetime>,
    /// Why its invites were disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite_note: Option<String>,
    /// When its owner deactivated it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivated_at: Option<Datetime>,
    /// What moderation services know it by; a PDS gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threat_signatures: Option<Vec<ThreatSignature>>,
}

/// One thing that a moderation service knows an account by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatSignature {
    /// What it is.
    pub property: String,
    /// Which one.
    pub value: String,
}

/// What an administrative action is about: an account, a record or a blob.
///
/// The schema's union is open; another `$type` is an error here, since nothing can be done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "$type", rename_all_fields = "camelCase")]
pub enum Subject {
    /// An account with all it holds.
    #[serde(rename = "com.atproto.admin.defs#repoRef")]
    Repo {
        /// The account.
        did: Did,
    },
    /// A record.
    #[serde(rename = "com.atproto.repo.strongRef")]
    Record {
        /// The record's address.
        uri: AtUri,
        /// The record's CID.
        cid: Cid,
    },
    /// A blob.
    #[serde(rename = "com.atproto.admin.defs#repoBlobRef")]
    Blob {
        /// Whose blob.
        did: Did,
        /// The blob.
        cid: Cid,
        /// A record that refers to it.
        #[serde(skip_serializing_if = "Option::is_none")]
        record_uri: Option<AtUri>,
    },
}

/// Whether a measure is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAttr {
    /// Whether it is.
    pub applied: bool,
    /// The case that it belongs to.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// Input of `com.atproto.admin.deleteAccount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteAccount {
    /// The account.
    pub did: Did,
}

/// Input of `com.atproto.admin.disableAccountInvites`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisableAccountInvites {
    /// The account.
    pub account: Did,
    /// Why.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Input of `com.atproto.admin.enableAccountInvites`.
pub type EnableAccountInvites = DisableAccountInvites;

/// Input of `com.atproto.admin.disableInviteCodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisableInviteCodes {
    /// These codes.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub codes: Option<Vec<String>>,
    /// All codes of these accounts: DIDs, or `admin`.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<String>>,
}

/// Parameters of `com.atproto.admin.getAccountInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAccountInfoParams {
    /// The account.
    pub did: Did,
}

/// Output of `com.atproto.admin.getAccountInfo`.
pub type GetAccountInfoOutput = AccountView;

/// Parameters of `com.atproto.admin.getAccountInfos`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAccountInfosParams {
    /// The accounts.
    pub dids: Vec<Did>,
}

/// Output of `com.atproto.admin.getAccountInfos`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAccountInfosOutput {
    /// Those of the accounts that exist.
    pub infos: Vec<AccountView>,
}

/// The order of `com.atproto.admin.getInviteCodes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InviteSort {
    /// Newest first.
    #[default]
    Recent,
    /// Most used first.
    Usage,
}

impl InviteSort {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Parameters of `com.atproto.admin.getInviteCodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetInviteCodesParams {
    /// The order.
    #[serde(default, skip_serializing_if = "InviteSort::is_default")]
    pub sort: InviteSort,
    /// The page's size.
    #[serde(default, skip_serializing_if = "Limit::is_default")]
    pub limit: Limit<100, 500>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Output of `com.atproto.admin.getInviteCodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetInviteCodesOutput {
    /// Where this page ended; none if it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The page.
    pub codes: Vec<InviteCode>,
}

/// Parameters of `com.atproto.admin.getSubjectStatus`: a blob with its account, else a record, else an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetSubjectStatusParams {
    /// The account, or the blob's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<Did>,
    /// The record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<AtUri>,
    /// The blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<Cid>,
}

/// Output of `com.atproto.admin.getSubjectStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetSubjectStatusOutput {
    /// What was asked about.
    pub subject: Subject,
    /// Whether it is taken down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takedown: Option<StatusAttr>,
    /// Whether it is deactivated; accounts only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deactivated: Option<StatusAttr>,
}

/// Input of `com.atproto.admin.updateSubjectStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateSubjectStatus {
    /// What it is done to.
    pub subject: Subject,
    /// Take it down or restore it.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub takedown: Option<StatusAttr>,
    /// Deactivate or activate it; accounts only.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub deactivated: Option<StatusAttr>,
}

/// Output of `com.atproto.admin.updateSubjectStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateSubjectStatusOutput {
    /// What it was done to.
    pub subject: Subject,
    /// Whether it is taken down now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takedown: Option<StatusAttr>,
}

/// Input of `com.atproto.admin.sendEmail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendEmail {
    /// The account that it goes to.
    pub recipient_did: Did,
    /// The text, as HTML.
    pub content: String,
    /// The subject line.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who sends it.
    pub sender_did: Did,
    /// A note to other moderators; not sent.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Output of `com.atproto.admin.sendEmail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendEmailOutput {
    /// Whether it was handed to the mail server.
    pub sent: bool,
}

/// Input of `com.atproto.admin.updateAccountEmail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateAccountEmail {
    /// The account.
    pub account: AtIdentifier,
    /// Its new address.
    pub email: String,
}

/// Input of `com.atproto.admin.updateAccountHandle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateAccountHandle {
    /// The account.
    pub did: Did,
    /// Its new handle.
    pub handle: Handle,
}

/// Input of `com.atproto.admin.updateAccountPassword`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateAccountPassword {
    /// The account.
    pub did: Did,
    /// Its new password.
    pub password: Secret,
}
