//! A bucket that is slow, fails, is gone, or says what is not so: the client is told, nothing is lost, and nothing that is
//! not there is referred to.

use std::time::Instant;

use futures_util::StreamExt as _;
use serde_json::Value;

use super::*;

async fn told(call: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = call.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn puts(asked: &Asked) -> bool {
    asked.method == "PUT"
}

fn copies(asked: &Asked) -> bool {
    asked.method == "PUT" && asked.target.contains("/blocks/")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_a_moment_is_asked_again_and_no_client_hears_of_it() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[]).await;
    let faults = [
        Fault::Refuses(503, "SlowDown", ""),
        Fault::Refuses(500, "InternalError", ""),
        Fault::Cut,
        Fault::AnswerLost,
        // As a server does that has begun its answer when it fails.
        Fault::Refuses(200, "InternalError", ""),
    ];
    for (nth, fault) in faults.into_iter().enumerate() {
        bucket.fail(1, fault.clone(), puts);
        let blob = account.upload("text/plain", format!("small {nth}")).await;
        bucket.fail(1, fault.clone(), copies);
        assert_eq!(account.put("a", &[&blob]).await.0, 200, "{fault:?}");
        bucket.fail(1, fault.clone(), |asked| asked.target.contains("partNumber=2"));
        let content = bytes(6 * MIB + nth);
        let large = account.upload("text/plain", content.clone()).await;
        bucket.fail(1, fault.clone(), copies);
        assert_eq!(account.put("b", &[&large]).await.0, 200, "{fault:?}");
        if !matches!(fault, Fault::Refuses(200, ..)) {
            bucket.fail(1, fault.clone(), |asked| asked.method == "GET");
        }
        assert!(get(&account, Method::GET, cid(&large), &[]).await.2 == content, "{fault:?}");
        let fault_of_deletion = fault.clone();
        bucket.fail(1, fault_of_deletion, |asked| asked.method == "DELETE" && asked.target.contains("/blocks/"));
        account.delete("a").await;
        account.delete("b").await;
        until("both are deleted", || bucket.keys().is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_is_refused_by_what_it_failed_of_and_leaves_nothing() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[("PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS", "600")]).await;
    let refusals = [
        (Fault::Slow(Duration::from_secs(30)), 504, "UpstreamTimeout"),
        (Fault::Refuses(503, "SlowDown", ""), 503, "NotEnoughResources"),
        (Fault::Cut, 503, "NotEnoughResources"),
        (Fault::Refuses(403, "AccessDenied", ""), 500, "InternalServerError"),
        (Fault::Refuses(404, "NoSuchBucket", ""), 500, "InternalServerError"),
        (Fault::Refuses(301, "PermanentRedirect", ""), 500, "InternalServerError"),
    ];
    for (fault, status, name) in refusals {
        for content in [bytes(10), bytes(6 * MIB)] {
            bucket.fail(usize::MAX, fault.clone(), |asked| asked.method == "PUT");
            let (is, told) = told(account.uploading("text/plain", content)).await;
            assert_eq!((is, told["error"].as_str().unwrap()), (status, name), "{fault:?}: {told}");
            if status == 504 {
                assert_eq!(told["message"], "Operation timed out, please try again.");
            }
            bucket.heal();
            until("nothing is left", || bucket.keys().is_empty() && bucket.unended() == 0).await;
        }
    }
    account.upload("text/plain", "and then it goes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_not_the_buckets_fault() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[("PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS", "500")]).await;
    let pieces = stream::iter(0..10).then(|_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok::<_, std::io::Error>(vec![1; 700_000])
    });
    let (status, told) = told(account.uploading("text/plain", Body::wrap_stream(pieces))).await;
    assert_eq!((status, told["blob"]["size"].as_u64()), (200, Some(7_000_000)), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_publishes_nothing_and_can_be_asked_for_again() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[]).await;
    let blob = account.upload("text/plain", "a blob").await;
    for fault in [
        Fault::Refuses(200, "InternalError", ""),
        Fault::Refuses(500, "InternalError", ""),
        Fault::Refuses(403, "AccessDenied", ""),
        Fault::Refuses(404, "NoSuchBucket", ""),
        Fault::Refuses(404, "UserNotFound", ""),
        Fault::Cut,
    ] {
        bucket.fail(usize::MAX, fault.clone(), copies);
        let (status, told) = account.put("a", &[&blob]).await;
        assert!(status >= 500, "{fault:?}: {status} {told}");
        let query = [("repo", account.did.as_str()), ("collection", "com.example.album"), ("rkey", "a")];
        assert_eq!(account.query("repo.getRecord", &query).await.0, 400, "{fault:?}");
        assert!(account.is_gone(&blob).await, "{fault:?}");
        bucket.heal();
    }
    assert_eq!(account.put("a", &[&blob]).await.0, 200);
    assert_eq!(get(&account, Method::GET, cid(&blob), &[]).await.2, b"a blob");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_gone_in_the_middle_of_an_upload_is_used_again_when_it_is_back() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[("PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS", "2000")]).await;
    let kept = account.upload("text/plain", "kept").await;
    account.put("kept", &[&kept]).await;
    let (pieces, sent) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = stream::unfold(sent, |mut sent| async move { Some((sent.recv().await?, sent)) });
    let upload = account.uploading("text/plain", Body::wrap_stream(body));
    let upload = tokio::spawn(told(upload));
    for _ in 0..6 {
        pieces.send(Ok(vec![3; MIB])).await.unwrap();
    }
    until("a part is there", || bucket.unended() == 1).await;
    bucket.leave().await;
    for _ in 0..6 {
        // Nobody may listen any more.
        let _sent = pieces.send(Ok(vec![3; MIB])).await;
    }
    drop(pieces);
    let (status, refused) = upload.await.unwrap();
    assert_eq!((status, refused["error"].as_str()), (503, Some("NotEnoughResources")), "{refused}");

    // Everything else goes on; what needs the bucket says so.
    let input = serde_json::json!({
        "repo": account.did, "collection": "com.example.note", "record": { "text": "without a blob" },
    });
    assert_eq!(account.write("createRecord", &input).await.0, 200);
    let (status, refused) = told(account.fetch(&kept)).await;
    assert_eq!((status, refused["error"].as_str()), (503, Some("NotEnoughResources")), "{refused}");
    // A record goes although its blob cannot yet.
    account.delete("kept").await;
    assert!(account.is_gone(&kept).await);

    bucket.come_back().await;
    until("what nobody needs is gone", || bucket.keys().is_empty()).await;
    let blob = account.upload("text/plain", "kept").await;
    assert_eq!(account.put("again", &[&blob]).await.0, 200);
    assert_eq!(get(&account, Method::GET, cid(&blob), &[]).await.2, b"kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_without_blobs_waits_for_the_bucket() {
    let bucket = Bucket::start().await;
    let account = std::sync::Arc::new(account(&bucket, &[]).await);
    let blob = account.upload("text/plain", "a blob").await;
    bucket.fail(1, Fault::Slow(Duration::from_secs(3)), copies);
    let writer = std::sync::Arc::clone(&account);
    let waits = tokio::spawn(async move { writer.put("a", &[&blob]).await.0 });
    until("the copy is under way", || bucket.asked().iter().any(copies)).await;
    let begun = Instant::now();
    for nth in 0..10 {
        let record = serde_json::json!({ "text": format!("{nth}") });
        let input = serde_json::json!({ "repo": account.did, "collection": "com.example.note", "record": record });
        assert_eq!(account.write("createRecord", &input).await.0, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(2) && !waits.is_finished());
    assert_eq!(waits.await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_not_taken_for_the_whole_blob() {
    let bucket = Bucket::start().await;
    let account = account(&bucket, &[]).await;
    let blob = account.upload("text/plain", bytes(MIB)).await;
    account.put("a", &[&blob]).await;
    bucket.fail(1, Fault::AnswerCut, |asked| asked.method == "GET");
    let answer = account.fetch(&blob).send().await.unwrap();
    assert_eq!(answer.status(), 200, "its beginning was there");
    assert!(answer.bytes().await.is_err());

    // A blob of another length is none.
    std::fs::write(bucket.directory().join(format!("blocks/{}/{}", account.did, cid(&blob))), "short").unwrap();
    assert_eq!(account.fetch(&blob).send().await.unwrap().status(), 500);
    std::fs::remove_file(bucket.directory().join(format!("blocks/{}/{}", account.did, cid(&blob)))).unwrap();
    assert!(account.is_gone(&blob).await);
    // A bucket that is not there is not a blob that is not there.
    std::fs::remove_dir_all(bucket.directory()).unwrap();
    assert_eq!(account.put("b", &[&blob]).await.0, 200, "nothing is asked for what is public already");
    assert_eq!(account.fetch(&blob).send().await.unwrap().status(), 500);
    assert_eq!(get(&account, Method::HEAD, cid(&blob), &[]).await.0, 500);
    let (owner, blob) = (Did::parse(&account.did).unwrap(), Cid::parse(cid(&blob)).unwrap());
    assert!(store(&bucket).size(&owner, &blob).await.is_err());
}
