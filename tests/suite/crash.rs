//! Nothing acknowledged is lost: the origin as a process of its own, killed under concurrent writers, again and again.
//!
//! After a kill and a restart everything is checked that a consumer or an owner could notice: what was acknowledged is
//! there, what was refused is not, and what was under way is wholly there, with its event, or wholly absent; every event
//! stands in the sequence once and in order, verifies, and leads back to the one before; what was read in the sequence
//! never changes; stores, trees, tables and the list of repositories agree to the block.
//!
//! `HEADWATER_KILLS` says how often it is killed (20 times; `cargo xtask soak`: 200), `HEADWATER_SEED` repeats a run's
//! choices, though not the machine's.

mod again;
mod faults;
mod full;
mod ledger;
pub(crate) mod mirror;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::process::{Starting, headwater};
use tests::{Bucket, Plc, Process, environment};
use tokio::process::Command;
use tokio::task::JoinSet;

use ledger::Ledger;
use mirror::Mirror;
use writer::{Account, Random, Writer};

const KILLS: u64 = 20;
/// How many writes are acknowledged at least before a server is killed, however slow the machine is.
const LEAST: u64 = 8;
const PASSWORD: &str = "correct horse";

/// A data directory that servers come and go on.
struct Scene {
    plc: Plc,
    directory: TempDir,
    /// Where blobs are, if not in the directory.
    bucket: Option<Bucket>,
    ledger: Arc<Mutex<Ledger>>,
    mirror: Mirror,
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mirror = Mirror::new(directory.path());
        Self { plc: Plc::start().await, ledger: Arc::default(), mirror, directory, bucket: None }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self) -> Command {
        let mut command = headwater(&program(), self.path(), &self.plc);
        command.envs(self.bucket.iter().flat_map(Bucket::environment));
        command
    }

    async fn start(&self) -> Process {
        Process::start(self.command()).await
    }

    /// Waits until this many more writes are acknowledged.
    async fn wait_for_writes(&self, more: u64) {
        let enough = self.ledger.lock().unwrap().count + more;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.ledger.lock().unwrap().count < enough {
            assert!(Instant::now() < deadline, "{more} writes are not acknowledged within a minute");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Checks everything, with the server running and nobody writing.
    async fn check(&mut self, accounts: &[Account]) {
        self.mirror.wait_until_told().await;
        self.mirror.read_on(&self.plc).await;
        let mut ledger = self.ledger.lock().unwrap();
        assert_eq!(ledger.faults, [] as [&str; 0]);
        for acknowledged in std::mem::take(&mut ledger.acknowledged) {
            let told = &self.mirror.told[&acknowledged.did];
            let (commit, changes) =
                told.revs.get(&acknowledged.rev).unwrap_or_else(|| panic!("lost: {acknowledged:?}"));
            assert_eq!((commit, changes), (&acknowledged.commit, &acknowledged.changes), "{}", acknowledged.rev);
        }
        for account in accounts {
            ledger.settle(&account.did, &self.mirror.told[&account.did].records);
            self.mirror.check_store(&account.did);
        }
    }
}

/// The origin's program.
fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_headwater-under-test"))
}

/// Asks for an account.
async fn sign_up(server: &str, name: &str) -> Result<(u16, Value), reqwest::Error> {
    let input = json!({
        "handle": format!("{name}.test"), "email": format!("{name}@example.com"), "password": PASSWORD,
    });
    let url = format!("{server}/xrpc/com.atproto.server.createAccount");
    let answer = Client::new().post(url).json(&input).send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

async fn account(server: &Process, name: &str) -> Account {
    let (status, made) = sign_up(&server.url(""), name).await.unwrap();
    assert_eq!(status, 200, "{made}");
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    Account { did: text("did"), token: text("accessJwt") }
}

/// Logs in, `None` when there is no such account.
async fn log_in(server: &Process, name: &str) -> Option<Account> {
    let input = json!({ "identifier": format!("{name}.test"), "password": PASSWORD });
    let url = server.url("/xrpc/com.atproto.server.createSession");
    let answer = Client::new().post(url).json(&input).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    assert!(status == 200 || status == 401, "{status} {body}");
    let text = |field: &str| body[field].as_str().unwrap().to_owned();
    (status == 200).then(|| Account { did: text("did"), token: text("accessJwt") })
}

/// Asks for an account some time after the start, and notes what comes of it.
async fn newcomer(server: String, name: String, delay: Duration, ledger: Arc<Mutex<Ledger>>) {
    tokio::time::sleep(delay).await;
    let answer = sign_up(&server, &name).await;
    let mut ledger = ledger.lock().unwrap();
    match answer {
        Ok((200, made)) => ledger.named.push((name, made["did"].as_str().unwrap().to_owned())),
        Ok((status, body)) => ledger.faults.push(format!("sign-up: {status} {body}")),
        Err(_) => ledger.doubtful_names.push(name),
    }
}

/// Checks that those who signed up have their account, and that who may have is there entirely or can sign up again.
async fn check_newcomers(scene: &mut Scene, server: &Process, met: &mut Vec<Account>) {
    let (named, doubtful) = {
        let mut ledger = scene.ledger.lock().unwrap();
        (std::mem::take(&mut ledger.named), std::mem::take(&mut ledger.doubtful_names))
    };
    for (name, did) in named {
        let account = log_in(server, &name).await.unwrap_or_else(|| panic!("{name} has signed up and is not there"));
        assert_eq!(account.did, did);
        met.push(account);
    }
    for name in doubtful {
        let account = match log_in(server, &name).await {
            Some(account) => account,
            None => self::account(server, &name).await,
        };
        met.push(account);
    }
    scene.mirror.wait_until_told().await;
    scene.mirror.read_on(&scene.plc).await;
    for account in &*met {
        let told = &scene.mirror.told[&account.did];
        assert_eq!(told.kinds, ["identity", "account", "commit", "sync"], "{}", account.did);
        scene.mirror.check_store(&account.did);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_loses_nothing() {
    let kills = environment::number("HEADWATER_KILLS").unwrap_or(KILLS);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = environment::number("HEADWATER_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("SOAK HEADWATER_SEED={seed} HEADWATER_KILLS={kills}");
    let mut random = Random(seed);

    let mut scene = Scene::new().await;
    let mut server = scene.start().await;
    let mut accounts = Vec::new();
    for name in ["alice", "bob", "carol"] {
        accounts.push(account(&server, name).await);
    }
    let (mut under_way, mut newcomers) = (0, 0);
    let mut met = Vec::new();
    for life in 0..kills {
        let mut clients = JoinSet::new();
        for (nth, account) in accounts.iter().enumerate() {
            for half in 0..2 {
                let name = format!("w{nth}{half}");
                let random = Random(random.below(u64::MAX));
                let (account, ledger) = (account.clone(), Arc::clone(&scene.ledger));
                clients.spawn(Writer { account, name, random, ledger, made: 0 }.run(server.url(""), u64::MAX));
            }
        }
        let delay = Duration::from_millis(random.below(150));
        clients.spawn(newcomer(server.url(""), format!("new{life}"), delay, Arc::clone(&scene.ledger)));
        scene.wait_for_writes(LEAST + random.below(20)).await;
        tokio::time::sleep(Duration::from_millis(random.below(50))).await;
        let before = scene.ledger.lock().unwrap().doubts;
        server.kill().await;
        clients.join_all().await;
        under_way += u64::from(scene.ledger.lock().unwrap().doubts > before);

        // Sometimes it is killed while it starts, too.
        while random.below(6) == 0 {
            let starting = Starting::new(scene.command());
            tokio::time::sleep(Duration::from_millis(random.below(60))).await;
            starting.kill().await;
        }
        server = scene.start().await;
        // Sometimes writers come before all is told.
        if random.below(3) > 0 || life + 1 == kills {
            scene.check(&accounts).await;
            check_newcomers(&mut scene, &server, &mut met).await;
            newcomers += met.len();
            met.clear();
            assert_eq!(server.errors(), [] as [&str; 0]);
        }
    }
    // Everything once more, from the first event.
    scene.mirror = Mirror::new(scene.path());
    scene.check(&accounts).await;
    let count = scene.ledger.lock().unwrap().count;
    println!(
        "SOAK {kills} kills, {under_way} with a write under way; {count} acknowledged writes, {newcomers} newcomers"
    );
    assert!(under_way * 4 >= kills, "{under_way} of {kills} kills met a write under way");
    assert!(count >= kills * LEAST, "{count} writes were acknowledged");
}
