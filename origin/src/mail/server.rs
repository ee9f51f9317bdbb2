//! The URL of a mail server, as operators know it from the reference, which reads it by nodemailer's rules.
//!
//! `smtps://` speaks TLS from the first byte, on port 465; `smtp://` on port 587 goes over to it where the server offers
//! that. Name and password are percent-encoded. What a query can say:
//!
//! - `requireTLS=true`: nothing is sent without TLS; `ignoreTLS=true`: it is not gone over to.
//! - `name`: what this server calls itself. `socketTimeout`: how long a mail may take, in milliseconds.
//! - `tls.rejectUnauthorized=false`: any certificate will do. `tls.servername`: whose it must be. `tls.ca`: a PEM
//!   certificate to trust beside the public ones.
//!
//! Other parameters have no effect, which the operator is told. Those that would mean another way for the mail altogether
//! are refused.

use std::fmt;
use std::time::Duration;

use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
use shared::api::Secret;
use url::Url;

/// How long sending one mail may take, if the URL does not say.
const TIME: Duration = Duration::from_secs(30);

/// A mail server, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct SmtpServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// When TLS begins.
    pub tls: Tls,
    /// Name and password, where the server asks for them.
    pub login: Option<(String, Secret)>,
    /// What this server calls itself.
    pub name: Option<String>,
    /// How long sending one mail may take, connecting included.
    pub time: Duration,
    /// How its certificate is checked.
    pub(super) certificates: Certificates,
}

/// Which certificates of a server will do.
#[derive(Clone)]
pub(super) struct Certificates(pub(super) TlsParameters);

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates(for {})", self.0.domain())
    }
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Never,
    /// When the server offers it.
    IfOffered,
    /// Before anything is sent; a server that does not offer it gets nothing.
    Required,
    /// With the first byte.
    AtOnce,
}

/// A URL that does not name a mail server. Nothing of it is shown: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmtpUrlError {
    /// Not a URL.
    #[error("it is not a URL such as smtps://user:password@smtp.example.com")]
    NotUrl(#[from] url::ParseError),
    /// Another scheme.
    #[error("its scheme is {0}, not smtp or smtps")]
    Scheme(String),
    /// It asks for the local sendmail program.
    #[error("sendmail is not supported: name a mail server, such as smtp://localhost:25")]
    Sendmail,
    /// It names a provider instead of a server.
    #[error("the parameter service is not supported: name the provider's mail server itself")]
    Service,
    /// No server.
    #[error("it names no server")]
    Host,
    /// A parameter that cannot be read.
    #[error("its parameter {name} is not {wanted}")]
    Parameter {
        /// Which one.
        name: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
}

impl SmtpServer {
    /// Reads a URL. Also returns the names of parameters that have no effect.
    ///
    /// # Errors
    /// [`SmtpUrlError`].
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), SmtpUrlError> {
        let url = Url::parse(text)?;
        let implicit = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            other => return Err(SmtpUrlError::Scheme(other.to_owned())),
        };
        let query = Query::read(&url)?;
        let host = url.host_str().map(|host| decoded(host.trim_matches(['[', ']']))).filter(|host| !host.is_empty());
        let host = host.ok_or(SmtpUrlError::Host)?;
        let tls = match (implicit, query.require, query.ignore) {
            (true, _, _) => Tls::AtOnce,
            (false, true, _) => Tls::Required,
            (false, false, true) => Tls::Never,
            (false, false, false) => Tls::IfOffered,
        };
        let port = url.port().filter(|port| *port > 0).unwrap_or(if implicit { 465 } else { 587 });
        let login = (!url.username().is_empty())
            .then(|| (decoded(url.username()), Secret::new(decoded(url.password().unwrap_or_default()))));
        let mut certificates = TlsParameters::builder(query.server_name.unwrap_or_else(|| host.clone()))
            .certificate_store(CertificateStore::WebpkiRoots)
            .dangerous_accept_invalid_certs(query.any_certificate);
        let not_pem = SmtpUrlError::Parameter { name: "tls.ca", wanted: "a certificate in PEM" };
        let ca = |_| not_pem.clone();
        if let Some(pem) = query.ca {
            // A text without any is read as no certificate at all.
            if !pem.contains("-----BEGIN CERTIFICATE-----") {
                return Err(not_pem);
            }
            certificates = certificates.add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(ca)?);
        }
        // Only a certificate could make it fail.
        let certificates = Certificates(certificates.build_rustls().map_err(ca)?);
        let server = Self { host, port, tls, login, name: query.name, time: query.time, certificates };
        Ok((server, query.unused))
    }
}

/// The parameters of a URL.
struct Query {
    require: bool,
    ignore: bool,
    any_certificate: bool,
    server_name: Option<String>,
    ca: Option<String>,
    name: Option<String>,
    time: Duration,
    unused: Vec<String>,
}

impl Query {
    fn read(url: &Url) -> Result<Self, SmtpUrlError> {
        let mut query = Self {
            require: false,
            ignore: false,
            any_certificate: false,
            server_name: None,
            ca: None,
            name: None,
            time: TIME,
            unused: Vec::new(),
        };
        for (name, value) in url.query_pairs() {
            match &*name {
                "requireTLS" => query.require = flag("requireTLS", &value)?,
                "ignoreTLS" => query.ignore = flag("ignoreTLS", &value)?,
                "tls.rejectUnauthorized" => query.any_certificate = !flag("tls.rejectUnauthorized", &value)?,
                "tls.servername" => query.server_name = Some(value.into_owned()),
                "tls.ca" => query.ca = Some(value.into_owned()),
                "name" => query.name = Some(value.into_owned()),
                "socketTimeout" => {
                    let wanted = "a number of milliseconds above 0";
                    let millis = value.parse().ok().filter(|millis| *millis > 0);
                    let millis = millis.ok_or(SmtpUrlError::Parameter { name: "socketTimeout", wanted })?;
                    query.time = Duration::from_millis(millis);
                }
                "sendmail" if flag("sendmail", &value)? => return Err(SmtpUrlError::Sendmail),
                "service" => return Err(SmtpUrlError::Service),
                // Connections are used again anyway.
                "pool" => {}
                _ => query.unused.push(name.into_owned()),
            }
        }
        Ok(query)
    }
}

fn flag(name: &'static str, value: &str) -> Result<bool, SmtpUrlError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(SmtpUrlError::Parameter { name, wanted: "true or false" }),
    }
}

/// A part of a URL with its percent-encoding undone; what is not UTF-8 is replaced.
fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> SmtpServer {
        SmtpServer::parse(url).unwrap_or_else(|error| panic!("{url}: {error}")).0
    }

    fn refused(url: &str) -> String {
        SmtpServer::parse(url).map(|(server, _)| server).unwrap_err().to_string()
    }

    #[test]
    fn the_scheme_says_when_tls_begins_and_which_port_is_meant() {
        for (url, host, port, tls) in [
            ("smtp://mail.example.com", "mail.example.com", 587, Tls::IfOffered),
            ("smtps://mail.example.com/", "mail.example.com", 465, Tls::AtOnce),
            ("SMTPS://mail.example.com:2465", "mail.example.com", 2465, Tls::AtOnce),
            ("smtp://mail.example.com:465", "mail.example.com", 465, Tls::IfOffered),
            ("smtp://mail.example.com:0", "mail.example.com", 587, Tls::IfOffered),
            ("smtp://[::1]:25?ignoreTLS=true", "::1", 25, Tls::Never),
            ("smtp://localhost?requireTLS=true", "localhost", 587, Tls::Required),
            ("smtp://localhost?requireTLS=true&ignoreTLS=true", "localhost", 587, Tls::Required),
            ("smtps://localhost?ignoreTLS=true", "localhost", 465, Tls::AtOnce),
        ] {
            let server = read(url);
            assert_eq!((server.host.as_str(), server.port, server.tls), (host, port, tls), "{url}");
        }
    }

    #[test]
    fn name_and_password_are_percent_encoded() {
        for (url, name, password) in [
            ("smtps://resend:re_12AB@smtp.resend.com:465/", "resend", "re_12AB"),
            ("smtp://me%40example.com:p%2Fa%3As%23s%25@host", "me@example.com", "p/a:s#s%"),
            ("smtp://me@example.com:pass@host", "me@example.com", "pass"),
            ("smtp://me:a:b@host", "me", "a:b"),
            ("smtp://me@host", "me", ""),
            ("smtp://m%C3%BC:100%@host", "mü", "100%"),
        ] {
            let (found, secret) = read(url).login.unwrap();
            assert_eq!((found.as_str(), secret.expose()), (name, password), "{url}");
        }
        assert!(read("smtp://host").login.is_none());
        assert!(!format!("{:?}", read("smtp://me:hunter2@host")).contains("hunter2"));
    }

    #[test]
    fn a_query_says_what_else_there_is_to_know() {
        let server = read("smtp://host?name=pds.example.com&socketTimeout=1500&pool=true&tls.rejectUnauthorized=false");
        assert_eq!((server.name.as_deref(), server.time), (Some("pds.example.com"), Duration::from_millis(1500)));
        let (server, unused) = SmtpServer::parse("smtp://host?greetingTimeout=5&tls.servername=other&x=").unwrap();
        assert_eq!((server.certificates.0.domain(), server.time), ("other", TIME));
        assert_eq!(unused, ["greetingTimeout", "x"]);
    }

    #[test]
    fn what_names_no_server_is_refused_and_never_shown() {
        for (url, reason) in [
            ("", "not a URL"),
            ("me:hunter2@host", "scheme is me"),
            ("http://me:hunter2@host", "scheme is http"),
            ("smtp:///?sendmail=true", "sendmail is not supported"),
            ("smtp://host?sendmail=true", "sendmail is not supported"),
            ("smtp://me:hunter2@gmail?service=gmail", "service is not supported"),
            ("smtp://", "names no server"),
            ("smtp://?requireTLS=true", "names no server"),
            ("smtp://me:hunter2@host:99999", "not a URL"),
            ("smtp://host?requireTLS=yes", "requireTLS is not true or false"),
            ("smtp://host?socketTimeout=0", "socketTimeout is not"),
            ("smtp://host?tls.ca=hunter2", "tls.ca is not a certificate"),
        ] {
            let text = refused(url);
            assert!(text.contains(reason) && !text.contains("hunter2"), "{url}: {text}");
        }
    }
}
