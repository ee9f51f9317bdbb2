//! Records, written and read as a client does.

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tests::{Pds, Plc};

use crate::account::sign_up;

/// A client that is logged in.
struct Account {
    pds: Pds,
    _plc: Plc,
    did: String,
    token: String,
}

impl Account {
    async fn new() -> Self {
        let plc = Plc::start().await;
        let pds = Pds::start_open(&plc).await;
        let made = sign_up(&pds, "alice").await;
        let field = |name: &str| made[name].as_str().unwrap().to_owned();
        Self { did: field("did"), token: field("accessJwt"), pds, _plc: plc }
    }

    async fn write(&self, method: &str, input: Value) -> (u16, Value) {
        let url = self.pds.url(&format!("/xrpc/com.atproto.repo.{method}"));
        let answer = Client::new().post(url).bearer_auth(&self.token).json(&input).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn read(&self, method: &str, query: &[(&str, &str)]) -> (u16, Value) {
        let url = self.pds.url(&format!("/xrpc/com.atproto.repo.{method}"));
        let answer = Client::new().get(url).query(query).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn record(&self, rkey: &str) -> (u16, Value) {
        self.read("getRecord", &[("repo", &self.did), ("collection", "app.bsky.feed.post"), ("rkey", rkey)]).await
    }
}

fn post(text: &str) -> Value {
    json!({ "$type": "app.bsky.feed.post", "text": text, "createdAt": "2024-01-01T00:00:00.000Z" })
}

#[tokio::test]
async fn a_record_is_created_read_replaced_and_deleted() {
    let alice = Account::new().await;
    let place = json!({ "repo": "alice.test", "collection": "app.bsky.feed.post" });
    let with = |more: Value| {
        let mut input = place.clone();
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let (status, made) = alice.write("createRecord", with(json!({ "record": post("one") }))).await;
    assert_eq!((status, &made["validationStatus"]), (200, &json!("valid")), "{made}");
    let uri = made["uri"].as_str().unwrap();
    let rkey = uri.rsplit('/').next().unwrap();
    assert_eq!(uri, format!("at://{}/app.bsky.feed.post/{rkey}", alice.did));
    let (status, read) = alice.record(rkey).await;
    assert_eq!((status, &read["value"], &read["cid"]), (200, &post("one"), &made["cid"]));

    // Of a key that a client chose.
    for method in ["createRecord", "putRecord"] {
        let (status, refused) = alice.write(method, with(json!({ "rkey": "k-i-k-e", "record": post("one") }))).await;
        assert_eq!((status, &refused["message"]), (400, &json!("Unacceptable slur in record key")), "{method}");
    }
    let replace = with(json!({ "rkey": rkey, "record": post("two"), "swapRecord": made["cid"] }));
    let (status, replaced) = alice.write("putRecord", replace.clone()).await;
    assert_eq!((status, &replaced["uri"]), (200, &made["uri"]));
    let (_, again) = alice.write("putRecord", replace).await;
    assert_eq!((&again["cid"], again.get("commit")), (&replaced["cid"], None));
    let stale = with(json!({ "rkey": rkey, "record": post("three"), "swapRecord": made["cid"] }));
    let (status, body) = alice.write("putRecord", stale).await;
    assert_eq!((status, &body["error"]), (400, &json!("InvalidSwap")));
    assert_eq!(body["message"], format!("Record was at {}", replaced["cid"].as_str().unwrap()));
    let stale = with(json!({ "rkey": rkey, "swapCommit": made["commit"]["cid"] }));
    let (status, body) = alice.write("deleteRecord", stale).await;
    assert_eq!((status, &body["error"]), (400, &json!("InvalidSwap")));

    let (status, gone) = alice.write("deleteRecord", with(json!({ "rkey": rkey }))).await;
    assert_eq!((status, gone["commit"]["rev"].is_string()), (200, true));
    assert_eq!(alice.write("deleteRecord", with(json!({ "rkey": rkey }))).await, (200, json!({})));
    let (status, body) = alice.record(rkey).await;
    assert_eq!((status, &body["error"]), (400, &json!("RecordNotFound")));
}

#[tokio::test]
async fn a_batch_is_one_commit_or_none() {
    let alice = Account::new().await;
    let op = |kind: &str, rkey: &str, value: Option<Value>| {
        let mut op = json!({
            "$type": format!("com.atproto.repo.applyWrites#{kind}"), "collection": "app.bsky.feed.post", "rkey": rkey,
        });
        op.as_object_mut().unwrap().extend(value.map(|value| ("value".to_owned(), value)));
        op
    };
    let batch = |writes: Vec<Value>| json!({ "repo": alice.did, "writes": writes });
    let keys = ["3jzfcijpj2z2a", "3jzfcijpj2z2b", "3jzfcijpj2z2c"];
    let create = keys.map(|rkey| op("create", rkey, Some(post(rkey)))).to_vec();
    let (status, done) = alice.write("applyWrites", batch(create)).await;
    assert_eq!((status, done["results"].as_array().map(Vec::len)), (200, Some(3)), "{done}");
    assert_eq!(done["results"][0]["$type"], "com.atproto.repo.applyWrites#createResult");

    let mixed =
        vec![op("update", keys[0], Some(post("new"))), op("delete", keys[1], None), op("delete", "nothing", None)];
    let (status, body) = alice.write("applyWrites", batch(mixed.clone())).await;
    assert_eq!((status, &body["error"]), (400, &json!("InvalidRequest")));
    assert_eq!(alice.record(keys[0]).await.1["value"], post(keys[0]), "nothing is done");
    let (status, done) = alice.write("applyWrites", batch(mixed[..2].to_vec())).await;
    assert_eq!((status, &done["results"][1]), (200, &json!({ "$type": "com.atproto.repo.applyWrites#deleteResult" })));

    let bad = vec![op("create", "3jzfcijpj2z2d", Some(json!({ "text": 1, "createdAt": "2024-01-01T00:00:00Z" })))];
    let (status, body) = alice.write("applyWrites", batch(bad)).await;
    let expected = "Invalid app.bsky.feed.post record: Expected string value type (got 1) at $.writes[0].record.text";
    assert_eq!((status, body["message"].as_str()), (400, Some(expected)));
    let many = (0..201).map(|nth| op("delete", &nth.to_string(), None)).collect();
    let (status, body) = alice.write("applyWrites", batch(many)).await;
    assert_eq!((status, body["message"].as_str()), (400, Some("Too many writes. Max: 200")));
}

#[tokio::test]
async fn a_list_is_paged_newest_first_or_oldest_first() {
    let alice = Account::new().await;
    let keys = ["3jzfcijpj2z2a", "3jzfcijpj2z2b", "3jzfcijpj2z2c"];
    for rkey in keys {
        let input =
            json!({ "repo": alice.did, "collection": "app.bsky.feed.post", "rkey": rkey, "record": post(rkey) });
        assert_eq!(alice.write("createRecord", input).await.0, 200);
    }
    for (reverse, order) in [("false", [2, 1, 0]), ("true", [0, 1, 2])] {
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![
                ("repo", "alice.test"),
                ("collection", "app.bsky.feed.post"),
                ("limit", "2"),
                ("reverse", reverse),
            ];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let (status, page) = alice.read("listRecords", &query).await;
            assert_eq!(status, 200, "{page}");
            let records = page["records"].as_array().unwrap();
            seen.extend(records.iter().map(|record| record["value"]["text"].as_str().unwrap().to_owned()));
            match page["cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(seen, order.map(|nth| keys[nth]), "reverse={reverse}");
    }
    let (status, described) = alice.read("describeRepo", &[("repo", "alice.test")]).await;
    assert_eq!((status, &described["handleIsCorrect"]), (200, &json!(true)), "{described}");
    assert_eq!(described["collections"], json!(["app.bsky.feed.post"]));
    let (status, body) = alice.read("describeRepo", &[("repo", "nobody.test")]).await;
    assert_eq!((status, &body["error"]), (400, &json!("RepoNotFound")));
}

#[tokio::test]
async fn nobody_writes_to_the_repository_of_another() {
    let alice = Account::new().await;
    sign_up(&alice.pds, "bob").await;
    let input = json!({ "repo": "bob.test", "collection": "app.bsky.feed.post", "record": post("x") });
    let (status, body) = alice.write("createRecord", input).await;
    assert_eq!((status, &body["error"]), (401, &json!("AuthenticationRequired")));
    let nobody = json!({ "repo": "nobody.test", "collection": "app.bsky.feed.post", "record": post("x") });
    let (status, body) = alice.write("createRecord", nobody).await;
    assert_eq!((status, &body["error"]), (403, &json!("AccountNotFound")));
}

#[tokio::test]
async fn a_large_answer_is_compressed_and_a_known_one_is_not_sent_again() {
    let alice = Account::new().await;
    let text = "so long a text ".repeat(19);
    let input = json!({ "repo": alice.did, "collection": "com.example.long", "rkey": "a", "record": { "x": [text, text, text, text] } });
    assert_eq!(alice.write("createRecord", input).await.0, 200);
    let url = alice.pds.url("/xrpc/com.atproto.repo.getRecord");
    let query = [("repo", alice.did.as_str()), ("collection", "com.example.long"), ("rkey", "a")];
    let get = |method: Method, header: &'static str, value: &str| {
        let request = Client::new().request(method, &url).query(&query).header(header, value);
        async move { request.send().await.unwrap() }
    };
    let plain = get(Method::GET, "accept-encoding", "identity").await;
    let (tag, length) = (plain.headers()["etag"].to_str().unwrap().to_owned(), plain.content_length().unwrap());
    assert!(tag.starts_with('"') && !plain.headers().contains_key("content-encoding"));
    for encoding in ["gzip", "br", "deflate"] {
        let answer = get(Method::GET, "accept-encoding", encoding).await;
        assert_eq!(answer.headers()["content-encoding"], encoding);
        assert_eq!(answer.headers()["etag"], format!("W/{tag}"));
        assert_eq!(answer.headers()["vary"], "accept-encoding");
        assert!((answer.bytes().await.unwrap().len() as u64) < length / 2);
    }
    let known = get(Method::GET, "if-none-match", &format!("W/{tag}")).await;
    assert_eq!((known.status().as_u16(), known.bytes().await.unwrap().len()), (304, 0));
    let head = get(Method::HEAD, "accept-encoding", "identity").await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &length.to_string().parse().unwrap())
    );
    assert_eq!(head.bytes().await.unwrap().len(), 0);
}
