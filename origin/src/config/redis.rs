//! The Redis server for what may be lost.

use std::fmt;

use shared::api::Secret;

use super::variables::Variables;

const ADDRESS: &str = "PDS_REDIS_SCRATCH_ADDRESS";
const PASSWORD: &str = "PDS_REDIS_SCRATCH_PASSWORD";
/// Where Redis listens if nobody says otherwise.
const PORT: u16 = 6379;

/// A Redis server that is reached in the clear. Default: none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// `PDS_REDIS_SCRATCH_ADDRESS`, `host` or `host:port`: its name or address; one of IPv6 stands in brackets there.
    pub host: String,
    /// The port in `PDS_REDIS_SCRATCH_ADDRESS`. Default: 6379.
    pub port: u16,
    /// `PDS_REDIS_SCRATCH_PASSWORD`. Default: none.
    pub password: Option<Secret>,
}

impl Redis {
    /// Reads it; only rate limits use it.
    pub(super) fn read(variables: &mut Variables, used: bool) -> Option<Self> {
        let (address, password) = (variables.text(ADDRESS), variables.text(PASSWORD).map(Secret::new));
        let Some(address) = address else {
            if password.is_some() {
                variables.warn(format!("{PASSWORD} has no effect, {ADDRESS} is not set"));
            }
            return None;
        };
        if !used {
            variables.warn(format!("{ADDRESS} has no effect, PDS_RATE_LIMITS_ENABLED is not true"));
        }
        let Some((host, port)) = parse(&address) else {
            variables.problem(format!("{ADDRESS} is \"{address}\", not a host or host:port"));
            return None;
        };
        Some(Self { host, port, password })
    }
}

impl fmt::Display for Redis {
    /// Its address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

fn parse(address: &str) -> Option<(String, u16)> {
    let (host, rest) = match address.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => address.split_at(address.find(':').unwrap_or(address.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None if rest.is_empty() => PORT,
        None => return None,
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    (!host.is_empty() && host.bytes().all(is_part)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(all: &[(&str, &str)], used: bool) -> (Option<Redis>, Variables) {
        let mut variables = Variables::new(all.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        (Redis::read(&mut variables, used), variables)
    }

    #[test]
    fn an_address_is_a_host_with_or_without_a_port() {
        for (text, host, port) in [
            ("redis.internal", "redis.internal", 6379),
            ("127.0.0.1:7000", "127.0.0.1", 7000),
            ("[fdaa::3]", "fdaa::3", 6379),
            ("[::1]:7000", "::1", 7000),
        ] {
            let (redis, variables) = read(&[(ADDRESS, text)], true);
            assert_eq!(redis, Some(Redis { host: host.to_owned(), port, password: None }));
            assert!(variables.problems.is_empty() && variables.warnings.is_empty());
        }
        for wrong in ["redis://host", "host:", "host:port", "host:0", "host:70000", "::1", ":6379", "[::1]7000", "a b"]
        {
            let (redis, variables) = read(&[(ADDRESS, wrong)], true);
            assert!(redis.is_none() && variables.problems[0].contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_password_is_hidden_and_what_has_no_effect_is_warned_about() {
        let (redis, variables) = read(&[(ADDRESS, "host"), (PASSWORD, "sesame")], false);
        assert!(!format!("{redis:?}").contains("sesame"));
        assert!(variables.warnings[0].contains(ADDRESS) && redis.unwrap().password.unwrap().expose() == "sesame");
        let (redis, variables) = read(&[(PASSWORD, "sesame")], true);
        assert!(
            redis.is_none() && variables.warnings[0].contains(PASSWORD) && !variables.warnings[0].contains("sesame")
        );
    }
}
