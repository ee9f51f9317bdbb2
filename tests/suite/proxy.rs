//! Calls that are passed on: to whom, in whose name, what of them, and what of the answer.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use shared::crypto::{Curve, SigningKey};
use shared::identity::plc::{Body as PlcBody, State};
use shared::syntax::Handle;
use shared::token::session::Scope;
use tests::service::{Seen, Service, refused};
use tests::{Pds, Plc};

use crate::client::{ADMIN, As, JWT, User, get, message, poke, post, refusal};

const VIEW: &str = "did:web:view.test";
const MODERATOR: &str = "did:web:mod.test";

/// A server with a view of the network and a moderator, and an account on it.
struct Scene {
    plc: Plc,
    pds: Pds,
    view: Service,
    moderator: Service,
    alice: User,
}

impl Scene {
    async fn new(more: &[(&str, &str)]) -> Self {
        let plc = Plc::start().await;
        let (view, moderator) = (Service::start(&plc, answer).await, Service::start(&plc, answer).await);
        let mut variables = vec![
            ADMIN,
            JWT,
            ("PDS_BSKY_APP_VIEW_URL", view.url()),
            ("PDS_BSKY_APP_VIEW_DID", VIEW),
            ("PDS_MOD_SERVICE_URL", moderator.url()),
            ("PDS_MOD_SERVICE_DID", MODERATOR),
        ];
        variables.extend(more);
        let pds = Pds::start_open_with(&plc, &variables).await;
        let alice = User::new(&pds, "alice").await;
        Self { plc, pds, view, moderator, alice }
    }

    fn call(&self, verb: Method, path: &str) -> RequestBuilder {
        let As::Token(token) = self.alice.token() else { panic!("she has a token") };
        Client::new().request(verb, self.pds.url(&format!("/xrpc/{path}"))).bearer_auth(token)
    }

    async fn registered(&self, id: &str, kind: &str, url: &str) -> String {
        registered(&self.plc, id, kind, url).await
    }
}

/// A DID whose document has a service at `url`.
pub(crate) async fn registered(plc: &Plc, id: &str, kind: &str, url: &str) -> String {
    let key = SigningKey::from_bytes(Curve::K256, &[5; 32]).unwrap();
    let handle = Handle::parse("service.test").unwrap();
    let mut state = State::of_account(&[key.public_key()], &key.public_key(), &handle, "https://nowhere.test");
    state.services.insert(id.into(), shared::identity::plc::Service { kind: kind.into(), endpoint: url.into() });
    let operation = PlcBody::genesis(state).sign(&key);
    let did = operation.did().unwrap().to_string();
    let json = serde_json::to_string(&operation.to_value()).unwrap();
    let call = Client::new().post(plc.url(&format!("/{did}"))).header("content-type", "application/json");
    assert!(call.body(json).send().await.unwrap().status().is_success());
    did
}

/// What services answer, by what they are asked.
fn answer(seen: &Seen) -> Response {
    let path = seen.path.as_str();
    if path.contains("broken") {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "Broken", "oh no");
    }
    if path.contains("refused") {
        return refused(StatusCode::IM_A_TEAPOT, "Teapot", "short and stout");
    }
    if path.contains("page") {
        return (StatusCode::NOT_FOUND, "<html>not JSON").into_response();
    }
    if path.contains("generator") {
        return axum::Json(json!({ "uri": "at://x.test/a.b.c/d", "value": { "did": "did:web:feed.test" } }))
            .into_response();
    }
    if path.contains("stops") {
        let half = stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"half")) });
        return Body::from_stream(half.chain(stream::pending())).into_response();
    }
    if path.contains("large") {
        let piece = Bytes::from(vec![7; 1024 * 1024]);
        return Body::from_stream(stream::iter((0..LARGE).map(move |_| Ok::<_, std::io::Error>(piece.clone()))))
            .into_response();
    }
    let headers = [
        ("atproto-repo-rev", "3jzfcijpj2z2a"),
        ("atproto-content-labelers", "did:web:labels.test"),
        ("content-language", "de"),
        ("set-cookie", "no"),
        ("x-other", "no"),
    ];
    (headers, axum::Json(json!({ "path": path }))).into_response()
}

/// How large a large answer is, in MiB.
const LARGE: usize = 64;

#[tokio::test]
async fn what_is_not_answered_here_goes_to_the_view_in_the_callers_name_and_nothing_else_of_theirs() {
    let scene = Scene::new(&[]).await;
    let call = scene.call(Method::GET, "app.bsky.unspecced.getThings?q=a%20b&q=c&limit=050");
    let call = call.header("accept-language", "de").header("cookie", "secret").header("x-atproto-test", "1");
    let answer =
        call.header("atproto-accept-labelers", VIEW).header("x-forwarded-for", "1.2.3.4").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    for (name, value) in [
        ("atproto-repo-rev", Some("3jzfcijpj2z2a")),
        ("atproto-content-labelers", Some("did:web:labels.test")),
        ("content-language", Some("de")),
        ("content-type", Some("application/json")),
        ("cache-control", Some("private")),
        ("set-cookie", None),
        ("x-other", None),
    ] {
        assert_eq!(answer.headers().get(name).map(|value| value.to_str().unwrap()), value, "{name}");
    }
    let path = "/xrpc/app.bsky.unspecced.getThings?q=a%20b&q=c&limit=050";
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "path": path }));
    let [seen] = &scene.view.seen()[..] else { panic!("it was asked once") };
    assert_eq!((seen.verb.as_str(), seen.caller.as_deref()), ("GET", Some(scene.alice.did.as_str())));
    assert_eq!(seen.token, Some((VIEW.to_owned(), "app.bsky.unspecced.getThings".to_owned())));
    let mut names: Vec<_> = seen.headers.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "accept-encoding",
        "accept-language",
        "atproto-accept-labelers",
        "authorization",
        "user-agent",
        "x-atproto-test",
    ];
    assert_eq!(names, expected, "{seen:?}");

    // What is sent goes there as it is, packed or not.
    let call = scene.call(Method::POST, "app.bsky.video.doThings").header("content-type", "video/mp4");
    let answer = call.header("content-encoding", "gzip").body("no gzip").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let [seen] = &scene.view.seen()[..] else { panic!("it was asked once") };
    assert_eq!((seen.verb.as_str(), seen.body.clone()), ("POST", (7, b"no gzip".to_vec())));
    assert_eq!((&seen.headers["content-type"][..], &seen.headers["content-encoding"][..]), ("video/mp4", "gzip"));
    assert_eq!(seen.headers["content-length"], "7");
    let answer = scene.call(Method::HEAD, "app.bsky.unspecced.getThings").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), scene.view.seen()[0].verb.as_str()), (200, "HEAD"));
}

#[tokio::test]
async fn a_call_goes_to_whom_it_is_for() {
    let scene = Scene::new(&[]).await;
    let other = Service::start(&scene.plc, answer).await;
    let did = scene.registered("other", "OtherService", other.url()).await;
    let proxied = |named: String| scene.call(Method::GET, "com.example.query").header("atproto-proxy", named).send();
    assert_eq!(proxied(format!("{did}#other")).await.unwrap().status(), 200);
    assert_eq!(other.seen()[0].token, Some((did.clone(), "com.example.query".to_owned())));
    assert_eq!(proxied(format!("{VIEW}#bsky_appview")).await.unwrap().status(), 200);
    assert_eq!(proxied(String::new()).await.unwrap().status(), 200);
    assert_eq!(scene.view.seen().len(), 2);
    for (named, fault) in [
        ("#other".to_owned(), "no did specified in proxy header"),
        (did.clone(), "no service id specified in proxy header"),
        (format!("{did}#"), "no service id specified in proxy header"),
        (format!("{did}#a#b"), "invalid proxy header format"),
        (format!("{did}#a b"), "proxy header cannot contain spaces"),
        (format!("{did}#another"), "could not resolve proxy did service url"),
        ("did:plc:7iza6de2dwap2sbkpav7c6c6#other".to_owned(), "could not resolve proxy did"),
        ("nobody#other".to_owned(), "could not resolve proxy did"),
    ] {
        let answer = proxied(named.clone()).await.unwrap();
        let answer = (answer.status().as_u16(), answer.json().await.unwrap());
        assert_eq!((refusal(&answer), message(&answer)), ((400, "InvalidRequest"), fault), "{named}");
    }
    assert_eq!((other.seen().len(), scene.view.seen().len()), (0, 0));

    let call = scene.call(Method::GET, "tools.ozone.moderation.queryEvents").send().await.unwrap();
    assert_eq!(call.status(), 200);
    assert_eq!(scene.moderator.seen()[0].token.as_ref().unwrap().0, MODERATOR);
    // A method that is answered here is, whatever the header says.
    let call = scene.call(Method::GET, "com.atproto.server.getSession").header("atproto-proxy", format!("{did}#other"));
    assert_eq!(call.send().await.unwrap().json::<Value>().await.unwrap()["did"], scene.alice.did);
}

#[tokio::test]
async fn whoever_may_not_call_is_told_before_anybody_is_asked() {
    let scene = Scene::new(&[]).await;
    let app_password = scene.alice.minted(Scope::AppPass, "did:web:localhost", 0);
    let privileged = scene.alice.minted(Scope::AppPassPrivileged, "did:web:localhost", 0);
    let ask = |nsid: &str, by: Option<String>| {
        let call = Client::new().get(scene.pds.url(&format!("/xrpc/{nsid}")));
        let call = if let Some(token) = by { call.bearer_auth(token) } else { call };
        async move {
            let answer = call.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default())
        }
    };
    assert_eq!(refusal(&ask("app.bsky.feed.getTimeline", None).await), (401, "AuthMissing"));
    let refresh = Some(scene.alice.refresh.clone());
    assert_eq!(refusal(&ask("app.bsky.feed.getTimeline", refresh).await), (400, "InvalidToken"));
    assert_eq!(refusal(&ask("chat.bsky.convo.listConvos", Some(app_password.clone())).await), (400, "InvalidToken"));
    let both = ["com.atproto.server.createappPassword", "com.atproto.identity.SignPlcOperation"];
    for nsid in both {
        let call = scene.call(Method::GET, nsid).send().await.unwrap();
        assert_eq!(call.status(), 400, "{nsid}");
    }
    let call = scene.call(Method::PUT, "app.bsky.feed.getTimeline").send().await.unwrap();
    assert_eq!(call.status(), 400);
    assert_eq!(scene.view.seen().len(), 0);
    assert_eq!(ask("chat.bsky.convo.listConvos", Some(privileged)).await.0, 200);
    assert_eq!(ask("app.bsky.feed.getTimeline", Some(app_password)).await.0, 200);
    let down = json!({ "subject": { "$type": "com.atproto.admin.defs#repoRef", "did": scene.alice.did },
        "takedown": { "applied": true } });
    assert_eq!(post(&scene.pds, "admin.updateSubjectStatus", As::Admin, down).await.0, 200);
    let leaving = Some(scene.alice.minted(Scope::Takendown, "did:web:localhost", 0));
    assert_eq!(refusal(&ask("app.bsky.feed.getTimeline", leaving).await), (400, "InvalidToken"));
    // Without a view there is nowhere to go.
    let alone = Pds::start_open_with(&scene.plc, &[]).await;
    let refused = poke(&alone, "example.unknown", As::Nobody).await;
    assert_eq!(
        (refusal(&refused), message(&refused)),
        ((400, "InvalidRequest"), "No service configured for com.atproto.example.unknown")
    );
}

#[tokio::test]
async fn what_a_service_refuses_is_told_and_its_failure_is_not_ours() {
    let scene = Scene::new(&[]).await;
    for (nsid, status, error) in [
        ("com.example.broken", 502, "Broken"),
        ("com.example.refused", 418, "Teapot"),
        ("com.example.page", 404, "XRPCNotSupported"),
    ] {
        let answer = scene.call(Method::GET, nsid).send().await.unwrap();
        let answer = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        assert_eq!(refusal(&answer), (status, error), "{nsid} {answer:?}");
    }
    let did = scene.registered("gone", "Gone", "http://127.0.0.1:1").await;
    let answer = scene.call(Method::GET, "com.example.query").header("atproto-proxy", format!("{did}#gone"));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"], "UpstreamFailure");
}

#[tokio::test]
async fn bodies_flow_through_in_both_directions() {
    let scene = Scene::new(&[("PDS_PROXY_MAX_RESPONSE_SIZE", "2000000000")]).await;
    let answer = scene.call(Method::GET, "com.example.large").send().await.unwrap();
    let mut pieces = answer.bytes_stream();
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        length += piece.unwrap().len();
    }
    assert_eq!(length, LARGE * 1024 * 1024);
    static PIECE: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![7; 1024 * 1024]));
    let sent = stream::iter((0..LARGE).map(|_| Ok::<_, std::io::Error>(PIECE.clone())));
    let call = scene.call(Method::POST, "com.example.takes").header("content-type", "video/mp4");
    assert_eq!(call.body(reqwest::Body::wrap_stream(sent)).send().await.unwrap().status(), 200);
    assert_eq!(scene.view.seen().last().unwrap().body.0, (LARGE * 1024 * 1024) as u64);

    let bounded = Scene::new(&[("PDS_PROXY_MAX_RESPONSE_SIZE", "2000000")]).await;
    let answer = bounded.call(Method::GET, "com.example.large").send().await.unwrap();
    assert!(answer.bytes().await.is_err(), "it is larger than may be passed on");
}

#[tokio::test]
async fn a_service_that_says_nothing_or_stops_in_the_middle_is_waited_for_as_long_as_the_operator_says() {
    let limits = [("PDS_PROXY_HEADERS_TIMEOUT", "400"), ("PDS_PROXY_BODY_TIMEOUT", "400")];
    let scene = Scene::new(&limits).await;
    // One that takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let did = scene.registered("silent", "Silent", &url).await;
    let began = Instant::now();
    for verb in [Method::GET, Method::POST] {
        let call = scene.call(verb.clone(), "com.example.query").header("atproto-proxy", format!("{did}#silent"));
        let call = if verb == Method::POST { call.body("x") } else { call };
        let answer = call.send().await.unwrap();
        let answer = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        assert_eq!(refusal(&answer), (502, "UpstreamFailure"), "{verb} {answer:?}");
    }
    let answer = scene.call(Method::GET, "com.example.stops").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut pieces = answer.bytes_stream();
    assert_eq!(&*pieces.next().await.unwrap().unwrap(), b"half");
    // An end like any other would pass for all of it.
    assert!(pieces.next().await.unwrap().is_err(), "it stops in the middle");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(1_200) && waited < Duration::from_secs(20), "{waited:?}");
}

#[tokio::test]
async fn a_feed_is_shown_by_the_view_with_a_token_for_who_makes_it() {
    let scene = Scene::new(&[]).await;
    let feed = "at://did:web:x.test/app.bsky.feed.generator/one";
    let call = scene.call(Method::GET, "app.bsky.feed.getFeed").query(&[("feed", feed), ("limit", "7")]);
    assert_eq!(call.send().await.unwrap().status(), 200);
    let [record, shown] = &scene.view.seen()[..] else { panic!("it was asked twice") };
    assert!(record.path.starts_with("/xrpc/com.atproto.repo.getRecord?") && record.caller.is_none(), "{record:?}");
    assert_eq!(shown.token, Some(("did:web:feed.test".to_owned(), "app.bsky.feed.getFeedSkeleton".to_owned())));
    assert!(
        shown.path.starts_with("/xrpc/app.bsky.feed.getFeed?feed=at%3A") && shown.path.ends_with("limit=7"),
        "{shown:?}"
    );
    let other = [("feed", "at://did:web:x.test/app.bsky.feed.other/one")];
    let call = scene.call(Method::GET, "app.bsky.feed.getFeed").query(&other).send().await.unwrap();
    let answer = (call.status().as_u16(), call.json::<Value>().await.unwrap());
    assert_eq!(refusal(&answer), (400, "UnknownFeed"));
    let bad = scene.call(Method::GET, "app.bsky.feed.getFeed").query(&[("feed", "nonsense")]).send().await.unwrap();
    assert_eq!(bad.status(), 400);
}

#[tokio::test]
async fn a_report_goes_to_the_moderator_also_from_who_is_taken_down() {
    let scene = Scene::new(&[]).await;
    let subject = json!({ "$type": "com.atproto.admin.defs#repoRef", "did": "did:plc:7iza6de2dwap2sbkpav7c6c6" });
    let report = json!({ "reasonType": "com.atproto.moderation.defs#reasonSpam", "subject": subject, "reason": "x" });
    let leaving = scene.alice.minted(Scope::Takendown, "did:web:localhost", 0);
    assert_eq!(post(&scene.pds, "moderation.createReport", As::Token(&leaving), report.clone()).await.0, 200);
    let [seen] = &scene.moderator.seen()[..] else { panic!("it was asked once") };
    assert_eq!(serde_json::from_slice::<Value>(&seen.body.1).unwrap(), report);
    assert_eq!(seen.token, Some((MODERATOR.to_owned(), "com.atproto.moderation.createReport".to_owned())));
    let other = Service::start(&scene.plc, answer).await;
    let did = scene.registered("atproto_labeler", "AtprotoLabeler", other.url()).await;
    let call = scene.call(Method::POST, "com.atproto.moderation.createReport").json(&report);
    assert_eq!(call.header("atproto-proxy", format!("{did}#atproto_labeler")).send().await.unwrap().status(), 200);
    assert_eq!(other.seen()[0].token.as_ref().unwrap().0, did);
    for wrong in
        [json!({}), json!({ "reasonType": "x", "subject": "y" }), json!({ "reasonType": 1, "subject": subject })]
    {
        let refused = post(&scene.pds, "moderation.createReport", scene.alice.token(), wrong.clone()).await;
        assert_eq!(refusal(&refused), (400, "InvalidRequest"), "{wrong}");
    }
    assert_eq!(refusal(&post(&scene.pds, "moderation.createReport", As::Nobody, report).await), (401, "AuthMissing"));
    assert_eq!(scene.moderator.seen().len(), 0);
}

#[tokio::test]
async fn notifications_are_registered_where_they_are_sent() {
    let scene = Scene::new(&[]).await;
    let other = Service::start(&scene.plc, answer).await;
    let did = scene.registered("bsky_notif", "BskyNotificationService", other.url()).await;
    let push = |service: &str| json!({ "serviceDid": service, "token": "t", "platform": "ios", "appId": "app" });
    for nsid in ["app.bsky.notification.registerPush", "app.bsky.notification.unregisterPush"] {
        let call = |service: &str| scene.call(Method::POST, nsid).json(&push(service)).send();
        assert_eq!(call(VIEW).await.unwrap().status(), 200);
        assert_eq!(scene.view.seen()[0].token, Some((VIEW.to_owned(), nsid.to_owned())));
        assert_eq!(call(&did).await.unwrap().status(), 200);
        let seen = &other.seen()[0];
        assert_eq!(seen.token, Some((did.clone(), nsid.to_owned())));
        assert_eq!(serde_json::from_slice::<Value>(&seen.body.1).unwrap(), push(&did));
        assert_eq!(call("did:plc:7iza6de2dwap2sbkpav7c6c6").await.unwrap().status(), 400);
        assert_eq!(scene.call(Method::POST, nsid).json(&json!({})).send().await.unwrap().status(), 400);
    }
}

async fn put(scene: &Scene, token: &str, preferences: &Value) -> (u16, Value) {
    let url = scene.pds.url("/xrpc/app.bsky.actor.putPreferences");
    let call = Client::new().post(url).bearer_auth(token).json(&json!({ "preferences": preferences }));
    let answer = call.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

async fn preferences(scene: &Scene, token: &str) -> Value {
    let url = scene.pds.url("/xrpc/app.bsky.actor.getPreferences");
    let answer = Client::new().get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["preferences"].clone()
}

#[tokio::test]
async fn preferences_are_the_owners_and_an_app_password_leaves_the_personal_ones_alone() {
    let scene = Scene::new(&[]).await;
    let As::Token(full) = scene.alice.token() else { panic!("she has a token") };
    let app_password = scene.alice.minted(Scope::AppPass, "did:web:localhost", 0);
    let adult = |enabled: bool| json!({ "$type": "app.bsky.actor.defs#adultContentPref", "enabled": enabled });
    let born = json!({ "$type": "app.bsky.actor.defs#personalDetailsPref", "birthDate": "1990-01-01T00:00:00.000Z" });
    let age = |over: bool| json!({ "$type": "app.bsky.actor.defs#declaredAgePref", "isOverAge13": over, "isOverAge16": over, "isOverAge18": over });
    assert_eq!(preferences(&scene, full).await, json!([]));
    // What is told of the age is never set.
    let mine = json!([adult(true), born, age(false)]);
    assert_eq!(put(&scene, full, &mine).await, (200, Value::Null));
    assert_eq!(preferences(&scene, full).await, json!([adult(true), born, age(true)]));
    assert_eq!(preferences(&scene, &app_password).await, json!([adult(true), age(true)]));
    assert_eq!(put(&scene, &app_password, &json!([adult(false)])).await.0, 200);
    assert_eq!(preferences(&scene, full).await, json!([born, adult(false), age(true)]));

    let refused = put(&scene, &app_password, &json!([born])).await;
    let fault = "Do not have authorization to set preferences: app.bsky.actor.defs#personalDetailsPref";
    assert_eq!((refusal(&refused), message(&refused)), ((400, "InvalidRequest"), fault));
    let refused = put(&scene, full, &json!([{ "$type": "com.example.pref" }])).await;
    assert_eq!(message(&refused), "Some preferences are not in the app.bsky namespace");
    for wrong in [
        json!([{ "enabled": true }]),
        json!(["x"]),
        json!({}),
        json!([{ "$type": "app.bsky.actor.defs#adultContentPref", "enabled": 3 }]),
    ] {
        assert_eq!(refusal(&put(&scene, full, &wrong).await), (400, "InvalidRequest"), "{wrong}");
    }
    assert_eq!(
        preferences(&scene, full).await,
        json!([born, adult(false), age(true)]),
        "what was refused changed nothing"
    );
    assert_eq!(put(&scene, full, &json!([])).await.0, 200);
    assert_eq!(preferences(&scene, full).await, json!([]));
    assert_eq!(scene.view.seen().len(), 0, "they are nobody else's");

    // Another application's are that one's.
    let other = Service::start(&scene.plc, answer).await;
    let did = scene.registered("bsky_appview", "BskyAppView", other.url()).await;
    let call =
        scene.call(Method::GET, "app.bsky.actor.getPreferences").header("atproto-proxy", format!("{did}#bsky_appview"));
    assert_eq!(call.send().await.unwrap().status(), 200);
    assert_eq!(other.seen()[0].token, Some((did, "app.bsky.actor.getPreferences".to_owned())));
    let nobody = get(&scene.pds, "server.getSession", As::Nobody, &[]).await;
    assert_eq!(refusal(&nobody), (401, "AuthMissing"));
}
