//! A snapshot: an account as a stream, from one read transaction of the origin into a new replica.
//!
//! The stream is length-prefixed pieces, framed like the sections of a CAR file; the first byte of a piece is its kind.
//! A [`SnapshotHead`] comes first, an end with counts last, in between come blocks, records, blobs and references as they are read
//! from the store. Neither side ever holds more than a piece. A stream without its end is no snapshot, whatever the
//! connection says; pieces of a kind that is not known are passed over.
//!
//! The blocks are checked against their CIDs. That the records are what the tree says is the origin's word, as is
//! everything else that it alone can know: it answers under TLS and under the name that the edge asked.

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{LinkError, MAX_BODY_LEN, Position, PublicBlob, State, decode, encode};
use crate::cid::Cid;
use crate::repo::Block;
use crate::repo::car::pieces::{LengthError, Pieces, write_length};
use crate::repo::car::{CarError, MAX_BLOCK_LEN, open_section};
use crate::syntax::{Did, Tid};

const END: u8 = 0;
const HEAD: u8 = 1;
const BLOCK: u8 = 2;
const RECORDS: u8 = 3;
const BLOBS: u8 = 4;
const REFERENCES: u8 = 5;

/// What a snapshot begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHead {
    /// Whose data.
    pub account: Did,
    /// The position of the last change that is in it; later ones are pushed.
    pub position: Position,
    /// The state.
    pub state: State,
    /// Where the repository stands. `None` for an account that is not active, whose snapshot is its head alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

/// A revision of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The revision.
    pub rev: Tid,
    /// Its commit.
    pub commit: Cid,
}

/// A record of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The repository path.
    pub path: String,
    /// Its content.
    pub cid: Cid,
}

/// A record refers to a blob, which need not be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The repository path.
    pub path: String,
    /// The blob.
    pub blob: Cid,
}

/// What the stream is counted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    blocks: u64,
    records: u64,
    blobs: u64,
    references: u64,
}

/// One piece of a snapshot, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The head; always first.
    Head(Box<SnapshotHead>),
    /// A block, checked against its CID if that is not foreign. The same may come twice.
    Block(Block),
    /// Some of the records, each once, in no order.
    Records(Vec<Record>),
    /// Some of the public blobs, each once, in no order.
    Blobs(Vec<PublicBlob>),
    /// Some of the references, each once, in no order.
    References(Vec<Reference>),
    /// The end: everything has arrived.
    End,
}

/// Why a stream is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A length that is malformed, zero or above [`MAX_BODY_LEN`].
    #[error("snapshot holds a piece of an impossible length")]
    Length,
    /// A piece that is not the message it should be.
    #[error("snapshot holds a malformed piece")]
    Message(#[from] LinkError),
    /// A block that is malformed, too long, or not what its CID names.
    #[error("snapshot holds a bad block")]
    Block(#[from] CarError),
    /// Something before the head, a second head, or something after the end.
    #[error("snapshot is out of order")]
    Order,
    /// Other counts than the end says.
    #[error("snapshot lost pieces on its way")]
    Lost,
    /// No end.
    #[error("snapshot is cut short")]
    Truncated,
}

/// Writes a snapshot into the caller's buffer, which may be sent and emptied after every call.
#[derive(Debug)]
pub struct SnapshotWriter {
    counts: Counts,
}

impl SnapshotWriter {
    /// Begins a snapshot.
    ///
    /// # Errors
    /// [`LinkError::TooLong`] when the state is too large to be replicated.
    pub fn new(head: &SnapshotHead, out: &mut Vec<u8>) -> Result<Self, LinkError> {
        message(HEAD, head, out)?;
        Ok(Self { counts: Counts::default() })
    }

    /// Appends a block.
    pub fn block(&mut self, cid: &Cid, block: &[u8], out: &mut Vec<u8>) {
        let cid = cid.as_bytes();
        write_length(1 + cid.len() + block.len(), out);
        out.push(BLOCK);
        out.extend_from_slice(cid);
        out.extend_from_slice(block);
        self.counts.blocks += 1;
    }

    /// Appends some records; a thousand or so are a good piece.
    ///
    /// # Errors
    /// [`LinkError::TooLong`] when they do not fit one.
    pub fn records(&mut self, records: &[Record], out: &mut Vec<u8>) -> Result<(), LinkError> {
        self.counts.records += records.len() as u64;
        message(RECORDS, &records, out)
    }

    /// Appends some blobs; a thousand or so are a good piece.
    ///
    /// # Errors
    /// [`LinkError::TooLong`] when they do not fit one.
    pub fn blobs(&mut self, blobs: &[PublicBlob], out: &mut Vec<u8>) -> Result<(), LinkError> {
        self.counts.blobs += blobs.len() as u64;
        message(BLOBS, &blobs, out)
    }

    /// Appends some references; a thousand or so are a good piece.
    ///
    /// # Errors
    /// [`LinkError::TooLong`] when they do not fit one.
    pub fn references(&mut self, references: &[Reference], out: &mut Vec<u8>) -> Result<(), LinkError> {
        self.counts.references += references.len() as u64;
        message(REFERENCES, &references, out)
    }

    /// Appends the end.
    ///
    /// # Errors
    /// As the others; in practice none, since the end is small.
    pub fn end(self, out: &mut Vec<u8>) -> Result<(), LinkError> {
        message(END, &self.counts, out)
    }
}

fn message<T: Serialize>(kind: u8, content: &T, out: &mut Vec<u8>) -> Result<(), LinkError> {
    let body = encode(content)?;
    write_length(1 + body.len(), out);
    out.push(kind);
    out.extend_from_slice(&body);
    Ok(())
}

/// Takes a snapshot in chunks, gives its pieces.
///
/// [`SnapshotReader::push`] a chunk, call [`SnapshotReader::next_item`] until it gives `None`, and so on;
/// [`SnapshotReader::finish`] tells a whole snapshot from the beginning of one.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    pieces: Pieces,
    counts: Counts,
    begun: bool,
    ended: bool,
    failed: Option<SnapshotError>,
}

impl SnapshotReader {
    /// A reader at the start.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes; after an error they are dropped.
    pub fn push(&mut self, chunk: Bytes) {
        if self.failed.is_none() {
            self.pieces.push(chunk);
        }
    }

    /// The next piece, or `None` when it has not wholly arrived.
    ///
    /// # Errors
    /// The first thing wrong with the stream; the same again when called again.
    pub fn next_item(&mut self) -> Result<Option<Item>, SnapshotError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance().inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Says whether the snapshot is whole. To be called when [`Self::next_item`] has given `None` for the last chunk.
    ///
    /// # Errors
    /// [`SnapshotError::Truncated`] when it is not; the error of an earlier call when there was one.
    pub fn finish(self) -> Result<(), SnapshotError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.ended && self.pieces.is_between_pieces() => Ok(()),
            None => Err(SnapshotError::Truncated),
        }
    }

    fn advance(&mut self) -> Result<Option<Item>, SnapshotError> {
        const LIMIT: usize = MAX_BODY_LEN + 1;
        while let Some(mut piece) = self.pieces.next(LIMIT).map_err(|_: LengthError| SnapshotError::Length)? {
            // A piece has at least one byte.
            let kind = piece.get_u8();
            if self.ended || self.begun == (kind == HEAD) {
                return Err(SnapshotError::Order);
            }
            if let Some(item) = self.open(kind, piece)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn open(&mut self, kind: u8, content: Bytes) -> Result<Option<Item>, SnapshotError> {
        Ok(Some(match kind {
            HEAD => {
                self.begun = true;
                Item::Head(Box::new(decode(&content)?))
            }
            BLOCK => {
                self.counts.blocks += 1;
                Item::Block(open_section(content, MAX_BLOCK_LEN)?)
            }
            RECORDS => Item::Records(list(&content, &mut self.counts.records)?),
            BLOBS => Item::Blobs(list(&content, &mut self.counts.blobs)?),
            REFERENCES => Item::References(list(&content, &mut self.counts.references)?),
            END => {
                let said: Counts = decode(&content)?;
                if said != self.counts {
                    return Err(SnapshotError::Lost);
                }
                self.ended = true;
                Item::End
            }
            _ => return Ok(None),
        }))
    }
}

fn list<T: DeserializeOwned>(content: &[u8], count: &mut u64) -> Result<Vec<T>, LinkError> {
    let list: Vec<T> = decode(content)?;
    *count += list.len() as u64;
    Ok(list)
}
