//! What one write costs in trees of very different size, and building them.
//!
//! A tree holds posts, likes, follows and reposts under ascending TIDs, as real repositories do. An insert opens the tree
//! anew over a store in memory, sets one new key and writes the changed nodes: what a commit does to it. The nodes that
//! it loads are counted at the store. The largest tree has a million keys and costs half a gigabyte.

use std::cell::{Cell, LazyCell};

use bytes::Bytes;
use criterion::Criterion;
use shared::cid::Cid;
use shared::repo::mst::{Tree, Walk};
use shared::repo::{BlockMap, Blockstore, BlockstoreError};
use shared::syntax::Tid;

use crate::figures::{Group, Numbers};

/// The second is to cost at most three times the first.
const SIZES: [(usize, &str); 3] =
    [(10_000, "into 10,000 keys"), (1_000_000, "into 1,000,000 keys"), (100, "into 100 keys")];
const BUILT: usize = 100_000;
/// How many different keys are inserted in turn.
const INSERTS: usize = 1_000;
const COLLECTIONS: [&str; 4] =
    ["app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.graph.follow", "app.bsky.feed.repost"];

pub(crate) fn run(criterion: &mut Criterion) {
    let stores = SIZES.map(|(size, _)| LazyCell::new(move || Store::build(size)));
    let inserts = SIZES.map(|(size, _)| inserts(size));
    let mut anywhere = Group::new("mst: insert anywhere");
    let mut newest = Group::new("mst: insert the newest key of a collection");
    let mut proofs = Group::new("mst: insert anywhere, with the covering proof");
    for (((_, name), store), inserts) in SIZES.iter().zip(&stores).zip(&inserts) {
        let mut next = inserts.anywhere.iter().cycle();
        anywhere = anywhere
            .once(name, move || store.insert(next.next().unwrap()))
            .note(|| store.mean(&inserts.anywhere, "new", Store::insert));
        let mut next = inserts.newest.iter().cycle();
        newest = newest
            .once(name, move || store.insert(next.next().unwrap()))
            .note(|| store.mean(&inserts.newest, "new", Store::insert));
        let mut next = inserts.anywhere.iter().cycle();
        proofs = proofs
            .once(name, move || store.prove(next.next().unwrap()))
            .note(|| store.mean(&inserts.anywhere, "for the event", Store::prove));
    }
    anywhere.run(criterion);
    newest.run(criterion);
    proofs.run(criterion);

    let keys = keys(BUILT);
    let shuffled = shuffled(&keys);
    let walked = &stores[0];
    Group::new("mst: whole trees")
        .times("build 100,000 keys, ascending", BUILT, || build(&keys))
        .times("build 100,000 keys, in no order", BUILT, || build(&shuffled))
        .times("walk 10,000 keys, checked", SIZES[0].0, || {
            assert_eq!(Walk::new(&walked.blocks, walked.root.clone()).map(Result::unwrap).count(), walked.steps);
        })
        .run(criterion);
}

/// A tree, with what is read from it counted.
struct Store {
    blocks: BlockMap,
    root: Cid,
    /// How many nodes and leaves it has.
    steps: usize,
    loaded: Cell<usize>,
}

impl Blockstore for Store {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlockstoreError> {
        self.loaded.set(self.loaded.get() + 1);
        self.blocks.get(cid)
    }
}

impl Store {
    fn build(size: usize) -> Self {
        let (root, blocks) = build(&keys(size));
        let steps = blocks.len() + size;
        Self { blocks, root, steps, loaded: Cell::new(0) }
    }

    /// Inserts one key; returns how many nodes and bytes are new.
    fn insert(&self, key: &str) -> (usize, usize) {
        let mut tree = Tree::open(self, self.root.clone());
        assert_eq!(tree.set(key, value(key)).unwrap(), None);
        let written = tree.write().unwrap();
        (written.new.len(), written.new.iter().map(|node| node.bytes.len()).sum())
    }

    /// Inserts one key and collects what undoing it takes; returns how many nodes and bytes an event carries of both.
    fn prove(&self, key: &str) -> (usize, usize) {
        let mut tree = Tree::open(self, self.root.clone());
        tree.set(key, value(key)).unwrap();
        let mut carried: BlockMap = tree.write().unwrap().new.into_iter().collect();
        carried.extend(tree.covering_proof(key).unwrap());
        (carried.len(), carried.blocks().map(|node| node.bytes.len()).sum())
    }

    /// What `edit` loads and comes to, on average over `keys`.
    fn mean(&self, keys: &[String], what: &str, edit: fn(&Self, &str) -> (usize, usize)) -> String {
        self.loaded.set(0);
        let (mut nodes, mut bytes) = (0, 0);
        for key in keys {
            let (more, larger) = edit(self, key);
            nodes += more;
            bytes += larger;
        }
        let mean = |sum: usize| sum as f64 / keys.len() as f64;
        let (loaded, nodes, kilobytes) = (mean(self.loaded.get()), mean(nodes), mean(bytes) / 1e3);
        format!("{loaded:.1} nodes loaded, {nodes:.1} {what}, {kilobytes:.1} kB")
    }
}

fn build(keys: &[String]) -> (Cid, BlockMap) {
    let nothing = BlockMap::default();
    let mut tree = Tree::empty(&nothing);
    for key in keys {
        tree.set(key, value(key)).unwrap();
    }
    let written = tree.write().unwrap();
    (written.root, written.new.into_iter().collect())
}

/// A record for a key; its hash is not what is measured, so it is only made to look like one.
fn value(key: &str) -> Cid {
    let mut digest = [0; 32];
    for (at, byte) in key.bytes().enumerate() {
        digest[at % 32] ^= byte;
    }
    Cid::of_cbor_digest(digest)
}

/// So many keys, ascending.
fn keys(count: usize) -> Vec<String> {
    let mut keys: Vec<String> = (0..count).map(|at| key(at, at as u64 * 60_000_000)).collect();
    keys.sort_unstable();
    keys
}

/// The key that comes `after` microseconds behind the beginning.
fn key(collection: usize, after: u64) -> String {
    format!("{}/{}", COLLECTIONS[collection % 4], Tid::from_parts(1_650_000_000_000_000 + after, 7))
}

struct Inserts {
    anywhere: Vec<String>,
    newest: Vec<String>,
}

fn inserts(size: usize) -> Inserts {
    let end = size as u64 * 60_000_000;
    // Odd, which no key in the tree is.
    let after = |number: u64| ((u128::from(number) * u128::from(end)) >> 32) as u64 | 1;
    let anywhere = Numbers(size as u64).take(INSERTS).map(|number| key(number as usize, after(number))).collect();
    let newest = (0..INSERTS).map(|at| key(at, end + at as u64 + 1)).collect();
    Inserts { anywhere, newest }
}

fn shuffled(keys: &[String]) -> Vec<String> {
    let mut keys = keys.to_vec();
    for (at, number) in Numbers(1).enumerate().take(keys.len()) {
        let other = number as usize % keys.len();
        keys.swap(at, other);
    }
    keys
}
