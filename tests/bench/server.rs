//! The two servers under measurement, each a process of its own on a copy of the same data.

use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tests::peers::free_port;
use tests::{Plc, process};
use tokio::process::{Child, Command};

use crate::cost::Cpu;
use crate::seed::Seed;

pub(crate) const PASSWORD: &str = "correct horse";
const SECRET: &str = "5c6d6f0f4f7d4f4a9a0e7a3f2f1c9b8d";
const ROTATION_KEY: &str = "3ee68ca97ea2a4ae7c29b4e1f7b9f4c4bd8a7e5f2c1d0a9b8c7d6e5f4a3b2c1d";
/// No start takes longer.
const READY: Duration = Duration::from_secs(60);
/// How long a server is left alone before it counts as idle.
const SETTLING: Duration = Duration::from_secs(2);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// This one.
    Ours,
    /// `@atproto/pds`.
    Reference,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "headwater",
            Self::Reference => "reference",
        }
    }
}

/// A running server, ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) seed: Seed,
    /// Sessions of the seed's accounts, in their order.
    pub(crate) tokens: Vec<String>,
    /// How long it took from its start to its first answer.
    pub(crate) started_in: Duration,
    /// Its resident memory when it had answered nothing but that, in kB.
    pub(crate) idle_kb: u64,
    process: Child,
}

impl Server {
    /// Starts a server on `data`; it answers when this returns.
    pub(crate) async fn start(
        kind: Kind,
        mut command: Command,
        data: &Path,
        plc: &Plc,
        seed: Seed,
    ) -> Result<Self, Box<dyn Error>> {
        let port = free_port();
        let url = format!("http://localhost:{port}");
        command.envs(variables(port, data, plc)).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let client = Client::new();
        let (begun, process) = (Instant::now(), command.spawn()?);
        while !client.get(format!("{url}/xrpc/_health")).send().await.is_ok_and(|answer| answer.status().is_success()) {
            if begun.elapsed() > READY {
                return Err(format!("{} does not answer", kind.name()).into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let started_in = begun.elapsed();
        Ok(Self { kind, url, client, seed, tokens: Vec::new(), started_in, idle_kb: 0, process })
    }

    /// Leaves it alone for a while, and looks at its memory then.
    pub(crate) async fn settle(&mut self) -> Result<(), Box<dyn Error>> {
        tokio::time::sleep(SETTLING).await;
        self.idle_kb = self.memory()?.0;
        Ok(())
    }

    /// Opens a session for each account.
    pub(crate) async fn log_in(&mut self) -> Result<(), Box<dyn Error>> {
        for account in self.seed.accounts.clone() {
            let login = json!({ "identifier": account.handle, "password": PASSWORD });
            let session = self.post("com.atproto.server.createSession", None, &login).await?;
            let session: Value = session.error_for_status()?.json().await?;
            self.tokens.push(session["accessJwt"].as_str().unwrap_or_default().to_owned());
        }
        Ok(())
    }

    /// Asks a query.
    pub(crate) async fn get(&self, path: &str, account: Option<usize>) -> Result<Response, reqwest::Error> {
        self.send(Method::GET, path, account, None).await
    }

    /// Calls a procedure.
    pub(crate) async fn post(
        &self,
        method: &str,
        account: Option<usize>,
        input: &Value,
    ) -> Result<Response, reqwest::Error> {
        self.send(Method::POST, method, account, Some(input)).await
    }

    async fn send(
        &self,
        verb: Method,
        path: &str,
        account: Option<usize>,
        input: Option<&Value>,
    ) -> Result<Response, reqwest::Error> {
        let mut request = self.client.request(verb, format!("{}/xrpc/{path}", self.url));
        if let Some(token) = account.and_then(|account| self.tokens.get(account)) {
            request = request.bearer_auth(token);
        }
        if let Some(input) = input {
            request = request.json(input);
        }
        request.send().await
    }

    /// Uploads a blob.
    pub(crate) async fn upload(&self, account: usize, bytes: Vec<u8>) -> Result<Response, reqwest::Error> {
        let request = self.client.post(format!("{}/xrpc/com.atproto.repo.uploadBlob", self.url));
        let request = request.bearer_auth(&self.tokens[account]).header("content-type", "application/octet-stream");
        request.body(bytes).send().await
    }

    /// The CPU time that the process has used.
    pub(crate) fn cpu(&self) -> Result<Cpu, Box<dyn Error>> {
        Cpu::of(self.id()?)
    }

    /// Its resident memory now, and the most that it was, in kB.
    pub(crate) fn memory(&self) -> Result<(u64, u64), Box<dyn Error>> {
        process::memory(self.id()?).ok_or_else(|| "no memory in the process's status".into())
    }

    fn id(&self) -> Result<u32, Box<dyn Error>> {
        self.process.id().ok_or_else(|| format!("{} has ended", self.kind.name()).into())
    }

    /// Stops it as an operator would.
    pub(crate) async fn stop(mut self) -> Result<(), Box<dyn Error>> {
        Command::new("kill").args(["-TERM", &self.id()?.to_string()]).status().await?;
        self.process.wait().await?;
        Ok(())
    }
}

/// The environment of either server.
fn variables(port: u16, data: &Path, plc: &Plc) -> Vec<(&'static str, String)> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    vec![
        ("PDS_HOSTNAME", "localhost".to_owned()),
        ("PDS_PORT", port.to_string()),
        ("PDS_DATA_DIRECTORY", path(data)),
        ("PDS_BLOBSTORE_DISK_LOCATION", path(&data.join("blocks"))),
        ("PDS_DID_PLC_URL", plc.url("").replace("127.0.0.1", "localhost")),
        ("PDS_JWT_SECRET", SECRET.to_owned()),
        ("PDS_ADMIN_PASSWORD", SECRET.to_owned()),
        ("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", ROTATION_KEY.to_owned()),
        ("PDS_SERVICE_HANDLE_DOMAINS", ".test".to_owned()),
        ("PDS_INVITE_REQUIRED", "false".to_owned()),
        ("PDS_DEV_MODE", "true".to_owned()),
        ("NODE_ENV", "production".to_owned()),
        ("LOG_ENABLED", "false".to_owned()),
    ]
}
