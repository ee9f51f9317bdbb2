//! Frames and events both ways, and what consumers must pass over.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::cbor::{self, CborErrorKind};
use crate::cid::Cid;
use crate::data::{Map, Value};
use crate::repo::{Block, MAX_COMMIT_LEN, RepoOp, car};
use crate::syntax::{Datetime, Did, Handle, Path, Tid};

/// What the reference server 0.5.35 stores and sends for [`reference_events`], a line each: stored name, seq, stored
/// body, frame; and its `#info` and error frames.
const REFERENCE: &str = include_str!("tests/reference.txt");

fn bytes(hex: &str) -> Bytes {
    HEXLOWER.decode(hex.as_bytes()).unwrap().into()
}

fn did() -> Did {
    Did::parse("did:plc:asdf123").unwrap()
}

fn tid() -> Tid {
    Tid::parse("3jzfcijpj2z2a").unwrap()
}

fn time() -> Datetime {
    Datetime::parse("2025-01-02T03:04:05.678Z").unwrap()
}

fn path(rkey: &str) -> Path {
    Path::parse(&format!("a.b.c/{rkey}")).unwrap()
}

fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

/// The block of `{key: number}`.
fn block(key: &str, number: i64) -> Block {
    let bytes = cbor::encode(&Value::Map([(key, number)].into_iter().collect()));
    Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
}

fn commit(ops: Vec<RepoOp>) -> Commit {
    let (head, record) = (block("c", 2), block("a", 1));
    Commit {
        repo: did(),
        rev: tid(),
        since: Some(Tid::parse("3jzfcijpj2z22").unwrap()),
        commit: head.cid.clone(),
        prev_data: Some(block("d", 3).cid),
        ops,
        blocks: car::to_vec(&head.cid, [&head, &record]).into(),
    }
}

fn reference_events() -> Vec<Event> {
    let (head, new, old) = (block("c", 2), block("a", 1).cid, block("a", 0).cid);
    let full = commit(vec![
        RepoOp::create(path("k1"), new.clone()),
        RepoOp::update(path("k2"), new, old.clone()),
        RepoOp::delete(path("k3"), old),
    ]);
    vec![
        Event::Commit(full),
        Event::Commit(Commit { since: None, prev_data: None, ..commit(vec![]) }),
        Event::Sync(Sync { did: did(), rev: tid(), blocks: car::to_vec(&head.cid, [&head]).into() }),
        Event::Identity(Identity { did: did(), handle: Some(Handle::parse("alice.test").unwrap()) }),
        Event::Identity(Identity { did: did(), handle: None }),
        Event::Account(Account::active(did())),
        Event::Account(Account::inactive(did(), AccountStatus::Takendown)),
    ]
}

#[test]
fn events_are_the_reference_servers_byte_for_byte() {
    let lines = REFERENCE.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|line| line.len() == 4);
    let events = reference_events();
    assert_eq!(lines.clone().count(), events.len());
    for (line, event) in lines.zip(events) {
        let (kind, seq) = (Kind::of_stored_name(line[0]).unwrap(), seq(line[1].parse().unwrap()));
        let (stored, frame) = (bytes(line[2]), bytes(line[3]));
        let body = event.encode().unwrap();
        assert_eq!(body, Body::from_stored(kind, stored));
        assert_eq!(body.decode().unwrap(), event);
        assert_eq!(body.stamp(seq, &time()).unwrap(), frame);
        assert_eq!(Frame::decode(&frame).unwrap(), Frame::Event { seq, time: time(), event });
    }
}

#[test]
fn infos_and_errors_are_the_reference_servers_byte_for_byte() {
    let info = Info { name: OUTDATED_CURSOR.to_owned(), message: Some("old".to_owned()) };
    let error = |error: &str, message: Option<&str>| StreamError {
        error: error.to_owned(),
        message: message.map(str::to_owned),
    };
    let future = error(FUTURE_CURSOR, Some("Cursor in the future."));
    let slow = error(CONSUMER_TOO_SLOW, None);
    let frames: Vec<Bytes> = REFERENCE
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(_, hex)| hex))
        .filter(|hex| !hex.contains(' '))
        .map(bytes)
        .collect();
    assert_eq!([info.encode(), future.encode(), slow.encode()].as_slice(), frames);
    let decoded: Vec<Frame> = frames.iter().map(|frame| Frame::decode(frame).unwrap()).collect();
    assert_eq!(decoded, [Frame::Info(info), Frame::Error(future), Frame::Error(slow)]);
}

#[test]
fn byte_strings_are_slices_of_the_frame() {
    let frame = Event::Commit(commit(vec![])).encode().unwrap().stamp(seq(1), &time()).unwrap();
    let Frame::Event { event: Event::Commit(commit), .. } = Frame::decode(&frame).unwrap() else { panic!() };
    assert!(frame.as_ptr_range().contains(&commit.blocks.as_ptr()));
}

#[test]
fn a_body_over_a_limit_cannot_be_made() {
    let create = RepoOp::create(path("k"), block("a", 1).cid);
    let with = |blocks: usize, ops: usize| {
        let commit = Commit { blocks: vec![0; blocks].into(), ops: vec![create.clone(); ops], ..commit(vec![]) };
        Event::Commit(commit).encode()
    };
    assert!(with(MAX_COMMIT_LEN, MAX_OPS).is_ok());
    assert_eq!(with(MAX_COMMIT_LEN + 1, 0), Err(FirehoseError::BlocksTooLong { len: 2_000_001, limit: 2_000_000 }));
    assert_eq!(with(0, MAX_OPS + 1), Err(FirehoseError::TooManyOps(201)));
    let sync = |len| Event::Sync(Sync { did: did(), rev: tid(), blocks: vec![0; len].into() }).encode();
    assert!(sync(MAX_SYNC_BLOCKS_LEN).is_ok());
    assert_eq!(sync(10_001), Err(FirehoseError::BlocksTooLong { len: 10_001, limit: 10_000 }));
}

#[test]
fn an_operation_that_cannot_be_undone_cannot_be_emitted() {
    let cid = || Some(block("a", 1).cid);
    for (action, cid, prev, readable) in [
        (Action::Create, None, None, false),
        (Action::Create, cid(), cid(), false),
        (Action::Update, cid(), None, true),
        (Action::Update, None, cid(), false),
        (Action::Delete, cid(), cid(), false),
        (Action::Delete, None, None, true),
    ] {
        let op = RepoOp { action, path: path("k"), cid: cid.clone(), prev: prev.clone() };
        let good = RepoOp::delete(path("j"), block("a", 1).cid);
        let refused = Event::Commit(commit(vec![good, op])).encode();
        assert_eq!(refused, Err(FirehoseError::Op { at: 1, action }));

        let link = |cid: Option<Cid>| cid.map_or(Value::Null, Value::Link);
        let mut op: Map = [("action", Value::from(action.as_str())), ("path", "a.b.c/k".into()), ("cid", link(cid))]
            .into_iter()
            .collect();
        if prev.is_some() {
            op.insert("prev", link(prev));
        }
        let read = Frame::decode(&changed(|body| drop(body.insert("ops", vec![Value::Map(op)]))));
        assert_eq!(read.is_ok(), readable, "{action} {read:?}");
    }
}

/// The frame of a commit, its body changed.
fn changed(change: impl FnOnce(&mut Map)) -> Bytes {
    let frame = Event::Commit(commit(vec![])).encode().unwrap().stamp(seq(9), &time()).unwrap();
    let mut reader = cbor::Reader::new(&frame);
    reader.skip().unwrap();
    let header = frame.slice(..reader.position());
    let Value::Map(mut body) = reader.value().unwrap() else { panic!() };
    change(&mut body);
    [header.to_vec(), cbor::encode(&Value::Map(body))].concat().into()
}

fn refusal(change: impl FnOnce(&mut Map)) -> FirehoseError {
    Frame::decode(&changed(change)).unwrap_err()
}

#[test]
fn a_known_kind_must_be_whole_and_well_formed() {
    for field in ["seq", "time", "repo", "rev", "since", "commit", "ops", "blocks", "blobs", "rebase", "tooBig"] {
        let error = refusal(|body| drop(body.remove(field)));
        assert!(
            matches!(&error, FirehoseError::Cbor(cbor) if cbor.kind == CborErrorKind::MissingField(field)),
            "{field}: {error:?}"
        );
    }
    for field in ["rebase", "tooBig"] {
        assert_eq!(refusal(|body| drop(body.insert(field, true))), FirehoseError::Obsolete(field));
    }
    for (field, value) in [
        ("repo", Value::from("alice.test")),
        ("rev", "1".into()),
        ("time", "today".into()),
        ("since", "".into()),
        ("seq", Value::Int(-1)),
        ("prevData", Value::Null),
        ("commit", "bafy".into()),
        ("blobs", Value::Null),
        ("blocks", Value::Null),
        ("blocks", Value::Bytes(vec![0; MAX_COMMIT_LEN + 1])),
        ("ops", Value::Array(vec![Value::Null; MAX_OPS + 1])),
    ] {
        let error = refusal(|body| drop(body.insert(field, value)));
        assert!(!error.to_string().is_empty(), "{field}");
    }
    assert_eq!(refusal(|body| drop(body.insert("seq", 0))), FirehoseError::Seq(0));
    assert_eq!(refusal(|body| drop(body.insert("seq", 1 << 53))), FirehoseError::Seq(1 << 53));
    assert!(Frame::decode(&changed(|body| drop(body.insert("seq", (1 << 53) - 1)))).is_ok());
    assert!(Frame::decode(&changed(|body| drop(body.remove("prevData")))).is_ok());
}

#[test]
fn what_later_versions_may_add_is_passed_over() {
    let frame = changed(|body| drop(body.insert("extra", vec![Value::Null])));
    assert_eq!(Frame::decode(&frame).unwrap(), Frame::decode(&changed(|_| {})).unwrap());
    for (hex, op, tag) in [
        ("a261746423666f6f626f7001a0", 1, Some("#foo")),
        ("a1626f7001a16161a0", 1, None),
        ("a1626f7002a0", 2, None),
        ("a261786179626f7005a0", 5, None),
    ] {
        let expected = Frame::Unknown { op, tag: tag.map(Box::from) };
        assert_eq!(Frame::decode(&bytes(hex)), Ok(expected), "{hex}");
    }
}

#[test]
fn a_frame_is_two_maps_and_nothing_else() {
    for hex in ["", "a0", "a1626f7001", "a1626f700100", "a1626f7001a000", "a1626f7001a0a0", "f6a0", "a1626f7020a0"] {
        assert!(matches!(Frame::decode(&bytes(hex)), Err(FirehoseError::Cbor(_))), "{hex}");
    }
    let too_long = Bytes::from(vec![0; MAX_FRAME_LEN + 1]);
    assert_eq!(Frame::decode(&too_long), Err(FirehoseError::FrameTooLong(5_000_001)));
}

#[test]
fn stamping_keeps_what_it_does_not_know_and_refuses_what_is_no_body() {
    // {"do": 1, "rev": 2, "sez": 3, "tame": 4, "tine": 5}
    let body = bytes("a562646f016372657602637365 7a0364 74616d650464 74696e6505".replace(' ', "").as_str());
    let stamped = Body::from_stored(Kind::Account, body).stamp(seq(1), &time()).unwrap();
    let mut reader = cbor::Reader::new(&stamped);
    reader.skip().unwrap();
    let Value::Map(map) = reader.value().unwrap() else { panic!() };
    assert_eq!(reader.finish(), Ok(()));
    let keys: Vec<&str> = map.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["do", "rev", "seq", "sez", "tame", "time", "tine"]);

    let stamped_twice = Body::from_stored(Kind::Account, bytes("a16373657101"));
    assert!(stamped_twice.stamp(seq(1), &time()).is_err());
    for stored in ["", "00", "a000", "a161", "bf"] {
        assert!(Body::from_stored(Kind::Account, bytes(stored)).stamp(seq(1), &time()).is_err(), "{stored}");
    }
    let wide = |fields: u8| {
        let map: Map = (0..fields).map(|at| (format!("{at:02}"), Value::Null)).collect();
        Body::from_stored(Kind::Account, cbor::encode(&Value::Map(map)).into()).stamp(seq(1), &time())
    };
    assert!(wide(21).is_ok());
    assert!(wide(22).is_err() && wide(200).is_err());
}

#[test]
fn old_kinds_of_stored_events_are_nameless() {
    for name in ["rebase", "handle", "migrate", "tombstone", "#commit", ""] {
        assert_eq!(Kind::of_stored_name(name), None, "{name}");
    }
    assert_eq!(Seq::new(0), None);
    assert_eq!(Seq::new(Seq::MAX.get() + 1), None);
}

fn any_cid() -> impl Strategy<Value = Cid> {
    any::<[u8; 8]>().prop_map(|bytes| Cid::of_cbor(&bytes))
}

fn any_tid() -> impl Strategy<Value = Tid> {
    (0..1_u64 << 53, 0..1024_u16).prop_map(|(micros, clock)| Tid::from_parts(micros, clock))
}

fn any_op() -> impl Strategy<Value = RepoOp> {
    ("[a-z0-9]{1,30}", any_cid(), any_cid(), 0..3).prop_map(|(rkey, cid, prev, action)| match action {
        0 => RepoOp::create(path(&rkey), cid),
        1 => RepoOp::update(path(&rkey), cid, prev),
        _ => RepoOp::delete(path(&rkey), prev),
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let did = "[a-z0-9]{1,40}".prop_map(|id| Did::parse(&format!("did:plc:{id}")).unwrap());
    let blocks = prop::collection::vec(any::<u8>(), 0..600).prop_map(Bytes::from);
    let revs = (any_tid(), prop::option::of(any_tid()));
    let cids = (any_cid(), prop::option::of(any_cid()));
    let ops = prop::collection::vec(any_op(), 0..8);
    (did, blocks, revs, cids, ops, 0..6).prop_map(|(did, blocks, (rev, since), (commit, prev_data), ops, kind)| {
        match kind {
            0 | 1 => Event::Commit(Commit { repo: did, rev, since, commit, prev_data, ops, blocks }),
            2 => Event::Sync(Sync { did, rev, blocks }),
            3 => Event::Identity(Identity {
                did,
                handle: since.map(|tid| Handle::parse(&format!("a{tid}.test")).unwrap()),
            }),
            4 => Event::Account(Account::active(did)),
            _ => Event::Account(Account::inactive(did, AccountStatus::from(rev.as_str()))),
        }
    })
}

proptest! {
    #[test]
    fn events_come_back_as_they_were(event in any_event(), number in 1..=Seq::MAX.get(), millis in any::<i64>()) {
        let (seq, time) = (seq(number), Datetime::from_unix_millis(millis));
        let body = event.encode().unwrap();
        let frame = body.stamp(seq, &time).unwrap();
        prop_assert_eq!(&frame, &body.stamp(seq, &time).unwrap());
        prop_assert_eq!(body.decode().unwrap(), event.clone());
        prop_assert_eq!(Frame::decode(&frame).unwrap(), Frame::Event { seq, time, event });
    }

    #[test]
    fn a_damaged_frame_is_refused_or_means_what_it_says(
        event in any_event(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = event.encode().unwrap().stamp(seq(7), &time()).unwrap().to_vec();
        let cut = cut.index(frame.len());
        prop_assert!(Frame::decode(&Bytes::copy_from_slice(&frame[..cut])).is_err());
        let at = at.index(frame.len());
        frame[at] = byte;
        let frame = Bytes::from(frame);
        if let Ok(Frame::Event { seq, time, event }) = Frame::decode(&frame) {
            // Equal but for the case of a handle, and for a key that changed into one that is not known.
            if let Ok(body) = event.encode() {
                let again = body.stamp(seq, &time).unwrap();
                prop_assert!(again.eq_ignore_ascii_case(&frame) || again.len() != frame.len());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(tail in prop::collection::vec(any::<u8>(), 0..200), kind in 0..5_usize) {
        let starts = ["", "a261746723636f6d6d6974626f7001", "a26174652373796e63626f7001", "a1626f7020", "a1626f7001"];
        let frame: Bytes = [bytes(starts[kind]).to_vec(), tail.clone()].concat().into();
        drop(Frame::decode(&frame));
        let body = Body::from_stored(Kind::Commit, tail.into());
        drop((body.decode(), body.stamp(seq(1), &time())));
    }
}
