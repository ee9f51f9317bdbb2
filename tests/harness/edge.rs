//! The built Worker, run on workerd in a process of its own.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::environment;

/// A running edge. Its process reads its standard input to the end, and then ends workerd and itself: when this is dropped,
/// or when the test process dies.
#[derive(Debug)]
pub struct Edge {
    url: String,
    process: Child,
}

/// How long the process may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(10);

impl Edge {
    /// Starts the edge in front of the origin at `origin`, a URL without a path; it answers when this returns. `None`, and
    /// the test reported as skipped, when the Worker or the tool that runs it is not there.
    ///
    /// # Panics
    ///
    /// When it is there and does not start.
    pub async fn start(origin: &str) -> Option<Self> {
        Self::start_with(0, &[("EDGE_ORIGIN", origin)], None).await
    }

    /// Starts the edge on `port` (0 for any) with these variables; what it keeps is in `directory`, if there is one. `None`
    /// as for [`Edge::start`].
    ///
    /// # Panics
    ///
    /// When it is there and does not start.
    pub async fn start_with(port: u16, variables: &[(&str, &str)], directory: Option<&Path>) -> Option<Self> {
        crate::prepare_client();
        let (build, modules) = environment::edge().inspect_err(|reason| environment::skip(reason)).ok()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/workerd.mjs");
        let mut process = Command::new("node")
            .args([&script, &modules, &build])
            .arg(port.to_string())
            .args(directory)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("workerd ended before it listened"));
            if let Some(url) = line.strip_prefix("listening on ") {
                // The rest of its output is read, or it would stop at a full pipe.
                let url = url.to_owned();
                tokio::spawn(async move {
                    while let Ok(Some(line)) = lines.next_line().await {
                        println!("{line}");
                    }
                });
                return Some(Self { url, process });
            }
            println!("{line}");
        }
    }

    /// The identifier of workerd's process.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub fn workerd(&self) -> u32 {
        let parent = self.process.id().expect("it runs");
        let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            let (name, rest) = stat.rsplit_once(") ")?;
            let of: u32 = rest.split(' ').nth(1)?.parse().ok()?;
            (of == parent && name.contains("workerd")).then_some(id)
        });
        children.into_iter().next().expect("workerd runs")
    }

    /// Ends workerd, and what started it, with SIGKILL: they get no moment to do anything.
    pub async fn kill(mut self) {
        let workerd = self.workerd();
        let killed = Command::new("kill").args(["-KILL", &workerd.to_string()]).status().await;
        assert!(killed.unwrap().success(), "workerd is not killed");
        self.process.kill().await.unwrap();
        // The port is free when its process is gone.
        while fs::exists(format!("/proc/{workerd}/exe")).unwrap_or(false) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends it, as when this is dropped.
    pub fn stop(self) {}

    /// The edge's URL with `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let started = Instant::now();
        while let Ok(None) = self.process.try_wait() {
            if started.elapsed() > STOP_LIMIT {
                // A second panic would end the whole test process, and hide the first.
                assert!(thread::panicking(), "workerd's process {:?} does not end", self.process.id());
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
