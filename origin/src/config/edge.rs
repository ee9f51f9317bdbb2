//! The edge in front of this server: where it is, and the keys by which the two know each other.

use shared::link::{FeedKeys, ForwardKeys, KeyError, Lease};
use url::Url;

use super::variables::Variables;

const URL: &str = "HEADWATER_EDGE_URL";
const FEED: &str = "HEADWATER_EDGE_FEED_KEY";
const FORWARD: &str = "HEADWATER_EDGE_FORWARD_KEY";
const LEASE: &str = "HEADWATER_EDGE_LEASE_MS";

/// The edge in front of this server. Default: none. Keys are texts of at least 16 bytes, of random characters; the same
/// ones are the edge's.
#[derive(Clone, Debug)]
pub struct Edge {
    /// `HEADWATER_EDGE_URL`: where it is reached, without a path.
    pub url: Url,
    /// `HEADWATER_EDGE_FEED_KEY`, `HEADWATER_EDGE_FEED_KEY_NEXT`: what the requests between the two are signed with.
    pub feed: FeedKeys,
    /// `HEADWATER_EDGE_FORWARD_KEY`, `HEADWATER_EDGE_FORWARD_KEY_NEXT`: what vouches for the clients of requests that it
    /// forwards.
    pub forward: ForwardKeys,
    /// `HEADWATER_EDGE_LEASE_MS`, milliseconds, from 500 to 60,000: how old the edge's answers may be when the two cannot
    /// talk. Default: 5,000.
    pub lease: Lease,
}

impl Edge {
    /// Reads the edge: URL and both keys, or nothing.
    pub(super) fn read(variables: &mut Variables) -> Option<Self> {
        let needed = [URL, FEED, FORWARD];
        let wanted = needed.into_iter().find(|name| variables.is_set(name));
        if let Some(wanted) = wanted {
            for name in needed.into_iter().filter(|name| !variables.is_set(name)).collect::<Vec<_>>() {
                variables.problem(format!("{wanted} is set, so {name} must be, too"));
            }
        }
        let millis = variables.number(LEASE, 500..=60_000).and_then(|millis| u32::try_from(millis).ok());
        let url = variables.url(URL);
        if let Some(url) = &url
            && (url.path() != "/" || url.query().is_some() || url.fragment().is_some())
        {
            variables.problem(format!("{URL} is \"{url}\", which has a path"));
        }
        let feed = keys(variables, [FEED, "HEADWATER_EDGE_FEED_KEY_NEXT"], FeedKeys::new);
        let forward = keys(variables, [FORWARD, "HEADWATER_EDGE_FORWARD_KEY_NEXT"], ForwardKeys::new);
        Some(Self { url: url?, feed: feed?, forward: forward?, lease: Lease { millis: millis.unwrap_or(5_000) } })
    }
}

/// Reads a current key and the next one. They are not shown.
fn keys<K>(
    variables: &mut Variables,
    [current, next]: [&'static str; 2],
    make: impl FnOnce(&[u8], Option<&[u8]>) -> Result<K, KeyError>,
) -> Option<K> {
    let (first, second) = (variables.text(current), variables.text(next));
    let keys = make(first?.as_bytes(), second.as_deref().map(str::as_bytes));
    keys.map_err(|error| variables.problem(format!("{current} or {next}: {error}"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: [(&str, &str); 3] =
        [(URL, "https://pds.example.com"), (FEED, "feed key of the tests"), (FORWARD, "forward key of the tests")];

    fn read(more: &[(&str, &str)]) -> (Option<Edge>, Vec<String>) {
        let all = SET.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).chain(more);
        let mut variables = Variables::new(all.map(|(name, value)| ((*name).into(), (*value).into())));
        let edge = Edge::read(&mut variables);
        variables.warn_of_the_rest();
        assert!(variables.warnings.is_empty(), "{:?}", variables.warnings);
        (edge, variables.problems)
    }

    #[test]
    fn an_edge_is_set_whole_or_not_at_all() {
        let (edge, problems) = read(&[]);
        assert_eq!((edge.unwrap().lease.millis, problems.len()), (5_000, 0));
        let (edge, problems) = read(&SET.map(|(name, _)| (name, "")));
        assert!(edge.is_none() && problems.is_empty(), "{problems:?}");
        for (name, _) in SET {
            let (edge, problems) = read(&[(name, "")]);
            assert!(edge.is_none() && problems.len() == 1 && problems[0].contains(name), "{problems:?}");
        }
    }

    #[test]
    fn keys_that_are_too_short_are_refused_and_none_is_shown() {
        for name in [FEED, FORWARD, "HEADWATER_EDGE_FEED_KEY_NEXT", "HEADWATER_EDGE_FORWARD_KEY_NEXT"] {
            let (edge, problems) = read(&[(name, "short secret")]);
            assert!(edge.is_none() && problems.len() == 1 && problems[0].contains(name), "{problems:?}");
            assert!(!problems[0].contains("short secret"), "{problems:?}");
        }
        let (edge, _) = read(&[("HEADWATER_EDGE_FEED_KEY_NEXT", "another key of the tests")]);
        let text = format!("{:?}", edge.unwrap());
        assert!(!text.contains("of the tests"), "{text}");
    }

    #[test]
    fn odd_urls_and_leases_are_refused() {
        for (name, value) in [(URL, "https://pds.example.com/edge"), (URL, "pds"), (LEASE, "100"), (LEASE, "60001")] {
            let (_, problems) = read(&[(name, value)]);
            assert!(problems.len() == 1 && problems[0].contains(name), "{problems:?}");
        }
    }
}
