//! What the edge counts, for whoever operates it: in the text format that Prometheus scrapes.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// A counter's name and what it counts, in the order of [`Counters`].
const NAMES: [(&str, &str); 12] = [
    ("hits", "Reads answered from what the edge holds."),
    ("misses", "Reads of an account or blob that the edge does not hold yet."),
    ("forwards", "Requests that are the origin's to answer."),
    ("stale", "Reads answered from what the edge holds while the origin did not answer."),
    ("refused", "Requests that the edge refused by itself."),
    ("pushes", "Changes that the origin pushed and that were made or put aside."),
    ("gaps", "Pushed changes that did not follow on what a replica had."),
    ("fills", "Replicas that were filled."),
    ("failed_fills", "Fills that failed."),
    ("copied_blobs", "Blobs that were copied into the bucket."),
    ("purges", "Orders to drop copies."),
    ("errors", "Failures of the edge itself, after which the origin was asked."),
];

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// `hits`
    Hit,
    /// `misses`
    Miss,
    /// `forwards`
    Forward,
    /// `stale`
    Stale,
    /// `refused`
    Refused,
    /// `pushes`
    Push,
    /// `gaps`
    Gap,
    /// `fills`
    Fill,
    /// `failed_fills`
    FailedFill,
    /// `copied_blobs`
    CopiedBlob,
    /// `purges`
    Purge,
    /// `errors`
    Error,
}

/// Counters, all ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters([u64; 12]);

impl Counters {
    /// Counts one.
    pub fn count(&mut self, what: Counted) {
        if let Some(counter) = self.0.get_mut(what as usize) {
            *counter = counter.saturating_add(1);
        }
    }

    /// Adds what somebody else counted.
    pub fn add(&mut self, other: &Self) {
        for (counter, more) in self.0.iter_mut().zip(other.0) {
            *counter = counter.saturating_add(more);
        }
    }

    /// The number.
    #[must_use]
    pub fn get(&self, what: Counted) -> u64 {
        self.0.get(what as usize).copied().unwrap_or_default()
    }
}

/// What a region's host object says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRegion {
    /// What was counted in the region.
    pub counters: Counters,
    /// How large the memory of the wasm is that the object runs in, in bytes. It never shrinks; the platform ends an isolate
    /// with more than 128 MB.
    pub memory: u64,
}

/// What each region says as text.
#[must_use]
pub fn text(regions: &[(String, OfRegion)]) -> String {
    let mut text = String::new();
    let memory = "headwater_edge_wasm_memory_bytes";
    let _infallible = writeln!(text, "# HELP {memory} Memory of the wasm that a region's host object runs in.");
    let _infallible = writeln!(text, "# TYPE {memory} gauge");
    for (region, told) in regions {
        let _infallible = writeln!(text, "{memory}{{region=\"{region}\"}} {}", told.memory);
    }
    for (index, (name, help)) in NAMES.iter().enumerate() {
        let _infallible = writeln!(text, "# HELP headwater_edge_{name}_total {help}");
        let _infallible = writeln!(text, "# TYPE headwater_edge_{name}_total counter");
        for (region, told) in regions {
            let number = told.counters.0.get(index).copied().unwrap_or_default();
            let _infallible = writeln!(text, "headwater_edge_{name}_total{{region=\"{region}\"}} {number}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_its_name() {
        let mut counters = Counters::default();
        counters.count(Counted::Hit);
        counters.count(Counted::Error);
        let mut more = Counters::default();
        more.count(Counted::Error);
        counters.add(&more);
        let text = text(&[("weur".to_owned(), OfRegion { counters, memory: 65_536 })]);
        assert!(text.contains("headwater_edge_wasm_memory_bytes{region=\"weur\"} 65536\n"), "{text}");
        assert!(text.contains("headwater_edge_hits_total{region=\"weur\"} 1\n"), "{text}");
        assert!(text.contains("headwater_edge_errors_total{region=\"weur\"} 2\n"), "{text}");
        assert_eq!(text.lines().count(), 39);
    }
}
