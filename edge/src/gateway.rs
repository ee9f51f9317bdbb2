//! What is done with a request: a pure function of what the client sent.
//!
//! Anything not named here goes to the origin, which is always right. Paths under `/internal/` are what edge and origin
//! say to each other; to the public they do not exist, however they are spelt.

use crate::error::Refusal;

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The origin answers; method, headers, bodies, query and status pass unchanged.
    Forward,
    /// The edge answers by itself.
    Reply(Refusal),
}

/// Decides what is done with a request for `url`: absolute, as the platform gives it (parsed and written out again, so
/// without dot segments and without a fragment).
#[must_use]
pub fn plan(url: &str) -> Plan {
    let path = target(url).split('?').next().unwrap_or_default();
    let first =
        percent_decoded(path).split(|byte| *byte == b'/').find(|segment| !segment.is_empty()).map(<[u8]>::to_vec);
    if first.as_deref() == Some(b"internal") { Plan::Reply(Refusal::NotFound) } else { Plan::Forward }
}

/// The path and query of an absolute URL, byte for byte as in it: what follows the authority. At least `/` stands there
/// in a URL the platform wrote.
#[must_use]
pub fn target(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').and_then(|slash| after_scheme.get(slash..)).unwrap_or("/")
}

/// Undoes one level of percent-encoding; what is no valid escape stays as it is.
fn percent_decoded(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escape = match (byte, after) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        let (byte, after) = escape.unwrap_or((*byte, after));
        decoded.push(byte);
        rest = after;
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_public_is_forwarded() {
        for path in [
            "/",
            "/xrpc/_health",
            "/xrpc/com.atproto.repo.getRecord?repo=did:plc:x&collection=a.b.c&rkey=internal",
            "/.well-known/atproto-did",
            "/internals",
            "/xrpc/internal/",
            "/%zz",
            "/%",
        ] {
            assert_eq!(plan(&format!("https://pds.example.com{path}")), Plan::Forward, "{path}");
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
        ] {
            let refused = Plan::Reply(Refusal::NotFound);
            assert_eq!(plan(&format!("https://pds.example.com{path}")), refused, "{path}");
        }
    }

    #[test]
    fn the_target_is_path_and_query_byte_for_byte() {
        assert_eq!(target("https://pds.example.com/xrpc/a?b=%2f&b=+&c"), "/xrpc/a?b=%2f&b=+&c");
        assert_eq!(target("http://localhost:8787/a//b?u=https://x/y"), "/a//b?u=https://x/y");
        assert_eq!(target("https://pds.example.com"), "/");
    }
}
