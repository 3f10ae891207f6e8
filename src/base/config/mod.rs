//! The settings of `master`: defaults, then the TOML file, then the command line; checked before anything is opened.
//!
//! This room knows nothing of sockets or processes: it turns text into values of which every one is usable.

mod check;
mod cluster;
mod error;
mod getfile;
mod getfile_cache;
mod http;
mod kv;
mod options;
mod peers;
mod range;
mod roots;
mod rpcbind_mode;
#[cfg(test)]
mod tests;
mod upgrade;
mod url;

use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;

use check::{not_empty, number};
pub use cluster::ClusterSettings;
pub use error::ConfigError;
pub use getfile::GetFile;
pub use getfile_cache::GetFileCache;
pub use http::Http;
pub use kv::Kv;
pub use options::{AcceptMode, CacheChannelKind, Durability, Options, Values};
pub use peers::{BadPeers, parse_peer};
pub use range::Range;
pub use roots::{BadRoots, Roots};
pub use rpcbind_mode::RpcbindMode;
use serde::{Deserialize, Serialize};
pub use url::{BadUrl, BaseUrl};

use crate::base::limits::{LOGIN_SECONDS, MAX_WORKERS};
use crate::base::vocab::Cents;

/// The longest instance name, characters.
const MAX_INSTANCE_CHARACTERS: usize = 32;

/// The checked settings; `Default` gives what an empty command line gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Address to listen on; loopback when `users` is `None`.
    pub host: IpAddr,
    /// TCP port; 0 lets the kernel choose.
    pub port: u16,
    /// Worker processes, 1 to [`MAX_WORKERS`].
    pub workers: usize,
    /// Accounts, 1 to [`crate::base::limits::MAX_ACCOUNTS`].
    pub accounts: u32,
    /// Opening balance of every account; not negative, and times `accounts` it fits in 64 bits.
    pub initial_balance: Cents,
    /// File of the balances with which accounts open that do not open with `initial_balance`.
    pub opening_balances: Option<PathBuf>,
    /// Instance name: 1 to 32 characters out of a-z, 0-9 and -.
    pub instance: String,
    /// Directory of this instance's files; not empty, relative to the working directory.
    pub data: PathBuf,
    /// The users file; `None` is demo mode.
    pub users: Option<PathBuf>,
    /// Connections at a time, 1 to [`crate::base::limits::MAX_CONNECTIONS`].
    pub max_connections: u32,
    /// Silence after which a client is dropped; `None` is never.
    pub idle_timeout: Option<Duration>,
    /// Time from accept after which a client that has not logged in is dropped; at least one second.
    pub login_timeout: Duration,
    /// Requests per second that one connection may make; `None` is no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// How connections reach the workers.
    pub accept: AcceptMode,
    /// Tickets in one worker's lane, 1 to [`crate::base::limits::MAX_QUEUE_DEPTH`].
    pub queue_depth: u32,
    /// Silence after which a worker is killed and replaced; at least one second.
    pub worker_timeout: Duration,
    /// What an acknowledged operation survives.
    pub durability: Durability,
    /// The time between two flushes of the journal where replies do not wait for them.
    pub flush_interval: Duration,
    /// Operations whose idempotency keys are remembered.
    pub key_window: u32,
    /// Journal records after which a snapshot is taken; `None` is never.
    pub snapshot_every: Option<NonZeroU64>,
    /// Records of one journal segment, should the data directory be made.
    pub segment_records: u64,
    /// Whether journal segments are kept that neither a snapshot nor a remembered key needs any more, nor a peer that is a little behind.
    pub keep_journal: bool,
    /// The HTTP service.
    pub http: Http,
    /// The GetFile service.
    pub getfile: GetFile,
    /// The key-value service.
    pub kv: Kv,
    /// The cluster that it is a member of; `None` for an instance by itself.
    pub cluster: Option<ClusterSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 7777,
            workers: cores(),
            accounts: 10_000,
            initial_balance: Cents::ZERO,
            opening_balances: None,
            instance: "vault".to_owned(),
            data: PathBuf::from("./vault-data"),
            users: None,
            max_connections: 2048,
            idle_timeout: Some(Duration::from_secs(60)),
            login_timeout: Duration::from_secs(LOGIN_SECONDS),
            rate_limit: None,
            accept: AcceptMode::Dispatch,
            queue_depth: 128,
            worker_timeout: Duration::from_secs(10),
            durability: Durability::Sync,
            flush_interval: Duration::from_secs(1),
            key_window: 1_000_000,
            snapshot_every: NonZeroU64::new(1 << 22),
            segment_records: 1 << 19,
            keep_journal: false,
            http: Http::default(),
            getfile: GetFile::default(),
            kv: Kv::default(),
            cluster: None,
        }
    }
}

/// The cores this process may use, as a number of workers; 1 where the system does not tell.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS)
}

impl Settings {
    /// Reads the file that the command line names, if any, and checks the whole.
    pub fn load(options: Options) -> Result<Settings, ConfigError> {
        let file = options.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        Settings::resolve(options.values.or(file))
    }

    /// Checks merged values; what they do not say has its default.
    pub fn resolve(mut values: Values) -> Result<Settings, ConfigError> {
        let default = Settings::default();
        let http = Http::resolve(&mut values)?;
        let getfile = GetFile::resolve(&mut values)?;
        let kv = Kv::resolve(&values)?;
        let cluster = ClusterSettings::resolve(&mut values)?;
        let settings = Settings {
            host: values.host.map_or(Ok(default.host), parse_host)?,
            port: number(range::PORT, values.port, default.port)?,
            workers: number(range::WORKERS, values.workers, default.workers)?,
            accounts: number(range::ACCOUNTS, values.accounts, default.accounts)?,
            initial_balance: values.initial_balance.map_or(Ok(default.initial_balance), |text| parse_balance(&text))?,
            opening_balances: values.opening_balances.map(|path| not_empty("opening-balances", path)).transpose()?,
            instance: values.instance.map_or(Ok(default.instance), parse_instance)?,
            data: values.data.map_or(Ok(default.data), |path| not_empty("data", path))?,
            users: values.users.map(|path| not_empty("users", path)).transpose()?,
            max_connections: number(range::CONNECTIONS, values.max_connections, default.max_connections)?,
            idle_timeout: match values.idle_timeout {
                Some(seconds) => seconds_unless_zero(seconds)?,
                None => default.idle_timeout,
            },
            login_timeout: match values.login_timeout {
                Some(seconds) => Duration::from_secs(range::LOGIN_TIMEOUT.check(seconds)?),
                None => default.login_timeout,
            },
            rate_limit: NonZeroU32::new(number(range::RATE_LIMIT, values.rate_limit, 0)?),
            accept: values.accept.unwrap_or(default.accept),
            queue_depth: number(range::QUEUE_DEPTH, values.queue_depth, default.queue_depth)?,
            worker_timeout: match values.worker_timeout {
                Some(seconds) => Duration::from_secs(range::WORKER_TIMEOUT.check(seconds)?),
                None => default.worker_timeout,
            },
            durability: values.durability.unwrap_or(default.durability),
            flush_interval: match values.flush_interval {
                Some(milliseconds) => Duration::from_millis(range::FLUSH_INTERVAL.check(milliseconds)?),
                None => default.flush_interval,
            },
            key_window: number(range::KEY_WINDOW, values.key_window, default.key_window)?,
            snapshot_every: match values.snapshot_every {
                Some(records) => NonZeroU64::new(range::SNAPSHOT_EVERY.check(records)?),
                None => default.snapshot_every,
            },
            segment_records: number(range::SEGMENT_RECORDS, values.segment_records, default.segment_records)?,
            keep_journal: values.keep_journal.unwrap_or(default.keep_journal),
            http,
            getfile,
            kv,
            cluster,
        };
        settings.check_together()
    }

    /// The names of the settings in which `other` differs.
    #[must_use]
    pub fn differences(&self, other: &Settings) -> Vec<&'static str> {
        // A pattern without `..`: a new setting that is not compared here does not compile.
        let Settings {
            host,
            port,
            workers,
            accounts,
            initial_balance,
            opening_balances,
            instance,
            data,
            users,
            max_connections,
            idle_timeout,
            login_timeout,
            rate_limit,
            accept,
            queue_depth,
            worker_timeout,
            durability,
            flush_interval,
            key_window,
            snapshot_every,
            segment_records,
            keep_journal,
            http,
            getfile,
            kv,
            cluster,
        } = self;
        let table = [
            ("host", *host == other.host),
            ("port", *port == other.port),
            ("workers", *workers == other.workers),
            ("accounts", *accounts == other.accounts),
            ("initial-balance", *initial_balance == other.initial_balance),
            ("opening-balances", *opening_balances == other.opening_balances),
            ("instance", *instance == other.instance),
            ("data", *data == other.data),
            ("users", *users == other.users),
            ("max-connections", *max_connections == other.max_connections),
            ("idle-timeout", *idle_timeout == other.idle_timeout),
            ("login-timeout", *login_timeout == other.login_timeout),
            ("rate-limit", *rate_limit == other.rate_limit),
            ("accept", *accept == other.accept),
            ("queue-depth", *queue_depth == other.queue_depth),
            ("worker-timeout", *worker_timeout == other.worker_timeout),
            ("durability", *durability == other.durability),
            ("flush-interval", *flush_interval == other.flush_interval),
            ("key-window", *key_window == other.key_window),
            ("snapshot-every", *snapshot_every == other.snapshot_every),
            ("segment-records", *segment_records == other.segment_records),
            ("keep-journal", *keep_journal == other.keep_journal),
        ];
        let services = http.compare(&other.http).into_iter().chain(getfile.compare(&other.getfile));
        let services = services.chain(kv.compare(&other.kv));
        let cluster = ClusterSettings::compare(cluster.as_ref(), other.cluster.as_ref());
        table.into_iter().chain(services).chain(cluster).filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }

    /// The rules that relate two settings to each other.
    fn check_together(self) -> Result<Settings, ConfigError> {
        let most = Cents(i64::MAX / i64::from(self.accounts));
        if self.initial_balance > most {
            let (value, accounts) = (self.initial_balance, self.accounts);
            return Err(ConfigError::TotalTooLarge { value, accounts, most });
        }
        // Canonical, because ::ffff:127.0.0.1 is as local as 127.0.0.1.
        if self.users.is_none() && !self.host.to_canonical().is_loopback() {
            return Err(ConfigError::DemoBeyondLoopback { host: self.host });
        }
        if self.cluster.is_some() {
            ClusterSettings::check_durability(self.durability)?;
        }
        Ok(self)
    }
}

fn read_file(path: &Path) -> Result<Values, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::ReadFile { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|source| ConfigError::ParseFile { path: path.to_owned(), source })
}

fn seconds_unless_zero(seconds: i64) -> Result<Option<Duration>, ConfigError> {
    let seconds = range::IDLE_TIMEOUT.check(seconds)?;
    Ok((seconds != 0).then(|| Duration::from_secs(seconds)))
}

fn parse_host(value: String) -> Result<IpAddr, ConfigError> {
    value.parse().map_err(|_| ConfigError::Host { value })
}

fn parse_balance(text: &str) -> Result<Cents, ConfigError> {
    let value: Cents = text.parse().map_err(|source| ConfigError::NotMoney { source })?;
    if value < Cents::ZERO {
        return Err(ConfigError::NegativeBalance { value });
    }
    Ok(value)
}

fn parse_instance(value: String) -> Result<String, ConfigError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=MAX_INSTANCE_CHARACTERS).contains(&value.len()) && value.bytes().all(allowed) {
        Ok(value)
    } else {
        Err(ConfigError::Instance { value })
    }
}
