//! `com.atproto.sync.subscribeRepos`: the firehose over a WebSocket.
//!
//! What is sent, and to whom no more, is [`Outbox`]'s; this is the connection. One task has it: it hands on frames as
//! they are, answers pings and passes over whatever else the client says, sends pings of its own so that no proxy takes
//! silence for an end, and closes. Frames that are there together leave in one write. At most [`WRITE_BUFFER`] and one
//! frame wait here for a client that takes nothing; beyond that the outbox waits with it.
//!
//! What is wrong with a connection is told in an error frame, after which it is closed with status 1008 and the error's
//! name. When the server stops it is closed with 1001.
//!
//! Specification: <https://atproto.com/specs/event-stream>.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use axum::response::Response;
use futures_util::{Sink, SinkExt as _, Stream as _};
use shared::api::sync::SubscribeReposParams;
use shared::firehose::StreamError;
use shared::xrpc::error_name;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::app::App;
use crate::error::XrpcError;
use crate::sequencer::{End, FAREWELL, Outbox, PATIENCE, Policy};

/// How many bytes wait for the client before they are written, unless nothing comes after them.
const WRITE_BUFFER: usize = 64 * 1024;
/// Clients have nothing to say: the size of the buffer that they say it into, and the most that they may say at once.
const READ_BUFFER: usize = 1024;
const MAX_SAID: usize = 64 * 1024;
/// How often a ping is sent. Proxies end connections that are silent for a minute.
const PING: Duration = Duration::from_secs(30);
/// How long a client has to answer that the connection is closed.
const CLOSING: Duration = Duration::from_secs(2);

/// Answers with a connection, over which even wrong parameters are told.
pub(in crate::xrpc) fn subscribe_repos(
    app: App,
    upgrade: WebSocketUpgrade,
    params: Result<SubscribeReposParams, XrpcError>,
) -> Response {
    // Held until the connection is closed: the server does not end before.
    let open = app.streams().open();
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(MAX_SAID)
        .max_frame_size(MAX_SAID)
        .on_upgrade(move |socket| async move {
            serve(&app, Socket(Arc::new(Mutex::new(socket))), params).await;
            drop(open);
        })
}

/// Sends what there is until the client goes, errs, or the server stops.
async fn serve(app: &App, socket: Socket, params: Result<SubscribeReposParams, XrpcError>) {
    tokio::select! {
        () = told(app, &socket, params) => {}
        () = app.streams().stopping() => socket.close(close_code::AWAY, "server stops", CLOSING).await,
    }
}

/// Sends frames and pings until the client goes or errs.
async fn told(app: &App, socket: &Socket, params: Result<SubscribeReposParams, XrpcError>) {
    let limits = &app.config().limits;
    let buffer = u64::try_from(limits.subscription_buffer).unwrap_or(u64::MAX);
    let policy = Policy { window: limits.backfill, buffer, patience: PATIENCE };
    let cursor = match params {
        // There is no event before the first.
        Ok(params) => params.cursor.map(|cursor| u64::try_from(cursor).unwrap_or(0)),
        Err(error) => {
            let frame = StreamError { error: error.name().to_owned(), message: Some(error.to_string()) };
            socket.refuse(frame).await;
            return;
        }
    };
    let outbox = Outbox::new(app.actors().sequencer().clone(), policy);
    let end = tokio::select! {
        end = outbox.run(cursor, socket.clone()) => end,
        () = socket.until_closed() => {
            // The client's close has its answer waiting to be sent.
            let _gone = timeout(CLOSING, poll_fn(|context| socket.lock().as_mut().poll_flush(context))).await;
            return;
        }
        error = socket.keep_alive() => End::Gone(error),
    };
    match end {
        End::Refused(error) => {
            tracing::info!(error = error.error, "a firehose consumer was refused");
            socket.close(close_code::POLICY, &error.error, FAREWELL).await;
        }
        End::Gone(error) => tracing::debug!(%error, "a firehose consumer is gone"),
        End::Failed(error) => {
            tracing::error!(?error, "the firehose cannot be read");
            let name = error_name::INTERNAL_SERVER_ERROR.to_owned();
            socket.refuse(StreamError { error: name, message: None }).await;
        }
    }
}

/// A connection. Clones are of the same one, and all are used by one task, so that nobody ever waits for the lock.
#[derive(Clone)]
struct Socket(Arc<Mutex<WebSocket>>);

struct Locked<'a>(MutexGuard<'a, WebSocket>);

impl Locked<'_> {
    fn as_mut(&mut self) -> Pin<&mut WebSocket> {
        Pin::new(&mut self.0)
    }
}

impl Socket {
    fn lock(&self) -> Locked<'_> {
        Locked(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hears the client, who has nothing to say, until it closes or is gone. Pings are answered on the way.
    async fn until_closed(&self) {
        loop {
            match poll_fn(|context| self.lock().as_mut().poll_next(context)).await {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Sends pings until that fails. One that would have to wait is left out: then there is no silence.
    async fn keep_alive(&self) -> axum::Error {
        let mut ticks = interval_at(Instant::now() + PING, PING);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sent = poll_fn(|context| {
                let mut socket = self.lock();
                match socket.as_mut().poll_ready(context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Ready(Ok(())),
                }
                socket.as_mut().start_send(Message::Ping(Bytes::new()))?;
                match socket.as_mut().poll_flush(context) {
                    Poll::Ready(flushed) => Poll::Ready(flushed),
                    Poll::Pending => Poll::Ready(Ok(())),
                }
            });
            if let Err(error) = sent.await {
                return error;
            }
        }
    }

    /// Sends an error and closes.
    async fn refuse(&self, error: StreamError) {
        if let Ok(Ok(())) = timeout(FAREWELL, self.clone().send(error.encode())).await {
            self.close(close_code::POLICY, &error.error, FAREWELL).await;
        }
    }

    /// Closes, and waits for the client to close as well: what it has not read yet would be lost otherwise.
    async fn close(&self, code: u16, reason: &str, patience: Duration) {
        let frame = CloseFrame { code, reason: reason.into() };
        let closed = async {
            poll_fn(|context| self.lock().as_mut().poll_ready(context)).await?;
            self.lock().as_mut().start_send(Message::Close(Some(frame)))?;
            poll_fn(|context| self.lock().as_mut().poll_flush(context)).await?;
            self.until_closed().await;
            Ok::<_, axum::Error>(())
        };
        // Whoever does not wait for it does not get it.
        let _gone = timeout(patience, closed).await;
    }
}

impl Sink<Bytes> for Socket {
    type Error = axum::Error;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.lock().as_mut().poll_ready(context)
    }

    fn start_send(self: Pin<&mut Self>, frame: Bytes) -> Result<(), axum::Error> {
        self.lock().as_mut().start_send(Message::Binary(frame))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.lock().as_mut().poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.lock().as_mut().poll_close(context)
    }
}
