//! DIDs resolved and cached: what is fresh, what is stale, who is told of a change.

use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode as Status;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::db::Db;

/// The host of a did:web, and a directory that knows no DID.
#[derive(Default)]
struct Host {
    did: Mutex<Option<Did>>,
    /// What it answers with; 0 stands for 200.
    status: AtomicU16,
    /// Told in each answer.
    version: AtomicUsize,
    asked: AtomicUsize,
    /// While this is set, answers wait for it.
    gate: Mutex<Option<Arc<Notify>>>,
}

struct Setup {
    host: Arc<Host>,
    did: Did,
    resolver: Resolver,
    directory: TempDir,
}

impl Setup {
    async fn new(more: &[(&str, &str)]) -> Self {
        let host = Arc::new(Host::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(document).with_state(Arc::clone(&host));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let did = Did::parse(&format!("did:web:localhost%3A{port}")).unwrap();
        *host.did.lock().unwrap() = Some(did.clone());
        let directory = tempfile::tempdir().unwrap();
        let plc = format!("http://localhost:{port}");
        let variables = [
            ("PDS_DEV_MODE", "true"),
            ("PDS_DATA_DIRECTORY", directory.path().to_str().unwrap()),
            ("PDS_DID_PLC_URL", plc.as_str()),
            ("PDS_ID_RESOLVER_TIMEOUT", "2000"),
        ];
        let config = Config::from_variables(variables.into_iter().chain(more.iter().copied())).unwrap();
        let resolver = Resolver::open(&config).unwrap();
        Self { host, did, resolver, directory }
    }

    fn answers_with(&self, status: u16) {
        self.host.status.store(status, Ordering::SeqCst);
    }

    fn changes(&self) {
        self.host.version.fetch_add(1, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.host.asked.load(Ordering::SeqCst)
    }

    async fn resolved(&self) -> u64 {
        version(&self.resolver.resolve_did(&self.did).await.unwrap().unwrap())
    }

    async fn refreshed(&self) -> u64 {
        version(&self.resolver.refresh_did(&self.did).await.unwrap().unwrap())
    }

    /// Makes the cached document older.
    async fn ages(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        let db = database(self.directory.path());
        db.write(move |tx| -> Result<_, DbError> {
            Ok(tx.execute(r#"UPDATE "did_doc" SET "updatedAt" = "updatedAt" - ?1"#, [by])?)
        })
        .await
        .unwrap();
    }

    /// Waits until the host has been asked so many times, and nothing is under way any more.
    async fn until_asked(&self, times: usize) {
        while self.asked() < times || !self.resolver.inner.flights().by_did.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn database(directory: &Path) -> Db {
    let options = crate::db::Options { synchronous: Default::default(), auto_checkpoint: true, cache_kib: 100 };
    Db::open_existing(&directory.join("did_cache.sqlite"), options).unwrap()
}

fn version(document: &DidDocument) -> u64 {
    document.as_json()["version"].as_u64().unwrap()
}

async fn document(State(host): State<Arc<Host>>) -> Response {
    host.asked.fetch_add(1, Ordering::SeqCst);
    let version = host.version.load(Ordering::SeqCst);
    let gate = host.gate.lock().unwrap().clone();
    if let Some(gate) = gate {
        gate.notified().await;
    }
    match host.status.load(Ordering::SeqCst) {
        0 => {
            let did = host.did.lock().unwrap().clone();
            axum::Json(json!({"id": did, "alsoKnownAs": ["at://alice.test"], "version": version})).into_response()
        }
        status => Status::from_u16(status).unwrap().into_response(),
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_fresh_document_is_not_asked_for_again() {
    let setup = Setup::new(&[]).await;
    assert_eq!(setup.resolved().await, 0);
    setup.changes();
    assert_eq!((setup.resolved().await, setup.asked()), (0, 1));
    assert_eq!((setup.refreshed().await, setup.asked()), (1, 2));
    assert_eq!((setup.resolved().await, setup.asked()), (1, 2));
}

#[tokio::test]
async fn a_stale_document_is_served_and_renewed_behind_the_answer() {
    let setup = Setup::new(&[]).await;
    setup.resolved().await;
    setup.changes();
    setup.ages(HOUR * 2).await;
    assert_eq!(setup.resolved().await, 0);
    setup.until_asked(2).await;
    assert_eq!((setup.resolved().await, setup.asked()), (1, 2));
}

#[tokio::test]
async fn a_stale_document_outlives_its_host_but_an_old_one_does_not() {
    let setup = Setup::new(&[]).await;
    setup.resolved().await;
    setup.answers_with(500);
    setup.ages(HOUR * 2).await;
    assert_eq!(setup.resolved().await, 0);
    setup.until_asked(2).await;
    // That it failed is remembered: it is not asked with every answer.
    assert_eq!((setup.resolved().await, setup.asked()), (0, 2));
    setup.ages(HOUR * 24).await;
    let error = setup.resolver.resolve_did(&setup.did).await.unwrap_err();
    assert!(matches!(error, ResolveError::Status { status: 500 }), "{error:?}");
    assert_eq!(setup.asked(), 2);
    setup.answers_with(0);
    assert_eq!((setup.refreshed().await, setup.resolved().await), (0, 0));
}

#[tokio::test]
async fn a_document_that_is_gone_is_forgotten() {
    let setup = Setup::new(&[]).await;
    setup.resolved().await;
    setup.answers_with(404);
    assert!(setup.resolver.refresh_did(&setup.did).await.unwrap().is_none());
    assert!(setup.resolver.resolve_did(&setup.did).await.unwrap().is_none());
    assert_eq!(setup.asked(), 2);
    setup.answers_with(0);
    assert_eq!((setup.refreshed().await, setup.resolved().await, setup.asked()), (0, 0, 3));
}

#[tokio::test]
async fn many_who_ask_at_a_time_are_one_question() {
    let setup = Setup::new(&[]).await;
    let gate = Arc::new(Notify::new());
    *setup.host.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let (resolver, did) = (setup.resolver.clone(), setup.did.clone());
            tokio::spawn(async move { resolver.resolve_did(&did).await.unwrap().is_some() })
        })
        .collect();
    while setup.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Who gives up does not end it for the others.
    asking[0].abort();
    gate.notify_waiters();
    for (nth, task) in asking.into_iter().enumerate().skip(1) {
        assert!(task.await.unwrap(), "{nth}");
    }
    assert_eq!(setup.asked(), 1);
}

#[tokio::test]
async fn a_forced_refresh_does_not_settle_for_what_was_asked_before_it() {
    let setup = Setup::new(&[]).await;
    let gate = Arc::new(Notify::new());
    *setup.host.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let (resolver, did) = (setup.resolver.clone(), setup.did.clone());
    let early = tokio::spawn(async move { version(&resolver.resolve_did(&did).await.unwrap().unwrap()) });
    while setup.asked() == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    setup.changes();
    *setup.host.gate.lock().unwrap() = None;
    assert_eq!(setup.refreshed().await, 1);
    gate.notify_waiters();
    assert_eq!(early.await.unwrap(), 0);
    // The earlier question was answered last, but it does not win.
    assert_eq!((setup.resolved().await, setup.asked()), (1, 2));
}

#[tokio::test]
async fn a_cache_survives_its_server_and_a_clock_that_was_wrong() {
    let setup = Setup::new(&[]).await;
    setup.resolved().await;
    let directory = setup.directory.path().to_str().unwrap().to_owned();
    let variables = [("PDS_DEV_MODE", "true"), ("PDS_DATA_DIRECTORY", directory.as_str())];
    let again = Resolver::open(&Config::from_variables(variables).unwrap()).unwrap();
    assert!(again.resolve_did(&setup.did).await.unwrap().is_some());
    assert_eq!(setup.asked(), 1);

    let db = database(setup.directory.path());
    db.write(|tx| -> Result<_, DbError> {
        Ok(tx.execute(r#"UPDATE "did_doc" SET "updatedAt" = "updatedAt" * 2"#, [])?)
    })
    .await
    .unwrap();
    setup.changes();
    assert_eq!((setup.resolved().await, setup.resolved().await, setup.asked()), (1, 1, 2));
}

#[tokio::test]
async fn a_plc_did_is_the_directorys_to_resolve() {
    let setup = Setup::new(&[]).await;
    let did = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
    *setup.host.did.lock().unwrap() = Some(did.clone());
    assert_eq!(setup.resolver.resolve_did(&did).await.unwrap().unwrap().id(), &did);
    setup.answers_with(503);
    let error = setup.resolver.refresh_did(&did).await.unwrap_err();
    assert!(
        matches!(&error, ResolveError::Directory(inner) if matches!(**inner, DirectoryError::Failed { status: 503 }))
    );
}

#[tokio::test]
async fn a_did_that_may_not_be_resolved_asks_nobody() {
    let setup = Setup::new(&[("PDS_DISABLE_SSRF_PROTECTION", "false")]).await;
    let local = setup.resolver.resolve_did(&setup.did).await.unwrap_err();
    assert!(matches!(local, ResolveError::Local { .. }), "{local:?}");
    for did in ["did:key:zQ3sh", "did:web:example.com:path", "did:web:10.0.0.1", "did:plc:short"] {
        let error = setup.resolver.resolve_did(&Did::parse(did).unwrap()).await.unwrap_err();
        assert!(matches!(error, ResolveError::Method(_)), "{did}: {error:?}");
    }
    assert_eq!(setup.asked(), 0);
}

#[tokio::test]
async fn another_dids_document_is_not_believed() {
    let setup = Setup::new(&[]).await;
    *setup.host.did.lock().unwrap() = Some(Did::parse("did:web:example.com").unwrap());
    let error = setup.resolver.resolve_did(&setup.did).await.unwrap_err();
    assert!(matches!(error, ResolveError::Document(DidDocumentError::Id { .. })), "{error:?}");
}

#[tokio::test]
async fn a_handle_that_the_document_does_not_name_is_not_looked_up() {
    let setup = Setup::new(&[]).await;
    let other = Handle::parse("bob.test").unwrap();
    assert!(!setup.resolver.confirms(&setup.did, &other).await.unwrap());
    setup.answers_with(404);
    setup.resolver.refresh_did(&setup.did).await.unwrap();
    assert!(!setup.resolver.confirms(&setup.did, &Handle::parse("alice.test").unwrap()).await.unwrap());
}
