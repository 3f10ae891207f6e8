//! The settings of the HTTP service.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{not_empty, number};
use super::{ConfigError, Values, range};

/// The checked settings of the HTTP service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// TCP port; 0 is off.
    pub port: u16,
    /// Whether the settings name the port. Then it must be free; otherwise the server starts without HTTP.
    pub port_is_named: bool,
    /// What is served; `None` is the small site that the program has in itself.
    pub www: Option<PathBuf>,
    /// Connections at a time, beside those of the bank.
    pub connections: u32,
    /// Threads of each worker for what may block.
    pub threads: usize,
    /// Bytes of files that each worker keeps in memory.
    pub cache_bytes: u64,
    /// How long a head may take to come, and a client to fetch the next part of its answer.
    pub timeout: Duration,
    /// The access log; `None` is `access.log` in the data directory.
    pub access_log: Option<PathBuf>,
    /// Bytes after which the access log is rotated.
    pub log_rotate_bytes: u64,
    /// Rotated logs that are kept.
    pub log_keep: u32,
    /// Whether others than this machine may see the status pages.
    pub status_public: bool,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            port: 8080,
            port_is_named: false,
            www: None,
            connections: 512,
            threads: 2,
            cache_bytes: 64 << 20,
            timeout: Duration::from_secs(10),
            access_log: None,
            log_rotate_bytes: 10 << 20,
            log_keep: 5,
            status_public: false,
        }
    }
}

impl Http {
    /// Whether there is such a service.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.port != 0
    }

    /// Checks what `values` say of it.
    pub(super) fn resolve(values: &mut Values) -> Result<Http, ConfigError> {
        let default = Http::default();
        let mebibytes = |value: Option<i64>, range: range::Range, default: u64| {
            value.map_or(Ok(default), |value| range.check::<u64>(value).map(|mebibytes| mebibytes << 20))
        };
        Ok(Http {
            port_is_named: values.http_port.is_some(),
            port: number(range::HTTP_PORT, values.http_port, default.port)?,
            www: values.www.take().map(|path| not_empty("www", path)).transpose()?,
            connections: number(range::HTTP_CONNECTIONS, values.http_connections, default.connections)?,
            threads: number(range::HTTP_THREADS, values.http_threads, default.threads)?,
            cache_bytes: mebibytes(values.cache_mb, range::CACHE_MB, default.cache_bytes)?,
            timeout: match values.http_timeout {
                Some(seconds) => Duration::from_secs(range::HTTP_TIMEOUT.check(seconds)?),
                None => default.timeout,
            },
            access_log: values.access_log.take().map(|path| not_empty("access-log", path)).transpose()?,
            log_rotate_bytes: mebibytes(values.log_rotate_mb, range::LOG_ROTATE_MB, default.log_rotate_bytes)?,
            log_keep: number(range::LOG_KEEP, values.log_keep, default.log_keep)?,
            status_public: values.status_public.unwrap_or(default.status_public),
        })
    }

    /// Whether each of them is the same in `other`, by name.
    pub(super) fn compare(&self, other: &Http) -> [(&'static str, bool); 10] {
        // A pattern without `..`: a new setting that is not compared here does not compile.
        let Http {
            port,
            port_is_named: _,
            www,
            connections,
            threads,
            cache_bytes,
            timeout,
            access_log,
            log_rotate_bytes,
            log_keep,
            status_public,
        } = self;
        [
            ("http-port", *port == other.port),
            ("www", *www == other.www),
            ("http-connections", *connections == other.connections),
            ("http-threads", *threads == other.threads),
            ("cache-mb", *cache_bytes == other.cache_bytes),
            ("http-timeout", *timeout == other.timeout),
            ("access-log", *access_log == other.access_log),
            ("log-rotate-mb", *log_rotate_bytes == other.log_rotate_bytes),
            ("log-keep", *log_keep == other.log_keep),
            ("status-public", *status_public == other.status_public),
        ]
    }
}
