//! A reference server's directory whose stores were lost or are older than its sequence, which the reference heals by its
//! `sequencer-recovery`.

use std::fs;

use serde_json::Value;
use tests::Plc;
use tests::peers::{Packages, Place, Version, packages};
use tests::store;

use super::caller::Caller;
use super::world::World;
use crate::recover::copy;

async fn run(place: &Place, words: &[&str]) -> String {
    let output = place.headwater(words).output().await.unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn stores_come_back(packages: &Packages, version: Version) {
    let plc = Plc::start().await;
    let place = Place::new(&plc);
    let caller = Caller::new(&place);
    let server = place.start_reference(packages, version).await;
    let world = World::make(&caller).await;
    assert!(server.stop().await.success());
    let (actors, backup) = (place.directory().join("actors"), tempfile::tempdir().unwrap());
    copy(&actors, backup.path());
    let server = place.start_reference(packages, version).await;
    world.goes_on(&caller, "theirs").await;
    let said = caller.reads(&world.accounts()).await;
    assert!(server.stop().await.success());
    assert!(run(&place, &["sequencer", "recover"]).await.contains("4 accounts were looked at, 0 were changed"));

    fs::remove_dir_all(&actors).unwrap();
    copy(backup.path(), &actors);
    fs::remove_dir_all(store(place.directory(), &world.bob.did).unwrap()).unwrap();
    let recovered = run(&place, &["sequencer", "recover", "--json"]).await;
    let recovered: Vec<Value> = recovered.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(recovered.iter().all(|account| account["missingBlobs"] == 0), "{recovered:?}");
    assert_eq!(recovered.iter().filter(|account| account["made"] == true).count(), 2, "{recovered:?}");

    let server = place.start_headwater().await;
    caller.says(&said, &world.accounts()).await;
    run(&place, &["keys", "rotate", "bob.test", "theirs.test"]).await;
    world.goes_on(&caller, "ours").await;
    run(&place, &["repo", "verify", "--all"]).await;
    let said = caller.reads(&world.accounts()).await;
    assert!(server.stop().await.success());
    run(&place, &["prepare-downgrade"]).await;
    let server = place.start_reference(packages, version).await;
    caller.says(&said, &world.accounts()).await;
    world.goes_on(&caller, "theirs again").await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_come_back_out_of_the_sequence_of_the_reference_server() {
    let Some(packages) = packages() else { return };
    stores_come_back(&packages, Version::V0_5_35).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_come_back_out_of_the_sequence_of_the_older_reference_server() {
    let Some(packages) = packages() else { return };
    stores_come_back(&packages, Version::V0_4_217).await;
}
