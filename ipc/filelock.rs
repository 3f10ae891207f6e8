//! Whole-file locks (`flock(2)`), which belong to the open file: a forked child shares them, so that as long as any process
//! of an instance lives, the lock is held. That is what proves that no old worker is left.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use crate::ipc::error::IpcError;

/// Takes the exclusive lock if it is free; `false` if it is not. It is given up when the last copy of the
/// descriptor, in whichever process, is closed.
///
/// # Errors
/// What `flock(2)` gives; `object` names the file in the message.
pub fn try_lock(file: &File, object: &str) -> Result<bool, IpcError> {
    flock(file, libc::LOCK_EX | libc::LOCK_NB, object)
}

/// Takes the exclusive lock of a file that nobody else locks, but some may be asking about ([`is_locked`]): it waits until
/// they have their answer.
///
/// # Errors
/// As [`try_lock`].
pub fn lock(file: &File, object: &str) -> Result<(), IpcError> {
    flock(file, libc::LOCK_EX, object).map(drop)
}

/// Whether the exclusive lock is taken. It asks with a shared lock, given back at once, so that two who ask at the same
/// time do not take each other for the holder.
///
/// # Errors
/// As [`try_lock`].
pub fn is_locked(file: &File, object: &str) -> Result<bool, IpcError> {
    let free = flock(file, libc::LOCK_SH | libc::LOCK_NB, object)?;
    if free {
        flock(file, libc::LOCK_UN, object)?;
    }
    Ok(!free)
}

/// One `flock(2)`; `false` when it would have to wait and may not.
fn flock(file: &File, operation: libc::c_int, object: &str) -> Result<bool, IpcError> {
    loop {
        // SAFETY: a plain system call on a descriptor that is open as long as `file` is borrowed.
        match Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation) }) {
            Ok(_) => return Ok(true),
            Err(Errno::EWOULDBLOCK) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(IpcError::system("lock", object, errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_ask_neither_hold_the_lock_nor_take_each_other_for_its_holder() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let (first, second, holder) = (open(), open(), open());
        assert!(!is_locked(&first, "test").unwrap());
        flock(&first, libc::LOCK_SH, "test").unwrap();
        assert!(!is_locked(&second, "test").unwrap(), "the first is only asking");
        assert!(!try_lock(&holder, "test").unwrap());
        drop(first);
        lock(&holder, "test").unwrap();
        assert!(is_locked(&second, "test").unwrap());
        drop(holder);
        assert!(try_lock(&second, "test").unwrap());
    }
}
