//! Writing CAR files: appending to the caller's buffer, which may be sent and emptied after each section.

use super::pieces::{length_len, write_length};
use crate::cbor::Writer;
use crate::cid::Cid;
use crate::repo::Block;

/// The beginning of a file with these roots; a repository has one, its commit.
#[must_use]
pub fn header(roots: &[Cid]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.map(2).text("roots").array(roots.len());
    for root in roots {
        writer.link(root);
    }
    writer.text("version").int(1);
    let cbor = writer.into_bytes();
    let mut out = Vec::with_capacity(length_len(cbor.len()) + cbor.len());
    write_length(cbor.len(), &mut out);
    out.extend_from_slice(&cbor);
    out
}

/// How many bytes the section of a block of `block_len` bytes takes.
#[must_use]
pub fn section_len(cid: &Cid, block_len: usize) -> usize {
    let len = cid.as_bytes().len() + block_len;
    length_len(len) + len
}

/// Appends the beginning of a section; the `block_len` bytes of the block must follow. For blocks that are to be sent
/// from where they are instead of being copied.
pub fn section_head(cid: &Cid, block_len: usize, out: &mut Vec<u8>) {
    write_length(cid.as_bytes().len() + block_len, out);
    out.extend_from_slice(cid.as_bytes());
}

/// Appends a block. That the bytes are what the CID names is the caller's word.
pub fn section(cid: &Cid, block: &[u8], out: &mut Vec<u8>) {
    out.reserve(section_len(cid, block.len()));
    section_head(cid, block.len(), out);
    out.extend_from_slice(block);
}

/// A whole small file, such as the `blocks` of a firehose event: the root, then these blocks in their order.
#[must_use]
pub fn to_vec<'a>(root: &Cid, blocks: impl IntoIterator<Item = &'a Block>) -> Vec<u8> {
    let mut out = header(std::slice::from_ref(root));
    for block in blocks {
        section(&block.cid, &block.bytes, &mut out);
    }
    out
}
