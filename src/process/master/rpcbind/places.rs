//! Where rpcbind is.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::limits::RPCBIND_MILLISECONDS;

/// Where rpcbind is looked for, and how long it may take.
#[derive(Clone, Debug)]
pub struct Places {
    /// Its Unix socket; the first that is there.
    pub sockets: Vec<PathBuf>,
    /// The portmapper, where no such socket is there.
    pub portmapper: SocketAddr,
    /// For one question, from connecting to the last byte of the answer.
    pub patience: Duration,
}

impl Default for Places {
    fn default() -> Self {
        Places {
            sockets: ["/run/rpcbind.sock", "/var/run/rpcbind.sock"].map(PathBuf::from).to_vec(),
            portmapper: SocketAddr::from((Ipv4Addr::LOCALHOST, 111)),
            patience: Duration::from_millis(RPCBIND_MILLISECONDS),
        }
    }
}

impl Places {
    /// The first socket that is there.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.sockets.iter().map(PathBuf::as_path).find(|path| path.exists())
    }
}
