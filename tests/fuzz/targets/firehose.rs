//! Frames: what is accepted and may be emitted comes back from its own frame; nothing that is verified panics.
#![no_main]

use bytes::Bytes;
use fuzz::{bounded, bounded_by};
use libfuzzer_sys::fuzz_target;
use shared::crypto::{Curve, SigningKey};
use shared::firehose::verify::{verify_commit, verify_sync};
use shared::firehose::{Body, Event, Frame, Kind, Seq};
use shared::syntax::Datetime;

fuzz_target!(|data: &[u8]| {
    let frame = Bytes::copy_from_slice(data);
    match bounded(frame.len(), || Frame::decode(&frame)) {
        Ok(Frame::Event { seq, time, event }) => {
            if let Ok(body) = event.encode() {
                assert_eq!(body.decode().as_ref(), Ok(&event));
                let again = body.stamp(seq, &time).expect("smaller than the frame it came in");
                assert!(again.len() <= frame.len());
                assert_eq!(Frame::decode(&again), Ok(Frame::Event { seq, time, event: event.clone() }));
            }
            bounded_by(frame.len() * 128 + (1 << 22), || verify(&event));
        }
        Ok(Frame::Info(info)) => assert_eq!(Frame::decode(&info.encode()), Ok(Frame::Info(info))),
        Ok(Frame::Error(error)) => assert_eq!(Frame::decode(&error.encode()), Ok(Frame::Error(error))),
        Ok(Frame::Unknown { .. }) | Err(_) => {}
    }
    // The same bytes as a body out of storage.
    let seq = Seq::new(7).expect("a seq");
    let time = Datetime::from_unix_millis(1_700_000_000_000);
    for kind in [Kind::Commit, Kind::Sync, Kind::Identity, Kind::Account] {
        let body = Body::from_stored(kind, frame.clone());
        let stamped = bounded(frame.len(), || body.stamp(seq, &time));
        if let (Ok(event), Ok(stamped)) = (body.decode(), stamped) {
            assert_eq!(Frame::decode(&stamped), Ok(Frame::Event { seq, time: time.clone(), event }));
        }
    }
});

fn verify(event: &Event) {
    // The key that signed the seeds.
    let key = SigningKey::from_bytes(Curve::K256, &[7; 32]).expect("a key").public_key();
    let now = u64::MAX >> 12;
    match event {
        Event::Commit(commit) => drop(verify_commit(commit, None, &key, now)),
        Event::Sync(sync) => drop(verify_sync(sync, None, &key, now)),
        Event::Identity(_) | Event::Account(_) => {}
    }
}
