//! CIDs that may not link a tree node or a commit's tree, as bytes and as strings.
//!
//! A leaf may hold any well-formed CIDv1, since what an imported repository links is kept as it is.

use shared::cbor::CborErrorKind;
use shared::cid::{Cid, CidError};
use shared::data::json::{self, JsonErrorKind};
use shared::repo::BlockMap;
use shared::repo::commit::{Commit, CommitError};
use shared::repo::mst::{MstError, NodeError, Step, Walk};
use shared::syntax::is_cid_string;

use super::{NULL, block, commit, entry, link, node, walk};
use crate::report::{Group, Verdict, same};

/// A CID's head and how long a digest follows it, and what is wrong if it is no CID at all.
const CIDS: [(&str, &[u8], usize, Option<CidError>); 10] = [
    ("version 0", &[0x12, 0x20], 32, Some(CidError::Version(0x12))),
    ("version 2", &[2, 0x71, 0x12, 0x20], 32, Some(CidError::Version(2))),
    ("a byte after the digest", &[1, 0x71, 0x12, 0x20], 33, Some(CidError::TrailingBytes { count: 1 })),
    ("half a digest", &[1, 0x71, 0x12, 0x20], 16, Some(CidError::DigestLength { announced: 32, found: 16 })),
    ("101 bytes", &[1, 0x71, 0x12, 97], 97, Some(CidError::TooLong { len: 101 })),
    ("dag-pb", &[1, 0x70, 0x12, 0x20], 32, None),
    ("raw", &[1, 0x55, 0x12, 0x20], 32, None),
    ("sha2-512", &[1, 0x71, 0x13, 0x40], 64, None),
    ("identity", &[1, 0x71, 0x00, 0x04], 4, None),
    ("sha2-256 of 20 bytes", &[1, 0x71, 0x12, 0x14], 20, None),
];

/// Strings that are CIDs in another base or dress: no link, though some have the string format `cid`.
const STRINGS: [(&str, bool); 7] = [
    ("BAFYREIE5737GDXLW5I64VZICHCALBA3Z2V5N6ICIFVX5XYTVSKE7MR3HPM", true),
    ("zdpuAyvkgEDQm9TenwGkd5eNaosSxjgEYd8QatfPetgB1CdEZ", true),
    ("f01711220964fbe5d8cb7a9ee3de7b21f3a12a0b4c5ad9dbd9bc7a2b69fb59bdcb5c4b0ef", true),
    ("QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR", false),
    ("bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm======", false),
    ("bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpn", false),
    (" bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm", false),
];

pub(super) fn groups() -> Vec<Group> {
    let mut links = Group::new("malformed links: cids that link no node", 4 * CIDS.len());
    for (name, head, digest, error) in CIDS {
        let cid = [head, &vec![7; digest]].concat();
        let error = error.as_ref();
        links.case((name, "left of a node"), in_node(node(&[], &link(&cid)), &cid, error));
        links.case((name, "right of a leaf"), in_node(one_leaf(&link(&cid), &record()), &cid, error));
        links.case((name, "as a commit's tree"), in_commit(&cid, error));
        links.case((name, "as a record"), as_record(&cid, error));
    }
    let mut strings = Group::new("malformed links: strings that are no $link", STRINGS.len());
    for (text, formatted) in STRINGS {
        let found = json::parse(format!("{{\"$link\":{text:?}}}").as_bytes()).map_err(|error| error.kind);
        let verdict = same(&found, &Err(JsonErrorKind::Link));
        strings.case(text, verdict.and_then(|()| same(&is_cid_string(text), &formatted)));
    }
    vec![links, strings]
}

fn record() -> Vec<u8> {
    link(Cid::of_cbor(b"record").as_bytes())
}

fn one_leaf(right: &[u8], value: &[u8]) -> Vec<u8> {
    node(&[entry(0, b"com.example.record/3jqfcqzm3fo2j", right, value)], NULL)
}

/// What a link that holds no CID is, to who reads it.
fn no_cid(error: &CidError) -> CborErrorKind {
    CborErrorKind::Cid(error.clone())
}

fn in_node(node: Vec<u8>, cid: &[u8], expected: Option<&CidError>) -> Verdict {
    match (walk(&[block(node)]), expected) {
        (Err(MstError::Node { error: NodeError::Cbor(found), .. }), Some(error)) => same(&found.kind, &no_cid(error)),
        (Err(MstError::Node { error: NodeError::Link(found), .. }), None) => same(&found.as_bytes(), &cid),
        (found, _) => Err(format!("{found:?} instead of {expected:?}")),
    }
}

fn in_commit(cid: &[u8], expected: Option<&CidError>) -> Verdict {
    match (Commit::from_block(&commit(|fields| fields[3].1 = link(cid))), expected) {
        (Err(CommitError::Cbor(found)), Some(error)) => same(&found.kind, &no_cid(error)),
        (Err(CommitError::Data(found)), None) => same(&found.as_bytes(), &cid),
        (found, _) => Err(format!("{found:?} instead of {expected:?}")),
    }
}

/// A leaf keeps what is a CID at all, byte for byte.
fn as_record(cid: &[u8], expected: Option<&CidError>) -> Verdict {
    let root = block(one_leaf(NULL, &link(cid)));
    let store: BlockMap = [root.clone()].into_iter().collect();
    let steps: Result<Vec<Step>, MstError> = Walk::new(&store, root.cid).collect();
    match (steps, expected) {
        (Err(MstError::Node { error: NodeError::Cbor(found), .. }), Some(error)) => same(&found.kind, &no_cid(error)),
        (Ok(steps), None) => match steps.as_slice() {
            [Step::Node(_), Step::Leaf { value, .. }] => same(&value.as_bytes(), &cid),
            other => Err(format!("{other:?}")),
        },
        (found, _) => Err(format!("{found:?} instead of {expected:?}")),
    }
}
