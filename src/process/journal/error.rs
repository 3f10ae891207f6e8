//! Why the journal process ends.

use std::io;

use nix::errno::Errno;

use crate::store::journal::WriterError;

/// Why the journal process cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JournalProcessError {
    /// The journal cannot be written.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// A thread or an event cannot be had.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl JournalProcessError {
    /// Whether only a descriptor, memory or a thread was lacking, so that a successor may do better. After a failed sync no process
    /// can go on: the kernel may have dropped what was to be written.
    pub(super) fn is_shortage(&self) -> bool {
        let source = match self {
            JournalProcessError::Io { source, .. } | JournalProcessError::Writer(WriterError::Thread(source)) => source,
            JournalProcessError::Writer(WriterError::Disk(error)) => &error.source,
            JournalProcessError::Writer(WriterError::Failed(error)) if error.step != "sync" => &error.source,
            JournalProcessError::Writer(_) => return false,
        };
        let errno = source.raw_os_error().map(Errno::from_raw);
        matches!(errno, Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS))
    }
}
