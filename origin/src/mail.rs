//! E-mail: what is written to the owners of accounts, and how it gets out.
//!
//! Two senders, each with a server of its own: the accounts' mails, which bring codes, and the moderators'. Where no server
//! is configured nothing is sent and everything else works; in development mode the codes are logged then, never else.
//!
//! What always holds: no header can be smuggled in, since the message is built of typed parts; a mail that was not handed
//! over leaves everything as it was, the code that was mailed before included; and nobody waits longer than the server's
//! time ([`SmtpServer::time`]).
//!
//! Specification: RFC 5322; lexicons `com.atproto.server.request*`.

mod check;
mod letter;
mod server;
mod smtp;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use lettre::address::AddressError;
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message};
use shared::syntax::Did;

use crate::account::{Account, AccountError, Accounts, Include, Purpose};
use crate::config::{Config, Email};
use crate::random;

pub use check::{Complaint, check};
pub use server::{SmtpServer, SmtpUrlError, Tls};
pub use smtp::{SmtpError, SmtpFault, Stage};

use letter::{Letter, Look, Written};
use smtp::Smtp;

/// How many password resets may be on their way at once. The mail server is slower than whoever asks then.
const RESETS: usize = 256;
/// The width of lines in the text that is made of a moderator's HTML.
const TEXT_WIDTH: usize = 76;

/// Why a mail is not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The recipient's address is none that mail can go to.
    #[error("the recipient's address cannot be used")]
    Address(#[from] AddressError),
    /// The message cannot be made.
    #[error("the mail cannot be made")]
    Message(#[from] lettre::error::Error),
    /// It cannot be written.
    #[error("the mail cannot be written")]
    Template(#[from] askama::Error),
    /// The server did not take it.
    #[error(transparent)]
    Smtp(#[from] SmtpError),
}

/// Why no code was mailed.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The account cannot have one.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// It was not sent; the one before is still good.
    #[error(transparent)]
    Mail(#[from] MailError),
}

/// Who writes to the owners of accounts; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Mailer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    accounts: Option<Outlet>,
    moderation: Option<Outlet>,
    look: Look,
    log_codes: bool,
    /// The accounts whose password reset is on its way.
    resets: Mutex<HashSet<Did>>,
}

/// A sender and its server.
#[derive(Debug)]
struct Outlet {
    smtp: Smtp,
    from: Mailbox,
}

impl Outlet {
    fn new(email: &Email, hostname: &str) -> Self {
        Self { smtp: Smtp::new(email.server.clone(), hostname), from: email.from.clone() }
    }

    async fn send(&self, to: &str, subject: &str, text: String, html: String) -> Result<(), MailError> {
        let message = message(&self.from, to.parse()?, subject, text, html)?;
        Ok(self.smtp.send(message.envelope(), &message.formatted()).await?)
    }
}

fn message(
    from: &Mailbox,
    to: Address,
    subject: &str,
    text: String,
    html: String,
) -> Result<Message, lettre::error::Error> {
    // A line break would end the header; what it would begin must not be one.
    let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let id = format!("<{}@{}>", HEXLOWER.encode(&random::bytes::<16>()), from.email.domain());
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(subject.trim())
        .date_now()
        .message_id(Some(id))
        .multipart(MultiPart::alternative_plain_html(text, html))
}

impl Mailer {
    /// The senders that `config` names.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let outlet = |email: &Option<Email>| email.as_ref().map(|email| Outlet::new(email, &config.service.hostname));
        let (accounts, moderation) = (outlet(&config.email), outlet(&config.moderation_email));
        if accounts.is_none() {
            tracing::info!("PDS_EMAIL_SMTP_URL is not set: no mail is sent to the owners of accounts");
        }
        let (look, log_codes) = (Look::of(config), config.service.dev_mode);
        Self(Arc::new(Inner { accounts, moderation, look, log_codes, resets: Mutex::default() }))
    }

    /// Makes the account's code for `purpose`, in place of any before it, and mails it.
    ///
    /// # Errors
    /// [`AccountError::NoEmail`], [`AccountError::NotFound`], [`AccountError::Db`], [`MailError`]. Then the code that was
    /// mailed before is still good.
    pub async fn send_code(&self, accounts: &Accounts, account: &Account, purpose: Purpose) -> Result<(), CodeError> {
        let email = account.email.as_deref().ok_or(AccountError::NoEmail)?;
        let issued = accounts.create_email_token(&account.did, purpose).await?;
        let name = account.handle.as_ref().map_or(email, |handle| handle.as_str());
        let letter = Letter { purpose, code: issued.token(), name };
        let sent = self.send_letter(email, &letter).await;
        if sent.is_err() {
            accounts.withdraw_email_token(issued).await?;
        }
        Ok(sent?)
    }

    /// Mails the code for a new password to the account whose address this is, if there is one. That happens behind the
    /// back of whoever asked, so that neither the answer nor its time tells whether there is. Asked again while one is on
    /// its way, nothing more is sent.
    pub fn send_reset(&self, accounts: &Accounts, email: String) {
        let (mailer, accounts) = (self.clone(), accounts.clone());
        tokio::spawn(async move {
            let account = match accounts.by_email(&email, Include::ALL).await {
                Ok(Some(account)) => account,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "an account that wants a new password cannot be looked up");
                    return;
                }
            };
            let Some(_on_its_way) = mailer.begin_reset(&account.did) else { return };
            if let Err(error) = mailer.send_code(&accounts, &account, Purpose::ResetPassword).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(did = %account.did, error, "the code for a new password is not mailed");
            }
        });
    }

    /// Notes that a reset is on its way, until the answer is dropped; `None` if one is, or too many are.
    fn begin_reset(&self, did: &Did) -> Option<Reset> {
        let mut resets = self.0.resets.lock().unwrap_or_else(PoisonError::into_inner);
        if resets.len() >= RESETS {
            tracing::warn!(%did, "too many mails for new passwords are on their way: one is not sent");
            return None;
        }
        resets.insert(did.clone()).then(|| Reset(self.clone(), did.clone()))
    }

    async fn send_letter(&self, to: &str, letter: &Letter<'_>) -> Result<(), MailError> {
        let Inner { accounts: Some(outlet), look, .. } = &*self.0 else {
            if self.0.log_codes {
                tracing::info!(to, purpose = ?letter.purpose, code = letter.code, "no mail server is configured");
            }
            return Ok(());
        };
        let Written { subject, text, html } = letter.write(look)?;
        outlet.send(to, subject, text, html).await
    }

    /// Sends what a moderator wrote, HTML as it is. Returns whether there is a server to send it by.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn send_moderation(&self, to: &str, subject: &str, html: String) -> Result<bool, MailError> {
        let Some(outlet) = &self.0.moderation else {
            tracing::warn!("PDS_MODERATION_EMAIL_SMTP_URL is not set: a moderator's mail is not sent");
            return Ok(false);
        };
        // HTML beyond reading is sent as it is, with itself as the text.
        let text = html2text::from_read(html.as_bytes(), TEXT_WIDTH).unwrap_or_else(|_| html.clone());
        outlet.send(to, subject, text, html).await.map(|()| true)
    }
}

/// A password reset on its way.
struct Reset(Mailer, Did);

impl Drop for Reset {
    fn drop(&mut self) {
        self.0.0.resets.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}
