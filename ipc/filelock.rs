//! Whole-file locks (`flock(2)`), which belong to the open file: a forked child shares them, so that as long as any process
//! of an instance lives, the lock is held. That is what proves that no old worker is left.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use crate::ipc::error::IpcError;

/// Takes the exclusive lock if nobody has it; `false` if somebody does. It is given up when the last copy of the
/// descriptor, in whichever process, is closed.
///
/// # Errors
/// What `flock(2)` gives; `object` names the file in the message.
pub fn try_lock(file: &File, object: &str) -> Result<bool, IpcError> {
    // SAFETY: a plain system call on a descriptor that is open as long as `file` is borrowed.
    match Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(errno) => Err(IpcError::system("lock", object, errno)),
    }
}
