//! The object of the data model: string keys in the one order that DAG-CBOR allows.
//!
//! Keys are unique and sorted by length in bytes, then bytewise; so encoding is a walk and comparing two maps is
//! comparing their bytes. Specification: <https://atproto.com/specs/data-model>.

use std::cmp::Ordering;

use super::Value;

/// An object: unique string keys in DAG-CBOR order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(Vec<(String, Value)>);

/// DAG-CBOR's order of map keys: by length, then bytewise.
#[inline]
pub(crate) fn key_order(left: &str, right: &str) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.as_bytes().cmp(right.as_bytes()))
}

impl Map {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many fields it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.find(key).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    /// Whether it has the field.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Sets a field and returns what it held before. Costs as much as there are longer keys: to build a large map,
    /// collect it.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(at) => self.0.get_mut(at).map(|(_, held)| std::mem::replace(held, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// The fields in DAG-CBOR order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The values in DAG-CBOR order of their keys, to be changed in place.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn last_key(&self) -> Option<&str> {
        self.0.last().map(|(key, _)| key.as_str())
    }

    /// Appends a field; its key must sort after [`Self::last_key`], which the strict reader has just checked.
    pub(crate) fn push_last(&mut self, key: String, value: Value) {
        self.0.push((key, value));
    }

    pub(crate) fn with_capacity(fields: usize) -> Self {
        Self(Vec::with_capacity(fields))
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| key_order(held, key))
    }
}

/// Of equal keys the last one counts, as in JavaScript's `JSON.parse`.
impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        let mut fields: Vec<(String, Value)> = fields.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        if !fields.is_sorted_by(|(left, _), (right, _)| key_order(left, right) == Ordering::Less) {
            // Stable, so that among equal keys the last stays last; then reversed, deduplicated and turned back.
            fields.sort_by(|(left, _), (right, _)| key_order(left, right));
            fields.reverse();
            fields.dedup_by(|(next, _), (kept, _)| next == kept);
            fields.reverse();
        }
        Self(fields)
    }
}

impl IntoIterator for Map {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_dag_cbor_order_whatever_the_order_of_insertion() {
        let keys = ["b", "aa", "a", "é", "😀"];
        let collected: Map = keys.iter().map(|key| (*key, Value::Null)).collect();
        let mut inserted = Map::new();
        for key in keys.iter().rev() {
            inserted.insert(*key, Value::Null);
        }
        assert_eq!(collected, inserted);
        assert_eq!(collected.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "b", "aa", "é", "😀"]);
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        let map: Map = [("a", 1), ("b", 2), ("a", 3), ("a", 4)].into_iter().collect();
        assert_eq!(map.len(), 2);
        assert_eq!(map.get("a"), Some(&Value::Int(4)));
    }

    #[test]
    fn fields_are_replaced_and_removed() {
        let mut map = Map::new();
        assert_eq!(map.insert("x", 1), None);
        assert_eq!(map.insert("x", 2), Some(Value::Int(1)));
        assert!(map.contains_key("x"));
        assert_eq!(map.remove("x"), Some(Value::Int(2)));
        assert_eq!(map.remove("x"), None);
        assert!(map.is_empty());
    }
}
