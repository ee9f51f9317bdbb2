//! Signatures of requests to AWS and to what speaks as it does, version 4: what shows a service whose request it is, and that
//! nothing of it was changed.
//!
//! Pure: the time is given. The signature is in a header, since a URL that is signed is a secret that ends in logs, and
//! since that is the form that every server takes. Method, path, query, host, the headers given, and the SHA-256 of the
//! body are signed.
//!
//! Specification: <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HOST, HeaderName};
use sha2::{Digest as _, Sha256};
use shared::api::Secret;
use shared::syntax::Datetime;
use url::Url;

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// What stands for itself in a parameter; everything else is percent-encoded.
const PARAMETER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same in a path.
const PATH: &AsciiSet = &PARAMETER.remove(b'/');

/// Who signs, and for where.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    /// The name of the service, such as `s3`.
    pub(crate) service: &'static str,
    pub(crate) region: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: Secret,
    /// What comes with a key that is lent.
    pub(crate) session_token: Option<Secret>,
}

/// What is signed. The headers are in the order of their names, `host` among them.
#[derive(Debug)]
struct ToSign<'a> {
    method: &'a str,
    url: &'a Url,
    headers: &'a [(HeaderName, String)],
    /// The body's SHA-256, in hex.
    body: &'a str,
    /// When, as [`timestamp`] has it.
    at: &'a str,
}

impl Signer {
    /// The headers of a request: those given, what has to go along with them, and the signature of all. `body` is the
    /// body's SHA-256, in hex.
    pub(crate) fn sign(
        &self,
        method: &str,
        url: &Url,
        mut headers: Vec<(HeaderName, String)>,
        body: &str,
        at: &Datetime,
    ) -> Vec<(HeaderName, String)> {
        let at = timestamp(at);
        headers.push((HOST, host_of(url)));
        headers.push((DATE, at.clone()));
        headers.extend(self.session_token.as_ref().map(|token| (TOKEN, token.expose().to_owned())));
        headers.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let authorization = self.authorization(&ToSign { method, url, headers: &headers, body, at: &at });
        headers.push((AUTHORIZATION, authorization));
        headers
    }

    /// The value of the header `authorization`.
    fn authorization(&self, ToSign { method, url, headers, body, at }: &ToSign<'_>) -> String {
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let mut canonical = format!("{method}\n{}\n{}\n", url.path(), url.query().unwrap_or_default());
        for (name, value) in *headers {
            let value: Vec<&str> = value.split_ascii_whitespace().collect();
            let _infallible = writeln!(canonical, "{name}:{}", value.join(" "));
        }
        let _infallible = write!(canonical, "\n{names}\n{body}");

        let day = at.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", HEXLOWER.encode(&Sha256::digest(canonical)));
        let mut key = mac(format!("AWS4{}", self.secret_access_key.expose()).as_bytes(), day);
        for step in [self.region.as_str(), self.service, "aws4_request"] {
            key = mac(&key, step);
        }
        let signature = HEXLOWER.encode(&mac(&key, &text));
        let credential = format!("{}/{scope}", self.access_key_id);
        format!("AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={names},Signature={signature}")
    }
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// A moment as signatures have it: `YYYYMMDDTHHMMSSZ`.
fn timestamp(at: &Datetime) -> String {
    let (second, _) = at.as_str().split_once('.').unwrap_or((at.as_str(), ""));
    second.chars().filter(|character| !matches!(character, '-' | ':')).chain(['Z']).collect()
}

/// The header `host` of a request to `url`.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A key as a path has it.
pub(crate) fn encode_path(key: &str) -> String {
    utf8_percent_encode(key, PATH).to_string()
}

/// Parameters as a query has them: in the order of their names.
pub(crate) fn encode_query(parameters: &[(&str, &str)]) -> String {
    let encode = |text| utf8_percent_encode(text, PARAMETER);
    let mut encoded: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    encoded.sort();
    encoded.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const AT: &str = "20130524T000000Z";

    fn signature(method: &str, path: &str, query: &str, body: &str, headers: &[(&'static str, &str)]) -> String {
        let signer = Signer {
            service: "s3",
            region: "us-east-1".to_owned(),
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let mut url = Url::parse(&format!("https://examplebucket.s3.amazonaws.com{path}")).unwrap();
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        let fixed = [("host", "examplebucket.s3.amazonaws.com"), ("x-amz-content-sha256", body), ("x-amz-date", AT)];
        let mut headers: Vec<_> = fixed
            .iter()
            .chain(headers)
            .map(|(name, value)| (HeaderName::from_static(name), (*value).to_owned()))
            .collect();
        headers.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let signed = signer.authorization(&ToSign { method, url: &url, headers: &headers, body, at: AT });
        let (_, signature) = signed.split_once("Signature=").unwrap();
        signature.to_owned()
    }

    #[test]
    fn the_documentations_examples_come_out() {
        for (signed, expected) in [
            (
                signature("GET", "/test.txt", "", EMPTY, &[("range", "bytes=0-9")]),
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                signature(
                    "PUT",
                    &format!("/{}", encode_path("test$file.text")),
                    "",
                    "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
                    &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
                ),
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            (
                signature("GET", "/", &encode_query(&[("lifecycle", "")]), EMPTY, &[]),
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            ),
            (
                signature("GET", "/", &encode_query(&[("prefix", "J"), ("max-keys", "2")]), EMPTY, &[]),
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            assert_eq!(signed, expected);
        }
    }

    #[test]
    fn a_moment_and_a_key_are_written_as_signatures_have_them() {
        assert_eq!(timestamp(&Datetime::from_unix_micros(1_369_353_600_999_999)), AT);
        assert_eq!(encode_path("tmp/did:web:localhost%3A2583/a b"), "tmp/did%3Aweb%3Alocalhost%253A2583/a%20b");
        assert_eq!(encode_query(&[("prefix", "tmp/did:"), ("list-type", "2")]), "list-type=2&prefix=tmp%2Fdid%3A");
    }
}
