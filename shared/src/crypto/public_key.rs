//! Public keys and their spellings: `did:key`, Multikey, SEC1, and the legacy multibase of old DID documents.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use k256::ecdsa::signature::Verifier;

use super::{CryptoError, Curve, Signature};

const DID_KEY: &str = "did:key:";
const COMPRESSED: usize = 33;
const UNCOMPRESSED: usize = 65;
/// Two bytes of multicodec and a compressed point.
const MULTIKEY: usize = 2 + COMPRESSED;
/// No public key needs more: 65 bytes are at most 89 characters of base58, and `z`.
const MAX_MULTIBASE: usize = 90;

/// A public key on one of the two curves, always a valid point. Parsing decompresses it once, so keep the value when
/// many signatures of one key are to be verified.
///
/// Two keys are equal if they are the same point on the same curve. `Display` and `FromStr` are the `did:key` form.
#[derive(Clone, Copy)]
pub struct PublicKey(Point);

#[derive(Clone, Copy)]
enum Point {
    K256(k256::ecdsa::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    pub(super) const fn k256(key: k256::ecdsa::VerifyingKey) -> Self {
        Self(Point::K256(key))
    }

    pub(super) const fn p256(key: p256::ecdsa::VerifyingKey) -> Self {
        Self(Point::P256(key))
    }

    /// Parses `did:key:z...`.
    ///
    /// # Errors
    /// [`CryptoError::NotDidKey`], or why what follows is no Multikey.
    pub fn from_did_key(text: &str) -> Result<Self, CryptoError> {
        Self::from_multikey(text.strip_prefix(DID_KEY).ok_or(CryptoError::NotDidKey)?)
    }

    /// Formats as `did:key:z...`, 57 characters.
    #[must_use]
    pub fn to_did_key(&self) -> String {
        DID_KEY.to_owned() + &self.to_multikey()
    }

    /// Parses a Multikey: `z`, then base58btc of the multicodec and the compressed point.
    ///
    /// # Errors
    /// [`CryptoError::Multibase`], also for an uncompressed point, [`CryptoError::KeyType`] or [`CryptoError::Point`].
    pub fn from_multikey(text: &str) -> Result<Self, CryptoError> {
        let mut buffer = [0; MULTIKEY];
        let bytes = decode_multibase(text, &mut buffer)?;
        for curve in [Curve::K256, Curve::P256] {
            if let Some(point) = bytes.strip_prefix(&curve.multicodec()) {
                return Self::from_sec1(curve, point);
            }
        }
        Err(CryptoError::KeyType)
    }

    /// Formats as a Multikey, the form of `publicKeyMultibase` in DID documents, 49 characters.
    #[must_use]
    pub fn to_multikey(&self) -> String {
        let mut bytes = [0; MULTIKEY];
        let parts = self.curve().multicodec().into_iter().chain(self.to_compressed());
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        String::from("z") + &bs58::encode(bytes).into_string()
    }

    /// Parses the key of a legacy verification method, whose type names the curve: `z`, then base58btc of the point,
    /// uncompressed or compressed, without a multicodec.
    ///
    /// # Errors
    /// [`CryptoError::Multibase`] or [`CryptoError::Point`].
    pub fn from_legacy_multibase(curve: Curve, text: &str) -> Result<Self, CryptoError> {
        let mut buffer = [0; UNCOMPRESSED];
        Self::from_sec1(curve, decode_multibase(text, &mut buffer)?)
    }

    /// Parses a point: 33 bytes compressed (0x02, 0x03) or 65 uncompressed (0x04).
    ///
    /// # Errors
    /// [`CryptoError::Point`] for infinity, points beside the curve and every other form.
    pub fn from_sec1(curve: Curve, bytes: &[u8]) -> Result<Self, CryptoError> {
        let point = match (bytes.len(), bytes.first(), curve) {
            (COMPRESSED, Some(2 | 3), Curve::K256) | (UNCOMPRESSED, Some(4), Curve::K256) => {
                k256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).map(Point::K256)
            }
            (COMPRESSED, Some(2 | 3), Curve::P256) | (UNCOMPRESSED, Some(4), Curve::P256) => {
                p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).map(Point::P256)
            }
            _ => return Err(point_error(curve, bytes)),
        };
        point.map(Self).map_err(|_| point_error(curve, bytes))
    }

    /// The compressed point.
    #[must_use]
    pub fn to_compressed(&self) -> [u8; COMPRESSED] {
        match &self.0 {
            Point::K256(key) => sec1(key.to_sec1_point(true).as_bytes()),
            Point::P256(key) => sec1(key.to_sec1_point(true).as_bytes()),
        }
    }

    /// The uncompressed point: 0x04, then x and y of 32 bytes each.
    #[must_use]
    pub fn to_uncompressed(&self) -> [u8; UNCOMPRESSED] {
        match &self.0 {
            Point::K256(key) => sec1(key.to_sec1_point(false).as_bytes()),
            Point::P256(key) => sec1(key.to_sec1_point(false).as_bytes()),
        }
    }

    /// The curve of this key.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        match self.0 {
            Point::K256(_) => Curve::K256,
            Point::P256(_) => Curve::P256,
        }
    }

    /// Verifies strictly: for commits, did:plc operations and labels.
    ///
    /// # Errors
    /// [`CryptoError::Mismatch`], or [`CryptoError::HighS`] for a good signature in the other form.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), CryptoError> {
        if self.is_low_s(message, signature)? { Ok(()) } else { Err(CryptoError::HighS) }
    }

    /// Verifies and takes `s` in either form: for JWTs, which WebCrypto signs high-S half the time.
    ///
    /// # Errors
    /// [`CryptoError::Mismatch`].
    pub fn verify_lenient(&self, message: &[u8], signature: &Signature) -> Result<(), CryptoError> {
        self.is_low_s(message, signature).map(|_| ())
    }

    /// Verifies, and says whether the signature that was given is the low-S one.
    fn is_low_s(&self, message: &[u8], signature: &Signature) -> Result<bool, CryptoError> {
        let bytes = signature.as_bytes();
        let verified = match &self.0 {
            Point::K256(key) => k256::ecdsa::Signature::from_slice(bytes).and_then(|given| {
                let low = given.normalize_s();
                key.verify(message, &low).map(|()| low == given)
            }),
            Point::P256(key) => p256::ecdsa::Signature::from_slice(bytes).and_then(|given| {
                let low = given.normalize_s();
                key.verify(message, &low).map(|()| low == given)
            }),
        };
        verified.map_err(|_| CryptoError::Mismatch)
    }
}

/// Decodes `z` and base58btc into `buffer` and returns the filled part.
fn decode_multibase<'a>(text: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], CryptoError> {
    let refused = CryptoError::Multibase { len: text.len() };
    let Some(digits) = text.strip_prefix('z').filter(|_| text.len() <= MAX_MULTIBASE) else {
        return Err(refused);
    };
    let Ok(len) = bs58::decode(digits).onto(&mut *buffer) else {
        return Err(refused);
    };
    buffer.get(..len).ok_or(refused)
}

fn point_error(curve: Curve, bytes: &[u8]) -> CryptoError {
    CryptoError::Point { curve, len: bytes.len() }
}

/// Copies an encoded point, whose length its form fixes.
fn sec1<const N: usize>(point: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(point) {
        *to = *from;
    }
    bytes
}

impl FromStr for PublicKey {
    type Err = CryptoError;

    fn from_str(text: &str) -> Result<Self, CryptoError> {
        Self::from_did_key(text)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_did_key())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Point::K256(a), Point::K256(b)) => a == b,
            (Point::P256(a), Point::P256(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.curve().hash(state);
        self.to_compressed().hash(state);
    }
}
