//! What the caller's environment says, and where this checkout is. No other file here reads the environment.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether this runs as the check of a submission, where nothing may be skipped.
pub(crate) fn is_ci() -> bool {
    variable("CI").is_some_and(|value| value == "true")
}

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    variable("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target))
}

/// The cargo that runs this.
pub(crate) fn cargo() -> OsString {
    variable("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Where tools are installed: `HEADWATER_TOOLS`, else `headwater` in the user's cache directory, else, for a user without
/// a home, beside cargo's own output.
pub(crate) fn tools() -> PathBuf {
    variable("HEADWATER_TOOLS")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("headwater")))
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache/headwater")))
        .unwrap_or_else(|| target().join("tools"))
}

/// `PATH` with `first` before everything else in it.
pub(crate) fn path_with(first: &Path) -> OsString {
    let mut path = first.as_os_str().to_owned();
    if let Some(rest) = variable("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}
