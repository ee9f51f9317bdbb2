//! A real mail server, whose mails a test reads.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::environment;

/// How long a mail may take to come.
const MAIL_LIMIT: Duration = Duration::from_secs(20);

/// A running mail server; it ends with this, or with the test's process.
#[derive(Debug)]
pub struct Smtp {
    port: u16,
    lines: Lines<BufReader<ChildStdout>>,
    _input: Option<ChildStdin>,
    process: Child,
}

impl Smtp {
    /// Starts one on 127.0.0.1; `options` are those of `smtp.mjs`. `None`, and the test reported as skipped, when the
    /// packages that it is made of are not there.
    ///
    /// # Panics
    ///
    /// When they are there and it does not start.
    pub async fn start(options: Value) -> Option<Self> {
        let modules = environment::node_modules().inspect_err(|reason| environment::skip(reason)).ok()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/smtp.mjs");
        let mut process = Command::new("node")
            .args([&script, &modules])
            .arg(options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("the mail server ended at once"));
        let port = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        Some(Self { port, lines, _input: process.stdin.take(), process })
    }

    /// Ends it; nobody listens at its port when this returns.
    pub async fn stop(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next mail, as `smtp.mjs` shows it.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub async fn mail(&mut self) -> Value {
        loop {
            let line = tokio::time::timeout(MAIL_LIMIT, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no mail came")).unwrap().unwrap();
            if !line.starts_with('#') {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    /// What a server has to know to send its mails here.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        let url = format!("smtp://localhost:{}", self.port);
        [
            ("PDS_EMAIL_SMTP_URL", url.clone()),
            ("PDS_EMAIL_FROM_ADDRESS", "pds@example.com".to_owned()),
            ("PDS_MODERATION_EMAIL_SMTP_URL", url),
            ("PDS_MODERATION_EMAIL_ADDRESS", "moderators@example.com".to_owned()),
        ]
    }

    /// The URL at which a program of its own fetches the mails, each once.
    pub async fn mailbox(self) -> String {
        async fn next(State(smtp): State<Arc<Mutex<Smtp>>>) -> axum::Json<Value> {
            axum::Json(smtp.lock().await.mail().await)
        }
        crate::serve(Router::new().route("/", get(next)).with_state(Arc::new(Mutex::new(self)))).await
    }

    /// Whether no mail comes for a while.
    pub async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(700), self.mail()).await.is_err()
    }
}
