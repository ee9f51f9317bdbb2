//! Trying a mail server, and saying in plain words what is wrong.

use std::fmt;

use super::smtp::{Smtp, SmtpError, SmtpFault, Stage};
use super::{MailError, SmtpServer, message};
use crate::config::Email;
use crate::time::now_datetime;

/// Sends a mail to `to` that says it is a test.
///
/// # Errors
/// What is wrong, and what can be done.
pub async fn check(email: &Email, hostname: &str, to: &str) -> Result<(), Complaint> {
    let told = |error: MailError| Complaint::new(&email.server, error);
    let to = to.parse().map_err(|error| told(MailError::Address(error)))?;
    let now = now_datetime();
    let text = format!("{hostname} sent this at {} to find out whether its mail arrives. It does.", now.as_str());
    let html = format!("<p>{text}</p>");
    let subject = format!("Test from {hostname}");
    let message = message(&email.from, to, &subject, text, html).map_err(|error| told(error.into()))?;
    let smtp = Smtp::new(email.server.clone(), hostname);
    smtp.send(message.envelope(), &message.formatted()).await.map_err(|error| told(error.into()))
}

/// What is wrong with a mail server or its configuration, for the operator to read.
#[derive(Debug)]
pub struct Complaint {
    /// At what it failed, if it came to a server.
    pub stage: Option<Stage>,
    what: String,
    advice: &'static str,
    error: MailError,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.what, self.advice)
    }
}

impl std::error::Error for Complaint {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Complaint {
    fn new(server: &SmtpServer, error: MailError) -> Self {
        let MailError::Smtp(smtp) = &error else {
            let what = format!("The test mail cannot be made: {error}");
            return Self { stage: None, what, advice: "Check the recipient's address.", error };
        };
        let (what, advice) = explain(server, smtp);
        Self { stage: Some(smtp.stage), what, advice, error }
    }
}

fn explain(server: &SmtpServer, error: &SmtpError) -> (String, &'static str) {
    let at = format!("{}:{}", server.host, server.port);
    // It has the causes in it.
    let said = &error.source;
    if matches!(error.source, SmtpFault::TimedOut) {
        let seconds = server.time.as_secs_f32();
        let what = format!("{at} was not done within {seconds} seconds, while {}", error.stage);
        let advice = match error.stage {
            Stage::Connect | Stage::Tls => {
                "Many hosts block the mail ports: try the provider's other one (587, 465, 2525). A server that speaks \
                 TLS at once wants smtps:// in PDS_EMAIL_SMTP_URL, one that does not wants smtp://."
            }
            Stage::Resolve => "The name servers of this machine do not answer.",
            _ => "The server is reached but slow; ask whoever runs it.",
        };
        return (what, advice);
    }
    match error.stage {
        Stage::Queue => (format!("{at} is busy with other mails"), "Try again."),
        Stage::Resolve => (
            format!("There is no address for the name {} ({said})", server.host),
            "Check the server's name in PDS_EMAIL_SMTP_URL, and this machine's name servers.",
        ),
        Stage::Connect => (
            format!("No mail server answers at {at} ({said})"),
            "Check name and port. A server that speaks TLS at once, most often on port 465, wants smtps:// in \
             PDS_EMAIL_SMTP_URL, one that does not wants smtp://.",
        ),
        Stage::Tls if matches!(error.source, SmtpFault::NoTls) => (
            format!("{at} does not offer STARTTLS, and requireTLS is set: nothing was sent"),
            "Use the provider's port with TLS (smtps://, port 465), or leave requireTLS out.",
        ),
        Stage::Tls => (
            format!("{at} is reached, but a TLS connection to it cannot be made ({said})"),
            "Its certificate must be for the name in PDS_EMAIL_SMTP_URL and by a public authority. For a private one \
             add ?tls.ca= with its PEM; to do without any check, ?tls.rejectUnauthorized=false; without TLS, \
             ?ignoreTLS=true. If the server does not speak TLS at once, use smtp:// instead of smtps://.",
        ),
        Stage::Login => (
            format!("{at} does not accept name and password ({said})"),
            "Check both in PDS_EMAIL_SMTP_URL. Characters such as @ : / # % must be percent-encoded in it; many \
             providers want an API key or an app password in place of the password.",
        ),
        Stage::Sender => (
            format!("{at} does not let this server send as the address in PDS_EMAIL_FROM_ADDRESS ({said})"),
            "The sender's domain, or address, must be verified at the provider; some servers want a log-in first.",
        ),
        Stage::Recipient => (
            format!("{at} does not take mail for this recipient ({said})"),
            "Check the address. If it is right, the server does not pass on mail for others without a log-in, or the \
             provider allows verified recipients only.",
        ),
        Stage::Content => (
            format!("{at} took sender and recipient, but not the mail itself ({said})"),
            "Most often the sender is not verified, a limit is reached, or the mail was taken for spam.",
        ),
    }
}
