//! The settings as people write them: one list for the command line and for the TOML file.
//!
//! Because both forms are derived from [`Values`], they cannot come to name different settings. Numbers are kept as
//! `i64`, the widest that TOML knows, and words as text: [`super::Settings::resolve`] checks both forms in one place.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::range;
use super::rpcbind_mode::RpcbindMode;

/// The command line of `master`.
#[derive(Clone, Debug, Default, clap::Parser)]
#[command(name = "master", version, about = "The Bank Vault server: a master process, its workers, one ledger")]
#[command(after_help = "Every option but --config may also stand in the TOML file under the same name; \
                        the command line wins. docs/vault.toml is an annotated example.")]
pub struct Options {
    /// TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read on standard input what a running server would hand over, say whether this program could go on with it, and end
    #[arg(long, hide = true)]
    pub check_upgrade: bool,
    /// Break a promise on purpose, for docs/LABS.md; never for money
    #[cfg(feature = "break-it")]
    #[arg(long = "break", value_name = "DEFECT")]
    pub defect: Option<crate::base::defect::Defect>,
    /// The settings given on the command line.
    #[command(flatten)]
    pub values: Values,
}

/// One source's settings; what it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[command(allow_negative_numbers = true)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Values {
    /// IP address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// TCP port to listen on, 0 for any free one [default: 7777]
    #[arg(long, value_name = "PORT", value_parser = |text: &str| range::PORT.parse(text))]
    pub port: Option<i64>,
    /// Worker processes, 1 to 64 [default: the number of cores]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::WORKERS.parse(text))]
    pub workers: Option<i64>,
    /// Accounts in the ledger, numbered from 0 [default: 10000]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::ACCOUNTS.parse(text))]
    pub accounts: Option<i64>,
    /// Money in every account at the start, such as 1000.00 [default: 0.00]
    #[arg(long, value_name = "MONEY")]
    pub initial_balance: Option<String>,
    /// File of balances, a line `account, balance` for each account that opens with another one; counts at the first start
    #[arg(long, value_name = "FILE")]
    pub opening_balances: Option<PathBuf>,
    /// Name of this instance, a part of the names of its shared memory [default: vault]
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// Directory of this instance's files [default: ./vault-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// File of users made by `vaultctl user add`; without it, demo mode: user demo, password demo, loopback only
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// Connections at a time; one more is answered ERR_BUSY [default: 2048]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::CONNECTIONS.parse(text))]
    pub max_connections: Option<i64>,
    /// Seconds without a request after which a client is dropped, 0 for never [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| range::IDLE_TIMEOUT.parse(text))]
    pub idle_timeout: Option<i64>,
    /// Seconds after which a client that has not logged in is dropped [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| range::LOGIN_TIMEOUT.parse(text))]
    pub login_timeout: Option<i64>,
    /// Requests per second that one connection may make, 0 for no limit [default: 0]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::RATE_LIMIT.parse(text))]
    pub rate_limit: Option<i64>,
    /// How connections reach the workers [default: dispatch]
    #[arg(long, value_name = "MODE")]
    pub accept: Option<AcceptMode>,
    /// Connections handed to one worker and not yet taken, 1 to 256 [default: 128]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::QUEUE_DEPTH.parse(text))]
    pub queue_depth: Option<i64>,
    /// Seconds without a heartbeat after which a worker is killed and replaced [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| range::WORKER_TIMEOUT.parse(text))]
    pub worker_timeout: Option<i64>,
    /// What an acknowledged operation survives [default: sync]
    #[arg(long, value_name = "LEVEL")]
    pub durability: Option<Durability>,
    /// Milliseconds between two flushes of the journal with --durability async [default: 1000]
    #[arg(long, value_name = "MS", value_parser = |text: &str| range::FLUSH_INTERVAL.parse(text))]
    pub flush_interval: Option<i64>,
    /// Operations whose idempotency keys are remembered; about 100 bytes of memory each [default: 1000000]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::KEY_WINDOW.parse(text))]
    pub key_window: Option<i64>,
    /// Journal records after which a snapshot is taken, 0 for never [default: 4194304]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::SNAPSHOT_EVERY.parse(text))]
    pub snapshot_every: Option<i64>,
    /// Records of one journal segment, 128 bytes each; counts when the data directory is made [default: 524288]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::SEGMENT_RECORDS.parse(text))]
    pub segment_records: Option<i64>,
    /// Keep journal segments that no snapshot needs any more [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub keep_journal: Option<bool>,
    /// TCP port of the HTTP service, 0 for none; must be free if it is named [default: 8080]
    #[arg(long, value_name = "PORT", value_parser = |text: &str| range::HTTP_PORT.parse(text))]
    pub http_port: Option<i64>,
    /// Directory whose files are served over HTTP [default: a small site that is in the program]
    #[arg(long, value_name = "DIR")]
    pub www: Option<PathBuf>,
    /// HTTP connections at a time, beside those of the bank; one more is answered 503 [default: 512]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::HTTP_CONNECTIONS.parse(text))]
    pub http_connections: Option<i64>,
    /// Threads of each worker that open and read files [default: 2]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::HTTP_THREADS.parse(text))]
    pub http_threads: Option<i64>,
    /// Mebibytes of files that each worker keeps in memory, 0 for none [default: 64]
    #[arg(long, value_name = "MIB", value_parser = |text: &str| range::CACHE_MB.parse(text))]
    pub cache_mb: Option<i64>,
    /// Seconds that a request's head may take, or a client to fetch the next part of its answer [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| range::HTTP_TIMEOUT.parse(text))]
    pub http_timeout: Option<i64>,
    /// The access log of HTTP and GetFile [default: access.log in the data directory]
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// Mebibytes after which the access log is rotated [default: 10]
    #[arg(long, value_name = "MIB", value_parser = |text: &str| range::LOG_ROTATE_MB.parse(text))]
    pub log_rotate_mb: Option<i64>,
    /// Rotated access logs that are kept [default: 5]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::LOG_KEEP.parse(text))]
    pub log_keep: Option<i64>,
    /// TCP port of the GetFile service, 0 for none [default: 0]
    #[arg(long, value_name = "PORT", value_parser = |text: &str| range::GETFILE_PORT.parse(text))]
    pub getfile_port: Option<i64>,
    /// Directory whose files GetFile serves
    #[arg(long, value_name = "DIR")]
    pub getfile_root: Option<PathBuf>,
    /// File that names the files that GetFile serves, a line `/path file` for each, instead of a directory
    #[arg(long, value_name = "FILE")]
    pub getfile_map: Option<PathBuf>,
    /// GetFile connections at a time, beside those of other services; one more is answered ERROR [default: 512]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::GETFILE_CONNECTIONS.parse(text))]
    pub getfile_connections: Option<i64>,
    /// Threads of each worker that open and read files for GetFile [default: 2]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::GETFILE_THREADS.parse(text))]
    pub getfile_threads: Option<i64>,
    /// Seconds that a GetFile request may take, or a client to fetch the next part of its file [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| range::GETFILE_TIMEOUT.parse(text))]
    pub getfile_timeout: Option<i64>,
    /// URL that GetFile's paths are appended to: what it serves is fetched from there (http, https)
    #[arg(long, value_name = "URL")]
    pub getfile_upstream: Option<String>,
    /// Certificates (PEM) of the authorities that may certify the upstream [default: those of browsers]
    #[arg(long, value_name = "FILE")]
    pub getfile_upstream_ca: Option<PathBuf>,
    /// Seconds for each of: connecting to the upstream, its answer, the next part of its content [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| range::GETFILE_UPSTREAM_TIMEOUT.parse(text))]
    pub getfile_upstream_timeout: Option<i64>,
    /// Mebibytes of what a map or an upstream gives that the cache process keeps; 0 keeps nothing [default: 64]
    #[arg(long, value_name = "MIB", value_parser = |text: &str| range::GETFILE_CACHE_MB.parse(text))]
    pub getfile_cache_mb: Option<i64>,
    /// Mebibytes of the largest object that is kept; what is larger passes through [default: 1024]
    #[arg(long, value_name = "MIB", value_parser = |text: &str| range::GETFILE_OBJECT_MB.parse(text))]
    pub getfile_object_mb: Option<i64>,
    /// Seconds that what is kept is fresh [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| range::GETFILE_TTL.parse(text))]
    pub getfile_ttl: Option<i64>,
    /// Seconds that it is believed that there is no such object [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = |text: &str| range::GETFILE_NEGATIVE_TTL.parse(text))]
    pub getfile_negative_ttl: Option<i64>,
    /// How contents come from the cache process to the workers [default: segments]
    #[arg(long, value_enum, value_name = "CHANNEL")]
    pub cache_channel: Option<CacheChannelKind>,
    /// Segments of shared memory for it: transfers at a time [default: 16]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::CACHE_SEGMENTS.parse(text))]
    pub cache_segments: Option<i64>,
    /// Bytes of a segment, its header of 256 included [default: 65536]
    #[arg(long, value_name = "BYTES", value_parser = |text: &str| range::CACHE_SEGMENT_BYTES.parse(text))]
    pub cache_segment_bytes: Option<i64>,
    /// TCP port of the key-value service, 0 for none [default: 0]
    #[arg(long, value_name = "PORT", value_parser = |text: &str| range::KV_PORT.parse(text))]
    pub kv_port: Option<i64>,
    /// Mebibytes of the key-value table [default: 64]
    #[arg(long, value_name = "MIB", value_parser = |text: &str| range::KV_MB.parse(text))]
    pub kv_mb: Option<i64>,
    /// Bytes of the longest value of a key, 1 to 65536 [default: 65536]
    #[arg(long, value_name = "BYTES", value_parser = |text: &str| range::KV_MAX_VALUE.parse(text))]
    pub kv_max_value: Option<i64>,
    /// Connections of the key-value service at a time, beside those of other services [default: 128]
    #[arg(long, value_name = "COUNT", value_parser = |text: &str| range::KV_CONNECTIONS.parse(text))]
    pub kv_connections: Option<i64>,
    /// Offer the key-value service at --host, not to this machine only [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub kv_public: Option<bool>,
    /// Whether the key-value service is registered at rpcbind [default: try]
    #[arg(long, value_enum, value_name = "MODE")]
    pub rpcbind: Option<RpcbindMode>,
    /// Show dashboard, statistics, metrics, health and readiness to all, not to this machine only [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub status_public: Option<bool>,
    /// Which of the instances in --peers this one is, 1 to 7
    #[arg(long, value_name = "ID", value_parser = |text: &str| range::REPLICA_ID.parse(text))]
    pub replica_id: Option<i64>,
    /// All instances that are one ledger, this one included, with the address of each for the others: 1=HOST:PORT,2=HOST:PORT
    #[arg(long, value_name = "LIST")]
    pub peers: Option<String>,
    /// File of the secret by which these instances know each other
    #[arg(long, value_name = "FILE")]
    pub cluster_secret: Option<PathBuf>,
}

/// How an accepted connection reaches a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AcceptMode {
    /// The master accepts and hands each descriptor to the least busy worker (SCM_RIGHTS)
    #[default]
    Dispatch,
    /// All workers accept from one inherited listening socket
    Shared,
    /// Each worker has a listening socket of its own (SO_REUSEPORT)
    Reuseport,
}

/// How contents come from the cache process to the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheChannelKind {
    /// By segments of shared memory, chunk by chunk
    #[default]
    Segments,
    /// What is kept by a sealed memfd, whose descriptor is passed (SCM_RIGHTS); all else by segments
    Memfd,
}

/// What an acknowledged operation survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Everything but the loss of the disk: no reply leaves before what it shows is on disk
    #[default]
    Sync,
    /// The death of any process; a loss of power may cost what the last --flush-interval acknowledged
    Async,
    /// The death of any worker; the ledger is in memory only and end with the server
    None,
}

impl Values {
    /// These settings, and those of `weaker` where these say nothing.
    #[must_use]
    pub fn or(self, weaker: Values) -> Values {
        // A struct literal without `..`: a new setting that is not merged here does not compile.
        Values {
            host: self.host.or(weaker.host),
            port: self.port.or(weaker.port),
            workers: self.workers.or(weaker.workers),
            accounts: self.accounts.or(weaker.accounts),
            initial_balance: self.initial_balance.or(weaker.initial_balance),
            opening_balances: self.opening_balances.or(weaker.opening_balances),
            instance: self.instance.or(weaker.instance),
            data: self.data.or(weaker.data),
            users: self.users.or(weaker.users),
            max_connections: self.max_connections.or(weaker.max_connections),
            idle_timeout: self.idle_timeout.or(weaker.idle_timeout),
            login_timeout: self.login_timeout.or(weaker.login_timeout),
            rate_limit: self.rate_limit.or(weaker.rate_limit),
            accept: self.accept.or(weaker.accept),
            queue_depth: self.queue_depth.or(weaker.queue_depth),
            worker_timeout: self.worker_timeout.or(weaker.worker_timeout),
            durability: self.durability.or(weaker.durability),
            flush_interval: self.flush_interval.or(weaker.flush_interval),
            key_window: self.key_window.or(weaker.key_window),
            snapshot_every: self.snapshot_every.or(weaker.snapshot_every),
            segment_records: self.segment_records.or(weaker.segment_records),
            keep_journal: self.keep_journal.or(weaker.keep_journal),
            http_port: self.http_port.or(weaker.http_port),
            www: self.www.or(weaker.www),
            http_connections: self.http_connections.or(weaker.http_connections),
            http_threads: self.http_threads.or(weaker.http_threads),
            cache_mb: self.cache_mb.or(weaker.cache_mb),
            http_timeout: self.http_timeout.or(weaker.http_timeout),
            access_log: self.access_log.or(weaker.access_log),
            log_rotate_mb: self.log_rotate_mb.or(weaker.log_rotate_mb),
            log_keep: self.log_keep.or(weaker.log_keep),
            getfile_port: self.getfile_port.or(weaker.getfile_port),
            getfile_root: self.getfile_root.or(weaker.getfile_root),
            getfile_map: self.getfile_map.or(weaker.getfile_map),
            getfile_connections: self.getfile_connections.or(weaker.getfile_connections),
            getfile_threads: self.getfile_threads.or(weaker.getfile_threads),
            getfile_timeout: self.getfile_timeout.or(weaker.getfile_timeout),
            getfile_upstream: self.getfile_upstream.or(weaker.getfile_upstream),
            getfile_upstream_ca: self.getfile_upstream_ca.or(weaker.getfile_upstream_ca),
            getfile_upstream_timeout: self.getfile_upstream_timeout.or(weaker.getfile_upstream_timeout),
            getfile_cache_mb: self.getfile_cache_mb.or(weaker.getfile_cache_mb),
            getfile_object_mb: self.getfile_object_mb.or(weaker.getfile_object_mb),
            getfile_ttl: self.getfile_ttl.or(weaker.getfile_ttl),
            getfile_negative_ttl: self.getfile_negative_ttl.or(weaker.getfile_negative_ttl),
            cache_channel: self.cache_channel.or(weaker.cache_channel),
            cache_segments: self.cache_segments.or(weaker.cache_segments),
            cache_segment_bytes: self.cache_segment_bytes.or(weaker.cache_segment_bytes),
            kv_port: self.kv_port.or(weaker.kv_port),
            kv_mb: self.kv_mb.or(weaker.kv_mb),
            kv_max_value: self.kv_max_value.or(weaker.kv_max_value),
            kv_connections: self.kv_connections.or(weaker.kv_connections),
            kv_public: self.kv_public.or(weaker.kv_public),
            rpcbind: self.rpcbind.or(weaker.rpcbind),
            status_public: self.status_public.or(weaker.status_public),
            replica_id: self.replica_id.or(weaker.replica_id),
            peers: self.peers.or(weaker.peers),
            cluster_secret: self.cluster_secret.or(weaker.cluster_secret),
        }
    }
}
