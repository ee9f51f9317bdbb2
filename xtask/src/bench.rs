//! `cargo xtask bench`: what an operation costs this server and the reference server, side by side; see `tests/bench`.

use anyhow::Result;

use crate::environment;
use crate::process::{command, run};

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
    run(&mut bench)
}
