//! Datetimes: a moment, and the text that names it.
//!
//! The text is kept as it came, since records must read back byte for byte. A [`Datetime`] names a moment that exists:
//! the form (what RFC 3339, ISO 8601 and HTML have in common) is judged first, then the calendar. There is no leap
//! second and no hour 24, and the year must be 0000 to 9999 in UTC as well.
//!
//! Implements the `datetime` format of <https://atproto.com/specs/lexicon>.

use super::{Kind, Rule, SyntaxError};

const LEN_MAX: usize = 64;
const MICROS: i64 = 1_000_000;
const DAY: i64 = 86_400;
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z, in seconds since 1970.
const SECONDS_MIN: i64 = -62_167_219_200;
const SECONDS_MAX: i64 = 253_402_300_799;

identifier! {
    /// A date and time with a zone, such as `1985-04-12T23:20:50.123Z`; at most 64 bytes. Ordered as text, not in time.
    Datetime, check: check, store: Box::from
}

impl Datetime {
    /// Microseconds since 1970, negative before; finer digits are cut off.
    #[must_use]
    pub fn unix_micros(&self) -> i64 {
        // The text was judged by the same function, so the fallback is never taken.
        moment(self.as_str()).unwrap_or_default()
    }

    /// The moment in UTC as `YYYY-MM-DDTHH:mm:ss.sssZ`, the form of every datetime that a server makes. Microseconds
    /// are cut off; moments outside the years 0000 to 9999 become the nearest one inside.
    #[must_use]
    pub fn from_unix_micros(micros: i64) -> Self {
        let seconds = micros.div_euclid(MICROS);
        let (seconds, millis) = match seconds.clamp(SECONDS_MIN, SECONDS_MAX) {
            same if same == seconds => (seconds, micros.rem_euclid(MICROS) / 1000),
            SECONDS_MIN => (SECONDS_MIN, 0),
            _ => (SECONDS_MAX, 999),
        };
        let (year, month, day) = date_of(seconds.div_euclid(DAY));
        let second = seconds.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        Self(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z").into_boxed_str())
    }

    /// [`Datetime::from_unix_micros`] for milliseconds since 1970.
    #[must_use]
    pub fn from_unix_millis(millis: i64) -> Self {
        Self::from_unix_micros(millis.saturating_mul(1000))
    }
}

fn check(text: &str) -> Result<(), SyntaxError> {
    moment(text).map(drop)
}

/// Judges the form, then the calendar; returns microseconds since 1970.
fn moment(text: &str) -> Result<i64, SyntaxError> {
    Kind::Datetime.sized(text, LEN_MAX)?;
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let year = scan.number(4)?;
    scan.byte(b'-')?;
    let month = scan.number(2)?;
    scan.byte(b'-')?;
    let day = scan.number(2)?;
    scan.byte(b'T')?;
    let hour = scan.number(2)?;
    scan.byte(b':')?;
    let minute = scan.number(2)?;
    scan.byte(b':')?;
    let second = scan.number(2)?;
    let fraction = scan.fraction()?;
    let zone = scan.zone()?;

    let limited = |what, value, max| if value <= max { Ok(()) } else { Err(Kind::Datetime.broke(Rule::Moment(what))) };
    limited("month", month.wrapping_sub(1), 11)?;
    limited("day", day.wrapping_sub(1), days_in(year, month) - 1)?;
    limited("hour", hour, 23)?;
    limited("minute", minute, 59)?;
    limited("second", second, 59)?;
    limited("zone", zone.hours, 23)?;
    limited("zone", zone.minutes, 59)?;

    let of_day = i64::from(hour * 3600 + minute * 60 + second);
    let offset = i64::from(zone.hours * 3600 + zone.minutes * 60);
    let local = days_to(i64::from(year), i64::from(month), i64::from(day)) * DAY + of_day;
    let seconds = if zone.ahead { local - offset } else { local + offset };
    if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
        return Err(Kind::Datetime.broke(Rule::Moment("year")));
    }
    Ok(seconds * MICROS + fraction)
}

/// An offset from UTC.
struct Zone {
    ahead: bool,
    hours: u32,
    minutes: u32,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn broke<T>(&self) -> Result<T, SyntaxError> {
        Err(Kind::Datetime.broke(Rule::Character { at: self.at }))
    }

    fn byte(&mut self, wanted: u8) -> Result<(), SyntaxError> {
        if self.peek() != Some(wanted) {
            return self.broke();
        }
        self.at += 1;
        Ok(())
    }

    fn digit(&mut self) -> Option<u32> {
        let digit = self.peek().filter(u8::is_ascii_digit)?;
        self.at += 1;
        Some(u32::from(digit - b'0'))
    }

    /// Reads exactly `digits` digits; a further one is the next reader's error.
    fn number(&mut self, digits: usize) -> Result<u32, SyntaxError> {
        let mut value = 0;
        for _ in 0..digits {
            let Some(digit) = self.digit() else { return self.broke() };
            value = value * 10 + digit;
        }
        Ok(value)
    }

    /// Reads an optional point and one or more digits; returns microseconds.
    fn fraction(&mut self) -> Result<i64, SyntaxError> {
        if self.peek() != Some(b'.') {
            return Ok(0);
        }
        self.at += 1;
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return self.broke();
        }
        let (mut micros, mut unit) = (0, MICROS);
        while let Some(digit) = self.digit() {
            unit /= 10;
            micros += unit * i64::from(digit);
        }
        Ok(micros)
    }

    /// Reads `Z`, or a sign and `hh:mm`, and then the end. `-00:00` says "zone unknown" and is refused.
    fn zone(&mut self) -> Result<Zone, SyntaxError> {
        let sign_at = self.at;
        let zone = match self.peek() {
            Some(b'Z') => {
                self.at += 1;
                Zone { ahead: true, hours: 0, minutes: 0 }
            }
            Some(sign @ (b'+' | b'-')) => {
                self.at += 1;
                let hours = self.number(2)?;
                self.byte(b':')?;
                Zone { ahead: sign == b'+', hours, minutes: self.number(2)? }
            }
            _ => return self.broke(),
        };
        if self.peek().is_some() {
            return self.broke();
        }
        if !zone.ahead && zone.hours == 0 && zone.minutes == 0 {
            return Err(Kind::Datetime.broke(Rule::Character { at: sign_at }));
        }
        Ok(zone)
    }
}

const fn days_in(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, which puts the leap day last;
/// the lengths of the months from March then follow the line 153 days to 5 months.
const fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let march_month = (month + 9) % 12;
    let of_year = (153 * march_month + 2) / 5 + day - 1;
    let leap_days = march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    march_year * 365 + leap_days + of_year - MARCH_0000_TO_1970
}

/// The inverse of [`days_to`]: year, month and day.
const fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + MARCH_0000_TO_1970;
    let era = days.div_euclid(DAYS_IN_400_YEARS);
    let of_era = days.rem_euclid(DAYS_IN_400_YEARS);
    // The last day of 4, 100 and 400 years would open a year of its own without these corrections.
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = era * 400 + year_of_era + (month <= 2) as i64;
    (year, month, day)
}

const DAYS_IN_400_YEARS: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const MARCH_0000_TO_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        Datetime::parse(text).unwrap().unix_micros()
    }

    #[test]
    fn the_text_is_kept_as_it_came() {
        let text = "2024-01-01T00:00:00.1200+01:00";
        assert_eq!(Datetime::parse(text).unwrap().as_str(), text);
    }

    #[test]
    fn a_moment_is_read_in_microseconds() {
        assert_eq!(micros("1970-01-01T00:00:00Z"), 0);
        assert_eq!(micros("1985-04-12T23:20:50.123456789Z"), 482_196_050_123_456);
        assert_eq!(micros("1985-04-13T01:05:50.1+01:45"), 482_196_050_100_000);
        assert_eq!(micros("1985-04-12T16:20:50-07:00"), 482_196_050_000_000);
        assert_eq!(micros("1969-12-31T23:59:59.999999Z"), -1);
        assert_eq!(micros("0000-01-01T00:00:00Z"), SECONDS_MIN * MICROS);
        assert_eq!(micros("9999-12-31T23:59:59Z"), SECONDS_MAX * MICROS);
    }

    #[test]
    fn moments_that_do_not_exist_are_refused_by_the_calendar() {
        let absent = [
            ("1985-02-29T00:00:00Z", "day"),
            ("1900-02-29T00:00:00Z", "day"),
            ("1985-04-31T00:00:00Z", "day"),
            ("1985-04-12T24:00:00Z", "hour"),
            ("1985-04-12T23:59:60Z", "second"),
            ("1985-04-12T23:59:59+24:00", "zone"),
            ("1985-04-12T23:59:59-00:60", "zone"),
            ("9999-12-31T23:59:59-00:01", "year"),
        ];
        for (text, what) in absent {
            assert_eq!(Datetime::parse(text).unwrap_err().rule, Rule::Moment(what), "{text}");
        }
        assert!(Datetime::parse("2000-02-29T00:00:00Z").is_ok());
        assert!(Datetime::parse("0000-01-01T00:00:00-00:01").is_ok());
    }

    #[test]
    fn a_datetime_made_here_has_milliseconds_and_z() {
        assert_eq!(Datetime::from_unix_micros(482_196_050_123_999).as_str(), "1985-04-12T23:20:50.123Z");
        assert_eq!(Datetime::from_unix_millis(-1).as_str(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Datetime::from_unix_micros(i64::MIN).as_str(), "0000-01-01T00:00:00.000Z");
        assert_eq!(Datetime::from_unix_millis(i64::MAX).as_str(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn every_day_of_the_calendar_comes_back() {
        let (mut year, mut month, mut day) = (0, 1, 1);
        for days in SECONDS_MIN / DAY..=SECONDS_MAX / DAY {
            assert_eq!(date_of(days), (i64::from(year), i64::from(month), i64::from(day)));
            assert_eq!(days_to(i64::from(year), i64::from(month), i64::from(day)), days);
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                _ if day == days_in(year, month) => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }
}
