//! `cargo xtask test`: everything that has to pass, in stages, with what each took.
//!
//! A stage that fails does not stop the ones after it: the table at the end is whole. What cannot be run, because a tool
//! cannot be had, is skipped by name and reason; with `CI=true` that is a failure.

mod readme;
mod stages;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::environment;
use crate::tools::{Tools, Trouble};
use stages::{STAGES, Stage};

/// What one stage came to, besides whether it passed.
#[derive(Debug, Default)]
struct Findings {
    /// Tests run, where the stage runs tests.
    tests: Option<Counts>,
    /// What there is to say.
    note: String,
    /// What the stage could not run, each with the reason.
    skipped: Vec<String>,
}

/// Tests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// What was run, how long it took, and how it went.
type Entry = (&'static Stage, Duration, Findings, Result<(), Trouble>);

/// The stages, one a line, for the help text.
pub(crate) fn list() -> String {
    STAGES.iter().map(|stage| format!("  {:<10} {}", stage.name, stage.about)).collect::<Vec<_>>().join("\n")
}

/// Runs every stage, or the one that is the first of `words`, with the rest as its arguments.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let (chosen, arguments) = match words {
        [] => (STAGES.iter().collect(), &[][..]),
        [name, arguments @ ..] => match STAGES.iter().find(|stage| stage.name == *name) {
            Some(stage) if arguments.is_empty() || stage.takes_arguments => (vec![stage], arguments),
            Some(_) => bail!("the stage `{name}` takes no arguments"),
            None => bail!("`{name}` is no stage; these are:\n{}", list()),
        },
    };
    let tools = Tools::new();
    let started = Instant::now();
    let mut report: Vec<Entry> = Vec::new();
    for stage in chosen {
        println!("\n== {}: {}", stage.name, stage.about);
        let (begun, mut findings) = (Instant::now(), Findings::default());
        let outcome = (stage.run)(&tools, arguments, &mut findings);
        match &outcome {
            Ok(()) => {}
            Err(Trouble::Missing(missing)) => eprintln!("xtask: {} skipped: {missing}", stage.name),
            Err(Trouble::Failed(error)) => eprintln!("xtask: {} failed: {error:#}", stage.name),
        }
        report.push((stage, begun.elapsed(), findings, outcome));
    }
    conclude(&report, started.elapsed())
}

/// Prints the table, and fails if anything did.
fn conclude(report: &[Entry], total: Duration) -> Result<()> {
    println!("\n{:<10} {:>8}  result", "stage", "seconds");
    let (mut counts, mut skipped, mut failed) = (Counts::default(), Vec::new(), Vec::new());
    for (stage, took, findings, outcome) in report {
        counts.add(findings.tests.unwrap_or_default());
        skipped.extend(findings.skipped.iter().cloned());
        let result = match outcome {
            Ok(()) => "ok",
            Err(Trouble::Missing(missing)) => {
                skipped.push(format!("{}: {missing}", stage.name));
                "SKIPPED"
            }
            Err(Trouble::Failed(_)) => {
                failed.push(stage.name);
                "FAILED"
            }
        };
        let tests = findings.tests.map(|tests| format!("{} passed, {} failed", tests.passed, tests.failed));
        let said = [tests.unwrap_or_default(), findings.note.clone()];
        let said = said.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        println!("{}", format!("{:<10} {:>8.1}  {result:<8} {said}", stage.name, took.as_secs_f64()).trim_end());
    }
    println!("{:<10} {:>8.1}", "all", total.as_secs_f64());
    if !skipped.is_empty() {
        println!("\nnot run here:\n  {}", skipped.join("\n  "));
    }
    if counts != Counts::default() {
        println!("\ntests: {} passed, {} failed, {} skipped", counts.passed, counts.failed, skipped.len());
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    if environment::is_ci() && !skipped.is_empty() {
        bail!("with CI=true nothing may be skipped");
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
    }

    /// Adds what a line like `test result: ok. 3 passed; 0 failed; …` or `3 passed, 0 failed` says; other lines say nothing.
    fn add_line(&mut self, line: &str) {
        let line =
            line.strip_prefix("test result: ").map_or(line, |rest| rest.split_once(". ").map_or("", |(_, rest)| rest));
        let mut parts = line.split([';', ',']).map(str::trim);
        let mut count = |what: &str| parts.next()?.strip_suffix(what)?.trim_end().parse::<u64>().ok();
        if let (Some(passed), Some(failed)) = (count("passed"), count("failed")) {
            self.add(Self { passed, failed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_from_what_the_runners_print() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "40 passed, 1 failed",
            "5 passed, some failed",
            "passed, failed",
            "",
        ] {
            counts.add_line(line);
        }
        assert_eq!(counts, Counts { passed: 44, failed: 3 });
    }

    #[test]
    fn every_stage_has_a_name_of_its_own() {
        let mut names: Vec<_> = STAGES.iter().map(|stage| stage.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STAGES.len());
    }
}
