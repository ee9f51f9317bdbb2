//! The `headwater` binary. `headwater` alone serves; the configuration is the environment's (see [`origin::config`]).
//!
//! Standard output carries one JSON object a line, the log. The process ends on SIGTERM and SIGINT, within
//! [`origin::DRAIN_LIMIT`], with status 0; it works as process 1 of a container.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use origin::app::App;
use origin::config::Config;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// An AT Protocol personal data server.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

/// How many async threads there are beside one for each core: short reads of databases are made on them, and one that
/// waits for the disk is to keep nobody waiting.
const MORE_THREADS: usize = 2;

#[derive(Subcommand)]
enum Command {
    /// Run the server; what `headwater` without a command does
    Serve {
        /// Listen on this address and port instead of on PDS_PORT of all interfaces
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
    },
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().json().flatten_event(true).init();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cores + MORE_THREADS).enable_all().build()?;
    runtime.block_on(async {
        match Arguments::parse().command.unwrap_or(Command::Serve { listen: None }) {
            Command::Serve { listen } => serve(listen).await,
        }
    })
}

async fn serve(listen: Option<SocketAddr>) -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let addresses = match listen {
        Some(address) => vec![address],
        // Both families through one socket; IPv4 alone where the system has no IPv6.
        None => vec![
            (Ipv6Addr::UNSPECIFIED, config.service.port).into(),
            (Ipv4Addr::UNSPECIFIED, config.service.port).into(),
        ],
    };
    let app = App::open(config)?;
    // Installed before the port answers: from the first answer on, a signal is heeded.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener =
        TcpListener::bind(&addresses[..]).await.with_context(|| format!("{addresses:?} cannot be listened on"))?;
    let address = listener.local_addr()?;
    let public_url = app.config().public_url(address.port());
    tracing::info!(%address, public_url, version = env!("CARGO_PKG_VERSION"), "listening");
    origin::serve(listener, app, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await?;
    tracing::info!("stopped");
    Ok(())
}
