//! The stages of `cargo xtask test`, in their order.

use std::fs;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::{Counts, Findings, readme};
use crate::bench;
use crate::environment;
use crate::process::{command, output, run, run_with_lines};
use crate::soak::Fuzzer;
use crate::tools::{Tools, Trouble};
use crate::worker;

type Run = fn(&Tools, &[&str], &mut Findings) -> Result<(), Trouble>;

/// One stage.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) takes_arguments: bool,
    pub(super) run: Run,
}

const fn stage(name: &'static str, about: &'static str, run: Run) -> Stage {
    Stage { name, about, takes_arguments: false, run }
}

pub(super) const STAGES: &[Stage] = &[
    stage("setup", "the tools, installed where they are missing", setup),
    stage("format", "rustfmt changes nothing", format),
    stage("lint", "clippy, natively, without a warning", lint),
    stage("lint-wasm", "clippy for wasm: shared and edge", lint_wasm),
    stage("worker", "the edge is built as it is deployed", worker),
    Stage { takes_arguments: true, ..stage("native", "unit tests, vectors and the suite", native) },
    stage("readme", "the lines that README has readers copy, on all of the product", readme::run),
    stage("bench", "the benchmark runs: tiny, without judging", bench),
    stage("vectors", "the official vectors in wasm, on Node", vectors),
    stage("fuzz", "each fuzz target for a short time", fuzz),
    stage("docs", "the documentation, private items too, without a warning", docs),
    stage("deny", "licences, bans and sources of the dependencies; advisories where they can be had", deny),
    stage("size", "the edge's wasm is within its budget", size),
];

/// How long each fuzz target gets; two run at once.
const FUZZ_TIME: Duration = Duration::from_secs(60);
const FUZZERS: usize = 2;

/// What the edge's wasm may weigh, in bytes. Raised knowingly, by the change that needs it.
const WASM_BUDGET: u64 = 2 * 1024 * 1024;
const WASM_GZIP_BUDGET: u64 = 768 * 1024;

/// Where RustSec's advisories come from.
const ADVISORIES: (&str, u16) = ("github.com", 443);

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = command(environment::cargo());
    cargo.args(arguments);
    cargo
}

fn setup(tools: &Tools, _: &[&str], findings: &mut Findings) -> Result<(), Trouble> {
    let missing = tools.install_all();
    findings.skipped = missing.iter().map(|(name, reason)| format!("what needs {name}: {reason}")).collect();
    findings.note = format!("in {}", environment::tools().display());
    Ok(())
}

fn format(tools: &Tools, _: &[&str], _: &mut Findings) -> Result<(), Trouble> {
    tools.component("rustfmt")?;
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    // A workspace of its own.
    Ok(run(&mut cargo(&["fmt", "--manifest-path", "tests/fuzz/Cargo.toml", "--check"]))?)
}

fn lint(tools: &Tools, _: &[&str], _: &mut Findings) -> Result<(), Trouble> {
    tools.component("clippy")?;
    Ok(run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"]))?)
}

fn lint_wasm(tools: &Tools, _: &[&str], _: &mut Findings) -> Result<(), Trouble> {
    let mut cargo = tools.wasm()?.cargo();
    cargo.args(["clippy", "-p", "shared", "-p", "edge", "--target", "wasm32-unknown-unknown", "--", "-Dwarnings"]);
    Ok(run(&mut cargo)?)
}

fn worker(tools: &Tools, _: &[&str], _: &mut Findings) -> Result<(), Trouble> {
    worker::build(tools).map(drop)
}

/// Runs every native test; the suite is handed the built edge and what runs it, or told why there is none.
fn native(tools: &Tools, arguments: &[&str], findings: &mut Findings) -> Result<(), Trouble> {
    let skips = environment::target().join("skipped-tests");
    if skips.exists() {
        fs::remove_file(&skips).context("the last run's list of skipped tests")?;
    }
    let mut cargo = cargo(&["test", "--workspace"]);
    cargo.args(arguments).env("HEADWATER_SKIPS", &skips);
    match worker::build(tools) {
        Ok(build) => {
            cargo.env("HEADWATER_EDGE_BUILD", build);
        }
        Err(Trouble::Missing(missing)) => {
            cargo.env("HEADWATER_EDGE_MISSING", missing.to_string());
        }
        Err(failed) => return Err(failed),
    }
    cargo.envs(tools.peer_variables());
    counted(&mut cargo, findings)?;
    findings.skipped.extend(fs::read_to_string(skips).unwrap_or_default().lines().map(str::to_owned));
    Ok(())
}

/// Runs `command` and counts the tests it reports, and those it says it skipped; none at all is a failure too.
fn counted(command: &mut Command, findings: &mut Findings) -> Result<(), Trouble> {
    let counts = findings.tests.insert(Counts::default());
    run_with_lines(command, |line| {
        counts.add_line(line);
        findings.skipped.extend(line.strip_prefix("SKIPPED ").map(str::to_owned));
    })?;
    if *counts == Counts::default() { Err(anyhow!("no test was run").into()) } else { Ok(()) }
}

fn bench(_: &Tools, _: &[&str], _: &mut Findings) -> Result<(), Trouble> {
    Ok(bench::run_tiny()?)
}

fn vectors(tools: &Tools, _: &[&str], findings: &mut Findings) -> Result<(), Trouble> {
    tools.node_modules()?;
    let mut cargo = tools.wasm()?.cargo();
    cargo.args(["build", "--release", "-p", "vectors", "--target", "wasm32-unknown-unknown"]);
    run(&mut cargo)?;
    let module = environment::target().join("wasm32-unknown-unknown/release/vectors.wasm");
    counted(command("node").arg("tests/vectors/run.mjs").arg(module), findings)
}

fn fuzz(tools: &Tools, _: &[&str], findings: &mut Findings) -> Result<(), Trouble> {
    let fuzzer = Fuzzer::new(tools)?;
    fuzzer.build()?;
    let targets = fuzzer.targets()?;
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..FUZZERS {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = fuzzer.run(target, FUZZ_TIME);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((target, outcome));
                }
            });
        }
    });
    let mut failed = 0;
    println!("\neach fuzz target for {} s:", FUZZ_TIME.as_secs());
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (target, outcome) in &done {
        match outcome {
            Ok(said) => println!("  {target}: {said}"),
            Err(error) => {
                failed += 1;
                println!("  {target}: FAILED: {error:#}");
            }
        }
    }
    findings.note = format!("{} targets, {} s each", done.len(), FUZZ_TIME.as_secs());
    if failed == 0 { Ok(()) } else { Err(anyhow!("{failed} of {} targets found something", done.len()).into()) }
}

fn docs(_: &Tools, _: &[&str], _: &mut Findings) -> Result<(), Trouble> {
    let mut cargo = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    Ok(run(cargo.env("RUSTDOCFLAGS", "-Dwarnings"))?)
}

fn deny(tools: &Tools, _: &[&str], findings: &mut Findings) -> Result<(), Trouble> {
    let deny = tools.cargo_deny()?;
    let check = |what: &[&str]| {
        let mut deny = command(deny);
        run(deny.args(["--config", ".deny.toml", "check", "--hide-inclusion-graph"]).args(what))
    };
    check(&["bans", "licenses", "sources"])?;
    // Not counted as skipped: their list changes by itself, and no machine without the internet could ever pass.
    if is_reachable(ADVISORIES) {
        check(&["advisories"])?;
    } else {
        "ADVISORIES NOT CHECKED: their server cannot be reached from here".clone_into(&mut findings.note);
    }
    Ok(())
}

fn is_reachable(server: (&str, u16)) -> bool {
    let addresses = server.to_socket_addrs().into_iter().flatten();
    addresses.take(2).any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok())
}

fn size(tools: &Tools, _: &[&str], findings: &mut Findings) -> Result<(), Trouble> {
    let wasm = worker::build(tools)?.join("index_bg.wasm");
    let raw = fs::metadata(&wasm).context("the edge's wasm")?.len();
    let mut gzip = command("sh");
    gzip.args(["-c", "gzip -9 -c \"$0\" | wc -c"]).arg(&wasm);
    let compressed: u64 = output(&mut gzip)?.parse().context("gzip")?;
    findings.note = format!("{raw} of {WASM_BUDGET} bytes, {compressed} of {WASM_GZIP_BUDGET} compressed");
    if raw > WASM_BUDGET || compressed > WASM_GZIP_BUDGET {
        return Err(anyhow!("over budget: {}", findings.note).into());
    }
    Ok(())
}
