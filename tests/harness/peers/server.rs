//! The origin and the reference server, each a process that can stand on the other's directory.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tokio::process::Command;

use super::{Packages, Program};
use crate::{Bucket, Plc};

/// The password of the administrator in every [`Place`].
pub const ADMIN_PASSWORD: &str = "admin password";

/// Where a server stands: a data directory and an environment, the same for whoever serves it, one after the other.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    port: u16,
    environment: BTreeMap<String, String>,
}

impl Place {
    /// An empty directory, with the environment of an operator of the reference server.
    pub fn new(plc: &Plc) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let environment = [
            ("PDS_HOSTNAME", "localhost".to_owned()),
            ("PDS_PORT", port.to_string()),
            ("PDS_DATA_DIRECTORY", path("")),
            ("PDS_BLOBSTORE_DISK_LOCATION", path("blocks")),
            ("PDS_DID_PLC_URL", plc_url(plc)),
            ("PDS_JWT_SECRET", "the secret of all sessions".to_owned()),
            ("PDS_ADMIN_PASSWORD", ADMIN_PASSWORD.to_owned()),
            ("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", "5d".repeat(32)),
            ("PDS_SERVICE_HANDLE_DOMAINS", ".test".to_owned()),
            ("PDS_DEV_MODE", "true".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        Self { directory, port, environment }
    }

    /// The same place with one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same place with its blobs in a bucket.
    #[must_use]
    pub fn with_blobs_in(mut self, bucket: &Bucket) -> Self {
        self.environment.remove("PDS_BLOBSTORE_DISK_LOCATION");
        self.with_all(bucket.environment())
    }

    /// The same place with more variables.
    #[must_use]
    pub fn with_all<'a>(self, more: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        more.into_iter().fold(self, |place, (name, value)| place.with(name, &value))
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The name and port that servers here are reached by.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The URL of a server here with `path`, which starts with a slash or is empty.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host())
    }

    /// A command of the origin's binary in this environment.
    pub fn headwater(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(headwater());
        command.args(arguments).env_clear().envs(&self.environment);
        command
    }

    /// Starts the origin here; it answers when this returns.
    pub async fn start_headwater(&self) -> Program {
        let program = Program::start("headwater", self.headwater(&["serve"]));
        program.wait_for("that it listens", |lines| lines.iter().any(|line| line.contains("\"listening\""))).await;
        program
    }

    /// Starts the reference server here; it answers when this returns.
    pub async fn start_reference(&self, packages: &Packages, version: Version) -> Program {
        let mut command = packages.script("reference.mjs");
        command.arg(version.package()).envs(&self.environment).env("LOG_ENABLED", "true").env("LOG_LEVEL", "warn");
        let program = Program::start("the reference server", command);
        program.wait_for("that it listens", |lines| lines.iter().any(|line| line == "listening")).await;
        program
    }
}

/// Which of the installed reference servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// What most hosts still run.
    V0_4_217,
    /// The one that behaviour is compared with.
    V0_5_35,
}

impl Version {
    fn package(self) -> &'static str {
        match self {
            Self::V0_4_217 => "pds-0.4.217",
            Self::V0_5_35 => "pds-0.5.35",
        }
    }
}

/// The origin's program, built beside the test's.
fn headwater() -> PathBuf {
    // A test's program is in `deps`, below what it was built with.
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("headwater-under-test")
}

/// The URL of `plc` by name: for plain HTTP the reference's libraries take no other.
pub fn plc_url(plc: &Plc) -> String {
    plc.url("").replace("127.0.0.1", "localhost")
}

/// A port that nobody listens on, and that the system gives nobody by itself: those, from 32768 on, are of connections
/// that come and go beside the test.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Each process of tests begins elsewhere.
        let nth = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(101));
        let port = u16::try_from(10_000 + nth % 22_000).unwrap();
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}
