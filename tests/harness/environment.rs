//! What `cargo xtask test` tells the suite through the environment, and what the suite tells it back.
//!
//! A test whose tool is missing is skipped: reported by name and reason, and with `CI=true` failed instead.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

/// The value of `name`, `None` when it is not set or empty.
#[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The number that `name` says, such as how long a soak goes on; `None` when it says nothing.
///
/// # Panics
///
/// When it says something else.
pub fn number(name: &str) -> Option<u64> {
    variable(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, not a number")))
}

/// Where the built Worker is, and where the Node packages are; else why they are not there.
pub fn edge() -> Result<(PathBuf, PathBuf), String> {
    match (variable("HEADWATER_EDGE_BUILD"), variable("HEADWATER_NODE_MODULES")) {
        (Some(build), Some(modules)) => Ok((build.into(), modules.into())),
        _ => Err(variable("HEADWATER_EDGE_MISSING")
            .unwrap_or_else(|| "the Worker is built and handed over by `cargo xtask test`".to_owned())),
    }
}

/// Where the Node packages are; else why they are not there.
pub(crate) fn node_modules() -> Result<PathBuf, String> {
    variable("HEADWATER_NODE_MODULES").map(PathBuf::from).ok_or_else(|| {
        variable("HEADWATER_NODE_MISSING")
            .unwrap_or_else(|| "the mail server is installed and handed over by `cargo xtask test`".to_owned())
    })
}

/// Where the peer `name` of the tests is, else why it is not there.
pub(crate) fn peer(name: &str) -> Result<PathBuf, String> {
    variable(&format!("HEADWATER_{name}")).map(PathBuf::from).ok_or_else(|| {
        variable(&format!("HEADWATER_{name}_MISSING")).unwrap_or_else(|| {
            "installed and handed over by `cargo xtask test`; `cargo xtask peers` prints the variables".to_owned()
        })
    })
}

/// Reports that the running test cannot be run, and why.
///
/// # Panics
///
/// With `CI=true`, where everything has to run.
pub fn skip(reason: &str) {
    // The test's thread has the test's name.
    let line = format!("{}: {reason}", std::thread::current().name().unwrap_or("a test"));
    assert!(variable("CI").as_deref() != Some("true"), "{line}");
    eprintln!("SKIPPED {line}");
    if let Some(path) = variable("HEADWATER_SKIPS") {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}
