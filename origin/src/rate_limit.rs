//! How often something may be done: points that are used up, and come back all at once when their time is over.
//!
//! A [`Limit`] gives each key so many points. The first use starts its time, every use counts, refused ones too, and
//! when the time is over the key has all of its points again. That is how the reference counts.
//!
//! Where the operator names a Redis server, what was used is kept there ([`shared`]), together with that of other servers.
//! Without one, or while it is away, it is kept in memory and forgotten when the process ends: a key is a hash with a
//! secret of the process, so that one takes the same few bytes however long it is, and at most [`MOST_KEYS`] are kept.
//! Where there are more, some that are counted lose their count, and nobody is refused for that.

mod shared;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::client_address::single;
use crate::config::RateLimits;
use crate::scratch::Scratch;

/// How many keys are counted at once.
const MOST_KEYS: usize = 100_000;
/// How often those whose time is over are looked for, at most.
const SWEEP: Duration = Duration::from_secs(1);
/// The header by which a client shows that it is not to be limited.
const BYPASS: &str = "x-ratelimit-bypass";

/// So many points in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// What tells its keys from those of others, in Redis too.
    pub(crate) name: &'static str,
    /// How many points a key has.
    pub(crate) points: u64,
    /// After how many seconds it has all of them again.
    pub(crate) seconds: u64,
}

/// Where a key stands after a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) limit: Limit,
    /// How many points were used, those that were refused among them.
    pub(crate) used: u64,
    /// When all points are there again.
    pub(crate) back_in: Duration,
}

impl Reading {
    /// How many points are left.
    pub(crate) const fn remaining(&self) -> u64 {
        self.limit.points.saturating_sub(self.used)
    }

    /// Whether more was used than there was.
    pub(crate) const fn is_exceeded(&self) -> bool {
        self.used > self.limit.points
    }
}

/// The count of one key.
#[derive(Clone, Copy, Debug)]
struct Window {
    used: u64,
    ends: Instant,
}

#[derive(Debug)]
struct Windows {
    of: HashMap<u64, Window>,
    swept: Instant,
}

/// Counts uses.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    config: RateLimits,
    scratch: Option<Scratch>,
    hasher: RandomState,
    windows: Mutex<Windows>,
}

impl RateLimiter {
    pub(crate) fn new(config: RateLimits, scratch: Option<Scratch>) -> Self {
        let windows = Windows { of: HashMap::new(), swept: Instant::now() };
        Self { config, scratch, hasher: RandomState::new(), windows: Mutex::new(windows) }
    }

    /// Whether a client is never refused, by its address or by the key that it sends.
    pub(crate) fn lets_pass(&self, client: IpAddr, headers: &HeaderMap) -> bool {
        let RateLimits { bypass_key, bypass_addresses } = &self.config;
        let shown = single(headers, BYPASS).zip(bypass_key.as_ref()).is_some_and(|(shown, key)| {
            // Hashes, so that the time tells nothing of the length either.
            Sha256::digest(shown).ct_eq(&Sha256::digest(key.expose())).into()
        });
        shown || bypass_addresses.contains(&client)
    }

    /// Uses `points` of what `key` has by each of the limits; where it stands by them, in their order.
    pub(crate) async fn use_up(&self, limits: &[Limit], key: &str, points: u64) -> Vec<Reading> {
        if let Some(scratch) = &self.scratch
            && let Some(readings) = shared::use_up(scratch, limits, key, points).await
        {
            return readings;
        }
        let now = Instant::now();
        limits.iter().map(|limit| self.use_up_at(*limit, key, points, now)).collect()
    }

    fn use_up_at(&self, limit: Limit, key: &str, points: u64, now: Instant) -> Reading {
        let hash = self.hasher.hash_one((limit.name, key));
        let fresh = Window { used: 0, ends: now + Duration::from_secs(limit.seconds) };
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if !windows.of.contains_key(&hash) {
            windows.make_room(now);
        }
        let window = windows.of.entry(hash).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        window.used = window.used.saturating_add(points);
        Reading { limit, used: window.used, back_in: window.ends.saturating_duration_since(now) }
    }
}

impl Windows {
    /// Forgets keys whose time is over, and, if there are too many even so, one that is counted.
    fn make_room(&mut self, now: Instant) {
        let crowded = self.of.len() >= self.of.capacity();
        if crowded && now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.of.retain(|_, window| window.ends > now);
        }
        while self.of.len() >= MOST_KEYS {
            // Keys are hashes, so the first is any.
            let Some(any) = self.of.keys().next().copied() else { break };
            self.of.remove(&any);
        }
    }
}

#[cfg(test)]
mod tests {
    use ::shared::api::Secret;

    use super::*;

    const THREE: Limit = Limit { name: "three", points: 3, seconds: 60 };

    fn limiter() -> RateLimiter {
        let bypass_addresses = vec!["203.0.113.9".parse().unwrap()];
        RateLimiter::new(RateLimits { bypass_key: Some(Secret::new("let me in".to_owned())), bypass_addresses }, None)
    }

    #[test]
    fn points_are_used_up_and_come_back_all_at_once() {
        let (limiter, start) = (limiter(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = limiter.use_up_at(THREE, "a", 2, at(0));
        assert_eq!((first.remaining(), first.back_in.as_secs(), first.is_exceeded()), (1, 60, false));
        let second = limiter.use_up_at(THREE, "a", 1, at(20));
        assert_eq!((second.remaining(), second.back_in.as_secs(), second.is_exceeded()), (0, 40, false));
        assert!(limiter.use_up_at(THREE, "a", 1, at(59)).is_exceeded());
        assert_eq!(limiter.use_up_at(THREE, "a", 1, at(60)).remaining(), 2);
    }

    #[test]
    fn keys_and_limits_are_counted_apart() {
        let limiter = limiter();
        let now = Instant::now();
        assert!(limiter.use_up_at(THREE, "a", 9, now).is_exceeded());
        assert!(!limiter.use_up_at(THREE, "b", 1, now).is_exceeded());
        assert!(!limiter.use_up_at(Limit { name: "other", ..THREE }, "a", 1, now).is_exceeded());
    }

    #[test]
    fn keys_do_not_grow_beyond_what_is_kept() {
        let (limiter, now) = (limiter(), Instant::now());
        for key in 0..MOST_KEYS + 500 {
            limiter.use_up_at(THREE, &key.to_string(), 1, now);
        }
        assert_eq!(limiter.windows.lock().unwrap().of.len(), MOST_KEYS);
    }

    #[test]
    fn keys_whose_time_is_over_are_forgotten() {
        let (limiter, start) = (limiter(), Instant::now());
        for key in 0..1000 {
            limiter.use_up_at(THREE, &key.to_string(), 1, start);
        }
        let later = start + Duration::from_secs(61);
        for key in 1000..5000 {
            limiter.use_up_at(THREE, &key.to_string(), 1, later);
        }
        assert!(limiter.windows.lock().unwrap().of.len() <= 4000);
    }

    #[test]
    fn the_key_and_the_addresses_that_the_operator_names_pass() {
        let limiter = limiter();
        let with = |value: &'static str| HeaderMap::from_iter([(BYPASS.parse().unwrap(), value.parse().unwrap())]);
        let (near, named) = ("127.0.0.1".parse().unwrap(), "203.0.113.9".parse().unwrap());
        assert!(limiter.lets_pass(named, &HeaderMap::new()));
        assert!(limiter.lets_pass(near, &with("let me in")));
        for wrong in ["let me", "let me in!", ""] {
            assert!(!limiter.lets_pass(near, &with(wrong)), "{wrong:?}");
        }
        assert!(!limiter.lets_pass(near, &HeaderMap::new()));
        let without = RateLimiter::new(RateLimits { bypass_key: None, bypass_addresses: Vec::new() }, None);
        assert!(!without.lets_pass(near, &with("let me in")));
    }
}
