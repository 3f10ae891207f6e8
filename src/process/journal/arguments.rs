//! What the journal process is started with.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use crate::base::config::Settings;
use crate::ipc::event::EventFd;
use crate::store::instance::Instance;
use crate::store::journal::Directory;

/// What the journal process is started with.
pub struct JournalArguments {
    /// The instance's memory.
    pub instance: &'static Instance,
    /// The settings.
    pub settings: &'static Settings,
    /// Where the journal is.
    pub directory: Directory,
    /// How it is woken up.
    pub wakeup: Arc<EventFd>,
    /// How it wakes the workers up, by their numbers.
    pub workers: Vec<Arc<EventFd>>,
    /// How it wakes the replica process up; `None` where there is none.
    pub replica: Option<Arc<EventFd>>,
}

impl JournalArguments {
    /// The descriptors that a journal process keeps of its parent's, beside the standard ones.
    #[must_use]
    pub fn descriptors(&self) -> Vec<i32> {
        let own = [self.wakeup.as_fd().as_raw_fd()];
        let others = self.workers.iter().chain(&self.replica).map(|wakeup| wakeup.as_fd().as_raw_fd());
        own.into_iter().chain(others).collect()
    }
}
