//! Origin and edge as they are deployed: each knows the other, and something in between may fail.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tests::peers::free_port;
use tests::{Edge, Pds, Plc};

use crate::client::{ADMIN, As, User, post};

pub(super) const FEED_KEY: &str = "the feed key of these tests";
pub(super) const FORWARD_KEY: &str = "the forward key of these tests";
pub(super) const METRICS_TOKEN: &str = "the token of these tests";
pub(super) const REGIONS: [&str; 3] = ["weur", "enam", "apac"];

/// Origin and edge.
pub(super) struct Scene {
    pub(super) pds: Pds,
    pub(super) edge: Edge,
    /// On the way from the origin to the edge.
    pub(super) pushes: Between,
    /// On the way from the edge to the origin.
    pub(super) origin: Between,
    pub(super) http: Client,
    pub(super) kept: tempfile::TempDir,
    pub(super) port: u16,
    _plc: Plc,
}

impl Scene {
    /// `None` where there is no Worker to run.
    pub(super) async fn new() -> Option<Self> {
        Self::with(5_000, &[]).await
    }

    /// With leases of so many milliseconds, and more of the edge's variables.
    pub(super) async fn with(lease: u32, more: &[(&str, &str)]) -> Option<Self> {
        let port = free_port();
        let pushes = Between::new(&format!("http://127.0.0.1:{port}")).await;
        let plc = Plc::start().await;
        let lease = lease.to_string();
        let of_edge = [
            ADMIN,
            ("HEADWATER_EDGE_URL", pushes.url.as_str()),
            ("HEADWATER_EDGE_FEED_KEY", FEED_KEY),
            ("HEADWATER_EDGE_FORWARD_KEY", FORWARD_KEY),
            ("HEADWATER_EDGE_LEASE_MS", lease.as_str()),
        ];
        let pds = Pds::start_open_with(&plc, &of_edge).await;
        let origin = Between::new(&pds.url("")).await;
        let kept = tempfile::tempdir().unwrap();
        let edge = start_edge(port, &origin.url, kept.path(), more).await?;
        Some(Self { pds, edge, pushes, origin, http: Client::new(), kept, port, _plc: plc })
    }

    pub(super) async fn user(&self, name: &str) -> User {
        User::new(&self.pds, name).await
    }

    /// A record, by the origin's own address as a client's write would be by the edge's.
    pub(super) async fn put(&self, user: &User, rkey: &str, text: &str) -> Value {
        let input =
            json!({ "repo": user.did, "collection": "com.example.thing", "rkey": rkey, "record": { "text": text } });
        let (status, body) = post(&self.pds, "repo.putRecord", user.token(), input).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(super) async fn upload(&self, user: &User, bytes: Vec<u8>) -> Value {
        let sent = self.http.post(self.pds.url("/xrpc/com.atproto.repo.uploadBlob")).bearer_auth(&user.access);
        let answer = sent.header("content-type", "image/png").body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json::<Value>().await.unwrap()["blob"].clone()
    }

    /// Reads through the edge, from a region.
    pub(super) async fn read(&self, region: &str, path: &str) -> Answer {
        self.ask(self.http.get(self.edge.url(path)).header("x-edge-region", region)).await
    }

    pub(super) async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.header("accept-encoding", "identity").send().await.unwrap();
        Answer::of(answer).await
    }

    /// Reads until the edge answers by itself.
    #[track_caller]
    pub(super) fn hit<'s>(&'s self, region: &'s str, path: &'s str) -> impl Future<Output = Answer> + 's {
        let caller = std::panic::Location::caller();
        async move {
            let until = Instant::now() + Duration::from_secs(10);
            loop {
                let answer = self.read(region, path).await;
                if answer.mark == "hit" {
                    return answer;
                }
                assert!(Instant::now() < until, "{caller}: {path} is not answered by the edge: {answer:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    pub(super) async fn admin(&self, method: &str, input: Value) {
        let (status, body) = post(&self.pds, method, As::Admin, input).await;
        assert_eq!(status, 200, "{body}");
    }

    pub(super) async fn metrics(&self) -> HashMap<String, u64> {
        let request = self.http.get(self.edge.url("/_edge/metrics")).bearer_auth(METRICS_TOKEN);
        let text = request.send().await.unwrap().text().await.unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut sums = HashMap::new();
        for line in lines {
            let (name, number) = line.rsplit_once(' ').unwrap();
            let name = name.split('{').next().unwrap().trim_start_matches("headwater_edge_").trim_end_matches("_total");
            *sums.entry(name.to_owned()).or_default() += number.parse::<u64>().unwrap();
        }
        sums
    }
}

/// Starts an edge.
pub(super) async fn start_edge(port: u16, origin: &str, kept: &Path, more: &[(&str, &str)]) -> Option<Edge> {
    let mut variables = vec![
        ("EDGE_ORIGIN", origin),
        ("EDGE_REGIONS", "weur,enam,apac"),
        ("EDGE_FEED_KEY", FEED_KEY),
        ("EDGE_FORWARD_KEY", FORWARD_KEY),
        ("EDGE_BLOBS", "cache"),
        ("EDGE_DEV", "1"),
        ("EDGE_LIMIT_PER_MINUTE", "0"),
        ("EDGE_METRICS_TOKEN", METRICS_TOKEN),
    ];
    variables.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    variables.extend(more);
    Edge::start_with(port, &variables, Some(kept)).await
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Those that matter, in the order of their names.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) mark: String,
}

impl Answer {
    pub(super) async fn of(answer: reqwest::Response) -> Self {
        const APART: [&str; 7] =
            ["date", "server", "x-edge", "connection", "x-request-id", "transfer-encoding", "keep-alive"];
        let status = answer.status().as_u16();
        let mark = answer.headers().get("x-edge").map(|mark| mark.to_str().unwrap().to_owned()).unwrap_or_default();
        let mut headers: Vec<_> = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .filter(|(name, _)| {
                !APART.contains(&name.as_str()) && !name.starts_with("cf-") && !name.starts_with("ratelimit-")
            })
            .collect();
        headers.sort();
        // Values of one name may stand in one line or in several.
        let mut joined: Vec<(String, String)> = Vec::new();
        for (name, value) in headers {
            let values = value.split(", ").map(str::to_owned);
            match joined.last_mut().filter(|(known, _)| *known == name) {
                Some((_, list)) => *list = format!("{list}, {}", values.collect::<Vec<_>>().join(", ")),
                None => joined.push((name, value)),
            }
        }
        for (_, list) in joined.iter_mut().filter(|(name, _)| name == "vary") {
            let mut values: Vec<&str> = list.split(", ").collect();
            values.sort_unstable();
            *list = values.join(", ");
        }
        let headers = joined;
        Self { status, headers, body: answer.bytes().await.unwrap(), mark }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What happens on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Nothing.
    Fair,
    /// Nobody is reached.
    Away,
    /// What goes to a path that begins so is answered with 503 and not passed on.
    Dropped(&'static str),
    /// It is passed on, and its answer lost.
    Mute(&'static str),
    /// It is passed on so many milliseconds later.
    Late(&'static str, u64),
    /// It is passed on twice.
    Twice(&'static str),
    /// Its body is changed on the way.
    Forged(&'static str),
}

/// What the two said to each other, as it came by.
#[derive(Clone, Debug)]
pub(super) struct Passed {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Something between the two that passes requests on, counts them, and fails when told.
#[derive(Clone, Debug)]
pub(super) struct Between {
    pub(super) url: String,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    target: String,
    weather: Weather,
    seen: Vec<String>,
    passed: Vec<Passed>,
    /// How often each path was answered with 200 and the answer passed on.
    answered: HashMap<String, usize>,
    client: Client,
}

impl Between {
    pub(super) async fn new(target: &str) -> Self {
        tests::prepare_client();
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let inner = Inner {
            target: target.to_owned(),
            weather: Weather::Fair,
            seen: Vec::new(),
            passed: Vec::new(),
            answered: HashMap::new(),
            client,
        };
        let mut between = Self { url: String::new(), inner: Arc::new(Mutex::new(inner)) };
        between.url = tests::serve(Router::new().fallback(pass).with_state(between.clone())).await;
        between
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// The paths that were asked for since this was called last.
    pub(super) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().seen)
    }

    /// What the two said to each other since this was called last.
    pub(super) fn passed(&self) -> Vec<Passed> {
        std::mem::take(&mut self.lock().passed)
    }

    /// How often `path` was answered with 200.
    pub(super) fn answered(&self, path: &str) -> usize {
        self.lock().answered.get(path).copied().unwrap_or_default()
    }
}

async fn pass(State(between): State<Between>, request: Request) -> Response {
    let path = request.uri().path_and_query().unwrap().to_string();
    let (target, weather, client) = {
        let mut inner = between.lock();
        inner.seen.push(path.clone());
        (inner.target.clone(), inner.weather.clone(), inner.client.clone())
    };
    let (parts, body) = request.into_parts();
    let mut body = to_bytes(body, usize::MAX).await.unwrap();
    if path.starts_with("/internal/") {
        let passed = Passed { path: path.clone(), headers: parts.headers.clone(), body: body.clone() };
        between.lock().passed.push(passed);
    }
    let concerns = |prefix: &str| path.starts_with(prefix);
    let mut times = 1;
    match weather {
        // A gateway that reaches nobody.
        Weather::Away => return StatusCode::BAD_GATEWAY.into_response(),
        Weather::Dropped(prefix) if concerns(prefix) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Weather::Late(prefix, millis) if concerns(prefix) => tokio::time::sleep(Duration::from_millis(millis)).await,
        Weather::Twice(prefix) if concerns(prefix) => times = 2,
        Weather::Forged(prefix) if concerns(prefix) => {
            let mut forged = body.to_vec();
            if let Some(last) = forged.last_mut() {
                *last ^= 1;
            }
            body = forged.into();
        }
        _ => {}
    }
    let mut answer = None;
    for _ in 0..times {
        let sent = client
            .request(parts.method.clone(), format!("{target}{path}"))
            .headers(parts.headers.clone())
            .body(body.clone())
            .send()
            .await;
        answer = Some(sent);
    }
    if matches!(weather, Weather::Mute(prefix) if concerns(prefix)) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match answer.unwrap() {
        Ok(answer) => {
            let (status, headers) = (answer.status(), answer.headers().clone());
            if status == StatusCode::OK {
                *between.lock().answered.entry(path).or_default() += 1;
            }
            let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response
        }
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
