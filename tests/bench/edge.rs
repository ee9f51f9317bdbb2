//! `bench --edge`: what the edge costs, and what it spares the origin.
//!
//! One origin and one workerd with three regions, both on this machine, so that nothing here says how long a network
//! takes. CPU is workerd's, as the kernel accounts it.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tests::peers::free_port;
use tests::process::{self, headwater};
use tests::{Edge, Plc, Process, environment};
use tokio::task::JoinSet;

use crate::cost::Cpu;

const REGIONS: [&str; 3] = ["weur", "enam", "apac"];
const KEYS: [&str; 2] = ["the feed key of the benchmark", "the forward key of the benchmark"];
const PASSWORD: &str = "correct horse";
const COLLECTION: &str = "com.example.thing";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct World {
    http: Client,
    /// Makes a connection for each request: workerd closes one that was idle for five seconds, and where it is busy at that
    /// moment, while the next request is on its way.
    once: Client,
    origin: Process,
    edge: Edge,
    workerd: u32,
    started_in: Duration,
    _plc: Plc,
    _directories: [tempfile::TempDir; 2],
}

#[derive(Clone, Debug)]
struct Account {
    did: String,
    token: String,
}

/// How much of everything there is.
struct Size {
    accounts: usize,
    reads: usize,
    mix: Duration,
    records: usize,
    writes: usize,
    load: Duration,
}

/// Measures, and prints what came of it.
pub(crate) async fn run(program: &Path, tiny: bool) -> Result<(), Box<dyn Error>> {
    let size = if tiny {
        Size {
            accounts: 5,
            reads: 100,
            mix: Duration::from_secs(2),
            records: 400,
            writes: 5,
            load: Duration::from_millis(200),
        }
    } else {
        Size {
            accounts: 1000,
            reads: 10_000,
            mix: Duration::from_secs(120),
            records: 100_000,
            writes: 200,
            load: Duration::from_secs(5),
        }
    };
    measure(program, &size).await.map_err(|error| error.to_string().into())
}

async fn measure(program: &Path, size: &Size) -> Outcome<()> {
    let Some(world) = World::start(program).await? else { return Err("there is no Worker to run".into()) };
    println!("workerd, start to first answer, with miniflare: {} ms", world.started_in.as_millis());
    worker_size()?;
    println!("workerd resident when idle: {} MiB, its wasm's memory {} MiB", world.resident()?, world.wasm().await?);
    let mut accounts = JoinSet::new();
    let mut made = Vec::new();
    // One more, which nobody reads before it is large.
    for number in 0..=size.accounts {
        if accounts.len() == 8 {
            made.extend(accounts.join_next().await.transpose()?.transpose()?);
        }
        accounts.spawn(sign_up(world.http.clone(), world.origin.url(""), number));
    }
    while let Some(account) = accounts.join_next().await {
        made.push(account??);
    }
    let Some(large) = made.pop() else { return Err("no accounts".into()) };
    one_replica(&world, &made[0], size).await?;
    pushes(&world, &made[..2], size).await?;
    mix(&world, &made, size).await?;
    exports(&world, &large, size).await?;
    println!("workerd resident at the end: {} MiB, its wasm's memory {} MiB", world.resident()?, world.wasm().await?);
    Ok(())
}

/// What is deployed, and what the platform counts of it.
fn worker_size() -> Outcome<()> {
    let (build, _) = environment::edge()?;
    let wasm = Path::new(&build).join("index_bg.wasm");
    let compressed = Command::new("gzip").args(["-9", "-c"]).arg(&wasm).output()?.stdout.len();
    let raw = fs::metadata(&wasm)?.len();
    println!("the Worker: {:.2} MB, {:.2} MB compressed", raw as f64 / 1e6, compressed as f64 / 1e6);
    Ok(())
}

impl World {
    async fn start(program: &Path) -> Outcome<Option<Self>> {
        let port = free_port();
        let (data, kept) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let plc = Plc::start().await;
        let mut command = headwater(program, data.path(), &plc);
        command
            .env("HEADWATER_EDGE_URL", format!("http://127.0.0.1:{port}"))
            .env("HEADWATER_EDGE_FEED_KEY", KEYS[0])
            .env("HEADWATER_EDGE_FORWARD_KEY", KEYS[1]);
        let origin = Process::start(command).await;
        let begun = Instant::now();
        let url = origin.url("");
        let variables = [
            ("EDGE_ORIGIN", url.as_str()),
            ("EDGE_REGIONS", "weur,enam,apac"),
            ("EDGE_FEED_KEY", KEYS[0]),
            ("EDGE_FORWARD_KEY", KEYS[1]),
            ("EDGE_BLOBS", "cache"),
            ("EDGE_DEV", "1"),
            ("EDGE_LIMIT_PER_MINUTE", "0"),
            ("EDGE_METRICS_TOKEN", KEYS[0]),
        ];
        let Some(edge) = Edge::start_with(port, &variables, Some(kept.path())).await else { return Ok(None) };
        let http = Client::new();
        http.get(edge.url("/xrpc/_health")).send().await?.error_for_status()?;
        let started_in = begun.elapsed();
        let workerd = edge.workerd();
        let once = Client::builder().pool_max_idle_per_host(0).build()?;
        Ok(Some(Self { http, once, origin, edge, workerd, started_in, _plc: plc, _directories: [data, kept] }))
    }

    fn resident(&self) -> Outcome<u64> {
        let (now, _) = process::memory(self.workerd).ok_or("workerd has ended")?;
        Ok(now / 1024)
    }

    fn cpu(&self) -> Outcome<Cpu> {
        Cpu::of(self.workerd).map_err(|error| error.to_string().into())
    }

    async fn read(&self, region: &str, path: &str) -> Outcome<String> {
        read(self.once.clone(), self.edge.url(path), region.to_owned()).await
    }

    /// How large the memory of the wasm is, in MiB: one isolate has all objects here.
    async fn wasm(&self) -> Outcome<u64> {
        let counters = self.counters().await?;
        let line = counters.lines().find(|line| line.starts_with("headwater_edge_wasm_memory_bytes{"));
        let bytes: u64 = line.and_then(|line| line.rsplit(' ').next()).ok_or("no gauge")?.parse()?;
        Ok(bytes / (1024 * 1024))
    }

    async fn counters(&self) -> Outcome<String> {
        let request = self.once.get(self.edge.url("/_edge/metrics")).bearer_auth(KEYS[0]);
        Ok(request.send().await?.error_for_status()?.text().await?)
    }
}

/// Reads to the end and returns where the answer came from.
async fn read(http: Client, url: String, region: String) -> Outcome<String> {
    let answer = http.get(url).header("x-edge-region", region).send().await?.error_for_status()?;
    let mark = answer.headers().get("x-edge").and_then(|mark| mark.to_str().ok()).unwrap_or_default().to_owned();
    answer.bytes().await?;
    Ok(mark)
}

async fn call(http: &Client, url: String, token: Option<&str>, input: Value) -> Outcome<Value> {
    let mut request = http.post(url).json(&input);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    if status.is_success() { Ok(body) } else { Err(format!("{status} {body}").into()) }
}

async fn sign_up(http: Client, origin: String, number: usize) -> Outcome<Account> {
    let handle = format!("account{number}.test");
    let input = json!({ "handle": handle, "email": format!("a{number}@example.com"), "password": PASSWORD });
    let made = call(&http, format!("{origin}/xrpc/com.atproto.server.createAccount"), None, input).await?;
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    let account = Account { did: text("did"), token: text("accessJwt") };
    for rkey in ["one", "two", "three"] {
        put(&http, &origin, &account, rkey).await?;
    }
    Ok(account)
}

async fn put(http: &Client, origin: &str, account: &Account, rkey: &str) -> Outcome<()> {
    let record = json!({ "text": format!("some text of {rkey}, as long as a short post is, and not longer") });
    let input = json!({ "repo": account.did, "collection": COLLECTION, "rkey": rkey, "record": record });
    call(http, format!("{origin}/xrpc/com.atproto.repo.putRecord"), Some(&account.token), input).await?;
    Ok(())
}

fn record_of(account: &Account) -> String {
    format!("/xrpc/com.atproto.repo.getRecord?repo={}&collection={COLLECTION}&rkey=one", account.did)
}

/// Reads until the region answers by itself.
async fn filled(world: &World, region: &str, path: &str) -> Outcome<()> {
    for _ in 0..500 {
        if world.read(region, path).await? == "hit" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("{path} is never a hit").into())
}

/// What a read of one replica costs, how many it answers; the same of a blob and of what is passed on.
async fn one_replica(world: &World, account: &Account, size: &Size) -> Outcome<()> {
    let path = record_of(account);
    filled(world, "weur", &path).await?;
    let before = world.cpu()?;
    for _ in 0..size.reads / 8 {
        let mut some = JoinSet::new();
        for _ in 0..8 {
            some.spawn(read(world.http.clone(), world.edge.url(&path), "weur".to_owned()));
        }
        while let Some(mark) = some.join_next().await {
            mark??;
        }
    }
    let spent = world.cpu()?.since(&before) / size.reads as f64;
    println!("workerd's CPU of a getRecord over {} reads: {spent:.0} us", size.reads);
    let upload = world.http.post(world.origin.url("/xrpc/com.atproto.repo.uploadBlob"));
    let sent = upload.bearer_auth(&account.token).header("content-type", "image/png").body(vec![7; 100_000]);
    let blob = sent.send().await?.json::<Value>().await?["blob"].clone();
    let input = json!({ "repo": account.did, "collection": COLLECTION, "record": { "picture": blob } });
    let url = world.origin.url("/xrpc/com.atproto.repo.createRecord");
    call(&world.http, url, Some(&account.token), input).await?;
    let cid = blob["ref"]["$link"].as_str().unwrap_or_default();
    let blob = format!("/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}", account.did);
    filled(world, "weur", &blob).await?;
    for (name, path) in
        [("a record", path.as_str()), ("a blob of 100 kB", &blob), ("what is passed on", "/xrpc/_health")]
    {
        let until = Instant::now() + size.load;
        let mut clients = JoinSet::new();
        for _ in 0..16 {
            let (http, url) = (world.http.clone(), world.edge.url(path));
            clients.spawn(async move {
                let mut answered = 0_u32;
                while Instant::now() < until {
                    read(http.clone(), url.clone(), "weur".to_owned()).await?;
                    answered += 1;
                }
                Outcome::Ok(answered)
            });
        }
        let mut answered = 0;
        while let Some(some) = clients.join_next().await {
            answered += some??;
        }
        println!(
            "requests a second, 16 clients on the same cores, {name}: {:.0}",
            f64::from(answered) / size.load.as_secs_f64()
        );
    }
    Ok(())
}

/// What a push adds to a write, and what an applied commit costs.
async fn pushes(world: &World, accounts: &[Account], size: &Size) -> Outcome<()> {
    let [with, without] = accounts else { return Err("two accounts".into()) };
    for region in REGIONS {
        filled(world, region, &record_of(with)).await?;
    }
    let mut medians = Vec::new();
    let origin = world.origin.url("");
    let mut cpu = 0.0;
    for account in [without, with] {
        let before = world.cpu()?;
        let mut times = Vec::new();
        for number in 0..size.writes {
            let begun = Instant::now();
            put(&world.http, &origin, account, &format!("w{number}")).await?;
            times.push(begun.elapsed());
        }
        times.sort();
        medians.push(times[times.len() / 2]);
        cpu = world.cpu()?.since(&before) / (size.writes * REGIONS.len()) as f64;
    }
    println!(
        "a write, median of {}: {:.1} ms without replicas, {:.1} ms with three",
        size.writes,
        ms(medians[0]),
        ms(medians[1])
    );
    println!("workerd's CPU of an applied commit: {cpu:.0} us");
    Ok(())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Reads of many accounts by a Zipf law over three regions, with a write a second.
async fn mix(world: &World, accounts: &[Account], size: &Size) -> Outcome<()> {
    const A_SECOND: u32 = 20;
    let weights: Vec<f64> = (1..=accounts.len()).map(|rank| 1.0 / rank as f64).collect();
    let all: f64 = weights.iter().sum();
    // A sequence of its own, the same in every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let (mut reads, mut marks) = (JoinSet::new(), std::collections::BTreeMap::<String, u32>::new());
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < size.mix {
        let mut left = random() * all;
        let rank = weights.iter().position(|weight| {
            left -= weight;
            left <= 0.0
        });
        let account = &accounts[rank.unwrap_or(0)];
        let region = REGIONS[(random() * 3.0) as usize % 3];
        let path = match (random() * 4.0) as u32 {
            0 => format!("/xrpc/com.atproto.repo.listRecords?repo={}&collection={COLLECTION}", account.did),
            1 => format!("/xrpc/com.atproto.repo.describeRepo?repo={}", account.did),
            _ => record_of(account),
        };
        reads.spawn(read(world.http.clone(), world.edge.url(&path), region.to_owned()));
        if number % A_SECOND == 0 {
            put(&world.http, &world.origin.url(""), account, &format!("m{number}")).await?;
        }
        number += 1;
        tokio::time::sleep(
            (begun + Duration::from_secs(1) / A_SECOND * number).saturating_duration_since(Instant::now()),
        )
        .await;
    }
    while let Some(mark) = reads.join_next().await {
        *marks.entry(mark??).or_default() += 1;
    }
    let of = |mark: &str| marks.get(mark).copied().unwrap_or_default();
    let total: u32 = marks.values().sum();
    let settled = total - of("miss");
    println!(
        "the mix, {} accounts by a Zipf law, {A_SECOND} reads a second over three regions for {} s, a write a second:",
        accounts.len(),
        size.mix.as_secs()
    );
    println!("  {total} reads: {marks:?}; a miss is the first read of an account in a region, which fills its replica");
    println!(
        "  of reads of what was filled {:.2} in 100 did not wait for the origin",
        f64::from(of("hit")) * 100.0 / f64::from(settled.max(1))
    );
    println!(
        "{}",
        world.counters().await?.lines().filter(|line| line.contains("fills_total{")).collect::<Vec<_>>().join("\n")
    );
    Ok(())
}

/// Eight exports of a large repository at once.
async fn exports(world: &World, account: &Account, size: &Size) -> Outcome<()> {
    let url = world.origin.url("/xrpc/com.atproto.repo.applyWrites");
    for batch in 0..size.records / 200 {
        let writes: Vec<Value> = (0..200)
            .map(|number| {
                let value = json!({ "text": format!("record {number} of batch {batch}, of a usual length") });
                json!({ "$type": "com.atproto.repo.applyWrites#create", "collection": COLLECTION, "value": value })
            })
            .collect();
        let input = json!({ "repo": account.did, "writes": writes });
        call(&world.http, url.clone(), Some(&account.token), input).await?;
    }
    let path = format!("/xrpc/com.atproto.sync.getRepo?did={}", account.did);
    let (begun, before) = (Instant::now(), world.cpu()?);
    filled(world, "apac", &format!("/xrpc/com.atproto.sync.getLatestCommit?did={}", account.did)).await?;
    println!(
        "a replica of {} records filled in {:.1} s and {:.1} s of workerd's CPU; workerd resident: {} MiB, its wasm's memory {} MiB",
        size.records,
        begun.elapsed().as_secs_f64(),
        world.cpu()?.since(&before) / 1e6,
        world.resident()?,
        world.wasm().await?
    );
    let (begun, before) = (Instant::now(), world.cpu()?);
    let mut exports = JoinSet::new();
    for _ in 0..8 {
        exports.spawn(read(world.once.clone(), world.edge.url(&path), "apac".to_owned()));
    }
    let mut most = 0;
    while !exports.is_empty() {
        most = most.max(world.resident()?);
        if let Ok(Some(mark)) = tokio::time::timeout(Duration::from_millis(100), exports.join_next()).await {
            let mark = mark??;
            if mark != "hit" {
                return Err(format!("an export was a {mark}").into());
            }
        }
    }
    println!(
        "8 exports of it at once: {:.1} s and {:.1} s of workerd's CPU; workerd resident at most {most} MiB, after the last {} MiB, its wasm's memory {} MiB",
        begun.elapsed().as_secs_f64(),
        world.cpu()?.since(&before) / 1e6,
        world.resident()?,
        world.wasm().await?
    );
    Ok(())
}
