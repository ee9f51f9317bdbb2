//! The firehose through the edge is the origin's, frame by frame.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::StreamExt as _;
use reqwest::Client;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::scene::{Answer, Scene, start_edge};
use crate::client::post;

const PATH: &str = "/xrpc/com.atproto.sync.subscribeRepos";

struct Consumer(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Consumer {
    async fn connect(base: &str, query: &str) -> Self {
        let url = format!("{base}{PATH}{query}").replace("http://", "ws://");
        Self(connect_async(url).await.unwrap().0)
    }

    /// What comes next; a close by its code and reason.
    async fn next(&mut self) -> Result<Bytes, (u16, String)> {
        loop {
            let message = timeout(Duration::from_secs(20), self.0.next()).await.unwrap();
            match message {
                Some(Ok(Message::Binary(frame))) => return Ok(frame),
                Some(Ok(Message::Close(close))) => {
                    let close = close.unwrap();
                    return Err((close.code.into(), close.reason.as_str().to_owned()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn frames(&mut self, number: usize) -> Vec<Bytes> {
        let mut frames = Vec::new();
        while frames.len() < number {
            frames.push(self.next().await.unwrap());
        }
        frames
    }
}

#[tokio::test]
async fn a_relay_gets_the_same_frames_through_the_edge() {
    let Some(scene) = Scene::new().await else { return };
    let (alice, bob) = (scene.user("alice").await, scene.user("bob").await);
    for number in 0..10 {
        scene.put(&alice, &format!("a{number}"), &"x".repeat(number * 1_000)).await;
        scene.put(&bob, "b", &number.to_string()).await;
    }
    // What stands between the two in a scene passes no WebSockets on.
    let kept = tempfile::tempdir().unwrap();
    let Some(through) = start_edge(0, &scene.pds.url(""), kept.path(), &[]).await else { return };
    let (direct, edge) = (scene.pds.url(""), through.url(""));
    // Four for each account that is new, and one for each write.
    for (query, old) in [("?cursor=0", 28), ("?cursor=14", 14), ("", 0)] {
        let mut there = Consumer::connect(&direct, query).await;
        let mut here = Consumer::connect(&edge, query).await;
        let frames = here.frames(old).await;
        assert_eq!(frames, there.frames(old).await, "{query}");
        // And what comes while both listen: commits, an identity, accounts.
        scene.put(&alice, "live", query).await;
        scene.put(&bob, "live", query).await;
        let handle = json!({ "handle": format!("alice{old}.test") });
        assert_eq!(post(&scene.pds, "identity.updateHandle", alice.token(), handle).await.0, 200);
        let frames = here.frames(3).await;
        assert_eq!(frames, there.frames(3).await, "{query}");
    }
    for query in ["?cursor=1000000", "?cursor=-1", "?cursor=x", "?cursor=1&cursor=2"] {
        let url = |base: &str| format!("{base}{PATH}{query}").replace("http://", "ws://");
        let told = async |base: &str| match connect_async(url(base)).await {
            Ok((socket, _)) => {
                let mut consumer = Consumer(socket);
                let first = consumer.next().await;
                let second = if first.is_ok() { Some(consumer.next().await) } else { None };
                Ok((first, second))
            }
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(told(&edge).await, told(&direct).await, "{query}");
    }
    let plain = async |base: &str| {
        let request = Client::new().get(format!("{base}{PATH}")).header("accept-encoding", "identity");
        let mut answer = Answer::of(request.send().await.unwrap()).await;
        // Of the connection, as `connection` is; the platform's own.
        answer.headers.retain(|(name, _)| name != "upgrade");
        answer
    };
    let (found, expected) = (plain(&edge).await, plain(&direct).await);
    assert_eq!((found.status, found.headers, found.body), (expected.status, expected.headers, expected.body));
}

#[tokio::test]
async fn a_consumer_whose_origin_is_gone_is_told_by_the_end_of_its_connection() {
    let Some(scene) = Scene::new().await else { return };
    let alice = scene.user("alice").await;
    let kept = tempfile::tempdir().unwrap();
    let Some(through) = start_edge(0, &scene.pds.url(""), kept.path(), &[]).await else { return };
    let mut here = Consumer::connect(&through.url(""), "?cursor=0").await;
    here.frames(4).await;
    scene.put(&alice, "r", "x").await;
    here.frames(1).await;
    let Scene { pds, .. } = scene;
    pds.stop().await;
    let ended = timeout(Duration::from_secs(20), async {
        while let Some(Ok(message)) = here.0.next().await {
            if message.is_close() {
                break;
            }
        }
    });
    ended.await.expect("it is told");
}
