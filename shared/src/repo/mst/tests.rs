//! Trees: known roots, edits in any order, proofs, and what is unsound.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::cbor::Writer;
use crate::repo::BlockMap;

const LEAF: &str = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454";
const EMPTY: &str = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm";

fn leaf() -> Cid {
    Cid::parse(LEAF).unwrap()
}

/// Builds a tree from its leaves without any editing: an independent reading of the specification.
pub(crate) fn build(leaves: &BTreeMap<String, Cid>) -> (Cid, BlockMap) {
    let leaves: Vec<(&str, u32, &Cid)> = leaves.iter().map(|(key, cid)| (&**key, layer_of(key), cid)).collect();
    let top = leaves.iter().map(|(_, layer, _)| *layer).max().unwrap_or(0);
    let mut blocks = BlockMap::default();
    let root = build_node(&leaves, top, &mut blocks);
    (root, blocks)
}

fn build_node(leaves: &[(&str, u32, &Cid)], layer: u32, blocks: &mut BlockMap) -> Cid {
    let child = |part: &[(&str, u32, &Cid)], blocks: &mut BlockMap| {
        (!part.is_empty()).then(|| build_node(part, layer - 1, blocks))
    };
    let mine: Vec<usize> = (0..leaves.len()).filter(|at| leaves[*at].1 == layer).collect();
    let first = mine.first().copied().unwrap_or(leaves.len());
    let left = child(&leaves[..first], blocks);
    let mut writer = Writer::new();
    writer.map(2).text("e").array(mine.len());
    let mut previous = "";
    for (nth, at) in mine.iter().enumerate() {
        let (key, _, value) = leaves[*at];
        let end = mine.get(nth + 1).copied().unwrap_or(leaves.len());
        let right = child(&leaves[at + 1..end], blocks);
        let shared = (0..)
            .take_while(|i| key.as_bytes().get(*i).is_some_and(|b| previous.as_bytes().get(*i) == Some(b)))
            .count();
        writer.map(4).text("k").bytes(&key.as_bytes()[shared..]).text("p").int(shared as i64);
        writer.text("t").link_or_null(right.as_ref()).text("v").link(value);
        previous = key;
    }
    writer.text("l").link_or_null(left.as_ref());
    let bytes = writer.into_bytes();
    let cid = Cid::of_cbor(&bytes);
    blocks.insert(Block { cid: cid.clone(), bytes: bytes.into() });
    cid
}

fn of_keys(keys: &[&str]) -> (Cid, usize) {
    let (root, blocks) = build(&keys.iter().map(|key| ((*key).to_owned(), leaf())).collect());
    let store = BlockMap::default();
    let mut tree = Tree::empty(&store);
    for key in keys.iter().rev() {
        tree.set(key, leaf()).unwrap();
    }
    let written = tree.write().unwrap();
    assert_eq!(written.root, root);
    assert_eq!(written.new.len(), blocks.len());
    (root, blocks.len())
}

#[test]
fn known_roots_come_out() {
    let post = "com.example.record/3jqfcqzm3fo2j";
    let deep = "app.bsky.feed.post/9adeb165882c";
    for (keys, root, nodes) in [
        (&[][..], EMPTY, 1),
        (&[post], "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu", 1),
        (&[deep], "bafyreigpzxidgrn5uc73p2yjn37y7d4i2ton65otrmlt5plsnry6kdl4s4", 1),
        (&[deep, post], "bafyreiefvb32rp27yy7yjbimwquhnhhmnju2zlbumxkm3v5ntmppurwvcu", 9),
        (
            &["com.example.record/a", "com.example.record/a.", "com.example.record/aa"],
            "bafyreiepx5jxa5yzro2zpwk3uo5rsw7q72k5dbiumxzognt3rbh6bujxfu",
            5,
        ),
    ] {
        assert_eq!(of_keys(keys), (Cid::parse(root).unwrap(), nodes), "{keys:?}");
    }
}

#[test]
fn removing_the_only_high_key_lowers_the_root_by_many_layers() {
    let (deep, post) = ("app.bsky.feed.post/9adeb165882c", "com.example.record/3jqfcqzm3fo2j");
    let (root, blocks) = build(&[deep, post].map(|key| (key.to_owned(), leaf())).into());
    let mut tree = Tree::open(&blocks, root);
    assert_eq!(tree.remove(deep).unwrap(), Some(leaf()));
    let written = tree.write().unwrap();
    assert_eq!(written.root, of_keys(&[post]).0);
    assert_eq!(written.new.len(), 0, "the lower node was there all along");
    assert_eq!(written.removed.len(), 8);
    assert_eq!(tree.remove(post).unwrap(), Some(leaf()));
    assert_eq!(tree.write().unwrap().root, Cid::parse(EMPTY).unwrap());
}

#[test]
fn malformed_nodes_are_refused_by_name() {
    let node = |entries: &[(&str, i64, Option<&Cid>)], left: Option<&Cid>| {
        let mut writer = Writer::new();
        writer.map(2).text("e").array(entries.len());
        for (suffix, prefix, right) in entries {
            writer.map(4).text("k").bytes(suffix.as_bytes()).text("p").int(*prefix);
            writer.text("t").link_or_null(*right).text("v").link(&leaf());
        }
        writer.text("l").link_or_null(left);
        let bytes = writer.into_bytes();
        Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
    };
    let walk = |blocks: &[&Block]| {
        let store: BlockMap = blocks.iter().map(|block| (*block).clone()).collect();
        let root = blocks[0].cid.clone();
        let outcome = Walk::new(&store, root).collect::<Result<Vec<_>, _>>();
        outcome.map(|steps| steps.len())
    };
    macro_rules! refused {
        ($outcome:expr, $pattern:pat) => {
            let outcome = $outcome;
            assert!(matches!(outcome, Err($pattern)), "{outcome:?}");
        };
    }
    // Keys of two letters under "a/", by layer.
    let keys = |layer: u32| {
        let all = (b'a'..=b'z').flat_map(|x| (b'a'..=b'z').map(move |y| format!("a/{}{}", x as char, y as char)));
        all.filter(|key| layer_of(key) == layer).collect::<Vec<_>>()
    };
    let (low, high) = (keys(0), keys(1));
    let (one, two) = (&low[0], low.iter().find(|key| key[2..3] != low[0][2..3]).unwrap());
    let (one_end, two_end) = (&one[2..], &two[2..]);
    let sound = node(&[(one, 0, None), (two_end, 2, None)], None);
    assert_eq!(walk(&[&sound]).unwrap(), 3);
    refused!(
        walk(&[&node(&[(two, 0, None), (one_end, 2, None)], None)]),
        MstError::Node { error: NodeError::KeyOrder(_), .. }
    );
    refused!(
        walk(&[&node(&[(one, 0, None), ("", 4, None)], None)]),
        MstError::Node { error: NodeError::KeyOrder(_), .. }
    );
    refused!(
        walk(&[&node(&[(one, 0, None), ("b", 5, None)], None)]),
        MstError::Node { error: NodeError::PrefixTooLong(5), .. }
    );
    refused!(
        walk(&[&node(&[(one, 0, None), (&two[1..], 1, None)], None)]),
        MstError::Node { error: NodeError::PrefixNotMaximal { found: 1, shared: 2 }, .. }
    );
    refused!(walk(&[&node(&[("noslash", 0, None)], None)]), MstError::Node { error: NodeError::Key(7), .. });
    refused!(walk(&[&node(&[("a/b/c", 0, None)], None)]), MstError::Node { error: NodeError::Key(5), .. });
    refused!(walk(&[&node(&[("a/ü", 0, None)], None)]), MstError::Node { error: NodeError::Key(4), .. });
    let blob = Cid::of_raw(b"x");
    refused!(walk(&[&node(&[(one, 0, None)], Some(&blob))]), MstError::Node { error: NodeError::Link(_), .. });
    refused!(walk(&[&node(&[(one, 0, None)], Some(&sound.cid)), &sound]), MstError::BelowBottom);
    refused!(walk(&[&node(&[], Some(&sound.cid)), &sound]), MstError::EmptyNode(_));
    let above = high.iter().find(|key| *key > one).unwrap();
    refused!(
        walk(&[&node(
            &[(one, 0, None), (&above[common_prefix(one, above)..], common_prefix(one, above) as i64, None)],
            None
        )]),
        MstError::Layer { .. }
    );
    let empty = node(&[], None);
    assert_eq!(walk(&[&empty]).unwrap(), 1);
    refused!(walk(&[&node(&[(above, 0, None)], Some(&empty.cid)), &empty]), MstError::EmptyNode(_));
    refused!(walk(&[&node(&[(above, 0, Some(&sound.cid))], None)]), MstError::MissingBlock(_));
    let last = high.last().unwrap();
    let beyond = low.iter().find(|key| *key > above).unwrap();
    let out_of_range = node(&[(beyond, 0, None)], None);
    refused!(walk(&[&node(&[(above, 0, None)], Some(&out_of_range.cid)), &out_of_range]), MstError::Order(_));
    assert!(walk(&[&node(&[(last, 0, None)], Some(&sound.cid)), &sound]).is_ok());
    let skipped = keys(2);
    refused!(
        walk(&[&node(&[(&skipped[skipped.len() - 1], 0, None)], Some(&sound.cid)), &sound]),
        MstError::Layer { .. }
    );
}

#[test]
fn a_subtree_shared_on_two_layers_is_not_passed_by() {
    // A leaf of layer 2 over leaves of layer 0 alone: between them stands a node that must not be a root.
    let keys = |layer| (0..).map(move |n| format!("a/{n:05}")).filter(move |key| layer_of(key) == layer);
    let low = keys(0).next().unwrap();
    let leaves = [keys(2).find(|key| *key > low).unwrap(), low];
    let (root, blocks) = build(&leaves.map(|key| (key, leaf())).into());
    let top = node::decode(&root, blocks.get(&root).unwrap().unwrap()).unwrap();
    let Some(Child::Stored(pointer)) = top.children[0].clone() else { panic!("the high leaf has a left child") };
    for (before, after) in [(&root, &pointer), (&pointer, &root)] {
        let outcome: Result<Vec<Change>, _> = Diff::new(&blocks, before.clone(), after.clone()).collect();
        assert!(matches!(outcome, Err(MstError::EmptyNode(_))), "{outcome:?}");
    }
}

#[test]
fn a_set_key_must_be_a_path() {
    let store = BlockMap::default();
    for key in ["", "a", "a/", "/a", "a/b/c", "a/b c", &format!("a/{}", "b".repeat(1023))] {
        assert!(matches!(Tree::empty(&store).set(key, leaf()), Err(MstError::Key(_))), "{key}");
    }
}

/// A key out of few, so that edits meet, spread over the layers.
pub(crate) fn any_key() -> impl Strategy<Value = String> {
    (0u32..400).prop_map(|n| format!("com.example.{}/{n:03}", ["a", "b", "record"][n as usize % 3]))
}

/// An edit: a key with its new record, or none.
pub(crate) fn any_edit() -> impl Strategy<Value = (String, Option<Cid>)> {
    (any_key(), prop::option::weighted(0.6, (0u8..20).prop_map(|n| Cid::of_cbor(&[n]))))
}

proptest! {
    #[test]
    fn any_mix_of_edits_ends_in_the_tree_built_from_scratch(
        before in prop::collection::vec(any_edit(), 0..120),
        after in prop::collection::vec(any_edit(), 0..60),
    ) {
        let mut leaves: BTreeMap<String, Cid> = before.into_iter().filter_map(|(key, cid)| Some((key, cid?))).collect();
        let (root, mut blocks) = build(&leaves);
        let store = blocks.clone();
        let mut tree = Tree::open(&store, root);
        for (key, cid) in after {
            let previous = match &cid {
                Some(cid) => tree.set(&key, cid.clone()).unwrap(),
                None => tree.remove(&key).unwrap(),
            };
            let expected = match cid {
                Some(cid) => leaves.insert(key.clone(), cid),
                None => leaves.remove(&key),
            };
            prop_assert_eq!(previous, expected);
            prop_assert_eq!(tree.get(&key).unwrap(), leaves.get(&key).cloned());
        }
        let written = tree.write().unwrap();
        let (root, scratch) = build(&leaves);
        prop_assert_eq!(&written.root, &root);

        // The store with the diff applied holds exactly the blocks of the new tree.
        for cid in &written.removed {
            prop_assert!(blocks.remove(cid).is_some(), "removed what was not there");
        }
        for block in written.new {
            prop_assert!(blocks.get(&block.cid).unwrap().is_none(), "wrote what was there");
            blocks.insert(block);
        }
        if leaves.is_empty() {
            blocks.extend([Block { cid: root.clone(), bytes: scratch.get(&root).unwrap().unwrap() }]);
        }
        prop_assert_eq!(blocks.len(), scratch.len());

        // And a checked walk over it finds all leaves in order.
        let walked: Vec<(String, Cid)> = Walk::new(&blocks, root).map(Result::unwrap).filter_map(|step| match step {
            Step::Leaf { key, value } => Some((key.into(), value)),
            Step::Node(_) => None,
        }).collect();
        prop_assert_eq!(walked, leaves.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_diff_names_exactly_the_leaves_that_differ(
        left in prop::collection::vec(any_edit(), 0..80),
        changes in prop::collection::vec(any_edit(), 0..20),
    ) {
        let before: BTreeMap<String, Cid> = left.into_iter().filter_map(|(key, cid)| Some((key, cid?))).collect();
        let mut after = before.clone();
        for (key, cid) in changes {
            match cid {
                Some(cid) => after.insert(key, cid),
                None => after.remove(&key),
            };
        }
        let ((from, mut blocks), (to, more)) = (build(&before), build(&after));
        blocks.extend(more.blocks());
        let found: Vec<Change> = Diff::new(&blocks, from, to).map(Result::unwrap).collect();
        let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let expected: Vec<Change> = keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).map(|key| Change {
            key: key.as_str().into(), before: before.get(key).cloned(), after: after.get(key).cloned(),
        }).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_block_makes_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let block = Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() };
        let root = block.cid.clone();
        let store: BlockMap = [block].into_iter().collect();
        let _ = Walk::new(&store, root.clone()).count();
        let _ = Tree::of_foreign(&store, root).set("a/b", leaf());
    }
}
