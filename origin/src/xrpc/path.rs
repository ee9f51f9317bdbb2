//! Which method a path calls.

/// What every call's path begins with.
const PREFIX: &str = "/xrpc/";

/// The name in a path, as it is written there: `/xrpc/` and letters, digits, single `-` and `.` between them; one slash
/// may follow. `None` if the path is not of this form. The name is not held against any list, and may be in any case.
pub(super) fn method_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix(PREFIX)?;
    let name = name.strip_suffix('/').unwrap_or(name);
    let label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (name.len() >= 2 && name.split(['-', '.']).all(label)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_letters_digits_and_single_separators() {
        for (path, name) in [
            ("/xrpc/com.atproto.repo.getRecord", Some("com.atproto.repo.getRecord")),
            ("/xrpc/com.atproto.repo.getRecord/", Some("com.atproto.repo.getRecord")),
            ("/xrpc/com.my-site.get", Some("com.my-site.get")),
            ("/xrpc/ab", Some("ab")),
            ("/xrpc/a", None),
            ("/xrpc/", None),
            ("/xrpc//", None),
            ("/xrpc/a.b//", None),
            ("/xrpc/a..b", None),
            ("/xrpc/a.-b", None),
            ("/xrpc/.ab", None),
            ("/xrpc/ab-", None),
            ("/xrpc/_health", None),
            ("/xrpc/a/b", None),
            ("/xrpc/a%2Eb", None),
            ("/XRPC/a.b", None),
        ] {
            assert_eq!(method_name(path), name, "{path}");
        }
    }
}
