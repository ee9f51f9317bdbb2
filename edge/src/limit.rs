//! How often one client address may ask what the edge answers by itself.
//!
//! A bucket for each address refills as time goes by. Generous, and only in one isolate's memory: it stops one client from running up a bill, and no more.

use std::collections::HashMap;
use std::net::IpAddr;

/// How many addresses are remembered; then all begin anew.
const ADDRESSES: usize = 10_000;

/// The buckets.
#[derive(Debug, Default)]
pub struct Limiter(HashMap<IpAddr, Bucket>);

#[derive(Debug)]
struct Bucket {
    /// How much was taken, in thousandths of a request.
    taken: u64,
    at: u64,
}

impl Limiter {
    /// Counts a request at `now`, milliseconds, and says whether it is within `per_minute`, of which all may come at once.
    /// No limit if that is 0.
    pub fn allows(&mut self, address: IpAddr, per_minute: u32, now: u64) -> bool {
        if per_minute == 0 {
            return true;
        }
        if self.0.len() >= ADDRESSES && !self.0.contains_key(&address) {
            self.0.clear();
        }
        let per_minute = u64::from(per_minute);
        let bucket = self.0.entry(address).or_insert(Bucket { taken: 0, at: now });
        // Thousandths in a millisecond.
        let refilled = now.saturating_sub(bucket.at).saturating_mul(per_minute) / 60;
        bucket.taken = bucket.taken.saturating_sub(refilled);
        bucket.at = now;
        if bucket.taken.saturating_add(1_000) > per_minute.saturating_mul(1_000) {
            return false;
        }
        bucket.taken += 1_000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_share_again_as_time_goes_by() {
        let mut limiter = Limiter::default();
        let (one, other) = (IpAddr::from([203, 0, 113, 1]), IpAddr::from([203, 0, 113, 2]));
        assert!((0..60).all(|_| limiter.allows(one, 60, 0)));
        assert!(!limiter.allows(one, 60, 0) && limiter.allows(other, 60, 0));
        assert!(!limiter.allows(one, 60, 500));
        assert!(limiter.allows(one, 60, 1_000) && !limiter.allows(one, 60, 1_000));
        assert!((0..1_000).all(|_| limiter.allows(one, 0, 0)));
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let mut limiter = Limiter::default();
        for number in 0..25_000_u32 {
            limiter.allows(IpAddr::from(number.to_be_bytes()), 1, 0);
        }
        assert!(limiter.0.len() <= ADDRESSES);
    }
}
