//! Counting in Redis, where several servers do it together.
//!
//! A count is a number under `<name of the limit>:<key>` that ends with its time, as the reference keeps it: servers of
//! both kinds can count together, and take over from each other.

use std::time::Duration;

use data_encoding::HEXLOWER;
use redis::Pipeline;
use sha2::{Digest as _, Sha256};

use super::{Limit, Reading};
use crate::scratch::Scratch;

/// How long a key may be. Beyond are only texts that were made up, of whatever length: a hash stands for each.
const LONGEST_KEY: usize = 512;

/// Counts, and starts the time where there is none. At once: a count whose time was never started would stay for ever.
const USE_UP: &str = "\
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  left = ARGV[2] * 1000
end
return { used, left }";

/// Uses `points` of what `key` has by each of the limits; `None` where Redis is away.
pub(super) async fn use_up(scratch: &Scratch, limits: &[Limit], key: &str, points: u64) -> Option<Vec<Reading>> {
    let mut commands = Pipeline::with_capacity(limits.len());
    for limit in limits {
        commands.cmd("EVAL").arg(USE_UP).arg(1).arg(stored(limit, key)).arg(points).arg(limit.seconds);
    }
    let counts: Vec<(u64, u64)> = scratch.ask(&commands).await?;
    let readings = limits.iter().zip(counts);
    Some(readings.map(|(limit, (used, left))| reading(*limit, used, left)).collect())
}

fn reading(limit: Limit, used: u64, left_millis: u64) -> Reading {
    Reading { limit, used, back_in: Duration::from_millis(left_millis) }
}

/// What a count is stored under.
fn stored(limit: &Limit, key: &str) -> String {
    if key.len() <= LONGEST_KEY {
        format!("{}:{key}", limit.name)
    } else {
        format!("{}:sha256-{}", limit.name, HEXLOWER.encode(&Sha256::digest(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { name: "rl-global-ip", points: 3000, seconds: 300 };

    #[test]
    fn counts_have_the_references_names() {
        assert_eq!(stored(&LIMIT, "203.0.113.9"), "rl-global-ip:203.0.113.9");
    }

    #[test]
    fn a_long_text_takes_no_more_room_than_a_hash() {
        let [one, other] = ["a", "b"].map(|letter| stored(&LIMIT, &letter.repeat(150_000)));
        assert_eq!(one.len(), "rl-global-ip:sha256-".len() + 64);
        assert_ne!(one, other);
    }
}
