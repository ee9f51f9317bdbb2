//! Where something is wrong inside a value, written as JSONPath does: `$.facets[0].index`.

use std::fmt;

/// The way from the top of a value to one of its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path {
    /// The innermost segment first: a failing check hands the error outwards, and each level adds itself.
    inside_out: Vec<Segment>,
}

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Into a field of an object.
    Key(String),
    /// Into an item of a list, counted from zero.
    Index(usize),
}

impl Path {
    /// The steps from the top inwards.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &Segment> {
        self.inside_out.iter().rev()
    }
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.segments().try_for_each(|segment| segment.fmt(f))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Key(key) if is_plain(key) => write!(f, ".{key}"),
            Self::Key(key) => write!(f, "[{}]", serde_json::Value::from(key.as_str())),
        }
    }
}

/// Whether a key needs no quotes.
fn is_plain(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$'))
        && key.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at {path}")]
pub struct Located<K: std::error::Error> {
    /// What is wrong.
    pub kind: K,
    /// Where.
    pub path: Path,
}

impl<K: std::error::Error> Located<K> {
    /// The same, seen from one level further out.
    #[must_use]
    pub fn inside(mut self, segment: impl Into<Segment>) -> Self {
        self.path.inside_out.push(segment.into());
        self
    }
}

impl<K: std::error::Error> From<K> for Located<K> {
    fn from(kind: K) -> Self {
        Self { kind, path: Path::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Issue;
    use super::*;

    #[test]
    fn a_path_reads_from_the_top_and_quotes_what_is_not_a_plain_name() {
        let missing = Located::from(Issue::Required { key: "a".to_owned() });
        assert_eq!(missing.path.to_string(), "$");
        let deep = missing.inside("cid-link").inside(0).inside("$x1").inside("2b").inside("");
        assert_eq!(deep.path.to_string(), r#"$[""]["2b"].$x1[0]["cid-link"]"#);
        assert_eq!(deep.path.segments().count(), 5);
    }
}
