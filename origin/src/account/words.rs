//! Word lists, kept as sorted text and searched in place.

/// Names that nobody gets under a service domain: those of the protocol, of a web site's parts, and of the famous. One a
/// line; what the reference's list holds beside them, names with `_`, no handle can have.
pub(super) const RESERVED: Words = Words(include_str!("words/reserved.txt"));

/// Domains of throw-away mail, as the reference's list (CC0) has them.
pub(super) const DISPOSABLE: Words = Words(include_str!("words/disposable.txt"));

/// Words one a line, in the order of their bytes.
#[derive(Clone, Copy)]
pub(super) struct Words(&'static str);

impl Words {
    /// Whether `word` is among them.
    pub(super) fn contains(self, word: &str) -> bool {
        let mut rest = self.0;
        while !rest.is_empty() {
            // The line around the middle. ASCII throughout, so every offset is a boundary.
            let middle = rest.len() / 2;
            let (before, after) = rest.split_at(middle);
            let start = before.rfind('\n').map_or(0, |at| at + 1);
            let end = after.find('\n').map_or(rest.len(), |at| middle + at);
            let line = rest.get(start..end).unwrap_or_default();
            rest = match word.cmp(line) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => rest.get(..start).unwrap_or_default(),
                std::cmp::Ordering::Greater => rest.get(end + 1..).unwrap_or_default(),
            };
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_and_nothing_between_them() {
        for words in [RESERVED, DISPOSABLE, Words("one"), Words("a\nbb\nccc\n")] {
            let lines: Vec<_> = words.0.lines().collect();
            assert!(lines.is_sorted() && words.0.is_ascii());
            for line in lines {
                assert!(words.contains(line), "{line}");
                assert!(!words.contains(&format!("{line}!")), "{line}");
                assert!(!words.contains(&format!("!{line}")), "{line}");
            }
            assert!(!words.contains(""));
        }
        assert!(!Words("").contains("a") && !Words("").contains(""));
        assert_eq!(RESERVED.0.lines().count(), 997);
        assert_eq!(DISPOSABLE.0.lines().count(), 8883);
    }
}
