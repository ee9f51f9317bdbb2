//! Where a request comes from: the client's address, and the host that it asked for.
//!
//! A peer on this machine, on its link or in a private network is a proxy of the operator's and is believed: then
//! `X-Forwarded-For` and `X-Forwarded-Host` say. Its entries are read from the right, each added by the proxy that the
//! one after it names, and the first that is not itself such a proxy is the client. Anybody else is taken as they come,
//! whatever they send.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, HeaderName, header};

use crate::config::Config;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The client's address; that of nobody where no connection is known.
pub(super) fn address(config: &Config, extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
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

/// The host that the client asked for, in lower case and without port.
pub(super) fn host(config: &Config, extensions: &Extensions, headers: &HeaderMap) -> Option<String> {
    let forwarded = headers.get(FORWARDED_HOST).filter(|_| is_trusted(config, peer(extensions)));
    let host = forwarded.or_else(|| headers.get(header::HOST))?.to_str().ok()?;
    let host = host.split(',').next().unwrap_or_default().trim();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    Some(name.map_or(host, |(name, _)| name).to_ascii_lowercase())
}

/// Who is at the other end of the connection. An IPv4 address that came in the clothes of IPv6 is itself.
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
}
