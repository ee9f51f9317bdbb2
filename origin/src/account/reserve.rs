//! Names that are spoken for while somebody is being given them.
//!
//! Between the look whether a handle is free and the row that takes it stands a request to the PLC directory, which
//! cannot be taken back. Two callers for one name must not both get that far, so the first holds it in memory.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The names that are spoken for.
#[derive(Clone, Debug, Default)]
pub(super) struct Reservations {
    names: Arc<Mutex<HashSet<String>>>,
    /// Told of whenever some are free again.
    freed: Arc<Notify>,
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

    /// Speaks for `name` once nobody else does.
    pub(super) async fn wait_for(&self, name: &str) -> Reservation {
        let mut reservation = self.open();
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From here on none is missed.
            freed.as_mut().enable();
            if reservation.add(name) {
                return reservation;
            }
            freed.await;
        }
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
        self.reservations.freed.notify_waiters();
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

    #[tokio::test]
    async fn who_waits_for_a_name_gets_it_when_it_is_free() {
        let reservations = Reservations::default();
        let first = reservations.wait_for("alice.test").await;
        let waiting = (0..3).map(|_| {
            let reservations = reservations.clone();
            tokio::spawn(async move { drop(reservations.wait_for("alice.test").await) })
        });
        let waiting: Vec<_> = waiting.collect();
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|task| !task.is_finished()));
        drop(first);
        for task in waiting {
            task.await.unwrap();
        }
    }
}
