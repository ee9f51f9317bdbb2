//! Tree nodes and trees: what a walk accepts is the one tree over its leaves, and editing it keeps to that.
//!
//! The first byte of the input chooses: one block as it comes, or a description of several nodes that link each other,
//! which a fuzzer could not make up as hashes. A description can break every rule that an encoded tree can.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use fuzz::bounded_by;
use libfuzzer_sys::fuzz_target;
use shared::cbor::Writer;
use shared::cid::Cid;
use shared::repo::mst::{Diff, MstError, Step, Tree, Walk, common_prefix};
use shared::repo::{Block, BlockMap};

type Leaves = BTreeMap<Box<str>, Cid>;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let nodes = if mode & 1 == 0 { vec![block(rest.to_vec())] } else { described(rest) };
    let Some(root) = nodes.last().map(|node| node.cid.clone()) else { return };
    let other = nodes.first().map_or_else(|| root.clone(), |node| node.cid.clone());
    let store: BlockMap = nodes.into_iter().collect();
    let bound = 1 << 24;

    let leaves = bounded_by(bound, || walk(&store, &root));
    if let Ok(leaves) = &leaves {
        is_the_tree(&store, &root, leaves);
    }
    bounded_by(bound, || edit(&store, &root, leaves.is_ok()));
    let changes: Result<Vec<_>, _> = bounded_by(bound, || Diff::new(&store, other.clone(), root.clone()).collect());
    if let (Ok(before), Ok(after)) = (walk(&store, &other), &leaves) {
        let changes = changes.expect("both trees are sound");
        let differing = before.iter().filter(|(key, cid)| after.get(*key) != Some(*cid)).count()
            + after.keys().filter(|key| !before.contains_key(*key)).count();
        assert_eq!(changes.len(), differing);
    }
});

fn block(bytes: impl Into<Bytes>) -> Block {
    let bytes = bytes.into();
    Block { cid: Cid::of_cbor(&bytes), bytes }
}

fn walk(store: &BlockMap, root: &Cid) -> Result<Leaves, MstError> {
    let mut leaves = Leaves::new();
    for step in Walk::new(store, root.clone()) {
        if let Step::Leaf { key, value } = step? {
            assert!(leaves.last_key_value().is_none_or(|(last, _)| *last < key));
            leaves.insert(key, value);
        }
    }
    Ok(leaves)
}

/// The tree built from the leaves alone has the same root.
fn is_the_tree(store: &BlockMap, root: &Cid, leaves: &Leaves) {
    let nothing = BlockMap::default();
    let mut built = Tree::empty(&nothing);
    for (key, value) in leaves {
        assert_eq!(built.set(key, value.clone()).expect("a key of a sound tree"), None);
    }
    assert_eq!(built.write().expect("a sound tree").root, *root);
    let mut opened = Tree::open(store, root.clone());
    for (key, value) in leaves {
        assert_eq!(opened.get(key).expect("a sound tree").as_ref(), Some(value));
    }
}

/// Sets a new key and removes it again, on the tree and on what an event of it would carry. A sound tree comes back to
/// its root both times; of any other it is enough that both end.
fn edit(store: &BlockMap, root: &Cid, sound: bool) {
    for key in ["com.example/0new", "com.example/new", "zzz.example/new"] {
        match there_and_back(store, root, key) {
            Ok(roots) => assert!(!sound || roots.iter().all(|found| found == root)),
            Err(error) => assert!(!sound, "{error}"),
        }
    }
}

fn there_and_back(store: &BlockMap, root: &Cid, key: &str) -> Result<[Cid; 2], MstError> {
    let mut tree = Tree::of_foreign(store, root.clone());
    if tree.get(key)?.is_some() {
        return Ok([root.clone(), root.clone()]);
    }
    tree.set(key, Cid::of_cbor(b"new"))?;
    let written = tree.write()?;
    let carried: BlockMap = written.new.into_iter().chain(tree.covering_proof(key)?).collect();
    tree.remove(key)?;
    let mut undone = Tree::of_foreign(&carried, written.root);
    undone.remove(key)?;
    Ok([tree.write()?.root, undone.write()?.root])
}

/// The nodes that `data` describes, each of which may link those before it; the last is the root.
fn described(data: &[u8]) -> Vec<Block> {
    const MOST: usize = 24;
    let mut data = data.iter().copied();
    let mut nodes: Vec<Block> = Vec::new();
    while nodes.len() < MOST
        && let Some(count) = data.next()
    {
        let node = describe(count % 8, &mut data, &nodes);
        nodes.push(block(node));
    }
    nodes
}

fn describe(count: u8, data: &mut impl Iterator<Item = u8>, nodes: &[Block]) -> Vec<u8> {
    let mut byte = || data.next().unwrap_or_default();
    let child = |at: u8| nodes.get(usize::from(at)).map(|node| &node.cid);
    let mut writer = Writer::new();
    let left = byte();
    writer.map(2).text("e").array(usize::from(count));
    let mut previous = String::new();
    for _ in 0..count {
        let how = byte();
        let key = if how & 1 == 0 {
            format!("com.example/{}", u16::from_be_bytes([byte(), byte()]))
        } else {
            (0..how >> 4).map(|_| char::from(byte() & 0x7f)).collect()
        };
        let mut prefix = common_prefix(&previous, &key);
        if how & 2 != 0 && how & 4 != 0 {
            prefix = usize::from(byte()).min(key.len());
        }
        let suffix = key.as_bytes().get(prefix..).unwrap_or_default();
        writer.map(4).text("k").bytes(suffix).text("p").int(prefix as i64);
        writer.text("t").link_or_null(child(byte())).text("v").link(&Cid::of_cbor(&[byte()]));
        previous = key;
    }
    writer.text("l").link_or_null(child(left));
    writer.into_bytes()
}
