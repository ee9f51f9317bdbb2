//! What the edge is configured with: variables and secrets of the Worker, read in one place.
//!
//! Without keys it forwards everything. A setting that makes no sense stops everything: better no answer than a wrong one.

use shared::link::{FeedKeys, ForwardKeys, Region};

use crate::placement::is_hint;

/// Where this Worker's variables have their names.
const ORIGIN: &str = "EDGE_ORIGIN";
const REGIONS: &str = "EDGE_REGIONS";
const FEED: &str = "EDGE_FEED_KEY";
const FEED_NEXT: &str = "EDGE_FEED_KEY_NEXT";
const FORWARD: &str = "EDGE_FORWARD_KEY";
const FORWARD_NEXT: &str = "EDGE_FORWARD_KEY_NEXT";
const BLOBS: &str = "EDGE_BLOBS";
const MAX_REPLICA: &str = "EDGE_MAX_REPLICA_BYTES";
const MAX_STALE: &str = "EDGE_MAX_STALE";
const LIMIT: &str = "EDGE_LIMIT_PER_MINUTE";
const METRICS: &str = "EDGE_METRICS_TOKEN";
const DEV: &str = "EDGE_DEV";

/// At most so many regions.
const MOST_REGIONS: usize = 9;

/// What the bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// There is none: blobs are the origin's to serve.
    None,
    /// Copies of the origin's blobs, made and dropped by the edge.
    Cache,
    /// The origin's own store, which the edge only reads.
    Store,
}

/// The edge's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `EDGE_ORIGIN`: the origin's own URL, scheme and authority without a slash at the end.
    pub origin: String,
    /// `EDGE_REGIONS`: where replicas are, names of location hints between commas. Default: `enam`.
    pub regions: Vec<Region>,
    /// `EDGE_FEED_KEY`, `EDGE_FORWARD_KEY` and each with `_NEXT`: the origin's `HEADWATER_EDGE_…` of the same names.
    /// `None` when none is set: everything is forwarded, unsigned.
    pub keys: Option<Keys>,
    /// `EDGE_BLOBS`: `none`, `cache` or `store`. Default: `none`.
    pub bucket: Bucket,
    /// `EDGE_MAX_REPLICA_BYTES`: larger repositories are forwarded. Default: 1,000,000,000.
    pub max_replica_bytes: u64,
    /// `EDGE_MAX_STALE`, seconds: how long answers go on without the origin. Default: 86,400. Here in milliseconds.
    pub max_stale: u64,
    /// `EDGE_LIMIT_PER_MINUTE`: how many requests of one client address the edge answers by itself; 0 for no limit.
    /// Default: 6,000.
    pub limit: u32,
    /// `EDGE_METRICS_TOKEN`: who brings it may read the counters. Default: nobody.
    pub metrics_token: Option<String>,
    /// `EDGE_DEV`: clients choose their region. Refused unless the origin is on this machine.
    pub dev: bool,
}

/// The keys that edge and origin know each other by.
#[derive(Debug, Clone)]
pub struct Keys {
    /// For what they say to each other.
    pub feed: FeedKeys,
    /// For what the edge passes on.
    pub forward: ForwardKeys,
}

impl Settings {
    /// Reads the settings; `variable` gives a variable or secret by its name. Empty means unset.
    ///
    /// # Errors
    /// What is wrong with the first one that is, without its value if it is a secret.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let origin = get(ORIGIN).ok_or_else(|| format!("{ORIGIN} is not set"))?;
        let origin = origin.trim_end_matches('/').to_owned();
        let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let authority = authority.filter(|authority| !authority.is_empty() && !authority.contains(['/', '?', '#']));
        let Some(authority) = authority else { return Err(format!("{ORIGIN} is \"{origin}\", not scheme and host")) };
        let dev = match get(DEV).as_deref() {
            None | Some("0" | "false") => false,
            Some("1" | "true") if is_here(authority) => true,
            Some("1" | "true") => return Err(format!("{DEV} is set, but {ORIGIN} is not on this machine")),
            Some(other) => return Err(format!("{DEV} is \"{other}\", must be 1 or 0")),
        };
        let mut regions = Vec::new();
        for name in get(REGIONS).unwrap_or_else(|| "enam".to_owned()).split(',').map(str::trim) {
            let region = Region::parse(name).map_err(|error| format!("{REGIONS} names \"{name}\": {error}"))?;
            if !is_hint(name) && !dev {
                return Err(format!("{REGIONS} names \"{name}\", which is no location hint"));
            }
            if regions.contains(&region) {
                return Err(format!("{REGIONS} names \"{name}\" twice"));
            }
            regions.push(region);
        }
        if regions.len() > MOST_REGIONS {
            return Err(format!("{REGIONS} names {} regions, limit {MOST_REGIONS}", regions.len()));
        }
        let named = [FEED, FEED_NEXT, FORWARD, FORWARD_NEXT];
        let keys = match (variable(FEED), variable(FORWARD)) {
            _ if named.iter().all(|name| variable(name).is_none()) => None,
            (Some(feed), Some(forward)) => {
                let next = |name: &str| variable(name).map(String::into_bytes);
                let feed = FeedKeys::new(feed.as_bytes(), next(FEED_NEXT).as_deref())
                    .map_err(|error| format!("{FEED} or {FEED_NEXT}: {error}"))?;
                let forward = ForwardKeys::new(forward.as_bytes(), next(FORWARD_NEXT).as_deref())
                    .map_err(|error| format!("{FORWARD} or {FORWARD_NEXT}: {error}"))?;
                Some(Keys { feed, forward })
            }
            _ => return Err(format!("of {FEED} and {FORWARD} both or neither must be set")),
        };
        let bucket = match get(BLOBS).as_deref() {
            None | Some("none") => Bucket::None,
            Some("cache") => Bucket::Cache,
            Some("store") => Bucket::Store,
            Some(other) => return Err(format!("{BLOBS} is \"{other}\", must be none, cache or store")),
        };
        let number = |name: &str, default: u64| match get(name) {
            None => Ok(default),
            Some(text) => text.parse::<u64>().map_err(|_| format!("{name} is \"{text}\", not a number")),
        };
        let limit = number(LIMIT, 6_000)?;
        Ok(Self {
            origin,
            regions,
            keys,
            bucket,
            max_replica_bytes: number(MAX_REPLICA, 1_000_000_000)?,
            max_stale: number(MAX_STALE, 86_400)?.saturating_mul(1_000),
            limit: u32::try_from(limit).map_err(|_| format!("{LIMIT} is {limit}, too many"))?,
            metrics_token: get(METRICS),
            dev,
        })
    }
}

/// Whether a host, perhaps with a port, is this machine.
fn is_here(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: (&str, &str) = (ORIGIN, "http://127.0.0.1:2583/");

    fn read(set: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn without_keys_everything_has_its_default() {
        let settings = read(&[HERE]).unwrap();
        assert_eq!(settings.origin, "http://127.0.0.1:2583");
        assert!(settings.keys.is_none() && settings.bucket == Bucket::None && !settings.dev);
        assert_eq!((settings.regions.len(), settings.max_stale, settings.limit), (1, 86_400_000, 6_000));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        const FAR: (&str, &str) = (ORIGIN, "https://origin.example.com");
        const KEY: &str = "a key of these tests";
        for (set, named) in [
            (&[][..], ORIGIN),
            (&[(ORIGIN, "origin.example.com")], ORIGIN),
            (&[(ORIGIN, "https://origin.example.com/path")], ORIGIN),
            (&[FAR, (DEV, "1")], DEV),
            (&[HERE, (DEV, "yes")], DEV),
            (&[FAR, (REGIONS, "weur,mars")], REGIONS),
            (&[FAR, (REGIONS, "weur,weur")], REGIONS),
            (&[FAR, (FEED, KEY)], FORWARD),
            (&[FAR, (FEED, KEY), (FORWARD, "")], FORWARD),
            (&[FAR, (FEED, ""), (FORWARD, KEY)], FEED),
            (&[FAR, (FEED, KEY), (FORWARD, KEY), (FEED_NEXT, "short")], FEED_NEXT),
            (&[FAR, (FORWARD_NEXT, KEY)], FORWARD),
            (&[FAR, (BLOBS, "r2")], BLOBS),
            (&[FAR, (MAX_STALE, "1d")], MAX_STALE),
            (&[FAR, (LIMIT, "99999999999")], LIMIT),
        ] {
            let error = read(set).unwrap_err();
            assert!(error.contains(named) && !error.contains(KEY) && !error.contains("short"), "{set:?}: {error}");
        }
        assert!(read(&[FAR, (FEED, KEY), (FORWARD, KEY)]).unwrap().keys.is_some());
        assert!(read(&[("EDGE_ORIGIN", "http://[::1]:80"), (DEV, "1"), (REGIONS, "mars")]).unwrap().dev);
    }
}
