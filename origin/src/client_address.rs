//! Where a request comes from: the client's address, and the host that it asked for.
//!
//! This is the one place that says so. It is found out once for each request, before anything else is done with it; whoever
//! wants to know reads the [`Client`] among the request's extensions. In this order:
//!
//! 1. A request that the edge has signed with the *forward* key ([`shared::link::ForwardKeys`]) comes from where the edge
//!    says, whatever other headers it has.
//! 2. A peer on this machine, on its link or in a private network is a proxy of the operator's and is believed: then
//!    `X-Forwarded-For` and `X-Forwarded-Host` say. Its entries are read from the right, each added by the proxy that the
//!    one after it names, and the first that is not itself such a proxy is the client.
//! 3. Anybody else is taken as they come, whatever they send.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, HeaderName, Request, header};
use shared::link::{self, TrustError, Vouched};

use crate::config::Config;
use crate::time::now_seconds;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// How many seconds pass between two lines in the log about signatures that are not the edge's.
const QUIET_SECONDS: u64 = 60;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// The address; that of nobody where no connection is known. An IPv4 address that came in the clothes of IPv6 is
    /// itself.
    pub(crate) address: IpAddr,
    /// The host that was asked for, in lower case and without port.
    pub(crate) host: Option<String>,
}

impl Client {
    /// Who sent this request.
    pub(crate) fn of<B>(config: &Config, request: &Request<B>) -> Self {
        if let Some(Vouched { client, host, .. }) = vouched(config, request) {
            return Self { address: client.to_canonical(), host: Some(without_port(&host)) };
        }
        let (extensions, headers) = (request.extensions(), request.headers());
        Self { address: address(config, extensions, headers), host: host(config, extensions, headers) }
    }
}

/// What the edge says of a request, if it came by the edge.
fn vouched<B>(config: &Config, request: &Request<B>) -> Option<Vouched> {
    let keys = &config.edge.as_ref()?.forward;
    let path = request.uri().path_and_query()?.as_str();
    let signed = link::Request { method: request.method().as_str(), path };
    match keys.verify(signed, |name| single(request.headers(), name), now_seconds()) {
        Ok(vouched) => Some(vouched),
        Err(TrustError::Missing(_)) => None,
        Err(error) => {
            warn_of(error);
            None
        }
    }
}

/// The value of a header that is there once.
pub(crate) fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Says that a request pretends to come by the edge: anybody can send one, but if keys or clocks differ all are such.
fn warn_of(error: TrustError) {
    static WARNED: AtomicU64 = AtomicU64::new(0);
    let (now, warned) = (now_seconds(), WARNED.load(Ordering::Relaxed));
    if now >= warned.saturating_add(QUIET_SECONDS) {
        WARNED.store(now, Ordering::Relaxed);
        tracing::warn!(%error, "a request is not signed as the edge does it, and is taken as it comes");
    }
}

fn address(config: &Config, extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
    let mut address = peer(extensions);
    let entries = headers.get_all(FORWARDED_FOR).iter().rev().filter_map(|value| value.to_str().ok());
    for entry in entries.flat_map(|value| value.rsplit(',')) {
        if !is_trusted(config, address) {
            break;
        }
        // What is no address tells nothing of who is behind it.
        let Ok(entry) = entry.trim().parse::<IpAddr>() else { break };
        address = entry.to_canonical();
    }
    address
}

fn host(config: &Config, extensions: &Extensions, headers: &HeaderMap) -> Option<String> {
    let forwarded = headers.get(FORWARDED_HOST).filter(|_| is_trusted(config, peer(extensions)));
    let host = forwarded.or_else(|| headers.get(header::HOST))?.to_str().ok()?;
    Some(without_port(host.split(',').next().unwrap_or_default().trim()))
}

fn without_port(host: &str) -> String {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    name.map_or(host, |(name, _)| name).to_ascii_lowercase()
}

/// Who is at the other end of the connection.
fn peer(extensions: &Extensions) -> IpAddr {
    let known = extensions.get::<ConnectInfo<SocketAddr>>();
    known.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip().to_canonical())
}

/// Whether what this peer says of the client is believed.
fn is_trusted(config: &Config, address: IpAddr) -> bool {
    let near = match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local() || address.is_unique_local(),
    };
    near || config.rate_limits.as_ref().is_some_and(|limits| limits.bypass_addresses.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> (Config, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let all = variables.iter().copied().chain([("PDS_DATA_DIRECTORY", path)]);
        (Config::from_variables(all).unwrap(), directory)
    }

    fn from(peer: &str) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        extensions
    }

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn near_proxies_are_believed_from_the_right_and_nobody_else() {
        let (config, _directory) = config(&[]);
        for (peer, forwarded, client) in [
            ("203.0.113.9", &[][..], "203.0.113.9"),
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.1.2.3", &["6.6.6.6, 198.51.100.1, 192.168.1.1"], "198.51.100.1"),
            ("fd00::1", &["6.6.6.6", "2001:db8::7"], "2001:db8::7"),
            ("fe80::1", &["10.0.0.1,10.0.0.2"], "10.0.0.1"),
            ("127.0.0.1", &["198.51.100.1, unknown"], "127.0.0.1"),
            ("172.32.0.1", &["198.51.100.1"], "172.32.0.1"),
        ] {
            let headers = headers(&forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect::<Vec<_>>());
            let found = address(&config, &from(peer), &headers);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn an_address_that_the_operator_names_is_believed_too() {
        let variables = [("PDS_RATE_LIMITS_ENABLED", "true"), ("PDS_RATE_LIMIT_BYPASS_IPS", "203.0.113.9/32")];
        let (config, _directory) = config(&variables);
        let headers = headers(&[("x-forwarded-for", "198.51.100.1")]);
        assert_eq!(address(&config, &from("203.0.113.9"), &headers), "198.51.100.1".parse::<IpAddr>().unwrap());
        assert_eq!(address(&config, &from("203.0.113.8"), &headers), "203.0.113.8".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn the_host_is_the_forwarded_one_where_a_proxy_is_believed() {
        let (config, _directory) = config(&[]);
        let both = headers(&[("host", "Alice.Test:3000"), ("x-forwarded-host", "bob.test, proxy.test")]);
        assert_eq!(host(&config, &from("203.0.113.9"), &both).as_deref(), Some("alice.test"));
        assert_eq!(host(&config, &from("127.0.0.1"), &both).as_deref(), Some("bob.test"));
        assert_eq!(host(&config, &from("127.0.0.1"), &headers(&[])), None);
    }

    const KEYS: [(&str, &str); 3] = [
        ("HEADWATER_EDGE_URL", "https://pds.example.com"),
        ("HEADWATER_EDGE_FEED_KEY", "feed key of the tests"),
        ("HEADWATER_EDGE_FORWARD_KEY", "forward key of the tests"),
    ];

    /// A request from a peer far away, as the edge would sign it with `key`.
    fn signed(key: &str, now: u64) -> Request<()> {
        let vouched = Vouched {
            client: "::ffff:203.0.113.7".parse().unwrap(),
            host: "Alice.Test:443".to_owned(),
            region: link::Region::parse("weur").unwrap(),
        };
        let keys = link::ForwardKeys::new(key.as_bytes(), None).unwrap();
        let path = "/xrpc/a.b.c?d=e%20f";
        let mut request = Request::builder().method("POST").uri(path).header("host", "origin.test");
        for (name, value) in keys.sign(link::Request { method: "POST", path }, &vouched, now) {
            request = request.header(name, value);
        }
        let mut request = request.header("x-forwarded-for", "6.6.6.6").body(()).unwrap();
        *request.extensions_mut() = from("198.51.100.9");
        request
    }

    #[test]
    fn the_edge_is_believed_by_its_signature_and_nobody_who_copies_it() {
        let (config, _directory) = config(&KEYS);
        let of = |request: &Request<()>| {
            let Client { address, host } = Client::of(&config, request);
            (address.to_string(), host.unwrap())
        };
        let by_edge = ("203.0.113.7".to_owned(), "alice.test".to_owned());
        let by_itself = ("198.51.100.9".to_owned(), "origin.test".to_owned());
        assert_eq!(of(&signed(KEYS[2].1, now_seconds())), by_edge);
        assert_eq!(of(&signed("another key of the tests", now_seconds())), by_itself);
        assert_eq!(of(&signed(KEYS[1].1, now_seconds())), by_itself);
        assert_eq!(of(&signed(KEYS[2].1, now_seconds() - 120)), by_itself);
        let mut elsewhere = signed(KEYS[2].1, now_seconds());
        *elsewhere.uri_mut() = "/xrpc/a.b.c?d=e".parse().unwrap();
        assert_eq!(of(&elsewhere), by_itself);
        let mut twice = signed(KEYS[2].1, now_seconds());
        twice.headers_mut().append("headwater-client", "6.6.6.6".parse().unwrap());
        assert_eq!(of(&twice), by_itself);
    }
}
