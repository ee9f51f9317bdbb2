//! `cargo xtask soak`: the forms of the tests that take as long as one gives them.
//!
//! Every fuzz target for the stated time, then the property tests with many cases and the suite's long forms, in release
//! mode; what failed and what each came to is in the report at the end. Fuzzing keeps what it found in `tests/fuzz/artifacts` and what it learnt in
//! `tests/fuzz/corpus`; neither is committed, an input worth keeping becomes a test.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::environment;
use crate::process::{command, output, run, run_with_lines};
use crate::tools::{Tools, Trouble};

const DEFAULT_MINUTES: u64 = 10;

/// Cases for each property; the tests' own number is in the hundreds.
const PROPERTY_CASES: &str = "50000";

/// Tests of the suite that have a long form: name, filter, and the variable with the number that makes them long.
const LONG_FORMS: &[(&str, &str, &str, &str)] =
    &[("memory", "memory::", "HEADWATER_MEMORY_MB", "1024"), ("kills", "crash::", "HEADWATER_KILLS", "200")];

/// An input that takes longer than this many seconds is a finding.
const INPUT_SECONDS: &str = "10";

/// Runs the long forms, fuzzing each target for the number of minutes in `words`, and prints what each came to.
pub(crate) fn run_all(words: &[&str]) -> Result<()> {
    let minutes = match words {
        [] => DEFAULT_MINUTES,
        [minutes] => minutes.parse().with_context(|| format!("`{minutes}` is no number of minutes"))?,
        _ => bail!("one number is taken: minutes for each fuzz target"),
    };
    let tools = Tools::new();
    let fuzzer = Fuzzer::new(&tools)?;
    fuzzer.build()?;
    let mut report = Vec::new();
    for target in fuzzer.targets()? {
        println!("\n== fuzzing {target} for {minutes} minutes");
        let started = Instant::now();
        let found = fuzzer.run(&target, Duration::from_secs(minutes * 60));
        report.push((format!("fuzz {target}"), started.elapsed(), found));
    }
    println!("\n== properties, {PROPERTY_CASES} cases each");
    let started = Instant::now();
    let outcome = properties();
    report.push(("properties".to_owned(), started.elapsed(), outcome));
    for (name, filter, variable, value) in LONG_FORMS {
        println!("\n== {name}: {variable}={value}");
        let started = Instant::now();
        let outcome = long_form(filter, variable, value);
        report.push(((*name).to_owned(), started.elapsed(), outcome));
    }

    println!("\n{:<32} {:>8}  result", "soak", "seconds");
    for (name, took, outcome) in &report {
        let said = match outcome {
            Ok(said) => format!("ok: {said}"),
            Err(error) => format!("FAILED: {error:#}"),
        };
        println!("{name:<32} {:>8.0}  {said}", took.as_secs_f64());
    }
    match report.iter().filter(|(_, _, outcome)| outcome.is_err()).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} failed", report.len()),
    }
}

/// Runs the suite's tests of one subject with the number that makes them long. Returns the lines in which they say what
/// they found, and how many there were.
fn long_form(filter: &str, variable: &str, value: &str) -> Result<String> {
    let mut cargo = command(environment::cargo());
    cargo.args([
        "test",
        "--release",
        "-p",
        "tests",
        "--test",
        "suite",
        filter,
        "--",
        "--nocapture",
        "--test-threads=1",
    ]);
    let mut said = Vec::new();
    run_with_lines(cargo.env(variable, value), |line| {
        // What a test says follows its own name on the line.
        let line = line.rsplit_once(" ... ").map_or(line, |(_, said)| said);
        said.extend(line.strip_prefix("SOAK ").map(str::to_owned));
        said.extend(line.strip_prefix("test result: ").map(str::to_owned));
    })?;
    Ok(said.join("; "))
}

fn properties() -> Result<String> {
    let mut cargo = command(environment::cargo());
    cargo.args(["test", "--release", "-p", "shared"]).env("PROPTEST_CASES", PROPERTY_CASES);
    run(&mut cargo)?;
    Ok(format!("{PROPERTY_CASES} cases each"))
}

/// The fuzz targets of `tests/fuzz`, run by cargo-fuzz on the stable compiler.
///
/// Without a sanitizer, which would need another compiler: the code under test has no `unsafe` for one to look at.
#[derive(Debug)]
pub(crate) struct Fuzzer {
    cargo_fuzz: PathBuf,
}

const FUZZ_DIRECTORY: &str = "tests/fuzz";
const NO_SANITIZER: [&str; 2] = ["--sanitizer", "none"];

impl Fuzzer {
    pub(crate) fn new(tools: &Tools) -> Result<Self, Trouble> {
        Ok(Self { cargo_fuzz: tools.cargo_fuzz()?.clone() })
    }

    /// The names of all targets; never empty.
    pub(crate) fn targets(&self) -> Result<Vec<String>> {
        let names = output(self.command("list").args(["--fuzz-dir", FUZZ_DIRECTORY]))?;
        let names: Vec<String> = names.lines().map(str::to_owned).collect();
        if names.is_empty() { bail!("{FUZZ_DIRECTORY} has no targets") } else { Ok(names) }
    }

    /// Builds all targets, so that what [`Self::run`] takes is the fuzzing.
    pub(crate) fn build(&self) -> Result<()> {
        run(self.command("build").args(NO_SANITIZER).args(["--fuzz-dir", FUZZ_DIRECTORY]))
    }

    /// Runs `target` for `time`, on what earlier runs learnt and on its seeds. Returns the fuzzer's own last words.
    pub(crate) fn run(&self, target: &str, time: Duration) -> Result<String> {
        let corpus = format!("{FUZZ_DIRECTORY}/corpus/{target}");
        let seeds = format!("{FUZZ_DIRECTORY}/seeds/{target}");
        std::fs::create_dir_all(environment::root().join(&corpus))?;
        let mut fuzz = self.command("run");
        fuzz.args(NO_SANITIZER).args(["--fuzz-dir", FUZZ_DIRECTORY, target, &corpus]);
        if environment::root().join(&seeds).is_dir() {
            fuzz.arg(seeds);
        }
        fuzz.args(["--", &format!("-max_total_time={}", time.as_secs()), &format!("-timeout={INPUT_SECONDS}")]);
        // libFuzzer writes to standard error only; it is shown as it comes and its end is kept.
        let mut last = String::new();
        run_with_lines(&mut joined(&fuzz), |line| {
            if line.starts_with("Done ") {
                line.clone_into(&mut last);
            }
        })?;
        Ok(last)
    }

    fn command(&self, name: &str) -> Command {
        let mut fuzz = command(&self.cargo_fuzz);
        fuzz.arg(name);
        fuzz
    }
}

/// `program` with its standard error in its standard output.
fn joined(program: &Command) -> Command {
    let mut shell = command("sh");
    shell.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell
}
