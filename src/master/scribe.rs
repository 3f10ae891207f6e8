//! The scribe: the journal process' post.

use std::os::fd::AsRawFd;

use crate::ipc::IpcError;
use crate::ipc::process::{self, Child, Ending};
use crate::journal::Directory;
use crate::journald::{self, Seat};
use crate::master::crew::{Common, Spacing};

/// The journal process and what the master has of it.
pub struct Scribe {
    directory: Directory,
    /// Who fills the post.
    pub child: Option<Child>,
    spacing: Spacing,
    /// When the post is to be filled again.
    pub fill_at_ns: u64,
}

impl Scribe {
    /// A post that is to be filled now, for the journal in `directory`.
    #[must_use]
    pub fn new(directory: Directory) -> Self {
        Scribe { directory, child: None, spacing: Spacing::default(), fill_at_ns: 0 }
    }

    /// Forks a journal process.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn fill(&mut self, common: &Common) -> Result<(), IpcError> {
        let Common { instance, settings, .. } = *common;
        let row = instance.journal_row();
        let (directory, nudge, workers) = (self.directory.clone(), common.journal.clone(), common.nudges.clone());
        let seat = Seat { instance, settings, directory, nudge, workers };
        let mut keep = journald::descriptors(&seat);
        keep.push(common.data_lock.as_raw_fd());
        keep.extend(instance.alive().map(AsRawFd::as_raw_fd));
        row.begin_life(process::monotonic_ns());
        let child = process::spawn("vault-journal", &keep, move || journald::run(seat))?;
        row.set_pid(u32::try_from(child.pid()).unwrap_or(0));
        self.child = Some(child);
        Ok(())
    }

    /// Collects the process if it has ended.
    ///
    /// # Errors
    /// What waiting for it gives.
    pub fn reap(&mut self, now_ns: u64) -> Result<Option<(Child, Ending)>, IpcError> {
        let ending = match &self.child {
            Some(child) => child.reap()?,
            None => None,
        };
        let ended = ending.and_then(|ending| Some((self.child.take()?, ending)));
        if ended.is_some() {
            self.fill_at_ns = self.spacing.next(now_ns);
        }
        Ok(ended)
    }
}
