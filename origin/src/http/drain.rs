//! Reading on after the answer.
//!
//! An answer may be made before the request's body was read: the token has expired, the blob is too large. A server that
//! closes the connection then is not understood: most clients are still sending, and learn of the closing alone. So what
//! nobody read is received and thrown away, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::header;
use futures_util::{Stream, StreamExt as _};

/// At most how many bytes of a body are thrown away.
const MAX_BYTES: usize = 128 * 1024 * 1024;
/// At most how long that may take.
const MAX_TIME: Duration = Duration::from_secs(30);

/// Sees to it that the body of `request` is received, whoever drops it.
pub(super) async fn unread(request: Request) -> Request {
    // Who waits to be told to go on has sent nothing, and is answered in time.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return request;
    }
    request.map(|body| Body::from_stream(Received(Some(body.into_data_stream()))))
}

/// A body whose rest is received when it is dropped.
struct Received(Option<BodyDataStream>);

impl Stream for Received {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let next = std::task::ready!(body.poll_next_unpin(context));
        if !matches!(next, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(next)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        // Outside of a runtime there is no connection either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(MAX_TIME, throw_away(body)));
        }
    }
}

async fn throw_away(mut body: BodyDataStream) {
    let mut left = MAX_BYTES;
    while let Some(Ok(piece)) = body.next().await {
        match left.checked_sub(piece.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
