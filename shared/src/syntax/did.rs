//! Decentralised identifiers: the generic syntax, and what the two supported methods add to it.
//!
//! A [`Did`] may be of any method: records and documents mention foreign ones. Whoever hosts or resolves one asks
//! [`Did::check_method`]. Nothing is normalised: a DID is case-sensitive, and wrong case is refused, not repaired.
//!
//! Implements <https://atproto.com/specs/did>.

use super::{Handle, Kind, Rule, SyntaxError, Tld};

const LEN_MAX: usize = 2048;
const PLC_ID_LEN: usize = 24;

identifier! {
    /// A decentralised identifier such as `did:plc:7iza6de2dwap2sbkpav7c6c6`, of any method; at most 2048 bytes.
    Did, check: check, store: Box::from
}

impl Did {
    /// The method: `plc` of `did:plc:…`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.parts().0
    }

    /// What follows the method.
    #[must_use]
    pub fn id(&self) -> &str {
        self.parts().1
    }

    /// Whether this is a well-formed did:plc: 24 characters of lower-case base32 after the method.
    #[must_use]
    pub fn is_plc(&self) -> bool {
        matches!(self.check_method(), Ok(DidMethod::Plc))
    }

    /// Applies the rules of the methods that the protocol supports.
    ///
    /// # Errors
    /// [`DidMethodError::Unsupported`] for any other method, else the rule of its method that this DID breaks.
    pub fn check_method(&self) -> Result<DidMethod<'_>, DidMethodError> {
        match self.parts() {
            ("plc", id) => check_plc(id).map(|()| DidMethod::Plc),
            ("web", id) => check_web(id).map(DidMethod::Web),
            (method, _) => Err(DidMethodError::Unsupported(method.to_owned())),
        }
    }

    fn parts(&self) -> (&str, &str) {
        let rest = self.as_str().strip_prefix("did:").unwrap_or_default();
        rest.split_once(':').unwrap_or_default()
    }
}

/// A DID's method, its rules met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DidMethod<'a> {
    /// did:plc, resolved through a directory.
    Plc,
    /// did:web, resolved through its own host.
    Web(DidWeb<'a>),
}

/// Where a did:web lives: a hostname and nothing else, except that `localhost` may have a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DidWeb<'a> {
    host: &'a str,
    port: Option<u16>,
}

impl<'a> DidWeb<'a> {
    /// The hostname, in lower case.
    #[must_use]
    pub const fn host(&self) -> &'a str {
        self.host
    }

    /// The port; only `localhost` can have one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether the host is `localhost` or under `.test`, which only a development setup may resolve.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || Tld::of(self.host) == Tld::Test
    }

    /// Where the document is: `https`, or `http` for `localhost`.
    #[must_use]
    pub fn document_url(&self) -> String {
        let host = self.host;
        match (host, self.port) {
            ("localhost", Some(port)) => format!("http://{host}:{port}/.well-known/did.json"),
            ("localhost", None) => format!("http://{host}/.well-known/did.json"),
            _ => format!("https://{host}/.well-known/did.json"),
        }
    }
}

/// Why a well-formed DID cannot be an account's or a service's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DidMethodError {
    /// The method is neither plc nor web.
    #[error("did method {0} is not supported, only plc and web are")]
    Unsupported(String),
    /// The part after `did:plc:` is not 24 characters of `a-z2-7`.
    #[error("did:plc identifier must be {PLC_ID_LEN} lower-case base32 characters")]
    Plc,
    /// A did:web with a path.
    #[error("did:web must be a hostname without a path")]
    WebPath,
    /// A did:web with a port on another host than localhost, or with an impossible one.
    #[error("did:web may have a port from 1 to 65535 on localhost only")]
    WebPort,
    /// A did:web whose host is no lower-case domain name (an IP address, say).
    #[error("did:web host must be a lower-case domain name")]
    WebHost,
    /// A did:web whose host can never be registered.
    #[error("did:web host has a reserved top-level domain")]
    WebTld,
}

fn check(text: &str) -> Result<(), SyntaxError> {
    Kind::Did.sized(text, LEN_MAX)?;
    let rest = text.strip_prefix("did:").ok_or(Kind::Did.broke(Rule::Prefix("did:")))?;
    Kind::Did.spelled(text, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'%' | b'-'))?;
    let method_len = rest.bytes().take_while(u8::is_ascii_lowercase).count();
    let has_id = rest.get(method_len..).is_some_and(|id| id.starts_with(':'));
    if method_len == 0 || !has_id {
        return Err(Kind::Did.broke(Rule::Character { at: text.len() - rest.len() + method_len }));
    }
    if text.ends_with([':', '%']) {
        return Err(Kind::Did.broke(Rule::Character { at: text.len() - 1 }));
    }
    Ok(())
}

fn check_plc(id: &str) -> Result<(), DidMethodError> {
    let base32 = id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
    if id.len() == PLC_ID_LEN && base32 { Ok(()) } else { Err(DidMethodError::Plc) }
}

fn check_web(id: &str) -> Result<DidWeb<'_>, DidMethodError> {
    if id.contains(':') {
        return Err(DidMethodError::WebPath);
    }
    let (host, port) = match id.split_once('%') {
        None => (id, None),
        Some((host, escaped)) => (host, Some(check_port(host, escaped)?)),
    };
    if host == "localhost" {
        return Ok(DidWeb { host, port });
    }
    if Handle::check(host).is_err() || host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(DidMethodError::WebHost);
    }
    if Tld::of(host) == Tld::Reserved {
        return Err(DidMethodError::WebTld);
    }
    Ok(DidWeb { host, port })
}

/// Reads the `3A1234` of `localhost%3A1234`; `%3A` is the only escape a did:web can need.
fn check_port(host: &str, escaped: &str) -> Result<u16, DidMethodError> {
    let digits = escaped.strip_prefix("3A").or_else(|| escaped.strip_prefix("3a")).ok_or(DidMethodError::WebHost)?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    match digits.parse() {
        Ok(port) if host == "localhost" && plain => Ok(port),
        _ => Err(DidMethodError::WebPort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method_of(text: &str) -> Result<String, DidMethodError> {
        let did = Did::parse(text).unwrap();
        did.check_method().map(|method| match method {
            DidMethod::Plc => "plc".to_owned(),
            DidMethod::Web(web) => web.document_url(),
        })
    }

    #[test]
    fn a_did_tells_its_method_and_identifier() {
        let did = Did::parse("did:method:a:b:%20x").unwrap();
        assert_eq!((did.method(), did.id()), ("method", "a:b:%20x"));
    }

    #[test]
    fn errors_name_the_value_and_the_limit() {
        let long = format!("did:plc:{}", "a".repeat(2092));
        assert_eq!(Did::parse(&long).unwrap_err().to_string(), "did is 2100 bytes, limit 2048");
        assert_eq!(Did::parse("di:plc:a").unwrap_err().to_string(), "did does not start with did:");
        assert_eq!(Did::parse("did:plc").unwrap_err().rule, Rule::Character { at: 7 });
        assert_eq!(Did::parse("did:Plc:a").unwrap_err().rule, Rule::Character { at: 4 });
        assert_eq!(Did::parse("did:plc:a:").unwrap_err().rule, Rule::Character { at: 9 });
        assert_eq!(Did::parse("did:plc:é").unwrap_err().rule, Rule::Character { at: 8 });
    }

    #[test]
    fn plc_is_24_lower_case_base32_characters() {
        assert!(Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap().is_plc());
        for bad in ["did:plc:7iza6de2dwap2sbkpav7c6c", "did:plc:7IZA6DE2DWAP2SBKPAV7C6C6", "did:plc:a"] {
            assert_eq!(method_of(bad), Err(DidMethodError::Plc), "{bad}");
        }
        assert!(!Did::parse("did:web:example.com").unwrap().is_plc());
    }

    #[test]
    fn web_is_a_hostname_and_nothing_else() {
        use DidMethodError::{Unsupported, WebHost, WebPath, WebPort, WebTld};
        assert_eq!(method_of("did:web:example.com").unwrap(), "https://example.com/.well-known/did.json");
        assert_eq!(method_of("did:web:localhost").unwrap(), "http://localhost/.well-known/did.json");
        assert_eq!(method_of("did:web:localhost%3A1234").unwrap(), "http://localhost:1234/.well-known/did.json");
        let refused = [
            ("did:web:example.com:user", WebPath),
            ("did:web:example.com%3A8080", WebPort),
            ("did:web:localhost%3A70000", WebPort),
            ("did:web:localhost%3A0", WebPort),
            ("did:web:localhost%3A", WebPort),
            ("did:web:localhost%3A-1", WebPort),
            ("did:web:evil.com%2f..", WebHost),
            ("did:web:1.2.3.4", WebHost),
            ("did:web:Example.com", WebHost),
            ("did:web:example", WebHost),
            ("did:web:host.local", WebTld),
            ("did:key:zQ3sh", Unsupported("key".to_owned())),
        ];
        for (did, error) in refused {
            assert_eq!(method_of(did), Err(error), "{did}");
        }
    }

    #[test]
    fn only_localhost_and_test_domains_are_local() {
        for (did, local) in [("did:web:localhost", true), ("did:web:a.test", true), ("did:web:a.com", false)] {
            let did = Did::parse(did).unwrap();
            let Ok(DidMethod::Web(web)) = did.check_method() else { panic!("{did} is a did:web") };
            assert_eq!(web.is_local(), local, "{did}");
        }
    }
}
