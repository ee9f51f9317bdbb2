//! Asking other servers, among them those whom a stranger chose.
//!
//! A URL from a DID document, a handle or a client's metadata can name anything, also what only this machine can reach.
//! A [`Client`] for [`Reach::Public`] asks only `https` on its usual ports, by name and never by address, and connects
//! to nothing but public addresses: the addresses are judged when the name is resolved for the very connection that is
//! then made, so a name cannot be one thing when it is checked and another when it is used. Redirects are followed only
//! where the caller says so, and each is judged like the first URL.
//!
//! Whatever is read is bounded in time, from the first look-up to the last byte, and in length. Nothing is decompressed.
//!
//! Specification: <https://atproto.com/specs/oauth#security>, for identities
//! <https://atproto.com/specs/handle#security-considerations>.

mod address;

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use address::is_public;

const USER_AGENT: &str = concat!("headwater/", env!("CARGO_PKG_VERSION"));
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Whom a client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Servers on the internet: where a stranger says whom to ask.
    Public,
    /// Any server, by any address, with or without TLS: where the operator says so, and in development.
    Anywhere,
}

/// A pool of connections to other servers; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    reach: Reach,
}

/// How much an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long all of it may take.
    pub time: Duration,
    /// How many bytes its body may have.
    pub body: u64,
    /// How many redirects are followed.
    pub redirects: usize,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its type, as its sender says.
    pub content_type: Option<String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is not one that may be asked.
    #[error("{url} may not be asked: {reason}")]
    Refused {
        /// The URL, or the one it redirects to.
        url: Url,
        /// What is wrong with it.
        reason: Refusal,
    },
    /// The name has only addresses that may not be asked, or none.
    #[error("{host} has no public address")]
    NotPublic {
        /// The name.
        host: String,
    },
    /// It took too long.
    #[error("no answer within {} ms", .limit.as_millis())]
    Timeout {
        /// How long it might have taken.
        limit: Duration,
    },
    /// The body is too long.
    #[error("answer is larger than {limit} bytes")]
    TooLarge {
        /// How many bytes it might have had.
        limit: u64,
    },
    /// It redirects more often than is followed.
    #[error("answer redirects more than {limit} times")]
    Redirects {
        /// How many would have been followed.
        limit: usize,
    },
    /// It redirects, but not to a URL.
    #[error("answer redirects to nowhere")]
    Location,
    /// The connection or the exchange failed.
    #[error("exchange failed")]
    Exchange(#[source] reqwest::Error),
}

/// What is wrong with a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither `https` nor, where that may be, `http`.
    #[error("its scheme is not allowed")]
    Scheme,
    /// A port other than the usual ones.
    #[error("its port is not allowed")]
    Port,
    /// It names a user.
    #[error("it names a user")]
    User,
    /// An address in place of a name, or a name without a dot.
    #[error("its host is not a domain name")]
    Host,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS could not be set up.
    #[error("tls cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The pool could not be set up.
    #[error("http client cannot be set up")]
    Http(#[from] reqwest::Error),
}

impl Client {
    /// Makes a client.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(reach: Reach) -> Result<Self, ClientError> {
        Self::over(reach, Names { reach, fixed: None })
    }

    /// A client for which every name has the one address `fixed`.
    #[cfg(test)]
    pub(crate) fn to(reach: Reach, fixed: std::net::SocketAddr) -> Self {
        Self::over(reach, Names { reach, fixed: Some(fixed) }).unwrap()
    }

    fn over(reach: Reach, names: Names) -> Result<Self, ClientError> {
        // Mozilla's authorities, built in: the binary needs no file of the system's.
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(names))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self { http, reach })
    }

    /// A request to be filled in and sent by the caller, who sees to its bounds; redirects are not followed.
    ///
    /// # Errors
    /// [`FetchError::Refused`].
    pub fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, FetchError> {
        match self.refusal(&url) {
            Some(reason) => Err(FetchError::Refused { url, reason }),
            None => Ok(self.http.request(method, url)),
        }
    }

    /// Gets `url` and reads the answer, whatever its status. `accept` says which types will do.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn get(&self, url: Url, accept: &'static str, bounds: Bounds) -> Result<Answer, FetchError> {
        bounds.in_time(self.get_following(url, accept, bounds)).await
    }

    /// Sends JSON to `url` and reads the answer, whatever its status. Redirects are not followed.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn post_json(&self, url: Url, json: Vec<u8>, bounds: Bounds) -> Result<Answer, FetchError> {
        let json_type = HeaderValue::from_static("application/json");
        Self::send(self.request(Method::POST, url)?.header(CONTENT_TYPE, json_type).body(json), bounds).await
    }

    /// Sends a request of [`Self::request`] and reads the answer, whatever its status.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn send(request: RequestBuilder, bounds: Bounds) -> Result<Answer, FetchError> {
        let exchange = async { read(request.send().await.map_err(exchange_error)?, bounds.body).await };
        bounds.in_time(exchange).await
    }

    async fn get_following(&self, mut url: Url, accept: &'static str, bounds: Bounds) -> Result<Answer, FetchError> {
        for _ in 0..=bounds.redirects {
            let request = self.request(Method::GET, url.clone())?.header(ACCEPT, HeaderValue::from_static(accept));
            let response = request.send().await.map_err(exchange_error)?;
            if bounds.redirects == 0 || !response.status().is_redirection() {
                return read(response, bounds.body).await;
            }
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            url = location.and_then(|location| url.join(location).ok()).ok_or(FetchError::Location)?;
        }
        Err(FetchError::Redirects { limit: bounds.redirects })
    }

    fn refusal(&self, url: &Url) -> Option<Refusal> {
        if !url.username().is_empty() || url.password().is_some() {
            return Some(Refusal::User);
        }
        match (self.reach, url.scheme()) {
            (Reach::Anywhere, "http" | "https") => return None,
            (Reach::Public, "https") => {}
            _ => return Some(Refusal::Scheme),
        }
        // `None` is the scheme's own.
        if !matches!(url.port(), None | Some(80)) {
            return Some(Refusal::Port);
        }
        match url.host() {
            Some(Host::Domain(name)) if name.trim_end_matches('.').contains('.') => None,
            _ => Some(Refusal::Host),
        }
    }
}

impl Bounds {
    async fn in_time(self, exchange: impl Future<Output = Result<Answer, FetchError>>) -> Result<Answer, FetchError> {
        tokio::time::timeout(self.time, exchange).await.unwrap_or(Err(FetchError::Timeout { limit: self.time }))
    }
}

async fn read(mut response: Response, limit: u64) -> Result<Answer, FetchError> {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(exchange_error)? {
        if body.len() as u64 + piece.len() as u64 > limit {
            return Err(FetchError::TooLarge { limit });
        }
        body.extend_from_slice(&piece);
    }
    Ok(Answer { status, content_type, body })
}

/// Names it when our own resolution of the name was what failed.
fn exchange_error(error: reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(NotPublic { host }) = inner.downcast_ref() {
            return FetchError::NotPublic { host: host.clone() };
        }
        cause = inner.source();
    }
    FetchError::Exchange(error)
}

/// Resolves the names of a client's connections.
struct Names {
    reach: Reach,
    fixed: Option<std::net::SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
#[error("{host} has no public address")]
struct NotPublic {
    host: String,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, fixed) = (self.reach, self.fixed);
        Box::pin(async move {
            let mut found: Vec<_> = match fixed {
                Some(address) => vec![address],
                None => tokio::net::lookup_host((name.as_str(), 0)).await?.collect(),
            };
            if reach == Reach::Public {
                found.retain(|address| is_public(address.ip()));
                if found.is_empty() {
                    return Err(NotPublic { host: name.as_str().to_owned() }.into());
                }
            } else if found.is_empty() {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
