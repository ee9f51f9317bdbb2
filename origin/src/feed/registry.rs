//! Whom the edge has registered, how far each has acknowledged, and who waits for that. In memory; what must outlive the
//! process is in [`crate::sequencer::feed`].
//!
//! A *follower* is a replica, or the host object of a region. It is *behind* while it has not acknowledged the last row
//! that concerns it. One that writers waited for in vain is *struck off*: nobody waits for it again until it has caught
//! up; its region is told that it is behind for as long as that is so.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shared::link::{Position, Region, Replica};
use shared::syntax::Did;
use tokio::sync::Notify;

use crate::sequencer::feed::{Fed, Registered};

/// Somebody at the edge who is told of changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// Whose replica; `None` is the region's host object.
    pub(crate) account: Option<Did>,
    /// Where.
    pub(crate) region: Region,
}

impl Follower {
    pub(super) fn replica(&self) -> Option<Replica> {
        Some(Replica { account: self.account.clone()?, region: self.region.clone() })
    }
}

impl From<Replica> for Follower {
    fn from(Replica { account, region }: Replica) -> Self {
        Self { account: Some(account), region }
    }
}

/// What there is to tell a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// What comes after this position.
    After(Position),
    /// Nothing: whoever tells it stops.
    Nothing,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    all: Mutex<HashMap<Option<Did>, Group>>,
}

/// The followers of one account, or the host objects.
#[derive(Debug, Default)]
struct Group {
    by_region: HashMap<Region, Standing>,
    moved: Arc<Notify>,
}

#[derive(Debug)]
struct Standing {
    acknowledged: Position,
    last: Position,
    /// When it was struck off, if it is.
    missed: Option<Instant>,
    /// Whether somebody is telling it.
    told: bool,
    /// Whether `acknowledged` is not on the disk yet.
    unsaved: bool,
}

impl Standing {
    fn at(acknowledged: Position, last: Position) -> Self {
        Self { acknowledged, last, missed: None, told: false, unsaved: false }
    }

    fn is_behind(&self) -> bool {
        self.acknowledged < self.last
    }
}

impl Registry {
    fn all(&self) -> MutexGuard<'_, HashMap<Option<Did>, Group>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what an earlier process left; returns those who must be told something. Host objects are told what comes
    /// after `position`: what they missed before they ask for.
    pub(super) fn load(&self, registered: Vec<Registered>, position: Position) -> Vec<Follower> {
        let mut behind = Vec::new();
        for Registered { replica, acknowledged, last } in registered {
            self.add_host(&replica.region, position);
            let mut all = self.all();
            let follower = Follower::from(replica);
            let mut standing = Standing::at(acknowledged, last);
            if standing.is_behind() {
                standing.told = true;
                behind.push(follower.clone());
            }
            all.entry(follower.account).or_default().by_region.insert(follower.region, standing);
        }
        behind
    }

    /// Adds a follower that has to be told what comes after `position`. One that is known is waited for again; what it has
    /// not acknowledged it still has to. Returns whether somebody has to tell it.
    pub(super) fn add(&self, follower: Follower, position: Position) -> bool {
        let mut all = self.all();
        let group = all.entry(follower.account).or_default();
        let last = group.by_region.values().map(|standing| standing.last).fold(position, Position::max);
        let standing = group.by_region.entry(follower.region).or_insert_with(|| Standing::at(position, position));
        standing.last = last;
        standing.missed = None;
        standing.is_behind() && !std::mem::replace(&mut standing.told, true)
    }

    /// Adds a region's host object if it is not known.
    pub(super) fn add_host(&self, region: &Region, position: Position) {
        let mut all = self.all();
        let hosts = all.entry(None).or_default();
        hosts.by_region.entry(region.clone()).or_insert_with(|| Standing::at(position, position));
    }

    pub(super) fn remove(&self, follower: &Follower) {
        let mut all = self.all();
        if let Some(group) = all.get_mut(&follower.account) {
            group.by_region.remove(&follower.region);
            group.moved.notify_waiters();
            if group.by_region.is_empty() {
                all.remove(&follower.account);
            }
        }
    }

    /// The first `limit` accounts with replicas after `after`, in order.
    pub(super) fn accounts_after(&self, after: Option<&Did>, limit: usize) -> Vec<Did> {
        let mut next = BTreeSet::new();
        for did in self.all().keys().flatten().filter(|did| after.is_none_or(|after| *did > after)) {
            next.insert(did.clone());
            if next.len() > limit {
                next.pop_last();
            }
        }
        next.into_iter().collect()
    }

    pub(super) fn has_replicas(&self, account: &Did) -> bool {
        self.all().contains_key(&Some(account.clone()))
    }

    pub(super) fn has(&self, follower: &Follower) -> bool {
        self.all().get(&follower.account).is_some_and(|group| group.by_region.contains_key(&follower.region))
    }

    /// There are new rows. Returns those whom nobody is telling.
    pub(super) fn fed(&self, rows: &[Fed]) -> Vec<Follower> {
        let mut all = self.all();
        let mut untold = Vec::new();
        for row in rows {
            for account in [Some(Some(&row.did)), row.handles.then_some(None)].into_iter().flatten() {
                let account = account.cloned();
                let Some(group) = all.get_mut(&account) else { continue };
                for (region, standing) in &mut group.by_region {
                    standing.last = standing.last.max(row.position);
                    if standing.is_behind() && !std::mem::replace(&mut standing.told, true) {
                        untold.push(Follower { account: account.clone(), region: region.clone() });
                    }
                }
            }
        }
        untold
    }

    /// What there is to tell next. After [`Next::Nothing`] it counts as not being told.
    pub(super) fn next(&self, follower: &Follower) -> Next {
        let mut all = self.all();
        let standing = all.get_mut(&follower.account).and_then(|group| group.by_region.get_mut(&follower.region));
        match standing {
            Some(standing) if standing.is_behind() => Next::After(standing.acknowledged),
            Some(standing) => {
                standing.told = false;
                Next::Nothing
            }
            None => Next::Nothing,
        }
    }

    /// It has acknowledged everything up to `position`.
    pub(super) fn acknowledged(&self, follower: &Follower, position: Position) {
        self.change(follower, |standing| {
            let position = position.min(standing.last);
            standing.unsaved |= position > standing.acknowledged;
            standing.acknowledged = standing.acknowledged.max(position);
        });
    }

    /// It says itself that it stands at `position`, and will have what follows. Returns whether somebody has to tell it.
    pub(super) fn pulled(&self, follower: &Follower, position: Position) -> bool {
        let mut untold = false;
        self.change(follower, |standing| {
            standing.acknowledged = position.min(standing.last);
            standing.unsaved = true;
            standing.missed = None;
            untold = standing.is_behind() && !std::mem::replace(&mut standing.told, true);
        });
        untold
    }

    fn change(&self, follower: &Follower, change: impl FnOnce(&mut Standing)) {
        let mut all = self.all();
        let Some(group) = all.get_mut(&follower.account) else { return };
        let Some(standing) = group.by_region.get_mut(&follower.region) else { return };
        change(standing);
        if !standing.is_behind() {
            standing.missed = None;
        }
        group.moved.notify_waiters();
    }

    /// Waits until everybody concerned has acknowledged what there is now, for `limit` at most. Then those who have not
    /// are struck off, and returned. Who is struck off already is not waited for, unless it was within the last `lease`.
    pub(super) async fn wait(&self, account: Option<&Did>, limit: Duration, lease: Duration) -> Vec<Region> {
        let account = account.cloned();
        let Some((moved, until)) = self.to_wait_for(&account, lease) else { return Vec::new() };
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let mut next = std::pin::pin!(moved.notified());
            next.as_mut().enable();
            let open = self.open(&account, until, lease);
            if open.is_empty() || tokio::time::timeout_at(deadline, next).await.is_err() {
                self.strike_off(&account, &open);
                return open;
            }
        }
    }

    fn to_wait_for(&self, account: &Option<Did>, lease: Duration) -> Option<(Arc<Notify>, Position)> {
        let all = self.all();
        let group = all.get(account)?;
        let waited = group.by_region.values().filter(|standing| standing.is_behind() && is_waited_for(standing, lease));
        let until = waited.map(|standing| standing.last).max()?;
        Some((Arc::clone(&group.moved), until))
    }

    fn open(&self, account: &Option<Did>, until: Position, lease: Duration) -> Vec<Region> {
        let all = self.all();
        let Some(group) = all.get(account) else { return Vec::new() };
        let open = group
            .by_region
            .iter()
            .filter(|(_, standing)| standing.acknowledged < until.min(standing.last) && is_waited_for(standing, lease));
        open.map(|(region, _)| region.clone()).collect()
    }

    fn strike_off(&self, account: &Option<Did>, regions: &[Region]) {
        let mut all = self.all();
        let Some(group) = all.get_mut(account) else { return };
        for region in regions {
            if let Some(standing) = group.by_region.get_mut(region) {
                standing.missed.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Where the account's replicas have not acknowledged its last change.
    pub(super) fn behind_of(&self, account: &Did) -> Vec<Region> {
        let all = self.all();
        let Some(group) = all.get(&Some(account.clone())) else { return Vec::new() };
        let behind = group.by_region.iter().filter(|(_, standing)| standing.is_behind());
        behind.map(|(region, _)| region.clone()).collect()
    }

    /// The accounts whose replica in a region has not acknowledged its last change.
    pub(super) fn behind_in(&self, region: &Region) -> Vec<Did> {
        let all = self.all();
        let behind = all.iter().filter(|(_, group)| group.by_region.get(region).is_some_and(Standing::is_behind));
        behind.filter_map(|(account, _)| account.clone()).collect()
    }

    /// Of each region, how many replicas there are and how many of them are behind.
    pub(super) fn counts(&self) -> Vec<(Region, u64, u64)> {
        let mut counts: HashMap<Region, (u64, u64)> = HashMap::new();
        for (account, group) in self.all().iter() {
            for (region, standing) in &group.by_region {
                let count = counts.entry(region.clone()).or_default();
                if account.is_some() {
                    count.0 += 1;
                    count.1 += u64::from(standing.is_behind());
                }
            }
        }
        let mut counts: Vec<_> = counts.into_iter().map(|(region, (all, behind))| (region, all, behind)).collect();
        counts.sort();
        counts
    }

    /// What replicas have acknowledged since this was asked last.
    pub(super) fn unsaved(&self) -> Vec<(Replica, Position)> {
        let mut unsaved = Vec::new();
        for (account, group) in self.all().iter_mut() {
            let Some(account) = account else { continue };
            for (region, standing) in &mut group.by_region {
                if std::mem::take(&mut standing.unsaved) {
                    let replica = Replica { account: account.clone(), region: region.clone() };
                    unsaved.push((replica, standing.acknowledged));
                }
            }
        }
        unsaved
    }
}

fn is_waited_for(standing: &Standing, lease: Duration) -> bool {
    standing.missed.is_none_or(|missed| missed.elapsed() < lease)
}
