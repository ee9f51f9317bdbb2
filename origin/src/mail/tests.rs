//! Mails as they are written: their headers, into which nobody smuggles any, and how many are on their way.

use super::*;

fn from() -> Mailbox {
    "\"Ash, of Pallet\" <pds@example.com>".parse().unwrap()
}

fn written(to: &str, subject: &str) -> String {
    let message = message(&from(), to.parse().unwrap(), subject, "text".into(), "<p>html</p>".into()).unwrap();
    String::from_utf8(message.formatted()).unwrap()
}

#[test]
fn a_message_has_the_headers_of_mail() {
    let text = written("ash@example.org", "Subject");
    for header in ["From: \"Ash, of Pallet\" <pds@example.com>\r\n", "To: ash@example.org\r\n", "Subject: Subject\r\n"] {
        assert!(text.contains(header), "{header} in {text}");
    }
    let (id, other) = (header(&text, "Message-ID"), header(&written("ash@example.org", "Subject"), "Message-ID"));
    assert!(id.ends_with("@example.com>") && id != other, "{id}");
    assert!(header(&text, "Date").ends_with("+0000"));
    assert!(header(&text, "Content-Type").starts_with("multipart/alternative"));
}

fn header(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("{name} in {text}")).to_owned()
}

#[test]
fn no_header_can_be_smuggled_in() {
    for subject in ["x\r\nBcc: eve@example.net", "x\nBcc: eve@example.net", "x\r\n\r\nbody", "ü\r\nBcc: eve@example.net"] {
        let text = written("ash@example.org", subject);
        let (headers, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(!headers.lines().any(|line| line.starts_with("Bcc") || line == "body"), "{headers}");
        assert_eq!(headers.matches("Subject:").count(), 1);
    }
    for address in ["ash@example.org\r\nBcc: eve@example.net", "ash@example.org, eve@example.net", "ash", "a@b c"] {
        assert!(address.parse::<Address>().is_err(), "{address}");
    }
    assert!("Ash\r\nBcc: eve@example.net <pds@example.com>".parse::<Mailbox>().is_err());
}

#[test]
fn one_reset_at_a_time_is_on_its_way_for_an_account_and_not_too_many_for_all() {
    let directory = tempfile::tempdir().unwrap();
    let mailer = Mailer::new(&Config::from_variables([("PDS_DATA_DIRECTORY", directory.path())]).unwrap());
    let did = |nth: usize| Did::parse(&format!("did:web:a{nth}.example")).unwrap();
    let first = mailer.begin_reset(&did(0)).unwrap();
    assert!(mailer.begin_reset(&did(0)).is_none());
    let others: Vec<_> = (1..RESETS).map(|nth| mailer.begin_reset(&did(nth)).unwrap()).collect();
    assert!(mailer.begin_reset(&did(RESETS)).is_none());
    drop((first, others));
    assert!(mailer.begin_reset(&did(0)).is_some());
}
