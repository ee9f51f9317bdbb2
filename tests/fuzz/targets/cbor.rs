//! Strict DAG-CBOR: what is accepted is the one encoding of its value, and passing over it is as strict as reading it.
#![no_main]

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use shared::cbor::{self, CborError, MAX_DEPTH, Reader};

fuzz_target!(|data: &[u8]| {
    let decoded = bounded(data.len(), || cbor::decode(data));
    let skipped = bounded(0, || skip(data));
    assert_eq!(decoded.as_ref().map(drop), skipped.as_ref().copied());
    if let Ok(value) = decoded {
        assert_eq!(cbor::encode(&value), data);
        let other = ciborium::de::from_reader_with_recursion_limit::<ciborium::Value, _>(data, 2 * MAX_DEPTH);
        other.expect("strict CBOR is CBOR");
        serde_json::to_string(&value).expect("every value has a form in JSON");
    }
});

fn skip(data: &[u8]) -> Result<(), CborError> {
    let mut reader = Reader::new(data);
    reader.skip()?;
    reader.finish()
}
