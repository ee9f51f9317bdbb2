//! Reading CAR files in chunks.

use bytes::{Buf, Bytes};

use super::pieces::{LengthError, Pieces};
use super::{CarError, MAX_HEADER_LEN};
use crate::cbor::{CborErrorKind, Reader};
use crate::cid::{self, Cid};
use crate::repo::Block;

/// Takes a CAR file in chunks, gives its blocks.
///
/// [`CarReader::push`] a chunk, call [`CarReader::next_block`] until it gives `None`, and so on; [`CarReader::finish`]
/// tells a whole file from the beginning of one.
#[derive(Debug)]
pub struct CarReader {
    pieces: Pieces,
    max_block: usize,
    roots: Option<Vec<Cid>>,
    failed: Option<CarError>,
}

impl CarReader {
    /// A reader that refuses blocks of more than `max_block` bytes; [`super::MAX_BLOCK_LEN`] suits repositories.
    #[must_use]
    pub fn new(max_block: usize) -> Self {
        Self { pieces: Pieces::default(), max_block, roots: None, failed: None }
    }

    /// Takes the next bytes of the file. Chunks pushed before the blocks of earlier ones were taken wait; after an error
    /// they are dropped.
    pub fn push(&mut self, chunk: Bytes) {
        if self.failed.is_none() {
            self.pieces.push(chunk);
        }
    }

    /// The next block, or `None` when it has not wholly arrived.
    ///
    /// The block's bytes are those of its CID, unless that is foreign: then nobody looked. They are a slice of the
    /// chunk that brought them where one did, and keep that whole chunk in memory: copy what is to stay for long.
    ///
    /// # Errors
    /// The first thing wrong with the file; the same again when called again.
    pub fn next_block(&mut self) -> Result<Option<Block>, CarError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance().inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// The roots, once the header was read, which the first [`Self::next_block`] after its arrival does.
    #[must_use]
    pub fn roots(&self) -> Option<&[Cid]> {
        self.roots.as_deref()
    }

    /// The root of a repository: the only one. `None` while the header was not read.
    ///
    /// # Errors
    /// [`CarError::Roots`] when there is none or more than one.
    pub fn single_root(&self) -> Result<Option<&Cid>, CarError> {
        self.roots().map(single).transpose()
    }

    /// Says whether the file is whole. To be called when [`Self::next_block`] has given `None` for the last chunk.
    ///
    /// # Errors
    /// [`CarError::Truncated`] when it is not; the error of an earlier call when there was one.
    pub fn finish(self) -> Result<(), CarError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.roots.is_some() && self.pieces.is_between_pieces() => Ok(()),
            None => Err(CarError::Truncated),
        }
    }

    fn advance(&mut self) -> Result<Option<Block>, CarError> {
        if self.roots.is_none() {
            let header = self.pieces.next(MAX_HEADER_LEN).map_err(|error| match error {
                LengthError::TooLong(len) => CarError::HeaderTooLong { len },
                other => self.length_error(other),
            })?;
            match header {
                Some(header) => self.roots = Some(decode_header(&header)?),
                None => return Ok(None),
            }
        }
        let limit = self.max_block.saturating_add(cid::MAX_LEN);
        let section = self.pieces.next(limit).map_err(|error| self.length_error(error))?;
        section.map(|section| open_section(section, self.max_block)).transpose()
    }

    fn length_error(&self, error: LengthError) -> CarError {
        match error {
            LengthError::Varint => CarError::Varint,
            LengthError::Empty => CarError::EmptySection,
            LengthError::TooLong(len) => CarError::BlockTooLong { len, limit: self.max_block },
        }
    }
}

/// The block of a section: a CID and what it names.
pub(crate) fn open_section(mut section: Bytes, max_block: usize) -> Result<Block, CarError> {
    let (cid, cid_len) = Cid::read_prefix(&section)?;
    section.advance(cid_len);
    if section.len() > max_block {
        return Err(CarError::BlockTooLong { len: section.len() as u64, limit: max_block });
    }
    if cid.matches(&section) == Some(false) {
        return Err(CarError::Mismatch(cid));
    }
    Ok(Block { cid, bytes: section })
}

fn single(roots: &[Cid]) -> Result<&Cid, CarError> {
    match roots {
        [root] => Ok(root),
        _ => Err(CarError::Roots(roots.len())),
    }
}

fn decode_header(bytes: &[u8]) -> Result<Vec<Cid>, CarError> {
    let (mut roots, mut version) = (None, None);
    let mut reader = Reader::new(bytes);
    reader.map(|key, reader| {
        match key {
            "roots" => {
                let mut links = Vec::new();
                for _ in 0..reader.array()? {
                    links.push(reader.link()?);
                }
                roots = Some(links);
            }
            "version" => version = Some(reader.int()?),
            _ => return Err(reader.error(CborErrorKind::UnknownField)),
        }
        Ok(())
    })?;
    let missing = |field| reader.error(CborErrorKind::MissingField(field));
    // The version comes first: version 2 starts with a header of nothing else.
    match version.ok_or_else(|| missing("version"))? {
        1 => {}
        other => return Err(CarError::Version(other)),
    }
    let roots = roots.ok_or_else(|| missing("roots"))?;
    reader.finish()?;
    Ok(roots)
}

/// A whole CAR file in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Car {
    /// The roots that its header names.
    pub roots: Vec<Cid>,
    /// Its blocks in the order of the file, checked like those of a [`CarReader`].
    pub blocks: Vec<Block>,
}

impl Car {
    /// The root of a repository: the only one.
    ///
    /// # Errors
    /// [`CarError::Roots`] when there is none or more than one.
    pub fn single_root(&self) -> Result<&Cid, CarError> {
        single(&self.roots)
    }
}

/// Reads a file that is in memory anyhow, such as the `blocks` of a firehose event, whose blocks become slices of it.
///
/// # Errors
/// As [`CarReader::next_block`] and [`CarReader::finish`].
pub fn read(file: Bytes, max_block: usize) -> Result<Car, CarError> {
    let mut reader = CarReader::new(max_block);
    reader.push(file);
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block()? {
        blocks.push(block);
    }
    let roots = reader.roots().unwrap_or_default().to_vec();
    reader.finish()?;
    Ok(Car { roots, blocks })
}
