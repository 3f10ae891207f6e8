//! Looks up the names of peers. `getaddrinfo(3)` may take as long as the resolver's patience, so each name is looked up in a thread of its
//! own, and nobody waits for it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::base::limits::PEER_LOOKUPS;
use crate::ipc::event::EventFd;
use crate::store::cluster::ReplicaId;

/// What turns `HOST:PORT` into addresses. It may wait.
pub(super) type Resolve = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// What was found.
pub(super) struct LookedUp {
    /// Whose name it was.
    pub(super) replica: ReplicaId,
    pub(super) name: String,
    /// One address at least.
    pub(super) addresses: io::Result<Vec<SocketAddr>>,
}

/// The names that are being looked up.
pub(super) struct Lookups {
    resolve: Resolve,
    found: Receiver<LookedUp>,
    finder: Sender<LookedUp>,
    /// Told when something was found.
    wakeup: Arc<EventFd>,
    /// How many are being looked up.
    under_way: usize,
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

impl Lookups {
    /// By the system's resolver.
    pub(super) fn new() -> io::Result<Lookups> {
        Self::by(Arc::new(|name: &str| Ok(name.to_socket_addrs()?.collect())))
    }

    /// By another one.
    pub(super) fn by(resolve: Resolve) -> io::Result<Lookups> {
        let (finder, found) = channel();
        let wakeup = Arc::new(EventFd::new().map_err(io::Error::other)?);
        Ok(Lookups { resolve, found, finder, wakeup, under_way: 0 })
    }

    /// What becomes readable when something was found.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    /// Begins to look up `name`, `HOST:PORT`, of that replica. What becomes of it, [`Lookups::take`] gives.
    pub(super) fn begin(&mut self, replica: ReplicaId, name: String) {
        let (finder, wakeup, resolve) = (self.finder.clone(), self.wakeup.clone(), self.resolve.clone());
        let tell = {
            let name = name.clone();
            move |addresses| {
                // Nobody asks any more when the process ends.
                let _nobody = finder.send(LookedUp { replica, name, addresses });
                wakeup.send();
            }
        };
        self.under_way += 1;
        if self.under_way > PEER_LOOKUPS {
            return tell(Err(io::Error::other("too many names are being looked up")));
        }
        let failed = tell.clone();
        let work = move || tell(resolve(&name).and_then(in_order));
        if let Err(error) = thread::Builder::new().name("vault-lookup".to_owned()).spawn(work) {
            failed(Err(io::Error::new(error.kind(), format!("no thread can be started to look it up: {error}"))));
        }
    }

    /// What was found since the last call.
    pub(super) fn take(&mut self) -> Vec<LookedUp> {
        if self.under_way == 0 || !self.wakeup.take() {
            return Vec::new();
        }
        let found: Vec<_> = self.found.try_iter().collect();
        self.under_way -= found.len();
        found
    }
}

/// Each address once, in an order that does not change: a resolver may give them in another one each time, and they are to have their turns.
fn in_order(mut addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    }
    Ok(addresses)
}
