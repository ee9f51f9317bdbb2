//! Names of variables that are known but not used, and what a misspelt one was probably meant to be.

/// Variables of the reference, past and present, that this server does not use. One that is set is warned about, not
/// refused, so that the reference's environment starts this server as it is.
pub(super) const LATER: &[&str] = &[
    "PDS_BACKGROUND_DARK_URL",
    "PDS_BACKGROUND_LIGHT_URL",
    "PDS_DPOP_SECRET",
    "PDS_ENTRYWAY_ADMIN_TOKEN",
    "PDS_ERROR_COLOR",
    "PDS_HCAPTCHA_SECRET_KEY",
    "PDS_HCAPTCHA_SITE_KEY",
    "PDS_HCAPTCHA_TOKEN_SALT",
    "PDS_INFO_COLOR",
    "PDS_LEXICON_AUTHORITY_DID",
    "PDS_OAUTH_TRUSTED_CLIENTS",
    "PDS_PROXY_ALLOW_HTTP2",
    "PDS_REPO_SIGNING_KEY_K256_PRIVATE_KEY_HEX",
    "PDS_SUCCESS_COLOR",
    "PDS_SUPPORT_URL",
    "PDS_WARNING_COLOR",
];

/// The name among `known` that `name` was probably meant to be: one that is at most three strokes away.
pub(super) fn closest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|other| (distance(name, other), other))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, other)| other)
}

/// How many characters must be put in, taken out or changed to make one text of the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (nth, from) in from.bytes().enumerate() {
        let mut diagonal = nth;
        let mut left = nth + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(to.bytes()) {
            let changed = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = changed.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = nth + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_strokes() {
        let pairs = [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)];
        for (from, to, expected) in pairs {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_name_far_from_all_others_was_meant_to_be_none() {
        assert_eq!(
            closest("PDS_ADMIN_PASWORD", ["PDS_ADMIN_PASSWORD", "PDS_PORT"].into_iter()),
            Some("PDS_ADMIN_PASSWORD")
        );
        assert_eq!(closest("PDS_SOMETHING_ELSE", ["PDS_ADMIN_PASSWORD", "PDS_PORT"].into_iter()), None);
    }
}
