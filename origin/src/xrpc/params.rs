//! Parameters: what is wrong with them is told in the words of the method's schema.

use serde::de::DeserializeOwned;
use shared::xrpc::params::Given;

use super::explain;
use crate::error::XrpcError;

/// The methods that take lists in brackets too, as old clients send them.
const BRACKETED: [&str; 3] = ["app.bsky.actor.getProfiles", "app.bsky.feed.getPostThread", "app.bsky.feed.getTimeline"];

/// The parameters of `nsid` in a query string.
pub(super) fn read<P: DeserializeOwned>(nsid: &str, query: Option<&str>) -> Result<P, XrpcError> {
    let given = Given::parse(query.unwrap_or_default());
    let given = if BRACKETED.contains(&nsid) { given.without_brackets() } else { given };
    given.read().map_err(|error| {
        let issue = explain::params(nsid, &given).unwrap_or_else(|| error.to_string());
        XrpcError::invalid_request(format!("Invalid {nsid} params: {issue}"))
    })
}

#[cfg(test)]
mod tests {
    use shared::api::bsky::{GetProfileParams, GetProfilesParams};
    use shared::api::repo::{GetRecordParams, ListRecordsParams};
    use shared::api::server::GetServiceAuthParams;
    use shared::api::sync::GetBlocksParams;

    use super::*;

    fn refused<P: DeserializeOwned + std::fmt::Debug>(nsid: &str, query: &str) -> String {
        read::<P>(nsid, Some(query)).unwrap_err().to_string()
    }

    #[test]
    fn parameters_have_their_types_and_defaults() {
        let listing = "com.atproto.repo.listRecords";
        let query = "repo=did%3Aplc%3Aabc&collection=a.b.c&reverse=true&limit=7&other=1&cursor=";
        let params: ListRecordsParams = read(listing, Some(query)).unwrap();
        assert_eq!((params.repo.as_str(), params.limit.get(), params.reverse), ("did:plc:abc", 7, true));
        assert_eq!(params.cursor, None);
        let params: ListRecordsParams = read(listing, Some("repo=a.test&collection=a.b.c")).unwrap();
        assert_eq!((params.limit.get(), params.reverse), (50, false));
        read::<()>("com.atproto.server.getSession", Some("a=b")).unwrap();
        read::<()>("com.atproto.server.getSession", None).unwrap();
    }

    #[test]
    fn a_repeated_name_is_a_list_and_only_where_there_is_one() {
        let cid = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454";
        let query = format!("did=did:plc:abc&cids={cid}&cids={cid}");
        let params: GetBlocksParams = read("com.atproto.sync.getBlocks", Some(&query)).unwrap();
        assert_eq!(params.cids.len(), 2);
        let one: GetBlocksParams =
            read("com.atproto.sync.getBlocks", Some(&format!("did=did:plc:abc&cids={cid}"))).unwrap();
        assert_eq!(one.cids.len(), 1);
        let twice = refused::<GetServiceAuthParams>("com.atproto.server.getServiceAuth", "aud=a&aud=b");
        assert_eq!(
            twice,
            r#"Invalid com.atproto.server.getServiceAuth params: Expected string value type (got ["a", "b"])"#
        );
    }

    #[test]
    fn a_list_in_brackets_is_one_where_old_clients_send_it() {
        let query = "actors%5B%5D=a.test&actors[1]=b.test&actors=c.test";
        let params: GetProfilesParams = read("app.bsky.actor.getProfiles", Some(query)).unwrap();
        assert_eq!(params.actors.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.test", "b.test", "c.test"]);
        for query in ["actors[x]=a.test", "actors]=a.test", "actors[=a.test"] {
            let refused = refused::<GetProfilesParams>("app.bsky.actor.getProfiles", query);
            assert_eq!(
                refused, r#"Invalid app.bsky.actor.getProfiles params: Missing required key "actors""#,
                "{query}"
            );
        }
        let many = "actors=a.test&".repeat(26);
        let refused = refused::<GetProfilesParams>("app.bsky.actor.getProfiles", &many);
        assert_eq!(refused, "Invalid app.bsky.actor.getProfiles params: array too big (maximum 25, got 26)");
        let elsewhere = self::refused::<GetProfileParams>("app.bsky.actor.getProfile", "actor[]=a.test");
        assert_eq!(elsewhere, r#"Invalid app.bsky.actor.getProfile params: Missing required key "actor""#);
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_the_schema() {
        let listing = "com.atproto.repo.listRecords";
        for (query, issue) in [
            ("collection=a.b.c", "Missing required key \"repo\""),
            ("repo=a.test&collection=a.b.c&limit=0", "integer too small (minimum 1, got 0)"),
            ("repo=a.test&collection=a.b.c&limit=101", "integer too big (maximum 100, got 101)"),
            ("repo=a.test&collection=a.b.c&limit=x", "Expected integer value type (got \"x\")"),
            ("repo=a.test&collection=a.b.c&reverse=1", "Expected boolean value type (got \"1\")"),
        ] {
            let expected = format!("Invalid {listing} params: {issue}");
            assert_eq!(refused::<ListRecordsParams>(listing, query), expected, "{query}");
        }
        let bad = refused::<GetRecordParams>("com.atproto.repo.getRecord", "repo=@&collection=a.b.c&rkey=x");
        assert!(bad.starts_with("Invalid com.atproto.repo.getRecord params: Invalid AT identifier"), "{bad}");
    }
}
