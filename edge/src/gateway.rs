//! What is done with a request: a pure function of what the client sent.
//!
//! Anything not named here goes to the origin, which is always right: requests with credentials, methods other than GET
//! and HEAD, methods that the edge does not know, parameters that the origin would refuse. Only parsed parameters lead to
//! an object or a key. Paths under `/internal/` are what edge and origin say to each other; to the public they do not
//! exist, however they are spelt.

use shared::link::{self, Replica, is_internal};
use shared::syntax::{Did, Handle};

use crate::error::Refusal;
use crate::read::{Read, blob};

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The origin answers; method, headers, bodies, query and status pass unchanged.
    Forward,
    /// The edge answers by itself.
    Reply(Refusal),
    /// A replica answers.
    Repo(Box<Read>),
    /// A blob is served.
    Blob(shared::api::sync::GetBlobParams),
    /// Whose handle the host is.
    WellKnown(Handle),
    /// What the server says of itself.
    DescribeServer,
    /// What was counted, for who brings the token.
    Metrics,
    /// The origin says something, if it has signed it.
    Origin(Said),
}

/// What the origin says, by the path that it says it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// To a replica.
    Push(Replica),
    /// To a region's host object.
    HostPush(link::Region),
    /// To drop copies.
    Purge,
}

/// Headers that only the owner of something sends, or that say that another service is meant.
const CREDENTIALS: [&str; 4] = ["authorization", "dpop", "cookie", "atproto-proxy"];

/// The path of the counters.
pub const METRICS: &str = "/_edge/metrics";

/// Decides what is done with a request by `method` for `url`.
///
/// The URL is absolute and as the platform gives it: parsed and written out again, so without dot segments and without a
/// fragment. `has` says whether a header is there.
#[must_use]
pub fn plan(method: &str, url: &str, has: impl Fn(&str) -> bool) -> Plan {
    let target = target(url);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if is_internal(path) {
        return match said(path).filter(|_| method == "POST" && query.is_empty()) {
            Some(said) => Plan::Origin(said),
            None => Plan::Reply(Refusal::NotFound),
        };
    }
    if !matches!(method, "GET" | "HEAD") || has("upgrade") {
        return Plan::Forward;
    }
    if path == METRICS {
        return Plan::Metrics;
    }
    if CREDENTIALS.iter().any(|name| has(name)) {
        return Plan::Forward;
    }
    match path {
        "/.well-known/atproto-did" => {
            host(url).and_then(|host| Handle::parse(host).ok()).map_or(Plan::Forward, Plan::WellKnown)
        }
        "/xrpc/com.atproto.server.describeServer" => Plan::DescribeServer,
        "/xrpc/com.atproto.sync.getBlob" => blob(query).map_or(Plan::Forward, Plan::Blob),
        path => match path.strip_prefix("/xrpc/").and_then(|nsid| Read::parse(nsid, query)) {
            Some(read) => Plan::Repo(Box::new(read)),
            None => Plan::Forward,
        },
    }
}

/// What of the contract's is said on a path.
fn said(path: &str) -> Option<Said> {
    if path == link::PURGE {
        return Some(Said::Purge);
    }
    if let Some(region) = path.strip_prefix(link::HOST_PUSH) {
        return Some(Said::HostPush(link::Region::parse(region).ok()?));
    }
    Replica::of_push_path(path).map(Said::Push)
}

/// The path and query of an absolute URL, byte for byte as in it: what follows the authority. At least `/` stands there
/// in a URL the platform wrote.
#[must_use]
pub fn target(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').and_then(|slash| after_scheme.get(slash..)).unwrap_or("/")
}

/// The authority of an absolute URL: host, and port if there is one.
#[must_use]
pub fn authority(url: &str) -> Option<&str> {
    let (_, after_scheme) = url.split_once("://")?;
    after_scheme.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())
}

/// The host of an absolute URL, without its port.
fn host(url: &str) -> Option<&str> {
    authority(url)?.split(':').next()
}

/// The name of an account's replica among the objects.
#[must_use]
pub fn object_name(account: &Did, region: &link::Region) -> String {
    format!("{account}@{region}")
}

/// Where a blob is in the bucket: as in the origin's own store.
#[must_use]
pub fn blob_key(account: &Did, cid: &shared::cid::Cid) -> String {
    format!("{}{cid}", blob_prefix(account))
}

/// How the keys of an account's blobs begin.
#[must_use]
pub fn blob_prefix(account: &Did) -> String {
    format!("blocks/{account}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DID: &str = "did:plc:abcdefghijklmnopqrstuvwx";

    fn get(target: &str) -> Plan {
        plan("GET", &format!("https://pds.example.com{target}"), |_| false)
    }

    #[test]
    fn what_the_edge_does_not_know_is_forwarded() {
        for path in [
            "/",
            "/xrpc/_health",
            "/xrpc/com.atproto.repo.getRecord?repo=a.test&collection=a.b.c&rkey=internal&rkey=x",
            "/xrpc/COM.atproto.sync.getRepo?did=did:web:a.test",
            "/xrpc/com.atproto.sync.listRepos",
            "/xrpc/com.atproto.identity.resolveHandle?handle=a.test",
            "/internals",
            "/xrpc/internal/",
            "/%zz",
            "/%",
        ] {
            assert_eq!(get(path), Plan::Forward, "{path}");
        }
    }

    #[test]
    fn public_reads_of_one_account_are_the_edges() {
        for path in [
            "com.atproto.repo.getRecord?repo=a.test&collection=a.b.c&rkey=x",
            "com.atproto.sync.getRepo?did=did:web:a.test",
            "com.atproto.sync.getRepoStatus?did=did:web:a.test",
        ] {
            let path = format!("/xrpc/{path}");
            assert!(matches!(get(&path), Plan::Repo(_)), "{path}");
            let url = format!("https://pds.example.com{path}");
            assert!(matches!(plan("HEAD", &url, |_| false), Plan::Repo(_)), "{path}");
            for method in ["POST", "PUT", "OPTIONS", "get"] {
                assert_eq!(plan(method, &url, |_| false), Plan::Forward, "{method}");
            }
            for header in ["authorization", "dpop", "cookie", "atproto-proxy", "upgrade"] {
                assert_eq!(plan("GET", &url, |name| name == header), Plan::Forward, "{header}");
            }
        }
        let cid = shared::cid::Cid::of_raw(b"x");
        assert!(matches!(get(&format!("/xrpc/com.atproto.sync.getBlob?did={DID}&cid={cid}")), Plan::Blob(_)));
        let node = shared::cid::Cid::of_cbor(b"x");
        assert_eq!(get(&format!("/xrpc/com.atproto.sync.getBlob?did={DID}&cid={node}")), Plan::Forward);
        assert_eq!(get("/xrpc/com.atproto.server.describeServer"), Plan::DescribeServer);
        assert_eq!(get("/_edge/metrics"), Plan::Metrics);
    }

    #[test]
    fn a_host_that_can_be_a_handle_is_asked_for_by_it() {
        let well_known = |host: &str| plan("GET", &format!("https://{host}/.well-known/atproto-did"), |_| false);
        assert_eq!(well_known("alice.example.com:8787"), Plan::WellKnown("alice.example.com".parse().unwrap()));
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            assert_eq!(well_known(host), Plan::Forward, "{host}");
        }
    }

    #[test]
    fn internal_paths_do_not_exist_however_they_are_spelt() {
        for path in [
            "/internal",
            "/internal/v1/push?x=1",
            "/%69nternal/v1",
            "/intern%61l/",
            "//internal/v1",
            "/internal%2Fv1",
            "/%2finternal",
            "/INTERNAL/v1/purge",
            "/internal/v1/purge",
        ] {
            assert_eq!(get(path), Plan::Reply(Refusal::NotFound), "{path}");
        }
    }

    #[test]
    fn what_the_origin_says_has_one_spelling() {
        let post = |path: &str| plan("POST", &format!("https://pds.example.com{path}"), |_| false);
        let push = format!("/internal/v1/push/weur/{DID}");
        assert!(matches!(post(&push), Plan::Origin(Said::Push(_))));
        assert!(matches!(post("/internal/v1/host/weur"), Plan::Origin(Said::HostPush(_))));
        assert_eq!(post("/internal/v1/purge"), Plan::Origin(Said::Purge));
        for path in [format!("{push}?x"), format!("/%69nternal/v1/push/weur/{DID}"), "/internal/v1/region".to_owned()] {
            assert_eq!(post(&path), Plan::Reply(Refusal::NotFound), "{path}");
        }
    }

    #[test]
    fn the_target_is_path_and_query_byte_for_byte() {
        assert_eq!(target("https://pds.example.com/xrpc/a?b=%2f&b=+&c"), "/xrpc/a?b=%2f&b=+&c");
        assert_eq!(target("http://localhost:8787/a//b?u=https://x/y"), "/a//b?u=https://x/y");
        assert_eq!(target("https://pds.example.com"), "/");
    }

    #[test]
    fn keys_are_of_accounts_that_cannot_reach_into_each_other() {
        let cid = shared::cid::Cid::of_raw(b"x");
        let did = Did::parse("did:web:localhost%3A2583").unwrap();
        assert_eq!(blob_key(&did, &cid), format!("blocks/did:web:localhost%3A2583/{cid}"));
        for odd in ["did:web:../x", "did:plc:a/b", "did:plc:a@b"] {
            assert!(Did::parse(odd).is_err(), "{odd}");
        }
    }
}
