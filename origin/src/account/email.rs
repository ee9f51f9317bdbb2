//! Which e-mail addresses are taken.
//!
//! An address is one local part of RFC 5321 without quotes, in UTF-8 as RFC 6531 has it, and a domain of at least two
//! labels whose last begins with a letter, international ones by their ASCII form: what the reference takes. Addresses of
//! throw-away mail are refused by a list. Nothing is looked up: whether mail arrives is what confirming is for.

use icu_normalizer::ComposingNormalizerBorrowed;
use url::Host;

use super::words;

/// The longest address, in UTF-16 units, and the longest local part, in bytes (RFC 5321, section 4.5.3.1).
const ADDRESS_MAX: usize = 254;
const LOCAL_MAX: usize = 64;
const LABEL_MAX: usize = 63;

/// Whether an account can have this address.
#[must_use]
pub fn is_supported(email: &str) -> bool {
    is_valid(email) && !is_disposable(email)
}

fn is_valid(email: &str) -> bool {
    let email = ComposingNormalizerBorrowed::new_nfc().normalize(email);
    let Some((local, domain)) = email.split_once('@') else {
        return false;
    };
    email.encode_utf16().count() <= ADDRESS_MAX && is_local(local) && is_domain(domain)
}

fn is_local(local: &str) -> bool {
    let atom = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    local.len() <= LOCAL_MAX && local.split('.').all(|segment| !segment.is_empty() && segment.chars().all(atom))
}

fn is_domain(domain: &str) -> bool {
    // What a URL takes for the end of its host, or of its user, is not looked at as a host.
    let ends_host = |c: char| c <= ' ' || "@:/\\#!$&'()*+,;=?%".contains(c);
    if domain.contains(ends_host) {
        return false;
    }
    let ascii = match Host::parse(domain) {
        Ok(Host::Domain(ascii)) => ascii,
        Ok(Host::Ipv4(_) | Host::Ipv6(_)) => return false,
        // One that no URL can have may still be written in the letters of a domain.
        Err(_) => domain.to_owned(),
    };
    let Some((before, last)) = ascii.rsplit_once('.') else {
        return false;
    };
    last.starts_with(|c: char| c.is_ascii_alphabetic()) && is_label(last) && before.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let edges = [bytes.first(), bytes.last()];
    bytes.len() <= LABEL_MAX
        && edges.into_iter().all(|edge| edge.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

fn is_disposable(email: &str) -> bool {
    let domain = email.rsplit('@').next().unwrap_or_default();
    words::DISPOSABLE.contains(&domain.trim().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judged by the reference's library, `@hapi/address` 5.1.1.
    const TAKEN: [&str; 9] = [
        "a@b.co",
        "community-ash@trainers.gg",
        "did_plc_x@bluesky.trainers.gg",
        "A.B+c!#$%&'*/=?^`{|}~@x-y.example",
        "jürgen@bücher.example",
        "用户@例子。广告",
        "a@xn--bcher-kva.example",
        "a@1.a1",
        "a@x.c-d",
    ];
    const REFUSED: [&str; 26] = [
        "",
        "a",
        "a@",
        "@b.co",
        "a@b",
        "a@@b.co",
        "a@b@c.co",
        ".a@b.co",
        "a.@b.co",
        "a..b@c.co",
        "a b@c.co",
        "a@b c.co",
        "\"a\"@b.co",
        "a@[1.2.3.4]",
        "a@1.2.3.4",
        "a@b.1c",
        "a@-b.co",
        "a@b-.co",
        "a@b..co",
        "a@b.co.",
        "a@b_c.co",
        "a@b.co:80",
        "a@b%2eco.co",
        "a(b)@c.co",
        "a@b.c-",
        "a,b@c.co",
    ];

    #[test]
    fn addresses_are_judged_as_the_reference_judges_them() {
        for email in TAKEN {
            assert!(is_supported(email), "{email}");
        }
        for email in REFUSED {
            assert!(!is_supported(email), "{email}");
        }
    }

    #[test]
    fn lengths_are_those_of_mail() {
        let label = "b".repeat(63);
        assert!(is_valid(&format!("{}@{label}.co", "a".repeat(64))));
        assert!(!is_valid(&format!("{}@{label}.co", "a".repeat(65))));
        assert!(!is_valid(&format!("{}@{label}.co", "ä".repeat(33))));
        assert!(!is_valid(&format!("a@{label}b.co")));
        let domain = format!("{label}.{label}.{label}");
        assert!(is_valid(&format!("{}@{domain}.{}", "a".repeat(8), "c".repeat(53))));
        assert!(!is_valid(&format!("{}@{domain}.{}", "a".repeat(9), "c".repeat(53))));
    }

    #[test]
    fn throw_away_addresses_are_refused_in_any_case() {
        assert!(!is_supported("a@mailinator.com"));
        assert!(!is_supported("a@Mailinator.COM"));
        assert!(is_supported("a@mailinator.example"));
    }
}
