//! What the writers were told, and what they could not know.

use std::collections::BTreeMap;

use shared::cid::Cid;

/// Paths, each with what is there since.
pub(super) type Changes = Vec<(String, Option<Cid>)>;

/// A commit that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Acknowledged {
    pub(super) did: String,
    pub(super) rev: String,
    pub(super) commit: String,
    /// What it changed.
    pub(super) changes: Changes,
}

/// An answer is missing that would tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubtful;

/// Everything that was asked of one server, life after life.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What may stand at a path (of an account): one possibility, or more while an answer is missing.
    possible: BTreeMap<(String, String), Vec<Option<Cid>>>,
    /// What was acknowledged and not looked for yet.
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Sign-ups whose answer is missing: handle names.
    pub(super) doubtful_names: Vec<String>,
    /// Sign-ups that were acknowledged and not looked for yet: name and DID.
    pub(super) named: Vec<(String, String)>,
    /// How many writes were under way when the server died.
    pub(super) doubts: u64,
    /// What ought not to happen.
    pub(super) faults: Vec<String>,
    /// How much was acknowledged, all in all.
    pub(super) count: u64,
}

impl Ledger {
    /// What stands at a path.
    ///
    /// # Errors
    /// When that is not known for sure.
    pub(super) fn certain(&self, did: &str, path: &str) -> Result<Option<Cid>, Doubtful> {
        match self.possible.get(&(did.to_owned(), path.to_owned())).map(Vec::as_slice) {
            None => Ok(None),
            Some([only]) => Ok(only.clone()),
            Some(_) => Err(Doubtful),
        }
    }

    /// Notes that a write is sent. From now on both may stand there.
    pub(super) fn begin(&mut self, did: &str, changes: &[(String, Option<Cid>)]) {
        for (path, after) in changes {
            let possible = self.possible.entry((did.to_owned(), path.clone())).or_insert_with(|| vec![None]);
            possible.push(after.clone());
        }
    }

    /// Notes that it was acknowledged.
    pub(super) fn acknowledge(&mut self, acknowledged: Acknowledged) {
        for (path, after) in &acknowledged.changes {
            self.possible.insert((acknowledged.did.clone(), path.clone()), vec![after.clone()]);
        }
        self.count += 1;
        self.acknowledged.push(acknowledged);
    }

    /// Holds what an account's repository has against what it may have, and settles what was doubtful.
    ///
    /// # Panics
    ///
    /// When something is there that was never sent, was refused, or is not there and was acknowledged.
    pub(super) fn settle(&mut self, did: &str, records: &BTreeMap<String, Cid>) {
        for ((of, path), possible) in &mut self.possible {
            if of == did {
                let found = records.get(path).cloned();
                assert!(possible.contains(&found), "{did}/{path} is {found:?}, and can only be one of {possible:?}");
                *possible = vec![found];
            }
        }
        for path in records.keys() {
            assert!(
                self.possible.contains_key(&(did.to_owned(), path.clone())),
                "{did}/{path} is there and nobody wrote it"
            );
        }
    }
}
