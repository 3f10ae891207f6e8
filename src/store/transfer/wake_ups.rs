//! The eventfds by which workers and the cache process wake each other.
//!
//! All of them are made before the first fork, so that every process has all: a worker that is started later, in the place of a dead
//! one, has the eventfd of its number. An eventfd is registered in the event loop of the one who is woken by it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::ipc::IpcError;
use crate::ipc::event::EventFd;
use crate::store::transfer::tickets::Wake;

/// One eventfd for each worker, and one for the cache process.
pub struct WakeUps {
    workers: Vec<EventFd>,
    cache: EventFd,
}

impl WakeUps {
    /// For workers with numbers below `workers`.
    ///
    /// # Errors
    /// What `eventfd(2)` gives.
    pub fn new(workers: usize) -> Result<Self, IpcError> {
        let workers = (0..workers).map(|_| EventFd::new()).collect::<Result<_, _>>()?;
        Ok(WakeUps { workers, cache: EventFd::new()? })
    }

    /// Those that another program of this process has made: of the workers in their order, and of the cache process.
    #[must_use]
    pub fn adopt(workers: Vec<OwnedFd>, cache: OwnedFd) -> Self {
        WakeUps { workers: workers.into_iter().map(EventFd::adopt).collect(), cache: EventFd::adopt(cache) }
    }

    /// The one that wakes worker `worker`.
    #[must_use]
    pub fn of_worker(&self, worker: usize) -> &EventFd {
        &self.workers[worker]
    }

    /// The one that wakes the cache process.
    #[must_use]
    pub fn of_cache(&self) -> &EventFd {
        &self.cache
    }

    /// All descriptors, for who forks a child that keeps them.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.workers.iter().chain([&self.cache]).map(AsFd::as_fd)
    }
}

impl Wake for WakeUps {
    fn worker(&self, worker: usize) {
        // The number comes out of shared memory.
        if let Some(event) = self.workers.get(worker) {
            event.send();
        }
    }

    fn cache(&self) {
        self.cache.send();
    }
}
