//! What goes into a commit and what came of it: writes and operations.

use super::Record;
use crate::cid::Cid;
use crate::syntax::Path;

/// What a write expects to find at its path.
///
/// An enum, because the three states (no expectation, nothing there, that record there) are one field in XRPC whose
/// absence and null mean different things.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Swap {
    /// Anything or nothing.
    #[default]
    Any,
    /// No record.
    Absent,
    /// The record with this CID.
    Is(Cid),
}

impl Swap {
    /// Whether what stands at a path is what this expects.
    #[must_use]
    pub fn holds(&self, current: Option<&Cid>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Is(cid) => current == Some(cid),
        }
    }
}

/// One write to one path, its record validated and encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A new record; refused where one stands.
    Create {
        /// Where.
        path: Path,
        /// What.
        record: Record,
    },
    /// A record in place of another; refused where none stands.
    Update {
        /// Where.
        path: Path,
        /// What.
        record: Record,
        /// What must stand there.
        swap: Swap,
    },
    /// A record, whether one stands there or not.
    Put {
        /// Where.
        path: Path,
        /// What.
        record: Record,
        /// What must stand there.
        swap: Swap,
    },
    /// No record any more; refused where none stands.
    Delete {
        /// Where.
        path: Path,
        /// What must stand there.
        swap: Swap,
    },
}

impl Write {
    /// Where it writes.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Create { path, .. }
            | Self::Update { path, .. }
            | Self::Put { path, .. }
            | Self::Delete { path, .. } => path,
        }
    }

    /// What it writes; `None` for a delete.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Create { record, .. } | Self::Update { record, .. } | Self::Put { record, .. } => Some(record),
            Self::Delete { .. } => None,
        }
    }
}

/// What a commit did to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// There was none at this path.
    Create,
    /// It replaced one.
    Update,
    /// It took one away.
    Delete,
}

impl Action {
    /// Its name in an event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a commit did at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoOp {
    /// What happened to the record.
    pub action: Action,
    /// Where it is.
    pub path: Path,
    /// The record after; `None` exactly if it was deleted.
    pub cid: Option<Cid>,
    /// The record before; `None` if it was created. In events of before 2025 also otherwise: those cannot be undone.
    pub prev: Option<Cid>,
}

impl RepoOp {
    /// A record written where there was none.
    #[must_use]
    pub fn create(path: Path, cid: Cid) -> Self {
        Self { action: Action::Create, path, cid: Some(cid), prev: None }
    }

    /// A record written over the record `prev`.
    #[must_use]
    pub fn update(path: Path, cid: Cid, prev: Cid) -> Self {
        Self { action: Action::Update, path, cid: Some(cid), prev: Some(prev) }
    }

    /// The record `prev` taken away.
    #[must_use]
    pub fn delete(path: Path, prev: Cid) -> Self {
        Self { action: Action::Delete, path, cid: None, prev: Some(prev) }
    }

    /// Whether it has what its action rules out, or lacks what even old events have.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.cid.is_some() == (self.action == Action::Delete) || (self.prev.is_some() && self.action == Action::Create)
    }
}
