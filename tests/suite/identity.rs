//! The origin's resolver and directory client against a did:plc directory that keeps the rules.

use origin::config::Config;
use origin::identity::Resolver;
use origin::identity::plc::DirectoryError;
use shared::crypto::{Curve, SigningKey};
use shared::identity::plc::{Body, State, verify_audit_log};
use shared::syntax::{Did, Handle};
use tempfile::TempDir;
use tests::Plc;

fn key() -> SigningKey {
    SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap()
}

fn state(handle: &str) -> State {
    let key = key().public_key();
    State::of_account(std::slice::from_ref(&key), &key, &Handle::parse(handle).unwrap(), "https://pds.test")
}

fn resolver(plc: &Plc) -> (TempDir, Resolver) {
    let directory = tempfile::tempdir().unwrap();
    let url = plc.url("");
    let variables = [("PDS_DATA_DIRECTORY", directory.path().to_str().unwrap()), ("PDS_DID_PLC_URL", url.as_str())];
    let resolver = Resolver::open(&Config::from_variables(variables).unwrap()).unwrap();
    (directory, resolver)
}

#[tokio::test]
async fn an_identity_is_made_changed_and_ended_at_the_directory() {
    let plc = Plc::start().await;
    let (_directory, resolver) = resolver(&plc);
    let directory = resolver.directory();
    let genesis = Body::genesis(state("alice.test")).sign(&key());
    let did = genesis.did().unwrap();
    assert!(directory.last_operation(&did).await.unwrap().is_none());

    directory.send(&did, &genesis).await.unwrap();
    assert_eq!(directory.state(&did).await.unwrap().unwrap(), state("alice.test"));
    let document = resolver.resolve_did(&did).await.unwrap().unwrap();
    assert_eq!((document.pds(), document.handle().unwrap().as_str()), (Some("https://pds.test"), "alice.test"));

    let last = directory.last_operation(&did).await.unwrap().unwrap();
    assert_eq!(last, genesis);
    let update = Body::update(state("bob.test"), &last.cid()).sign(&key());
    directory.send(&did, &update).await.unwrap();
    assert_eq!(resolver.resolve_did(&did).await.unwrap().unwrap().handle().unwrap().as_str(), "alice.test");
    assert_eq!(resolver.refresh_did(&did).await.unwrap().unwrap().handle().unwrap().as_str(), "bob.test");

    directory.send(&did, &Body::tombstone(&update.cid()).sign(&key())).await.unwrap();
    assert!(resolver.refresh_did(&did).await.unwrap().is_none());
    let log = directory.audit_log(&did).await.unwrap().unwrap();
    assert_eq!(verify_audit_log(&did, &log).unwrap().state, None);
    assert_eq!(log.len(), 3);
}

#[tokio::test]
async fn what_the_directory_refuses_it_gives_reasons_for() {
    let plc = Plc::start().await;
    let (_directory, resolver) = resolver(&plc);
    let stranger = SigningKey::from_bytes(Curve::K256, &[9; 32]).unwrap();
    let genesis = Body::genesis(state("alice.test")).sign(&stranger);
    let did = genesis.did().unwrap();
    let error = resolver.directory().send(&did, &genesis).await.unwrap_err();
    assert!(matches!(&error, DirectoryError::Refused { status: 400, message: Some(_) }), "{error:?}");
    let unknown = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
    assert!(resolver.resolve_did(&unknown).await.unwrap().is_none());
}
