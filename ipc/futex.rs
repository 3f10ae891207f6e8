//! Waiting for a word in shared memory to change (`futex(2)`), across processes.
//!
//! A waiter that is killed leaves nothing behind, unlike one of a process-shared condition variable.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps until `word` is no longer `seen`, or a wake-up comes, or `patience` is over. The caller must look again afterwards.
pub fn wait_while(word: &AtomicU32, seen: u32, patience: Duration) {
    let timeout = nix::sys::time::TimeSpec::from(patience);
    let timeout: *const libc::timespec = timeout.as_ref();
    // SAFETY: a word that outlives the call, and a timeout that does too. Whatever it returns, the caller looks again.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, timeout) };
}

/// Wakes all that wait for `word`; change it first.
pub fn wake_all(word: &AtomicU32) {
    // SAFETY: a word that outlives the call; the kernel only uses its address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;
    use std::time::Instant;

    #[test]
    fn a_waiter_is_woken_and_does_not_wait_for_what_has_happened() {
        let word = AtomicU32::new(1);
        wait_while(&word, 0, Duration::from_secs(60));
        let began = Instant::now();
        wait_while(&word, 1, Duration::from_millis(5));
        assert!(began.elapsed() >= Duration::from_millis(5));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while word.load(Ordering::Acquire) == 1 {
                    wait_while(&word, 1, Duration::from_secs(60));
                }
            });
            word.store(2, Ordering::Release);
            wake_all(&word);
        });
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
