//! The `headwater` binary. `headwater` alone serves; the configuration is the environment's (see [`origin::config`]).
//!
//! While it serves, standard output carries one JSON object a line, the log; of another command, what was asked for. The
//! server ends on SIGTERM and SIGINT, within [`origin::DRAIN_LIMIT`], with status 0; it works as process 1 of a container.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use origin::app::{App, OpenError};
use origin::commands::{self, Command, Outcome, downgrade};
use origin::config::Config;
use origin::random;
use shared::api::Secret;
use shared::syntax::{AtIdentifier, Handle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Large blocks stay at hand for a second, such as the 16 MiB of a log-in, and are given back then; the C library's own
/// either keeps them for good or has every page of them made anew each time. SQLite's memory is of it, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What relays take from one host unless their operators are asked for more.
const RELAYS_DEFAULT: usize = 100;

/// An AT Protocol personal data server.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Asked>,
}

/// How many async threads there are beside one for each core: short reads of databases are made on them, and one that
/// waits for the disk is to keep nobody waiting.
const MORE_THREADS: usize = 2;

#[derive(Subcommand)]
enum Asked {
    /// Run the server; what `headwater` without a command does
    Serve {
        /// Listen on this address and port instead of on PDS_PORT of all interfaces
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<SocketAddr>,
    },
    /// Make, show and change accounts, beside a running server or without one
    #[command(subcommand)]
    Account(AccountCommand),
    /// Invite people
    #[command(subcommand)]
    Invite(InviteCommand),
    /// Look at the sequence of events, and raise it after a restore
    #[command(subcommand)]
    Sequencer(SequencerCommand),
    /// Look repositories through, and build one anew
    #[command(subcommand)]
    Repo(RepoCommand),
    /// Tell the world anew what accounts are worth, what they are called and where their repositories stand
    Resync(Whom),
    /// Tell of identities
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Signing keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look at where blobs are kept
    #[command(subcommand)]
    Blobs(BlobsCommand),
    /// Look at the way of mail
    #[command(subcommand)]
    Mail(MailCommand),
    /// Look after the edge in front of the server
    #[command(subcommand)]
    Edge(EdgeCommand),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Leave the data directory so that the reference server goes on with it; no server may run
    PrepareDowngrade,
}

#[derive(Args)]
struct Form {
    /// Print JSON, one value a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Password {
    /// Read the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Subcommand)]
enum AccountCommand {
    /// Make an account, with a DID of its own
    Create {
        /// Its name, such as alice.pds.example.com
        handle: Handle,
        /// Its owner's address
        email: String,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        form: Form,
    },
    /// List all accounts, oldest first
    List {
        #[command(flatten)]
        form: Form,
    },
    /// Say all about an account
    Info(Whose),
    /// Take an account down: it is not served, and its sessions end
    Takedown(Whose),
    /// End a takedown
    Untakedown(Whose),
    /// Delete an account with everything in it; there is no way back
    Delete {
        #[command(flatten)]
        whose: Whose,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
    /// Set an account's password, which ends its sessions
    ResetPassword {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        password: Password,
    },
}

#[derive(Args)]
struct Whose {
    /// DID or handle
    account: AtIdentifier,
    #[command(flatten)]
    form: Form,
}

#[derive(Args)]
struct Whom {
    /// DIDs or handles
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    accounts: Vec<AtIdentifier>,
    /// Every account
    #[arg(long)]
    all: bool,
    /// How long to wait after each
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5)]
    pause_ms: u64,
    #[command(flatten)]
    form: Form,
}

#[derive(Subcommand)]
enum BlobsCommand {
    /// Put, copy, read and delete a blob where they are kept, and explain what is wrong if that does not work
    Check,
}

#[derive(Subcommand)]
enum MailCommand {
    /// Send a test mail, and explain what is wrong if it cannot be sent
    Test {
        /// Whom to
        address: String,
    },
}

#[derive(Subcommand)]
enum IdentityCommand {
    /// Have everybody look an account's DID up again
    Publish(Whom),
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Have an account's DID document name the signing key that is here, and tell everything anew
    Rotate(Whom),
}

#[derive(Subcommand)]
enum InviteCommand {
    /// Make invite codes
    Create {
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        count: u32,
        /// For how many sign-ups each is good
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Subcommand)]
enum SequencerCommand {
    /// Say where the sequence stands
    Status {
        #[command(flatten)]
        form: Form,
    },
    /// Bring repositories that were lost, or restored out of an older backup, to where the sequence says that they were
    Recover {
        /// The place of the first event that counts
        #[arg(long, value_name = "PLACE", default_value_t = 0)]
        from: u64,
        /// Change nothing, and say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        form: Form,
    },
    /// Let the next event have a later place: after a restore of a backup, above all that consumers have seen
    Bump {
        /// The place above which the next event's is; it is never lowered
        #[arg(long, value_name = "PLACE", required_unless_present = "by", conflicts_with = "by")]
        to: Option<u64>,
        /// How many places are left out
        #[arg(long, value_name = "PLACES")]
        by: Option<u64>,
        #[command(flatten)]
        form: Form,
    },
}

#[derive(Subcommand)]
enum RepoCommand {
    /// Look repositories through: commit, tree, records, blocks, blobs; nothing is changed
    Verify(Whom),
    /// Build a repository's tree anew out of its records, and tell the world where it stands
    Rebuild {
        #[command(flatten)]
        whose: Whose,
        /// Give up what is lost: records that have no sound block, and what an older store lacks of what was told;
        /// that is refused otherwise
        #[arg(long)]
        drop_damaged: bool,
    },
}

#[derive(Subcommand)]
enum EdgeCommand {
    /// Say which regions there are, and how many of their replicas are behind
    Status {
        #[command(flatten)]
        form: Form,
    },
    /// Have the edge drop every copy of an account, of one that is deleted, too
    Purge(Whose),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say everything that is wrong with the environment and what a start would do, and change nothing
    Check {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let asked = Arguments::parse().command.unwrap_or(Asked::Serve { listen: None });
    if let Asked::Config(ConfigCommand::Check { json }) = asked {
        let usable = commands::check_config(json, &mut io::stdout().lock(), &mut io::stderr().lock())?;
        return Ok(if usable { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cores + MORE_THREADS).enable_all().build()?;
    runtime.block_on(async {
        match asked {
            Asked::Serve { listen } => serve(listen).await,
            Asked::Account(command) => account(command).await,
            Asked::Invite(InviteCommand::Create { count, uses, form }) => {
                execute(Command::CreateInvites { count, uses }, &form).await.map(drop)
            }
            Asked::Sequencer(SequencerCommand::Status { form }) => {
                execute(Command::SequencerStatus, &form).await.map(drop)
            }
            Asked::Sequencer(SequencerCommand::Recover { from, dry_run, form }) => recover(from, dry_run, &form).await,
            Asked::Sequencer(SequencerCommand::Bump { to, by, form }) => {
                let command = match to {
                    Some(place) => Command::RaiseSequence(place),
                    None => Command::AdvanceSequence(by.unwrap_or_default()),
                };
                execute(command, &form).await.map(drop)
            }
            Asked::Repo(command) => repo(command).await,
            Asked::Resync(whom) => whom.each(Command::Resync, |_| {}).await,
            Asked::Identity(IdentityCommand::Publish(whom)) => whom.each(Command::PublishIdentity, |_| {}).await,
            Asked::Keys(KeysCommand::Rotate(whom)) => whom.each(Command::PublishKey, |_| {}).await,
            Asked::Blobs(BlobsCommand::Check) => check_blobs().await,
            Asked::Mail(MailCommand::Test { address }) => test_mail(&address).await,
            Asked::Edge(EdgeCommand::Status { form }) => execute(Command::EdgeStatus, &form).await.map(drop),
            Asked::Edge(EdgeCommand::Purge(Whose { account, form })) => {
                execute(Command::PurgeEdge(account), &form).await.map(drop)
            }
            Asked::PrepareDowngrade => prepare_downgrade().await,
            Asked::Config(_) => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Carries a command out, here or in the server that runs, and prints what came of it.
async fn execute(command: Command, form: &Form) -> anyhow::Result<Outcome> {
    let outcome = commands::execute(Config::from_env()?, command).await?;
    outcome.print(form.json, &mut io::stdout().lock())?;
    Ok(outcome)
}

async fn account(command: AccountCommand) -> anyhow::Result<()> {
    match command {
        AccountCommand::Create { handle, email, password, form } => {
            let (password, made) = password.get()?;
            execute(Command::CreateAccount { handle, email, password: password.clone() }, &form).await?;
            say_password(&password, made, &form)?;
            eprintln!(
                "Relays take {RELAYS_DEFAULT} accounts from a host by default: ask their operators for more before there are."
            );
        }
        AccountCommand::List { form } => {
            let mut cursor = None;
            loop {
                match execute(Command::ListAccounts { cursor }, &form).await? {
                    Outcome::Accounts { accounts, cursor: Some(next) } if !accounts.is_empty() => cursor = Some(next),
                    _ => break,
                }
            }
        }
        AccountCommand::Info(whose) => {
            execute(Command::ShowAccount(whose.account), &whose.form).await?;
        }
        AccountCommand::Takedown(whose) => {
            execute(Command::TakeDown(whose.account), &whose.form).await?;
        }
        AccountCommand::Untakedown(whose) => {
            execute(Command::Restore(whose.account), &whose.form).await?;
        }
        AccountCommand::Delete { whose, yes } => {
            if !yes && !is_meant(&whose.account)? {
                bail!("nothing was deleted");
            }
            execute(Command::DeleteAccount(whose.account), &whose.form).await?;
        }
        AccountCommand::ResetPassword { whose, password } => {
            let (password, made) = password.get()?;
            execute(Command::SetPassword { account: whose.account, password: password.clone() }, &whose.form).await?;
            say_password(&password, made, &whose.form)?;
        }
    }
    Ok(())
}

async fn repo(command: RepoCommand) -> anyhow::Result<()> {
    let (mut looked_at, mut damaged) = (0_u64, 0_u64);
    match command {
        RepoCommand::Rebuild { whose, drop_damaged } => {
            let command = Command::RebuildRepo { account: whose.account, drop_damaged };
            return execute(command, &whose.form).await.map(drop);
        }
        RepoCommand::Verify(whom) => {
            let verified = |outcome: &Outcome| {
                looked_at += 1;
                damaged += u64::from(is_damaged(outcome));
            };
            whom.each(Command::VerifyRepo, verified).await?;
        }
    }
    if damaged > 0 { bail!("{damaged} of {looked_at} repositories are damaged") } else { Ok(()) }
}

/// Recovers every account, one after the other. What is wrong with one does not spare the others.
async fn recover(from: u64, dry_run: bool, form: &Form) -> anyhow::Result<()> {
    let (mut looked_at, mut changed, mut failed, mut after) = (0_u64, 0_u64, 0_u64, None);
    loop {
        let listed = commands::execute(Config::from_env()?, Command::ListRecoverable { after }).await?;
        let Outcome::Recoverable { dids, after: next } = listed else { return Ok(()) };
        for did in dids {
            looked_at += 1;
            match commands::execute(Config::from_env()?, Command::Recover { did: did.clone(), from, dry_run }).await {
                Ok(outcome) => {
                    outcome.print(form.json, &mut io::stdout().lock())?;
                    if let Outcome::Recovered(recovery) = &outcome {
                        failed += u64::from(recovery.failure.is_some());
                        changed += u64::from(recovery.commits > 0 || recovery.deleted);
                    }
                }
                Err(error) if error.is_answer() => {
                    failed += 1;
                    eprintln!("{did}: {:#}", anyhow::Error::from(error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    if !form.json {
        let what = if dry_run { "would be changed" } else { "were changed" };
        println!("{looked_at} accounts were looked at, {changed} {what}");
    }
    if failed > 0 { bail!("{failed} of {looked_at} accounts are not where the sequence says") } else { Ok(()) }
}

impl Whom {
    /// Carries a command out for each of them, one after the other. What is wrong with one does not spare the others: it
    /// is said, and that there was something at the end.
    async fn each(
        self,
        command: impl Fn(AtIdentifier) -> Command,
        mut came_to: impl FnMut(&Outcome),
    ) -> anyhow::Result<()> {
        let Self { accounts, all, pause_ms, form } = self;
        let (mut page, mut cursor) = (accounts, None);
        let (mut asked, mut failed) = (0_u64, 0_u64);
        loop {
            if all {
                let listed = commands::execute(Config::from_env()?, Command::ListAccounts { cursor }).await?;
                let Outcome::Accounts { accounts, cursor: next } = listed else { return Ok(()) };
                page = accounts.into_iter().map(|account| account.did.into()).collect();
                cursor = next;
            }
            for account in std::mem::take(&mut page) {
                asked += 1;
                match commands::execute(Config::from_env()?, command(account.clone())).await {
                    Ok(outcome) => {
                        outcome.print(form.json, &mut io::stdout().lock())?;
                        came_to(&outcome);
                    }
                    Err(error) if error.is_answer() => {
                        failed += 1;
                        eprintln!("{account}: {:#}", anyhow::Error::from(error));
                    }
                    Err(error) => return Err(error.into()),
                }
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            if cursor.is_none() {
                return if failed > 0 { bail!("it failed for {failed} of {asked}") } else { Ok(()) };
            }
        }
    }
}

async fn check_blobs() -> anyhow::Result<()> {
    let blobs = Config::from_env()?.storage.blobs;
    origin::blobstore::check(&blobs).await?;
    println!("Blobs can be kept in {blobs}: one was put there, copied, read, taken down and deleted.");
    Ok(())
}

async fn test_mail(to: &str) -> anyhow::Result<()> {
    let config = Config::from_env()?;
    let email = config.email.as_ref().context("PDS_EMAIL_SMTP_URL is not set: no mail is sent")?;
    origin::mail::check(email, &config.service.hostname, to).await?;
    println!("The mail server took a test mail for {to}. If it does not arrive, look at the recipient's spam.");
    Ok(())
}

fn is_damaged(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Verified(repo) if !repo.findings.is_empty())
}

impl Password {
    /// The password, and whether it was made here.
    fn get(&self) -> anyhow::Result<(Secret, bool)> {
        if !self.password_stdin {
            return Ok((Secret::new(random::grouped(4, 6)), true));
        }
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("standard input")?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            bail!("there is no password on standard input");
        }
        Ok((Secret::new(text), false))
    }
}

/// Says a password that was made here: nobody else knows it.
fn say_password(password: &Secret, made: bool, form: &Form) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match (made, form.json) {
        (false, _) => Ok(()),
        (true, false) => writeln!(output, "{:<13}{}", "password", password.expose()),
        (true, true) => writeln!(output, "{}", serde_json::json!({ "password": password.expose() })),
    }
}

/// Asks whether the account is to be deleted.
fn is_meant(account: &AtIdentifier) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("say --yes to delete {account} with everything in it");
    }
    eprint!("Delete {account} with everything in it? There is no way back. [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn prepare_downgrade() -> anyhow::Result<()> {
    let app = match App::open(Config::from_env()?) {
        Err(error @ OpenError::InUse(_)) => return Err(error).context("stop the server first"),
        opened => opened?,
    };
    let ready = downgrade::prepare(&app, |stores| {
        if stores % 1000 == 0 {
            eprintln!("{stores} stores");
        }
    })
    .await?;
    println!(
        "Ready: {} stores are one file each, {} accounts had something left to tell. The reference server can start here.",
        ready.stores, ready.told
    );
    Ok(())
}

async fn serve(listen: Option<SocketAddr>) -> anyhow::Result<()> {
    tracing_subscriber::fmt().json().flatten_event(true).init();
    let config = Config::from_env()?;
    let addresses = match listen {
        Some(address) => vec![address],
        // Both families through one socket; IPv4 alone where the system has no IPv6.
        None => vec![
            (Ipv6Addr::UNSPECIFIED, config.service.port).into(),
            (Ipv4Addr::UNSPECIFIED, config.service.port).into(),
        ],
    };
    let app = App::open(config)?;
    // Installed before the port answers: from the first answer on, a signal is heeded.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener =
        TcpListener::bind(&addresses[..]).await.with_context(|| format!("{addresses:?} cannot be listened on"))?;
    let address = listener.local_addr()?;
    let public_url = app.config().public_url(address.port());
    tracing::info!(%address, public_url, version = env!("CARGO_PKG_VERSION"), "listening");
    origin::serve(listener, app, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await?;
    tracing::info!("stopped");
    Ok(())
}
