//! Names that are spoken for while somebody is being given them.
//!
//! Between the look whether a handle is free and the row that takes it stands a request to the PLC directory, which
//! cannot be taken back. Two callers for one name must not both get that far, so the first holds it in memory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The names that are spoken for.
#[derive(Clone, Debug, Default)]
pub(super) struct Reservations {
    names: Arc<Mutex<HashSet<String>>>,
}

/// Names that are nobody else's until this is dropped.
#[derive(Debug)]
#[must_use = "the names are free again when this is dropped"]
pub struct Reservation {
    reservations: Reservations,
    names: Vec<String>,
}

impl Reservations {
    /// An empty reservation, to be filled.
    pub(super) fn open(&self) -> Reservation {
        Reservation { reservations: self.clone(), names: Vec::new() }
    }
}

impl Reservation {
    /// Speaks for `name` too, if nobody has.
    pub(super) fn add(&mut self, name: &str) -> bool {
        let mut names = self.reservations.names.lock().unwrap_or_else(PoisonError::into_inner);
        let free = names.insert(name.to_owned());
        if free {
            self.names.push(name.to_owned());
        }
        free
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut names = self.reservations.names.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &self.names {
            names.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_callers_until_it_is_done() {
        let reservations = Reservations::default();
        let (mut one, mut two) = (reservations.open(), reservations.open());
        assert!(one.add("alice.test"));
        assert!(!two.add("alice.test"));
        assert!(two.add("bob.test"));
        drop(two);
        assert!(!reservations.open().add("alice.test"));
        drop(one);
        assert!(reservations.open().add("alice.test"));
    }
}
