//! `cargo xtask dev`: the whole product on this machine, as it is deployed: a PLC directory, the origin, the edge.
//!
//! What clients use is the edge's URL. Data stays in `target/dev` from one run to the next. All three end with this
//! command, by Ctrl-C or in any other way.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::environment;
use crate::process::{Leash, Leashed, command, run};
use crate::tools::Tools;
use crate::worker;

/// The edge has the port that local clients expect a server at; the others are beside it.
const EDGE_PORT: u16 = 2583;
const ORIGIN_PORT: u16 = 2584;
const PLC_PORT: u16 = 2582;

/// Edge and origin know each other by these, on this machine only.
const FEED_KEY: &str = "the feed key of this machine";
const FORWARD_KEY: &str = "the forward key of this machine";

const READY_LIMIT: Duration = Duration::from_secs(30);

/// Builds and starts everything, and returns when one of the programs ends.
pub(crate) fn run_all() -> Result<()> {
    let tools = Tools::new();
    let worker = worker::build(&tools)?;
    let modules = tools.node_modules().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let mut cargo = command(environment::cargo());
    run(cargo.args(["build", "-p", "origin", "-p", "tests", "--bin", "headwater", "--bin", "plc"]))?;

    let data = environment::target().join("dev");
    std::fs::create_dir_all(&data).with_context(|| format!("{} cannot be made", data.display()))?;
    let programs = environment::target().join("debug");

    let mut plc = command(programs.join("plc"));
    plc.args(["--listen", &format!("127.0.0.1:{PLC_PORT}"), "--db"]).arg(data.join("plc.sqlite"));
    let mut plc = Leashed::start("plc", plc, Leash::Watcher)?;
    plc.wait_for_line("listening on ", READY_LIMIT)?;

    let mut origin = command(programs.join("headwater"));
    origin
        .args(["serve", "--listen", &format!("127.0.0.1:{ORIGIN_PORT}")])
        // The public URL is the edge's, the listener is not.
        .env("PDS_HOSTNAME", "localhost")
        .env("PDS_PORT", EDGE_PORT.to_string())
        .env("PDS_DATA_DIRECTORY", data.join("pds"))
        .env("PDS_DID_PLC_URL", format!("http://localhost:{PLC_PORT}"))
        .env("HEADWATER_EDGE_URL", format!("http://127.0.0.1:{EDGE_PORT}"))
        .env("HEADWATER_EDGE_FEED_KEY", FEED_KEY)
        .env("HEADWATER_EDGE_FORWARD_KEY", FORWARD_KEY)
        .env("PDS_INVITE_REQUIRED", "false")
        .env("PDS_DEV_MODE", "true");
    let mut origin = Leashed::start("origin", origin, Leash::Watcher)?;
    origin.wait_for_line("\"listening\"", READY_LIMIT)?;

    let mut edge = command("node");
    edge.arg("tests/harness/workerd.mjs").args([modules, &worker]);
    edge.arg(EDGE_PORT.to_string())
        .arg(data.join("edge"))
        .env("EDGE_ORIGIN", format!("http://127.0.0.1:{ORIGIN_PORT}"))
        .env("EDGE_REGIONS", "weur,enam")
        .env("EDGE_FEED_KEY", FEED_KEY)
        .env("EDGE_FORWARD_KEY", FORWARD_KEY)
        .env("EDGE_BLOBS", "cache")
        .env("EDGE_DEV", "1");
    let mut edge = Leashed::start("edge", edge, Leash::Itself)?;
    edge.wait_for_line("listening on ", READY_LIMIT)?;

    println!("\nReady: http://localhost:{EDGE_PORT} (try /xrpc/_health)");
    println!("The origin by itself: http://localhost:{ORIGIN_PORT}; the PLC directory: http://localhost:{PLC_PORT}");
    println!("Data: {}. Ctrl-C ends everything.", data.display());
    loop {
        thread::sleep(Duration::from_millis(200));
        for program in [&mut plc, &mut origin, &mut edge] {
            program.check()?;
        }
    }
}
