//! A relay: indigo's, with SQLite.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::process::Command;

use super::server::free_port;
use super::{Program, found};
use crate::Plc;

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    program: Program,
    url: String,
    _directory: TempDir,
}

impl Relay {
    /// Starts a relay that asks `plc` and follows `host`, a name with a port, from its first event on; it answers when this
    /// returns. `None`, and the test reported as skipped, when the program is not there.
    pub async fn start(plc: &Plc, host: &str) -> Option<Self> {
        let relay: PathBuf = found("RELAY")?;
        let directory = tempfile::tempdir().unwrap();
        let [bind, metrics] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let command = || {
            let mut command = Command::new(&relay);
            command.args(["--plc-host", &plc.url(""), "--log-level", "info", "serve"]);
            command.args(["--bind", &bind, "--metrics-listen", &metrics, "--persist-dir", &path("persist")]);
            command.args(["--db-url", &format!("sqlite://{}", path("relay.sqlite"))]);
            command.env_clear().env("HOME", directory.path()).current_dir(directory.path());
            command
        };
        let url = format!("http://{bind}");
        // Asked to follow a host, it first looks whether that is a public one. A host that it knows it just follows.
        let first = Program::start("relay", command());
        answers(&url, &first).await;
        first.stop().await;
        Connection::open(path("relay.sqlite"))
            .unwrap()
            .execute(
                "INSERT INTO host (hostname, no_ssl, account_limit, status, last_seq, created_at, updated_at)
                 VALUES (?, TRUE, 1000, 'active', 0, datetime(), datetime())",
                [host],
            )
            .unwrap();
        let program = Program::start("relay", command());
        answers(&url, &program).await;
        Some(Self { program, url, _directory: directory })
    }

    /// The relay's URL with `path`, which starts with a slash or is empty.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What it has logged.
    pub fn log(&self) -> Vec<String> {
        self.program.lines()
    }
}

async fn answers(url: &str, program: &Program) {
    let health = format!("{url}/xrpc/_health");
    for _ in 0..200 {
        if reqwest::get(&health).await.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the relay does not answer; it said:\n{}", program.lines().join("\n"));
}
