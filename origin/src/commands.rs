//! The operator's commands: what the binary does beside serving.
//!
//! A command runs where the data directory is held: in the server, which takes it over a socket ([`socket`]), or, when no
//! server runs, in the process that was asked ([`execute`]). Both call [`run`], and that calls what the methods of
//! `com.atproto.*` call. [`print`](Outcome::print) says what came of it.

mod check;
pub mod downgrade;
mod print;
pub mod socket;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::api::Secret;
use shared::api::server::CreateAccount;
use shared::link::Region;
use shared::syntax::{AtIdentifier, Did, Handle};

use crate::account::{Account, AccountError, Include};
use crate::actor::{Audit, RebuildError, WriteError};
use crate::app::{App, OpenError};
use crate::config::Config;
use crate::db::DbError;
use crate::feed::{self, SendError};
use crate::lifecycle::{self, LifecycleError, Recovered};
use crate::sequencer::SequenceError;

pub use check::check_config;
use socket::AskError;

/// Who holds invite codes that are made here.
const ADMIN: &str = "admin";
/// How long nobody may answer who has the data directory, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// The highest place that consumers written in JavaScript can tell from the next; far above what is ever reached.
const MAX_PLACE: u64 = (1 << 53) - 1;
/// How many dropped records are named.
const NAMED: usize = 1000;
/// How many accounts are listed at a time.
const PAGE: u32 = 500;

/// What is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Command {
    /// Make an account.
    CreateAccount {
        /// Its name.
        handle: Handle,
        /// Its owner's address.
        email: String,
        /// What it is opened with.
        password: Secret,
    },
    /// List accounts, oldest first, a page at a time.
    ListAccounts {
        /// Where the page before ended.
        cursor: Option<String>,
    },
    /// Say all about an account.
    ShowAccount(AtIdentifier),
    /// Take an account down.
    TakeDown(AtIdentifier),
    /// End a takedown.
    Restore(AtIdentifier),
    /// Delete an account with everything in it.
    DeleteAccount(AtIdentifier),
    /// Set an account's password, which ends its sessions.
    SetPassword {
        /// Whose.
        account: AtIdentifier,
        /// What it is opened with.
        password: Secret,
    },
    /// Make invite codes.
    CreateInvites {
        /// How many.
        count: u32,
        /// For how many sign-ups each is good.
        uses: u32,
    },
    /// Say where the sequence stands.
    SequencerStatus,
    /// See to it that the next event's place is above this one.
    RaiseSequence(u64),
    /// See to it that the next event's place is further on by so many.
    AdvanceSequence(u64),
    /// List whoever has an account or events, a page at a time.
    ListRecoverable {
        /// Where the page before ended.
        after: Option<Did>,
    },
    /// Bring an account to where the sequence says that it was.
    Recover {
        /// Whose.
        did: Did,
        /// The place of the first event that counts.
        from: u64,
        /// Whether it is only to be said what would be done.
        dry_run: bool,
    },
    /// Tell what an account is called.
    PublishIdentity(AtIdentifier),
    /// Tell what an account is worth, what it is called and where its repository stands.
    Resync(AtIdentifier),
    /// Have an account's document name the key that is here, and tell everything anew.
    PublishKey(AtIdentifier),
    /// Look an account's repository through.
    VerifyRepo(AtIdentifier),
    /// Build the tree of an account's repository anew, out of its records.
    RebuildRepo {
        /// Whose.
        account: AtIdentifier,
        /// Whether records may be dropped that have no sound block, and what an older store lacks of what was told.
        drop_damaged: bool,
    },
    /// Say how things stand with the edge.
    EdgeStatus,
    /// Have the edge drop every copy of an account, whether there is such an account or not.
    PurgeEdge(AtIdentifier),
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// An account.
    Account(AccountInfo),
    /// A page of accounts, and where it ends; the last one ends nowhere.
    Accounts {
        /// They.
        accounts: Vec<AccountInfo>,
        /// Where the next page begins.
        cursor: Option<String>,
    },
    /// The account is gone.
    Deleted {
        /// Whether there was one.
        existed: bool,
        /// The regions of the edge that have not acknowledged it yet.
        #[serde(default)]
        edge_behind: Vec<Region>,
    },
    /// Invite codes.
    Invites(Vec<String>),
    /// Where the sequence stands.
    Sequence(SequenceInfo),
    /// Whoever has an account or events, a page of them.
    Recoverable {
        /// They, in the order of their bytes.
        dids: Vec<Did>,
        /// Where the next page begins; the last one ends nowhere.
        after: Option<Did>,
    },
    /// What the recovery of an account came to.
    Recovered(RecoveryInfo),
    /// An account was told of anew. `key`: its document named another key, and names the one that is here now.
    Told {
        /// Whose.
        did: Did,
        /// Whether its document was changed.
        key: bool,
    },
    /// How a repository is.
    Verified(RepoInfo),
    /// A repository was built anew.
    Rebuilt {
        /// Whose.
        did: Did,
        /// Its commit.
        commit: String,
        /// The revision of that.
        rev: String,
        /// How many records it holds.
        records: u64,
        /// The records that were dropped, the first thousand.
        dropped: Vec<String>,
        /// How many more were.
        more: u64,
    },
    /// How things stand with the edge.
    Edge(EdgeInfo),
    /// The edge has dropped an account's copies.
    Purged {
        /// How many blobs were among them.
        blobs: u64,
    },
}

/// What is known of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountInfo {
    /// Whose it is.
    pub did: Did,
    /// Its name, if it has one.
    pub handle: Option<Handle>,
    /// Its owner's address.
    pub email: Option<String>,
    /// `active`, or why it is not.
    pub status: String,
    /// When it came to this server.
    pub created_at: String,
    /// When the address was confirmed.
    pub email_confirmed_at: Option<String>,
    /// On whose word or when it was taken down.
    pub takedown_ref: Option<String>,
    /// When it was deactivated.
    pub deactivated_at: Option<String>,
    /// The revision of its repository.
    pub rev: Option<String>,
    /// The regions of the edge that have not acknowledged its last change yet, and are told again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edge_behind: Vec<Region>,
}

/// How things stand with the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeInfo {
    /// Where it is.
    pub url: String,
    /// Where the feed stands.
    pub position: u64,
    /// How many orders to drop copies it has not carried out yet.
    pub purges: u64,
    /// The regions that are known.
    pub regions: Vec<RegionInfo>,
}

/// How things stand with a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionInfo {
    /// Which.
    pub region: Region,
    /// How many replicas are told of changes.
    pub replicas: u64,
    /// How many of them have not acknowledged the last one yet.
    pub behind: u64,
}

/// How a repository is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepoInfo {
    /// Whose it is.
    pub did: Did,
    /// How many records it holds.
    pub records: u64,
    /// How many blocks.
    pub blocks: u64,
    /// How many blobs its records refer to that are not here.
    pub missing_blobs: u64,
    /// What is wrong with it; the first findings.
    pub findings: Vec<String>,
    /// How many more there are.
    pub more: u64,
}

/// What the recovery of an account came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryInfo {
    /// Whose.
    pub did: Did,
    /// Whether nothing was done, and this is what would be.
    pub dry_run: bool,
    /// How many commits were made again out of their events.
    pub commits: u64,
    /// Whether there was no repository before.
    pub made: bool,
    /// Whether its head is signed by another key than the one that is here.
    pub other_key: bool,
    /// Whether the account was deleted, as it had been before.
    pub deleted: bool,
    /// How many blobs its records refer to that are not here; not known of a dry run.
    pub missing_blobs: Option<u64>,
    /// What was told last of its worth, if that is not what it is worth.
    pub told: Option<String>,
    /// Why its repository is not where the sequence says; it is as it was.
    pub failure: Option<String>,
}

/// Where the sequence stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SequenceInfo {
    /// The last place that was given away; 0 before the first.
    pub last: u64,
    /// How many accounts may hold a commit that is not in the sequence, or were written to since the server started.
    pub dirty: u64,
    /// How many changes of accounts wait to be told.
    pub waiting: u64,
    /// How many consumers there are, where a server runs.
    pub consumers: u64,
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such account.
    #[error("there is no account {0}")]
    NoAccount(AtIdentifier),
    /// The sequence is beyond the place already, and never goes back.
    #[error("the sequence is at {last} already; it can only be raised")]
    NotAbove {
        /// Where it is.
        last: u64,
    },
    /// A place that consumers cannot count with.
    #[error("the sequence can be raised to {} at most", MAX_PLACE - 1)]
    TooHigh,
    /// A repository cannot be read.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A repository was not built anew.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// There is no edge in the configuration.
    #[error("no edge is configured: HEADWATER_EDGE_URL is not set")]
    NoEdge,
    /// The edge did not do it.
    #[error(transparent)]
    Edge(#[from] SendError),
    /// What an account's change was refused for.
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    /// What the accounts say.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The sequence failed.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Why a command could not be given, or what the one who carried it out said.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The server that has it cannot be asked.
    #[error("a server has the data directory, and cannot be asked")]
    Ask(#[from] AskError),
    /// It was refused, or failed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl ExecuteError {
    /// Whether the command itself was answered with this: another one may be answered better.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Ask(AskError::Refused(_)))
    }
}

/// Carries a command out where the data directory is held.
///
/// # Errors
/// An [`ExecuteError`].
pub async fn execute(config: Config, command: Command) -> Result<Outcome, ExecuteError> {
    let mut waited = Duration::ZERO;
    loop {
        match App::open(config.clone()) {
            Ok(app) => return Ok(run(&app, command).await?),
            Err(OpenError::InUse(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match socket::ask(&config.storage.data_directory, command.clone()).await {
            // Who has the directory is about to listen or to end, or is a command like this one.
            Err(AskError::Nobody(_)) if waited < PATIENCE => {
                tokio::time::sleep(PAUSE).await;
                waited += PAUSE;
            }
            answered => return Ok(answered?),
        }
    }
}

/// Carries a command out on a data directory that is held.
///
/// # Errors
/// A [`CommandError`]; then nothing is changed, but for what a failure of the system leaves to the next start.
pub async fn run(app: &App, command: Command) -> Result<Outcome, CommandError> {
    let accounts = app.accounts();
    match command {
        Command::CreateAccount { handle, email, password } => {
            let wanted = CreateAccount {
                email: Some(email),
                handle,
                did: None,
                invite_code: invitation(app).await?,
                verification_code: None,
                verification_phone: None,
                password: Some(password),
                recovery_key: None,
                plc_op: None,
            };
            let made = lifecycle::create(app, &wanted, None, None).await?;
            show(app, AtIdentifier::from(made.did)).await
        }
        Command::ListAccounts { cursor } => list(app, cursor.as_deref()).await,
        Command::ShowAccount(account) => show(app, account).await,
        Command::TakeDown(account) => {
            let did = find(app, &account).await?.did;
            lifecycle::take_down(app, &did, None).await?;
            show(app, account).await
        }
        Command::Restore(account) => {
            let did = find(app, &account).await?.did;
            lifecycle::restore(app, &did).await?;
            show(app, account).await
        }
        Command::DeleteAccount(account) => {
            // One whose deletion broke off has no rows any more, and only its DID to be called by.
            let did = match (find(app, &account).await, account) {
                (Ok(found), _) => found.did,
                (Err(CommandError::NoAccount(_)), AtIdentifier::Did(did)) => did,
                (Err(error), _) => return Err(error),
            };
            let existed = lifecycle::delete(app, &did).await?;
            Ok(Outcome::Deleted { existed, edge_behind: app.feed().behind(&did) })
        }
        Command::SetPassword { account, password } => {
            let did = find(app, &account).await?.did;
            accounts.set_password(&did, password.expose()).await?;
            show(app, account).await
        }
        Command::CreateInvites { count, uses } => {
            let made = accounts.create_invite_codes(vec![ADMIN.to_owned()], count, uses.into()).await?;
            Ok(Outcome::Invites(made.into_iter().flat_map(|(_, codes)| codes).collect()))
        }
        Command::SequencerStatus => sequence(app).await,
        Command::RaiseSequence(place) => raise(app, place).await,
        Command::AdvanceSequence(places) => raise(app, app.actors().sequencer().last().saturating_add(places)).await,
        Command::ListRecoverable { after } => recoverable(app, after).await,
        Command::Recover { did, from, dry_run } => {
            let recovered = lifecycle::recover(app, &did, from, dry_run).await?;
            Ok(Outcome::Recovered(RecoveryInfo::of(did, dry_run, recovered)))
        }
        Command::PublishIdentity(account) => {
            let did = find(app, &account).await?.did;
            lifecycle::publish_identity(app, &did).await?;
            Ok(Outcome::Told { did, key: false })
        }
        Command::Resync(account) => {
            let did = find(app, &account).await?.did;
            lifecycle::resync(app, &did).await?;
            Ok(Outcome::Told { did, key: false })
        }
        Command::PublishKey(account) => {
            let did = find(app, &account).await?.did;
            let key = lifecycle::publish_key(app, &did).await?;
            Ok(Outcome::Told { did, key })
        }
        Command::VerifyRepo(account) => {
            let account = find(app, &account).await?;
            let Audit { records, blocks, missing_blobs, findings, more } =
                app.actors().audit(&account.did, account.status().is_active()).await?;
            Ok(Outcome::Verified(RepoInfo { did: account.did, records, blocks, missing_blobs, findings, more }))
        }
        Command::RebuildRepo { account, drop_damaged } => {
            let did = find(app, &account).await?.did;
            let (known, of) = (accounts.clone(), did.clone());
            let is_active = move || known.is_active_blocking(&of);
            // No consumer hears of the new tree before what happened earlier.
            app.announcements().catch_up().await.map_err(LifecycleError::from)?;
            let rebuilt = app.actors().rebuild(&did, drop_damaged, is_active).await?;
            app.actors().sequencer().roots_told().await?;
            let mut dropped = rebuilt.dropped;
            let more = dropped.len().saturating_sub(NAMED) as u64;
            dropped.truncate(NAMED);
            Ok(Outcome::Rebuilt {
                did,
                commit: rebuilt.head.commit.to_string(),
                rev: rebuilt.head.rev.to_string(),
                records: rebuilt.records,
                dropped,
                more,
            })
        }
        Command::EdgeStatus => {
            let feed::Status { url, position, regions, purges } =
                app.feed().status().await?.ok_or(CommandError::NoEdge)?;
            let info = |(region, replicas, behind)| RegionInfo { region, replicas, behind };
            Ok(Outcome::Edge(EdgeInfo { url, position, purges, regions: regions.into_iter().map(info).collect() }))
        }
        Command::PurgeEdge(account) => {
            let did = match account {
                AtIdentifier::Did(did) => did,
                handle @ AtIdentifier::Handle(_) => find(app, &handle).await?.did,
            };
            let blobs = app.feed().purge(&did).await.ok_or(CommandError::NoEdge)??;
            Ok(Outcome::Purged { blobs })
        }
    }
}

/// A page of all of whom there is an account or an event.
async fn recoverable(app: &App, after: Option<Did>) -> Result<Outcome, CommandError> {
    let after = after.map_or_else(String::new, |did| did.as_str().to_owned());
    let mut dids = app.actors().sequencer().dids(after.clone(), PAGE).await?;
    dids.extend(app.accounts().dids(after, PAGE).await?);
    dids.sort_unstable();
    dids.dedup();
    // What is beyond the first so many of both may not be all there is.
    dids.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    let dids: Vec<_> = dids.iter().filter_map(|did| Did::parse(did).ok()).collect();
    let after = dids.last().cloned();
    Ok(Outcome::Recoverable { dids, after })
}

async fn raise(app: &App, place: u64) -> Result<Outcome, CommandError> {
    if place >= MAX_PLACE {
        return Err(CommandError::TooHigh);
    }
    let last = app.actors().sequencer().raise(place).await?;
    if last > place { Err(CommandError::NotAbove { last }) } else { sequence(app).await }
}

/// A code for an account that the operator makes, if one is needed.
async fn invitation(app: &App) -> Result<Option<String>, CommandError> {
    if !app.accounts().config().invites.required {
        return Ok(None);
    }
    let made = app.accounts().create_invite_codes(vec![ADMIN.to_owned()], 1, 1).await?;
    Ok(made.into_iter().flat_map(|(_, codes)| codes).next())
}

async fn find(app: &App, account: &AtIdentifier) -> Result<Account, CommandError> {
    let found = app.accounts().by_identifier(account, Include::ALL).await?;
    found.ok_or_else(|| CommandError::NoAccount(account.clone()))
}

async fn show(app: &App, account: AtIdentifier) -> Result<Outcome, CommandError> {
    let account = find(app, &account).await?;
    app.actors().sequencer().roots_told().await?;
    let root = app.accounts().root(&account.did).await?;
    let edge_behind = app.feed().behind(&account.did);
    let info = AccountInfo::of(account, root.map(|root| root.rev.as_str().to_owned()));
    Ok(Outcome::Account(AccountInfo { edge_behind, ..info }))
}

async fn list(app: &App, cursor: Option<&str>) -> Result<Outcome, CommandError> {
    app.actors().sequencer().roots_told().await?;
    let (repos, cursor) = app.accounts().repos(PAGE, cursor).await?;
    let dids = repos.iter().map(|repo| repo.did.clone()).collect();
    let mut known = app.accounts().by_dids(dids, Include::ALL).await?;
    let mut accounts = Vec::with_capacity(repos.len());
    for repo in repos {
        // One that is deleted between the two looks is left out.
        if let Some(at) = known.iter().position(|account| account.did == repo.did) {
            accounts.push(AccountInfo::of(known.swap_remove(at), Some(repo.rev)));
        }
    }
    Ok(Outcome::Accounts { accounts, cursor })
}

async fn sequence(app: &App) -> Result<Outcome, CommandError> {
    let sequencer = app.actors().sequencer();
    Ok(Outcome::Sequence(SequenceInfo {
        last: sequencer.last(),
        dirty: sequencer.dirty().await?.len() as u64,
        waiting: app.accounts().outbox_count().await?,
        consumers: app.streams().count() as u64,
    }))
}

impl RecoveryInfo {
    fn of(did: Did, dry_run: bool, recovered: Recovered) -> Self {
        let Recovered { commits, made, other_key, deleted, missing_blobs, told, failure } = recovered;
        let failure = failure.as_ref().map(|failure| in_words(failure));
        Self { did, dry_run, commits, made, other_key, deleted, missing_blobs, told, failure }
    }
}

/// An error with everything that led to it.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

impl AccountInfo {
    fn of(account: Account, rev: Option<String>) -> Self {
        Self {
            status: account.status().reason().map_or_else(|| "active".to_owned(), |reason| reason.as_str().to_owned()),
            did: account.did,
            handle: account.handle,
            email: account.email,
            created_at: account.created_at,
            email_confirmed_at: account.email_confirmed_at,
            takedown_ref: account.takedown_ref,
            deactivated_at: account.deactivated_at,
            rev,
            edge_behind: Vec::new(),
        }
    }
}
