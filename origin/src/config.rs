//! What the operator decides: read from the environment once, at the start.
//!
//! The names are the reference server's, with its defaults and its way of reading them, so that one environment starts
//! either. Names of Headwater's own are few and stand beside them. A value that cannot be used is refused, and all such
//! values are reported together; a name that is misspelt or has no effect is warned about. While the hostname is
//! `localhost` everything has a default, secrets included. No other file reads the environment.
//!
//! Each field says its variable and the default.

mod aws;
mod blobs;
mod edge;
mod entryway;
mod names;
mod redis;
mod secrets;
mod variables;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use shared::api::Secret;
use shared::crypto::PublicKey;
use shared::syntax::{Did, Handle, Tld};
use url::Url;

use crate::db::{self, Synchronous};
use crate::mail::SmtpServer;
pub use blobs::{Blobs, S3};
pub use edge::Edge;
pub use entryway::Entryway;
pub use redis::Redis;
pub use secrets::{KmsConfig, RotationKeyConfig, SECRETS_FILE, Secrets};
use variables::{Variables, http_url};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest label of a domain name.
const LABEL_MAX: u64 = 63;

/// The server's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the server is called and says of itself.
    pub service: Service,
    /// Where everything is kept.
    pub storage: Storage,
    /// How identities are resolved and made.
    pub identity: Identity,
    /// Which handles the server gives out.
    pub handles: Handles,
    /// How large and how many things may be.
    pub limits: Limits,
    /// Who may make an account.
    pub sign_up: SignUp,
    /// The servers that requests are passed on to.
    pub services: Services,
    /// How mail to the owners of accounts is sent.
    pub email: Option<Email>,
    /// How mail that moderators write is sent.
    pub moderation_email: Option<Email>,
    /// What mails look like.
    pub branding: Branding,
    /// How often a client may ask.
    pub rate_limits: Option<RateLimits>,
    /// Where servers count together how often clients ask.
    pub redis: Option<Redis>,
    /// How the server asks others.
    pub network: Network,
    /// `PDS_CRAWLERS`: the relays that are asked to crawl this server, a list of URLs. Default: none.
    pub crawlers: Vec<Url>,
    /// The edge in front of this server.
    pub edge: Option<Edge>,
    /// The entryway that this server stands behind.
    pub entryway: Option<Entryway>,
    /// What nobody else may know.
    pub secrets: Secrets,
}

/// What the server is called and says of itself.
#[derive(Clone, Debug)]
pub struct Service {
    /// `PDS_HOSTNAME`: the public name of this server, without scheme or port. Default: `localhost`.
    pub hostname: String,
    /// `PDS_PORT`: the port to listen on, on all interfaces; 0 lets the system choose. Default: 2583.
    pub port: u16,
    /// `PDS_SERVICE_DID`: the server's own DID, the audience of its tokens. Default: `did:web:` and the hostname.
    pub did: Did,
    /// `PDS_SERVICE_NAME`: what people call it. Default: the hostname and ` PDS`.
    pub name: String,
    /// `PDS_VERSION`: the version that the health check tells. Default: the program's.
    pub version: String,
    /// `PDS_PRIVACY_POLICY_URL`: told by describeServer. Default: none.
    pub privacy_policy_url: Option<String>,
    /// `PDS_TERMS_OF_SERVICE_URL`: told by describeServer. Default: none.
    pub terms_of_service_url: Option<String>,
    /// `PDS_CONTACT_EMAIL_ADDRESS`: told by describeServer. Default: none.
    pub contact_email_address: Option<String>,
    /// `PDS_ACCEPTING_REPO_IMPORTS`: whether importRepo is served. Default: true.
    pub accepts_imports: bool,
    /// `PDS_DEV_MODE`: whether this is a developer's own server, which may be asked to reach local ones. Default: false.
    pub dev_mode: bool,
}

/// Where everything is kept.
#[derive(Clone, Debug)]
pub struct Storage {
    /// `PDS_DATA_DIRECTORY`: where everything is kept; made when it is missing. Default: the working directory.
    pub data_directory: PathBuf,
    /// `PDS_ACCOUNT_DB_LOCATION`. Default: `account.sqlite` in the data directory.
    pub account_db: PathBuf,
    /// `PDS_SEQUENCER_DB_LOCATION`. Default: `sequencer.sqlite` in the data directory.
    pub sequencer_db: PathBuf,
    /// `PDS_DID_CACHE_DB_LOCATION`. Default: `did_cache.sqlite` in the data directory.
    pub did_cache_db: PathBuf,
    /// `PDS_ACTOR_STORE_DIRECTORY`: where accounts' own databases and keys are. Default: `actors` in the data directory.
    pub actors: PathBuf,
    /// `PDS_ACTOR_STORE_CACHE_SIZE`: how many accounts' databases are kept open. Default: 100.
    pub open_actors: usize,
    /// `PDS_SQLITE_SYNCHRONOUS`, `full` or `normal`: when a transaction counts as done. Default: `full`.
    pub synchronous: Synchronous,
    /// Not `PDS_SQLITE_DISABLE_WAL_AUTO_CHECKPOINT`: whether SQLite moves its log into the database by itself. Off where
    /// Litestream does it. Default: true.
    pub auto_checkpoint: bool,
    /// Where blobs are kept.
    pub blobs: Blobs,
}

/// How identities are resolved and made.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `PDS_DID_PLC_URL`: the did:plc directory. Default: `https://plc.directory`.
    pub plc_url: Url,
    /// `PDS_DID_CACHE_STALE_TTL`, milliseconds: how old a cached DID document may be before it is fetched anew in the
    /// background. Default: an hour.
    pub cache_stale: Duration,
    /// `PDS_DID_CACHE_MAX_TTL`, milliseconds: how old it may be before it is not used at all. Default: a day.
    pub cache_max: Duration,
    /// `PDS_ID_RESOLVER_TIMEOUT`, milliseconds: how long one look-up may take. Default: 3 seconds.
    pub timeout: Duration,
    /// `PDS_RECOVERY_DID_KEY`: a `did:key` put before the server's own among a new identity's rotation keys. Default: none.
    pub recovery_key: Option<PublicKey>,
    /// `PDS_HANDLE_BACKUP_NAMESERVERS`: names or addresses of servers that are asked for a handle that the system's do
    /// not know. Default: none.
    pub backup_nameservers: Vec<String>,
    /// `PDS_ENABLE_DID_DOC_WITH_SESSION`: whether answers with a session hold the DID document. Default: false.
    pub did_doc_with_session: bool,
}

/// Which handles the server gives out.
#[derive(Clone, Debug)]
pub struct Handles {
    /// `PDS_SERVICE_HANDLE_DOMAINS`: the domains under which it gives out handles, each with its leading dot, in lower
    /// case. Default: a dot and the hostname; `.test` for `localhost`.
    pub domains: Vec<String>,
    /// `PDS_HANDLE_MIN_LENGTH`: how many characters a handle has before its domain, at least. Default: 3.
    pub min_length: usize,
    /// `PDS_HANDLE_MAX_LENGTH`: how many it has at most, up to 63. Default: 18.
    pub max_length: usize,
    /// `PDS_HANDLE_RESERVED`: whether nobody may take the reserved names. Default: true.
    pub reserved: bool,
    /// `PDS_HANDLE_UNRESERVED`: names that anybody may take although they are among the reserved ones, a list. Default:
    /// none.
    pub unreserved: Vec<String>,
}

/// How large and how many things may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `PDS_BLOB_UPLOAD_LIMIT`, bytes: the largest blob. Default: 5 MiB.
    pub blob: u64,
    /// `PDS_MAX_REPO_IMPORT_SIZE`, bytes: the largest repository that importRepo takes. Default: 1 GiB.
    pub import: u64,
    /// `PDS_MAX_SUBSCRIPTION_BUFFER`: how many events a firehose consumer may be behind. Default: 500.
    pub subscription_buffer: usize,
    /// `PDS_REPO_BACKFILL_LIMIT_MS`, milliseconds: how old events are that a firehose consumer can still ask for. Default:
    /// a day.
    pub backfill: Duration,
}

/// Who may make an account, or bring theirs: `PDS_SIGNUP` says so. Without it `PDS_INVITE_REQUIRED` does, and if both do
/// they must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignUp {
    /// Anybody: `PDS_SIGNUP` is `open`, or `PDS_INVITE_REQUIRED` is false.
    Open,
    /// Nobody but the operator, by command: `PDS_SIGNUP` is `closed`.
    Closed,
    /// Whoever has an invite code: `PDS_SIGNUP` is `invite`, or `PDS_INVITE_REQUIRED` is true. The default.
    Invite {
        /// `PDS_INVITE_INTERVAL`, milliseconds: how often an account gets a code to give away. Default: never.
        interval: Option<Duration>,
        /// `PDS_INVITE_EPOCH`, milliseconds since 1970: from when on accounts' codes accrue. Default: 0.
        epoch_millis: i64,
    },
}

/// The servers that requests are passed on to.
#[derive(Clone, Debug)]
pub struct Services {
    /// The application's view of the network.
    pub app_view: Option<AppView>,
    /// `PDS_MOD_SERVICE_URL`, `PDS_MOD_SERVICE_DID`: who may act as moderator. Default: none.
    pub moderation: Option<Remote>,
    /// `PDS_REPORT_SERVICE_URL`, `PDS_REPORT_SERVICE_DID`: who gets reports. Default: the moderator.
    pub report: Option<Remote>,
}

/// The application's view of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppView {
    /// `PDS_BSKY_APP_VIEW_URL`, `PDS_BSKY_APP_VIEW_DID`. Default: none.
    pub remote: Remote,
    /// `PDS_BSKY_APP_VIEW_CDN_URL_PATTERN`: where its pictures are; three `%s` stand for preset, DID and CID. Default:
    /// none.
    pub cdn_url_pattern: Option<String>,
}

/// Another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where it is.
    pub url: Url,
    /// Who it is.
    pub did: Did,
}

/// A mail server, and whom its mails are from. Default: no mail is sent.
#[derive(Clone, Debug)]
pub struct Email {
    /// `PDS_EMAIL_SMTP_URL`, `PDS_MODERATION_EMAIL_SMTP_URL`: the server; see [`SmtpServer`] for what the URL can say.
    pub server: SmtpServer,
    /// `PDS_EMAIL_FROM_ADDRESS`, `PDS_MODERATION_EMAIL_ADDRESS`: an address, or a name and `<address>`.
    pub from: Mailbox,
}

/// What mails look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branding {
    /// `PDS_HOME_URL`: where the name below a mail leads. Default: this server.
    pub home_url: Option<String>,
    /// `PDS_LOGO_URL`: the picture above a mail, an `https`, `http` or `data` URL. Default: the server's name.
    pub logo_url: Option<String>,
    /// `PDS_PRIMARY_COLOR`: the colour of links and lines, as CSS writes it. Default: `#067df7`.
    pub primary_color: String,
    /// Not `PDS_EMAIL_DISABLE_CONFIRMATION_LINK`: whether the mail that confirms an address links to the Bluesky app, which
    /// then does it. Default: true.
    pub confirmation_link: bool,
}

/// How often a client may ask: there are limits if `PDS_RATE_LIMITS_ENABLED` is true, by default there are none.
#[derive(Clone, Debug)]
pub struct RateLimits {
    /// `PDS_RATE_LIMIT_BYPASS_KEY`: who sends this is not limited. Default: nobody.
    pub bypass_key: Option<Secret>,
    /// `PDS_RATE_LIMIT_BYPASS_IPS`: clients that are not limited; a mask behind an address is ignored. Default: none.
    pub bypass_addresses: Vec<IpAddr>,
}

/// How the server asks others.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Not `PDS_DISABLE_SSRF_PROTECTION`: whether only public addresses are asked where others say whom to ask. Default:
    /// true, but false in development mode.
    pub public_only: bool,
    /// `PDS_FETCH_MAX_RESPONSE_SIZE`, bytes: the largest document that is fetched. Default: 512 KiB.
    pub max_document: u64,
    /// `PDS_PROXY_HEADERS_TIMEOUT`, milliseconds: how long a service may take to begin its answer. Default: 10 seconds.
    pub proxy_headers_timeout: Duration,
    /// `PDS_PROXY_BODY_TIMEOUT`, milliseconds: how long its answer may pause. Default: 30 seconds.
    pub proxy_body_timeout: Duration,
    /// `PDS_PROXY_MAX_RESPONSE_SIZE`, bytes: the largest answer of a service that is read whole. Default: 10 MiB.
    pub proxy_max_response: u64,
    /// `PDS_PROXY_MAX_RETRIES`: how often a failed request is sent again. Default: 0.
    pub proxy_retries: u32,
    /// `PDS_PROXY_PREFER_COMPRESSED`: whether a service is asked to compress even where this server must read its answer.
    /// Default: false.
    pub proxy_prefers_compressed: bool,
}

/// What there is to say of an environment before a server is started with it.
#[derive(Clone, Debug)]
pub struct Check {
    /// The configuration, if a server would start with it. Secrets that a start would make are made up.
    pub config: Option<Config>,
    /// What would keep the server from starting.
    pub problems: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// What an environment is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To start a server: secrets that are missing are made and kept.
    Start,
    /// To say what a start would do: nothing is made.
    Look,
}

/// Everything that keeps the server from starting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment cannot be used:\n  {}", .0.join("\n  "))]
pub struct ConfigError(Vec<String>);

impl Config {
    /// Reads the process environment and logs what there is to warn about.
    ///
    /// For `localhost` this may make the data directory and [`SECRETS_FILE`] in it.
    ///
    /// # Errors
    /// Names every variable whose value cannot be used.
    pub fn from_env() -> Result<Self, ConfigError> {
        #[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
        Self::from_variables(std::env::vars_os())
    }

    /// Where a test wants this process to die.
    #[cfg(debug_assertions)]
    pub(crate) fn fault() -> Option<String> {
        #[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
        std::env::var("HEADWATER_FAULT").ok()
    }

    /// As [`Self::from_env`], of an environment that consists of `variables`.
    ///
    /// # Errors
    /// Names every variable whose value cannot be used.
    pub fn from_variables<N: Into<OsString>, V: Into<OsString>>(
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError> {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let mut variables = Variables::new(variables);
        let config = read(&mut variables, Purpose::Start);
        for warning in &variables.warnings {
            tracing::warn!("{warning}");
        }
        match config {
            Some(config) if variables.problems.is_empty() => Ok(config),
            _ => Err(ConfigError(variables.problems)),
        }
    }

    /// Reads the process environment and says what a start would make of it. Nothing is made or logged.
    #[must_use]
    pub fn check_env() -> Check {
        #[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
        let mut variables = Variables::new(std::env::vars_os());
        let config = read(&mut variables, Purpose::Look).filter(|_| variables.problems.is_empty());
        Check { config, problems: variables.problems, warnings: variables.warnings }
    }

    /// The address clients use: `https://` and the hostname, or, for `localhost`, plain HTTP on the configured port; where
    /// that is 0, on `listening`, the port the system chose. It never comes from a request.
    #[must_use]
    pub fn public_url(&self, listening: u16) -> String {
        let hostname = &self.service.hostname;
        if is_local(hostname) {
            let port = if self.service.port == 0 { listening } else { self.service.port };
            format!("http://{hostname}:{port}")
        } else {
            format!("https://{hostname}")
        }
    }
}

impl Handles {
    /// Whether a name, in lower case, is under one of the domains, or is one itself.
    #[must_use]
    pub fn is_served(&self, name: &str) -> bool {
        self.domains.iter().any(|domain| name.ends_with(domain.as_str()) || Some(name) == domain.strip_prefix('.'))
    }
}

impl Storage {
    /// How databases are opened; each connection keeps `cache_kib` KiB in memory.
    #[must_use]
    pub const fn sqlite(&self, cache_kib: u32) -> db::Options {
        db::Options { synchronous: self.synchronous, auto_checkpoint: self.auto_checkpoint, cache_kib }
    }
}

fn is_local(hostname: &str) -> bool {
    hostname == "localhost"
}

/// Reads the whole environment; `None`, or any problem in `variables`, means that it cannot be used.
///
/// Every variable is asked for before any of the parts gives up, so that what is left over really is unknown.
fn read(variables: &mut Variables, purpose: Purpose) -> Option<Config> {
    variables.alias("PDS_HANDLE_DOMAINS", "PDS_SERVICE_HANDLE_DOMAINS");
    let service = service(variables);
    let hostname = variables.text("PDS_HOSTNAME").unwrap_or_else(|| "localhost".to_owned());
    let local = is_local(&hostname);
    let storage = storage(variables, local);
    let identity = identity(variables);
    let handles = handles(variables, &hostname);
    let limits = limits(variables);
    let sign_up = sign_up(variables);
    let services = services(variables);
    let accounts_email = email(variables, "PDS_EMAIL_SMTP_URL", "PDS_EMAIL_FROM_ADDRESS");
    let moderation_email = email(variables, "PDS_MODERATION_EMAIL_SMTP_URL", "PDS_MODERATION_EMAIL_ADDRESS");
    let branding = branding(variables);
    let rate_limits = rate_limits(variables);
    let redis = Redis::read(variables, rate_limits.is_some());
    let network = network(variables);
    let crawlers = crawlers(variables);
    let edge = Edge::read(variables);
    let entryway = Entryway::read(variables);
    if edge.is_some() && entryway.is_some() {
        // The edge answers for handles, which are the entryway's then.
        variables.problem(
            "PDS_ENTRYWAY_URL and HEADWATER_EDGE_URL are both set, but an edge cannot stand behind an entryway",
        );
    }
    let directory = directory(variables);
    let secrets = Secrets::read(variables, local.then_some(directory.as_path()), purpose);
    variables.warn_of_the_rest();
    Some(Config {
        service: service?,
        storage: storage?,
        identity: identity?,
        handles,
        limits,
        sign_up,
        services,
        email: accounts_email,
        moderation_email,
        branding,
        rate_limits,
        redis,
        network,
        crawlers,
        edge,
        entryway,
        secrets: secrets?,
    })
}

fn directory(variables: &mut Variables) -> PathBuf {
    variables.path("PDS_DATA_DIRECTORY").unwrap_or_else(|| PathBuf::from("."))
}

fn service(variables: &mut Variables) -> Option<Service> {
    let hostname = variables.text("PDS_HOSTNAME").unwrap_or_else(|| "localhost".to_owned());
    let character = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if !hostname.bytes().all(character) {
        variables.problem(format!("PDS_HOSTNAME is \"{hostname}\", not a name without scheme, port and path"));
    }
    let did = variables.parsed("PDS_SERVICE_DID").or_else(|| Did::parse(&format!("did:web:{hostname}")).ok());
    let port = variables.number("PDS_PORT", 0..=u16::MAX.into()).and_then(|port| port.try_into().ok());
    Some(Service {
        port: port.unwrap_or(2583),
        name: variables.text("PDS_SERVICE_NAME").unwrap_or_else(|| format!("{hostname} PDS")),
        version: variables.text("PDS_VERSION").unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
        privacy_policy_url: variables.text("PDS_PRIVACY_POLICY_URL"),
        terms_of_service_url: variables.text("PDS_TERMS_OF_SERVICE_URL"),
        contact_email_address: variables.text("PDS_CONTACT_EMAIL_ADDRESS"),
        accepts_imports: variables.flag("PDS_ACCEPTING_REPO_IMPORTS").unwrap_or(true),
        dev_mode: variables.flag("PDS_DEV_MODE").unwrap_or(false),
        did: did?,
        hostname,
    })
}

fn storage(variables: &mut Variables, local: bool) -> Option<Storage> {
    let data_directory = directory(variables);
    let synchronous = match variables.text("PDS_SQLITE_SYNCHRONOUS").as_deref() {
        None | Some("full") => Synchronous::Full,
        Some("normal") => Synchronous::Normal,
        Some(other) => {
            variables.problem(format!("PDS_SQLITE_SYNCHRONOUS is \"{other}\", not full or normal"));
            Synchronous::Full
        }
    };
    let auto_checkpoint = !variables.flag("PDS_SQLITE_DISABLE_WAL_AUTO_CHECKPOINT").unwrap_or(false);
    let mut place = |name, file: &str| variables.path(name).unwrap_or_else(|| data_directory.join(file));
    let account_db = place("PDS_ACCOUNT_DB_LOCATION", "account.sqlite");
    let sequencer_db = place("PDS_SEQUENCER_DB_LOCATION", "sequencer.sqlite");
    let did_cache_db = place("PDS_DID_CACHE_DB_LOCATION", "did_cache.sqlite");
    let actors = place("PDS_ACTOR_STORE_DIRECTORY", "actors");
    let open_actors = variables.number("PDS_ACTOR_STORE_CACHE_SIZE", 0..=u64::from(u32::MAX)).unwrap_or(100);
    let blobs = Blobs::read(variables, local.then_some(&data_directory));
    Some(Storage {
        data_directory,
        account_db,
        sequencer_db,
        did_cache_db,
        actors,
        open_actors: count(open_actors),
        synchronous,
        auto_checkpoint,
        blobs: blobs?,
    })
}

fn identity(variables: &mut Variables) -> Option<Identity> {
    let plc_url = match variables.text("PDS_DID_PLC_URL") {
        Some(_) => variables.url("PDS_DID_PLC_URL"),
        None => http_url("https://plc.directory"),
    };
    let recovery_key = variables.text("PDS_RECOVERY_DID_KEY").and_then(|text| {
        let key = PublicKey::from_did_key(&text);
        key.map_err(|error| variables.problem(format!("PDS_RECOVERY_DID_KEY is \"{text}\": {error}"))).ok()
    });
    Some(Identity {
        cache_stale: variables.millis("PDS_DID_CACHE_STALE_TTL", HOUR),
        cache_max: variables.millis("PDS_DID_CACHE_MAX_TTL", DAY),
        timeout: variables.millis("PDS_ID_RESOLVER_TIMEOUT", Duration::from_secs(3)),
        recovery_key,
        backup_nameservers: variables.list("PDS_HANDLE_BACKUP_NAMESERVERS"),
        did_doc_with_session: variables.flag("PDS_ENABLE_DID_DOC_WITH_SESSION").unwrap_or(false),
        plc_url: plc_url?,
    })
}

fn handles(variables: &mut Variables, hostname: &str) -> Handles {
    let mut domains = variables.list("PDS_SERVICE_HANDLE_DOMAINS");
    for domain in &mut domains {
        domain.make_ascii_lowercase();
        // The shortest handle that could be given out there.
        match Handle::parse(&format!("a{domain}")) {
            Ok(handle) if domain.starts_with('.') => {
                if handle.tld() == Tld::Reserved {
                    variables.warn(format!("PDS_SERVICE_HANDLE_DOMAINS has {domain}, where no handle is valid"));
                }
            }
            _ => variables.problem(format!("PDS_SERVICE_HANDLE_DOMAINS has \"{domain}\", not a domain after a dot")),
        }
    }
    if domains.is_empty() {
        let domain = if is_local(hostname) { ".test".to_owned() } else { format!(".{hostname}") };
        domains.push(domain.to_ascii_lowercase());
    }
    let max_length = variables.number("PDS_HANDLE_MAX_LENGTH", 1..=LABEL_MAX).unwrap_or(18);
    let min_length = variables.number("PDS_HANDLE_MIN_LENGTH", 1..=LABEL_MAX).unwrap_or(3);
    if min_length > max_length {
        variables.problem(format!("PDS_HANDLE_MIN_LENGTH is {min_length}, PDS_HANDLE_MAX_LENGTH only {max_length}"));
    }
    let mut unreserved = variables.list("PDS_HANDLE_UNRESERVED");
    unreserved.iter_mut().for_each(|name| name.make_ascii_lowercase());
    Handles {
        domains,
        min_length: count(min_length),
        max_length: count(max_length),
        reserved: variables.flag("PDS_HANDLE_RESERVED").unwrap_or(true),
        unreserved,
    }
}

fn limits(variables: &mut Variables) -> Limits {
    let blob = variables.number("PDS_BLOB_UPLOAD_LIMIT", 0..=u64::MAX).unwrap_or(5 * MIB);
    let buffer = variables.number("PDS_MAX_SUBSCRIPTION_BUFFER", 1..=u64::from(u32::MAX)).unwrap_or(500);
    Limits {
        blob,
        import: variables.number("PDS_MAX_REPO_IMPORT_SIZE", 0..=u64::MAX).unwrap_or(GIB),
        subscription_buffer: count(buffer),
        backfill: variables.millis("PDS_REPO_BACKFILL_LIMIT_MS", DAY),
    }
}

fn sign_up(variables: &mut Variables) -> SignUp {
    let required = variables.flag("PDS_INVITE_REQUIRED");
    let interval = variables.number("PDS_INVITE_INTERVAL", 1..=u64::MAX).map(Duration::from_millis);
    let epoch = variables.number("PDS_INVITE_EPOCH", 0..=i64::MAX.unsigned_abs()).unwrap_or(0);
    let by_invite = SignUp::Invite { interval, epoch_millis: epoch.cast_signed() };
    let by_flag = if required == Some(false) { SignUp::Open } else { by_invite };
    let sign_up = match variables.text("PDS_SIGNUP").as_deref() {
        None => by_flag,
        Some("open") => SignUp::Open,
        Some("invite") => by_invite,
        Some("closed") => SignUp::Closed,
        Some(other) => {
            variables.problem(format!("PDS_SIGNUP is \"{other}\", not open, invite or closed"));
            SignUp::Closed
        }
    };
    if let Some(required) = required.filter(|_| sign_up != by_flag) {
        variables.problem(format!("PDS_SIGNUP and PDS_INVITE_REQUIRED, which is {required}, differ: unset the latter"));
    }
    if sign_up == SignUp::Open {
        variables.warn("anybody can make an account here: with PDS_SIGNUP=invite they need an invite code");
    }
    sign_up
}

fn services(variables: &mut Variables) -> Services {
    let app_view = remote(variables, "PDS_BSKY_APP_VIEW_URL", "PDS_BSKY_APP_VIEW_DID");
    let cdn_url_pattern = variables.text("PDS_BSKY_APP_VIEW_CDN_URL_PATTERN");
    let moderation = remote(variables, "PDS_MOD_SERVICE_URL", "PDS_MOD_SERVICE_DID");
    let report = remote(variables, "PDS_REPORT_SERVICE_URL", "PDS_REPORT_SERVICE_DID").or_else(|| moderation.clone());
    Services { app_view: app_view.map(|remote| AppView { remote, cdn_url_pattern }), moderation, report }
}

fn remote(variables: &mut Variables, url: &'static str, did: &'static str) -> Option<Remote> {
    let (wanted, found) = (variables.is_set(url), variables.is_set(did));
    let (address, name) = (variables.url(url), variables.parsed(did));
    if wanted && !found {
        variables.problem(format!("{url} is set, so {did} must be, too"));
    }
    Some(Remote { url: address?, did: name? })
}

/// Reads a mail server and its sender: both or neither.
fn email(variables: &mut Variables, url: &'static str, address: &'static str) -> Option<Email> {
    if variables.is_set(url) != variables.is_set(address) {
        variables.problem(format!("only one of {url} and {address} is set"));
    }
    let (server, from) = (variables.text(url), variables.parsed(address));
    // The text is not shown: it may hold a password.
    match SmtpServer::parse(&server?) {
        Ok((server, unused)) => {
            for name in unused {
                variables.warn(format!("the parameter {name} in {url} has no effect"));
            }
            Some(Email { server, from: from? })
        }
        Err(error) => {
            variables.problem(format!("{url} cannot be used: {error}"));
            None
        }
    }
}

fn branding(variables: &mut Variables) -> Branding {
    let logo_url = variables.text("PDS_LOGO_URL");
    if let Some(logo) = &logo_url
        && !Url::parse(logo).is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "data"))
    {
        variables.problem(format!("PDS_LOGO_URL is \"{logo}\", not a URL with https, http or data"));
    }
    let home_url = variables.url("PDS_HOME_URL").map(String::from);
    let primary_color = variables.text("PDS_PRIMARY_COLOR").unwrap_or_else(|| "#067df7".to_owned());
    if !is_color(&primary_color) {
        variables.problem(format!("PDS_PRIMARY_COLOR is \"{primary_color}\", not a colour such as #067df7"));
    }
    let confirmation_link = !variables.flag("PDS_EMAIL_DISABLE_CONFIRMATION_LINK").unwrap_or(false);
    Branding { home_url, logo_url, primary_color, confirmation_link }
}

/// Whether a text can stand for a colour in a style: `#` and 3 or 6 hex digits, a name, or `rgb()` or `hsl()` of numbers.
fn is_color(text: &str) -> bool {
    if let Some(hex) = text.strip_prefix('#') {
        return matches!(hex.len(), 3 | 6) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    let function = text.strip_prefix("rgb(").or_else(|| text.strip_prefix("hsl("));
    match function.and_then(|rest| rest.strip_suffix(')')) {
        Some(numbers) => numbers.bytes().all(|byte| byte.is_ascii_digit() || b" ,.%".contains(&byte)),
        None => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic()),
    }
}

fn rate_limits(variables: &mut Variables) -> Option<RateLimits> {
    let enabled = variables.flag("PDS_RATE_LIMITS_ENABLED").unwrap_or(false);
    let bypass_key = variables.text("PDS_RATE_LIMIT_BYPASS_KEY").map(Secret::new);
    let mut bypass_addresses = Vec::new();
    for item in variables.list("PDS_RATE_LIMIT_BYPASS_IPS") {
        match item.split('/').next().unwrap_or_default().trim().parse() {
            Ok(address) => bypass_addresses.push(address),
            Err(_) => variables.problem(format!("PDS_RATE_LIMIT_BYPASS_IPS has \"{item}\", not an address")),
        }
    }
    enabled.then_some(RateLimits { bypass_key, bypass_addresses })
}

fn network(variables: &mut Variables) -> Network {
    let dev_mode = variables.flag("PDS_DEV_MODE").unwrap_or(false);
    let retries = variables.number("PDS_PROXY_MAX_RETRIES", 0..=u64::from(u32::MAX)).unwrap_or(0);
    Network {
        public_only: !variables.flag("PDS_DISABLE_SSRF_PROTECTION").unwrap_or(dev_mode),
        max_document: variables.number("PDS_FETCH_MAX_RESPONSE_SIZE", 1..=u64::MAX).unwrap_or(MIB / 2),
        proxy_headers_timeout: variables.millis("PDS_PROXY_HEADERS_TIMEOUT", Duration::from_secs(10)),
        proxy_body_timeout: variables.millis("PDS_PROXY_BODY_TIMEOUT", Duration::from_secs(30)),
        proxy_max_response: variables.number("PDS_PROXY_MAX_RESPONSE_SIZE", 1..=u64::MAX).unwrap_or(10 * MIB),
        proxy_retries: retries.try_into().unwrap_or(u32::MAX),
        proxy_prefers_compressed: variables.flag("PDS_PROXY_PREFER_COMPRESSED").unwrap_or(false),
    }
}

fn crawlers(variables: &mut Variables) -> Vec<Url> {
    let mut crawlers = Vec::new();
    for item in variables.list("PDS_CRAWLERS") {
        match http_url(&item) {
            Some(url) => crawlers.push(url),
            // The reference starts with such a list, and asks the other ones.
            None => {
                variables.warn(format!("PDS_CRAWLERS has \"{item}\", not a URL with http or https: it is left out"))
            }
        }
    }
    crawlers
}

/// A number that was limited to 32 bits as a count.
fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
