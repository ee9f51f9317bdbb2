//! `com.atproto.moderation.*`: a report to a moderation service, which a PDS passes on.
//!
//! See <https://atproto.com/specs/xrpc>, service proxying.

use serde::{Deserialize, Serialize};

use super::not_null;
use crate::data::Value;
use crate::syntax::{Datetime, Did};

/// Input of `com.atproto.moderation.createReport`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateReport {
    /// The kind of breach, an NSID with a fragment.
    pub reason_type: String,
    /// What the reporter adds.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An account, a record, or whatever else the moderation service knows by its `$type`.
    pub subject: Value,
    /// The tool that the report was made with.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub mod_tool: Option<ModTool>,
}

/// The tool that a report was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModTool {
    /// Its name.
    pub name: String,
    /// What it adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
}

/// Output of `com.atproto.moderation.createReport`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateReportOutput {
    /// The report's number at the moderation service.
    pub id: i64,
    /// As reported.
    pub reason_type: String,
    /// As reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// As reported.
    pub subject: Value,
    /// Who reported.
    pub reported_by: Did,
    /// When.
    pub created_at: Datetime,
}
