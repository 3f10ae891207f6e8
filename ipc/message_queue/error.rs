//! Why a message queue cannot be had: which of the kernel's limits it is, and what would raise it.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use crate::ipc::error::IpcError;

/// The folder in which the kernel's settings for message queues stand.
const SETTINGS: &str = "/proc/sys/fs/mqueue";
/// What the kernel charges for each message that a queue may hold, beside its bytes: its header, and a node of the tree of priorities.
const BYTES_BESIDE_MESSAGE: u64 = 48 + 48;

/// Why a queue could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The kernel does not allow so many messages in one queue.
    #[error(
        "cannot create message queue {name}: {depth} messages are more than the kernel allows in one (fs.mqueue.msg_max is {limit}); raise it \
         (sysctl -w fs.mqueue.msg_max={depth})"
    )]
    TooDeep {
        /// The queue's name.
        name: String,
        /// Messages asked for.
        depth: usize,
        /// The setting, as it reads.
        limit: String,
    },
    /// The kernel does not allow such long messages.
    #[error(
        "cannot create message queue {name}: messages of {bytes} bytes are longer than the kernel allows (fs.mqueue.msgsize_max is {limit}); \
         raise it (sysctl -w fs.mqueue.msgsize_max={bytes})"
    )]
    TooLong {
        /// The queue's name.
        name: String,
        /// Bytes asked for.
        bytes: usize,
        /// The setting, as it reads.
        limit: String,
    },
    /// There are as many queues as there may be.
    #[error(
        "cannot create message queue {name}: there are as many as the kernel allows (fs.mqueue.queues_max is {limit}); remove some, or raise \
         it (sysctl -w fs.mqueue.queues_max=N)"
    )]
    TooMany {
        /// The queue's name.
        name: String,
        /// The setting, as it reads.
        limit: String,
    },
    /// All queues of this user together would take more memory than they may.
    #[error(
        "cannot create message queue {name}: it takes {needed} bytes, and all queues of this user together may take {limit} \
         (RLIMIT_MSGQUEUE); raise it (ulimit -q, or LimitMSGQUEUE= of a unit), or remove queues that nobody uses"
    )]
    NoMemory {
        /// The queue's name.
        name: String,
        /// Bytes that it takes.
        needed: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The kernel was built without message queues.
    #[error("cannot create message queue {name}: this kernel has none (CONFIG_POSIX_MQUEUE)")]
    NotSupported {
        /// The queue's name.
        name: String,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] IpcError),
}

pub(super) fn failed(step: &'static str, name: &str, errno: Errno) -> IpcError {
    IpcError::system(step, format!("message queue {name}"), errno)
}

/// Which limit it is that a queue could not be made for.
pub(super) fn explain(name: &str, depth: usize, bytes: usize, errno: Errno) -> QueueError {
    let name = name.to_owned();
    match errno {
        Errno::EINVAL if above("msg_max", depth) => QueueError::TooDeep { name, depth, limit: setting("msg_max") },
        Errno::EINVAL if above("msgsize_max", bytes) => {
            QueueError::TooLong { name, bytes, limit: setting("msgsize_max") }
        }
        Errno::ENOSPC => QueueError::TooMany { name, limit: setting("queues_max") },
        // The same number is given where this process may open no more files.
        Errno::EMFILE if std::fs::File::open("/dev/null").is_ok() => {
            let (limit, _) = getrlimit(Resource::RLIMIT_MSGQUEUE).unwrap_or_default();
            QueueError::NoMemory { name, needed: charged_bytes(depth, bytes), limit }
        }
        Errno::ENOSYS => QueueError::NotSupported { name },
        errno => QueueError::Other(failed("create", &name, errno)),
    }
}

/// Bytes that the kernel charges this user for a queue of `depth` messages (RLIMIT_MSGQUEUE in `getrlimit(2)`).
#[must_use]
pub fn charged_bytes(depth: usize, message_bytes: usize) -> u64 {
    (depth as u64).saturating_mul((message_bytes as u64).saturating_add(BYTES_BESIDE_MESSAGE))
}

fn setting(name: &str) -> String {
    let read = std::fs::read_to_string(format!("{SETTINGS}/{name}"));
    read.map_or_else(|_| "not to be seen".to_owned(), |text| text.trim().to_owned())
}

fn above(name: &str, value: usize) -> bool {
    setting(name).parse().is_ok_and(|limit: usize| value > limit)
}
