//! The entryway that this server stands behind: one server in front of many, that keeps log-ins, handles and invites for
//! all of them, makes their sessions and changes their accounts' identities.
//!
//! What is the entryway's to answer is asked there: in the name of whoever calls, with the very credentials that came, or
//! of an account here, by a token that its own key signs. The entryway is the operator's choice, wherever it is. Which
//! calls are passed on, and how, is said in [`crate::xrpc`]'s route table.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;

use crate::config::{self, Config, Network};
use crate::error::XrpcError;
use crate::fetch::ClientError;
use crate::pipethrough::{Forward, Pipethrough, method_url};

/// The entryway and the way to it.
#[derive(Clone, Debug)]
pub struct Entryway {
    config: config::Entryway,
    way: Pipethrough,
}

/// A call for the entryway to answer.
#[derive(Debug)]
pub struct Passed {
    /// The method.
    pub nsid: &'static str,
    /// How it is called.
    pub verb: Method,
    /// The parameters of a query, as they came.
    pub query: Option<String>,
    /// The input, JSON.
    pub body: Option<Vec<u8>>,
    /// Where the call came from.
    pub client: String,
    /// By whose right: an Authorization header, if there is one.
    pub authorization: Option<HeaderValue>,
}

impl Entryway {
    /// The way to the entryway that the operator has, if there is one. Nobody is asked yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn open(config: &Config) -> Result<Option<Self>, ClientError> {
        let Some(entryway) = &config.entryway else { return Ok(None) };
        let way = Pipethrough::new(&Network { public_only: false, ..config.network })?;
        Ok(Some(Self { config: entryway.clone(), way }))
    }

    /// Where it is, who it is, and its keys.
    #[must_use]
    pub const fn config(&self) -> &config::Entryway {
        &self.config
    }

    /// Has a call answered there.
    ///
    /// # Errors
    /// What the entryway refuses with; 502 if it fails or is not reached in time.
    pub async fn pass(&self, passed: Passed) -> Result<Response, XrpcError> {
        let Passed { nsid, verb, query, body, client, authorization } = passed;
        let mut url = method_url(&self.config.url, nsid, &[]);
        url.set_query(query.as_deref());
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::try_from(client).map_err(XrpcError::internal)?);
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        self.way.forward(Forward { url, verb, headers, token: None, body: body.map(Body::from) }).await
    }
}
