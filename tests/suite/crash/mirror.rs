//! A consumer that reads the sequence out of the data directory and believes nothing: it verifies every event, and holds
//! the accounts' stores against what the events say.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _};
use shared::cid::Cid;
use shared::crypto::PublicKey;
use shared::firehose::verify::{Known, verify_commit, verify_sync};
use shared::firehose::{Body, Event, Kind};
use shared::identity::DidDocument;
use shared::repo::mst::{Step, Walk};
use shared::repo::{Action, Block, BlockMap, car};
use shared::syntax::Did;
use tests::{Plc, store};

use super::ledger::Changes;

/// One account as its events tell of it.
#[derive(Debug)]
pub(crate) struct Told {
    key: PublicKey,
    known: Option<Known>,
    commit: Option<Cid>,
    /// The records, by path.
    pub(crate) records: BTreeMap<String, Cid>,
    /// Each revision's commit and the paths it changed.
    pub(super) revs: HashMap<String, (String, Changes)>,
    /// The kinds of event, in order, without commits that are not the first.
    pub(crate) kinds: Vec<&'static str>,
    /// What the last event of the account's worth says: whether it is active, and why not.
    pub(crate) worth: Option<(bool, Option<String>)>,
    /// Whether it was said that the repository is another now: what its records are is not known since.
    moved: bool,
}

/// The sequence, as far as it was read.
#[derive(Debug)]
pub(crate) struct Mirror {
    directory: PathBuf,
    last: i64,
    /// How many rows there were and how long they are together: what was read must never change.
    rows: (i64, i64),
    /// The one account that is read of; then its repository may be replaced, by an import or an activation after one.
    only: Option<String>,
    pub(crate) told: HashMap<String, Told>,
}

/// Opens a database beside the server, and closes it without touching it.
pub(crate) fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    connection
}

impl Mirror {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), last: 0, rows: (0, 0), only: None, told: HashMap::new() }
    }

    /// One that reads of one account alone, and accepts that its repository is replaced by another.
    pub(crate) fn of(directory: &Path, did: &str) -> Self {
        Self { only: Some(did.to_owned()), ..Self::new(directory) }
    }

    /// Waits until the server has told everything that earlier ones had not.
    pub(crate) async fn wait_until_told(&self) {
        let sequencer = open(&self.directory.join("sequencer.sqlite"));
        let accounts = open(&self.directory.join("account.sqlite"));
        let count = |connection: &Connection, table: &str| -> i64 {
            connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        let started = Instant::now();
        loop {
            let left = (count(&sequencer, "headwater_dirty"), count(&accounts, "headwater_outbox"));
            if left == (0, 0) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "left to tell: {left:?} accounts and events");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reads on, and verifies every event: its signature, its blocks, that undoing it leads to what was before.
    pub(crate) async fn read_on(&mut self, plc: &Plc) {
        let rows = {
            let sequencer = open(&self.directory.join("sequencer.sqlite"));
            let before: (i64, i64) = sequencer
                .query_row(
                    "SELECT count(*), ifnull(sum(length(event)), 0) FROM repo_seq WHERE seq <= ?1 AND did = ifnull(?2, did)",
                    (self.last, &self.only),
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .unwrap();
            assert_eq!(before, self.rows, "what was read in the sequence up to {} has changed", self.last);
            let mut statement = sequencer
                .prepare(
                    "SELECT seq, did, eventType, event FROM repo_seq WHERE seq > ?1 AND did = ifnull(?2, did) ORDER BY seq",
                )
                .unwrap();
            let rows = statement
                .query_map((self.last, &self.only), |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, Vec<u8>>(3)?,
                    ))
                })
                .unwrap();
            rows.collect::<Result<Vec<_>, _>>().unwrap()
        };
        for (seq, did, kind, event) in rows {
            self.rows = (self.rows.0 + 1, self.rows.1 + i64::try_from(event.len()).unwrap());
            self.last = seq;
            if !self.told.contains_key(&did) {
                self.told.insert(did.clone(), Told::new(key_of(plc, &did).await));
            }
            let event = Body::from_stored(Kind::of_stored_name(&kind).unwrap(), event.into()).decode().unwrap();
            assert_eq!(event.did().as_str(), did);
            self.told.get_mut(&did).unwrap().take(seq, &event, self.only.is_some());
        }
    }

    /// Holds one account's store against its events, and the list of repositories against its store.
    pub(crate) fn check_store(&self, did: &str) {
        let told = &self.told[did];
        let path = store(&self.directory, did).unwrap_or_else(|| panic!("{did} has no store"));
        let store = open(&path.join("store.sqlite"));
        let root = |connection: &Connection| -> Option<(String, String)> {
            let sql = "SELECT cid, rev FROM repo_root WHERE did = ?1";
            connection.query_row(sql, [did], |row| Ok((row.get(0)?, row.get(1)?))).optional().unwrap()
        };
        let (commit, known) = (told.commit.clone().unwrap(), told.known.clone().unwrap());
        let head = (commit.to_string(), known.rev.as_str().to_owned());
        assert_eq!(root(&store), Some(head.clone()), "{did}: the store does not stand where its last event says");
        let accounts = open(&self.directory.join("account.sqlite"));
        assert_eq!(root(&accounts), Some(head), "{did}: the list of repositories is behind");

        let rows = |sql: &str| -> Vec<(String, Vec<u8>)> {
            let mut statement = store.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    match row.get_ref(1)? {
                        rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => {
                            bytes.to_vec()
                        }
                        other => panic!("{other:?}"),
                    },
                ))
            });
            rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap()
        };
        let records: BTreeMap<String, Cid> = rows("SELECT collection || '/' || rkey, cid FROM record")
            .into_iter()
            .map(|(path, cid)| (path, Cid::parse(std::str::from_utf8(&cid).unwrap()).unwrap()))
            .collect();
        if !told.moved {
            assert_eq!(records, told.records, "{did}: the table of records is not what the events say");
        }
        let blocks: BlockMap = rows("SELECT cid, content FROM repo_block")
            .into_iter()
            .map(|(cid, content)| Block { cid: Cid::parse(&cid).unwrap(), bytes: content.into() })
            .collect();
        let mut reached = HashSet::from([commit]);
        let mut leaves = BTreeMap::new();
        for step in Walk::new(&blocks, known.data) {
            match step.unwrap_or_else(|error| panic!("{did}: {error}")) {
                Step::Node(block) => drop(reached.insert(block.cid)),
                Step::Leaf { key, value } => {
                    reached.insert(value.clone());
                    leaves.insert(key.to_string(), value);
                }
            }
        }
        assert_eq!(leaves, records, "{did}: the tree is not the table of records");
        let stored: HashSet<Cid> = blocks.blocks().map(|block| block.cid).collect();
        assert_eq!(stored, reached, "{did}: blocks are missing or left over");
    }
}

impl Told {
    fn new(key: PublicKey) -> Self {
        let (records, revs) = (BTreeMap::new(), HashMap::new());
        Self { key, known: None, commit: None, records, revs, kinds: Vec::new(), worth: None, moved: false }
    }

    fn take(&mut self, seq: i64, event: &Event, moves: bool) {
        let far = u64::MAX / 2;
        match event {
            Event::Commit(commit) => {
                if self.known.is_none() {
                    self.kinds.push("commit");
                }
                let verified = verify_commit(commit, self.known.as_ref(), &self.key, far)
                    .unwrap_or_else(|error| panic!("event {seq} of {}: {error}", commit.repo));
                self.known = Some(verified.head);
                self.commit = Some(commit.commit.clone());
                let mut changes = Vec::new();
                for op in &commit.ops {
                    let path = op.path.as_str().to_owned();
                    let before = match &op.cid {
                        Some(cid) => self.records.insert(path.clone(), cid.clone()),
                        None => self.records.remove(&path),
                    };
                    if !self.moved {
                        assert_eq!(before, op.prev, "event {seq}: {path} was another");
                        assert_eq!(before.is_none(), op.action == Action::Create);
                    }
                    changes.push((path, op.cid.clone()));
                }
                let twice = self.revs.insert(commit.rev.as_str().to_owned(), (commit.commit.to_string(), changes));
                assert!(twice.is_none(), "event {seq}: rev {} was told before", commit.rev);
            }
            // Most often the one at the creation, which says again where the first commit stands.
            Event::Sync(sync) => {
                self.kinds.push("sync");
                let verified = verify_sync(sync, None, &self.key, far).unwrap();
                if moves && Some(&verified.head) != self.known.as_ref() {
                    let blocks = car::read(sync.blocks.clone(), car::MAX_BLOCK_LEN).unwrap();
                    self.commit = Some(blocks.single_root().unwrap().clone());
                    (self.known, self.moved) = (Some(verified.head), true);
                    return;
                }
                assert_eq!(Some(verified.head), self.known, "event {seq} of {}: a #sync out of turn", sync.did);
            }
            Event::Identity(_) => self.kinds.push("identity"),
            Event::Account(account) => {
                self.kinds.push("account");
                self.worth =
                    Some((account.active, account.status.as_ref().map(|status| format!("{status:?}").to_lowercase())));
            }
        }
    }
}

/// The signing key that the directory has for `did`.
async fn key_of(plc: &Plc, did: &str) -> PublicKey {
    let answer = reqwest::get(plc.url(&format!("/{did}"))).await.unwrap();
    let document = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    DidDocument::parse(&Did::parse(did).unwrap(), document).unwrap().signing_key().unwrap()
}
