//! Inputs that wrong implementations accept, each set into something that is valid but for it.
//!
//! A case passes when the decoder that would meet the input in an import, a write or an event refuses it with the error
//! that names what is wrong; where the right answer is to accept, with the right value. The tables are the argument:
//! one line each.

mod car;
mod cbor;
mod json;
mod link;
mod tree;
mod write;

use bytes::Bytes;
use shared::cbor::Writer;
use shared::cid::Cid;
use shared::repo::mst::{MstError, Walk};
use shared::repo::{Block, BlockMap};

use crate::report::Group;

pub(crate) fn groups() -> Vec<Group> {
    let mut groups = Vec::new();
    groups.extend(cbor::groups());
    groups.extend(link::groups());
    groups.extend(json::groups());
    groups.extend(tree::groups());
    groups.push(write::group());
    groups.push(car::group());
    groups
}

/// DAG-CBOR that a writer makes.
fn item(write: impl FnOnce(&mut Writer) -> &mut Writer) -> Vec<u8> {
    let mut writer = Writer::new();
    write(&mut writer);
    writer.into_bytes()
}

/// Tag 42 on these bytes, which need not be a CID.
fn link(cid: &[u8]) -> Vec<u8> {
    [&[0xd8, 0x2a], item(|writer| writer.bytes(&[&[0], cid].concat())).as_slice()].concat()
}

const NULL: &[u8] = b"\xf6";

/// A map of these fields in this order, their values encoded already.
fn map(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut map = item(|writer| writer.map(fields.len()));
    for (name, value) in fields {
        map.extend(item(|writer| writer.text(name)));
        map.extend(*value);
    }
    map
}

/// A list of these items.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [item(|writer| writer.array(items.len())), items.concat()].concat()
}

/// A tree node.
fn node(entries: &[Vec<u8>], left: &[u8]) -> Vec<u8> {
    map(&[("e", &list(entries)), ("l", left)])
}

/// An entry of a node: a leaf, and the subtree to its right.
fn entry(prefix: i64, suffix: &[u8], right: &[u8], value: &[u8]) -> Vec<u8> {
    let suffix = item(|writer| writer.bytes(suffix));
    let prefix = item(|writer| writer.int(prefix));
    map(&[("k", &suffix), ("p", &prefix), ("t", right), ("v", value)])
}

/// A commit whose fields `change` has had its way with; as it stands it is well-formed, with a signature by nobody.
fn commit(change: impl FnOnce(&mut Vec<(&'static str, Vec<u8>)>)) -> Vec<u8> {
    let mut fields = vec![
        ("did", item(|writer| writer.text("did:web:example.com"))),
        ("rev", item(|writer| writer.text("3jqfcqzm3fo2j"))),
        ("sig", item(|writer| writer.bytes(&[1; 64]))),
        ("data", link(Cid::of_cbor(b"tree").as_bytes())),
        ("prev", NULL.to_vec()),
        ("version", item(|writer| writer.int(3))),
    ];
    change(&mut fields);
    map(&fields.iter().map(|(name, value)| (*name, value.as_slice())).collect::<Vec<_>>())
}

fn block(bytes: impl Into<Bytes>) -> Block {
    let bytes = bytes.into();
    Block { cid: Cid::of_cbor(&bytes), bytes }
}

/// What a checked walk over the tree says whose root is the first block.
fn walk(blocks: &[Block]) -> Result<usize, MstError> {
    let store: BlockMap = blocks.iter().cloned().collect();
    let Some(root) = blocks.first() else { return Ok(0) };
    Walk::new(&store, root.cid.clone()).try_fold(0, |steps, step| step.map(|_| steps + 1))
}

/// The bytes that these hexadecimal digits spell.
fn unhex(digits: &str) -> Result<Vec<u8>, String> {
    data_encoding::HEXLOWER.decode(digits.as_bytes()).map_err(|error| error.to_string())
}
