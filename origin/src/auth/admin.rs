//! The administrator: `Basic` authentication with the name `admin` and the configured password.

use axum::http::HeaderMap;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Asked, Auth, Authorization};
use crate::error::XrpcError;

const NAME: &[u8] = b"admin";

/// The administrator and nobody else.
#[derive(Debug, Clone, Copy)]
pub struct Admin;

impl Auth for Admin {
    type Caller = ();

    async fn verify(&self, asked: &Asked<'_>) -> Result<(), XrpcError> {
        let password = asked.app.config().secrets.admin_password.expose();
        // A header that cannot be read is wrong credentials like any other.
        if is_admin(asked.headers, password) { Ok(()) } else { Err(XrpcError::authentication_required()) }
    }
}

fn is_admin(headers: &HeaderMap, expected: &str) -> bool {
    let Ok(Authorization::Basic(encoded)) = Authorization::of(headers) else { return false };
    let Some(decoded) = decode(encoded) else { return false };
    // A password may hold colons, a name may not.
    let Some(colon) = decoded.iter().position(|byte| *byte == b':') else { return false };
    let (name, password) = (&decoded[..colon], &decoded[colon + 1..]);
    // Hashes, so that the time tells nothing of the length either.
    let same = Sha256::digest(password).ct_eq(&Sha256::digest(expected.as_bytes()));
    bool::from(same & name.ct_eq(NAME))
}

/// Base64 of either alphabet, with or without padding.
fn decode(encoded: &str) -> Option<Vec<u8>> {
    let bare = encoded.trim_end_matches('=').as_bytes();
    BASE64_NOPAD.decode(bare).or_else(|_| BASE64URL_NOPAD.decode(bare)).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::header;
    use data_encoding::BASE64;

    use super::*;

    fn admits(value: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        is_admin(&headers, "pass:word")
    }

    #[test]
    fn only_the_name_and_the_password_are_let_in() {
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text.as_bytes()));
        assert!(admits(&basic("admin:pass:word")));
        assert!(admits(basic("admin:pass:word").trim_end_matches('=')));
        for wrong in ["admin:pass", "admin:pass:word ", "Admin:pass:word", ":pass:word", "admin", ""] {
            assert!(!admits(&basic(wrong)), "{wrong}");
        }
        assert!(!admits("Bearer admin:pass:word"));
        assert!(!admits("Basic !"));
        assert!(!is_admin(&HeaderMap::new(), ""));
    }
}
