//! The mails that an account gets, as text and as HTML that says the same.
//!
//! Each brings the code for one purpose. Whatever goes into the HTML is escaped by the template engine: handles and the
//! operator's own words alike.

use askama::Template;

use crate::account::Purpose;
use crate::config::Config;

/// Where a click confirms an address, unless the operator wants no such link; the code comes behind it.
const CONFIRM_URL: &str = "https://bsky.app/intent/verify-email?code=";

/// What the operator's mails look like.
#[derive(Clone, Debug)]
pub(super) struct Look {
    service: String,
    home: String,
    logo: Option<String>,
    color: String,
    confirm_link: bool,
}

impl Look {
    pub(super) fn of(config: &Config) -> Self {
        let branding = &config.branding;
        Self {
            service: config.service.name.clone(),
            home: branding.home_url.clone().unwrap_or_else(|| config.public_url(config.service.port)),
            logo: branding.logo_url.clone(),
            color: branding.primary_color.clone(),
            confirm_link: branding.confirmation_link,
        }
    }
}

/// A mail that brings a code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter<'a> {
    pub(super) purpose: Purpose,
    pub(super) code: &'a str,
    /// What the account is called: its handle, or its address if it has none.
    pub(super) name: &'a str,
}

/// A mail's subject and both forms of its body.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) subject: &'static str,
    pub(super) text: String,
    pub(super) html: String,
}

struct Words {
    title: &'static str,
    before: String,
    link: &'static str,
    after: &'static str,
}

#[derive(Template)]
#[template(path = "mail/letter.html")]
struct Html<'a> {
    subject: &'a str,
    look: &'a Look,
    words: &'a Words,
    link: Option<&'a str>,
    code: &'a str,
    minutes: i64,
}

#[derive(Template)]
#[template(path = "mail/letter.txt")]
struct Text<'a> {
    look: &'a Look,
    words: &'a Words,
    link: Option<&'a str>,
    code: &'a str,
    minutes: i64,
}

impl Letter<'_> {
    /// Writes it.
    ///
    /// # Errors
    /// What the template engine says, which has no reason to.
    pub(super) fn write(&self, look: &Look) -> Result<Written, askama::Error> {
        let words = self.words(look);
        let link =
            (self.purpose == Purpose::ConfirmEmail && look.confirm_link).then(|| format!("{CONFIRM_URL}{}", self.code));
        let (link, code, minutes) = (link.as_deref(), self.code, Purpose::MINUTES);
        let subject = self.subject();
        let html = Html { subject, look, words: &words, link, code, minutes }.render()?;
        let text = Text { look, words: &words, link, code, minutes }.render()?;
        Ok(Written { subject, text, html })
    }

    /// The reference's subjects: filters of mail know them.
    const fn subject(&self) -> &'static str {
        match self.purpose {
            Purpose::ConfirmEmail => "Email Confirmation",
            Purpose::UpdateEmail => "Email Update Requested",
            Purpose::ResetPassword => "Password Reset Requested",
            Purpose::DeleteAccount => "Account Deletion Requested",
            Purpose::PlcOperation => "PLC Update Operation Requested",
        }
    }

    fn words(&self, look: &Look) -> Words {
        let (name, service) = (self.name, &look.service);
        match self.purpose {
            Purpose::ConfirmEmail => Words {
                title: "Is this your address?",
                before: format!("Please confirm that mail to this address reaches the owner of the account {name}."),
                link: "Confirm the address",
                after: "If you know nothing of such an account, do nothing: the address stays unconfirmed.",
            },
            Purpose::UpdateEmail => Words {
                title: "Change your e-mail address",
                before: format!("The account {name} is to get another e-mail address. Enter this code to allow it:"),
                link: "",
                after: "If you did not ask for this, keep the code to yourself and choose a new password.",
            },
            Purpose::ResetPassword => Words {
                title: "Choose a new password",
                before: format!(
                    "Somebody asked for a new password for the account {name}. If it was you, enter this code:"
                ),
                link: "",
                after: "If it was not, keep the code to yourself: your password stays what it is.",
            },
            Purpose::DeleteAccount => Words {
                title: "Delete your account",
                before: format!(
                    "The account {name} and everything in it is to be deleted from {service}. \
                     This cannot be undone. Enter this code, and your password, to go through with it:"
                ),
                link: "",
                after: "If you did not ask for this, keep the code to yourself and choose a new password.",
            },
            Purpose::PlcOperation => Words {
                title: "Change your identity",
                before: format!(
                    "The identity of the account {name} is to be changed at its did:plc directory. That can move the \
                     account to another server, or hand it to somebody else. Enter this code to have {service} sign \
                     the change:"
                ),
                link: "",
                after: "If you did not ask for this, never give the code to anybody, and choose a new password.",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Purpose; 5] = [
        Purpose::ConfirmEmail,
        Purpose::UpdateEmail,
        Purpose::ResetPassword,
        Purpose::DeleteAccount,
        Purpose::PlcOperation,
    ];

    fn look() -> Look {
        Look {
            service: "Ash & <b>\"Misty\"</b>".into(),
            home: "https://example.com/?a=1&b=\"><script>".into(),
            logo: Some("https://example.com/l.png\" onerror=\"x".into()),
            color: "#067df7".into(),
            confirm_link: true,
        }
    }

    #[test]
    fn every_mail_says_who_it_is_for_and_brings_its_code_in_both_forms() {
        let mut subjects = std::collections::HashSet::new();
        for purpose in ALL {
            let letter = Letter { purpose, code: "ABCDE-23456", name: "ash.test" };
            let Written { subject, text, html } = letter.write(&look()).unwrap();
            assert!(subjects.insert(subject));
            for part in ["ash.test", "ABCDE-23456", "15 minutes"] {
                assert!(text.contains(part) && html.contains(part), "{part} in {text}{html}");
            }
        }
    }

    #[test]
    fn nothing_gets_into_the_html_unescaped() {
        for purpose in ALL {
            let letter = Letter { purpose, code: "ABCDE-23456", name: "<img src=x onerror=alert(1)>" };
            let Written { html, text, .. } = letter.write(&look()).unwrap();
            for hostile in ["<img src=x", "<script", "<b>", "\" onerror", "&b=\""] {
                assert!(!html.contains(hostile), "{hostile} in {html}");
            }
            // Text is text.
            assert!(text.contains("<img src=x onerror=alert(1)>") && text.contains("Ash & <b>\"Misty\"</b>"), "{text}");
        }
    }

    #[test]
    fn only_the_confirmation_has_a_link_and_the_operator_can_leave_it_out() {
        for purpose in ALL {
            let letter = Letter { purpose, code: "ABCDE-23456", name: "ash.test" };
            let link = "https://bsky.app/intent/verify-email?code=ABCDE-23456";
            let Written { text, html, .. } = letter.write(&look()).unwrap();
            assert_eq!((text.contains(link), html.contains(link)), [(purpose == Purpose::ConfirmEmail); 2].into());
            let without = letter.write(&Look { confirm_link: false, ..look() }).unwrap();
            assert!(!without.text.contains("bsky.app") && !without.html.contains("bsky.app"));
        }
    }
}
