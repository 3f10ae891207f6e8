//! Unnamed semaphores in shared memory (`sem_overview(7)`).
//!
//! They are part of the memory that they guard: no name can be left behind, and whoever owns the memory alone makes them anew. Like all
//! semaphores they know no holder: what a dead process took or did not post stays so, and what is beside them must tell.

use std::cell::UnsafeCell;

use nix::errno::Errno;

use crate::ipc::layout::Shared;

/// A semaphore between processes.
#[repr(transparent)]
pub struct SharedSemaphore(UnsafeCell<libc::sem_t>);

// SAFETY: sem_t is an array of bytes here, all of them inside the cell; without pointers, since it is made for several processes.
unsafe impl Shared for SharedSemaphore {}
// SAFETY: sem_post, sem_trywait and sem_getvalue may be called by any number of threads and processes (sem_overview(7)).
unsafe impl Sync for SharedSemaphore {}

impl SharedSemaphore {
    /// Gives it the value `value`, whatever it was. Nobody else may be using it.
    pub fn init(&self, value: u32) {
        // SAFETY: a place for a semaphore that lives as long as the mapping. It fails on values above SEM_VALUE_MAX only.
        let done = unsafe { libc::sem_init(self.0.get(), 1, value) };
        debug_assert_eq!(done, 0, "{value} is no value of a semaphore");
    }

    /// Takes one if the value is above zero; never waits.
    #[inline]
    #[must_use = "what was taken must be given back or used"]
    pub fn try_wait(&self) -> bool {
        // SAFETY: a semaphore that `init` made; on zeros, which nobody has made one, it takes nothing.
        while unsafe { libc::sem_trywait(self.0.get()) } != 0 {
            if Errno::last() != Errno::EINTR {
                return false;
            }
        }
        true
    }

    /// Adds one.
    #[inline]
    pub fn post(&self) {
        // SAFETY: a semaphore that `init` made.
        let done = unsafe { libc::sem_post(self.0.get()) };
        debug_assert_eq!(done, 0, "it overflowed");
    }

    /// The value at some moment of the call.
    #[must_use]
    pub fn value(&self) -> u32 {
        let mut value = 0;
        // SAFETY: a semaphore and a place for the result.
        unsafe { libc::sem_getvalue(self.0.get(), &raw mut value) };
        u32::try_from(value).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_and_is_made_anew() {
        // SAFETY: zeros are a valid sem_t.
        let semaphore = SharedSemaphore(UnsafeCell::new(unsafe { std::mem::zeroed() }));
        assert!(!semaphore.try_wait(), "as fresh memory has it");
        semaphore.init(2);
        assert!(semaphore.try_wait() && semaphore.try_wait() && !semaphore.try_wait());
        semaphore.post();
        assert_eq!(semaphore.value(), 1);
        semaphore.init(0);
        assert!(!semaphore.try_wait());
    }
}
