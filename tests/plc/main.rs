//! A local did:plc directory: `plc --listen 127.0.0.1:2582 --db plc.sqlite`.
//!
//! It prints one line, `listening on http://...`, once it answers, and runs until it is killed; what it has accepted is
//! in its file by then. See [`tests::plc`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use tests::plc::{Directory, router};

/// A local did:plc directory, for development and tests.
#[derive(Parser)]
struct Arguments {
    /// Listen on this address and port; port 0 lets the system choose one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Keep the log in this SQLite file
    #[arg(long, value_name = "FILE")]
    db: PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { listen, db } = Arguments::parse();
    let directory = Arc::new(Directory::open(&db)?);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router(directory)).await?;
    Ok(())
}
