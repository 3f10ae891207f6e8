//! The settings of the GetFile service.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{not_empty, number};
use super::{ConfigError, Values, range};

/// The checked settings of the GetFile service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetFile {
    /// TCP port; 0 is off.
    pub port: u16,
    /// The folder that is served.
    pub root: Option<PathBuf>,
    /// The file that names the files that are served. The service has this or a folder where it is on.
    pub map: Option<PathBuf>,
    /// Connections at a time, beside those of other services.
    pub connections: u32,
    /// Threads of each worker for what may block.
    pub threads: usize,
    /// How long a request may take to come, and a client to fetch the next part of its file.
    pub timeout: Duration,
}

impl Default for GetFile {
    fn default() -> Self {
        GetFile { port: 0, root: None, map: None, connections: 512, threads: 2, timeout: Duration::from_secs(10) }
    }
}

impl GetFile {
    /// Whether there is such a service.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.port != 0
    }

    /// Checks what `values` say of it.
    pub(super) fn resolve(values: &mut Values) -> Result<GetFile, ConfigError> {
        let default = GetFile::default();
        let settings = GetFile {
            port: number(range::GETFILE_PORT, values.getfile_port, default.port)?,
            root: values.getfile_root.take().map(|path| not_empty("getfile-root", path)).transpose()?,
            map: values.getfile_map.take().map(|path| not_empty("getfile-map", path)).transpose()?,
            connections: number(range::GETFILE_CONNECTIONS, values.getfile_connections, default.connections)?,
            threads: number(range::GETFILE_THREADS, values.getfile_threads, default.threads)?,
            timeout: match values.getfile_timeout {
                Some(seconds) => Duration::from_secs(range::GETFILE_TIMEOUT.check(seconds)?),
                None => default.timeout,
            },
        };
        match (settings.root.is_some(), settings.map.is_some(), values.getfile_port) {
            (false, false, _) if settings.is_on() => Err(ConfigError::GetFileWithoutSource),
            (true, true, _) => Err(ConfigError::GetFileSources),
            (true, _, None) | (_, true, None) => Err(ConfigError::GetFileWithoutPort),
            _ => Ok(settings),
        }
    }

    /// Whether each of them is the same in `other`, by name.
    pub(super) fn compare(&self, other: &GetFile) -> [(&'static str, bool); 6] {
        // A pattern without `..`: a new setting that is not compared here does not compile.
        let GetFile { port, root, map, connections, threads, timeout } = self;
        [
            ("getfile-port", *port == other.port),
            ("getfile-root", *root == other.root),
            ("getfile-map", *map == other.map),
            ("getfile-connections", *connections == other.connections),
            ("getfile-threads", *threads == other.threads),
            ("getfile-timeout", *timeout == other.timeout),
        ]
    }
}
