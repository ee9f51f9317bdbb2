//! Tree nodes, trees and commits that are not what they must be.

use shared::cbor::CborErrorKind as Kind;
use shared::cid::Cid;
use shared::crypto::CryptoError;
use shared::repo::Block;
use shared::repo::commit::{Commit, CommitError};
use shared::repo::mst::{MAX_KEY_LEN, MstError, NodeError, common_prefix, layer_of};

use super::{NULL, block, commit, entry, item, link, list, map, node, walk};
use crate::report::{Group, same};

pub(super) fn groups() -> Vec<Group> {
    vec![nodes(), trees(), commits()]
}

/// What is wrong with a node or a commit: its encoding, at whatever byte, or more than that.
#[derive(Debug)]
enum Fault<E> {
    Cbor(Kind),
    Is(E),
}
use Fault::{Cbor, Is};

fn value() -> Vec<u8> {
    link(Cid::of_cbor(b"record").as_bytes())
}

/// An entry without a subtree.
fn leaf(prefix: i64, suffix: &[u8]) -> Vec<u8> {
    entry(prefix, suffix, NULL, &value())
}

fn nodes() -> Group {
    let cases: Vec<NodeCase> = keys().into_iter().chain(entries()).chain(shapes()).collect();
    let mut group = Group::new("malformed tree nodes", cases.len());
    for (name, bytes, fault) in cases {
        let verdict = match (walk(&[block(bytes)]), fault) {
            (Err(MstError::Node { error: NodeError::Cbor(found), .. }), Cbor(kind)) => same(&found.kind, &kind),
            (Err(MstError::Node { error: found, .. }), Is(error)) => same(&found, &error),
            (found, fault) => Err(format!("{found:?} instead of {fault:?}")),
        };
        group.case(name, verdict);
    }
    group
}

type NodeCase = (&'static str, Vec<u8>, Fault<NodeError>);

fn keys() -> Vec<NodeCase> {
    let only = |suffix: &[u8]| node(&[leaf(0, suffix)], NULL);
    let two = |prefix, suffix: &[u8]| node(&[leaf(0, b"com.example/bb"), leaf(prefix, suffix)], NULL);
    let not_maximal = |found| Is(NodeError::PrefixNotMaximal { found, shared: 14 });
    let long = [b"com.example/".as_slice(), &[b'k'; MAX_KEY_LEN]].concat();
    vec![
        ("a key below the one before", two(12, b"a"), Is(NodeError::KeyOrder("com.example/a".into()))),
        ("a key twice", two(14, b""), Is(NodeError::KeyOrder("com.example/bb".into()))),
        ("a prefix longer than the key before", two(15, b"b"), Is(NodeError::PrefixTooLong(15))),
        ("a prefix before the first key", node(&[leaf(1, b"a/b")], NULL), Is(NodeError::PrefixTooLong(1))),
        ("no prefix where keys share one", two(0, b"com.example/bbb"), not_maximal(0)),
        ("a prefix one too short", two(13, b"bb"), not_maximal(13)),
        ("an empty key", only(b""), Is(NodeError::Key(0))),
        ("a key without a slash", only(b"com.example"), Is(NodeError::Key(11))),
        ("a key with two slashes", only(b"a/b/c"), Is(NodeError::Key(5))),
        ("a key with nothing before the slash", only(b"/b"), Is(NodeError::Key(2))),
        ("a key with nothing behind the slash", only(b"a/"), Is(NodeError::Key(2))),
        ("a key with a blank", only(b"a/b c"), Is(NodeError::Key(5))),
        ("a key with a NUL", only(b"a/b\0"), Is(NodeError::Key(4))),
        ("a key beyond ASCII", only("a/\u{e9}".as_bytes()), Is(NodeError::Key(4))),
        ("a key that is not UTF-8", only(b"a/\xff"), Is(NodeError::Key(3))),
        ("a key too long", only(&long), Is(NodeError::Key(long.len()))),
    ]
}

fn entries() -> Vec<NodeCase> {
    let only = |fields: &[(&str, &[u8])]| node(&[map(fields)], NULL);
    let (key, prefix, record) = (item(|w| w.bytes(b"a/b")), item(|w| w.int(0)), value());
    let (text, below_zero) = (item(|w| w.text("a/b")), item(|w| w.int(-1)));
    let (k, p, t, v) = (("k", key.as_slice()), ("p", prefix.as_slice()), ("t", NULL), ("v", record.as_slice()));
    let lacks = |field| Cbor(Kind::MissingField(field));
    vec![
        ("an entry without a key", only(&[p, t, v]), lacks("k")),
        ("an entry without a prefix", only(&[k, t, v]), lacks("p")),
        ("an entry without a subtree", only(&[k, p, v]), lacks("t")),
        ("an entry without a record", only(&[k, p, t]), lacks("v")),
        ("an entry whose record is null", only(&[k, p, t, ("v", NULL)]), Cbor(Kind::Expected("a link"))),
        ("a key that is text", only(&[("k", &text), p, t, v]), Cbor(Kind::Expected("bytes"))),
        ("a prefix below zero", only(&[k, ("p", &below_zero), t, v]), Cbor(Kind::Expected("a non-negative integer"))),
        ("an entry with a field too many", only(&[k, p, t, v, ("x", NULL)]), Cbor(Kind::UnknownField)),
        ("an entry with a field twice", only(&[k, k, p, t, v]), Cbor(Kind::DuplicateKey)),
        ("an entry that is a list", node(&[list(&[])], NULL), Cbor(Kind::Expected("a map"))),
    ]
}

fn shapes() -> Vec<NodeCase> {
    let none = list(&[]);
    let (e, l) = (("e", none.as_slice()), ("l", NULL));
    vec![
        ("a node without entries", map(&[l]), Cbor(Kind::MissingField("e"))),
        ("a node without a left link", map(&[e]), Cbor(Kind::MissingField("l"))),
        ("a node with a field too many", map(&[e, l, ("x", NULL)]), Cbor(Kind::UnknownField)),
        ("a node with fields out of order", map(&[l, e]), Cbor(Kind::KeyOrder)),
        ("a node with a field twice", map(&[e, e, l]), Cbor(Kind::DuplicateKey)),
        ("entries that are a map", map(&[("e", &map(&[])), l]), Cbor(Kind::Expected("an array"))),
        ("a byte behind the node", [node(&[], NULL), vec![0]].concat(), Cbor(Kind::TrailingBytes)),
        ("a list", none.clone(), Cbor(Kind::Expected("a map"))),
        ("a record", map(&[("$type", &none)]), Cbor(Kind::UnknownField)),
        ("nothing", Vec::new(), Cbor(Kind::Truncated)),
    ]
}

/// The first key of this layer among `com.example/` with `start` and a number.
fn key(layer: u32, start: &str) -> String {
    let mut keys = (0..).map(|n| format!("com.example/{start}{n}"));
    keys.find(|key| layer_of(key) == layer).unwrap_or_default()
}

/// A node of these keys with the subtrees to their right.
fn node_of(leaves: &[(&str, Option<&Block>)], left: Option<&Block>) -> Block {
    let child = |block: Option<&Block>| block.map_or(NULL.to_vec(), |block| link(block.cid.as_bytes()));
    let mut previous = "";
    let mut entries = Vec::new();
    for (key, right) in leaves {
        let shared = common_prefix(previous, key);
        let prefix = i64::try_from(shared).unwrap_or(i64::MAX);
        entries.push(entry(prefix, &key.as_bytes()[shared..], &child(*right), &value()));
        previous = key;
    }
    block(node(&entries, &child(left)))
}

type IsFault = fn(&MstError) -> bool;

fn trees() -> Group {
    let (low, middle, high) = (key(0, "a"), key(1, "m"), key(2, "m"));
    let below = node_of(&[(&low, None)], None);
    let above = node_of(&[(&key(0, "z"), None)], None);
    let empty = node_of(&[], None);
    let over_below = node_of(&[], Some(&below));
    let commit = block(commit(|_| {}));
    // The root first, then what hangs below it.
    let tree = |root: Block, others: &[&Block]| [vec![root], others.iter().map(|b| (*b).clone()).collect()].concat();
    let cases: [(&str, Vec<Block>, IsFault); 11] = [
        ("keys of two layers in one node", tree(node_of(&[(&low, None), (&middle, None)], None), &[]), |error| {
            matches!(error, MstError::Layer { layer: 1, found: 0, .. })
        }),
        ("a link that skips a layer", tree(node_of(&[(&high, None)], Some(&below)), &[&below]), |error| {
            matches!(error, MstError::Layer { layer: 0, found: 1, .. })
        }),
        (
            "a key above its parent's, to the left",
            tree(node_of(&[(&middle, None)], Some(&above)), &[&above]),
            |error| matches!(error, MstError::Order(_)),
        ),
        (
            "a key below its parent's, to the right",
            tree(node_of(&[(&middle, Some(&below))], None), &[&below]),
            |error| matches!(error, MstError::Order(_)),
        ),
        ("one subtree on both sides", tree(node_of(&[(&middle, Some(&below))], Some(&below)), &[&below]), |error| {
            matches!(error, MstError::Order(_))
        }),
        ("a root without leaves", tree(over_below.clone(), &[&below]), |error| matches!(error, MstError::EmptyNode(_))),
        ("an empty node at the bottom", tree(node_of(&[(&middle, None)], Some(&empty)), &[&empty]), |error| {
            matches!(error, MstError::EmptyNode(_))
        }),
        ("an empty node further up", tree(node_of(&[(&high, None)], Some(&empty)), &[&empty]), |error| {
            matches!(error, MstError::EmptyNode(_))
        }),
        ("a child below layer 0", tree(node_of(&[(&key(0, "m"), None)], Some(&below)), &[&below]), |error| {
            matches!(error, MstError::BelowBottom)
        }),
        ("a missing node", tree(node_of(&[(&middle, None)], Some(&below)), &[]), |error| {
            matches!(error, MstError::MissingBlock(_))
        }),
        ("a commit in a node's place", tree(node_of(&[(&middle, None)], Some(&commit)), &[&commit]), |error| {
            matches!(error, MstError::Node { error: NodeError::Cbor(_), .. })
        }),
    ];
    let mut group = Group::new("malformed trees", cases.len() + 1);
    for (name, blocks, is) in cases {
        group.case(
            name,
            match walk(&blocks) {
                Err(error) if is(&error) => Ok(()),
                other => Err(format!("{other:?}")),
            },
        );
    }
    let sound = tree(node_of(&[(&high, None)], Some(&over_below)), &[&over_below, &below]);
    group.case(
        "a node without leaves between two that have some is sound",
        match walk(&sound) {
            Ok(5) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    group
}

fn commits() -> Group {
    let with = |at: usize, value: Vec<u8>| commit(|fields| fields[at].1 = value);
    let without = |at: usize| commit(|fields| drop(fields.remove(at)));
    let text = |text: &str| item(|w| w.text(text));
    let number = |number: i64| item(|w| w.int(number));
    let sig = |len: usize| item(|w| w.bytes(&vec![1; len]));
    let no_sig = |len| Is(CommitError::Sig(CryptoError::SignatureLength { len }));
    let expected = |what| Cbor(Kind::Expected(what));
    let cases = [
        ("version 2", with(5, number(2)), Is(CommitError::Version(2))),
        ("version 4", with(5, number(4)), Is(CommitError::Version(4))),
        ("no version", without(5), Cbor(Kind::MissingField("version"))),
        ("a version that is text", with(5, text("3")), expected("an integer")),
        ("no did", without(0), Cbor(Kind::MissingField("did"))),
        ("a did that is a handle", with(0, text("example.com")), Is(CommitError::Did)),
        ("a did that is bytes", with(0, sig(8)), expected("a string")),
        ("no rev", without(1), Cbor(Kind::MissingField("rev"))),
        ("a rev that is no tid", with(1, text("3jqfcqzm3fo21")), Is(CommitError::Rev)),
        ("a rev of another length", with(1, text("3jqfcqzm3fo2")), Is(CommitError::Rev)),
        ("no signature", without(2), Cbor(Kind::MissingField("sig"))),
        ("a signature one byte short", with(2, sig(63)), no_sig(63)),
        ("a signature in DER", with(2, sig(70)), no_sig(70)),
        ("an empty signature", with(2, sig(0)), no_sig(0)),
        ("a signature that is text", with(2, text(&"a".repeat(64))), expected("bytes")),
        ("no tree", without(3), Cbor(Kind::MissingField("data"))),
        ("a tree that is null", with(3, NULL.to_vec()), expected("a link")),
        (
            "a tree as text",
            with(3, text("bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm")),
            expected("a link"),
        ),
        ("prev left out", without(4), Cbor(Kind::MissingField("prev"))),
        ("prev that is text", with(4, text("")), expected("a link")),
        ("a field too many", commit(|fields| fields.push(("zzzzzzzz", NULL.to_vec()))), Cbor(Kind::UnknownField)),
        ("fields out of order", commit(|fields| fields.swap(0, 1)), Cbor(Kind::KeyOrder)),
        ("a field twice", commit(|fields| fields.insert(1, fields[0].clone())), Cbor(Kind::DuplicateKey)),
        ("a byte behind it", [commit(|_| {}), vec![0]].concat(), Cbor(Kind::TrailingBytes)),
        ("a tree node", node(&[], NULL), Cbor(Kind::UnknownField)),
        ("nothing", Vec::new(), Cbor(Kind::Truncated)),
    ];
    let mut group = Group::new("malformed commits", cases.len() + 1);
    for (name, bytes, fault) in cases {
        group.case(
            name,
            match (Commit::from_block(&bytes), fault) {
                (Err(CommitError::Cbor(found)), Cbor(kind)) => same(&found.kind, &kind),
                (Err(found), Is(error)) => same(&found, &error),
                (found, fault) => Err(format!("{found:?} instead of {fault:?}")),
            },
        );
    }
    let sound = commit(|_| {});
    let kept = Commit::from_block(&sound).map(|commit| commit.to_block().bytes.to_vec());
    group.case("the commit that the others are not", same(&kept, &Ok(sound)));
    group
}
