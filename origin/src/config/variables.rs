//! The variables of an environment, read by the reference's rules, and what is to be said of them.
//!
//! A variable set to nothing is not set. An integer is the digits a value begins with, a switch is `true`, `1`, `false`
//! or `0`, a list is split at commas; a value without an integer or a switch in it counts as not set, as it does at the
//! reference, and is warned about. Problems are gathered, so that all of them are reported at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::names::{LATER, closest};

/// The prefixes of the variables that are the server's own: the reference's, and Headwater's.
const PREFIXES: [&str; 2] = ["PDS_", "HEADWATER_EDGE_"];
/// The variables that are other programs', too: nothing is said of them where they are not used.
const SHARED: [&str; 7] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_KMS",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

/// The variables, which of them have been asked for, and what was found.
#[derive(Debug, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, String>,
    asked: BTreeSet<&'static str>,
    /// What keeps the server from starting.
    pub(super) problems: Vec<String>,
    /// What the operator should know.
    pub(super) warnings: Vec<String>,
}

impl Variables {
    /// Takes over those among `variables` that may be for the server.
    pub(super) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut all = Self::default();
        for (name, value) in variables {
            let known = |name: &&str| SHARED.contains(name) || PREFIXES.iter().any(|own| name.starts_with(own));
            let Some(name) = name.to_str().filter(known) else { continue };
            match value.into_string() {
                Ok(value) if value.is_empty() => {}
                Ok(value) => {
                    all.values.insert(name.to_owned(), value);
                }
                Err(_) => all.problems.push(format!("{name} is not UTF-8")),
            }
        }
        all
    }

    /// Whether a variable is set; asking this is not using it.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Lets `wrong`, a name that people set, stand for `name`, unless that is set itself.
    pub(super) fn alias(&mut self, wrong: &str, name: &'static str) {
        let Some(value) = self.values.remove(wrong) else { return };
        if self.is_set(name) {
            self.warn(format!("{wrong} has no effect, {name} is set"));
        } else {
            self.warn(format!("{wrong} is taken for {name}: set that instead"));
            self.values.insert(name.to_owned(), value);
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.asked.insert(name);
        self.values.get(name).cloned()
    }

    pub(super) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        match self.text(name)?.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            other => {
                self.warn(format!("{name} is \"{other}\", not true or false, and has no effect"));
                None
            }
        }
    }

    /// An integer within `limits`.
    pub(super) fn number(&mut self, name: &'static str, limits: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(name)?;
        let Some((number, whole)) = leading_integer(&text) else {
            self.warn(format!("{name} is \"{text}\", not a number, and has no effect"));
            return None;
        };
        if !whole {
            self.warn(format!("{name} is \"{text}\", of which {number} is used"));
        }
        match u64::try_from(number) {
            Ok(number) if limits.contains(&number) => Some(number),
            _ => {
                self.problem(match *limits.end() {
                    u64::MAX => format!("{name} is {number}, must be at least {}", limits.start()),
                    end => format!("{name} is {number}, must be from {} to {end}", limits.start()),
                });
                None
            }
        }
    }

    /// A time in milliseconds.
    pub(super) fn millis(&mut self, name: &'static str, default: Duration) -> Duration {
        self.number(name, 0..=u64::MAX).map_or(default, Duration::from_millis)
    }

    /// The items of a list, without the space around them and without empty ones.
    pub(super) fn list(&mut self, name: &'static str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// A value of a type that says itself what is wrong with a text.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.text(name)?;
        text.parse().map_err(|error| self.problem(format!("{name} is \"{text}\": {error}"))).ok()
    }

    /// An `http` or `https` URL.
    pub(super) fn url(&mut self, name: &'static str) -> Option<Url> {
        let text = self.text(name)?;
        let url = http_url(&text);
        if url.is_none() {
            self.problem(format!("{name} is \"{text}\", not a URL with http or https"));
        }
        url
    }

    /// Warns about every variable that nothing asked for: one that is known, one that is probably misspelt, one that
    /// nobody knows.
    pub(super) fn warn_of_the_rest(&mut self) {
        let known = || self.asked.iter().chain(LATER).copied();
        let warnings: Vec<_> = self
            .values
            .keys()
            .filter(|name| !self.asked.contains(name.as_str()) && !SHARED.contains(&name.as_str()))
            .map(|name| {
                if LATER.contains(&name.as_str()) {
                    format!("{name} has no effect at this server")
                } else if let Some(meant) = closest(name, known()) {
                    format!("{name} is not a variable of this server; did you mean {meant}?")
                } else {
                    format!("{name} is not a variable of this server")
                }
            })
            .collect();
        self.warnings.extend(warnings);
    }

    #[cfg(test)]
    pub(super) fn asked(&self) -> &BTreeSet<&'static str> {
        &self.asked
    }
}

/// Reads an `http` or `https` URL.
pub(super) fn http_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// The integer that `text` begins with as JavaScript's `parseInt` reads it, and whether it is the whole of it.
fn leading_integer(text: &str) -> Option<(i128, bool)> {
    let text = text.trim_start();
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, rest) = match rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        Some(rest) => (16, rest),
        None => (10, rest),
    };
    let len = rest.bytes().take_while(|byte| char::from(*byte).is_digit(radix)).count();
    let (digits, tail) = rest.split_at_checked(len)?;
    // Longer than 128 bits: far beyond every limit, and refused as such.
    let magnitude =
        if digits.is_empty() { return None } else { i128::from_str_radix(digits, radix).unwrap_or(i128::MAX) };
    Some((if negative { -magnitude } else { magnitude }, tail.trim_end().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_the_reference_reads_them() {
        let read = [
            ("3000", Some((3000, true))),
            (" 12 ", Some((12, true))),
            ("-5", Some((-5, true))),
            ("+5", Some((5, true))),
            ("5mb", Some((5, false))),
            ("1e3", Some((1, false))),
            ("0x1F", Some((31, true))),
            ("9".repeat(60).as_str(), Some((i128::MAX, true))),
            ("many", None),
            ("", None),
            ("-", None),
            ("0x", None),
        ]
        .map(|(text, expected)| (leading_integer(text), expected, text.to_owned()));
        for (read, expected, text) in read {
            assert_eq!(read, expected, "{text:?}");
        }
    }
}
