//! `headwater blobs check`: says in plain words what is wrong.

use std::path::Path;

use tests::Plc;
use tests::process::of_headwater;

use super::*;

/// What the command says with these variables, the bucket's own where it is not told otherwise; and whether it is content.
async fn check(bucket: &Bucket, changed: &[(&str, &str)]) -> (bool, String) {
    let (plc, directory) = (Plc::start().await, tempfile::tempdir().unwrap());
    let mut command = of_headwater(Path::new(env!("CARGO_BIN_EXE_headwater-under-test")), directory.path(), &plc);
    command.args(["blobs", "check"]).envs(bucket.environment()).envs(changed.iter().copied());
    let output = command.output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_can_be_used_is_said_to_be_and_left_as_it_was() {
    let bucket = Bucket::start().await;
    let (well, said) = check(&bucket, &[]).await;
    assert!(well && said.contains("Blobs can be kept in the bucket blobs at http://127.0.0.1:"), "{said}");
    assert_eq!((bucket.keys().len(), bucket.unended()), (0, 0));
    let directory = tempfile::tempdir().unwrap();
    let disk = [("PDS_BLOBSTORE_S3_BUCKET", ""), ("PDS_BLOBSTORE_DISK_LOCATION", directory.path().to_str().unwrap())];
    let (well, said) = check(&bucket, &disk).await;
    assert!(well && said.contains(&format!("Blobs can be kept in {}", directory.path().display())), "{said}");
    std::fs::write(directory.path().join("tempt"), "").ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_the_variable_that_mends_it() {
    let bucket = Bucket::start().await;
    for (variable, value, expected) in [
        ("PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY", "another", "PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY is not the secret"),
        ("PDS_BLOBSTORE_S3_ACCESS_KEY_ID", "nobody", "look at PDS_BLOBSTORE_S3_ACCESS_KEY_ID"),
        ("PDS_BLOBSTORE_S3_BUCKET", "nothing", "there is no bucket nothing"),
        ("PDS_BLOBSTORE_S3_ENDPOINT", "http://127.0.0.1:1", "cannot be reached"),
        ("PDS_BLOBSTORE_S3_ENDPOINT", "http://nowhere.invalid", "cannot be reached"),
    ] {
        let (well, said) = check(&bucket, &[(variable, value)]).await;
        assert!(!well && said.contains(expected), "{variable}={value}: {said}");
        assert!(said.contains("uploading does not work"), "{said}");
    }
    // Something else answers there.
    let other = tests::serve(axum::Router::new()).await;
    let (well, said) = check(&bucket, &[("PDS_BLOBSTORE_S3_ENDPOINT", &other)]).await;
    assert!(!well && said.contains("is no S3: look at PDS_BLOBSTORE_S3_ENDPOINT"), "{said}");
    let page = axum::Router::new().fallback(|| async { "<html>hello</html>" });
    let other = tests::serve(page).await;
    let (well, said) = check(&bucket, &[("PDS_BLOBSTORE_S3_ENDPOINT", &other)]).await;
    assert!(!well && said.contains("is no S3"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_permission_that_lacks_is_said_and_so_are_region_and_clock() {
    let bucket = Bucket::start().await;
    type On = fn(&tests::bucket::Asked) -> bool;
    let refusals: [(u16, &str, &str, On, &str, &str); 7] = [
        (
            403,
            "AccessDenied",
            "",
            |asked| asked.method == "PUT" && asked.target.contains("/tmp/"),
            "uploading does not",
            "may not do this",
        ),
        (
            403,
            "AccessDenied",
            "",
            |asked| asked.target.contains("uploads=") && asked.method == "POST",
            "uploading in parts",
            "may not do this",
        ),
        (
            403,
            "AccessDenied",
            "",
            |asked| asked.target.contains("/quarantine/"),
            "taking a blob down",
            "may not do this",
        ),
        (403, "AccessDenied", "", |asked| asked.target.contains("list-type"), "listing uploads", "may not do this"),
        (
            403,
            "AccessDenied",
            "",
            |asked| asked.method == "GET" && asked.target.contains("/blocks/"),
            "reading",
            "may not do this",
        ),
        (
            400,
            "AuthorizationHeaderMalformed",
            "<Region>eu-west-9</Region>",
            |_| true,
            "uploading",
            "set PDS_BLOBSTORE_S3_REGION=eu-west-9",
        ),
        (403, "RequestTimeTooSkewed", "", |_| true, "uploading", "clock is wrong"),
    ];
    for (status, code, more, on, at, expected) in refusals {
        bucket.fail(usize::MAX, Fault::Refuses(status, code, more), on);
        let (well, said) = check(&bucket, &[]).await;
        assert!(!well && said.contains(at) && said.contains(expected), "{code}: {said}");
        bucket.heal();
        for key in bucket.keys() {
            std::fs::remove_file(bucket.directory().join(key)).unwrap();
        }
    }
    // That it is done is not believed.
    bucket.fail(usize::MAX, Fault::Says("<DeleteResult/>"), |asked| asked.target.contains("delete="));
    let (well, said) = check(&bucket, &[]).await;
    assert!(!well && said.contains("what is deleted is there still"), "{said}");
}
