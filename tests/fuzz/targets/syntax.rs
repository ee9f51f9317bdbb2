//! Identifiers: what parses passes `check`, keeps its text but for the case of letters, and parses to itself.
#![no_main]

use std::fmt::{Debug, Display};
use std::hint::black_box;
use std::str::FromStr;

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use shared::lexicon::Format;
use shared::syntax::{
    AtIdentifier, AtUri, Datetime, Did, DidMethod, Handle, Language, Nsid, Path, RecordKey, SyntaxError, Tid, Uri,
    is_cid_string,
};

fuzz_target!(|text: &str| {
    holds::<AtIdentifier>(text, AtIdentifier::check);
    holds::<Language>(text, Language::check);
    holds::<RecordKey>(text, RecordKey::check);
    holds::<Uri>(text, Uri::check);
    if let Some(uri) = holds::<AtUri>(text, AtUri::check) {
        black_box(uri.authority());
        assert!(uri.rkey().is_none() || uri.collection().is_some());
    }
    if let Some(did) = holds::<Did>(text, Did::check) {
        assert_eq!(format!("did:{}:{}", did.method(), did.id()), text);
        if let Ok(DidMethod::Web(web)) = did.check_method() {
            assert!(web.document_url().starts_with("http"));
        }
    }
    if let Some(handle) = holds::<Handle>(text, Handle::check) {
        black_box(handle.tld());
    }
    if let Some(nsid) = holds::<Nsid>(text, Nsid::check) {
        assert!(nsid.segments().count() > 2 && nsid.name() == nsid.segments().next_back().unwrap_or_default());
        black_box(nsid.authority());
    }
    if let Some(path) = holds::<Path>(text, Path::check) {
        assert_eq!(Path::new(&path.collection(), &path.rkey()), path);
    }
    if let Some(tid) = holds::<Tid>(text, Tid::check) {
        // Those from c on are valid but beyond what 64 signed bits make.
        assert!(text >= "c" || Tid::from_parts(tid.micros(), tid.clock_id()) == tid);
    }
    if let Some(datetime) = holds::<Datetime>(text, Datetime::check) {
        let micros = datetime.unix_micros();
        assert_eq!(Datetime::from_unix_micros(micros).unix_micros(), micros - micros.rem_euclid(1000));
    }
    for name in
        ["at-identifier", "at-uri", "cid", "datetime", "did", "handle", "language", "nsid", "record-key", "tid", "uri"]
    {
        black_box(Format::from_name(name).expect("a format").matches(text));
    }
    black_box(is_cid_string(text));
});

fn holds<T>(text: &str, check: fn(&str) -> Result<(), SyntaxError>) -> Option<T>
where
    T: FromStr<Err = SyntaxError> + AsRef<str> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let parsed = bounded(text.len(), || text.parse::<T>());
    assert_eq!(parsed.as_ref().err(), bounded(0, || check(text)).as_ref().err());
    let value = parsed.ok()?;
    assert!(value.as_ref().eq_ignore_ascii_case(text));
    assert_eq!(value.to_string().parse::<T>().as_ref(), Ok(&value));
    let json = serde_json::to_string(&value).expect("a string");
    assert_eq!(serde_json::from_str::<T>(&json).expect("the same parser"), value);
    Some(value)
}
