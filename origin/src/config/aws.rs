//! What AWS's own variables say. Other programs read them, too, so nothing is said of those that are not used.

use super::variables::Variables;

/// `AWS_REGION`, else `AWS_DEFAULT_REGION`.
pub(super) fn region(variables: &mut Variables) -> Option<String> {
    let [one, other] = ["AWS_REGION", "AWS_DEFAULT_REGION"].map(|name| variables.text(name));
    one.or(other)
}

/// Whether a region is nothing but that, since it becomes part of a host's name.
pub(super) fn is_region(region: &str) -> bool {
    !region.is_empty() && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN`, of a key that was lent for a while.
pub(super) fn keys(variables: &mut Variables) -> [Option<String>; 3] {
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(|name| variables.text(name))
}
