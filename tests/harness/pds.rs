//! The origin, run in the test's own process on a port the system chose and in a directory that goes with it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use origin::app::App;
use origin::config::Config;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Plc;

/// A running origin.
#[derive(Debug)]
pub struct Pds {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
    // Last, so that it outlives the server's use of it.
    directory: TempDir,
}

impl Pds {
    /// Starts an origin on an empty data directory; it answers when this returns.
    pub async fn start() -> Self {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// As [`Pds::start`], on `address`.
    pub async fn start_on(address: SocketAddr) -> Self {
        Self::start_with(address, &[]).await
    }

    /// As [`Pds::start`], without invites and with the did:plc directory `plc`.
    pub async fn start_open(plc: &Plc) -> Self {
        Self::start_open_with(plc, &[]).await
    }

    /// As [`Pds::start_open`], with more of an environment.
    pub async fn start_open_with(plc: &Plc, more: &[(&str, &str)]) -> Self {
        let mut variables = vec![("PDS_DID_PLC_URL", plc.url(""))];
        if !more.iter().any(|(name, _)| *name == "PDS_SIGNUP") {
            variables.push(("PDS_INVITE_REQUIRED", "false".to_owned()));
        }
        let dev = [("PDS_DEV_MODE", "true".to_owned())];
        let more: Vec<_> = more.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self::start_with((Ipv4Addr::LOCALHOST, 0).into(), &[variables.as_slice(), &dev, &more].concat()).await
    }

    /// As [`Pds::start_on`], with more of an environment.
    async fn start_with(address: SocketAddr, variables: &[(&str, String)]) -> Self {
        crate::prepare_client();
        let directory = tempfile::tempdir().unwrap();
        let path = ("PDS_DATA_DIRECTORY", directory.path().to_str().unwrap().to_owned());
        let config = Config::from_variables(variables.iter().cloned().chain([path])).unwrap();
        let app = App::open(config).unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(origin::serve(listener, app, async {
            let _told_or_dropped = stopped.await;
        }));
        Self { address, stop, served, directory }
    }

    /// The origin's URL with `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where its data is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Stops it as a signal would and waits until it has.
    pub async fn stop(self) {
        // The server may have ended by itself; then nobody listens, and `served` tells.
        let _sent = self.stop.send(());
        self.served.await.unwrap().unwrap();
    }
}
