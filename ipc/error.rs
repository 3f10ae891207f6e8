//! The one error of this folder: which step failed, on which object, and what the kernel said.

use nix::errno::Errno;

/// A failed step on a named kernel object.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    /// A system or library call failed.
    #[error("cannot {step} {object}: {} ({errno:?})", errno.desc())]
    System {
        /// What was being done, as a verb: `create`, `map`, `lock`.
        step: &'static str,
        /// The name of the object, or a description where it has none.
        object: String,
        /// The error number that the call gave.
        errno: Errno,
    },
    /// The object exists but is not what this program makes.
    #[error("{object} is not usable: {reason}")]
    Foreign {
        /// The name of the object.
        object: String,
        /// What does not fit.
        reason: String,
    },
}

impl IpcError {
    /// An error of the kernel's, for `step` on `object`.
    #[must_use]
    pub fn system(step: &'static str, object: impl Into<String>, errno: Errno) -> Self {
        IpcError::System { step, object: object.into(), errno }
    }

    /// The calling thread's `errno` as an error, for `step` on `object`.
    #[must_use]
    pub fn last(step: &'static str, object: impl Into<String>) -> Self {
        Self::system(step, object, Errno::last())
    }

    /// An error of the standard library's, for `step` on `object`.
    #[must_use]
    pub fn io(step: &'static str, object: impl Into<String>, error: &std::io::Error) -> Self {
        Self::system(step, object, error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
    }

    /// The error number, where the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            IpcError::System { errno, .. } => Some(*errno),
            IpcError::Foreign { .. } => None,
        }
    }
}
