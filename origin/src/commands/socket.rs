//! Commands for a server that runs, over a socket in its data directory.
//!
//! Whoever may open the directory as the server's own user, or as root, may command it: the socket is that user's alone,
//! and the system says who is at its other end. A connection carries one request and one answer, each a line of JSON; a
//! client of another version is told so. Who holds the directory's lock owns the socket's name: a socket that is there
//! already was left by a process that died.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{Command, Outcome, in_words, run};
use crate::app::App;

const NAME: &str = "headwater.sock";
/// What both ends must say. Raised with every change of what they say.
const VERSION: u32 = 5;
/// The longest path that a socket can have everywhere, in bytes.
const PATH_LEN: usize = 100;
/// How long after a connection could not be taken the next one is.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest line, in bytes.
const LINE_LEN: u64 = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Request {
    version: u32,
    command: Command,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    Done(Outcome),
    Refused(String),
}

/// Why a running server did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("nobody listens at its socket")]
    Nobody(#[source] io::Error),
    /// It ended before it answered.
    #[error("it ended before it answered: what was asked for may be done, in part, or not at all")]
    Ended,
    /// It cannot be reached.
    #[error("its socket cannot be used")]
    Io(#[from] io::Error),
    /// It answered what is no answer.
    #[error("it does not answer as this version does: is it of another?")]
    Answer(#[source] serde_json::Error),
    /// It says why not.
    #[error("{0}")]
    Refused(String),
}

/// Asks the server that has `directory`.
///
/// # Errors
/// An [`AskError`].
pub async fn ask(directory: &Path, command: Command) -> Result<Outcome, AskError> {
    let mut stream = {
        let (_open, path) = short_path(directory)?;
        UnixStream::connect(path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::Nobody(error),
            _ => error.into(),
        })?
    };
    let mut line = serde_json::to_vec(&Request { version: VERSION, command }).map_err(AskError::Answer)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    if answer.is_empty() {
        return Err(AskError::Ended);
    }
    match serde_json::from_str(&answer).map_err(AskError::Answer)? {
        Answer::Done(outcome) => Ok(outcome),
        Answer::Refused(why) => Err(AskError::Refused(why)),
    }
}

/// Takes commands until the server stops. One under way then is finished, within the time that requests have.
///
/// # Errors
/// When there can be no socket.
pub async fn listen(app: App) -> io::Result<()> {
    let directory = app.config().storage.data_directory.clone();
    let path = directory.join(NAME);
    let listener = {
        let (_open, short) = short_path(&directory)?;
        match fs::remove_file(&short) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&short)?;
        fs::set_permissions(&short, fs::Permissions::from_mode(0o600))?;
        listener
    };
    let owner = fs::metadata(&path)?.uid();
    let taking = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (app, open) = (app.clone(), app.streams().open());
                    tokio::spawn(async move {
                        if let Err(error) = answer(&app, stream, owner).await {
                            tracing::warn!(%error, "a command was not answered");
                        }
                        drop(open);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a command was not taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = taking => {}
        () = app.streams().stopping() => {}
    }
    drop(listener);
    fs::remove_file(path)
}

async fn answer(app: &App, stream: UnixStream, owner: u32) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != owner && peer != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let asked = tokio::select! {
        asked = async { BufReader::new(read.take(LINE_LEN)).read_line(&mut line).await } => asked?,
        () = app.streams().stopping() => return Ok(()),
    };
    if asked == 0 {
        return Ok(());
    }
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(Request { version: VERSION, command }) => match run(app, command).await {
            Ok(outcome) => Answer::Done(outcome),
            Err(error) => Answer::Refused(in_words(&error)),
        },
        _ => Answer::Refused(format!("the server is of another version: {}", env!("CARGO_PKG_VERSION"))),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// The socket's path. Where that is longer than a socket's may be, the directory is called by its open file instead, for
/// as long as that lives.
fn short_path(directory: &Path) -> io::Result<(fs::File, PathBuf)> {
    let open = fs::File::open(directory)?;
    let path = directory.join(NAME);
    let path = if path.as_os_str().len() <= PATH_LEN {
        path
    } else {
        PathBuf::from(format!("/proc/self/fd/{}/{NAME}", open.as_raw_fd()))
    };
    Ok((open, path))
}
