//! `bench`: what one operation costs this server, and the reference server, in the server's own CPU time.
//!
//! Both stand on copies of one data directory, which this server filled: the same accounts, records and blobs. Each row
//! is first asked of both, and their answers compared; then it is run on one and on the other in turn, and the median of
//! the rounds is reported. CPU is the process's user and system time as the kernel accounts it, over everything that was
//! asked in the round, so a row says what an operation costs including what it causes in the background.
//!
//! `cargo xtask bench` builds everything in release mode and runs it; see [`rows`] for what is measured.

mod cost;
mod edge;
mod load;
mod report;
mod rows;
mod same;
mod seed;
mod server;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use tests::Plc;
use tokio::process::Command;

use crate::report::Report;
use crate::rows::Row;
use crate::seed::Seed;
use crate::server::{Kind, Server};

/// What one operation costs, ours beside the reference's.
#[derive(Parser)]
struct Arguments {
    /// The release binary of this server
    #[arg(long, value_name = "FILE")]
    headwater: PathBuf,
    /// The command that starts the reference server, as one argument; without it this server is measured alone
    #[arg(long, value_name = "COMMAND")]
    reference: Option<String>,
    /// Rounds of which the median is reported
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that a round of a row takes at most
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Accounts of a hundredth of their size: to see that it runs, not for figures
    #[arg(long)]
    tiny: bool,
    /// What the edge costs and spares, instead of the rows
    #[arg(long)]
    edge: bool,
    /// Rows, by a part of their names; all if there is none
    only: Vec<String>,
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    fn kinds(&self) -> &'static [Kind] {
        if self.reference.is_none() { &[Kind::Ours] } else { &[Kind::Ours, Kind::Reference] }
    }

    /// The command that starts a server.
    fn command(&self, kind: Kind) -> Command {
        let mut words = self.reference.iter().flat_map(|command| command.split_whitespace());
        match (kind, words.next()) {
            (Kind::Reference, Some(program)) => {
                let mut command = Command::new(program);
                command.args(words);
                command
            }
            _ => Command::new(&self.headwater),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if arguments.edge {
        return edge::run(&arguments.headwater, arguments.tiny).await;
    }
    let plc = Plc::start().await;
    let rows: Vec<&Row> = rows::ROWS.iter().filter(|row| arguments.wants(row.name)).collect();
    let directory = tempfile::tempdir()?;
    let seeded = directory.path().join("seeded");
    let seed = seed::fill(arguments.command(Kind::Ours), &seeded, &plc, &rows, arguments.tiny).await?;

    let mut report = Report::start();
    let started = arguments.wants(rows::START);
    let servers = start(&arguments, started, directory.path(), &seeded, &seed, &plc, &mut report).await?;
    for row in rows {
        if let [ours, reference] = servers.as_slice() {
            same::compare(row, ours, reference).await?;
        }
        for _ in 0..arguments.rounds {
            for server in &servers {
                let figure = load::measure(row, server, Duration::from_secs_f64(arguments.seconds)).await?;
                report.add(row.name, server.kind, figure);
            }
        }
        report.print(row);
    }
    for server in &servers {
        let (now, most) = server.memory()?;
        report.add_memory(server.kind, server.idle_kb, now, most);
    }
    report.print_memory();
    if arguments.tiny { Ok(()) } else { report.verdict() }
}

/// Starts the servers on copies of the seed; where `measured`, as often as there are rounds, for how long that takes.
async fn start(
    arguments: &Arguments,
    measured: bool,
    directory: &Path,
    seeded: &Path,
    seed: &Seed,
    plc: &Plc,
    report: &mut Report,
) -> Result<Vec<Server>, Box<dyn Error>> {
    for kind in arguments.kinds() {
        seed::copy(seeded, &directory.join(kind.name()))?;
    }
    let one = async |kind: Kind| {
        Server::start(kind, arguments.command(kind), &directory.join(kind.name()), plc, seed.clone()).await
    };
    for _ in 0..if measured { arguments.rounds } else { 0 } {
        for kind in arguments.kinds() {
            let server = one(*kind).await?;
            report.add_start(*kind, server.started_in);
            server.stop().await?;
        }
    }
    if measured {
        report.print_start();
    }
    let mut servers = Vec::new();
    for kind in arguments.kinds() {
        let mut server = one(*kind).await?;
        server.settle().await?;
        server.log_in().await?;
        servers.push(server);
    }
    Ok(servers)
}
