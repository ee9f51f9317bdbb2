//! Blobs in a bucket: at the reference's keys, whatever the bucket does.

mod check;
mod faults;

use std::collections::HashSet;
use std::time::Duration;

use futures_util::stream;
use origin::blobstore::{Blobstore, BlobstoreError};
use origin::config::Config;
use reqwest::{Body, Method};
use serde_json::json;
use shared::cid::Cid;
use shared::syntax::Did;
use tests::Bucket;
use tests::bucket::{Asked, Fault};

use crate::blob::{Account, cid};

const MIB: usize = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(60 * 60);

/// An account on a server that keeps its blobs in `bucket`.
async fn account(bucket: &Bucket, more: &[(&str, &str)]) -> Account {
    let variables = bucket.environment();
    let named = variables.iter().map(|(name, value)| (*name, value.as_str()));
    let limit = ("PDS_BLOB_UPLOAD_LIMIT", "67108864");
    Account::with(
        &named.chain([limit, ("PDS_ADMIN_PASSWORD", "admin")]).chain(more.iter().copied()).collect::<Vec<_>>(),
    )
    .await
}

/// The blob store of a server whose blobs are in `bucket`.
fn store(bucket: &Bucket) -> Blobstore {
    let directory = tempfile::tempdir().unwrap();
    let data = ("PDS_DATA_DIRECTORY", directory.path().to_str().unwrap().to_owned());
    let config = Config::from_variables(bucket.environment().into_iter().chain([data])).unwrap();
    Blobstore::new(&config.storage.blobs).unwrap()
}

fn did() -> Did {
    Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap()
}

/// What was asked of the bucket, but for the lists that are read at a start.
fn asked(bucket: &Bucket) -> Vec<Asked> {
    let mut asked = bucket.asked();
    asked.retain(|asked| asked.method != "GET" || asked.target.contains("/blocks/"));
    asked
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|nth| (nth * 7 + nth / 251) as u8).collect()
}

/// Asks for a blob; status, headers, bytes.
async fn get(
    account: &Account,
    verb: Method,
    cid: &str,
    headers: &[(&'static str, &str)],
) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
    let mut call = account.call(verb, "sync.getBlob").query(&[("did", account.did.as_str()), ("cid", cid)]);
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    let answer = call.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.bytes().await.unwrap().to_vec())
}

async fn take_down(account: &Account, cid: &str, applied: bool) {
    let subject = json!({ "$type": "com.atproto.admin.defs#repoBlobRef", "did": account.did, "cid": cid });
    let input = json!({ "subject": subject, "takedown": { "applied": applied } });
    let call = account.call(Method::POST, "admin.updateSubjectStatus").basic_auth("admin", Some("admin"));
    let answer = call.json(&input).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_goes_through_its_life_at_the_references_keys() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[]).await;
    let did = account.did.clone();
    let picture = [b"\x89PNG\r\n\x1a\n".as_slice(), &bytes(3000)].concat();
    let blob = account.upload("text/plain", picture.clone()).await;
    let keys = bucket.keys();
    let key = keys[0].strip_prefix(&format!("tmp/{did}/")).unwrap();
    assert!(keys.len() == 1 && key.len() == 52 && bucket.object(&keys[0]).unwrap() == picture);
    let asked = asked(&bucket);
    assert_eq!(asked.iter().map(|asked| asked.method.as_str()).collect::<Vec<_>>(), ["PUT"]);
    assert_eq!(asked[0].content_type.as_deref(), Some("image/png"), "what it is, not what its sender said");
    assert_eq!(get(&account, Method::GET, cid(&blob), &[]).await.0, 400, "it is not public yet");

    assert_eq!(account.put("a", &[&blob]).await.0, 200);
    let stored = format!("blocks/{did}/{}", cid(&blob));
    assert_eq!(bucket.keys(), std::slice::from_ref(&stored));
    let (status, headers, body) = get(&account, Method::GET, cid(&blob), &[]).await;
    assert_eq!((status, &headers["content-type"], body), (200, &"image/png".parse().unwrap(), picture.clone()));

    take_down(&account, cid(&blob), true).await;
    assert_eq!(bucket.keys(), [format!("quarantine/{did}/{}", cid(&blob))]);
    assert_eq!(get(&account, Method::GET, cid(&blob), &[]).await.0, 400);
    take_down(&account, cid(&blob), false).await;
    assert_eq!(bucket.keys(), [stored]);
    assert_eq!(get(&account, Method::GET, cid(&blob), &[]).await.2, picture);

    account.delete("a").await;
    assert_eq!(bucket.keys(), [""; 0]);
    assert_eq!(get(&account, Method::GET, cid(&blob), &[]).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_blob_is_all_that_is_asked_of_the_bucket() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[]).await;
    let content = bytes(MIB);
    let blob = account.upload("text/plain", content.clone()).await;
    account.put("a", &[&blob]).await;
    bucket.asked();
    let (status, headers, body) = get(&account, Method::GET, cid(&blob), &[("range", "bytes=1000-200000")]).await;
    assert_eq!((status, body.as_slice()), (206, &content[1000..=200_000]));
    assert_eq!(headers["content-range"], "bytes 1000-200000/1048576");
    let (status, _, body) = get(&account, Method::GET, cid(&blob), &[("range", "bytes=-5")]).await;
    assert_eq!((status, body.as_slice()), (206, &content[MIB - 5..]));
    assert_eq!(get(&account, Method::GET, cid(&blob), &[("range", "bytes=1048576-")]).await.0, 416);
    assert_eq!(asked(&bucket).len(), 2, "nothing of it is behind the end");

    let (status, headers, body) = get(&account, Method::HEAD, cid(&blob), &[]).await;
    assert_eq!((status, &headers["content-length"], body.len()), (200, &"1048576".parse().unwrap(), 0));
    let known = format!("\"{}\"", cid(&blob));
    assert_eq!(get(&account, Method::GET, cid(&blob), &[("if-none-match", &known)]).await.0, 304);
    let methods: Vec<_> = asked(&bucket).into_iter().map(|asked| asked.method).collect();
    assert_eq!(methods, ["HEAD", "HEAD"], "for nothing that is not sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_blob_is_a_blob_there_too() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[]).await;
    let blob = account.upload("text/plain", Body::wrap_stream(stream::empty::<std::io::Result<Vec<u8>>>())).await;
    assert_eq!(account.put("a", &[&blob]).await.0, 200);
    let (status, headers, body) = get(&account, Method::GET, cid(&blob), &[]).await;
    assert_eq!((status, &headers["content-length"], body.len()), (200, &"0".parse().unwrap(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_goes_in_parts_and_one_that_breaks_off_leaves_nothing() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[]).await;
    let content = bytes(11 * MIB);
    let blob = account.upload("video/x-test", content.clone()).await;
    let asked = bucket.asked();
    let begun = asked.iter().find(|asked| asked.target.ends_with("?uploads=")).unwrap();
    assert_eq!(begun.content_type.as_deref(), Some("video/x-test"));
    assert_eq!(asked.iter().filter(|asked| asked.target.contains("partNumber=")).count(), 3);
    assert_eq!((blob["size"].as_u64().unwrap(), cid(&blob)), (11 * MIB as u64, &*Cid::of_raw(&content).to_string()));
    assert_eq!((bucket.keys().len(), bucket.unended()), (1, 0));
    account.put("a", &[&blob]).await;
    assert!(get(&account, Method::GET, cid(&blob), &[]).await.2 == content);
    account.delete("a").await;

    // The client goes away when two parts are there.
    let (pieces, sent) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = stream::unfold(sent, |mut sent| async move { Some((sent.recv().await?, sent)) });
    let upload = account.uploading("text/plain", Body::wrap_stream(body)).send();
    let upload = tokio::spawn(upload);
    for piece in content.chunks(MIB) {
        pieces.send(Ok(piece.to_vec())).await.unwrap();
    }
    until("a part is there", || bucket.unended() == 1).await;
    pieces.send(Err(std::io::Error::other("gone"))).await.unwrap();
    assert!(upload.await.unwrap().is_err());
    until("it is ended", || bucket.unended() == 0 && bucket.keys().is_empty()).await;
}

/// Waits for something, at most ten seconds.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "not so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_blobs_go_with_a_few_calls_and_an_account_with_all_of_its() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[]).await;
    let mut blobs = Vec::new();
    for nth in 0..30 {
        blobs.push(account.upload("text/plain", format!("blob {nth}")).await);
    }
    let record = blobs.iter().collect::<Vec<_>>();
    assert_eq!(account.put("all", &record).await.0, 200);
    assert_eq!(bucket.keys().len(), 30);
    bucket.asked();
    account.delete("all").await;
    let asked = asked(&bucket);
    assert_eq!((asked.len(), asked[0].method.as_str()), (1, "POST"), "{asked:?}");
    assert_eq!(bucket.keys(), [""; 0]);

    let stays = account.upload("text/plain", "stays").await;
    account.put("a", &[&stays]).await;
    account.upload("text/plain", "waits").await;
    let down = account.upload("text/plain", "down").await;
    account.put("b", &[&down]).await;
    take_down(&account, cid(&down), true).await;
    assert_eq!(bucket.keys().len(), 3);
    let input = json!({ "did": account.did });
    let call = account.call(Method::POST, "admin.deleteAccount").basic_auth("admin", Some("admin")).json(&input);
    assert_eq!(call.send().await.unwrap().status(), 200);
    until("nothing is left", || bucket.keys().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dead_servers_left_is_swept_and_other_servers_accounts_are_left_alone() {
    let bucket = Bucket::start().await;
    let store = store(&bucket);
    let (ours, others) = (did(), Did::parse("did:plc:22222222222222222222aaaa").unwrap());
    let put = async |did: &Did, content: Vec<u8>| {
        let body = stream::iter([Ok::<_, std::io::Error>(content.into())]);
        store.put_temporary(did, body, "text/plain", u64::MAX).await.unwrap()
    };
    let (left, mentioned) = (put(&ours, b"left".to_vec()).await, put(&ours, b"mentioned".to_vec()).await);
    put(&others, b"another server's".to_vec()).await;
    for did in [&ours, &ours, &others] {
        // As a server leaves it that dies in the middle.
        bucket.fail(1, Fault::Refuses(403, "AccessDenied", ""), |asked| {
            asked.method == "PUT" && asked.target.contains("partNumber=2")
        });
        bucket.fail(2, Fault::Refuses(403, "AccessDenied", ""), |asked| asked.method == "DELETE");
        let body = stream::iter([Ok::<_, std::io::Error>(bytes(6 * MIB).into())]);
        let failed = store.put_temporary(did, body, "", u64::MAX).await.unwrap_err();
        assert!(matches!(failed, BlobstoreError::S3(_)), "{failed}");
        let asked = std::sync::Mutex::new(Vec::new());
        until("it gave up", || {
            asked.lock().unwrap().extend(bucket.asked());
            asked.lock().unwrap().iter().any(|asked| asked.method == "DELETE")
        })
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        bucket.heal();
    }
    assert_eq!((bucket.keys().len(), bucket.unended()), (3, 3));
    let here = |did: Did, keys: Vec<_>| {
        assert!(did != ours || keys.is_empty() || keys.len() == 2);
        let kept = (did == ours).then(|| HashSet::from([mentioned.key.clone()]));
        std::future::ready(Ok::<_, BlobstoreError>(kept))
    };
    assert_eq!(store.sweep(HOUR, here).await.unwrap(), 0, "all of it is new");
    bucket.age(2 * HOUR);
    let new = put(&ours, b"new".to_vec()).await;
    assert_eq!(store.sweep(HOUR, here).await.unwrap(), 3, "an upload and two in parts");
    assert!(!store.has_temporary(&ours, &left.key).await.unwrap());
    assert!(store.has_temporary(&ours, &mentioned.key).await.unwrap());
    assert!(store.has_temporary(&ours, &new.key).await.unwrap());
    assert_eq!((bucket.keys().len(), bucket.unended()), (3, 1));
}
