//! What holds for every identifier, on random texts. The official vectors have a package of their own.

use super::*;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

/// Whatever `text` is, nothing panics; what parses passes `check`, and its text parses to itself, also through JSON.
fn holds<T>(text: &str, check: fn(&str) -> Result<(), SyntaxError>)
where
    T: FromStr<Err = SyntaxError> + AsRef<str> + fmt::Display + fmt::Debug + PartialEq + Serialize + DeserializeOwned,
{
    let parsed = text.parse::<T>();
    assert_eq!(parsed.as_ref().err(), check(text).as_ref().err());
    let json = serde_json::to_string(text).unwrap();
    let Ok(value) = parsed else {
        assert!(serde_json::from_str::<T>(&json).is_err());
        return;
    };
    assert_eq!(value.to_string().parse::<T>().as_ref(), Ok(&value));
    assert_eq!(value.as_ref(), value.to_string());
    assert!(value.as_ref().eq_ignore_ascii_case(text));
    assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value);
    assert_eq!(serde_json::to_string(&value).unwrap(), serde_json::to_string(value.as_ref()).unwrap());
}

fn all_hold(text: &str) {
    holds::<AtIdentifier>(text, AtIdentifier::check);
    holds::<AtUri>(text, AtUri::check);
    holds::<Datetime>(text, Datetime::check);
    holds::<Did>(text, Did::check);
    holds::<Handle>(text, Handle::check);
    holds::<Language>(text, Language::check);
    holds::<Nsid>(text, Nsid::check);
    holds::<Path>(text, Path::check);
    holds::<RecordKey>(text, RecordKey::check);
    holds::<Tid>(text, Tid::check);
    holds::<Uri>(text, Uri::check);
    assert!(!is_cid_string(text) || text.len() >= 8);
    if let Ok(did) = Did::parse(text) {
        assert_eq!(format!("did:{}:{}", did.method(), did.id()), text);
        assert_eq!(did.is_plc(), did.check_method() == Ok(DidMethod::Plc));
    }
    if let Ok(language) = Language::parse(text) {
        assert!(!language.repeats_subtag() || text.contains('-'));
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        all_hold(&text);
    }

    #[test]
    fn no_text_of_likely_characters_panics(text in "[a-zA-Z0-9.:/%_~ +-]{0,40}") {
        all_hold(&text);
    }

    #[test]
    fn no_text_of_the_right_shape_panics(
        did in "did:(web|plc|[a-z]{1,3}):[a-z0-9A-Z.:%_-]{1,24}",
        handle in "[a-zA-Z0-9-]{1,5}(\\.[a-zA-Z0-9-]{1,5}){1,3}",
        rkey in "[a-zA-Z0-9._:~-]{1,20}",
        datetime in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-6][0-9])",
        language in "[a-z]{2,3}(-[a-zA-Z0-9]{1,9}){0,5}",
        tid in "[2-7a-z]{13}",
    ) {
        for text in [
            &did, &handle, &rkey, &datetime, &language, &tid,
            &format!("{handle}/{rkey}"), &format!("at://{did}"), &format!("at://{did}/{handle}/{rkey}"),
        ] {
            all_hold(text);
        }
    }

    #[test]
    fn tids_order_as_their_numbers(a in any::<(u64, u16)>(), b in any::<(u64, u16)>()) {
        let (low, high) = (Tid::from_parts(a.0 >> 11, a.1), Tid::from_parts(b.0 >> 11, b.1));
        prop_assert_eq!(low.micros(), a.0 >> 11);
        prop_assert_eq!(low.clock_id(), a.1 % 1024);
        prop_assert_eq!(low.cmp(&high), (low.micros(), low.clock_id()).cmp(&(high.micros(), high.clock_id())));
        prop_assert_eq!(low.cmp(&high), low.as_str().cmp(high.as_str()));
        prop_assert_eq!(Tid::parse(low.as_str()), Ok(low));
    }

    #[test]
    fn the_next_tid_is_above_the_last_one(prev in "[2-7a][2-7a-z]{12}", now in any::<u64>(), id in any::<u16>()) {
        let prev = Tid::parse(&prev).unwrap();
        let next = Tid::next_after(Some(&prev), now >> 11, id).unwrap();
        prop_assert!(next > prev && next.as_str() < "c");
        prop_assert!(next.micros() == now >> 11 || next.micros() == prev.micros() + 1);
    }

    #[test]
    fn a_datetime_comes_back_to_the_millisecond(millis in -62_167_219_200_000_i64..253_402_300_800_000) {
        let datetime = Datetime::from_unix_millis(millis);
        prop_assert_eq!(datetime.unix_micros(), millis * 1000);
        prop_assert_eq!(Datetime::parse(datetime.as_str()), Ok(datetime));
    }
}
