//! Blobs, as clients send them and as everybody fetches them.

use std::fs;
use std::path::{Path, PathBuf};

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder};
use futures_util::{StreamExt as _, stream};
use reqwest::{Body, Client, Method, RequestBuilder, Response};
use rusqlite::Connection;
use serde_json::{Value, json};
use shared::cid::Cid;
use shared::crypto::{Curve, SigningKey};
use shared::syntax::{Did, Nsid};
use shared::token::service::NewToken;
use tests::{Pds, Plc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::account::sign_up;
use crate::client::meddle_with_accounts;

/// What a blob may have at most, by default.
const LIMIT: usize = 5 * 1024 * 1024;

/// A client that is logged in.
pub(crate) struct Account {
    pub(crate) pds: Pds,
    _plc: Plc,
    pub(crate) did: String,
    pub(crate) token: String,
    pub(crate) http: Client,
}

impl Account {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With more of an environment.
    pub(crate) async fn with(environment: &[(&str, &str)]) -> Self {
        let plc = Plc::start().await;
        let pds = Pds::start_open_with(&plc, environment).await;
        let made = sign_up(&pds, "alice").await;
        let field = |name: &str| made[name].as_str().unwrap().to_owned();
        Self { did: field("did"), token: field("accessJwt"), pds, _plc: plc, http: Client::new() }
    }

    pub(crate) fn call(&self, verb: Method, method: &str) -> RequestBuilder {
        self.http.request(verb, self.pds.url(&format!("/xrpc/com.atproto.{method}")))
    }

    pub(crate) async fn write(&self, method: &str, input: &Value) -> (u16, Value) {
        let input = self.call(Method::POST, &format!("repo.{method}")).bearer_auth(&self.token).json(input);
        told(input.send().await.unwrap()).await
    }

    pub(crate) async fn query(&self, method: &str, params: &[(&str, &str)]) -> (u16, Value) {
        told(self.call(Method::GET, method).query(params).bearer_auth(&self.token).send().await.unwrap()).await
    }

    /// An upload that is ready to be sent.
    pub(crate) fn uploading(&self, declared: &str, bytes: impl Into<Body>) -> RequestBuilder {
        let call = self.call(Method::POST, "repo.uploadBlob").bearer_auth(&self.token);
        call.header("content-type", declared).body(bytes)
    }

    /// Uploads a blob; how it is to be referred to.
    pub(crate) async fn upload(&self, declared: &str, bytes: impl Into<Body>) -> Value {
        let (status, told) = told(self.uploading(declared, bytes).send().await.unwrap()).await;
        assert_eq!(status, 200, "{told}");
        told["blob"].clone()
    }

    /// Writes a record that refers to these blobs.
    pub(crate) async fn put(&self, rkey: &str, blobs: &[&Value]) -> (u16, Value) {
        let input =
            json!({ "repo": self.did, "collection": "com.example.album", "rkey": rkey, "record": { "blobs": blobs } });
        self.write("putRecord", &input).await
    }

    pub(crate) async fn delete(&self, rkey: &str) {
        let input = json!({ "repo": self.did, "collection": "com.example.album", "rkey": rkey });
        assert_eq!(self.write("deleteRecord", &input).await.0, 200);
    }

    /// Fetches a blob without saying who does.
    pub(crate) fn fetch(&self, blob: &Value) -> RequestBuilder {
        self.call(Method::GET, "sync.getBlob").query(&[("did", self.did.as_str()), ("cid", cid(blob))])
    }

    async fn bytes(&self, blob: &Value) -> (u16, Vec<u8>) {
        let answer = self.fetch(blob).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    /// Whether it is not served, with the reference's words.
    pub(crate) async fn is_gone(&self, blob: &Value) -> bool {
        told(self.fetch(blob).send().await.unwrap()).await
            == (400, json!({ "error": "InvalidRequest", "message": "Blob not found" }))
    }

    /// Everything in the blob store, as paths within it.
    fn files(&self) -> Vec<String> {
        fn walk(directory: &Path, all: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, all) } else { all.push(path) }
            }
        }
        let (location, mut all) = (self.pds.directory().join("blocks"), Vec::new());
        walk(&location, &mut all);
        let mut names: Vec<_> =
            all.iter().map(|path| path.strip_prefix(&location).unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// Where a blob that records refer to is.
    fn place(&self, blob: &Value) -> String {
        format!("{}/{}", self.did, cid(blob))
    }

    /// The account's directory, with store and key.
    pub(crate) fn store(&self) -> PathBuf {
        tests::store(self.pds.directory(), &self.did).unwrap()
    }

    /// Changes a database behind the server's back, as what is not served yet would.
    pub(crate) fn meddle(&self, database: &Path, sql: &str) {
        Connection::open(database).unwrap().execute_batch(sql).unwrap();
    }
}

pub(crate) fn cid(blob: &Value) -> &str {
    blob["ref"]["$link"].as_str().unwrap()
}

pub(crate) async fn told(answer: Response) -> (u16, Value) {
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

/// Bytes that nothing takes for a known format.
fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|nth| b'a' + (nth % 23) as u8).collect()
}

#[tokio::test]
async fn a_blob_is_served_from_its_first_reference_to_its_last() {
    let alice = Account::new().await;
    let bytes = noise(300_000);
    let blob = alice.upload("application/x-noise; q=1", bytes.clone()).await;
    let expected = json!({
        "$type": "blob", "ref": { "$link": Cid::of_raw(&bytes).to_string() }, "mimeType": "application/x-noise",
        "size": bytes.len(),
    });
    assert_eq!(blob, expected);
    assert!(alice.is_gone(&blob).await, "nothing refers to it");
    let list = [("did", alice.did.as_str())];
    assert_eq!(alice.query("sync.listBlobs", &list).await, (200, json!({ "cids": [] })));

    let (status, first) = alice.put("a", &[&blob]).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(alice.files(), [alice.place(&blob)], "the upload is over");
    assert_eq!(alice.bytes(&blob).await, (200, bytes.clone()));
    let both = alice.put("b", &[&blob, &blob]).await.1;
    let listed = json!({ "cids": [cid(&blob)], "cursor": cid(&blob) });
    assert_eq!(alice.query("sync.listBlobs", &list).await, (200, listed.clone()));
    let since = |rev: &Value| [("did", alice.did.clone()), ("since", rev.as_str().unwrap().to_owned())];
    for (rev, expected) in [(&first["commit"]["rev"], listed), (&both["commit"]["rev"], json!({ "cids": [] }))] {
        let since = since(rev);
        let since = since.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(alice.query("sync.listBlobs", &since).await, (200, expected));
    }

    alice.delete("a").await;
    assert_eq!(alice.bytes(&blob).await, (200, bytes), "another record refers to it");
    assert_eq!(alice.put("b", &[]).await.0, 200);
    assert!(alice.is_gone(&blob).await);
    assert_eq!(alice.files(), [""; 0]);
    let (status, body) = alice.put("c", &[&blob]).await;
    assert_eq!((status, &body["error"]), (400, &json!("BlobNotFound")));
}

#[tokio::test]
async fn a_blob_that_moves_from_record_to_record_in_one_commit_stays() {
    let alice = Account::new().await;
    let blob = alice.upload("text/plain", "hello").await;
    assert_eq!(alice.put("a", &[&blob]).await.0, 200);
    let write = |kind: &str, rkey: &str| json!({ "$type": format!("com.atproto.repo.applyWrites#{kind}"), "collection": "com.example.album", "rkey": rkey });
    let mut create = write("create", "b");
    create["value"] = json!({ "blobs": [blob] });
    let batch = json!({ "repo": alice.did, "writes": [write("delete", "a"), create] });
    assert_eq!(alice.write("applyWrites", &batch).await.0, 200);
    assert_eq!(alice.bytes(&blob).await, (200, b"hello".to_vec()));
}

#[tokio::test]
async fn a_blob_is_of_the_type_that_its_bytes_show_and_else_of_the_one_it_is_said_to_be() {
    let alice = Account::new().await;
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\x0aIDAT".to_vec();
    assert_eq!(alice.upload("text/plain", png).await["mimeType"], "image/png");
    assert_eq!(alice.upload("Text/HTML; charset=utf-8", "<script>").await["mimeType"], "text/html");
    let empty = alice.upload("text/plain", Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>("")]))).await;
    assert_eq!((&empty["size"], cid(&empty)), (&json!(0), Cid::of_raw(b"").to_string().as_str()));
    assert_eq!(alice.put("empty", &[&empty]).await.0, 200);
    let answer = alice.fetch(&empty).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.content_length()), (200, Some(0)));

    let untyped = alice.call(Method::POST, "repo.uploadBlob").bearer_auth(&alice.token).body("hello");
    let (status, body) = told(untyped.send().await.unwrap()).await;
    assert_eq!((status, &body["error"]), (400, &json!("InvalidRequest")));
    // The later word counts while the blob waits.
    alice.upload("text/plain", "subtitles").await;
    let later = alice.upload("text/vtt", "subtitles").await;
    assert_eq!(alice.put("later", &[&later]).await.0, 200);
    assert_eq!(alice.fetch(&later).send().await.unwrap().headers()["content-type"], "text/vtt");
}

#[tokio::test]
async fn a_reference_that_does_not_fit_is_refused_and_changes_nothing() {
    let alice = Account::new().await;
    let blob = alice.upload("text/plain", "hello").await;
    let before = alice.files();
    let with = |field: &str, value: Value| {
        let mut other = blob.clone();
        other[field] = value;
        other
    };
    let unknown = json!({ "$link": Cid::of_raw(b"unknown").to_string() });
    for (reference, error, message) in [
        (
            with("mimeType", json!("image/png")),
            "InvalidMimeType",
            "Referenced Mimetype does not match stored blob. Expected: text/plain, Got: image/png".to_owned(),
        ),
        (
            with("size", json!(6)),
            "InvalidSize",
            "Referenced Size does not match stored blob. Expected: 5, Got: 6".to_owned(),
        ),
        (
            with("ref", unknown.clone()),
            "BlobNotFound",
            format!("Could not find blob: {}", unknown["$link"].as_str().unwrap()),
        ),
    ] {
        let refused = alice.put("a", &[&blob, &reference]).await;
        assert_eq!(refused, (400, json!({ "error": error, "message": message })));
    }
    assert!(alice.is_gone(&blob).await, "what the same write would have published is not");
    assert_eq!(alice.put("a", &[&blob]).await.0, 200);
    assert!(before.len() == 1 && alice.files() == [alice.place(&blob)]);

    // Of one account, and of nobody else.
    let bob = sign_up(&alice.pds, "bob").await;
    let record = json!({ "repo": bob["did"], "collection": "com.example.album", "record": { "blob": blob } });
    let token = bob["accessJwt"].as_str().unwrap();
    let write = alice.call(Method::POST, "repo.createRecord").bearer_auth(token).json(&record);
    let (status, body) = told(write.send().await.unwrap()).await;
    assert_eq!((status, &body["error"]), (400, &json!("BlobNotFound")));
    let params = [("did", bob["did"].as_str().unwrap()), ("cid", cid(&blob))];
    assert_eq!(alice.query("sync.getBlob", &params).await.1["message"], "Blob not found");
}

#[tokio::test]
async fn parts_of_a_blob_are_served() {
    let alice = Account::new().await;
    let bytes = noise(700_000);
    let blob = alice.upload("text/plain", bytes.clone()).await;
    assert_eq!(alice.put("a", &[&blob]).await.0, 200);
    let size = bytes.len();
    for (range, expected) in [
        ("bytes=0-0", Some(0..1)),
        ("bytes=262143-262144", Some(262_143..262_145)),
        ("bytes=100-", Some(100..size)),
        ("bytes=-100", Some(size - 100..size)),
        ("bytes=1-99999999", Some(1..size)),
        ("bytes=0-1,5-6", None),
        ("bytes=6-5", None),
        ("lines=1-2", None),
    ] {
        let answer = alice.fetch(&blob).header("range", range).send().await.unwrap();
        let status = if expected.is_some() { 206 } else { 200 };
        assert_eq!(answer.status().as_u16(), status, "{range}");
        let part = expected.clone().map(|range| format!("bytes {}-{}/{size}", range.start, range.end - 1));
        assert_eq!(answer.headers().get("content-range").map(|value| value.to_str().unwrap()), part.as_deref());
        let expected = &bytes[expected.unwrap_or(0..size)];
        assert_eq!(answer.content_length(), Some(expected.len() as u64));
        assert!(answer.bytes().await.unwrap() == expected, "{range}");
    }
    for range in ["bytes=700000-", "bytes=-0"] {
        let answer = alice.fetch(&blob).header("range", range).send().await.unwrap();
        assert_eq!(answer.headers()["content-range"], "bytes */700000");
        assert_eq!(told(answer).await.0, 416, "{range}");
    }
    let tag = format!("\"{}\"", cid(&blob));
    for (if_range, status) in [(tag.as_str(), 206), ("\"other\"", 200)] {
        let answer = alice.fetch(&blob).header("range", "bytes=0-0").header("if-range", if_range).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{if_range}");
    }
}

#[tokio::test]
async fn a_blob_is_harmless_to_a_browser_and_not_sent_twice() {
    let alice = Account::new().await;
    let blob = alice.upload("text/html", "<script>alert(1)</script>".repeat(100)).await;
    assert_eq!(alice.put("a", &[&blob]).await.0, 200);
    let tag = format!("\"{}\"", cid(&blob));
    let head = alice.fetch(&blob).build().unwrap().url().clone();
    let head = alice.http.head(head).header("range", "bytes=0-0").send().await.unwrap();
    let whole = alice.fetch(&blob).header("accept-encoding", "gzip, br").send().await.unwrap();
    for answer in [&head, &whole] {
        let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap());
        assert_eq!(answer.status(), 200);
        assert_eq!(header("content-type"), "text/html");
        assert_eq!(header("content-length"), "2500");
        assert_eq!(header("content-encoding"), "");
        assert_eq!(header("etag"), tag);
        assert_eq!(header("accept-ranges"), "bytes");
        assert_eq!(header("cache-control"), "private");
        assert_eq!(header("vary"), "Authorization");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("content-security-policy"), "default-src 'none'; sandbox");
        assert_eq!(header("content-disposition"), format!("attachment; filename=\"{}\"", cid(&blob)));
        assert_eq!(header("access-control-allow-origin"), "*");
    }
    assert_eq!((head.bytes().await.unwrap().len(), whole.bytes().await.unwrap().len()), (0, 2500));

    for range in [None, Some("bytes=0-0")] {
        let request = alice.fetch(&blob).header("if-none-match", format!("\"other\", {tag}"));
        let request = range.into_iter().fold(request, |request, range| request.header("range", range));
        let known = request.send().await.unwrap();
        assert_eq!((known.status().as_u16(), &known.headers()["etag"]), (304, &tag.parse().unwrap()));
        assert!(!known.headers().contains_key("content-range"));
        assert_eq!(known.bytes().await.unwrap().len(), 0);
    }
    let other = alice.fetch(&blob).header("if-none-match", "\"other\"").send().await.unwrap();
    assert_eq!(other.status(), 200);
}

#[tokio::test]
async fn a_blob_that_is_too_large_is_refused_however_it_comes() {
    let alice = Account::new().await;
    let large = noise(LIMIT + 1);
    assert_eq!(alice.upload("text/plain", large[..LIMIT].to_vec()).await["size"], LIMIT);
    let before = alice.files();
    let pieces: Vec<_> = large.chunks(100_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let chunked = Body::wrap_stream(stream::iter(pieces));
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(&large).await.unwrap();
    encoder.shutdown().await.unwrap();
    let bomb = alice.uploading("text/plain", encoder.into_inner()).header("content-encoding", "gzip");
    for request in [alice.uploading("text/plain", large), alice.uploading("text/plain", chunked), bomb] {
        let refused = told(request.send().await.unwrap()).await;
        assert_eq!(refused, (413, json!({ "error": "PayloadTooLarge", "message": "request entity too large" })));
    }
    assert_eq!(alice.files(), before, "nothing is left");
}

#[tokio::test]
async fn who_is_still_sending_hears_why_it_is_in_vain() {
    let alice = Account::new().await;
    let address = alice.pds.url("").strip_prefix("http://").unwrap().to_owned();
    let length = 40 * 1024 * 1024;
    for (token, status) in [(alice.token.as_str(), "413"), ("expired", "400")] {
        let mut client = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "POST /xrpc/com.atproto.repo.uploadBlob HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: text/plain\r\ncontent-length: {length}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..length / 65_536 {
            client.write_all(&[b'x'; 65_536]).await.unwrap();
        }
        // The connection is good for another request.
        client
            .write_all(format!("GET /xrpc/_health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{answers}");
        assert!(answers.contains("HTTP/1.1 200 OK"), "{answers}");
    }
}

#[tokio::test]
async fn a_compressed_upload_is_kept_as_it_was_before() {
    let alice = Account::new().await;
    let bytes = noise(1_000_000);
    macro_rules! compressed {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all(&bytes).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }
    let bodies =
        [("gzip", compressed!(GzipEncoder)), ("deflate", compressed!(ZlibEncoder)), ("br", compressed!(BrotliEncoder))];
    for (encoding, body) in bodies {
        assert!(body.len() < 100_000);
        let cut = body[..body.len() / 2].to_vec();
        let answer = alice.uploading("text/plain", body).header("content-encoding", encoding).send().await.unwrap();
        let (status, told) = told(answer).await;
        assert_eq!((status, cid(&told["blob"])), (200, Cid::of_raw(&bytes).to_string().as_str()), "{encoding}");
        let answer = alice.uploading("text/plain", cut).header("content-encoding", encoding).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{encoding} that is cut short");
    }
    let unknown = alice.uploading("text/plain", "x").header("content-encoding", "zstd").send().await.unwrap();
    assert_eq!(unknown.status(), 415);
    assert_eq!(alice.files().len(), 1, "the last of the three stands for all");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let alice = Account::new().await;
    let address = alice.pds.url("").strip_prefix("http://").unwrap().to_owned();
    let head = format!(
        "POST /xrpc/com.atproto.repo.uploadBlob HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
         content-type: text/plain\r\n",
        alice.token
    );
    for rest in ["content-length: 2000000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n1e8480\r\n"] {
        let mut client = TcpStream::connect(&address).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(rest.as_bytes()).await.unwrap();
        client.write_all(&noise(1_500_000)).await.unwrap();
        // It has begun to be written.
        while alice.files().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _closed = client.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"));
        while !alice.files().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    assert_eq!(alice.query("repo.listMissingBlobs", &[]).await, (200, json!({ "blobs": [] })));
}

#[tokio::test]
async fn uploads_and_writes_of_one_blob_at_once_end_as_one_blob() {
    let alice = Account::new().await;
    let bytes = noise(400_000);
    let uploads = (0..8).map(|_| alice.upload("text/plain", bytes.clone()));
    let blobs: Vec<Value> = stream::iter(uploads).buffer_unordered(8).collect().await;
    assert!(blobs.iter().all(|blob| *blob == blobs[0]));
    assert_eq!(alice.files().len(), 1, "one upload waits");
    let keys: Vec<String> = (0..8).map(|nth| nth.to_string()).collect();
    let writes = keys.iter().map(|rkey| async {
        alice.upload("text/plain", bytes.clone()).await;
        alice.put(rkey, &[&blobs[0]]).await.0
    });
    let statuses: Vec<u16> = stream::iter(writes).buffer_unordered(8).collect().await;
    assert_eq!(statuses, [200; 8]);
    assert_eq!(alice.files(), [alice.place(&blobs[0])]);
    assert_eq!(alice.bytes(&blobs[0]).await, (200, bytes));
    stream::iter(&keys).for_each_concurrent(8, |rkey| alice.delete(rkey)).await;
    assert_eq!(alice.files(), [""; 0]);
    assert!(alice.is_gone(&blobs[0]).await);
}

#[tokio::test]
async fn an_upload_of_what_is_served_already_leaves_nothing_and_mends_what_was_lost() {
    let alice = Account::new().await;
    let blob = alice.upload("text/plain", "hello").await;
    assert_eq!(alice.put("a", &[&blob]).await.0, 200);
    assert_eq!(alice.upload("text/plain", "hello").await, blob);
    assert_eq!(alice.files(), [alice.place(&blob)]);
    fs::remove_file(alice.pds.directory().join("blocks").join(alice.place(&blob))).unwrap();
    assert!(alice.is_gone(&blob).await);
    assert_eq!(alice.upload("text/plain", "hello").await, blob);
    assert_eq!(alice.bytes(&blob).await, (200, b"hello".to_vec()));
}

#[tokio::test]
async fn who_may_upload_and_fetch_depends_on_the_account() {
    let alice = Account::new().await;
    let anonymous = alice.call(Method::POST, "repo.uploadBlob").header("content-type", "text/plain").body("hello");
    let (status, body) = told(anonymous.send().await.unwrap()).await;
    assert_eq!((status, &body["error"]), (401, &json!("AuthMissing")));
    let blob = alice.upload("text/plain", "hello").await;
    assert_eq!(alice.put("a", &[&blob]).await.0, 200);

    // A service that acts for the account, as the one for videos does.
    let key = SigningKey::from_bytes(Curve::K256, &fs::read(alice.store().join("key")).unwrap()).unwrap();
    let service = alice.query("server.describeServer", &[]).await.1["did"].as_str().unwrap().to_owned();
    let by_service = |method: &str, did: &str, bytes: &'static str| {
        let (iss, lxm) = (Did::parse(did).unwrap(), Nsid::parse(method).unwrap());
        let iat = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let token = NewToken { iss: &iss, aud: &service, lxm: Some(&lxm), iat, exp: iat + 60, jti: [7; 16] };
        let call = alice.call(Method::POST, "repo.uploadBlob").bearer_auth(token.sign(&key));
        call.header("content-type", "text/plain").body(bytes)
    };
    let answer = by_service("com.atproto.repo.uploadBlob", &alice.did, "video").send().await.unwrap();
    assert_eq!(told(answer).await.1["blob"]["size"], 5);
    let (status, body) = told(by_service("com.atproto.repo.other", &alice.did, "x").send().await.unwrap()).await;
    assert_eq!((status, &body["error"]), (401, &json!("BadJwtLexiconMethod")));

    meddle_with_accounts(&alice.pds, "UPDATE actor SET deactivatedAt = '2024-01-01T00:00:00.000Z'", []);
    let (status, body) = told(alice.fetch(&blob).send().await.unwrap()).await;
    assert_eq!((status, &body["error"]), (400, &json!("RepoDeactivated")));
    let own = alice.fetch(&blob).bearer_auth(&alice.token).send().await.unwrap();
    assert_eq!((own.status().as_u16(), own.bytes().await.unwrap()), (200, "hello".into()));
    assert_eq!(alice.upload("text/plain", "later").await["size"], 5, "a move here uploads before it is active");

    meddle_with_accounts(&alice.pds, "UPDATE actor SET takedownRef = 'x'", []);
    let (status, body) = told(alice.fetch(&blob).send().await.unwrap()).await;
    assert_eq!((status, &body["error"]), (400, &json!("RepoTakendown")));
    let (status, body) = told(alice.uploading("text/plain", "more").send().await.unwrap()).await;
    assert_eq!((status, &body["error"]), (401, &json!("AccountTakedown")));
    meddle_with_accounts(&alice.pds, "UPDATE actor SET takedownRef = NULL, deactivatedAt = NULL", []);

    alice.meddle(&alice.store().join("store.sqlite"), "UPDATE blob SET takedownRef = 'x'");
    assert!(alice.is_gone(&blob).await);
    let (status, body) = told(alice.uploading("text/plain", "hello").send().await.unwrap()).await;
    assert_eq!((status, &body["message"]), (400, &json!("Blob has been takendown, cannot re-upload")));
    assert_eq!(alice.put("b", &[&blob]).await.1["error"], "BlobNotFound");
}

#[tokio::test]
async fn a_store_that_fails_refuses_the_write_and_changes_nothing() {
    let alice = Account::new().await;
    let blob = alice.upload("text/plain", "hello").await;
    let collection = [("repo", alice.did.as_str()), ("collection", "com.example.album")];
    let before = alice.query("repo.listRecords", &collection).await;
    let place = alice.pds.directory().join("blocks").join(&alice.did);
    fs::write(&place, "in the way").unwrap();
    let (status, body) = alice.put("a", &[&blob]).await;
    assert_eq!((status, &body["error"]), (500, &json!("InternalServerError")));
    assert_eq!(alice.query("repo.listRecords", &collection).await, before);
    fs::remove_file(&place).unwrap();
    assert_eq!(alice.put("a", &[&blob]).await.0, 200);
    assert_eq!(alice.bytes(&blob).await, (200, b"hello".to_vec()));
}
