//! An account that is asked for with an `Idempotency-Key`, of a server that dies at every place on the way, also when it is
//! asked again: in the end there is one account, told once, with the DID that there was once its key was on the disk.

use reqwest::RequestBuilder;

use super::mirror::open;
use super::*;

/// The places on the way, in order; whether a request after a death there goes on with the same DID, and has made the
/// account already.
const PLACES: [(&str, bool, bool); 7] = [
    ("create.noted", false, false),
    ("store.key-written", true, false),
    ("create.stored", true, false),
    ("create.registered", true, false),
    ("create.committed", true, true),
    ("announce.sequenced", true, true),
    ("create.told", true, true),
];

/// What the server says its port is.
const PORT: &str = "2583";

impl Scene {
    /// A server that is called the same in every one of its lives, whatever its port.
    fn named(&self, fault: Option<&str>) -> Command {
        let mut command = self.command();
        command.env("PDS_PORT", PORT);
        if let Some(fault) = fault {
            command.env("HEADWATER_FAULT", fault);
        }
        command
    }

    /// Whose account the attempts that are known make or made.
    fn attempted(&self) -> Option<String> {
        let accounts = open(&self.path().join("account.sqlite"));
        let sql = "SELECT did FROM headwater_attempt ORDER BY at DESC LIMIT 1";
        accounts.query_row(sql, [], |row| row.get(0)).ok()
    }

    fn execute(&self, sql: &str) {
        open(&self.path().join("account.sqlite")).execute(sql, []).unwrap();
    }

    /// Every DID that was registered for a name, and how many operations there are of each.
    async fn registered(&self, name: &str) -> Vec<(String, usize)> {
        let export = reqwest::get(self.plc.url("/export?count=1000")).await.unwrap().text().await.unwrap();
        let of_name = |line: &Value| line["operation"]["alsoKnownAs"] == json!([format!("at://{name}.test")]);
        let lines = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(of_name);
        let mut registered = Vec::new();
        for did in lines.map(|line| line["did"].as_str().unwrap().to_owned()) {
            let log = reqwest::get(self.plc.url(&format!("/{did}/log"))).await.unwrap();
            registered.push((did, log.json::<Value>().await.unwrap().as_array().unwrap().len()));
        }
        registered
    }

    /// Lets a server that is asked for the account die there.
    async fn die_asked(&self, name: &str, place: &str) {
        let server = Process::start(self.named(Some(place))).await;
        let answer = request(&server, name).send().await.map(|answer| answer.status());
        let ended = server.ended_within(Duration::from_secs(5)).await;
        assert!(ended.is_some(), "{name}: asking does not lead to {place}: {answer:?}");
    }

    /// Asks a server that lives on, twice, and checks what there is then.
    async fn ask(&mut self, name: &str) -> String {
        let server = Process::start(self.named(None)).await;
        let mut dids = Vec::new();
        for _ in 0..2 {
            let answer = request(&server, name).send().await.unwrap();
            let (status, made) = (answer.status(), answer.json::<Value>().await.unwrap());
            assert_eq!(status, 200, "{name}: {made}");
            let session = Client::new().get(server.url("/xrpc/com.atproto.server.getSession"));
            let session = session.bearer_auth(made["accessJwt"].as_str().unwrap()).send().await.unwrap();
            assert_eq!(session.json::<Value>().await.unwrap()["did"], made["did"], "{name}");
            dids.push(made["did"].as_str().unwrap().to_owned());
        }
        assert_eq!(dids[0], dids[1], "{name}");
        self.mirror.wait_until_told().await;
        self.mirror.read_on(&self.plc).await;
        assert_eq!(self.mirror.told[&dids[0]].kinds, ["identity", "account", "commit", "sync"], "{name}");
        self.mirror.check_store(&dids[0]);
        let accounts = open(&self.path().join("account.sqlite"));
        let left: i64 = accounts.query_row("SELECT count(*) FROM headwater_unfinished", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{name}");
        assert_eq!(server.errors(), [] as [&str; 0], "{name}");
        server.kill().await;
        dids.swap_remove(0)
    }
}

fn request(server: &Process, name: &str) -> RequestBuilder {
    let input = json!({
        "handle": format!("{name}.test"), "email": format!("{name}@example.com"), "password": PASSWORD,
    });
    let url = server.url("/xrpc/com.atproto.server.createAccount");
    Client::new().post(url).header("idempotency-key", format!("for {name}").replace(' ', "-")).json(&input)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_the_process_dies_asking_again_leads_to_one_account() {
    if !cfg!(debug_assertions) {
        return environment::skip("a program built for speed does not die on demand");
    }
    let mut scene = Scene::new().await;
    Process::start(scene.named(None)).await.kill().await;
    for (nth, (first, keeps, made)) in PLACES.into_iter().enumerate() {
        let second_ones = PLACES.into_iter().filter(|_| !made).map(|(second, keeps, _)| (Some(second), keeps));
        for (second, second_keeps) in std::iter::once((None, true)).chain(second_ones) {
            let name = format!("a{nth}{}", second.map_or(0, str::len));
            let name = format!("{name}{}", second.and_then(|second| second.split('.').nth(1)).unwrap_or_default());
            let name = name.replace('-', "");
            scene.die_asked(&name, first).await;
            let mut noted = scene.attempted().unwrap();
            let mut same = keeps;
            if let Some(second) = second {
                scene.die_asked(&name, second).await;
                let now = scene.attempted().unwrap();
                assert!(!keeps || now == noted, "{name}: {second} after {first}");
                (noted, same) = (now, keeps || second_keeps);
            }
            let did = scene.ask(&name).await;
            assert!(!same || did == noted, "{name}: another DID, after {first} and {second:?}");
            assert_eq!(scene.registered(&name).await, [(did, 1)], "{name}: after {first} and {second:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_asked_for_again_within_a_day_is_undone() {
    if !cfg!(debug_assertions) {
        return environment::skip("a program built for speed does not die on demand");
    }
    let mut scene = Scene::new().await;
    Process::start(scene.named(None)).await.kill().await;
    for (place, after) in
        [("create.registered", None), ("create.registered", Some("undo.forgotten")), ("create.told", None)]
    {
        let name = format!("old{}{}", place.len(), after.map_or(0, str::len));
        scene.die_asked(&name, place).await;
        let did = scene.attempted().unwrap();
        scene.execute("UPDATE headwater_attempt SET at = at - 24 * 60 * 60 * 1000");
        if let Some(after) = after {
            let ended = match Starting::new(scene.named(Some(after))).listens().await {
                Ok(process) => process.ended_within(Duration::from_secs(5)).await,
                Err(status) => Some(status),
            };
            assert!(ended.is_some(), "{after}");
        }
        let server = Process::start(scene.named(None)).await;
        let began = Instant::now();
        let kept = place == "create.told";
        let left = |sql: &str| -> i64 {
            open(&scene.path().join("account.sqlite")).query_row(sql, [], |row| row.get(0)).unwrap()
        };
        while left("SELECT (SELECT count(*) FROM headwater_attempt) + (SELECT count(*) FROM headwater_unfinished)") > 0
        {
            assert!(began.elapsed() < Duration::from_secs(10), "{name}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What was made stays, what was not is gone.
        let operations = if kept { 1 } else { 2 };
        assert_eq!(scene.registered(&name).await, [(did.clone(), operations)]);
        assert_eq!(tests::store(scene.path(), &did).is_some(), kept);
        let answer = request(&server, &name).send().await.unwrap();
        assert_eq!(answer.status(), if kept { 400 } else { 200 });
        server.kill().await;
        scene.execute("DELETE FROM headwater_attempt");
    }
    // Before it is left to the other server, whatever its age.
    scene.die_asked("leaver", "create.registered").await;
    let did = scene.attempted().unwrap();
    let mut command = tests::process::of_headwater(&program(), scene.path(), &scene.plc);
    command.env("PDS_PORT", PORT).arg("prepare-downgrade");
    let done = command.output().await.unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(scene.registered("leaver").await, [(did, 2)]);
    scene.mirror.read_on(&scene.plc).await;
}
