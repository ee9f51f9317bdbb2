//! The reference server behind the same entryway: what is passed on, and what is refused, has to be the same.

use std::collections::BTreeMap;

use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tests::Plc;
use tests::entryway::{Entryway, call};
use tests::peers::{Place, Version, packages};

use super::{bad_accounts, bad_tokens, lines};
use crate::client::{ADMIN, JWT};

/// What a request came to: status and error's name, or what the answer holds.
async fn outcome(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
    (status, if status == 200 { body } else { body["error"].clone() })
}

/// All that one of the servers makes of the requests, by what is asked.
async fn outcomes(entryway: &Entryway, place: &Place, plc: &Plc) -> BTreeMap<String, String> {
    let here = "did:web:localhost";
    let pds = place.url("");
    let did = entryway.sign_up(&pds, "alice").await;
    let nobody = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    entryway.service.seen();
    let mut all = BTreeMap::new();
    for (who, line) in
        lines(&did).into_iter().map(|line| (&*did, line)).chain(lines(nobody).into_iter().map(|line| (nobody, line)))
    {
        let name = format!("{} of {}", line.method, if who == nobody { "nobody" } else { "alice" });
        let came = outcome(line.request(entryway, who, here, &pds)).await;
        let seen: Vec<_> = entryway.service.seen();
        let seen: Vec<_> = seen
            .iter()
            .map(|seen| {
                let basic = seen.headers.get("authorization").filter(|value| value.starts_with("Basic"));
                let body: Value = serde_json::from_slice(&seen.body.1).unwrap_or_default();
                // The reference fills in what the schema has for what is not said.
                let path = seen.path.split('?').next().unwrap().to_owned();
                (
                    seen.verb.clone(),
                    path,
                    basic.cloned(),
                    seen.token.clone(),
                    seen.headers.get("x-forwarded-for").cloned(),
                    body,
                )
            })
            .collect();
        all.insert(format!("{name} {:?}", line.input.is_null()), format!("{came:?} {seen:?}").replace(&did, "DID"));
    }
    for (what, token, ..) in bad_tokens(entryway, &did, here) {
        let url = format!("{pds}/xrpc/com.atproto.server.checkAccountStatus");
        let came = outcome(Client::new().get(url).bearer_auth(token)).await;
        all.insert(format!("a token {what}"), format!("{came:?}"));
    }
    for (what, input, ..) in bad_accounts(entryway, &pds).await {
        let (status, body) = call(&pds, "createAccount", &input).await;
        all.insert(format!("createAccount with {what}"), format!("{status} {}", body["error"]));
    }
    for word in ["refuse", "break"] {
        let input = serde_json::json!({ "identifier": word, "password": "x" });
        let (status, body) = call(&pds, "createSession", &input).await;
        all.insert(format!("a log-in that they {word}"), format!("{status} {}", body["error"]));
    }
    for path in ["admin.getInviteCodes", "identity.resolveHandle?handle=alice.test"] {
        let came = outcome(Client::new().get(format!("{pds}/xrpc/com.atproto.{path}"))).await;
        all.insert(path.to_owned(), format!("{came:?}"));
    }
    let well_known = Client::new().get(format!("{pds}/.well-known/atproto-did")).header("host", "alice.test");
    all.insert("whose alice.test is".to_owned(), format!("{:?}", outcome(well_known).await.0));
    for renamed in [false, true] {
        if renamed {
            entryway.rename(plc, &did, "alicia.test").await;
        }
        let request = Client::new().post(format!("{pds}/xrpc/com.atproto.admin.updateAccountHandle"));
        let input = serde_json::json!({ "did": did, "handle": "alicia.test" });
        let came = outcome(request.basic_auth("admin", Some(ADMIN.1)).json(&input)).await;
        all.insert(format!("a new handle that the document has: {renamed}"), format!("{came:?}"));
    }
    all
}

/// Whether it is by intention that the reference's answer was another.
fn explained(asked: &str, theirs: &str, ours: &str) -> bool {
    // It has no key to sign a token with.
    asked.contains("of nobody") && theirs.starts_with("(500") && ours.contains("(400, String(\"RepoNotFound\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_an_entryway_all_is_passed_on_and_refused_as_by_the_reference() {
    let Some(packages) = packages() else { return };
    let mut found = Vec::new();
    for ours in [false, true] {
        let plc = Plc::start().await;
        let entryway = Entryway::start(&plc).await;
        let place = Place::new(&plc).with(ADMIN.0, ADMIN.1).with(JWT.0, JWT.1).with_all(entryway.environment());
        let server = match ours {
            true => place.start_headwater().await,
            false => place.start_reference(&packages, Version::V0_5_35).await,
        };
        found.push(outcomes(&entryway, &place, &plc).await);
        assert!(server.stop().await.success());
    }
    let [theirs, ours] = &found[..] else { panic!() };
    let differences: Vec<_> = theirs
        .iter()
        .filter(|(asked, came)| ours.get(*asked) != Some(came) && !explained(asked, came, &ours[*asked]))
        .map(|(asked, came)| format!("{asked}\n  reference {came}\n  ours      {:?}", ours.get(asked)))
        .collect();
    assert!(differences.is_empty(), "{} of {}:\n{}", differences.len(), theirs.len(), differences.join("\n"));
}
