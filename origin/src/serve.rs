//! Serving HTTP until told to stop, and then ending within a stated time.
//!
//! The listener and the signal are arguments: `main` passes a real port and the system's signals, a test passes a port
//! the system chose and a channel. Once the signal comes no new connection is accepted, requests under way are finished,
//! and idle connections and streams are closed; what is still under way after [`DRAIN_LIMIT`] is abandoned.

use std::error::Error;
use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::app::App;
use crate::commands::socket;
use crate::crawlers::Crawlers;
use crate::fetch::{Client, Reach};
use crate::http::router;
use crate::streams::Streams;

/// How long requests under way may go on after the signal to stop. Fly.io and Docker kill a process that takes longer.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How often uploads that no record refers to, and attempts that nobody goes on with, are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Serves `app` on `listener` until `shutdown` resolves and requests under way have ended.
///
/// Returns `Ok` as well when [`DRAIN_LIMIT`] passed first; connections left then end with the runtime.
///
/// # Errors
///
/// When the listener can no longer be used.
pub async fn serve(
    listener: TcpListener,
    app: App,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    app.listens_on(listener.local_addr()?.port());
    let beside = tokio::spawn(beside_requests(app.clone()));
    let crawled = tokio::spawn(tell_crawlers(app.clone()));
    let commanded = tokio::spawn(take_commands(app.clone()));
    let shared = tokio::spawn(keep_scratch(app.clone()));
    if let Some(scratch) = app.scratch() {
        // So that the first requests are counted where earlier ones were.
        scratch.settled().await;
    }
    let streams = app.streams().clone();
    let feed = app.feed().clone();
    let served = serve_router(listener, router(app), streams, shutdown, DRAIN_LIMIT).await;
    feed.stop();
    // It may be stopped anywhere, as the process may. Waited for, so that nothing of it holds the data directory.
    beside.abort();
    let _stopped = beside.await;
    crawled.abort();
    let _stopped = crawled.await;
    commanded.abort();
    let _stopped = commanded.await;
    shared.abort();
    let _stopped = shared.await;
    served
}

/// Takes the operator's commands until the server stops.
async fn take_commands(app: App) {
    if let Err(error) = socket::listen(app).await {
        tracing::error!(%error, "commands cannot be taken");
    }
}

/// What is done while requests are answered: what an earlier process left, and then sweeping, again and again.
async fn beside_requests(app: App) {
    if let Err(error) = app.rotation_key().public_key().await {
        tracing::error!(error = &error as &dyn Error, "identities cannot be made or changed");
    }
    app.finish_earlier().await;
    loop {
        app.sweep_uploads().await;
        app.forget_attempts().await;
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// Keeps the connection to Redis, if there is one.
async fn keep_scratch(app: App) {
    if let Some(scratch) = app.scratch() {
        scratch.keep().await;
    }
}

/// Tells relays that the server is there, and of everything new, until it stops.
async fn tell_crawlers(app: App) {
    tokio::select! {
        () = tell_of_news(&app) => {}
        () = app.streams().stopping() => {}
    }
}

async fn tell_of_news(app: &App) {
    let (hostname, relays) = (&app.config().service.hostname, &app.config().crawlers);
    // Nobody can crawl what only this machine can reach.
    if relays.is_empty() || hostname == "localhost" {
        return;
    }
    // The operator names them, so they are where the operator says.
    let client = match Client::new(Reach::Anywhere) {
        Ok(client) => client,
        Err(error) => return tracing::error!(?error, "relays cannot be told of news"),
    };
    let mut news = app.actors().sequencer().watch();
    let crawlers = Crawlers::start(&client, hostname, relays);
    while news.changed().await.is_ok() {
        crawlers.notify();
    }
}

async fn serve_router(
    listener: TcpListener,
    router: Router,
    streams: Streams,
    shutdown: impl Future<Output = ()> + Send + 'static,
    drain_limit: Duration,
) -> io::Result<()> {
    let open = streams.clone();
    // What is written is written in one piece, and nothing is gained by holding back the last of it.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection is slower than it could be");
        }
    });
    let (stopping, stopped) = oneshot::channel::<()>();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move {
        shutdown.await;
        tracing::info!("stopping");
        streams.stop();
        // Dropping the sender is the message.
        drop(stopping);
    });
    let limit = async {
        let _closed = stopped.await;
        tokio::time::sleep(drain_limit).await;
    };
    let ended = async {
        let ended = server.into_future().await;
        open.closed().await;
        ended
    };
    tokio::select! {
        ended = ended => ended,
        () = limit => {
            tracing::warn!(limit_s = drain_limit.as_secs(), "requests still under way were abandoned");
            Ok(())
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs::{self, File};
    use std::sync::Arc;
    use std::time::SystemTime;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;

    use super::*;
    use crate::config::Config;

    /// Starts a server whose only path answers once `finish` is notified, sends it a request, waits until the request is
    /// under way, and tells the server to stop.
    async fn stop_under_way(
        finish: Arc<Notify>,
        drain_limit: Duration,
    ) -> (TcpStream, impl Future<Output = io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (entered, stop) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = get({
            let entered = Arc::clone(&entered);
            move || async move {
                entered.notify_one();
                finish.notified().await;
                "done"
            }
        });
        let shutdown = Arc::clone(&stop);
        let server = tokio::spawn(serve_router(
            listener,
            Router::new().route("/", slow),
            Streams::default(),
            async move { shutdown.notified().await },
            drain_limit,
        ));
        client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        entered.notified().await;
        stop.notify_one();
        (client, async { server.await.unwrap() })
    }

    #[tokio::test]
    async fn a_request_under_way_is_finished_after_the_signal() {
        let finish = Arc::new(Notify::new());
        let (mut client, served) = stop_under_way(Arc::clone(&finish), Duration::from_secs(60)).await;
        finish.notify_one();
        served.await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
    }

    #[tokio::test]
    async fn a_request_that_never_ends_is_abandoned_after_the_limit() {
        let started = std::time::Instant::now();
        let limit = Duration::from_millis(100);
        let (_client, served) = stop_under_way(Arc::new(Notify::new()), limit).await;
        served.await.unwrap();
        assert!(started.elapsed() >= limit, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn old_uploads_go_while_it_serves_and_nothing_outlives_it() {
        let directory = tempfile::tempdir().unwrap();
        let config = || Config::from_variables([("PDS_DATA_DIRECTORY", directory.path())]).unwrap();
        let waiting = directory.path().join("blocks/tempt/did:plc:nobody");
        fs::create_dir_all(&waiting).unwrap();
        let (old, recent) = (waiting.join("a".repeat(52)), waiting.join("b".repeat(52)));
        for path in [&old, &recent] {
            fs::write(path, "upload").unwrap();
        }
        let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
        File::options().write(true).open(&old).unwrap().set_modified(two_days_ago).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let app = App::open(config()).unwrap();
        let served = tokio::spawn(serve(listener, app, async {
            let _told = stopped.await;
        }));
        while old.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send(()).unwrap();
        served.await.unwrap().unwrap();
        assert!(recent.exists());
        App::open(config()).unwrap();
    }
}
