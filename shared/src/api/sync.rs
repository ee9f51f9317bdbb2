//! `com.atproto.sync.*`: repositories as others mirror them.
//!
//! `getRepo`, `getRecord`, `getBlocks` and `getCheckout` answer with CAR files, `getBlob` with the blob; their outputs
//! have no type here. The frames of `subscribeRepos` are the firehose's. See <https://atproto.com/specs/sync>.

use serde::{Deserialize, Serialize};

use super::Limit;
use crate::cid::Cid;
use crate::firehose::AccountStatus;
use crate::syntax::{Did, Nsid, RecordKey, Tid};

/// Parameters of `com.atproto.sync.getBlob`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetBlobParams {
    /// Whose blob.
    pub did: Did,
    /// The blob.
    pub cid: Cid,
}

/// Parameters of `com.atproto.sync.getBlocks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetBlocksParams {
    /// Whose repository.
    pub did: Did,
    /// The blocks.
    pub cids: Vec<Cid>,
}

/// Parameters of `com.atproto.sync.getLatestCommit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetLatestCommitParams {
    /// Whose repository.
    pub did: Did,
}

/// Output of `com.atproto.sync.getLatestCommit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetLatestCommitOutput {
    /// The commit's CID.
    pub cid: Cid,
    /// Its revision.
    pub rev: Tid,
}

/// Parameters of `com.atproto.sync.getRecord`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRecordParams {
    /// Whose repository.
    pub did: Did,
    /// Where the record is, or is not.
    pub collection: Nsid,
    /// Its key.
    pub rkey: RecordKey,
}

/// Parameters of `com.atproto.sync.getRepo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRepoParams {
    /// Whose repository.
    pub did: Did,
    /// The revision after which blocks are wanted; all blocks if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Tid>,
}

/// Parameters of `com.atproto.sync.getRepoStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRepoStatusParams {
    /// Whose repository.
    pub did: Did,
}

/// Output of `com.atproto.sync.getRepoStatus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRepoStatusOutput {
    /// Whose repository.
    pub did: Did,
    /// Whether the account is active.
    pub active: bool,
    /// Why not, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<AccountStatus>,
    /// The latest revision, if it is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<Tid>,
}

/// Parameters of `com.atproto.sync.listBlobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListBlobsParams {
    /// Whose blobs.
    pub did: Did,
    /// The revision after which blobs were first referred to; all blobs if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Tid>,
    /// The page's size.
    #[serde(default, skip_serializing_if = "Limit::is_default")]
    pub limit: Limit<500, 1000>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Output of `com.atproto.sync.listBlobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListBlobsOutput {
    /// Where this page ended; none if it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The page.
    pub cids: Vec<Cid>,
}

/// Parameters of `com.atproto.sync.listRepos`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReposParams {
    /// The page's size.
    #[serde(default, skip_serializing_if = "Limit::is_default")]
    pub limit: Limit<500, 1000>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Output of `com.atproto.sync.listRepos`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReposOutput {
    /// Where this page ended; none if it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The page.
    pub repos: Vec<ListedRepo>,
}

/// A repository of `com.atproto.sync.listRepos`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRepo {
    /// Whose repository.
    pub did: Did,
    /// Its latest commit's CID.
    pub head: Cid,
    /// That commit's revision.
    pub rev: Tid,
    /// Whether the account is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// Why not, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<AccountStatus>,
}

/// Parameters of `com.atproto.sync.subscribeRepos`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeReposParams {
    /// The last event that the consumer has seen; live events only if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<i64>,
}

/// Parameters of `com.atproto.sync.getCheckout`, the older name of `getRepo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetCheckoutParams {
    /// Whose repository.
    pub did: Did,
}

/// Parameters of `com.atproto.sync.getHead`, which came before `getLatestCommit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetHeadParams {
    /// Whose repository.
    pub did: Did,
}

/// Output of `com.atproto.sync.getHead`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetHeadOutput {
    /// The latest commit's CID.
    pub root: Cid,
}
