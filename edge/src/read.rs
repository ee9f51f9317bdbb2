//! Reads that a replica can answer: what is asked, out of a request's path and query.
//!
//! Parameters are read by the code that the origin reads them with. What it would refuse is not refused here but left to
//! it, so that nobody gets another message than the origin's.

use serde::{Deserialize, Serialize};
use shared::api::repo::{DescribeRepoParams, GetRecordParams, ListRecordsParams};
use shared::api::sync;
use shared::api::sync::{
    GetBlobParams, GetBlocksParams, GetCheckoutParams, GetHeadParams, GetLatestCommitParams, GetRepoParams,
    GetRepoStatusParams, ListBlobsParams,
};
use shared::syntax::AtIdentifier;
use shared::xrpc::params::Given;

/// A read of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Read {
    /// com.atproto.repo.getRecord
    Record(GetRecordParams),
    /// com.atproto.repo.listRecords
    List(ListRecordsParams),
    /// com.atproto.repo.describeRepo
    Describe(DescribeRepoParams),
    /// com.atproto.sync.getRecord
    Proof(sync::GetRecordParams),
    /// com.atproto.sync.getBlocks
    Blocks(GetBlocksParams),
    /// com.atproto.sync.getHead
    Head(GetHeadParams),
    /// com.atproto.sync.getLatestCommit
    LatestCommit(GetLatestCommitParams),
    /// com.atproto.sync.getRepo and getCheckout, of everything.
    Repo(GetCheckoutParams),
    /// com.atproto.sync.getRepoStatus
    Status(GetRepoStatusParams),
    /// com.atproto.sync.listBlobs, of everything.
    Blobs(ListBlobsParams),
}

impl Read {
    /// What a request for the method `nsid` with this query asks of a replica; `None` for what is the origin's.
    #[must_use]
    pub fn parse(nsid: &str, query: &str) -> Option<Self> {
        let given = Given::parse(query);
        Some(match nsid {
            "com.atproto.repo.getRecord" => Self::Record(given.read().ok()?),
            "com.atproto.repo.listRecords" => Self::List(given.read().ok()?),
            "com.atproto.repo.describeRepo" => Self::Describe(given.read().ok()?),
            "com.atproto.sync.getRecord" => Self::Proof(given.read().ok()?),
            "com.atproto.sync.getBlocks" => Self::Blocks(given.read().ok()?),
            "com.atproto.sync.getHead" => Self::Head(given.read().ok()?),
            "com.atproto.sync.getLatestCommit" => Self::LatestCommit(given.read().ok()?),
            "com.atproto.sync.getCheckout" => Self::Repo(given.read().ok()?),
            "com.atproto.sync.getRepo" => match given.read::<GetRepoParams>().ok()? {
                GetRepoParams { did, since: None } => Self::Repo(GetCheckoutParams { did }),
                _ => return None,
            },
            "com.atproto.sync.getRepoStatus" => Self::Status(given.read().ok()?),
            "com.atproto.sync.listBlobs" => match given.read::<ListBlobsParams>().ok()? {
                params if params.since.is_none() => Self::Blobs(params),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Whose repository it is about.
    #[must_use]
    pub fn account(&self) -> AtIdentifier {
        match self {
            Self::Record(params) => params.repo.clone(),
            Self::List(params) => params.repo.clone(),
            Self::Describe(params) => params.repo.clone(),
            Self::Proof(params) => params.did.clone().into(),
            Self::Blocks(params) => params.did.clone().into(),
            Self::Head(params) => params.did.clone().into(),
            Self::LatestCommit(params) => params.did.clone().into(),
            Self::Repo(params) => params.did.clone().into(),
            Self::Status(params) => params.did.clone().into(),
            Self::Blobs(params) => params.did.clone().into(),
        }
    }

    /// Whether the origin's answer depends on who asks, so that it says so.
    #[must_use]
    pub(crate) fn is_private_to_caches(&self) -> bool {
        !matches!(self, Self::Record(_) | Self::List(_) | Self::Describe(_) | Self::Status(_))
    }
}

/// The blob that a query of com.atproto.sync.getBlob asks for; `None` for what is the origin's to answer.
#[must_use]
pub fn blob(query: &str) -> Option<GetBlobParams> {
    Given::parse(query).read::<GetBlobParams>().ok().filter(|params| params.cid.is_blob())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_origin_would_read_is_read_and_the_rest_is_left_to_it() {
        let did = "did=did:plc:abcdefghijklmnopqrstuvwx";
        for (nsid, query, read) in [
            ("com.atproto.repo.getRecord", "repo=a.test&collection=a.b.c&rkey=x&rkey=", true),
            ("com.atproto.repo.getRecord", "repo=a.test&collection=a.b.c&rkey=x&rkey=y", false),
            ("com.atproto.repo.getRecord", "repo=a.test&collection=a.b.c", false),
            ("com.atproto.repo.listRecords", "repo=a.test&collection=a.b.c&limit=100", true),
            ("com.atproto.repo.listRecords", "repo=a.test&collection=a.b.c&limit=101", false),
            ("com.atproto.sync.getRepo", did, true),
            ("com.atproto.sync.getRepo", &format!("{did}&since=3jzfcijpj2z2a"), false),
            ("com.atproto.sync.listBlobs", did, true),
            ("com.atproto.sync.listBlobs", &format!("{did}&since=3jzfcijpj2z2a"), false),
            ("com.atproto.sync.listRepos", "", false),
            ("com.atproto.repo.createRecord", "", false),
        ] {
            assert_eq!(Read::parse(nsid, query).is_some(), read, "{nsid} {query}");
        }
    }
}
