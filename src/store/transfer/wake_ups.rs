//! The eventfds by which workers and the cache process wake each other.
//!
//! All of them are made before the first fork, so that every process has all: a worker that is started later, in the place of a dead
//! one, has the eventfd of its number. An eventfd is registered in the event loop of the one who is woken by it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::ipc::event::EventFd;
use crate::store::transfer::tickets::Wake;

/// One eventfd for each worker, which others wake it by as well, and one for the cache process.
pub struct WakeUps {
    workers: Vec<Arc<EventFd>>,
    cache: Arc<EventFd>,
}

impl WakeUps {
    /// Those of the workers in the order of their numbers, and of the cache process.
    #[must_use]
    pub fn new(workers: Vec<Arc<EventFd>>, cache: Arc<EventFd>) -> Self {
        WakeUps { workers, cache }
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
        self.workers.iter().chain([&self.cache]).map(|event| event.as_fd())
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
