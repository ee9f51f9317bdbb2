//! A Redis server for what several servers share and may lose: counts, never data.
//!
//! It may be away at any time, and nobody waits for it. It answers within [`LIMIT`] or counts as away, and then it is not
//! asked until a task beside the requests, [`Scratch::keep`], has seen it take a write. Each change is logged once,
//! however much is asked meanwhile. What is to be done without it is for those to know who ask.
//!
//! Database 0 of one server, without TLS, as the reference uses it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    RedisConnectionInfo, RedisError,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::Redis;

/// How long an answer may take. Requests wait for it.
const LIMIT: Duration = Duration::from_millis(250);
/// How long a connection may take to be made. Nobody waits for that, but for the first one.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long a start waits for the first one.
const START_LIMIT: Duration = Duration::from_millis(500);
/// How far apart attempts to connect are, at least.
const RETRY: Duration = Duration::from_secs(1);
/// How long a connection may lie idle: networks forget those that do, and Redis may close them.
const QUIET: Duration = Duration::from_secs(60);

/// A Redis server, as far as it answers; cloning it is shallow.
#[derive(Clone)]
pub(crate) struct Scratch {
    client: Client,
    state: Arc<watch::Sender<State>>,
}

enum State {
    /// Nobody has tried to connect.
    Unknown,
    There {
        connection: MultiplexedConnection,
        /// Which connection of this process it is.
        nth: u64,
    },
    Away,
}

/// Why it did not answer.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("it takes too long")]
    Slow,
}

impl Scratch {
    /// A server that is not connected to yet.
    ///
    /// # Errors
    /// When the address cannot be one.
    pub(crate) fn new(config: &Redis) -> Result<Self, RedisError> {
        let mut settings = RedisConnectionInfo::default();
        if let Some(password) = &config.password {
            settings = settings.set_password(password.expose());
        }
        let address = ConnectionAddr::Tcp(config.host.clone(), config.port).into_connection_info()?;
        // A question is small and is waited for: it is not to be held back for more.
        let address = address.set_tcp_settings(TcpSettings::default().set_nodelay(true)).set_redis_settings(settings);
        let (client, state) = (Client::open(address)?, Arc::new(watch::Sender::new(State::Unknown)));
        Ok(Self { client, state })
    }

    /// What it answers to commands that are sent together; `None` if it is away, or is found to be.
    pub(crate) async fn ask<T: FromRedisValue>(&self, commands: &Pipeline) -> Option<T> {
        let (mut connection, nth) = match &*self.state.borrow() {
            State::There { connection, nth } => (connection.clone(), *nth),
            State::Unknown | State::Away => return None,
        };
        match answer(commands, &mut connection).await {
            Ok(answer) => Some(answer),
            Err(trouble) => {
                self.is_away(Some(nth), &trouble);
                None
            }
        }
    }

    /// Connects, and anew whenever it was away, for as long as this is polled.
    pub(crate) async fn keep(&self) {
        for nth in 0.. {
            let began = Instant::now();
            match timeout(CONNECT_LIMIT, self.connect()).await.unwrap_or(Err(Trouble::Slow)) {
                Ok(connection) => {
                    self.is_there(connection, nth);
                    self.stays().await;
                }
                Err(trouble) => self.is_away(None, &trouble),
            }
            sleep_until(began + RETRY).await;
        }
    }

    /// Waits until it is known whether it is there, but not for long.
    pub(crate) async fn settled(&self) {
        let mut states = self.state.subscribe();
        let known = states.wait_for(|state| !matches!(state, State::Unknown));
        let _known_or_late = timeout(START_LIMIT, known).await;
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Trouble> {
        match connection(&self.client).await {
            // One that wants no password refuses any. The reference goes on without.
            Err(Trouble::Redis(refused)) if refused.kind() == ErrorKind::AuthenticationFailed => {
                let address = self.client.get_connection_info().clone();
                let open = Client::open(address.set_redis_settings(RedisConnectionInfo::default()))?;
                let connection = connection(&open).await.map_err(|_wants_another| refused)?;
                tracing::warn!("Redis wants no password: PDS_REDIS_SCRATCH_PASSWORD has no effect");
                Ok(connection)
            }
            other => other,
        }
    }

    /// Waits until it is away.
    async fn stays(&self) {
        let mut states = self.state.subscribe();
        while timeout(QUIET, states.wait_for(|state| matches!(state, State::Away))).await.is_err() {
            let _there: Option<()> = self.ask(&probe()).await;
        }
    }

    fn is_there(&self, connection: MultiplexedConnection, nth: u64) {
        let address = self.client.get_connection_info().addr();
        tracing::info!(%address, "connected to Redis");
        self.state.send_replace(State::There { connection, nth });
    }

    /// Notes that it is away, if this is the first to notice; `nth` is the connection by which it was noticed.
    fn is_away(&self, nth: Option<u64>, trouble: &Trouble) {
        let changed = self.state.send_if_modified(|state| {
            let news = match state {
                State::Unknown => true,
                State::There { nth: current, .. } => nth == Some(*current),
                State::Away => false,
            };
            if news {
                *state = State::Away;
            }
            news
        });
        if changed {
            let address = self.client.get_connection_info().addr();
            tracing::warn!(%address, error = %trouble, "Redis is away: this server counts by itself until it is back");
        }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("client", &self.client).finish_non_exhaustive()
    }
}

/// A connection to a server that does its work.
async fn connection(client: &Client) -> Result<MultiplexedConnection, Trouble> {
    // The limits are ours: each holds for all of what it is about.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    answer::<()>(&probe(), &mut connection).await?;
    Ok(connection)
}

/// What shows that it does its work: a replica, or one whose disk is full, answers but takes no write.
fn probe() -> Pipeline {
    let mut probe = Pipeline::with_capacity(1);
    probe.cmd("SET").arg("headwater-probe").arg(1).arg("EX").arg(1).ignore();
    probe
}

async fn answer<T: FromRedisValue>(commands: &Pipeline, connection: &mut MultiplexedConnection) -> Result<T, Trouble> {
    match timeout(LIMIT, commands.query_async(connection)).await {
        Ok(answer) => Ok(answer?),
        Err(_late) => Err(Trouble::Slow),
    }
}
