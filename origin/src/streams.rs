//! Connections that go on until somebody ends them, as those of the firehose do.
//!
//! HTTP knows nothing of them once they are open: they are counted here, told when the server stops, and waited for.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The open ones; cloning it is shallow.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    stop: CancellationToken,
    open: TaskTracker,
}

impl Streams {
    /// Counts one more, until what is returned is dropped.
    pub fn open(&self) -> TaskTrackerToken {
        self.open.token()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Waits until the server stops.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Tells all that the server stops.
    pub fn stop(&self) {
        self.stop.cancel();
        self.open.close();
    }

    /// Waits until all are closed, after they were told.
    pub async fn closed(&self) {
        self.open.wait().await;
    }
}
