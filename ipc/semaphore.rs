//! Named semaphores (`sem_overview(7)`).

use std::ffi::CString;
use std::ptr::NonNull;

use nix::errno::Errno;

use crate::ipc::error::IpcError;

/// A named semaphore, open in this process and in every child forked after it was opened.
///
/// It is never closed: it lives as long as the process, like the lane it belongs to.
#[derive(Clone)]
pub struct NamedSemaphore {
    name: String,
    handle: NonNull<libc::sem_t>,
}

// SAFETY: sem_post, sem_trywait and sem_getvalue may be called from any thread on an open semaphore (sem_overview(7)).
unsafe impl Send for NamedSemaphore {}
// SAFETY: as above.
unsafe impl Sync for NamedSemaphore {}

impl NamedSemaphore {
    /// Makes the semaphore with the value `value`, mode 0600.
    ///
    /// # Errors
    /// The name is taken (EEXIST) or cannot be made.
    pub fn create(name: &str, value: u32) -> Result<Self, IpcError> {
        let c_name = c_name(name)?;
        let flags = libc::O_CREAT | libc::O_EXCL;
        // SAFETY: a NUL-terminated name, and with O_CREAT the two further arguments that sem_open(3) asks for.
        let handle = unsafe { libc::sem_open(c_name.as_ptr(), flags, 0o600 as libc::mode_t, value) };
        Self::checked("create", name, handle)
    }

    /// Opens an existing semaphore.
    pub fn open(name: &str) -> Result<Self, IpcError> {
        let c_name = c_name(name)?;
        // SAFETY: a NUL-terminated name; without O_CREAT there are no further arguments.
        let handle = unsafe { libc::sem_open(c_name.as_ptr(), 0) };
        Self::checked("open", name, handle)
    }

    fn checked(step: &'static str, name: &str, handle: *mut libc::sem_t) -> Result<Self, IpcError> {
        if handle == libc::SEM_FAILED {
            return Err(IpcError::last(step, format!("semaphore {name}")));
        }
        let handle = NonNull::new(handle).ok_or_else(|| IpcError::system(step, name, Errno::EFAULT))?;
        Ok(NamedSemaphore { name: name.to_owned(), handle })
    }

    /// Takes one if the value is above zero; never waits. A value of zero, or whatever else keeps it from being taken, is
    /// `false`.
    #[inline]
    #[must_use = "what was taken must be given back or used"]
    pub fn try_wait(&self) -> bool {
        // SAFETY: the handle came from sem_open and is never closed.
        while unsafe { libc::sem_trywait(self.handle.as_ptr()) } != 0 {
            if Errno::last() != Errno::EINTR {
                return false;
            }
        }
        true
    }

    /// Adds one.
    #[inline]
    pub fn post(&self) {
        // SAFETY: the handle came from sem_open and is never closed. EOVERFLOW needs 2^31 posts without a wait; the ring
        // bounds them to its depth.
        let done = unsafe { libc::sem_post(self.handle.as_ptr()) };
        debug_assert_eq!(done, 0, "{} overflowed", self.name);
    }

    /// The value at some moment of the call.
    #[must_use]
    pub fn value(&self) -> u32 {
        let mut value = 0;
        // SAFETY: an open semaphore and a place for the result.
        unsafe { libc::sem_getvalue(self.handle.as_ptr(), &raw mut value) };
        u32::try_from(value).unwrap_or(0)
    }

    /// Brings the value to `value`; only for its sole remaining user, when the others are dead.
    pub fn reset(&self, value: u32) {
        while self.value() > value && self.try_wait() {}
        while self.value() < value {
            self.post();
        }
    }

    /// The full name, with its leading slash.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Bytes of a semaphore's file in the folder of shared memory.
pub const FILE_BYTES: u64 = size_of::<libc::sem_t>() as u64;

/// Removes a semaphore's name; those who have it open keep it.
///
/// # Errors
/// What `sem_unlink(3)` gives, but for a name that is gone already.
pub fn unlink(name: &str) -> Result<(), IpcError> {
    let c_name = c_name(name)?;
    // SAFETY: a NUL-terminated name.
    match Errno::result(unsafe { libc::sem_unlink(c_name.as_ptr()) }) {
        Ok(_) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(IpcError::system("unlink", format!("semaphore {name}"), errno)),
    }
}

fn c_name(name: &str) -> Result<CString, IpcError> {
    CString::new(name).map_err(|_| IpcError::system("name", name.escape_default().to_string(), Errno::EINVAL))
}
