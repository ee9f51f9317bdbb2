//! The origin as a process of its own, which a test can kill, watch and trace.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::Plc;

/// How long the process may take to listen, or to end when it should.
const LIMIT: Duration = Duration::from_secs(20);
/// How many lines of its log are kept.
const KEPT: usize = 200;

/// A running origin. The process is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<VecDeque<String>>>,
}

/// An origin that was started and does not listen yet.
#[derive(Debug)]
pub struct Starting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The resident memory of a process now, and the most that it was, in kB; `None` once it has ended.
pub fn memory(process: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    field("VmRSS:").zip(field("VmHWM:"))
}

/// What starts an origin on `directory`, with the did:plc directory `plc` and without invites.
///
/// It listens on a port that the system chooses. Add variables to it, or put another program before it with [`under`].
pub fn headwater(program: &Path, directory: &Path, plc: &Plc) -> Command {
    let mut command = of_headwater(program, directory, plc);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command
}

/// What runs the origin's program on `directory` in the same environment: its first argument says what is to be done.
pub fn of_headwater(program: &Path, directory: &Path, plc: &Plc) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PDS_DATA_DIRECTORY", directory)
        .env("PDS_DID_PLC_URL", plc.url(""))
        .env("PDS_INVITE_REQUIRED", "false")
        .env("PDS_DEV_MODE", "true");
    command
}

/// `command`, run by the program that the first of `words` names, with the rest as its arguments.
pub fn under(words: &[&str], command: &Command) -> Command {
    let command = command.as_std();
    let mut outer = Command::new(words[0]);
    outer.args(&words[1..]).arg(command.get_program()).args(command.get_args());
    outer.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    outer
}

impl Starting {
    /// Starts it.
    pub fn new(mut command: Command) -> Self {
        crate::prepare_client();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits until it listens; how it ended if it does not.
    ///
    /// # Panics
    ///
    /// When it does neither in 20 seconds.
    pub async fn listens(mut self) -> Result<Process, ExitStatus> {
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let listening = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                keep(&log, line);
                if said["message"] == "listening" {
                    return Some(said["address"].as_str().unwrap().parse::<SocketAddr>().unwrap());
                }
            }
            None
        };
        let listening = tokio::time::timeout(LIMIT, listening).await.expect("it listens or ends");
        let Some(address) = listening else { return Err(self.child.wait().await.unwrap()) };
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = self.lines.next_line().await {
                keep(&kept, line);
            }
        });
        Ok(Process { child: self.child, address, log })
    }

    /// Ends it with SIGKILL, wherever it is.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

impl Process {
    /// Starts what `command` says; it answers when this returns.
    ///
    /// # Panics
    ///
    /// When it ends instead.
    pub async fn start(command: Command) -> Self {
        Starting::new(command).listens().await.unwrap_or_else(|status| panic!("it ended with {status}"))
    }

    /// The origin's URL with `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The process's identifier.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Ends it with SIGKILL: it gets no moment to do anything.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    ///
    /// When it has not in 20 seconds.
    pub async fn ended(self) -> ExitStatus {
        self.ended_within(LIMIT).await.expect("it ends")
    }

    /// Waits until it has ended by itself; `None` when it has not in so long. Then it is killed.
    pub async fn ended_within(mut self, limit: Duration) -> Option<ExitStatus> {
        tokio::time::timeout(limit, self.child.wait()).await.ok().map(Result::unwrap)
    }

    /// The last lines of its log that were written as errors.
    pub fn errors(&self) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|line| line.contains(r#""level":"ERROR""#)).cloned().collect()
    }
}

fn keep(log: &Mutex<VecDeque<String>>, line: String) {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if log.len() == KEPT {
        log.pop_front();
    }
    log.push_back(line);
}
