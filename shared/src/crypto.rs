//! Keys and signatures: ECDSA with SHA-256 over the two curves of atproto, k256 and p256.
//!
//! A message is hashed once and its hash is signed; a [`Signature`] is the 64 raw bytes `r || s`. Everything signed here
//! is deterministic (RFC 6979) and low-S. Verification comes in two strengths: [`PublicKey::verify`] refuses high-S and
//! is the one for commits, did:plc operations and labels, whose bytes must not be malleable; [`PublicKey::verify_lenient`]
//! takes both and is for JWTs only, because browsers' WebCrypto emits either.
//!
//! A [`PublicKey`] is always a point on its curve, decompressed once when it was parsed. A [`SigningKey`] is wiped from
//! memory when dropped and never printed. Nothing here draws random numbers: new keys are made of the caller's bytes.
//!
//! Specification: <https://atproto.com/specs/cryptography>; Multikey and legacy encodings: <https://atproto.com/specs/did>.

mod public_key;

use std::fmt;

use k256::ecdsa::signature::Signer;

pub use public_key::PublicKey;

/// A curve of atproto: secp256k1 (`k256`) or NIST P-256 (`p256`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Curve {
    /// secp256k1, the default for new keys.
    K256,
    /// NIST P-256, also called secp256r1 and prime256v1.
    P256,
}

impl Curve {
    /// The name of ECDSA on this curve in the `alg` of a JWT: `ES256K` or `ES256`.
    #[must_use]
    pub const fn jwt_alg(self) -> &'static str {
        match self {
            Self::K256 => "ES256K",
            Self::P256 => "ES256",
        }
    }

    /// The multicodec code of a public key on this curve (0xe7 or 0x1200) as a varint.
    const fn multicodec(self) -> [u8; 2] {
        match self {
            Self::K256 => [0xe7, 0x01],
            Self::P256 => [0x80, 0x24],
        }
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::K256 => "k256",
            Self::P256 => "p256",
        })
    }
}

/// Why a key or a signature was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The bytes are no secret key: wrong length, zero, or not below the order of the group.
    #[error("{len} bytes are no {curve} secret key, which is 32 bytes, not zero and below the group order")]
    SecretKey {
        /// The curve asked for.
        curve: Curve,
        /// How many bytes there were.
        len: usize,
    },
    /// The string does not start with `did:key:`.
    #[error("key does not start with did:key:")]
    NotDidKey,
    /// The string is not `z` and base58btc, or is longer than any key.
    #[error("key of {len} characters is not z and base58btc of a public key")]
    Multibase {
        /// How many characters there were.
        len: usize,
    },
    /// The key is of a type other than k256 and p256.
    #[error("key type is neither k256 nor p256")]
    KeyType,
    /// The bytes are no point of the curve in a form that is allowed there.
    #[error("{len} bytes are no public key on {curve}")]
    Point {
        /// The curve asked for.
        curve: Curve,
        /// How many bytes there were.
        len: usize,
    },
    /// The signature is not `r || s`; DER is refused here.
    #[error("signature is {len} bytes, must be 64")]
    SignatureLength {
        /// How many bytes there were.
        len: usize,
    },
    /// The signature would verify if its `s` were negated: it is in high-S form.
    #[error("signature is not in low-S form")]
    HighS,
    /// The signature does not belong to this message and key.
    #[error("signature does not match message and key")]
    Mismatch,
}

/// An ECDSA signature: 32 bytes `r`, 32 bytes `s`, both big-endian. Whether they are in range shows when it is verified.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; Self::LEN]);

impl Signature {
    /// Length in bytes.
    pub const LEN: usize = 64;

    /// Takes the raw form.
    ///
    /// # Errors
    /// [`CryptoError::SignatureLength`] for any other length, and so for DER.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        bytes.try_into().map(Self).map_err(|_| CryptoError::SignatureLength { len: bytes.len() })
    }

    /// Takes a secp256k1 signature in DER, as hardware and key services give it, and brings it to its low-S form.
    ///
    /// # Errors
    /// [`CryptoError::Mismatch`] for what is no such signature.
    pub fn from_k256_der(der: &[u8]) -> Result<Self, CryptoError> {
        let signature = k256::ecdsa::Signature::from_der(der).map_err(|_| CryptoError::Mismatch)?;
        Ok(Self(signature.normalize_s().to_bytes().into()))
    }

    /// The raw form.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl From<[u8; Signature::LEN]> for Signature {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// A secret key on one of the two curves. Its memory is wiped on drop, and `Debug` shows the public key only.
#[derive(Clone)]
pub struct SigningKey(Secret);

#[derive(Clone)]
enum Secret {
    K256(k256::ecdsa::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

impl SigningKey {
    /// Takes the 32 raw bytes of a secret key, as the reference stores them, or 32 random bytes for a new one.
    ///
    /// # Errors
    /// [`CryptoError::SecretKey`]. Random bytes fail with a chance of 2^-128 on k256 and 2^-32 on p256: draw again.
    pub fn from_bytes(curve: Curve, bytes: &[u8]) -> Result<Self, CryptoError> {
        let secret = match curve {
            Curve::K256 => k256::ecdsa::SigningKey::from_slice(exact(bytes)).map(Secret::K256),
            Curve::P256 => p256::ecdsa::SigningKey::from_slice(exact(bytes)).map(Secret::P256),
        };
        secret.map(Self).map_err(|_| CryptoError::SecretKey { curve, len: bytes.len() })
    }

    /// The 32 raw bytes of the secret key. The copy is the caller's to guard.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        match &self.0 {
            Secret::K256(key) => key.to_bytes().into(),
            Secret::P256(key) => key.to_bytes().into(),
        }
    }

    /// The curve of this key.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        match self.0 {
            Secret::K256(_) => Curve::K256,
            Secret::P256(_) => Curve::P256,
        }
    }

    /// The public half. Cheap: it was computed with the key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match &self.0 {
            Secret::K256(key) => PublicKey::k256(*key.verifying_key()),
            Secret::P256(key) => PublicKey::p256(*key.verifying_key()),
        }
    }

    /// Signs the SHA-256 of `message`: the same bytes give the same signature, always in low-S form.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(match &self.0 {
            Secret::K256(key) => {
                let signature: k256::ecdsa::Signature = key.sign(message);
                signature.normalize_s().to_bytes().into()
            }
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.normalize_s().to_bytes().into()
            }
        })
    }
}

/// `bytes` if they are 32, else nothing: the curve crates would accept a shorter secret and pad it.
fn exact(bytes: &[u8]) -> &[u8] {
    if bytes.len() == 32 { bytes } else { &[] }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(secret of {})", self.public_key())
    }
}

#[cfg(test)]
mod tests;
