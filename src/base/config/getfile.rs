//! The settings of the GetFile service.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{not_empty, number};
use super::url::BaseUrl;
use super::{ConfigError, GetFileCache, Values, range};

/// The checked settings of the GetFile service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetFile {
    /// TCP port; 0 is off.
    pub port: u16,
    /// The folder that is served.
    pub root: Option<PathBuf>,
    /// The file that names the files that are served.
    pub map: Option<PathBuf>,
    /// Where what is served is fetched from. The service has this, a map or a folder where it is on.
    pub upstream: Option<BaseUrl>,
    /// The cache process.
    pub cache: GetFileCache,
    /// Connections at a time, beside those of other services.
    pub connections: u32,
    /// Threads of each worker for what may block.
    pub threads: usize,
    /// How long a request may take to come, and a client to fetch the next part of its file.
    pub timeout: Duration,
}

impl Default for GetFile {
    fn default() -> Self {
        GetFile {
            port: 0,
            root: None,
            map: None,
            upstream: None,
            cache: GetFileCache::default(),
            connections: 512,
            threads: 2,
            timeout: Duration::from_secs(10),
        }
    }
}

impl GetFile {
    /// Whether there is such a service.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.port != 0
    }

    /// Whether contents come from the cache process: those of an upstream, and those of a map where anything is kept.
    #[must_use]
    pub fn uses_cache(&self) -> bool {
        self.is_on() && (self.upstream.is_some() || self.map.is_some() && self.cache.bytes > 0)
    }

    /// Checks what `values` say of it.
    pub(super) fn resolve(values: &mut Values) -> Result<GetFile, ConfigError> {
        let default = GetFile::default();
        let settings = GetFile {
            port: number(range::GETFILE_PORT, values.getfile_port, default.port)?,
            root: values.getfile_root.take().map(|path| not_empty("getfile-root", path)).transpose()?,
            map: values.getfile_map.take().map(|path| not_empty("getfile-map", path)).transpose()?,
            upstream: values.getfile_upstream.take().map(|url| BaseUrl::new(&url)).transpose()?,
            cache: GetFileCache::resolve(values)?,
            connections: number(range::GETFILE_CONNECTIONS, values.getfile_connections, default.connections)?,
            threads: number(range::GETFILE_THREADS, values.getfile_threads, default.threads)?,
            timeout: match values.getfile_timeout {
                Some(seconds) => Duration::from_secs(range::GETFILE_TIMEOUT.check(seconds)?),
                None => default.timeout,
            },
        };
        let sources = [settings.root.is_some(), settings.map.is_some(), settings.upstream.is_some()];
        match sources.into_iter().filter(|named| *named).count() {
            0 if settings.is_on() => Err(ConfigError::GetFileWithoutSource),
            1 if values.getfile_port.is_none() => Err(ConfigError::GetFileWithoutPort),
            0 | 1 => Ok(settings),
            _ => Err(ConfigError::GetFileSources),
        }
    }

    /// Whether each of them is the same in `other`, by name.
    pub(super) fn compare(&self, other: &GetFile) -> impl Iterator<Item = (&'static str, bool)> {
        // A pattern without `..`: a new setting that is not compared here does not compile.
        let GetFile { port, root, map, upstream, cache, connections, threads, timeout } = self;
        let own = [
            ("getfile-port", *port == other.port),
            ("getfile-root", *root == other.root),
            ("getfile-map", *map == other.map),
            ("getfile-upstream", *upstream == other.upstream),
            ("getfile-connections", *connections == other.connections),
            ("getfile-threads", *threads == other.threads),
            ("getfile-timeout", *timeout == other.timeout),
        ];
        own.into_iter().chain(cache.compare(&other.cache))
    }
}
