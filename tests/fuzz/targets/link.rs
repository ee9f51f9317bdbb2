//! What edge and origin send each other: messages, snapshots, and the headers that sign requests.
//!
//! The first byte of the input says which: the two sides hold secrets, but whoever can reach their doors can send bytes.
#![no_main]

use std::fmt::Debug;

use bytes::Bytes;
use fuzz::bounded_by;
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use shared::link::{
    self, Ack, BodyDigest, FeedKeys, ForwardKeys, HostPush, Item, Pull, PullAnswer, Purge, Purged, RegionAnswer,
    RegionQuestion, Register, RegisterAnswer, Replica, Request, SnapshotError, SnapshotHead, SnapshotReader,
    is_internal,
};

/// For each list in a message `serde` reserves what the list announces, but never more than 1 MiB; lists nest four deep.
const RESERVED: usize = 4 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 3 {
        0 => messages(rest),
        1 => snapshot(rest),
        _ => signed(rest),
    }
});

fn messages(data: &[u8]) {
    message::<link::Push>(data);
    message::<Ack>(data);
    message::<Pull>(data);
    message::<PullAnswer>(data);
    message::<Register>(data);
    message::<RegisterAnswer>(data);
    message::<RegionQuestion>(data);
    message::<RegionAnswer>(data);
    message::<HostPush>(data);
    message::<Purge>(data);
    message::<Purged>(data);
    message::<Replica>(data);
    message::<SnapshotHead>(data);
}

/// What is understood comes back when it is sent on.
fn message<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    if let Ok(message) = bounded_by(64 * data.len() + RESERVED, || link::decode::<T>(data)) {
        let sent = link::encode(&message).expect("no larger than what it was read from");
        assert_eq!(link::decode::<T>(&sent), Ok(message));
    }
}

/// In chunks of any size the same comes out as from the whole.
fn snapshot(data: &[u8]) {
    let (data, sizes) = data.split_at(data.len().saturating_sub(2));
    let bound = 64 * data.len() + RESERVED;
    let whole = bounded_by(bound, || items(data, &[data.len().max(1)]));
    let sizes: Vec<usize> = sizes.iter().map(|size| usize::from(*size).max(1)).collect();
    let chunked = bounded_by(bound, || items(data, if sizes.is_empty() { &[1] } else { &sizes }));
    assert_eq!(chunked, whole);
    if let Ok(items) = whole {
        assert!(matches!(items.as_slice(), [Item::Head(_), .., Item::End]));
    }
}

fn items(mut data: &[u8], sizes: &[usize]) -> Result<Vec<Item>, SnapshotError> {
    let mut reader = SnapshotReader::new();
    let mut items = Vec::new();
    for size in sizes.iter().cycle() {
        if data.is_empty() {
            break;
        }
        let (chunk, rest) = data.split_at((*size).min(data.len()));
        data = rest;
        reader.push(Bytes::copy_from_slice(chunk));
        while let Some(item) = reader.next_item()? {
            items.push(item);
        }
    }
    reader.finish().map(|()| items)
}

/// A request line by line: method, path, then headers. Nothing is let in that the key at hand did not sign.
fn signed(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let (Some(method), Some(path)) = (lines.next(), lines.next()) else { return };
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let header = |name: &str| {
        let mut named = headers.iter().filter(|(found, _)| *found == name).map(|(_, value)| *value);
        named.next().filter(|_| named.next().is_none())
    };
    let (request, now) = (Request { method, path }, 1_700_000_000);
    if let Some(replica) = Replica::of_push_path(path) {
        assert_eq!(replica.push_path(), path);
        assert!(is_internal(path));
    }
    let body = BodyDigest::of(b"").expect("no body is short");
    let feed = |key| FeedKeys::new(&[key; 32], None).expect("a long key").verify(request, header, body, now);
    let forward = |key| ForwardKeys::new(&[key; 32], None).expect("a long key").verify(request, header, now);
    assert!(feed(8).is_err() && forward(8).is_err());
    assert!(feed(7).is_err() || forward(7).is_err());
    if let Ok(vouched) = forward(7) {
        assert!(!is_internal(path));
        let again = ForwardKeys::new(&[7; 32], None).expect("a long key").sign(request, &vouched, now);
        assert_eq!(again.iter().find(|(name, _)| *name == "headwater-host").map(|(_, host)| host), Some(&vouched.host));
    }
}
