//! CIDs: bytes and text of one are each the only ones.
#![no_main]

use std::hint::black_box;

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use shared::cid::{Cid, MAX_LEN};
use shared::syntax::is_cid_string;

fuzz_target!(|data: &[u8]| {
    let whole = bounded(data.len(), || Cid::from_bytes(data));
    if let Ok(cid) = &whole {
        assert_eq!(cid.as_bytes(), data);
        assert!(data.len() <= MAX_LEN);
        let text = cid.to_string();
        assert_eq!(Cid::parse(&text).as_ref(), Ok(cid));
        assert!(is_cid_string(&text));
        assert_eq!(cid.is_atproto(), cid.sha256().is_some());
        assert!(!(cid.is_blob() && cid.is_repo_node()));
        black_box(cid.codec());
        black_box(cid.matches(data));
    }
    match bounded(data.len(), || Cid::read_prefix(data)) {
        Ok((cid, len)) => assert_eq!(Cid::from_bytes(&data[..len]), Ok(cid)),
        Err(_) => assert!(whole.is_err()),
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(cid) = bounded(data.len(), || Cid::parse(text)) {
            assert_eq!(cid.to_string(), text);
            assert!(is_cid_string(text));
        }
        black_box(is_cid_string(text));
    }
});
