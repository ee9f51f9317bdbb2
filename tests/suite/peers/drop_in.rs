//! A reference server's data directory, taken over and given back, in turns.

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tests::peers::{Place, Version, packages};
use tests::{Bucket, Plc};

use super::caller::Caller;
use super::watch::Watch;
use super::world::{World, write};

/// Every event that is told, in order, by its place: what the sequencer's file holds.
pub(crate) fn events(place: &Place) -> Vec<i64> {
    let path = place.directory().join("sequencer.sqlite");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut query = database.prepare("SELECT seq FROM repo_seq WHERE invalidated = 0 ORDER BY seq").unwrap();
    query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The reference server, this one, the reference, this one (killed), the reference, this one: each goes on where the last
/// stopped, and all say the same of what was there before.
async fn take_turns(version: Version, bucket: Option<&Bucket>) {
    let Some(packages) = packages() else { return };
    let plc = Plc::start().await;
    let place = Place::new(&plc);
    let place = bucket.into_iter().fold(place, Place::with_blobs_in);
    let caller = Caller::new(&place);

    let server = place.start_reference(&packages, version).await;
    let watch = Watch::start(&packages, &place.url(""), &plc, 0);
    let mut world = World::make(&caller).await;
    world.is_known(&caller).await;
    let said = caller.reads(&world.accounts()).await;
    assert!(server.stop().await.success());

    let server = place.start_headwater().await;
    caller.says(&said, &world.accounts()).await;
    world.is_known(&caller).await;
    // Everything again, from the start, to one who comes new.
    let late = Watch::start(&packages, &place.url(""), &plc, 0);
    late.reaches(*events(&place).last().unwrap()).await;
    let posted = json!({ "$type": "app.bsky.embed.images", "images": [{ "alt": "", "image": world.loose }] });
    let post = json!({ "text": "no longer loose", "createdAt": "2026-01-01T00:00:00Z", "embed": posted });
    caller.create(&world.alice, "app.bsky.feed.post", post).await;
    world.goes_on(&caller, "ours").await;
    let said = caller.reads(&world.accounts()).await;
    assert!(server.stop().await.success());

    let server = place.start_reference(&packages, version).await;
    caller.says(&said, &world.accounts()).await;
    world.is_known(&caller).await;
    world.goes_on(&caller, "theirs").await;
    let said = caller.reads(&world.accounts()).await;
    assert!(server.stop().await.success());

    let server = place.start_headwater().await;
    caller.says(&said, &world.accounts()).await;
    world.goes_on(&caller, "ours until killed").await;
    let said = caller.reads(&world.accounts()).await;
    server.kill().await;
    let ready = place.headwater(&["prepare-downgrade"]).output().await.unwrap();
    assert!(ready.status.success(), "{ready:?}");

    let server = place.start_reference(&packages, version).await;
    caller.says(&said, &world.accounts()).await;
    world.is_known(&caller).await;
    world.goes_on(&caller, "theirs again").await;
    let said = caller.reads(&world.accounts()).await;
    assert!(server.stop().await.success());

    let server = place.start_headwater().await;
    caller.says(&said, &world.accounts()).await;
    world.is_known(&caller).await;
    caller.post("com.atproto.server.activateAccount", world.gone.access(), Value::Null).await;
    write(&caller, &world.gone, &world.bob, "back").await;
    world.goes_on(&caller, "ours for good").await;

    let all = events(&place);
    let seen: Vec<i64> =
        watch.reaches(*all.last().unwrap()).await.iter().filter_map(|event| event["seq"].as_i64()).collect();
    assert_eq!(seen, all, "every event once, in order");
    assert!(server.stop().await.success());
    // Whoever wrote it, every store is where the sequence ends.
    let recovered = place.headwater(&["sequencer", "recover"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&recovered.stdout).into_owned();
    assert!(recovered.status.success() && said.contains(" looked at, 0 were changed"), "{recovered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_server_and_this_one_take_turns_on_one_directory() {
    take_turns(Version::V0_5_35, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_server_and_this_one_take_turns_on_one_bucket() {
    let bucket = Bucket::start().await;
    take_turns(Version::V0_5_35, Some(&bucket)).await;
    let kept = bucket.keys();
    assert!(!kept.is_empty() && kept.iter().all(|key| key.starts_with("blocks/")), "{kept:?}");
    let uploads = bucket.asked().into_iter().filter(|asked| asked.method == "PUT" && asked.target.contains("/tmp/"));
    // The reference says of nothing what it is.
    let (ours, theirs): (Vec<_>, Vec<_>) =
        uploads.partition(|asked| asked.content_type.as_deref() == Some("image/png"));
    assert!(!ours.is_empty() && !theirs.is_empty(), "{ours:?} {theirs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_reference_server_and_this_one_take_turns_on_one_directory() {
    take_turns(Version::V0_4_217, None).await;
}
