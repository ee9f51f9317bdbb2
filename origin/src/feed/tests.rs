//! Snapshots, as one account's replica is filled with them: how many at once, and of whom what.

use std::path::Path;

use futures_util::StreamExt as _;
use shared::link::{Item, RegisterAnswer, Registered, SnapshotReader};

use super::*;
use crate::app::App;
use crate::lifecycle::tests::sign_up;

fn open(directory: &Path) -> App {
    let variables = [
        ("PDS_DATA_DIRECTORY", directory.to_str().unwrap()),
        // Nobody is there.
        ("PDS_DID_PLC_URL", "http://127.0.0.1:1"),
        ("PDS_DEV_MODE", "true"),
        ("PDS_ID_RESOLVER_TIMEOUT", "100"),
        ("HEADWATER_EDGE_URL", "http://127.0.0.1:1"),
        ("HEADWATER_EDGE_FEED_KEY", "feed key of the tests"),
        ("HEADWATER_EDGE_FORWARD_KEY", "forward key of the tests"),
    ];
    App::open(Config::from_variables(variables).unwrap()).unwrap()
}

/// An account that is served, and a replica of it.
async fn account(app: &App) -> Replica {
    let did = Did::parse("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    sign_up(app, did.clone(), "alice").await;
    Replica { account: did, region: Region::parse("weur").unwrap() }
}

async fn read(snapshot: Snapshot) -> Vec<Item> {
    let (mut reader, mut items) = (SnapshotReader::new(), Vec::new());
    let mut stream = std::pin::pin!(snapshot.into_stream());
    while let Some(piece) = stream.next().await {
        reader.push(piece.unwrap());
        while let Some(item) = reader.next_item().unwrap() {
            items.push(item);
        }
    }
    reader.finish().unwrap();
    items
}

#[tokio::test]
async fn only_so_many_snapshots_are_on_their_way_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let app = open(directory.path());
    let replica = account(&app).await;
    assert!(matches!(app.feed().snapshot(&replica).await, Err(FeedError::NotRegistered)));
    let answer = app.feed().register(replica.clone()).await.unwrap();
    assert!(matches!(answer, RegisterAnswer::Registered(Registered { bytes: 1.., .. })), "{answer:?}");
    let mut under_way = Vec::new();
    for _ in 0..FILLS {
        under_way.push(app.feed().snapshot(&replica).await.unwrap().unwrap());
    }
    assert!(matches!(app.feed().snapshot(&replica).await, Err(FeedError::Busy)));
    let items = read(under_way.pop().unwrap()).await;
    assert!(matches!((&items[0], items.last().unwrap()), (Item::Head(_), Item::End)), "{items:?}");
    // Its place is free again, as that of one that is given up is.
    let another = app.feed().snapshot(&replica).await.unwrap().unwrap();
    assert!(matches!(app.feed().snapshot(&replica).await, Err(FeedError::Busy)));
    drop((another, under_way));
    assert!(app.feed().snapshot(&replica).await.is_ok());
}

#[tokio::test]
async fn the_snapshot_of_an_account_that_is_not_served_is_its_state_alone() {
    let directory = tempfile::tempdir().unwrap();
    let app = open(directory.path());
    let replica = account(&app).await;
    app.feed().register(replica.clone()).await.unwrap();
    let down = app.accounts().take_down(&replica.account, None, |account| Ok(vec![account.account_event().encode()?]));
    down.await.unwrap();
    app.announcements().deliver().await.unwrap();
    let items = read(app.feed().snapshot(&replica).await.unwrap().unwrap()).await;
    let [Item::Head(head), Item::End] = &items[..] else { panic!("{items:?}") };
    assert!(head.revision.is_none() && head.state.status == Some(shared::firehose::AccountStatus::Takendown));
    assert_eq!(head.position.0, head.state.version);
}
