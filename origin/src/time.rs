//! The clock: the one place that asks the system for the time.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shared::syntax::{Datetime, Tid};

use crate::random;

/// Microseconds since 1970. A clock set before 1970 counts as 1970.
#[must_use]
pub fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_millis() -> i64 {
    i64::try_from(now_micros() / 1000).unwrap_or(i64::MAX)
}

/// Seconds since 1970, as tokens count.
#[must_use]
pub fn now_seconds() -> u64 {
    now_micros() / 1_000_000
}

/// A key for a new record: the time, but never twice the same in this process, and always above the one before.
#[must_use]
pub fn next_tid() -> Tid {
    static CLOCK_ID: LazyLock<u16> = LazyLock::new(random::clock_id);
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = now_micros();
    let next = |last: u64| now.max(last.saturating_add(1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    Tid::from_parts(next(last.unwrap_or_default()), *CLOCK_ID)
}

/// The time as databases and events hold it: `YYYY-MM-DDTHH:MM:SS.sssZ`.
#[must_use]
pub fn now_datetime() -> Datetime {
    Datetime::from_unix_millis(now_millis())
}

/// How long to wait before each new attempt at what failed: half a second, then twice as long each time, up to a minute.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(Duration::from_millis(500))
    }
}

impl Pauses {
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = pause.saturating_mul(2).min(Duration::from_secs(60));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_keys_ascend_however_fast_they_are_asked_for() {
        let keys: Vec<_> = (0..1000).map(|_| next_tid()).collect();
        assert!(keys.is_sorted_by(|one, next| one < next));
    }
}
