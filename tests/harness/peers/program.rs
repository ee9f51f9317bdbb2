//! A program of somebody else's that runs beside a test.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

/// How long a program may take to say what is waited for, or to end once told to.
const LIMIT: Duration = Duration::from_secs(60);

/// A running program, with what it has said so far. It is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    child: Child,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    more: Notify,
}

impl Said {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Program {
    /// Starts `command`; `name` stands for it in messages. What it writes to either output is kept, line by line.
    pub fn start(name: &'static str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let said = Arc::new(Said::default());
        keep(child.stdout.take().unwrap(), Arc::clone(&said));
        keep(child.stderr.take().unwrap(), Arc::clone(&said));
        Self { name, child, said }
    }

    /// Every line that it has written.
    pub fn lines(&self) -> Vec<String> {
        self.said.lines()
    }

    /// Waits until what it has written satisfies `enough`; returns it.
    ///
    /// # Panics
    ///
    /// When it does not within a minute.
    pub async fn wait_for(&self, what: &str, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let waiting = async {
            loop {
                let more = self.said.more.notified();
                let lines = self.said.lines();
                if enough(&lines) {
                    return lines;
                }
                // The timer covers a line that came between the look and the wait.
                let _either = tokio::time::timeout(Duration::from_millis(50), more).await;
            }
        };
        match tokio::time::timeout(LIMIT, waiting).await {
            Ok(lines) => lines,
            Err(_) => panic!("{} has not shown {what}; it said:\n{}", self.name, self.lines().join("\n")),
        }
    }

    /// Asks it to end by SIGTERM and waits until it has.
    pub async fn stop(mut self) -> ExitStatus {
        let id = self.child.id().unwrap().to_string();
        let told = Command::new("kill").args(["-s", "TERM", &id]).status().await.unwrap();
        assert!(told.success(), "{} has ended already:\n{}", self.name, self.lines().join("\n"));
        match tokio::time::timeout(LIMIT, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("{} does not stop; it said:\n{}", self.name, self.lines().join("\n")),
        }
    }

    /// Ends it by SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until it has ended by itself, well; returns what it wrote.
    ///
    /// # Panics
    ///
    /// When it fails, or takes more than a minute.
    pub async fn finished(mut self) -> Vec<String> {
        match tokio::time::timeout(LIMIT, self.child.wait()).await {
            // Its last lines may still be on the way.
            Ok(status) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let said = self.lines();
                assert!(status.unwrap().success(), "{} failed:\n{}", self.name, said.join("\n"));
                said
            }
            Err(_) => panic!("{} does not end; it said:\n{}", self.name, self.lines().join("\n")),
        }
    }
}

fn keep(output: impl AsyncRead + Send + Unpin + 'static, said: Arc<Said>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            said.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            said.more.notify_waiters();
        }
    });
}
