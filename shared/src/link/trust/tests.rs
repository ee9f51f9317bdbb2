//! Signatures between edge and origin: what each covers, and what is not believed.

use super::*;

const KEY: &[u8] = b"0123456789abcdef";
const OTHER: &[u8] = b"fedcba9876543210";
const NOW: u64 = 1_700_000_000;
const PULL: Request<'_> = Request { method: "POST", path: "/internal/v1/pull?x=1" };
const READ: Request<'_> = Request { method: "GET", path: "/xrpc/a.b.c?d=e" };

fn feed(current: &[u8], next: Option<&[u8]>) -> FeedKeys {
    FeedKeys::new(current, next).unwrap()
}

fn forward(current: &[u8], next: Option<&[u8]>) -> ForwardKeys {
    ForwardKeys::new(current, next).unwrap()
}

fn body(bytes: &[u8]) -> BodyDigest {
    BodyDigest::of(bytes).unwrap()
}

fn vouched() -> Vouched {
    Vouched {
        client: "203.0.113.9".parse().unwrap(),
        host: "pds.example.com".to_owned(),
        region: Region::parse("weur").unwrap(),
    }
}

/// Looks headers up as a server does.
fn lookup<'h>(headers: &'h [(&'static str, String)]) -> impl Fn(&str) -> Option<&'h str> {
    move |name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

/// The headers with one of them changed.
fn with(headers: &[(&'static str, String)], name: &str, value: &str) -> Vec<(&'static str, String)> {
    let change =
        |(known, old): &(&'static str, String)| (*known, if *known == name { value.into() } else { old.clone() });
    headers.iter().map(change).collect()
}

fn without(headers: &[(&'static str, String)], name: &str) -> Vec<(&'static str, String)> {
    headers.iter().filter(|(known, _)| *known != name).cloned().collect()
}

#[test]
fn the_codes_are_what_any_hmac_makes_of_the_layout() {
    let [time, nonce, code] = feed(KEY, None).sign(PULL, body(b"body"), NOW, *b"pppppppppppppppp");
    assert_eq!((time.0, time.1.as_str()), ("headwater-time", "1700000000"));
    assert_eq!((nonce.0, nonce.1.as_str()), ("headwater-nonce", "70707070707070707070707070707070"));
    assert_eq!(code.0, "headwater-feed");
    // Computed apart, from the layout that this module's header states.
    assert_eq!(code.1, "c66b83c4296613893abffbac23fbdf5c7a78160b66ee4df3e35654eebb72ff64");
    let [.., code] = forward(KEY, None).sign(READ, &vouched(), NOW);
    assert_eq!(code.0, "headwater-forward");
    assert_eq!(code.1, "f82b679f4ccee8c6795b04630e416d20215db7c8652fab565f0fb2ca3ee1966c");
}

#[test]
fn a_feed_request_is_taken_as_it_was_signed_and_not_otherwise() {
    let keys = feed(KEY, None);
    let signed = keys.sign(PULL, body(b"body"), NOW, [7; 16]);
    let verify = |request, headers: &[_], digest| keys.verify(request, lookup(headers), digest, NOW);
    assert_eq!(verify(PULL, &signed, body(b"body")), Ok(()));

    for request in [
        Request { method: "GET", ..PULL },
        Request { path: "/internal/v1/pull", ..PULL },
        Request { path: "/internal/v1/pull?x=2", ..PULL },
        // The same bytes, divided otherwise.
        Request { method: "POST/", path: "internal/v1/pull?x=1" },
    ] {
        assert_eq!(verify(request, &signed, body(b"body")), Err(TrustError::Mismatch), "{request:?}");
    }
    assert_eq!(verify(PULL, &signed, body(b"Body")), Err(TrustError::Mismatch));
    assert_eq!(verify(PULL, &with(&signed, TIME, "1700000001"), body(b"body")), Err(TrustError::Mismatch));
    assert_eq!(verify(PULL, &with(&signed, TIME, "+1700000000"), body(b"body")), Err(TrustError::Mismatch));
    assert_eq!(verify(PULL, &with(&signed, NONCE, ""), body(b"body")), Err(TrustError::Mismatch));
    assert_eq!(verify(PULL, &with(&signed, FEED, &"0".repeat(64)), body(b"body")), Err(TrustError::Mismatch));
    assert_eq!(verify(PULL, &with(&signed, FEED, ""), body(b"body")), Err(TrustError::Mismatch));
    assert_eq!(verify(PULL, &with(&signed, FEED, "x"), body(b"body")), Err(TrustError::Malformed(FEED)));
    assert_eq!(verify(PULL, &with(&signed, TIME, "now"), body(b"body")), Err(TrustError::Malformed(TIME)));
    for name in [TIME, NONCE, FEED] {
        assert_eq!(verify(PULL, &without(&signed, name), body(b"body")), Err(TrustError::Missing(name)));
    }
}

#[test]
fn a_forwarded_request_vouches_for_three_headers() {
    let keys = forward(KEY, None);
    let signed = keys.sign(READ, &vouched(), NOW);
    let verify = |request, headers: &[_]| keys.verify(request, lookup(headers), NOW);
    assert_eq!(verify(READ, &signed), Ok(vouched()));
    for (name, value) in [(CLIENT, "203.0.113.10"), (HOST, "evil.example.com"), (REGION, "apac"), (TIME, "1700000001")]
    {
        assert_eq!(verify(READ, &with(&signed, name, value)), Err(TrustError::Mismatch), "{name}");
        assert_eq!(verify(READ, &without(&signed, name)), Err(TrustError::Missing(name)));
    }
    assert_eq!(verify(READ, &[]), Err(TrustError::Missing(FORWARD)));
    assert_eq!(verify(Request { method: "POST", ..READ }, &signed), Err(TrustError::Mismatch));

    let six = Vouched { client: "2001:db8::1".parse().unwrap(), host: "localhost:2583".to_owned(), ..vouched() };
    assert_eq!(verify(READ, &keys.sign(READ, &six, NOW)), Ok(six));
    for host in ["", "a b", "a\u{e9}", &"a".repeat(260)] {
        let odd = Vouched { host: host.to_owned(), ..vouched() };
        assert_eq!(verify(READ, &keys.sign(READ, &odd, NOW)), Err(TrustError::Malformed(HOST)), "{host:?}");
    }
}

#[test]
fn forwarding_opens_nothing_internal() {
    let keys = forward(KEY, None);
    for path in ["/internal/v1/pull", "/%69nternal/v1/pull", "//internal/x"] {
        let request = Request { method: "POST", path };
        let signed = keys.sign(request, &vouched(), NOW);
        assert_eq!(keys.verify(request, lookup(&signed), NOW), Err(TrustError::Internal), "{path}");
    }
}

#[test]
fn one_purpose_does_not_pass_for_the_other() {
    let (feed, forward) = (feed(KEY, None), forward(KEY, None));
    let [time, client, host, region, (_, code)] = forward.sign(READ, &vouched(), NOW);
    let headers = [time, client, host, region, (NONCE, "00".repeat(16)), (FEED, code)];
    assert_eq!(feed.verify(READ, lookup(&headers), body(b""), NOW), Err(TrustError::Mismatch));
    let [time, nonce, (_, code)] = feed.sign(READ, body(b""), NOW, [0; 16]);
    let [_, client, host, region, _] = forward.sign(READ, &vouched(), NOW);
    let headers = [time, nonce, client, host, region, (FORWARD, code)];
    assert_eq!(forward.verify(READ, lookup(&headers), NOW), Err(TrustError::Mismatch));
}

#[test]
fn the_window_is_sixty_seconds_either_way() {
    let keys = feed(KEY, None);
    let signed = keys.sign(PULL, body(b""), NOW, [7; 16]);
    let at = |now| keys.verify(PULL, lookup(&signed), body(b""), now);
    assert_eq!((at(NOW - 60), at(NOW + 60)), (Ok(()), Ok(())));
    assert_eq!((at(NOW - 61), at(NOW + 61)), (Err(TrustError::Expired(61)), Err(TrustError::Expired(61))));
    assert_eq!(at(0), Err(TrustError::Expired(NOW)));
    assert_eq!(at(u64::MAX), Err(TrustError::Expired(u64::MAX - NOW)));
}

#[test]
fn keys_change_in_three_steps_without_a_refusal() {
    let steps = [
        (feed(KEY, None), feed(KEY, Some(OTHER))),
        (feed(KEY, Some(OTHER)), feed(OTHER, Some(KEY))),
        (feed(OTHER, Some(KEY)), feed(OTHER, None)),
    ];
    for (before, after) in &steps {
        for (sender, receiver) in [(before, after), (after, before)] {
            let signed = sender.sign(PULL, body(b""), NOW, [7; 16]);
            assert_eq!(receiver.verify(PULL, lookup(&signed), body(b""), NOW), Ok(()));
        }
    }
    let signed = feed(KEY, None).sign(PULL, body(b""), NOW, [7; 16]);
    assert_eq!(feed(OTHER, None).verify(PULL, lookup(&signed), body(b""), NOW), Err(TrustError::Mismatch));
}

#[test]
fn an_empty_or_short_key_is_refused_and_none_is_shown() {
    for len in [0, 1, MIN_KEY_LEN - 1] {
        assert_eq!(FeedKeys::new(&KEY[..len], None).unwrap_err(), KeyError { len });
        assert_eq!(ForwardKeys::new(KEY, Some(&KEY[..len])).unwrap_err(), KeyError { len });
    }
    assert!(FeedKeys::new(&[7; 200], Some(KEY)).is_ok());
    assert_eq!(format!("{:?} {:?}", feed(KEY, None), forward(KEY, None)), "FeedKeys(secret) ForwardKeys(secret)");
}

#[test]
fn a_body_above_the_limit_is_not_hashed() {
    assert!(BodyDigest::of(&vec![0; MAX_BODY_LEN]).is_ok());
    assert_eq!(BodyDigest::of(&vec![0; MAX_BODY_LEN + 1]), Err(TrustError::BodyTooLong(MAX_BODY_LEN + 1)));
}
