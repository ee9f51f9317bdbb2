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

/// The kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A record where none was.
    Create,
    /// Another record in its place.
    Update,
    /// None any more.
    Delete,
}

impl Action {
    /// Its name in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// What a commit did at one path. At least one of `cid` and `prev` is there, and they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoOp {
    /// The repository path; of an event from elsewhere, any key that a tree may hold.
    pub path: Box<str>,
    /// The record after it; `None` for a delete.
    pub cid: Option<Cid>,
    /// The record before it; `None` for a create.
    pub prev: Option<Cid>,
}

impl RepoOp {
    /// What kind it is.
    #[must_use]
    pub fn action(&self) -> Action {
        match (&self.cid, &self.prev) {
            (None, _) => Action::Delete,
            (Some(_), None) => Action::Create,
            (Some(_), Some(_)) => Action::Update,
        }
    }
}
