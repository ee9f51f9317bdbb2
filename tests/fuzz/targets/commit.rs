//! Commits: what is accepted is the one encoding of a commit.
#![no_main]

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use shared::crypto::{Curve, SigningKey};
use shared::repo::commit::Commit;

fuzz_target!(|data: &[u8]| {
    if let Ok(commit) = bounded(data.len(), || Commit::from_block(data)) {
        let block = commit.to_block();
        assert_eq!(block.bytes, data);
        assert_eq!(Commit::from_block(&block.bytes), Ok(commit.clone()));
        for curve in [Curve::K256, Curve::P256] {
            let key = SigningKey::from_bytes(curve, &[7; 32]).expect("a key");
            let own = Commit::sign(commit.did.clone(), commit.rev, commit.data.clone(), &key);
            assert!(own.is_signed_by(&key.public_key()));
            assert_eq!(commit.is_signed_by(&key.public_key()), commit == own);
        }
    }
});
