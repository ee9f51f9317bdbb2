//! CAR files: blocks go out as they are read, some at a time.
//!
//! An export is at the commit that was the head when it began, whatever is changed while it is on its way: blocks that
//! leave the tree meanwhile are kept until the last export has ended.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use shared::cid::Cid;
use shared::repo::export::{Export as Walk, Repeats};
use shared::repo::{Blockstore, BlockstoreError, Head, car};

use super::{Replica, ReplicaError};
use crate::sql::{Columns, Sql};

/// About how many bytes of a CAR file go out at once.
const CHUNK: usize = 64 * 1024;

/// The blocks of a replica, to walk over.
#[derive(Debug)]
pub(super) struct Blocks<S>(pub(super) Rc<S>);

impl<S> Clone for Blocks<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: Sql> Blockstore for Blocks<S> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlockstoreError> {
        let rows = self.0.exec("SELECT bytes FROM block WHERE cid = ?", vec![cid.into()])?;
        Ok(rows.into_iter().next().map(|row| Columns::of(row).bytes()).transpose()?.map(Bytes::from))
    }
}

/// The body of a CAR file.
#[derive(Debug)]
pub enum CarBody<S> {
    /// All of it.
    Whole(Vec<u8>),
    /// All of it, sent as what has no length beforehand, as the origin sends it.
    Unsized(Vec<u8>),
    /// A repository on its way.
    Repo(Box<Export<S>>),
}

/// A repository on its way out.
#[derive(Debug)]
pub struct Export<S> {
    header: Option<Vec<u8>>,
    walk: Walk<Blocks<S>>,
    exports: Rc<Cell<usize>>,
}

impl<S> Drop for Export<S> {
    fn drop(&mut self) {
        self.exports.set(self.exports.get().saturating_sub(1));
    }
}

impl<S: Sql> Export<S> {
    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    /// A [`ReplicaError`]: the file is not whole, which its reader must notice.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, ReplicaError> {
        let mut out = self.header.take().unwrap_or_default();
        out.reserve(CHUNK);
        while out.len() < CHUNK {
            let Some(block) = self.walk.next() else { break };
            let block = block?;
            car::section(&block.cid, &block.bytes, &mut out);
        }
        Ok(Some(out).filter(|out| !out.is_empty()))
    }
}

impl<S: Sql> Replica<S> {
    /// The whole repository at `head`.
    pub(super) fn export(&self, head: &Head) -> Result<Export<S>, ReplicaError> {
        if self.exports.get() == 0 {
            self.sql.exec("DELETE FROM block WHERE retired = 1", Vec::new())?;
        }
        let statement = "SELECT cid FROM record GROUP BY cid HAVING count(*) > 1";
        let rows = self.sql.exec(statement, Vec::new())?;
        let repeats = rows.into_iter().map(|row| Columns::of(row).cid()).collect::<Result<Repeats, _>>()?;
        let blocks = Blocks(Rc::clone(&self.sql));
        self.exports.set(self.exports.get() + 1);
        Ok(Export {
            header: Some(car::header(std::slice::from_ref(&head.commit))),
            walk: Walk::new(blocks, head.commit.clone(), head.data.clone(), repeats),
            exports: Rc::clone(&self.exports),
        })
    }

    /// A block that is in the repository.
    pub(super) fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, ReplicaError> {
        let rows = self.sql.exec("SELECT bytes FROM block WHERE cid = ? AND retired = 0", vec![cid.into()])?;
        Ok(rows.into_iter().next().map(|row| Columns::of(row).bytes()).transpose()?)
    }
}
