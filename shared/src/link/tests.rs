//! What edge and origin say to each other: back as it was, whatever the chunks, and refused when damaged.

use bytes::Bytes;
use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::cid::Cid;
use crate::crypto::{Curve, PublicKey, SigningKey};
use crate::firehose::AccountStatus;
use crate::repo::Block;
use crate::repo::car::{CarError, MAX_BLOCK_LEN};
use crate::syntax::{Did, Handle, Tid};

fn key(seed: u8) -> PublicKey {
    SigningKey::from_bytes(Curve::K256, &[seed; 32]).unwrap().public_key()
}

fn state(version: u64) -> State {
    State {
        version,
        status: None,
        handle: None,
        did_document: None,
        signing_key: key(1),
        taken_down_records: vec![],
        taken_down_blobs: vec![],
        deleted_blobs: vec![],
    }
}

fn did() -> Did {
    Did::parse("did:web:localhost%3A2583").unwrap()
}

fn region() -> Region {
    Region::parse("weur").unwrap()
}

fn replica() -> Replica {
    Replica { account: did(), region: region() }
}

fn push(change: Change) -> Push {
    Push { account: did(), position: Position(9), previous: Position(4), change }
}

/// Sends a message and reads it.
fn sent<T: Serialize + DeserializeOwned>(message: &T) -> T {
    decode(&encode(message).unwrap()).unwrap()
}

/// The message as a later version might send it, with one more field.
fn extended<T: Serialize>(message: &T) -> Vec<u8> {
    let mut value: ciborium::Value = ciborium::from_reader(&encode(message).unwrap()[..]).unwrap();
    let map = value.as_map_mut().unwrap();
    map.push((ciborium::Value::from("later"), ciborium::Value::Array(vec![ciborium::Value::Null])));
    let mut bytes = Vec::new();
    ciborium::into_writer(&value, &mut bytes).unwrap();
    bytes
}

#[test]
fn every_path_is_internal_however_it_is_written() {
    for path in [REGISTER, UNREGISTER, SNAPSHOT, PULL, REGION, PURGE, HOST_PUSH, PUSH] {
        assert!(path.starts_with(PREFIX) && is_internal(path), "{path}");
    }
    for path in [
        "/internal",
        "/internal/",
        "/INTERNAL/x",
        "//internal/x",
        "/./internal",
        "/a/../internal/x",
        "/%69nternal/x",
        "/%2e/internal",
        "/a/%2e%2E/internal",
        "/%2finternal",
        "\\internal",
        "/internal?x",
        "/internal#x",
        "internal",
    ] {
        assert!(is_internal(path), "{path}");
    }
    for path in
        ["", "/", "/internals", "/xrpc/internal", "/a?/internal", "/internal/../xrpc", "/%6", "/%zzinternal", "/%"]
    {
        assert!(!is_internal(path), "{path}");
    }
}

#[test]
fn a_push_path_names_its_replica_verbatim() {
    let path = replica().push_path();
    assert_eq!(path, "/internal/v1/push/weur/did:web:localhost%3A2583");
    assert_eq!(Replica::of_push_path(&path), Some(replica()));
    for path in
        ["/internal/v1/push/weur", "/internal/v1/push//did:web:a", "/internal/v1/push/weur/x", "/internal/v1/pull"]
    {
        assert_eq!(Replica::of_push_path(path), None, "{path}");
    }
    for text in ["", "WEUR", "a b", "abcdefghijklmnopq", "a/b"] {
        assert_eq!(Region::parse(text), Err(RegionError), "{text}");
    }
}

#[test]
fn an_edge_stops_serving_before_the_origin_takes_it_to() {
    let lease = Lease { millis: 5_000 };
    assert_eq!((lease.edge_until(10_000), lease.origin_until(10_000)), (15_000, 16_000));
    assert_eq!(lease.origin_until(u64::MAX), u64::MAX);
}

#[test]
fn unknown_fields_are_passed_over() {
    let commit = push(Change::Commit(PushedCommit { frame: Bytes::from_static(b"x"), blobs: vec![] }));
    assert_eq!(decode::<Push>(&extended(&commit)), Ok(commit));
    assert_eq!(decode::<State>(&extended(&state(3))), Ok(state(3)));
    let ack = Ack { outcome: Outcome::Kept, position: Position(3) };
    assert_eq!(decode::<Ack>(&extended(&ack)), Ok(ack));
    assert_eq!(decode::<Replica>(&extended(&replica())), Ok(replica()));
    let question = RegionQuestion { region: region(), after: Position(1) };
    assert_eq!(decode::<RegionQuestion>(&extended(&question)), Ok(question));
}

#[test]
fn changes_and_outcomes_of_later_versions_are_known_to_be_unknown() {
    let commit = push(Change::Unknown);
    assert_eq!(sent(&commit), commit);
    assert_eq!(decode::<Push>(&extended(&commit)), Ok(commit));

    let mut later = encode(&Ack { outcome: Outcome::Gone, position: Position(1) }).unwrap();
    let at = later.windows(4).position(|window| window == b"gone").unwrap();
    later[at..at + 4].copy_from_slice(b"went");
    let ack: Ack = decode(&later).unwrap();
    assert_eq!(ack.outcome, Outcome::Unknown);
    assert!(!ack.outcome.is_acknowledgement() && Outcome::Behind.is_acknowledgement());
}

#[test]
fn a_push_that_breaks_its_chain_is_malformed() {
    for previous in [9, 10] {
        let bad = Push { previous: Position(previous), ..push(Change::Unknown) };
        let error = decode::<Push>(&encode(&bad).unwrap()).unwrap_err();
        assert!(error.to_string().contains("is not below 9"), "{error}");
    }
    let commit = push(Change::Commit(PushedCommit { frame: Bytes::new(), blobs: vec![] }));
    let mut both: ciborium::Value = ciborium::from_reader(&encode(&commit).unwrap()[..]).unwrap();
    let state = ciborium::Value::serialized(&state(1)).unwrap();
    both.as_map_mut().unwrap().push((ciborium::Value::from("state"), state));
    assert!(matches!(decode::<Push>(&encode(&both).unwrap()), Err(LinkError::Malformed(_))));
}

#[test]
fn a_message_is_one_item_within_the_limit() {
    let mut body = encode(&replica()).unwrap();
    body.push(0);
    assert_eq!(decode::<Replica>(&body), Err(LinkError::Trailing(1)));
    assert!(matches!(decode::<Replica>(&body[..9]), Err(LinkError::Malformed(_))));
    assert_eq!(decode::<Replica>(&vec![0; MAX_BODY_LEN + 1]), Err(LinkError::TooLong(MAX_BODY_LEN + 1)));
    let large = push(Change::Commit(PushedCommit { frame: vec![0; MAX_BODY_LEN].into(), blobs: vec![] }));
    assert!(matches!(encode(&large), Err(LinkError::TooLong(_))));
    let largest_frame = PushedCommit { frame: vec![0; crate::firehose::MAX_FRAME_LEN].into(), blobs: vec![] };
    assert!(encode(&push(Change::Commit(largest_frame))).is_ok());
}

fn snapshot_head() -> SnapshotHead {
    let revision = Revision { rev: Tid::from_parts(1, 2), commit: Cid::of_cbor(b"commit") };
    SnapshotHead { account: did(), position: Position(7), state: state(2), revision: Some(revision) }
}

/// A snapshot of these items; head and end are added.
fn snapshot(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = SnapshotWriter::new(&snapshot_head(), &mut out).unwrap();
    for item in items {
        match item {
            Item::Block(block) => writer.block(&block.cid, &block.bytes, &mut out),
            Item::Records(records) => writer.records(records, &mut out).unwrap(),
            Item::Blobs(blobs) => writer.blobs(blobs, &mut out).unwrap(),
            Item::References(references) => writer.references(references, &mut out).unwrap(),
            Item::Head(_) | Item::End => {}
        }
    }
    writer.end(&mut out).unwrap();
    out
}

fn read_snapshot(stream: &[u8], cuts: &[usize]) -> (Vec<Item>, Result<(), SnapshotError>) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    let mut reader = SnapshotReader::new();
    let mut items = Vec::new();
    for pair in cuts.windows(2) {
        reader.push(Bytes::copy_from_slice(&stream[pair[0]..pair[1]]));
        loop {
            match reader.next_item() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next_item(), Err(error.clone()));
                    return (items, Err(error));
                }
            }
        }
    }
    (items, reader.finish())
}

fn piece(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::repo::car::pieces::write_length(content.len(), &mut out);
    out.extend_from_slice(content);
    out
}

fn block(bytes: &[u8]) -> Block {
    Block { cid: Cid::of_cbor(bytes), bytes: Bytes::copy_from_slice(bytes) }
}

#[test]
fn a_snapshot_is_whole_with_its_end_only() {
    let whole = snapshot(&[Item::Block(block(b"x"))]);
    for len in 0..whole.len() {
        assert_eq!(read_snapshot(&whole[..len], &[]).1, Err(SnapshotError::Truncated), "{len} bytes");
    }
    let after = |tail: &[u8]| read_snapshot(&[&whole[..], tail].concat(), &[]).1;
    assert_eq!(after(b""), Ok(()));
    assert_eq!(after(&[9]), Err(SnapshotError::Truncated));
    assert_eq!(after(&piece(&[200])), Err(SnapshotError::Order));
    assert_eq!(after(&whole), Err(SnapshotError::Order));
}

#[test]
fn a_snapshot_that_lost_a_piece_says_so() {
    let (empty, one) = (snapshot(&[]), snapshot(&[Item::Block(block(b"x"))]));
    let end = empty.len() - {
        let mut end = Vec::new();
        SnapshotWriter::new(&snapshot_head(), &mut end).unwrap();
        end.len()
    };
    let without_it = [&empty[..empty.len() - end], &one[one.len() - end..]].concat();
    assert_eq!(read_snapshot(&without_it, &[]).1, Err(SnapshotError::Lost));
}

#[test]
fn a_snapshot_out_of_order_or_with_bad_blocks_is_refused() {
    let mut head = Vec::new();
    SnapshotWriter::new(&snapshot_head(), &mut head).unwrap();
    let after_head = |content: &[u8]| read_snapshot(&[&head[..], &piece(content)].concat(), &[]).1.unwrap_err();
    assert_eq!(read_snapshot(&piece(&[0]), &[]).1, Err(SnapshotError::Order));
    assert_eq!(read_snapshot(&[&head[..], &head[..]].concat(), &[]).1, Err(SnapshotError::Order));
    assert_eq!(after_head(&[77, 1, 2]), SnapshotError::Truncated, "an unknown piece is passed over");
    let wrong = [&[2][..], block(b"x").cid.as_bytes(), b"y"].concat();
    assert_eq!(after_head(&wrong), SnapshotError::Block(CarError::Mismatch(block(b"x").cid)));
    let long = vec![7; MAX_BLOCK_LEN + 1];
    let long = [&[2][..], block(&long).cid.as_bytes(), &long].concat();
    assert!(matches!(after_head(&long), SnapshotError::Block(CarError::BlockTooLong { .. })));
    assert!(matches!(after_head(&[2, 1]), SnapshotError::Block(CarError::Cid(_))));
    assert!(matches!(after_head(&[3, 1]), SnapshotError::Message(LinkError::Malformed(_))));
    assert_eq!(read_snapshot(&[0], &[]).1, Err(SnapshotError::Length));
    assert_eq!(read_snapshot(&[0xff, 0xff, 0xff, 0x7f], &[]).1, Err(SnapshotError::Length));
}

fn any_did() -> impl Strategy<Value = Did> {
    "[a-z0-9]{1,40}".prop_map(|id| Did::parse(&format!("did:plc:{id}")).unwrap())
}

fn any_cids() -> impl Strategy<Value = Vec<Cid>> {
    prop::collection::vec(any::<[u8; 4]>().prop_map(|seed| Cid::of_raw(&seed)), 0..6)
}

fn any_handles() -> impl Strategy<Value = Vec<Handle>> {
    prop::collection::vec("[a-z0-9]{1,20}".prop_map(|label| Handle::parse(&format!("{label}.test")).unwrap()), 0..4)
}

fn any_blobs() -> impl Strategy<Value = Vec<PublicBlob>> {
    let blob = (any::<[u8; 4]>(), "[a-z]{1,9}/[a-z]{1,9}", any::<u64>())
        .prop_map(|(seed, mime_type, size)| PublicBlob { cid: Cid::of_raw(&seed), mime_type, size });
    prop::collection::vec(blob, 0..6)
}

fn any_records() -> impl Strategy<Value = Vec<Record>> {
    let record = ("[a-z]{1,9}/[a-z]{1,9}", any::<[u8; 4]>());
    prop::collection::vec(record.prop_map(|(path, seed)| Record { path, cid: Cid::of_cbor(&seed) }), 0..6)
}

fn any_state() -> impl Strategy<Value = State> {
    let status = prop::option::of("[a-z]{1,12}".prop_map(|name| AccountStatus::from(name.as_str())));
    let texts = (prop::option::of(any::<String>()), prop::collection::vec(any::<String>(), 0..4));
    (any::<u64>(), status, any_handles(), texts, 1..9_u8, (any_cids(), any_cids())).prop_map(
        |(
            version,
            status,
            mut handles,
            (did_document, taken_down_records),
            seed,
            (taken_down_blobs, deleted_blobs),
        )| {
            let (handle, signing_key) = (handles.pop(), key(seed));
            State {
                version,
                status,
                handle,
                did_document,
                signing_key,
                taken_down_records,
                taken_down_blobs,
                deleted_blobs,
            }
        },
    )
}

fn any_push() -> impl Strategy<Value = Push> {
    let commit = (prop::collection::vec(any::<u8>(), 0..5_000), any_blobs())
        .prop_map(|(frame, blobs)| Change::Commit(PushedCommit { frame: frame.into(), blobs }));
    let change =
        prop_oneof![commit, any_state().prop_map(|state| Change::State(Box::new(state))), Just(Change::Unknown)];
    (any_did(), 0..1_u64 << 53, 1..1000_u64, change).prop_map(|(account, previous, step, change)| Push {
        account,
        position: Position(previous + step),
        previous: Position(previous),
        change,
    })
}

fn any_region_answer() -> impl Strategy<Value = RegionAnswer> {
    let changed = (any_did(), any::<u64>()).prop_map(|(account, at)| Changed { account, position: Position(at) });
    let lists = (prop::collection::vec(changed, 0..4), prop::collection::vec(any_did(), 0..4), any_handles());
    (any::<u64>(), any::<u32>(), any::<bool>(), lists, any::<u64>()).prop_map(
        |(at, millis, complete, (changed, behind, handles), server)| RegionAnswer {
            position: Position(at),
            lease: Lease { millis },
            complete,
            changed,
            behind,
            handles,
            server,
        },
    )
}

fn any_pull_answer() -> impl Strategy<Value = PullAnswer> {
    let changes = (prop::collection::vec(any_push(), 0..4), any::<bool>(), any::<u32>())
        .prop_map(|(pushes, more, millis)| PullAnswer::Changes { pushes, more, lease: Lease { millis } });
    prop_oneof![changes, Just(PullAnswer::Refill), Just(PullAnswer::NotHosted)]
}

fn any_item() -> impl Strategy<Value = Item> {
    let block = prop::collection::vec(any::<u8>(), 0..400).prop_map(|bytes| Item::Block(block(&bytes)));
    let reference = |record: Record| Reference { path: record.path, blob: record.cid };
    let references = any_records().prop_map(move |records| records.into_iter().map(reference).collect());
    prop_oneof![
        block,
        any_records().prop_map(Item::Records),
        any_blobs().prop_map(Item::Blobs),
        references.prop_map(Item::References)
    ]
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were(
        push in any_push(),
        pulled in any_pull_answer(),
        answer in any_region_answer(),
        cids in any_cids(),
        handles in any_handles(),
        (number, millis, truth) in (any::<u64>(), any::<u32>(), any::<bool>()),
    ) {
        let position = Position(number);
        prop_assert_eq!(&sent(&push), &push);
        prop_assert_eq!(&sent(&pulled), &pulled);
        prop_assert_eq!(&sent(&answer), &answer);
        let ack = Ack { outcome: if truth { Outcome::Applied } else { Outcome::Behind }, position };
        prop_assert_eq!(sent(&ack), ack);
        let registered = Registered { position, lease: Lease { millis }, bytes: number };
        for answer in [RegisterAnswer::Registered(registered), RegisterAnswer::NotHosted] {
            prop_assert_eq!(&sent(&answer), &answer);
        }
        prop_assert_eq!(sent(&Register { replica: replica() }), Register { replica: replica() });
        let pull = Pull { replica: replica(), position };
        prop_assert_eq!(&sent(&pull), &pull);
        let question = RegionQuestion { region: region(), after: position };
        prop_assert_eq!(&sent(&question), &question);
        let host = HostPush { position, handles, server: number };
        prop_assert_eq!(&sent(&host), &host);
        for scope in [PurgeScope::Everything, PurgeScope::Replicas, PurgeScope::Blobs(cids)] {
            let purge = Purge { account: did(), scope };
            prop_assert_eq!(&sent(&purge), &purge);
        }
        let purged = Purged { done: truth, blobs: number };
        prop_assert_eq!(sent(&purged), purged);
    }

    #[test]
    fn snapshots_come_back_whatever_the_chunks(
        items in prop::collection::vec(any_item(), 0..10),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
    ) {
        let (read, end) = read_snapshot(&snapshot(&items), &cuts);
        let head = Item::Head(Box::new(snapshot_head()));
        let expected: Vec<Item> = std::iter::once(head).chain(items).chain([Item::End]).collect();
        prop_assert_eq!(read, expected);
        prop_assert_eq!(end, Ok(()));
    }

    #[test]
    fn a_damaged_snapshot_gives_the_same_whatever_the_chunks(
        items in prop::collection::vec(any_item(), 0..5),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
    ) {
        let mut stream = snapshot(&items);
        let at = at.index(stream.len());
        stream[at] = byte;
        prop_assert_eq!(read_snapshot(&stream, &[]), read_snapshot(&stream, &cuts));
    }

    #[test]
    fn damaged_messages_are_read_or_refused(
        push in any_push(),
        answer in any_region_answer(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for message in [encode(&push).unwrap(), encode(&answer).unwrap()] {
            let mut damaged = message.clone();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            drop((decode::<Push>(&damaged), decode::<RegionAnswer>(&damaged), decode::<PullAnswer>(&damaged)));
            prop_assert!(decode::<Push>(&message[..at]).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop((decode::<Push>(&bytes), decode::<RegionAnswer>(&bytes), decode::<PullAnswer>(&bytes)));
        drop(read_snapshot(&bytes, &[]));
        let text = String::from_utf8_lossy(&bytes);
        drop((is_internal(&text), Replica::of_push_path(&text)));
    }
}
