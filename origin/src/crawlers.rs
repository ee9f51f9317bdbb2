//! Telling relays that there is something new here.
//!
//! Each relay is asked to crawl this server when the server starts and whenever there is something new, but at most once in
//! 20 minutes; what comes sooner is told when that time is over, so that the last event before a silence is not missed. A
//! relay that cannot be asked is tried again, less and less often, and logged once. Telling never waits and never fails:
//! no write is held up by a relay.
//!
//! Specification: <https://atproto.com/specs/sync>, `com.atproto.sync.requestCrawl`.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use url::Url;

use crate::fetch::{Bounds, Client, FetchError};

/// How often a relay is asked at most, when all goes well.
const PACE: Duration = Duration::from_secs(20 * 60);
/// How long after the first failure a relay is tried again; after each further one twice as long, [`PACE`] at most.
const FIRST_RETRY: Duration = Duration::from_secs(15);

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(10), body: 64 * 1024, redirects: 0 };

/// The relays to tell. Telling ends when this is dropped.
#[derive(Debug)]
pub struct Crawlers {
    news: Vec<Arc<Notify>>,
    _asking: JoinSet<()>,
}

/// Why a relay was not asked.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("it answers with status {0}")]
    Status(u16),
}

#[derive(Clone, Copy)]
struct Times {
    pace: Duration,
    first_retry: Duration,
}

impl Crawlers {
    /// Begins to tell `relays` of the server called `hostname`, and tells them at once that it is there; to be called when
    /// it answers, since a relay that is asked looks whether it does. Needs a runtime.
    #[must_use]
    pub fn start(client: &Client, hostname: &str, relays: &[Url]) -> Self {
        Self::start_with(client, hostname, relays, Times { pace: PACE, first_retry: FIRST_RETRY })
    }

    fn start_with(client: &Client, hostname: &str, relays: &[Url], times: Times) -> Self {
        let (mut news, mut asking) = (Vec::new(), JoinSet::new());
        for relay in relays {
            let new = Arc::new(Notify::new());
            new.notify_one();
            asking.spawn(tell(client.clone(), hostname.to_owned(), relay.clone(), Arc::clone(&new), times));
            news.push(new);
        }
        Self { news, _asking: asking }
    }

    /// Says that there is something new. Returns at once.
    pub fn notify(&self) {
        for new in &self.news {
            new.notify_one();
        }
    }
}

/// Asks one relay, for as long as the server runs.
async fn tell(client: Client, hostname: String, relay: Url, new: Arc<Notify>, times: Times) {
    loop {
        // What is new while this loop is elsewhere is kept for the next turn, however much it is.
        new.notified().await;
        let asked_at = ask_until_heard(&client, &hostname, &relay, times).await;
        sleep_until(asked_at + times.pace).await;
    }
}

/// Asks until the relay has heard; when that was.
async fn ask_until_heard(client: &Client, hostname: &str, relay: &Url, times: Times) -> Instant {
    let mut pause = times.first_retry;
    let mut failures = 0_u32;
    loop {
        let asked_at = Instant::now();
        match ask(client, hostname, relay).await {
            Ok(()) => {
                if failures > 0 {
                    tracing::info!(%relay, failures, "relay has been asked to crawl after all");
                }
                return asked_at;
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%relay, ?error, "relay cannot be asked to crawl, and is tried again");
                }
                failures = failures.saturating_add(1);
            }
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(times.pace);
    }
}

async fn ask(client: &Client, hostname: &str, relay: &Url) -> Result<(), AskError> {
    #[derive(Serialize)]
    struct RequestCrawl<'a> {
        hostname: &'a str,
    }
    let mut url = relay.clone();
    url.set_path(&format!("{}/xrpc/com.atproto.sync.requestCrawl", relay.path().trim_end_matches('/')));
    // A structure of one text has a JSON form.
    let body = serde_json::to_vec(&RequestCrawl { hostname }).unwrap_or_default();
    let answer = client.post_json(url, body, BOUNDS).await?;
    if answer.status.is_success() { Ok(()) } else { Err(AskError::Status(answer.status.as_u16())) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU16, Ordering};

    use axum::Router;
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::routing::post;
    use tokio::net::TcpListener;

    use super::*;
    use crate::fetch::Reach;

    const TIMES: Times = Times { pace: Duration::from_millis(400), first_retry: Duration::from_millis(30) };

    #[derive(Default)]
    struct Relay {
        /// What it answers with; 0 stands for 200.
        status: AtomicU16,
        heard: Mutex<Vec<(Instant, String)>>,
    }

    impl Relay {
        async fn start() -> (Arc<Self>, Url) {
            let relay = Arc::new(Self::default());
            let path = "/base/xrpc/com.atproto.sync.requestCrawl";
            let router = Router::new().route(path, post(hear)).with_state(Arc::clone(&relay));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/base/", listener.local_addr().unwrap()).parse().unwrap();
            tokio::spawn(async move { axum::serve(listener, router).await });
            (relay, url)
        }

        fn heard(&self) -> Vec<(Instant, String)> {
            self.heard.lock().unwrap().clone()
        }

        async fn until_heard(&self, times: usize) {
            while self.heard().len() < times {
                sleep(Duration::from_millis(2)).await;
            }
        }
    }

    async fn hear(State(relay): State<Arc<Relay>>, body: String) -> StatusCode {
        relay.heard.lock().unwrap().push((Instant::now(), body));
        StatusCode::from_u16(relay.status.load(Ordering::SeqCst).max(200)).unwrap()
    }

    fn start(relays: &[Url]) -> Crawlers {
        Crawlers::start_with(&Client::new(Reach::Anywhere).unwrap(), "pds.example.com", relays, TIMES)
    }

    #[tokio::test]
    async fn relays_are_told_at_the_start_and_then_no_more_often_than_the_pace() {
        let (relay, url) = Relay::start().await;
        let crawlers = start(&[url]);
        relay.until_heard(1).await;
        assert_eq!(relay.heard()[0].1, r#"{"hostname":"pds.example.com"}"#);
        for _ in 0..50 {
            crawlers.notify();
        }
        // All of these come to one, when the time is over.
        relay.until_heard(2).await;
        let heard = relay.heard();
        assert!(heard[1].0 - heard[0].0 >= TIMES.pace - Duration::from_millis(50), "{heard:?}");
        sleep(TIMES.pace * 2).await;
        assert_eq!(relay.heard().len(), 2);
        // After a silence there is nothing to wait for.
        let told_at = Instant::now();
        crawlers.notify();
        relay.until_heard(3).await;
        assert!(relay.heard()[2].0 - told_at < TIMES.pace);
    }

    #[tokio::test]
    async fn a_relay_that_fails_is_tried_again_and_holds_up_no_other() {
        let (failing, failing_url) = Relay::start().await;
        let (healthy, healthy_url) = Relay::start().await;
        failing.status.store(500, Ordering::SeqCst);
        let _crawlers = start(&[failing_url, healthy_url]);
        failing.until_heard(3).await;
        let heard = failing.heard();
        assert!(heard[1].0 - heard[0].0 >= TIMES.first_retry, "{heard:?}");
        assert!(heard[2].0 - heard[1].0 >= TIMES.first_retry * 2, "{heard:?}");
        assert_eq!(healthy.heard().len(), 1);
        failing.status.store(0, Ordering::SeqCst);
        failing.until_heard(4).await;
        sleep(TIMES.pace * 2).await;
        assert_eq!(failing.heard().len(), 4);
    }

    #[tokio::test]
    async fn telling_ends_with_the_server() {
        let (relay, url) = Relay::start().await;
        let crawlers = start(&[url]);
        relay.until_heard(1).await;
        crawlers.notify();
        drop(crawlers);
        sleep(TIMES.pace * 2).await;
        assert_eq!(relay.heard().len(), 1);
    }
}
