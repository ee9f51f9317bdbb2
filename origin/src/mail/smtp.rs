//! Handing mails to a mail server.
//!
//! A connection that did its work is kept for the next mail, for as long as servers usually wait; one on which anything
//! went wrong is closed. Everything together takes no longer than the server's time: one that is slow, or says nothing,
//! holds up its own mail only. A failed mail is not sent again: whoever asked for it is told, and asks again.
//!
//! Specification: RFC 5321; STARTTLS is RFC 3207, AUTH is RFC 4954.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lettre::address::Envelope;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::sync::Semaphore;

use super::server::{SmtpServer, Tls};

/// How many mails are under way at once; the others wait, within their time.
const AT_ONCE: usize = 8;
/// How long a connection is kept for the next mail.
const KEPT: Duration = Duration::from_secs(30);

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for mails before this one.
    Queue,
    /// Finding the server's address.
    Resolve,
    /// Connecting, up to its greeting.
    Connect,
    /// Going over to TLS.
    Tls,
    /// Logging in.
    Login,
    /// Saying who sends.
    Sender,
    /// Saying who receives.
    Recipient,
    /// Handing over the mail.
    Content,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "waiting for other mails",
            Self::Resolve => "looking up its address",
            Self::Connect => "connecting",
            Self::Tls => "going over to TLS",
            Self::Login => "logging in",
            Self::Sender => "naming the sender",
            Self::Recipient => "naming the recipient",
            Self::Content => "handing over the mail",
        })
    }
}

/// Why a mail server did not take a mail.
#[derive(Debug, thiserror::Error)]
#[error("the mail server failed at {stage}")]
pub struct SmtpError {
    /// At what.
    pub stage: Stage,
    /// How.
    pub source: SmtpFault,
}

/// What a mail server, or the way to it, did wrong.
#[derive(Debug, thiserror::Error)]
pub enum SmtpFault {
    /// Its time was over.
    #[error("it took too long")]
    TimedOut,
    /// Its name has no address.
    #[error(transparent)]
    Lookup(#[from] io::Error),
    /// It does not offer TLS, without which nothing is to be sent.
    #[error("it does not offer STARTTLS")]
    NoTls,
    /// The address is not of ASCII, and it takes no other.
    #[error("it does not take addresses beyond ASCII")]
    NotAscii,
    /// It refused, or the connection failed.
    #[error(transparent)]
    Smtp(#[from] smtp::Error),
}

impl From<(Stage, smtp::Error)> for SmtpError {
    fn from((stage, source): (Stage, smtp::Error)) -> Self {
        Self { stage, source: source.into() }
    }
}

/// A mail server with the connections that are kept to it; cloning it is shallow.
#[derive(Clone, Debug)]
pub(super) struct Smtp(Arc<Inner>);

struct Inner {
    server: SmtpServer,
    hello: ClientId,
    places: Semaphore,
    kept: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Smtp {
    /// The way to `server` from `hostname`.
    pub(super) fn new(server: SmtpServer, hostname: &str) -> Self {
        let hello = ClientId::Domain(server.name.clone().unwrap_or_else(|| hostname.to_owned()));
        Self(Arc::new(Inner { server, hello, places: Semaphore::new(AT_ONCE), kept: Mutex::default() }))
    }

    /// Hands over a mail; when this returns the server has it.
    ///
    /// # Errors
    /// [`SmtpError`]. After one at [`Stage::Content`] that is not a refusal it may have it, too.
    pub(super) async fn send(&self, envelope: &Envelope, mail: &[u8]) -> Result<(), SmtpError> {
        let mut stage = Stage::Queue;
        match tokio::time::timeout(self.0.server.time, self.0.send(envelope, mail, &mut stage)).await {
            Ok(sent) => sent,
            // The connection went with the work: its next answer would be to what was asked now.
            Err(_) => Err(SmtpError { stage, source: SmtpFault::TimedOut }),
        }
    }
}

impl Inner {
    async fn send(&self, envelope: &Envelope, mail: &[u8], stage: &mut Stage) -> Result<(), SmtpError> {
        // Nobody closes it.
        let _place = self.places.acquire().await;
        let mut connection = match self.kept_connection().await {
            Some(connection) => connection,
            None => self.connect(stage).await?,
        };
        let handed = hand_over(&mut connection, envelope, mail, stage).await;
        if handed.is_ok() {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).push((connection, Instant::now()));
        }
        handed
    }

    /// A connection that is still good.
    async fn kept_connection(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let (mut connection, since) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if since.elapsed() < KEPT && connection.test_connected().await {
                return Some(connection);
            }
        }
    }

    async fn connect(&self, stage: &mut Stage) -> Result<AsyncSmtpConnection, SmtpError> {
        let server = &self.server;
        *stage = Stage::Resolve;
        let found = tokio::net::lookup_host((server.host.as_str(), server.port)).await;
        let addresses: Vec<_> = found.map_err(|error| SmtpError { stage: *stage, source: error.into() })?.collect();
        *stage = Stage::Connect;
        let implicit = (server.tls == Tls::AtOnce).then(|| server.certificates.0.clone());
        let connected = AsyncSmtpConnection::connect_tokio1(&addresses[..], None, &self.hello, implicit, None).await;
        let mut connection = connected.map_err(|error| {
            let stage = if is_tls(&error) { Stage::Tls } else { Stage::Connect };
            SmtpError::from((stage, error))
        })?;
        *stage = Stage::Tls;
        match server.tls {
            Tls::IfOffered | Tls::Required if connection.can_starttls() => {
                let upgraded = connection.starttls(server.certificates.0.clone(), &self.hello).await;
                upgraded.map_err(|error| (*stage, error))?;
            }
            Tls::Required => return Err(SmtpError { stage: *stage, source: SmtpFault::NoTls }),
            Tls::Never | Tls::IfOffered | Tls::AtOnce => {}
        }
        *stage = Stage::Login;
        // A server that asks nobody to log in is not told a password: nodemailer does the same.
        if let Some((name, password)) = &server.login
            && connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_some()
        {
            let credentials = Credentials::new(name.clone(), password.expose().to_owned());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(|error| (*stage, error))?;
        }
        Ok(connection)
    }
}

/// Whether a connection failed at TLS; with TLS from the first byte that is one step with connecting.
fn is_tls(error: &smtp::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    error.is_tls()
}

async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    envelope: &Envelope,
    mail: &[u8],
    stage: &mut Stage,
) -> Result<(), SmtpError> {
    *stage = Stage::Sender;
    let mut parameters = Vec::new();
    let mut addresses = envelope.from().into_iter().chain(envelope.to());
    if !addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(SmtpError { stage: Stage::Recipient, source: SmtpFault::NotAscii });
        }
        // Then the headers are not of ASCII either.
        parameters.extend([MailParameter::SmtpUtfEight, MailParameter::Body(MailBodyParameter::EightBitMime)]);
    }
    let sender = connection.command(Mail::new(envelope.from().cloned(), parameters)).await;
    sender.map_err(|error| (*stage, error))?;
    *stage = Stage::Recipient;
    for recipient in envelope.to() {
        let recipient = connection.command(Rcpt::new(recipient.clone(), Vec::new())).await;
        recipient.map_err(|error| (*stage, error))?;
    }
    *stage = Stage::Content;
    connection.command(Data).await.map_err(|error| (*stage, error))?;
    connection.message(mail).await.map_err(|error| (*stage, error))?;
    Ok(())
}
