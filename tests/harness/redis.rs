//! A Redis server of a test's own.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::environment;
use crate::peers::free_port;

/// What the server wants to be told.
pub const PASSWORD: &str = "the password of Redis";

/// A running Redis server, which keeps nothing on the disk; it is killed when this is dropped.
#[derive(Debug)]
pub struct Redis {
    process: Child,
    port: u16,
    directory: TempDir,
}

impl Redis {
    /// Starts one on 127.0.0.1. `None`, and the test reported as skipped, when there is no Redis.
    ///
    /// # Panics
    ///
    /// When there is one and it does not start.
    pub async fn start() -> Option<Self> {
        for program in ["redis-server", "redis-cli"] {
            if !Command::new(program).arg("--version").output().await.is_ok_and(|output| output.status.success()) {
                environment::skip(&format!("{program} is not there"));
                return None;
            }
        }
        let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
        let mut redis = Self { process: process(port, &directory), port, directory };
        redis.answers().await;
        Some(redis)
    }

    /// What a server is told of it.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("PDS_REDIS_SCRATCH_ADDRESS", format!("127.0.0.1:{}", self.port)),
            ("PDS_REDIS_SCRATCH_PASSWORD", PASSWORD.to_owned()),
        ]
    }

    /// What it answers to a command: its own client's words for it.
    pub async fn ask(&self, command: &[&str]) -> String {
        let asked = self.client(command).output().await.unwrap();
        assert!(asked.status.success(), "{command:?}: {asked:?}");
        String::from_utf8(asked.stdout).unwrap().trim().to_owned()
    }

    /// Every count that it holds, in the order of their names: name, number, and in how many seconds it ends.
    pub async fn counts(&self) -> Vec<(String, u64, i64)> {
        let mut counts = Vec::new();
        for key in self.ask(&["KEYS", "*"]).await.lines().filter(|key| *key != "headwater-probe") {
            let (used, left) = (self.ask(&["GET", key]).await, self.ask(&["TTL", key]).await);
            counts.push((key.to_owned(), used.parse().unwrap(), left.parse().unwrap()));
        }
        counts.sort();
        counts
    }

    /// Ends it; nobody listens at its port when this returns.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts it anew, empty, where it was.
    pub async fn restart(&mut self) {
        self.process = process(self.port, &self.directory);
        self.answers().await;
    }

    /// Lets it stand still: it takes connections and answers nothing.
    pub async fn pause(&self) {
        self.signal("STOP").await;
    }

    /// Lets it go on.
    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().await.unwrap().success());
    }

    fn client(&self, command: &[&str]) -> Command {
        let mut client = Command::new("redis-cli");
        client.args(["-p", &self.port.to_string(), "-a", PASSWORD, "--no-auth-warning"]).args(command);
        client
    }

    async fn answers(&mut self) {
        for _ in 0..500 {
            let pong = self.client(&["PING"]).output().await.unwrap();
            if pong.stdout.starts_with(b"PONG") {
                return;
            }
            assert!(self.process.try_wait().unwrap().is_none(), "Redis ended at once");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("Redis does not answer");
    }
}

fn process(port: u16, directory: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--requirepass", PASSWORD])
        .args(["--save", "", "--appendonly", "no", "--dir", directory.path().to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
