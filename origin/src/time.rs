//! The clock: the one place that asks the system for the time.

use std::time::{SystemTime, UNIX_EPOCH};

use shared::syntax::Datetime;

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

/// The time as databases and events hold it: `YYYY-MM-DDTHH:MM:SS.sssZ`.
#[must_use]
pub fn now_datetime() -> Datetime {
    Datetime::from_unix_millis(now_millis())
}
