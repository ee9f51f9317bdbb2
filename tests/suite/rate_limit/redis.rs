//! Limits that servers count in one Redis, and what becomes of them while it is away.

use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode};
use serde_json::json;
use tests::peers::{Place, Program};
use tests::redis::PASSWORD;
use tests::{Plc, Redis};

use super::{assert_refused, header};

const AWAY: &str = "Redis is away";
const THERE: &str = "connected to Redis";
/// How long a test waits for a server to notice.
const PATIENCE: Duration = Duration::from_secs(20);

/// A place for a server that counts in `redis`.
fn place(plc: &Plc, redis: &Redis) -> Place {
    let place = Place::new(plc).with("PDS_RATE_LIMITS_ENABLED", "true");
    redis.environment().iter().fold(place, |place, (name, value)| place.with(name, value))
}

/// Uses a point of the 15 that an address has in an hour.
async fn use_one(place: &Place) -> Response {
    let url = place.url("/xrpc/com.atproto.server.requestPasswordReset");
    Client::new().post(url).json(&json!({ "email": "nobody@example.com" })).send().await.unwrap()
}

/// Uses a point, which must be there; how many are left.
async fn left(place: &Place) -> u64 {
    let answer = use_one(place).await;
    assert_eq!((answer.status(), header(&answer, "ratelimit-limit")), (StatusCode::OK, "15"));
    header(&answer, "ratelimit-remaining").parse().unwrap()
}

fn said(server: &Program, words: &str) -> usize {
    server.lines().iter().filter(|line| line.contains(words)).count()
}

/// Waits until the server has said so this often in all.
async fn wait_until_said(server: &Program, words: &str, times: usize) {
    server.wait_for(words, |lines| lines.iter().filter(|line| line.contains(words)).count() >= times).await;
    assert_eq!(said(server, words), times, "{:?}", server.lines());
}

#[tokio::test]
async fn two_servers_with_one_redis_share_their_limits_and_keep_them_over_a_restart() {
    let Some(redis) = Redis::start().await else { return };
    let plc = Plc::start().await;
    let (one, other) = (place(&plc, &redis), place(&plc, &redis));
    let (first, second) = (one.start_headwater().await, other.start_headwater().await);
    for points in (7..15).rev() {
        let place = if points % 2 == 0 { &one } else { &other };
        assert_eq!(left(place).await, points);
    }
    // At once, too.
    let rest = futures_util::future::join_all((0..7).map(|nth| left(if nth % 2 == 0 { &one } else { &other }))).await;
    assert_eq!(rest.iter().copied().collect::<std::collections::BTreeSet<_>>(), (0..7).collect());
    assert_refused(use_one(&one).await, "15", 3600).await;
    assert!(first.stop().await.success());
    let first = one.start_headwater().await;
    assert_refused(use_one(&one).await, "15", 3600).await;
    assert_refused(use_one(&other).await, "15", 3600).await;

    // Refused uses count, as they do at the reference.
    let counts = redis.counts().await;
    let expected = [
        ("com.atproto.server.requestPasswordReset-0:127.0.0.1", 18, 24 * 3600),
        ("com.atproto.server.requestPasswordReset-1:127.0.0.1", 18, 3600),
        ("rl-global-ip:127.0.0.1", 18, 300),
    ];
    assert_eq!(counts.len(), expected.len(), "{counts:?}");
    for ((key, used, ends), (name, points, seconds)) in counts.iter().zip(expected) {
        assert_eq!((key.as_str(), *used), (name, points));
        assert!(*ends > seconds - 60 && *ends <= seconds, "{key} ends in {ends}");
    }
    for server in [first, second] {
        assert_eq!((said(&server, THERE), said(&server, AWAY)), (1, 0), "{:?}", server.lines());
        assert!(server.stop().await.success());
    }
}

#[tokio::test]
async fn a_count_that_would_never_end_is_given_its_time() {
    let Some(redis) = Redis::start().await else { return };
    let plc = Plc::start().await;
    let place = place(&plc, &redis);
    let _server = place.start_headwater().await;
    let key = "com.atproto.server.requestPasswordReset-1:127.0.0.1";
    redis.ask(&["SET", key, "12"]).await;
    assert_eq!(left(&place).await, 2);
    assert!((3540..=3600).contains(&redis.ask(&["TTL", key]).await.parse().unwrap()));
    // A name of any length takes little room.
    let login = json!({ "identifier": "a".repeat(100_000), "password": "guess" });
    let url = place.url("/xrpc/com.atproto.server.createSession");
    let answer = Client::new().post(url).json(&login).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(redis.counts().await.iter().all(|(key, ..)| key.len() < 200));
}

#[tokio::test]
async fn while_redis_is_dead_a_server_counts_by_itself_and_says_so_once() {
    let Some(mut redis) = Redis::start().await else { return };
    let plc = Plc::start().await;
    let place = place(&plc, &redis);
    let server = place.start_headwater().await;
    assert_eq!(left(&place).await, 14);
    redis.kill().await;
    for points in (0..15).rev() {
        assert_eq!(left(&place).await, points);
    }
    assert_refused(use_one(&place).await, "15", 3600).await;
    wait_until_said(&server, AWAY, 1).await;
    // Some attempts to connect later it has said nothing more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((said(&server, AWAY), said(&server, THERE)), (1, 1), "{:?}", server.lines());
    redis.restart().await;
    wait_until_said(&server, THERE, 2).await;
    assert_eq!(left(&place).await, 14);
    assert_eq!(redis.counts().await.len(), 3);
    redis.kill().await;
    assert_eq!(use_one(&place).await.status(), StatusCode::TOO_MANY_REQUESTS, "it has not forgotten what it counted");
    wait_until_said(&server, AWAY, 2).await;
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_redis_that_stands_still_holds_nobody_up() {
    let Some(redis) = Redis::start().await else { return };
    let plc = Plc::start().await;
    let place = place(&plc, &redis);
    let server = place.start_headwater().await;
    assert_eq!(left(&place).await, 14);
    redis.pause().await;
    let began = Instant::now();
    for points in (5..15).rev() {
        assert_eq!(left(&place).await, points);
    }
    // One of them waited a quarter of a second.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    wait_until_said(&server, AWAY, 1).await;
    // It starts beside such a one, too.
    assert!(server.stop().await.success());
    let server = tokio::time::timeout(PATIENCE, place.start_headwater()).await.unwrap();
    assert_eq!(left(&place).await, 14);
    wait_until_said(&server, AWAY, 1).await;
    redis.resume().await;
    wait_until_said(&server, THERE, 1).await;
    left(&place).await;
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_counts_as_away() {
    let Some(redis) = Redis::start().await else { return };
    let plc = Plc::start().await;
    let place = place(&plc, &redis);
    let server = place.start_headwater().await;
    assert_eq!(left(&place).await, 14);
    // A replica of nobody, as an old primary is after another took over.
    redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    for points in (10..15).rev() {
        assert_eq!(left(&place).await, points);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((said(&server, AWAY), said(&server, THERE)), (1, 1), "{:?}", server.lines());
    redis.ask(&["REPLICAOF", "NO", "ONE"]).await;
    wait_until_said(&server, THERE, 2).await;
    assert_eq!(left(&place).await, 13);
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_redis_that_wants_no_password_is_used_without() {
    let Some(redis) = Redis::start().await else { return };
    let plc = Plc::start().await;
    let place = place(&plc, &redis);
    redis.ask(&["CONFIG", "SET", "requirepass", ""]).await;
    let server = place.start_headwater().await;
    assert_eq!(left(&place).await, 14);
    assert_eq!(redis.counts().await.len(), 3);
    assert_eq!((said(&server, THERE), said(&server, AWAY)), (1, 0), "{:?}", server.lines());
    assert_eq!(said(&server, "PDS_REDIS_SCRATCH_PASSWORD has no effect"), 1, "{:?}", server.lines());
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn with_the_wrong_password_a_server_starts_and_says_why_it_counts_alone() {
    let Some(redis) = Redis::start().await else { return };
    let plc = Plc::start().await;
    let place = place(&plc, &redis).with("PDS_REDIS_SCRATCH_PASSWORD", "a wrong password");
    let server = place.start_headwater().await;
    assert_eq!((left(&place).await, left(&place).await), (14, 13));
    tokio::time::sleep(Duration::from_secs(2)).await;
    wait_until_said(&server, AWAY, 1).await;
    let lines = server.lines().join("\n");
    assert!(lines.contains("Password authentication failed"), "{lines}");
    assert!(!lines.contains("a wrong password") && !lines.contains(PASSWORD), "{lines}");
    assert!(redis.counts().await.is_empty());
    redis.ask(&["CONFIG", "SET", "requirepass", "a wrong password"]).await;
    wait_until_said(&server, THERE, 1).await;
    assert!(server.stop().await.success());
}
