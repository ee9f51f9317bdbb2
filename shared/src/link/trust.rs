//! Who is speaking: the two message authentication codes.
//!
//! *feed* signs the requests of the contract, both ways: purpose, method, path with query, time, nonce and the SHA-256
//! of the body. *forward* signs a reader's or writer's request on its way through the edge: purpose, method, path with
//! query, time and the three headers it vouches for, but never the body, which streams. Each purpose has keys of its own,
//! a current and a next one: requests are signed with the current one and accepted under both. To change keys, give both
//! sides the new key as next; then make it current and the old one next, side by side; then drop the old one.
//!
//! The code is HMAC-SHA256 over the fields, each behind its length in eight bytes, so that no two requests have the same
//! bytes. It is compared in constant time.
//!
//! # Replay
//!
//! A request may come again within [`WINDOW_SECONDS`] of its time, from a proxy that retries or from someone who read
//! it. That does no harm by the meaning of the messages: a push at or below a replica's position changes nothing, the
//! last version of a state wins, questions change nothing, and a repeated unregistration or purge costs a refill. A
//! forwarded request is the client's own to repeat. Whoever wants more remembers nonces for two windows.

use std::fmt;
use std::net::IpAddr;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{MAX_BODY_LEN, Region, is_internal};

/// How far from the receiver's clock, either way, the time of a request may be.
pub const WINDOW_SECONDS: u64 = 60;

/// The fewest bytes of a key. The keys are random; these are 128 bits.
pub const MIN_KEY_LEN: usize = 16;

/// The headers of both purposes start so; the edge takes them out of what clients send.
pub const HEADER_PREFIX: &str = "headwater-";

const TIME: &str = "headwater-time";
const NONCE: &str = "headwater-nonce";
const FEED: &str = "headwater-feed";
const FORWARD: &str = "headwater-forward";
const CLIENT: &str = "headwater-client";
const HOST: &str = "headwater-host";
const REGION: &str = "headwater-region";

/// Names this layout of fields.
const LAYOUT: &[u8] = b"headwater-link-1";

/// The longest host that is vouched for: a domain name and a port.
const MAX_HOST_LEN: usize = 253 + 6;

/// What of a request both purposes sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method in upper case, as on the wire.
    pub method: &'a str,
    /// Path and query, byte for byte as on the wire.
    pub path: &'a str,
}

/// The SHA-256 of a body that is not above [`MAX_BODY_LEN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    /// Hashes a body. One that goes to many replicas is hashed once.
    ///
    /// # Errors
    /// [`TrustError::BodyTooLong`] above [`MAX_BODY_LEN`].
    pub fn of(body: &[u8]) -> Result<Self, TrustError> {
        if body.len() > MAX_BODY_LEN {
            return Err(TrustError::BodyTooLong(body.len()));
        }
        Ok(Self(Sha256::digest(body).into()))
    }
}

/// What the edge vouches for about a request that it forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// The address of the client.
    pub client: IpAddr,
    /// The host that the client asked for, with a port if it named one: 1 to 259 visible ASCII characters.
    pub host: String,
    /// The region of the client.
    pub region: Region,
}

/// Why a key is refused, when a program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key is {len} bytes, must be at least {MIN_KEY_LEN}")]
pub struct KeyError {
    /// How long it is; zero for a variable that is set to nothing.
    pub len: usize,
}

/// Why a request is not taken for what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It is not signed, or lacks a header that the signature is about. A header that comes twice counts as missing.
    #[error("header {0} is missing")]
    Missing(&'static str),
    /// A header that cannot be what the other side sent.
    #[error("header {0} is malformed")]
    Malformed(&'static str),
    /// A time outside the window: a replay, or clocks that differ.
    #[error("request is {0} seconds off, limit {WINDOW_SECONDS}")]
    Expired(u64),
    /// Signed with neither key, or changed on its way.
    #[error("signature does not match")]
    Mismatch,
    /// A body above [`MAX_BODY_LEN`].
    #[error("body is {0} bytes, limit {MAX_BODY_LEN}")]
    BodyTooLong(usize),
    /// A *forward* signature on a path of the contract.
    #[error("forwarded requests have no business under /internal/")]
    Internal,
}

/// The keys of the contract's own requests.
#[derive(Clone)]
pub struct FeedKeys(Pair);

/// The keys that vouch for forwarded requests.
#[derive(Clone)]
pub struct ForwardKeys(Pair);

impl FeedKeys {
    /// Takes the current key, and the next one while keys are being changed.
    ///
    /// # Errors
    /// [`KeyError`] for a key shorter than [`MIN_KEY_LEN`].
    pub fn new(current: &[u8], next: Option<&[u8]>) -> Result<Self, KeyError> {
        Pair::new(current, next).map(Self)
    }

    /// The headers that sign a request. `now` is in seconds since 1970; `nonce` is random.
    #[must_use]
    pub fn sign(
        &self,
        request: Request<'_>,
        body: BodyDigest,
        now: u64,
        nonce: [u8; 16],
    ) -> [(&'static str, String); 3] {
        let (time, nonce) = (now.to_string(), HEXLOWER.encode(&nonce));
        let code = self.0.sign(&feed_fields(request, &time, &nonce, &body));
        [(TIME, time), (NONCE, nonce), (FEED, code)]
    }

    /// Checks that a request was signed by the other side. `header` gives the value of a header by its lower-case name;
    /// `None` if it is missing or comes twice. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// A [`TrustError`]; the request is then answered as if its path did not exist.
    pub fn verify<S: AsRef<str>>(
        &self,
        request: Request<'_>,
        header: impl Fn(&str) -> Option<S>,
        body: BodyDigest,
        now: u64,
    ) -> Result<(), TrustError> {
        let headers = Headers(header);
        let code = headers.get(FEED)?;
        let time = headers.time(now)?;
        let nonce = headers.get(NONCE)?;
        self.0.verify(&feed_fields(request, time.as_ref(), nonce.as_ref(), &body), code.as_ref(), FEED)
    }
}

impl ForwardKeys {
    /// Takes the current key, and the next one while keys are being changed.
    ///
    /// # Errors
    /// [`KeyError`] for a key shorter than [`MIN_KEY_LEN`].
    pub fn new(current: &[u8], next: Option<&[u8]>) -> Result<Self, KeyError> {
        Pair::new(current, next).map(Self)
    }

    /// The headers that vouch for a request. `now` is in seconds since 1970.
    #[must_use]
    pub fn sign(&self, request: Request<'_>, vouched: &Vouched, now: u64) -> [(&'static str, String); 5] {
        let (time, client) = (now.to_string(), vouched.client.to_string());
        let (host, region) = (vouched.host.clone(), vouched.region.to_string());
        let code = self.0.sign(&forward_fields(request, &time, [&client, &host, &region]));
        [(TIME, time), (CLIENT, client), (HOST, host), (REGION, region), (FORWARD, code)]
    }

    /// What the edge vouches for about a request; arguments as for [`FeedKeys::verify`].
    ///
    /// # Errors
    /// [`TrustError::Missing`] for a request that did not come by the edge; any other [`TrustError`] for one that
    /// pretends to.
    pub fn verify<S: AsRef<str>>(
        &self,
        request: Request<'_>,
        header: impl Fn(&str) -> Option<S>,
        now: u64,
    ) -> Result<Vouched, TrustError> {
        let headers = Headers(header);
        let code = headers.get(FORWARD)?;
        if is_internal(request.path) {
            return Err(TrustError::Internal);
        }
        let time = headers.time(now)?;
        let [client, host, region] = [headers.get(CLIENT)?, headers.get(HOST)?, headers.get(REGION)?];
        let [client, host, region] = [client.as_ref(), host.as_ref(), region.as_ref()];
        self.0.verify(&forward_fields(request, time.as_ref(), [client, host, region]), code.as_ref(), FORWARD)?;
        if !(1..=MAX_HOST_LEN).contains(&host.len()) || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TrustError::Malformed(HOST));
        }
        Ok(Vouched {
            client: client.parse().map_err(|_| TrustError::Malformed(CLIENT))?,
            host: host.to_owned(),
            region: Region::parse(region).map_err(|_| TrustError::Malformed(REGION))?,
        })
    }
}

fn feed_fields<'a>(request: Request<'a>, time: &'a str, nonce: &'a str, body: &'a BodyDigest) -> [&'a [u8]; 7] {
    let (method, path) = (request.method.as_bytes(), request.path.as_bytes());
    [LAYOUT, b"feed", method, path, time.as_bytes(), nonce.as_bytes(), &body.0]
}

fn forward_fields<'a>(request: Request<'a>, time: &'a str, vouched: [&'a str; 3]) -> [&'a [u8]; 8] {
    let (method, path) = (request.method.as_bytes(), request.path.as_bytes());
    let [client, host, region] = vouched.map(str::as_bytes);
    [LAYOUT, b"forward", method, path, time.as_bytes(), client, host, region]
}

/// The headers of a request being checked.
struct Headers<F>(F);

impl<S: AsRef<str>, F: Fn(&str) -> Option<S>> Headers<F> {
    fn get(&self, name: &'static str) -> Result<S, TrustError> {
        (self.0)(name).ok_or(TrustError::Missing(name))
    }

    /// The time of the request as it is signed, within the window around `now`.
    fn time(&self, now: u64) -> Result<S, TrustError> {
        let text = self.get(TIME)?;
        let time: u64 = text.as_ref().parse().map_err(|_| TrustError::Malformed(TIME))?;
        match now.abs_diff(time) {
            0..=WINDOW_SECONDS => Ok(text),
            off => Err(TrustError::Expired(off)),
        }
    }
}

/// A current key and perhaps a next one, each ready to be used.
#[derive(Clone)]
struct Pair {
    current: Hmac<Sha256>,
    next: Option<Hmac<Sha256>>,
}

impl Pair {
    fn new(current: &[u8], next: Option<&[u8]>) -> Result<Self, KeyError> {
        let ready = |key: &[u8]| match Hmac::new_from_slice(key) {
            Ok(mac) if key.len() >= MIN_KEY_LEN => Ok(mac),
            _ => Err(KeyError { len: key.len() }),
        };
        Ok(Self { current: ready(current)?, next: next.map(ready).transpose()? })
    }

    fn sign(&self, fields: &[&[u8]]) -> String {
        HEXLOWER.encode(&over(&self.current, fields).finalize().into_bytes())
    }

    /// Compares in constant time; `header` is what to call `code` in an error.
    fn verify(&self, fields: &[&[u8]], code: &str, header: &'static str) -> Result<(), TrustError> {
        let code = HEXLOWER.decode(code.as_bytes()).map_err(|_| TrustError::Malformed(header))?;
        let matches = |key| over(key, fields).verify_slice(&code).is_ok();
        if matches(&self.current) || self.next.as_ref().is_some_and(matches) {
            Ok(())
        } else {
            Err(TrustError::Mismatch)
        }
    }
}

fn over(key: &Hmac<Sha256>, fields: &[&[u8]]) -> Hmac<Sha256> {
    fields
        .iter()
        .fold(key.clone(), |mac, field| mac.chain_update((field.len() as u64).to_be_bytes()).chain_update(field))
}

impl fmt::Debug for FeedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedKeys(secret)")
    }
}

impl fmt::Debug for ForwardKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForwardKeys(secret)")
    }
}

#[cfg(test)]
mod tests;
