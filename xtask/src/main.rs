//! `cargo xtask`: the project's own commands. Each installs the tools it needs first.
//!
//! # Layout
//!
//! - [`dev`], [`mod@test`], [`soak`], [`mod@bench`]: the commands.
//! - [`tools`]: what is installed and how, into [`cache`], outside the checkout and outside `target/`.
//! - [`worker`]: building the edge.
//! - [`process`]: running and ending other programs. [`environment`]: what the caller's environment says.

mod bench;
mod cache;
mod dev;
mod environment;
mod process;
mod soak;
mod test;
mod tools;
mod worker;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask dev                   build and start the origin, the edge in front of it and a local PLC directory
cargo xtask test [STAGE [ARG..]]  everything that has to pass, or one stage of it; `native` takes cargo test's arguments
cargo xtask soak [MINUTES]        the long forms: each fuzz target for MINUTES (10), property tests with many cases
cargo xtask peers                 install the reference server, clients and relay, print the variables that name them
cargo xtask bench [ROW..]          what an operation costs, beside the reference server; `--help` for more
cargo xtask help                  this text and the stages

Tools are installed once, into $HEADWATER_TOOLS (by default ~/.cache/headwater). With CI=true a check that cannot be
run is a failure.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["dev"] => dev::run_all(),
        ["test", rest @ ..] => test::run(rest),
        ["peers"] => print_peers(),
        ["soak", rest @ ..] => soak::run_all(rest),
        ["bench", rest @ ..] => bench::run_all(rest),
        ["help" | "--help" | "-h"] | [] => {
            println!("{USAGE}\n\nStages, in their order:\n{}", test::list());
            return ExitCode::SUCCESS;
        }
        _ => Err(anyhow::anyhow!("`{}` is no command of this\n\n{USAGE}", words.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what a shell needs, so that plain `cargo test` runs the tests against the peers too.
fn print_peers() -> anyhow::Result<()> {
    for (name, value) in tools::Tools::new().peer_variables() {
        println!("export {name}='{value}'");
    }
    Ok(())
}
