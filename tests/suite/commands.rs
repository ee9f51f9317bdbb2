//! The operator's commands, given as an operator gives them: to a server that runs, and where none does.

use std::path::PathBuf;
use std::process::Stdio;

use reqwest::Client;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::process::{headwater, of_headwater};
use tests::{Plc, Process, Smtp, store};
use tokio::io::AsyncWriteExt as _;

/// A data directory, and the server on it if one runs.
pub(crate) struct Place {
    pub(crate) plc: Plc,
    pub(crate) directory: TempDir,
    pub(crate) server: Option<Process>,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Said {
    /// The lines of its output as JSON.
    fn json(&self) -> Vec<Value> {
        assert!(self.success, "{self:?}");
        self.lines()
    }

    /// The same of a command that failed, too.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_headwater-under-test"))
}

impl Place {
    pub(crate) async fn new(serve: bool) -> Self {
        let mut place = Self { plc: Plc::start().await, directory: tempfile::tempdir().unwrap(), server: None };
        if serve {
            place.serve().await;
        }
        place
    }

    pub(crate) async fn serve(&mut self) {
        self.server = Some(Process::start(headwater(&program(), self.directory.path(), &self.plc)).await);
    }

    pub(crate) async fn run(&self, words: &[&str]) -> Said {
        self.run_with(words, "").await
    }

    /// Runs a command that reads `input`.
    async fn run_with(&self, words: &[&str], input: &str) -> Said {
        let mut command = of_headwater(&program(), self.directory.path(), &self.plc);
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that reads nothing may be gone already.
        let _unread = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { success: output.status.success(), output: text(output.stdout), errors: text(output.stderr) }
    }

    /// The status of a log-in.
    async fn logs_in(&self, password: &str) -> u16 {
        let server = self.server.as_ref().unwrap();
        let input = json!({ "identifier": "alice.test", "password": password });
        let url = server.url("/xrpc/com.atproto.server.createSession");
        Client::new().post(url).json(&input).send().await.unwrap().status().as_u16()
    }

    /// The place of the last event.
    pub(crate) fn last(&self) -> u64 {
        let sequence = Connection::open(self.directory.path().join("sequencer.sqlite")).unwrap();
        let last: i64 = sequence.query_row("SELECT max(seq) FROM repo_seq", [], |row| row.get(0)).unwrap();
        last.try_into().unwrap()
    }
}

async fn an_account_is_made_shown_changed_and_deleted(serve: bool) {
    let mut place = Place::new(serve).await;
    let made = place.run(&["account", "create", "alice.test", "alice@example.com", "--json"]).await;
    assert!(made.errors.contains("100 accounts"), "{made:?}");
    let [account, password] = &made.json()[..] else { panic!("{made:?}") };
    let (did, password) = (account["did"].as_str().unwrap(), password["password"].as_str().unwrap());
    assert_eq!((account["handle"].as_str(), account["status"].as_str()), (Some("alice.test"), Some("active")));
    assert_eq!(account["email"], "alice@example.com");
    assert!(account["rev"].is_string(), "{account}");

    let again = place.run(&["account", "create", "alice.test", "other@example.com"]).await;
    assert!(!again.success && again.output.is_empty(), "{again:?}");
    assert!(again.errors.contains("alice.test"), "{again:?}");

    let named = place.run(&["account", "info", "alice.test", "--json"]).await.json();
    assert_eq!(named, place.run(&["account", "info", did, "--json"]).await.json());
    assert_eq!(named[0], *account);
    assert_eq!(place.run(&["account", "list", "--json"]).await.json(), named);
    let list = place.run(&["account", "list"]).await;
    assert!(list.output.contains(did) && list.output.contains("alice.test") && list.output.lines().count() == 1);

    let down = place.run(&["account", "takedown", "alice.test", "--json"]).await.json();
    assert_eq!(down[0]["status"], "takendown");
    if serve {
        assert_eq!(place.logs_in(password).await, 401);
    }
    let up = place.run(&["account", "untakedown", did, "--json"]).await.json();
    assert_eq!((&up[0]["status"], &up[0]["takedownRef"]), (&json!("active"), &Value::Null));

    let set = place.run_with(&["account", "reset-password", did, "--password-stdin"], "a better one\n").await;
    assert!(set.success && !set.output.contains("a better one"), "{set:?}");
    if !serve {
        place.serve().await;
    }
    assert_eq!((place.logs_in(password).await, place.logs_in("a better one").await), (401, 200));
    if !serve {
        place.server.take().unwrap().kill().await;
    }

    let kept = place.run(&["account", "delete", did]).await;
    assert!(!kept.success && kept.errors.contains("--yes"), "{kept:?}");
    assert!(place.run(&["account", "delete", did, "--yes"]).await.success);
    let gone = place.run(&["account", "info", did]).await;
    assert!(!gone.success && gone.errors.contains("there is no account"), "{gone:?}");
    assert!(place.run(&["account", "list"]).await.output.is_empty());
}

#[tokio::test]
async fn an_account_is_made_shown_changed_and_deleted_beside_a_server() {
    an_account_is_made_shown_changed_and_deleted(true).await;
}

#[tokio::test]
async fn an_account_is_made_shown_changed_and_deleted_without_a_server() {
    an_account_is_made_shown_changed_and_deleted(false).await;
}

/// Runs SQL on the account's store, beside the server if one runs.
fn meddle(place: &Place, did: &str, sql: &str) {
    let database = store(place.directory.path(), did).unwrap().join("store.sqlite");
    let changed = Connection::open(database).unwrap().execute(sql, []).unwrap();
    assert!(changed > 0, "{sql}");
}

async fn a_damaged_repository_is_found_and_built_anew(serve: bool) {
    let mut place = Place::new(true).await;
    let sign_up = json!({ "handle": "alice.test", "email": "alice@example.com", "password": "correct horse" });
    let client = Client::new();
    let server = place.server.as_ref().unwrap();
    let call = |method: &str| client.post(server.url(&format!("/xrpc/com.atproto.{method}")));
    let alice: Value = call("server.createAccount").json(&sign_up).send().await.unwrap().json().await.unwrap();
    let (did, token) = (alice["did"].as_str().unwrap(), alice["accessJwt"].as_str().unwrap());
    for number in 0..60 {
        let record = json!({ "$type": "com.example.note", "number": number });
        let input =
            json!({ "repo": did, "collection": "com.example.note", "rkey": format!("n{number:02}"), "record": record });
        assert_eq!(call("repo.putRecord").bearer_auth(token).json(&input).send().await.unwrap().status(), 200);
    }
    if !serve {
        place.server.take().unwrap().kill().await;
    }

    let sound = place.run(&["repo", "verify", "alice.test", "--json"]).await.json();
    assert_eq!((&sound[0]["records"], &sound[0]["findings"]), (&json!(60), &json!([])), "{sound:?}");
    let all = place.run(&["repo", "verify", "--all"]).await;
    assert!(all.success && all.output.contains("sound") && all.output.lines().count() == 1, "{all:?}");

    let node = "rowid IN (SELECT rowid FROM repo_block WHERE cid NOT IN (SELECT cid FROM record)
        AND cid NOT IN (SELECT cid FROM repo_root) LIMIT 1)";
    for (damage, finding) in [
        (format!("DELETE FROM repo_block WHERE {node}"), "is missing"),
        (format!("UPDATE repo_block SET content = zeroblob(40) WHERE {node}"), "the tree"),
        ("UPDATE repo_block SET content = x'a0' WHERE cid IN (SELECT cid FROM repo_root)".to_owned(), "is damaged"),
        ("DELETE FROM repo_block WHERE cid IN (SELECT cid FROM repo_root)".to_owned(), "is missing"),
        ("DELETE FROM repo_root".to_owned(), "no root"),
        ("INSERT INTO repo_block SELECT 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy', repoRev, size, content
            FROM repo_block LIMIT 1".to_owned(), "belong to nothing"),
        ("UPDATE record SET rkey = 'other', uri = replace(uri, '/n07', '/other') WHERE rkey = 'n07'".to_owned(), "not in the"),
    ] {
        meddle(&place, did, &damage);
        let told = place.last();
        let found = place.run(&["repo", "verify", did]).await;
        assert!(!found.success && found.output.contains("DAMAGED") && found.output.contains(finding), "{damage}: {found:?}");
        assert!(found.errors.contains("1 of 1 repositories are damaged"), "{found:?}");
        let rebuilt = place.run(&["repo", "rebuild", "alice.test", "--json"]).await.json();
        assert_eq!((&rebuilt[0]["records"], &rebuilt[0]["dropped"]), (&json!(60), &json!([])), "{damage}: {rebuilt:?}");
        let after = place.run(&["repo", "verify", did]).await;
        assert!(after.success && after.output.contains("sound"), "{damage}: {after:?}");
        assert_eq!(place.last(), told + 1, "{damage}: told once where it stands");
        let info = place.run(&["account", "info", did, "--json"]).await.json();
        assert_eq!(info[0]["rev"], rebuilt[0]["rev"]);
    }

    meddle(
        &place,
        did,
        "UPDATE repo_block SET content = x'a0' WHERE cid = (SELECT cid FROM record WHERE rkey = 'n11')",
    );
    let (told, found) = (place.last(), place.run(&["repo", "verify", did]).await);
    assert!(found.output.contains("of com.example.note/n11 is damaged"), "{found:?}");
    let refused = place.run(&["repo", "rebuild", did]).await;
    assert!(!refused.success && refused.errors.contains("1 records have no sound block"), "{refused:?}");
    assert_eq!(place.last(), told);
    let rebuilt = place.run(&["repo", "rebuild", did, "--drop-damaged", "--json"]).await.json();
    let uri = format!("at://{did}/com.example.note/n11");
    assert_eq!((&rebuilt[0]["records"], &rebuilt[0]["dropped"]), (&json!(59), &json!([uri])));
    assert!(place.run(&["repo", "verify", "--all"]).await.success);

    if !serve {
        place.serve().await;
    }
    // It takes writes, on top of what was built.
    let server = place.server.as_ref().unwrap();
    let input = json!({ "repo": did, "collection": "com.example.note", "record": { "$type": "com.example.note" } });
    let call = client.post(server.url("/xrpc/com.atproto.repo.createRecord")).bearer_auth(token).json(&input);
    assert_eq!(call.send().await.unwrap().status(), 200);
    assert!(place.run(&["repo", "verify", did]).await.success);
    let unknown = place.run(&["repo", "verify", "nobody.test"]).await;
    assert!(!unknown.success && unknown.errors.contains("there is no account"), "{unknown:?}");
    let both = place.run(&["repo", "verify", "nobody.test", "alice.test"]).await;
    assert!(!both.success && both.output.contains("sound"), "one that fails does not spare the others: {both:?}");
    assert!(both.errors.contains("nobody.test: ") && both.errors.contains("it failed for 1 of 2"), "{both:?}");
}

#[tokio::test]
async fn a_damaged_repository_is_found_and_built_anew_beside_a_server() {
    a_damaged_repository_is_found_and_built_anew(true).await;
}

#[tokio::test]
async fn a_damaged_repository_is_found_and_built_anew_without_a_server() {
    a_damaged_repository_is_found_and_built_anew(false).await;
}

/// The kinds of an account's events, in order.
fn kinds(place: &Place, did: &str) -> Vec<String> {
    let sequence = Connection::open(place.directory.path().join("sequencer.sqlite")).unwrap();
    let mut rows = sequence.prepare("SELECT eventType FROM repo_seq WHERE did = ?1 ORDER BY seq").unwrap();
    rows.query_map([did], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

async fn accounts_are_told_of_anew_and_documents_get_the_key_that_is_here(serve: bool) {
    let mut place = Place::new(false).await;
    let mut dids = Vec::new();
    for name in ["alice", "bob"] {
        let handle = format!("{name}.test");
        let made = place.run(&["account", "create", &handle, &format!("{name}@example.com"), "--json"]).await.json();
        dids.push(made[0]["did"].as_str().unwrap().to_owned());
    }
    let (alice, bob) = (dids[0].as_str(), dids[1].as_str());
    // Another key, as after a restore of the keys from elsewhere.
    std::fs::write(store(place.directory.path(), alice).unwrap().join("key"), [7; 32]).unwrap();
    if serve {
        place.serve().await;
    }
    let told = ["identity", "account", "append", "sync"];
    assert_eq!(kinds(&place, alice), told);

    let damaged = place.run(&["repo", "verify", "alice.test"]).await;
    assert!(damaged.output.contains("not signed by the account's key"), "{damaged:?}");
    let rotated = place.run(&["keys", "rotate", "alice.test", "--json"]).await.json();
    assert_eq!(rotated[0], json!({ "did": alice, "documentChanged": true }));
    assert_eq!(kinds(&place, alice)[4..], ["identity", "account", "identity", "sync"]);
    assert!(place.run(&["repo", "verify", "--all"]).await.success);
    let key = shared::crypto::SigningKey::from_bytes(shared::crypto::Curve::K256, &[7; 32]).unwrap().public_key();
    let document: Value = reqwest::get(place.plc.url(&format!("/{alice}/data"))).await.unwrap().json().await.unwrap();
    assert_eq!(document["verificationMethods"]["atproto"], key.to_did_key());
    let again = place.run(&["keys", "rotate", alice, "--json"]).await.json();
    assert_eq!(again[0]["documentChanged"], false);
    assert_eq!(kinds(&place, alice)[8..], ["account", "identity", "sync"]);

    let published = place.run(&["identity", "publish", alice, bob]).await;
    assert!(published.success && published.output.lines().count() == 2, "{published:?}");
    assert_eq!(
        (kinds(&place, alice)[11..].to_vec(), kinds(&place, bob)[4..].to_vec()),
        (vec!["identity".to_owned()], vec!["identity".to_owned()])
    );
    assert!(place.run(&["account", "takedown", bob]).await.success);
    let resynced = place.run(&["resync", "--all", "--pause-ms", "1"]).await;
    assert!(resynced.success && resynced.output.lines().count() == 2, "{resynced:?}");
    assert_eq!(kinds(&place, alice)[12..], ["account", "identity", "sync"]);
    // Of one that is not served it is told only that.
    assert_eq!(kinds(&place, bob)[5..], ["account", "account"]);
    let unknown = place.run(&["resync", "nobody.test"]).await;
    assert!(!unknown.success && unknown.errors.contains("there is no account"), "{unknown:?}");
    let nobody = place.run(&["resync"]).await;
    assert!(!nobody.success, "{nobody:?}");
}

#[tokio::test]
async fn accounts_are_told_of_anew_and_documents_get_the_key_that_is_here_beside_a_server() {
    accounts_are_told_of_anew_and_documents_get_the_key_that_is_here(true).await;
}

#[tokio::test]
async fn accounts_are_told_of_anew_and_documents_get_the_key_that_is_here_without_a_server() {
    accounts_are_told_of_anew_and_documents_get_the_key_that_is_here(false).await;
}

#[tokio::test]
async fn a_mail_server_is_tried_and_what_is_wrong_with_it_is_explained() {
    let place = Place::new(false).await;
    let without = place.run(&["mail", "test", "alice@example.com"]).await;
    assert!(!without.success && without.errors.contains("PDS_EMAIL_SMTP_URL is not set"), "{without:?}");
    let run = async |url: &str, to: &str| {
        let mut command = of_headwater(&program(), place.directory.path(), &place.plc);
        command.env("PDS_EMAIL_SMTP_URL", url).env("PDS_EMAIL_FROM_ADDRESS", "pds@example.com");
        command.args(["mail", "test", to]).output().await.unwrap()
    };
    let away = run("smtp://127.0.0.1:1", "alice@example.com").await;
    let said = String::from_utf8(away.stderr).unwrap();
    assert!(!away.status.success() && said.contains("No mail server answers at 127.0.0.1:1"), "{said}");
    let Some(mut server) = Smtp::start(json!({})).await else { return };
    let url = format!("smtp://127.0.0.1:{}", server.port());
    let sent = run(&url, "alice@example.com").await;
    assert!(sent.status.success(), "{sent:?}");
    let mail = server.mail().await;
    assert!(mail.to_string().contains("Test from localhost"), "{mail}");
    let wrong = run(&url, "nobody").await;
    assert!(!wrong.status.success());
}

async fn the_sequence_is_raised_and_never_lowered(serve: bool) {
    let place = Place::new(serve).await;
    assert!(place.run(&["account", "create", "alice.test", "alice@example.com"]).await.success);
    let status = place.run(&["sequencer", "status", "--json"]).await.json();
    assert_eq!(status[0]["last"], place.last());
    let raised = place.run(&["sequencer", "bump", "--to", "5000", "--json"]).await.json();
    assert_eq!(raised[0]["last"], 5000);
    let lower = place.run(&["sequencer", "bump", "--to", "10"]).await;
    assert!(!lower.success && lower.errors.contains("5000"), "{lower:?}");
    let highest = place.run(&["sequencer", "bump", "--to", "9007199254740991"]).await;
    assert!(!highest.success && highest.errors.contains("at most"), "{highest:?}");
    let further = place.run(&["sequencer", "bump", "--by", "1000", "--json"]).await.json();
    assert_eq!(further[0]["last"], 6000);
    assert!(place.run(&["account", "takedown", "alice.test"]).await.success);
    assert_eq!(place.last(), 6001);
}

#[tokio::test]
async fn the_sequence_is_raised_and_never_lowered_beside_a_server() {
    the_sequence_is_raised_and_never_lowered(true).await;
}

#[tokio::test]
async fn the_sequence_is_raised_and_never_lowered_without_a_server() {
    the_sequence_is_raised_and_never_lowered(false).await;
}

#[tokio::test]
async fn invite_codes_are_made_beside_a_server_and_without() {
    for serve in [true, false] {
        let place = Place::new(serve).await;
        let made = place.run(&["invite", "create", "--count", "3", "--uses", "2"]).await;
        assert!(made.success && made.output.lines().count() == 3, "{made:?}");
        let accounts = Connection::open(place.directory.path().join("account.sqlite")).unwrap();
        for code in made.output.lines() {
            let sql = "SELECT availableUses FROM invite_code WHERE code = ?1";
            assert_eq!(accounts.query_row(sql, [code], |row| row.get::<_, i64>(0)).unwrap(), 2);
        }
    }
}

#[tokio::test]
async fn a_directory_that_a_killed_server_left_is_made_ready_for_the_reference_server() {
    let mut place = Place::new(true).await;
    assert!(place.run(&["account", "create", "alice.test", "alice@example.com"]).await.success);
    let refused = place.run(&["prepare-downgrade"]).await;
    assert!(!refused.success && refused.errors.contains("stop the server first"), "{refused:?}");
    place.server.take().unwrap().kill().await;
    let store = only_store(place.directory.path());
    let pending = |sql: &str| {
        let store = Connection::open(&store).unwrap();
        let mut statement = store.prepare(sql).unwrap();
        let revs = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        revs.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let (told, untold) = ("2222222222222", "7777777777777");
    for rev in [told, untold] {
        let sql = "INSERT INTO headwater_pending (rev, kind, event) VALUES ({rev}, 'append', x'00') RETURNING rev";
        pending(&sql.replace("{rev}", &format!("'{rev}'")));
    }
    for _ in 0..2 {
        let ready = place.run(&["prepare-downgrade"]).await;
        assert!(ready.success && ready.output.contains("1 stores"), "{ready:?}");
        let mut directories = vec![place.directory.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let log = path.to_str().unwrap().ends_with("-wal");
                assert!(!log || path.metadata().unwrap().len() == 0, "{}", path.display());
                if path.is_dir() {
                    directories.push(path);
                }
            }
        }
    }
    assert_eq!(pending("SELECT rev FROM headwater_pending"), [untold]);
}

/// The only account's store.
fn only_store(directory: &std::path::Path) -> PathBuf {
    let only = |directory: PathBuf| std::fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    only(only(directory.join("actors"))).join("store.sqlite")
}

#[tokio::test]
async fn nobody_but_its_owner_may_use_the_socket_and_another_version_is_told_so() {
    use std::os::unix::fs::PermissionsExt as _;
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let place = Place::new(true).await;
    assert!(place.run(&["sequencer", "status"]).await.success);
    let path = place.directory.path().join("headwater.sock");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for line in [r#"{"version":0,"command":"sequencerStatus"}"#, "nonsense", r#"{"version":5,"command":"unheardOf"}"#] {
        let mut stream = BufReader::new(tokio::net::UnixStream::connect(&path).await.unwrap());
        stream.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).await.unwrap();
        assert!(answer.contains("refused") && answer.contains("another version"), "{answer}");
    }
}

#[tokio::test]
async fn a_directory_with_a_long_path_takes_commands_too() {
    let plc = Plc::start().await;
    let directory = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
    let long = directory.path().join("a-very-long-name-".repeat(10));
    std::fs::create_dir(&long).unwrap();
    let _server = Process::start(headwater(&program(), &long, &plc)).await;
    let output = of_headwater(&program(), &long, &plc).args(["sequencer", "status"]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn the_operator_makes_accounts_where_nobody_else_may() {
    let (plc, directory) = (Plc::start().await, tempfile::tempdir().unwrap());
    let closed = |mut command: tokio::process::Command| {
        command.env_remove("PDS_INVITE_REQUIRED").env("PDS_SIGNUP", "closed");
        command
    };
    let server = Process::start(closed(headwater(&program(), directory.path(), &plc))).await;
    let input = json!({ "handle": "bob.test", "email": "bob@example.com", "password": "x" });
    let url = server.url("/xrpc/com.atproto.server.createAccount");
    assert_eq!(Client::new().post(url).json(&input).send().await.unwrap().status().as_u16(), 400);
    let mut command = closed(of_headwater(&program(), directory.path(), &plc));
    let made = command.args(["account", "create", "alice.test", "alice@example.com"]).output().await.unwrap();
    assert!(made.status.success(), "{made:?}");
    let taken = server.url("/xrpc/com.atproto.identity.resolveHandle?handle=alice.test");
    assert_eq!(reqwest::get(taken).await.unwrap().status().as_u16(), 200);
}
