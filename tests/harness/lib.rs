//! What the suite drives: real servers on ports of their own, in directories of their own, ended with the test.
//!
//! [`Pds`] is the origin, run in the test's process; [`Process`] is one of its own. [`Edge`] is the built Worker on workerd
//! in front of one. [`Plc`] is a did:plc directory, [`Smtp`] a mail server, [`Bucket`] an S3 server, [`Redis`] what its name says. Nothing is faked but what is not ours:
//! [`serve`] runs a router that stands in for it. A test leaves nothing behind: processes end when their handle is dropped
//! or the test process dies, directories go with their handle.
#![expect(clippy::unwrap_used, reason = "a harness that cannot start has nothing to return to")]

use std::path::{Path, PathBuf};

pub mod bucket;
mod edge;
pub mod entryway;
pub mod environment;
pub mod kms;
mod pds;
pub mod peers;
pub mod plc;
pub mod process;
pub mod redis;
mod repository;
pub mod service;
mod smtp;

pub use bucket::Bucket;
pub use edge::Edge;
pub use entryway::Entryway;
pub use pds::Pds;
pub use plc::Plc;
pub use process::Process;
pub use redis::Redis;
pub use repository::Repository;
pub use smtp::Smtp;

/// Serves `router` on a port of 127.0.0.1 that the system chose, for as long as the test's runtime lives. Returns its URL,
/// without a slash at the end.
pub async fn serve(router: axum::Router) -> String {
    prepare_client();
    let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

/// The directory of an account's store, if it has one.
pub fn store(data_directory: &Path, did: &str) -> Option<PathBuf> {
    let shards = std::fs::read_dir(data_directory.join("actors")).ok()?;
    shards.map(|shard| shard.unwrap().path().join(did)).find(|store| store.is_dir())
}

/// Lets `reqwest` make clients: it wants to know whose cryptography to use, even for plain HTTP. Whatever starts a server
/// here has called it.
pub fn prepare_client() {
    // An error says that it is known already.
    let _known = rustls::crypto::ring::default_provider().install_default();
}
