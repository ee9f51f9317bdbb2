//! Length-prefixed pieces out of a stream of chunks: the framing of CAR files, and of what else is framed like them.
//!
//! A piece is an unsigned LEB128 of its length, at least 1, and so many bytes. One that lies within a chunk is a slice
//! of it; one that lies across chunks is copied together as its bytes arrive, so that what is held never exceeds twice
//! what was received, whatever the length says.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

/// Cuts chunks into pieces.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// The rest of the chunk being read.
    chunk: Bytes,
    /// Chunks pushed before the one being read was used up.
    waiting: VecDeque<Bytes>,
    /// The beginning of a piece that lies across chunks.
    partial: Vec<u8>,
    expect: Expect,
}

#[derive(Debug, Clone, Copy)]
enum Expect {
    /// The length, of which `shift / 7` bytes are read.
    Length { value: u64, shift: u32 },
    /// A piece of this length.
    Piece(usize),
}

impl Default for Expect {
    fn default() -> Self {
        Self::Length { value: 0, shift: 0 }
    }
}

/// Why a length was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LengthError {
    /// Not a LEB128 in its shortest form that fits 64 bits.
    Varint,
    /// Zero.
    Empty,
    /// Above the limit.
    TooLong(u64),
}

impl Pieces {
    /// Takes the next chunk of input.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() && self.waiting.is_empty() {
            self.chunk = chunk;
        } else if !chunk.is_empty() {
            self.waiting.push_back(chunk);
        }
    }

    /// The next piece, which may have at most `limit` bytes; `None` when it has not wholly arrived. A length above the
    /// limit is refused as soon as it is read. After an error the stream is out of step.
    pub(crate) fn next(&mut self, limit: usize) -> Result<Option<Bytes>, LengthError> {
        while self.refill() {
            match self.expect {
                Expect::Length { value, shift } => self.read_length(value, shift, limit)?,
                Expect::Piece(len) => {
                    if let Some(piece) = self.take(len) {
                        self.expect = Expect::default();
                        return Ok(Some(piece));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether everything that was pushed came out in whole pieces.
    pub(crate) fn is_between_pieces(&self) -> bool {
        self.chunk.is_empty() && self.waiting.is_empty() && matches!(self.expect, Expect::Length { shift: 0, .. })
    }

    /// Makes sure that there are unread bytes, if any were pushed.
    fn refill(&mut self) -> bool {
        while self.chunk.is_empty() {
            match self.waiting.pop_front() {
                Some(chunk) => self.chunk = chunk,
                None => return false,
            }
        }
        true
    }

    /// Reads as much of a length as the chunk holds, from where `value` and `shift` say an earlier chunk left it.
    fn read_length(&mut self, mut value: u64, mut shift: u32, limit: usize) -> Result<(), LengthError> {
        let mut used = 0;
        for byte in &self.chunk {
            used += 1;
            let low = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit; an eleventh has none.
            if shift > 63 || (low << shift) >> shift != low {
                return Err(LengthError::Varint);
            }
            value |= low << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                if *byte == 0 && shift > 7 {
                    return Err(LengthError::Varint);
                }
                if value == 0 {
                    return Err(LengthError::Empty);
                }
                let len = usize::try_from(value).ok().filter(|len| *len <= limit);
                self.expect = Expect::Piece(len.ok_or(LengthError::TooLong(value))?);
                self.chunk.advance(used);
                return Ok(());
            }
        }
        self.chunk = Bytes::new();
        self.expect = Expect::Length { value, shift };
        Ok(())
    }

    /// `len` bytes, if the chunk completes them; otherwise puts the chunk aside.
    fn take(&mut self, len: usize) -> Option<Bytes> {
        if self.partial.is_empty() && self.chunk.len() >= len {
            return Some(self.chunk.split_to(len));
        }
        let missing = len.saturating_sub(self.partial.len()).min(self.chunk.len());
        self.partial.extend_from_slice(&self.chunk.split_to(missing));
        (self.partial.len() == len).then(|| std::mem::take(&mut self.partial).into())
    }
}

/// Appends a length in the form that is read here.
pub(crate) fn write_length(len: usize, out: &mut Vec<u8>) {
    let mut rest = len;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes [`write_length`] appends.
pub(crate) fn length_len(len: usize) -> usize {
    let bits = usize::BITS - len.leading_zeros();
    bits.div_ceil(7).max(1) as usize
}
