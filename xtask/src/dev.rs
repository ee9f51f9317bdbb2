//! `cargo xtask dev`: the whole product on this machine, as it is deployed: a PLC directory, the origin, the edge.
//!
//! What clients use is the edge's URL. Data stays in `target/dev` from one run to the next. All three end with this
//! command, by Ctrl-C or in any other way. The test stage `readme` starts the same at other ports.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::environment;
use crate::process::{Leash, Leashed, command, run};
use crate::tools::{Tools, Trouble};
use crate::worker;

/// Edge and origin know each other by these, on this machine only.
const FEED_KEY: &str = "the feed key of this machine";
const FORWARD_KEY: &str = "the forward key of this machine";

const READY_LIMIT: Duration = Duration::from_secs(30);

/// Ports on this machine, and the directory of all data.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) edge: u16,
    pub(crate) origin: u16,
    pub(crate) plc: u16,
    pub(crate) data: PathBuf,
}

impl Place {
    /// The edge has the port that local clients expect a server at; the others are beside it.
    fn usual() -> Self {
        Self { edge: 2583, origin: 2584, plc: 2582, data: environment::target().join("dev") }
    }
}

/// The running programs, which end when this is dropped: who asks first, then who is asked.
#[derive(Debug)]
pub(crate) struct Running([Leashed; 3]);

/// Builds and starts everything, and returns when one of the programs ends.
pub(crate) fn run_all() -> Result<()> {
    let place = Place::usual();
    let mut running = start(&Tools::new(), &place)?;
    println!("\nReady: http://localhost:{} (try /xrpc/_health)", place.edge);
    println!(
        "The origin by itself: http://localhost:{}; the PLC directory: http://localhost:{}",
        place.origin, place.plc
    );
    println!("Data: {}. Ctrl-C ends everything.", place.data.display());
    loop {
        thread::sleep(Duration::from_millis(200));
        for program in &mut running.0 {
            program.check()?;
        }
    }
}

/// Builds and starts everything; all of it is ready when this returns.
pub(crate) fn start(tools: &Tools, place: &Place) -> Result<Running, Trouble> {
    let worker = worker::build(tools)?;
    let modules = tools.node_modules()?;
    let mut cargo = command(environment::cargo());
    run(cargo.args(["build", "-p", "origin", "-p", "tests", "--bin", "headwater", "--bin", "plc"]))?;

    std::fs::create_dir_all(&place.data).with_context(|| format!("{} cannot be made", place.data.display()))?;
    let programs = environment::target().join("debug");

    let mut plc = command(programs.join("plc"));
    plc.args(["--listen", &format!("127.0.0.1:{}", place.plc), "--db"]).arg(place.data.join("plc.sqlite"));
    let plc = Leashed::start("plc", plc, Leash::Watcher)?;
    plc.wait_for_line("listening on ", READY_LIMIT)?;

    let mut origin = command(programs.join("headwater"));
    origin
        .args(["serve", "--listen", &format!("127.0.0.1:{}", place.origin)])
        // The public URL is the edge's, the listener is not.
        .env("PDS_HOSTNAME", "localhost")
        .env("PDS_PORT", place.edge.to_string())
        .env("PDS_DATA_DIRECTORY", place.data.join("pds"))
        .env("PDS_DID_PLC_URL", format!("http://localhost:{}", place.plc))
        .env("HEADWATER_EDGE_URL", format!("http://127.0.0.1:{}", place.edge))
        .env("HEADWATER_EDGE_FEED_KEY", FEED_KEY)
        .env("HEADWATER_EDGE_FORWARD_KEY", FORWARD_KEY)
        .env("PDS_INVITE_REQUIRED", "false")
        .env("PDS_DEV_MODE", "true");
    let origin = Leashed::start("origin", origin, Leash::Watcher)?;
    origin.wait_for_line("\"listening\"", READY_LIMIT)?;

    let mut edge = command("node");
    edge.arg("tests/harness/workerd.mjs").args([modules, &worker]);
    edge.arg(place.edge.to_string())
        .arg(place.data.join("edge"))
        .env("EDGE_ORIGIN", format!("http://127.0.0.1:{}", place.origin))
        .env("EDGE_REGIONS", "weur,enam")
        .env("EDGE_FEED_KEY", FEED_KEY)
        .env("EDGE_FORWARD_KEY", FORWARD_KEY)
        .env("EDGE_BLOBS", "cache")
        .env("EDGE_DEV", "1");
    let edge = Leashed::start("edge", edge, Leash::Itself)?;
    edge.wait_for_line("listening on ", READY_LIMIT)?;
    Ok(Running([edge, origin, plc]))
}
