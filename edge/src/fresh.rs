//! How fresh what a region holds is: what its host object has from the origin, and what a replica may do with it.
//!
//! The origin is asked for a whole region at once: which accounts changed, which replicas have not acknowledged
//! something. A [`Region`] is the answer as it stands; the gateway asks the host object for it at most once a second and
//! passes the part that concerns an account ([`Freshness`]) along with each read. The replica decides: it answers, it
//! pulls first, or it answers what may be old and says so.
//!
//! # What always holds
//!
//! - A replica answers unmarked only under a lease of the origin's that has not run out, and only if nothing was said of
//!   it in any answer since it last made sure of itself.
//! - What is not known any more (a host object that began anew, more changes than are kept) counts as a change of
//!   everything: each replica pulls once.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use shared::link::{Position, RegionAnswer};
use shared::syntax::Did;

/// How many changed accounts are kept by name; older ones count as a change of everything.
pub const NAMED: usize = 4096;

/// What a region's host object knows of how fresh its replicas are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// The feed's position at the last answer.
    pub position: Position,
    /// Until when that answer lets replicas serve, in milliseconds of the edge's clock. Zero before the first.
    pub until: u64,
    /// What changed up to here is not known by name: a replica makes sure of itself beyond it once.
    pub floor: Position,
    /// The accounts that changed above the floor, with their last change.
    pub changed: HashMap<Did, Position>,
    /// The accounts whose replica here has not acknowledged something.
    pub behind: HashSet<Did>,
    /// Whether the origin did not answer when it was asked last.
    pub away: bool,
}

impl Region {
    /// Takes an answer of the origin to a question asked at `asked_at`.
    pub fn take(&mut self, answer: &RegionAnswer, asked_at: u64) {
        self.until = answer.lease.edge_until(asked_at);
        self.away = false;
        if !answer.complete {
            self.floor = answer.position;
            self.changed.clear();
        }
        self.position = answer.position;
        for change in &answer.changed {
            let last = self.changed.entry(change.account.clone()).or_default();
            *last = change.position.max(*last);
        }
        if self.changed.len() > NAMED {
            // The older half.
            let mut positions: Vec<Position> = self.changed.values().copied().collect();
            positions.sort_unstable();
            self.floor = positions.get(positions.len() / 2).copied().unwrap_or(answer.position).max(self.floor);
        }
        let floor = self.floor;
        self.changed.retain(|_, position| *position > floor);
        self.behind = answer.behind.iter().cloned().collect();
    }

    /// What concerns one account.
    #[must_use]
    pub fn of(&self, account: &Did) -> Freshness {
        Freshness {
            position: self.position,
            until: self.until,
            floor: self.floor,
            changed: self.changed.get(account).copied().unwrap_or_default(),
            behind: self.behind.contains(account),
            away: self.away,
        }
    }
}

/// What a read of one account brings along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// [`Region::position`].
    pub position: Position,
    /// [`Region::until`].
    pub until: u64,
    /// [`Region::floor`].
    pub floor: Position,
    /// The account's last change above the floor; zero if there is none.
    pub changed: Position,
    /// Whether the replica has not acknowledged something.
    pub behind: bool,
    /// [`Region::away`].
    pub away: bool,
}

/// Where a replica stands, as far as its freshness goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The last change that it has.
    pub position: Position,
    /// The region's position up to which it has made sure that it misses nothing.
    pub verified: Position,
    /// Whether it knows that it misses something.
    pub behind: bool,
    /// Until when its own last question lets it serve.
    pub until: u64,
    /// When it was last known to be fresh, in milliseconds.
    pub fresh_at: u64,
}

/// What a replica does with a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answers.
    Fresh,
    /// It pulls, and judges again.
    Pull,
    /// The origin is away: it answers, and says that this may be old.
    Stale,
    /// The same for too long: it does not answer.
    TooOld,
}

impl Freshness {
    /// What a replica that stands there does at `now`. `away`: it has just tried to pull, and the origin did not answer.
    #[must_use]
    pub fn judge(&self, standing: &Standing, now: u64, away: bool, max_stale: u64) -> Verdict {
        let mut needed = self.floor;
        if self.changed > standing.position {
            needed = needed.max(self.changed);
        }
        if self.behind {
            needed = needed.max(self.position);
        }
        let leased = now < self.until.max(standing.until);
        if leased && !standing.behind && needed <= standing.verified {
            return Verdict::Fresh;
        }
        if !away && !self.away {
            return Verdict::Pull;
        }
        if now.saturating_sub(standing.fresh_at) <= max_stale { Verdict::Stale } else { Verdict::TooOld }
    }
}

#[cfg(test)]
mod tests {
    use shared::link::{Changed, Lease};

    use super::*;

    fn did(number: u32) -> Did {
        Did::parse(&format!("did:web:account{number}.test")).unwrap()
    }

    fn answer(position: u64, complete: bool, changed: &[(u32, u64)], behind: &[u32]) -> RegionAnswer {
        let changed = changed.iter().map(|(account, at)| Changed { account: did(*account), position: Position(*at) });
        RegionAnswer {
            position: Position(position),
            lease: Lease { millis: 5000 },
            complete,
            changed: changed.collect(),
            behind: behind.iter().map(|account| did(*account)).collect(),
            handles: Vec::new(),
            server: 1,
        }
    }

    fn at(position: u64, verified: u64) -> Standing {
        let (position, verified) = (Position(position), Position(verified));
        Standing { position, verified, behind: false, until: 0, fresh_at: 0 }
    }

    #[test]
    fn nothing_is_served_before_the_first_answer_or_after_its_lease() {
        let mut region = Region::default();
        assert_eq!(region.of(&did(1)).judge(&at(5, 5), 10, false, 100), Verdict::Pull);
        region.take(&answer(5, true, &[], &[]), 10);
        let fresh = region.of(&did(1));
        assert_eq!(fresh.judge(&at(5, 5), 10, false, 100), Verdict::Fresh);
        assert_eq!(fresh.judge(&at(5, 5), 5009, false, 100), Verdict::Fresh);
        assert_eq!(fresh.judge(&at(5, 5), 5010, false, 100), Verdict::Pull);
        // Its own question reaches further.
        assert_eq!(fresh.judge(&Standing { until: 6000, ..at(5, 5) }, 5010, false, 100), Verdict::Fresh);
    }

    #[test]
    fn what_is_named_pulls_once() {
        let mut region = Region::default();
        region.take(&answer(10, true, &[], &[]), 0);
        region.take(&answer(20, true, &[(1, 15)], &[2]), 0);
        let judge = |account, standing: &Standing| region.of(&did(account)).judge(standing, 1, false, 100);
        assert_eq!(judge(1, &at(9, 10)), Verdict::Pull);
        assert_eq!(judge(1, &at(15, 10)), Verdict::Fresh);
        // It has pulled, and what changed was nothing that it needs.
        assert_eq!(judge(1, &at(9, 20)), Verdict::Fresh);
        assert_eq!(judge(2, &at(9, 10)), Verdict::Pull);
        assert_eq!(judge(2, &at(9, 20)), Verdict::Fresh);
        assert_eq!(judge(3, &at(9, 10)), Verdict::Fresh);
        assert_eq!(judge(3, &Standing { behind: true, ..at(9, 10) }), Verdict::Pull);
    }

    #[test]
    fn a_change_stays_named_after_later_answers() {
        let mut region = Region::default();
        region.take(&answer(10, true, &[], &[]), 0);
        region.take(&answer(20, true, &[(1, 15)], &[]), 0);
        region.take(&answer(30, true, &[], &[]), 0);
        assert_eq!(region.of(&did(1)).judge(&at(9, 10), 1, false, 100), Verdict::Pull);
    }

    #[test]
    fn what_is_not_known_by_name_counts_for_everybody() {
        let mut region = Region::default();
        region.take(&answer(20, false, &[], &[]), 0);
        assert_eq!(region.of(&did(1)).judge(&at(9, 10), 1, false, 100), Verdict::Pull);
        assert_eq!(region.of(&did(1)).judge(&at(9, 20), 1, false, 100), Verdict::Fresh);
        // More than are kept.
        let mut region = Region::default();
        let many: Vec<(u32, u64)> = (0..5000).map(|number| (number, 1000 + u64::from(number))).collect();
        region.take(&answer(9000, true, &many, &[]), 0);
        assert!(region.changed.len() <= NAMED && region.floor >= Position(1000), "{}", region.changed.len());
        let oldest = region.of(&did(0));
        assert_eq!(oldest.judge(&at(0, 900), 1, false, 100), Verdict::Pull);
        let newest = region.of(&did(4999));
        assert_eq!(newest.judge(&at(0, 5000), 1, false, 100), Verdict::Pull);
        assert_eq!(newest.judge(&at(5999, 5000), 1, false, 100), Verdict::Fresh);
    }

    #[test]
    fn without_the_origin_answers_are_marked_and_end() {
        let mut region = Region::default();
        region.take(&answer(20, true, &[], &[1]), 0);
        region.away = true;
        let fresh = region.of(&did(1));
        assert_eq!(fresh.judge(&at(9, 10), 100, false, 100), Verdict::Stale);
        assert_eq!(fresh.judge(&at(9, 10), 101, false, 100), Verdict::TooOld);
        // What the lease still covers is fresh.
        assert_eq!(region.of(&did(2)).judge(&at(9, 20), 101, false, 100), Verdict::Fresh);
        region.away = false;
        assert_eq!(region.of(&did(1)).judge(&at(9, 10), 50, true, 100), Verdict::Stale);
    }
}
