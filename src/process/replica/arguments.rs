//! What the replica process is started with.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::base::config::{ClusterSettings, Settings};
use crate::ipc::event::EventFd;
use crate::store::instance::Instance;
use crate::store::journal::Directory;

/// What the replica process is started with.
pub struct ReplicaArguments {
    /// The instance's memory.
    pub instance: &'static Instance,
    /// The settings.
    pub settings: &'static Settings,
    /// Those of the cluster among them.
    pub cluster: &'static ClusterSettings,
    /// Where the journal is.
    pub directory: Directory,
    /// Listens for peers, non-blocking. The master has it open as well, so that peers are not refused while there is no replica process.
    pub listener: Arc<OwnedFd>,
    /// How it is woken up: by workers, by the journal process, and by the master.
    pub wakeup: Arc<EventFd>,
    /// How it wakes the journal process up.
    pub journal: Arc<EventFd>,
    /// How it wakes the workers up, by their numbers.
    pub workers: Vec<Arc<EventFd>>,
}

impl ReplicaArguments {
    /// The descriptors that a replica process keeps of its parent's, beside the standard ones.
    #[must_use]
    pub fn descriptors(&self) -> Vec<i32> {
        let own = [self.listener.as_raw_fd(), self.wakeup.as_fd().as_raw_fd(), self.journal.as_fd().as_raw_fd()];
        own.into_iter().chain(self.workers.iter().map(|wakeup| wakeup.as_fd().as_raw_fd())).collect()
    }
}
