//! The data directory that both servers stand on copies of.

use std::error::Error;
use std::path::Path;

use serde_json::{Value, json};
use tests::Plc;
use tokio::process::Command;

use crate::rows::{Row, create};
use crate::server::{Kind, PASSWORD, Server};

/// The accounts, by their places in [`Seed::accounts`], and how many records they have at first.
pub(crate) const SMALL: usize = 0;
pub(crate) const MIDDLE: usize = 1;
pub(crate) const LARGE: usize = 2;
pub(crate) const HUGE: usize = 3;
/// The one whose last events are told again, each of them of one record.
pub(crate) const TOLD: usize = 4;
const ACCOUNTS: [(&str, usize); 5] =
    [("small", 100), ("middle", 10_000), ("large", 50_000), ("huge", 100_000), ("told", 100)];
/// How many events there are to be told again.
pub(crate) const EVENTS: u64 = 2_000;

pub(crate) const BLOB_LEN: usize = 1024 * 1024;

/// What the data directory was filled with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seed {
    pub(crate) accounts: Vec<Account>,
    /// A blob of 1 MiB of the first account, by its CID; none where no row asks for it.
    pub(crate) blob: String,
    /// The sequence number of the last event.
    pub(crate) last: u64,
}

/// An account and what is asked about it.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) did: String,
    pub(crate) handle: String,
    /// The key of one of its posts.
    pub(crate) rkey: String,
}

/// Fills `data` by this server, with what `rows` need, and stops it.
pub(crate) async fn fill(
    headwater: Command,
    data: &Path,
    plc: &Plc,
    rows: &[&Row],
    tiny: bool,
) -> Result<Seed, Box<dyn Error>> {
    std::fs::create_dir_all(data)?;
    let mut server = Server::start(Kind::Ours, headwater, data, plc, Seed::default()).await?;
    let mut seed = Seed::default();
    for (nth, (name, records)) in ACCOUNTS.into_iter().enumerate() {
        let handle = format!("{name}.test");
        let account = json!({ "handle": handle, "email": format!("{name}@example.com"), "password": PASSWORD });
        let made = server.post("com.atproto.server.createAccount", None, &account).await?.error_for_status()?;
        let made: Value = made.json().await?;
        let text = |field: &str| made[field].as_str().unwrap_or_default().to_owned();
        server.tokens.push(text("accessJwt"));
        let did = text("did");
        let needed = rows.iter().any(|row| row.account == nth);
        let records = if needed && !tiny { records } else { (records / 100).max(ACCOUNTS[SMALL].1) };
        let mut rkey = String::new();
        for from in (0..records).step_by(200) {
            let writes: Vec<Value> = (from..records.min(from + 200)).map(|number| creation(&post(number))).collect();
            let batch = json!({ "repo": did, "writes": writes });
            let done = server.post("com.atproto.repo.applyWrites", Some(nth), &batch).await?;
            if !done.status().is_success() {
                return Err(format!("a batch of {name} after {from}: {} {}", done.status(), done.text().await?).into());
            }
            let done: Value = done.json().await?;
            let uri = done["results"][0]["uri"].as_str().unwrap_or_default();
            uri.rsplit('/').next().unwrap_or_default().clone_into(&mut rkey);
        }
        seed.accounts.push(Account { did, handle, rkey });
    }
    if rows.iter().any(|row| row.needs_blob) {
        seed.blob = blob(&server, &seed.accounts[SMALL].did).await?;
    }
    if rows.iter().any(|row| row.account == TOLD) {
        // Now the server knows who it is about.
        server.seed = seed.clone();
        for number in 0..if tiny { EVENTS / 100 } else { EVENTS } {
            create(&server, TOLD, number).await?.error_for_status()?;
        }
    }
    server.stop().await?;
    seed.last = last_event(data)?;
    Ok(seed)
}

/// Uploads a blob and a record that refers to it.
async fn blob(server: &Server, did: &str) -> Result<String, Box<dyn Error>> {
    let blob = server.upload(SMALL, vec![7; BLOB_LEN]).await?.error_for_status()?.json::<Value>().await?;
    let mut record = post(0);
    let image = json!({ "alt": "", "image": blob["blob"] });
    record["embed"] = json!({ "$type": "app.bsky.embed.images", "images": [image] });
    let input = json!({ "repo": did, "collection": "app.bsky.feed.post", "record": record, "validate": false });
    server.post("com.atproto.repo.createRecord", Some(SMALL), &input).await?.error_for_status()?;
    Ok(blob["blob"]["ref"]["$link"].as_str().unwrap_or_default().to_owned())
}

fn last_event(data: &Path) -> Result<u64, Box<dyn Error>> {
    let sequence = rusqlite::Connection::open(data.join("sequencer.sqlite"))?;
    let last: i64 = sequence.query_row(r#"SELECT max("seq") FROM "repo_seq""#, [], |row| row.get(0))?;
    Ok(u64::try_from(last)?)
}

/// A post of about 250 bytes, as most are.
pub(crate) fn post(number: usize) -> Value {
    json!({
        "$type": "app.bsky.feed.post",
        "text": format!("Post {number}: {}", "words that somebody wrote down ".repeat(5)),
        "createdAt": "2026-01-02T03:04:05.678Z",
        "langs": ["en"],
    })
}

pub(crate) fn creation(value: &Value) -> Value {
    json!({ "$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post", "value": value })
}

/// Copies a directory with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
