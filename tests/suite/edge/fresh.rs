//! How old an answer of the edge can be: with pushes as they should be, and with pushes that get lost, come late, twice, in
//! another order, or changed on the way.
//!
//! The bound that is held against is the contract's: what a writer was answered for is seen by a reader who asks a lease
//! later, whatever happens in between; and at once, where the replica had acknowledged it before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tests::{Repository, environment};
use tokio::time::sleep;

use super::scene::{Passed, REGIONS, Scene, Weather};
use crate::client::{As, User, post};

/// Where pushes to replicas go.
const PUSHES: &str = "/internal/v1/push/";
/// The lease of the tests with faults.
const LEASE: u32 = 1_000;

fn record_path(user: &User, rkey: &str) -> String {
    format!("/xrpc/com.atproto.repo.getRecord?repo={}&collection=com.example.thing&rkey={rkey}", user.did)
}

fn status_path(user: &User) -> String {
    format!("/xrpc/com.atproto.sync.getRepoStatus?did={}", user.did)
}

/// How writes and the reads after them went.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    writes: usize,
    /// Those whose reader's replica had acknowledged them before the writer was answered.
    acknowledged: usize,
    /// Reads that did not see the write, of those and of the others.
    stale: usize,
    stale_unacknowledged: usize,
    hits: usize,
}

#[tokio::test]
async fn what_is_written_is_read_at_once_in_another_region() {
    let Some(scene) = Scene::new().await else { return };
    let scene = Arc::new(scene);
    let rounds = environment::number("HEADWATER_FRESH").unwrap_or(200) / 20;
    let mut writers = Vec::new();
    for number in 0..20 {
        let user = scene.user(&format!("writer{number}")).await;
        scene.put(&user, "r", "before").await;
        writers.push(user);
    }
    for user in &writers {
        for region in REGIONS {
            scene.hit(region, &record_path(user, "r")).await;
        }
    }
    let mut tasks = Vec::new();
    // A few at a time: it is the delay of a push that is looked at, not a queue for two processors.
    for some in writers.chunks(5) {
        let (scene, some) = (Arc::clone(&scene), some.to_vec());
        tasks.push(tokio::spawn(async move {
            let mut tally = Tally::default();
            for round in 0..rounds {
                for (number, user) in some.iter().enumerate() {
                    let region = REGIONS[(number + usize::try_from(round).unwrap()) % REGIONS.len()];
                    let push = format!("{PUSHES}{region}/{}", user.did);
                    let before = scene.pushes.answered(&push);
                    let written = scene.put(user, "r", &format!("{round} {number}")).await;
                    let acknowledged = scene.pushes.answered(&push) > before;
                    let answer = scene.read(region, &record_path(user, "r")).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    let seen = answer.json()["cid"] == written["cid"];
                    tally.writes += 1;
                    tally.acknowledged += usize::from(acknowledged);
                    tally.stale += usize::from(acknowledged && !seen);
                    tally.stale_unacknowledged += usize::from(!acknowledged && !seen);
                    tally.hits += usize::from(answer.mark == "hit");
                }
            }
            tally
        }));
    }
    let mut all = Tally::default();
    for task in tasks {
        let tally = task.await.unwrap();
        all.writes += tally.writes;
        all.acknowledged += tally.acknowledged;
        all.stale += tally.stale;
        all.stale_unacknowledged += tally.stale_unacknowledged;
        all.hits += tally.hits;
    }
    println!("{all:?}");
    assert_eq!(all.stale, 0, "{all:?}");
    // 99 in 100 is the aim, measured where nothing else runs; here other tests do.
    assert!(all.acknowledged * 10 >= all.writes * 9, "{all:?}");
    assert!(all.hits * 10 >= all.writes * 9, "{all:?}");
}

/// What was written to one record, and when each writer was answered.
#[derive(Default)]
struct History(Vec<(String, Instant)>);

impl History {
    async fn write(&mut self, scene: &Scene, user: &User) {
        let text = format!("{}", self.0.len());
        scene.put(user, "r", &text).await;
        self.0.push((text, Instant::now()));
    }

    /// Reads, and sees that nothing is answered that was overwritten longer ago than the lease.
    async fn read(&self, scene: &Scene, user: &User, region: &str, what: &str) -> String {
        let asked = Instant::now();
        let answer = scene.read(region, &record_path(user, "r")).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        let text = answer.json()["value"]["text"].as_str().unwrap().to_owned();
        let index = self.0.iter().position(|(known, _)| *known == text).unwrap_or_else(|| panic!("{what}: {text}"));
        if let Some((_, overwritten)) = self.0.get(index + 1) {
            let age = asked.saturating_duration_since(*overwritten);
            // Clocks of the two processes are read to the millisecond.
            let bound = Duration::from_millis(u64::from(LEASE) + 5);
            assert!(age <= bound, "{what}: {text} in {region} {age:?} after the next was there ({})", answer.mark);
        }
        text
    }

    fn newest(&self) -> &str {
        &self.0.last().unwrap().0
    }

    /// Waits until all regions answer by themselves, and with the newest.
    async fn healed(&self, scene: &Scene, user: &User, what: &str) {
        let until = Instant::now() + Duration::from_secs(5);
        for region in REGIONS {
            loop {
                let answer = scene.read(region, &record_path(user, "r")).await;
                if answer.mark == "hit" && answer.json()["value"]["text"] == self.newest() {
                    break;
                }
                assert!(Instant::now() < until, "{what}: {region} is not well again: {answer:?}");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn take_down(scene: &Scene, user: &User, applied: bool) {
    let subject = json!({ "$type": "com.atproto.admin.defs#repoRef", "did": user.did });
    let input = json!({ "subject": subject, "takedown": { "applied": applied } });
    scene.admin("admin.updateSubjectStatus", input).await;
}

async fn warm(scene: &Scene, name: &str) -> (User, History) {
    let (user, mut history) = (scene.user(name).await, History::default());
    history.write(scene, &user).await;
    for region in REGIONS {
        scene.hit(region, &record_path(&user, "r")).await;
    }
    (user, history)
}

#[tokio::test]
async fn whatever_befalls_a_push_nothing_is_served_that_is_older_than_the_lease() {
    let Some(scene) = Scene::with(LEASE, &[]).await else { return };
    let (user, mut history) = warm(&scene, "alice").await;
    for weather in [
        Weather::Dropped(PUSHES),
        Weather::Mute(PUSHES),
        Weather::Late(PUSHES, 400),
        Weather::Twice(PUSHES),
        Weather::Forged(PUSHES),
        Weather::Away,
    ] {
        let what = format!("{weather:?}");
        scene.pushes.set(weather);
        let until = Instant::now() + Duration::from_millis(2 * u64::from(LEASE));
        let mut round = 0;
        while Instant::now() < until {
            history.write(&scene, &user).await;
            for _ in 0..4 {
                for region in REGIONS {
                    history.read(&scene, &user, region, &what).await;
                }
            }
            round += 1;
            sleep(Duration::from_millis(if round % 3 == 0 { 300 } else { 0 })).await;
        }
        scene.pushes.set(Weather::Fair);
        history.healed(&scene, &user, &what).await;
        // And from now on as if nothing had been.
        history.write(&scene, &user).await;
        history.healed(&scene, &user, &what).await;
    }
}

#[tokio::test]
async fn a_takedown_holds_for_the_next_reader_whatever_befalls_its_push() {
    let Some(scene) = Scene::with(LEASE, &[]).await else { return };
    let (user, _) = warm(&scene, "alice").await;
    for weather in [
        Weather::Fair,
        Weather::Dropped("/internal/v1/"),
        Weather::Mute(PUSHES),
        Weather::Late(PUSHES, 1_500),
        Weather::Twice(PUSHES),
        Weather::Forged(PUSHES),
    ] {
        let what = format!("{weather:?}");
        for applied in [true, false] {
            scene.pushes.set(weather.clone());
            take_down(&scene, &user, applied).await;
            for region in REGIONS {
                let answer = scene.read(region, &record_path(&user, "r")).await;
                let status = scene.read(region, &status_path(&user)).await.json();
                let expected = if applied { 400 } else { 200 };
                assert_eq!(answer.status, expected, "{what} {applied} in {region}: {answer:?}");
                assert_eq!(status["active"], json!(!applied), "{what} {applied} in {region}: {status}");
            }
            scene.pushes.set(Weather::Fair);
        }
        for region in REGIONS {
            scene.hit(region, &record_path(&user, "r")).await;
        }
    }
}

#[tokio::test]
async fn deactivation_and_a_blobs_takedown_hold_for_the_next_reader_while_pushes_are_lost() {
    let Some(scene) = Scene::with(LEASE, &[]).await else { return };
    let (user, _) = warm(&scene, "alice").await;
    let blob = scene.upload(&user, vec![7; 5_000]).await;
    let input = json!({ "repo": user.did, "collection": "com.example.picture", "record": { "picture": blob } });
    assert_eq!(post(&scene.pds, "repo.createRecord", user.token(), input).await.0, 200);
    let cid = blob["ref"]["$link"].as_str().unwrap();
    let path = format!("/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}", user.did);
    for region in REGIONS {
        scene.hit(region, &path).await;
    }
    let of_blob = json!({ "$type": "com.atproto.admin.defs#repoBlobRef", "did": user.did, "cid": cid });
    for (applied, expected) in [(true, 400), (false, 200)] {
        scene.pushes.set(Weather::Dropped("/internal/v1/"));
        let input = json!({ "subject": of_blob, "takedown": { "applied": applied } });
        scene.admin("admin.updateSubjectStatus", input).await;
        for region in REGIONS {
            assert_eq!(scene.read(region, &path).await.status, expected, "{applied} {region}");
        }
        scene.pushes.set(Weather::Fair);
    }
    for (method, expected) in [("server.deactivateAccount", 400), ("server.activateAccount", 200)] {
        scene.pushes.set(Weather::Dropped("/internal/v1/"));
        let answer = match method {
            "server.activateAccount" => crate::client::poke(&scene.pds, method, user.token()).await,
            _ => post(&scene.pds, method, user.token(), json!({})).await,
        };
        assert_eq!(answer.0, 200, "{answer:?}");
        for region in REGIONS {
            for path in [&path, &record_path(&user, "r")] {
                assert_eq!(scene.read(region, path).await.status, expected, "{method} {region} {path}");
            }
        }
        scene.pushes.set(Weather::Fair);
    }
    for region in REGIONS {
        scene.hit(region, &path).await;
    }
}

/// Sends what was said once more, as it was said.
pub(super) async fn again(scene: &Scene, said: &Passed) -> u16 {
    let mut headers = said.headers.clone();
    // The body may be another.
    headers.remove("content-length");
    let sent = Client::new().post(scene.edge.url(&said.path)).headers(headers).body(said.body.clone());
    sent.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn pushes_in_any_order_and_any_number_leave_a_replica_right() {
    let Some(scene) = Scene::with(LEASE, &[]).await else { return };
    let (user, mut history) = warm(&scene, "alice").await;
    for reversed in [true, false] {
        scene.pushes.passed();
        scene.pushes.set(Weather::Dropped(PUSHES));
        for _ in 0..6 {
            history.write(&scene, &user).await;
        }
        // Each once: an origin tells what was not acknowledged again.
        let mut said: Vec<Passed> = Vec::new();
        for one in scene.pushes.passed() {
            if one.path.starts_with(PUSHES)
                && !said.iter().any(|known| known.body == one.body && known.path == one.path)
            {
                said.push(one);
            }
        }
        assert!(said.len() >= REGIONS.len(), "{}", said.len());
        if reversed {
            said.reverse();
        } else {
            // The first half after the second.
            let half = said.len() / 2;
            said.rotate_left(half);
        }
        for one in &said {
            for _ in 0..2 {
                assert_eq!(again(&scene, one).await, 200);
            }
            for region in REGIONS {
                history.read(&scene, &user, region, "in any order").await;
            }
        }
        scene.pushes.set(Weather::Fair);
        history.healed(&scene, &user, "in any order").await;
        // What is old by now changes nothing.
        for one in &said {
            assert_eq!(again(&scene, one).await, 200);
        }
        for region in REGIONS {
            assert_eq!(history.read(&scene, &user, region, "replayed").await, history.newest());
        }
    }
    // A state that was overtaken by a later one does not come back.
    scene.pushes.passed();
    take_down(&scene, &user, true).await;
    let down: Vec<Passed> = scene.pushes.passed().into_iter().filter(|one| one.path.starts_with(PUSHES)).collect();
    take_down(&scene, &user, false).await;
    for region in REGIONS {
        scene.hit(region, &record_path(&user, "r")).await;
    }
    assert!(!down.is_empty());
    for one in &down {
        assert_eq!(again(&scene, one).await, 200);
    }
    for region in REGIONS {
        assert_eq!(history.read(&scene, &user, region, "an old takedown").await, history.newest());
    }
}

#[tokio::test]
async fn a_region_whose_questions_get_lost_pulls_or_says_that_it_is_stale() {
    let Some(scene) = Scene::with(LEASE, &[]).await else { return };
    let (user, mut history) = warm(&scene, "alice").await;
    for weather in [
        Weather::Dropped("/internal/v1/region"),
        Weather::Dropped("/internal/v1/pull"),
        Weather::Forged("/internal/v1/"),
        Weather::Late("/internal/v1/region", 700),
        Weather::Twice("/internal/v1/"),
    ] {
        let what = format!("{weather:?}");
        scene.origin.set(weather);
        scene.pushes.set(Weather::Dropped(PUSHES));
        let until = Instant::now() + Duration::from_millis(2 * u64::from(LEASE));
        while Instant::now() < until {
            history.write(&scene, &user).await;
            for region in REGIONS {
                let asked = Instant::now();
                let answer = scene.read(region, &record_path(&user, "r")).await;
                assert_eq!(answer.status, 200, "{what}: {answer:?}");
                if answer.mark == "stale" {
                    continue;
                }
                let text = answer.json()["value"]["text"].as_str().unwrap().to_owned();
                let index = history.0.iter().position(|(known, _)| *known == text).unwrap();
                if let Some((_, overwritten)) = history.0.get(index + 1) {
                    let age = asked.saturating_duration_since(*overwritten);
                    assert!(
                        age <= Duration::from_millis(u64::from(LEASE) + 5),
                        "{what}: {text} {age:?} {}",
                        answer.mark
                    );
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
        scene.origin.set(Weather::Fair);
        scene.pushes.set(Weather::Fair);
        history.healed(&scene, &user, &what).await;
    }
}

#[tokio::test]
async fn a_new_owner_of_a_handle_is_found_by_the_next_reader() {
    let Some(scene) = Scene::with(LEASE, &[]).await else { return };
    let (alice, bob) = (scene.user("alice").await, scene.user("bob").await);
    scene.put(&alice, "r", "alice").await;
    scene.put(&bob, "r", "bob").await;
    let by_name = "/xrpc/com.atproto.repo.getRecord?repo=alice.test&collection=com.example.thing&rkey=r";
    for region in REGIONS {
        scene.hit(region, by_name).await;
        scene.hit(region, &record_path(&bob, "r")).await;
    }
    for lost in [false, true] {
        if lost {
            scene.pushes.set(Weather::Dropped("/internal/v1/"));
        }
        let (from, to) = if lost { (&bob, &alice) } else { (&alice, &bob) };
        let aside = if lost { "bobby.test" } else { "alicia.test" };
        for (user, handle) in [(from, aside), (to, "alice.test")] {
            let renamed = post(&scene.pds, "identity.updateHandle", user.token(), json!({ "handle": handle })).await;
            assert_eq!(renamed.0, 200, "{renamed:?}");
        }
        for region in REGIONS {
            let answer = scene.read(region, by_name).await;
            let expected = crate::client::get(
                &scene.pds,
                "repo.getRecord",
                As::Nobody,
                &[("repo", "alice.test"), ("collection", "com.example.thing"), ("rkey", "r")],
            )
            .await;
            assert_eq!((answer.status, answer.json()), expected, "{lost} {region} {}", answer.mark);
            assert_eq!(answer.json()["value"]["text"], Value::from(if lost { "alice" } else { "bob" }));
        }
        scene.pushes.set(Weather::Fair);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_an_account_that_is_being_filled_do_not_wait_for_the_end() {
    let Some(scene) = Scene::new().await else { return };
    let alice = scene.user("alice").await;
    let file = Repository::new(&alice.did, 30_000, 300).file();
    let import = scene.http.post(scene.pds.url("/xrpc/com.atproto.repo.importRepo")).bearer_auth(&alice.access);
    let import = import.header("content-type", "application/vnd.ipld.car").body(reqwest::Body::wrap_stream(file));
    assert_eq!(import.send().await.unwrap().status(), 200);
    let path = format!("/xrpc/com.atproto.sync.getLatestCommit?did={}", alice.did);
    let (begun, mut misses, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    loop {
        let asked = Instant::now();
        let answer = scene.read("weur", &path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        slowest = slowest.max(asked.elapsed());
        if answer.mark == "hit" {
            break;
        }
        assert_eq!(answer.mark, "miss");
        misses += 1;
        assert!(begun.elapsed() < Duration::from_secs(60), "it is never filled");
        sleep(Duration::from_millis(10)).await;
    }
    println!("filled after {:?} and {misses} misses, the slowest read took {slowest:?}", begun.elapsed());
    assert!(slowest * 3 < begun.elapsed(), "a read took {slowest:?} of {:?}", begun.elapsed());
    assert!(misses > 5, "{misses}");
}
