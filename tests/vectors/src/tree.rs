//! The Merkle search tree: layers, prefixes, roots, and what a commit's event must carry.

use std::collections::BTreeSet;

use serde::Deserialize;
use shared::cid::Cid;
use shared::repo::BlockMap;
use shared::repo::mst::{MstError, Tree, common_prefix, layer_of};

use crate::official;
use crate::report::{Group, Verdict, same};

#[derive(Debug, Deserialize)]
struct Height {
    key: String,
    height: u32,
}

#[derive(Debug, Deserialize)]
struct Prefix {
    left: String,
    right: String,
    len: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    comment: String,
    leaf_value: Cid,
    keys: BTreeSet<String>,
    adds: BTreeSet<String>,
    dels: BTreeSet<String>,
    root_before_commit: Cid,
    root_after_commit: Cid,
    blocks_in_proof: BTreeSet<Cid>,
}

/// The record of every key of the trees below.
const LEAF: &str = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454";

/// Keys, and the root and number of nodes of the tree over them, as an independent program found them.
const TREES: [(&[&str], &str, usize); 5] = [
    (&[], "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm", 1),
    (&["com.example.record/3jqfcqzm3fo2j"], "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu", 1),
    (&["app.bsky.feed.post/9adeb165882c"], "bafyreigpzxidgrn5uc73p2yjn37y7d4i2ton65otrmlt5plsnry6kdl4s4", 1),
    (
        &["app.bsky.feed.post/9adeb165882c", "com.example.record/3jqfcqzm3fo2j"],
        "bafyreiefvb32rp27yy7yjbimwquhnhhmnju2zlbumxkm3v5ntmppurwvcu",
        9,
    ),
    (
        &["com.example.record/a", "com.example.record/a.", "com.example.record/aa"],
        "bafyreiepx5jxa5yzro2zpwk3uo5rsw7q72k5dbiumxzognt3rbh6bujxfu",
        5,
    ),
];
const EXAMPLE_KEYS: &str = "mst/example_keys.txt";
const EXAMPLE_TREE: (&str, usize) = ("bafyreicp3ghg3qdepi7bx3letryyerzfoky5htzymzljibxhd3m3z3xfb4", 131);

pub(crate) fn groups() -> Vec<Group> {
    let mut examples = Vec::new();
    let heights = official::json("mst/key_heights.json", 9, |group, cases: Vec<Height>| {
        for case in cases {
            group.case(&case.key, same(&layer_of(&case.key), &case.height));
        }
    });
    let prefixes = official::json("mst/common_prefix.json", 13, |group, cases: Vec<Prefix>| {
        for Prefix { left, right, len } in cases {
            group.case((&left, &right), same(&common_prefix(&left, &right), &len));
        }
    });
    let keys = official::lines(EXAMPLE_KEYS, 156, |group, key| {
        // The key says its layer: a letter, the layer, a slash.
        let layer = key.chars().nth(1).and_then(|digit| digit.to_digit(10));
        group.case(key, same(&Some(layer_of(key)), &layer));
        examples.push(key);
    });
    let proofs = official::json("firehose/commit-proof-fixtures.json", 6, |group, cases: Vec<Proof>| {
        for case in cases {
            group.case(&case.comment, proves(&case));
        }
    });

    let mut trees = Group::new("mst, trees found by an independent program", TREES.len());
    for (keys, root, nodes) in TREES {
        trees.case(keys, comes_to(keys, root, nodes));
    }
    let mut whole = Group::new("mst, the tree over all example keys", 1);
    whole.skipped = keys.skipped;
    if whole.skipped.is_none() {
        whole.case(EXAMPLE_KEYS, comes_to(&examples, EXAMPLE_TREE.0, EXAMPLE_TREE.1));
    }
    vec![heights, prefixes, keys, proofs, trees, whole]
}

/// The tree over `keys` has this root and so many nodes, whichever way it is built.
fn comes_to(keys: &[&str], root: &str, nodes: usize) -> Verdict {
    let leaf = Cid::parse(LEAF).map_err(|error| error.to_string())?;
    let store = BlockMap::default();
    for keys in [keys.to_vec(), keys.iter().rev().copied().collect()] {
        let mut tree = Tree::empty(&store);
        for key in keys {
            tree.set(key, leaf.clone()).map_err(in_words)?;
        }
        let written = tree.write().map_err(in_words)?;
        same(&(written.root.to_string().as_str(), written.new.len()), &(root, nodes))?;
    }
    Ok(())
}

/// The roots come out, the event carries exactly what it must, and undoing it leads back; then all of it backwards.
fn proves(case: &Proof) -> Verdict {
    let (before, after) = (&case.root_before_commit, &case.root_after_commit);
    let (start, store) = build(&case.keys, &case.leaf_value).map_err(in_words)?;
    same(&start, before)?;
    let event = commit(&store, before, after, &case.adds, &case.dels, &case.leaf_value)?;
    let carried: BTreeSet<Cid> = event.blocks().map(|block| block.cid).collect();
    same(&carried, &case.blocks_in_proof)?;

    let left: BTreeSet<String> = case.keys.union(&case.adds).filter(|key| !case.dels.contains(*key)).cloned().collect();
    let (start, store) = build(&left, &case.leaf_value).map_err(in_words)?;
    same(&start, after)?;
    commit(&store, after, before, &case.dels, &case.adds, &case.leaf_value).map(drop)
}

fn build(keys: &BTreeSet<String>, leaf: &Cid) -> Result<(Cid, BlockMap), MstError> {
    let nothing = BlockMap::default();
    let mut tree = Tree::empty(&nothing);
    for key in keys {
        tree.set(key, leaf.clone())?;
    }
    let written = tree.write()?;
    Ok((written.root, written.new.into_iter().collect()))
}

/// Leads from one root to the other; returns the nodes that the event of it carries, from which it can be undone.
fn commit(
    store: &BlockMap,
    from: &Cid,
    to: &Cid,
    adds: &BTreeSet<String>,
    dels: &BTreeSet<String>,
    leaf: &Cid,
) -> Result<BlockMap, String> {
    let mut tree = Tree::open(store, from.clone());
    edit(&mut tree, adds, dels, leaf)?;
    let written = tree.write().map_err(in_words)?;
    same(&&written.root, &to)?;
    let mut event: BlockMap = written.new.into_iter().collect();
    for key in adds.union(dels) {
        event.extend(tree.covering_proof(key).map_err(in_words)?);
    }
    // The vectors' keys are paths of no collection, which an operation could not name: so undone by hand.
    let mut undone = Tree::of_foreign(&event, to.clone());
    edit(&mut undone, dels, adds, leaf).map_err(|error| format!("cannot be undone: {error}"))?;
    same(&&undone.write().map_err(in_words)?.root, &from)?;
    Ok(event)
}

fn edit(tree: &mut Tree<'_, BlockMap>, adds: &BTreeSet<String>, dels: &BTreeSet<String>, leaf: &Cid) -> Verdict {
    for key in adds {
        same(&tree.set(key, leaf.clone()).map_err(in_words)?, &None)?;
    }
    for key in dels {
        same(&tree.remove(key).map_err(in_words)?.as_ref(), &Some(leaf))?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn in_words(error: MstError) -> String {
    format!("{error:?}")
}
