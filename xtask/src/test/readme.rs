//! The stage `readme`: the lines that README tells a reader to copy do what it says that they do.
//!
//! They are read from README itself. Everything runs as `cargo xtask dev` runs it, but at free ports and on data of its
//! own, so that it runs beside that.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::Findings;
use crate::dev::{self, Place};
use crate::environment;
use crate::process::{command, output};
use crate::tools::{Tools, Trouble};

/// Where README says that the edge is.
const USUAL: &str = "localhost:2583";

/// How long a read may take to become the edge's own.
const HIT_LIMIT: Duration = Duration::from_secs(20);

/// Starts everything, and does as README says.
pub(super) fn run(tools: &Tools, _: &[&str], findings: &mut Findings) -> Result<(), Trouble> {
    let readme = fs::read_to_string(environment::root().join("README.md")).context("README.md")?;
    let lines = copied(&readme)?;
    let directory = environment::target().join("readme");
    if directory.exists() {
        fs::remove_dir_all(&directory).context("what the last run left")?;
    }
    fs::create_dir_all(&directory).context("target/readme")?;
    let [edge, origin, plc] = free_ports()?;
    let _running = dev::start(tools, &Place { edge, origin, plc, data: directory.join("data") })?;
    let lines = lines.replace(USUAL, &format!("localhost:{edge}"));
    findings.note = follow(&lines, &directory)?;
    Ok(())
}

/// The block of README with the account, the post, its read and the firehose.
fn copied(readme: &str) -> Result<String> {
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    let mut blocks = blocks.filter(|block| block.contains(USUAL));
    let block = blocks.next().with_context(|| format!("README has no block of commands for {USUAL}"))?;
    ensure!(blocks.next().is_none(), "README has several blocks of commands for {USUAL}");
    Ok(block.to_owned())
}

fn free_ports() -> Result<[u16; 3]> {
    let held = [(); 3].map(|()| TcpListener::bind(("127.0.0.1", 0)));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(held) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

/// Runs the lines in order; what came of it, for the table.
fn follow(lines: &str, directory: &Path) -> Result<String> {
    let all: Vec<&str> = lines.lines().collect();
    let [setup @ .., read, firehose] = all.as_slice() else { return Err(anyhow!("README has too few lines")) };
    let bash =
        |script: &str| output(command("bash").args(["-e", "-o", "pipefail", "-c", script]).current_dir(directory));

    let made = bash(&setup.join("\n"))?;
    println!("{made}");
    let uri = made.split('"').find(|word| word.starts_with("at://")).context("the post has no URI")?;
    ensure!(uri.contains("/app.bsky.feed.post/"), "the post is {uri}");

    // Names that the lines before have set.
    let names = |last: &str| {
        format!(
            "{}\n{last}",
            setup.iter().filter(|line| !line.starts_with("curl")).copied().collect::<Vec<_>>().join("\n")
        )
    };
    let first = bash(&names(read))?;
    println!("{first}");
    ensure!(first.contains("x-edge: miss") && first.contains(uri), "the first read is no miss with the post");
    let begun = Instant::now();
    let mut reads = 1;
    loop {
        let again = bash(&names(read))?;
        reads += 1;
        ensure!(again.contains(uri), "a read is without the post:\n{again}");
        if again.contains("x-edge: hit") {
            break;
        }
        ensure!(begun.elapsed() < HIT_LIMIT, "the edge does not answer by itself:\n{again}");
    }

    // It goes on for ever; `strings` says what it found when its input ends.
    let heard = bash(&names(&format!("{{ {}; }} || true", firehose.replace("curl ", "timeout 3 curl "))))?;
    println!("{heard}");
    for name in ["#identity", "#account", "#commit", "alice.test", "app.bsky.feed.post"] {
        ensure!(heard.contains(name), "the firehose does not tell of {name}");
    }
    Ok(format!("{} lines copied; read {reads} was a hit", all.len()))
}
