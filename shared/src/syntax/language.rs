//! Language tags: well-formed BCP 47, with a lower-case primary language.
//!
//! Well-formed is all that a record needs: whether subtags are registered is not asked, and a tag that repeats a variant
//! or an extension passes, although RFC 5646 calls it invalid ([`Language::repeats_subtag`] tells). Stricter than the
//! RFC, as the official vectors are: the primary language is an ISO 639 code, two or three lower-case letters.
//!
//! Implements the `language` format of <https://atproto.com/specs/lexicon> and RFC 5646, section 2.1.

use super::{Kind, Rule, SyntaxError};

const LEN_MAX: usize = 255;

/// The tags of RFC 5646 that are well-formed only because they are listed.
const IRREGULAR: [&str; 17] = [
    "en-GB-oed",
    "i-ami",
    "i-bnn",
    "i-default",
    "i-enochian",
    "i-hak",
    "i-klingon",
    "i-lux",
    "i-mingo",
    "i-navajo",
    "i-pwn",
    "i-tao",
    "i-tay",
    "i-tsu",
    "sgn-BE-FR",
    "sgn-BE-NL",
    "sgn-CH-DE",
];

identifier! {
    /// A language tag such as `pt-BR`, in the case that it came in; at most 255 bytes.
    Language, check: check, store: Box::from
}

impl Language {
    /// Whether a variant or an extension's letter occurs twice, which makes a well-formed tag invalid.
    #[must_use]
    pub fn repeats_subtag(&self) -> bool {
        let mut seen: Vec<&str> = Vec::new();
        let mut extended = false;
        for subtag in self.as_str().split('-') {
            let singleton = subtag.len() == 1;
            if singleton && subtag.eq_ignore_ascii_case("x") {
                break;
            }
            // Within an extension only the next extension's letter counts.
            extended |= singleton;
            if singleton || (!extended && is_variant(subtag)) {
                if seen.iter().any(|other| other.eq_ignore_ascii_case(subtag)) {
                    return true;
                }
                seen.push(subtag);
            }
        }
        false
    }
}

fn check(text: &str) -> Result<(), SyntaxError> {
    Kind::Language.sized(text, LEN_MAX)?;
    if IRREGULAR.iter().any(|tag| tag.eq_ignore_ascii_case(text)) {
        return Ok(());
    }
    let mut rest = Subtags { text, at: 0 };
    if rest.take(|s| matches!(s.len(), 2..=3) && s.bytes().all(|b| b.is_ascii_lowercase())) {
        // Extended languages, script, region, variants, extensions, in this order.
        let _ = rest.take(is_extlang) && rest.take(is_extlang) && rest.take(is_extlang);
        let _ = rest.take(|s| s.len() == 4 && is_alpha(s));
        let _ = rest.take(|s| (s.len() == 2 && is_alpha(s)) || (s.len() == 3 && s.bytes().all(|b| b.is_ascii_digit())));
        while rest.take(is_variant) {}
        while rest.take(|s| is_singleton(s) && !is_private(s)) {
            rest.some(|s| matches!(s.len(), 2..=8) && is_alphanumeric(s))?;
        }
    }
    if rest.take(is_private) {
        rest.some(|s| matches!(s.len(), 1..=8) && is_alphanumeric(s))?;
    }
    if rest.at > text.len() { Ok(()) } else { rest.broke() }
}

/// The subtags that are still to be read.
struct Subtags<'a> {
    text: &'a str,
    /// Where the next one begins; past the end of the text when all are read.
    at: usize,
}

impl Subtags<'_> {
    /// Reads the next subtag if `wanted` takes it.
    fn take(&mut self, wanted: impl Fn(&str) -> bool) -> bool {
        let subtag = self.text.get(self.at..).and_then(|rest| rest.split('-').next());
        match subtag.filter(|subtag| wanted(subtag)) {
            Some(subtag) => {
                self.at += subtag.len() + 1;
                true
            }
            None => false,
        }
    }

    /// Reads one or more.
    fn some(&mut self, wanted: impl Fn(&str) -> bool) -> Result<(), SyntaxError> {
        if !self.take(&wanted) {
            return self.broke();
        }
        while self.take(&wanted) {}
        Ok(())
    }

    fn broke(&self) -> Result<(), SyntaxError> {
        Err(Kind::Language.broke(Rule::Character { at: self.at.min(self.text.len()) }))
    }
}

fn is_alpha(subtag: &str) -> bool {
    subtag.bytes().all(|b| b.is_ascii_alphabetic())
}

fn is_alphanumeric(subtag: &str) -> bool {
    subtag.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn is_extlang(subtag: &str) -> bool {
    subtag.len() == 3 && is_alpha(subtag)
}

fn is_singleton(subtag: &str) -> bool {
    subtag.len() == 1 && is_alphanumeric(subtag)
}

fn is_private(subtag: &str) -> bool {
    subtag.eq_ignore_ascii_case("x")
}

fn is_variant(subtag: &str) -> bool {
    let long = matches!(subtag.len(), 5..=8);
    let dated = subtag.len() == 4 && subtag.starts_with(|c: char| c.is_ascii_digit());
    (long || dated) && is_alphanumeric(subtag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_subtag_has_its_place() {
        let good = [
            "ja",
            "ban",
            "zh-min-nan",
            "zh-cmn-Hans-CN",
            "es-419",
            "de-CH-1901",
            "sl-rozaj-biske-1994",
            "x-a",
            "X-fr-CH",
            "en-a-bb-x-a",
            "EN-gb-OED",
            "I-DEFAULT",
            "en-u-co-phonebk-t-en-US",
            "de-x-1",
        ];
        for tag in good {
            assert!(Language::check(tag).is_ok(), "{tag}");
        }
        let bad = [
            "",
            "j",
            "JA",
            "Ja",
            "jaja",
            "jajaj",
            "ja-",
            "-ja",
            "ja--JP",
            "ja-JP-Jpan",
            "de-419-DE",
            "en-a",
            "en-a-x-b",
            "en-x",
            "x",
            "x-",
            "x-123456789",
            "en-abcdefghi",
            "zh-aaa-bbb-ccc-ddd",
            "ja-J\u{e4}",
            "en_US",
            "i-unknown",
        ];
        for tag in bad {
            assert!(Language::check(tag).is_err(), "{tag}");
        }
    }

    #[test]
    fn repeated_variants_and_extensions_are_noticed_in_any_case() {
        let repeats = |tag| Language::parse(tag).unwrap().repeats_subtag();
        for tag in ["de-DE-1901-1901", "en-rozaj-ROZAJ", "en-a-foo-a-bar", "en-u-co-phonebk-U-ca-buddhist"] {
            assert!(repeats(tag), "{tag}");
        }
        for tag in ["sl-rozaj-biske", "en-u-phonebk-phonebk-t-en-US", "en-a-foo-x-a-a-abcde-abcde", "x-a-a"] {
            assert!(!repeats(tag), "{tag}");
        }
    }

    #[test]
    fn errors_point_at_the_first_subtag_that_has_no_place() {
        assert_eq!(Language::parse("ja-JP-Jpan").unwrap_err().rule, Rule::Character { at: 6 });
        assert_eq!(Language::parse("en-x").unwrap_err().rule, Rule::Character { at: 4 });
    }
}
