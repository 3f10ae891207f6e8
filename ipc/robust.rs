//! Robust process-shared mutexes (`pthread_mutexattr_setrobust(3)`): a lock whose holder died says so to the next taker.
//!
//! The type tells what that taker must do. [`Acquired::Inherited`] is not a held lock: what the lock guards may be half done. Only
//! [`Inherited::into_consistent`], called after repair, turns it into one. Dropping it keeps the lock, so that it is passed on as
//! inherited again when this thread ends; unlocking it would make it unusable for ever.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::ipc::error::IpcError;
use crate::ipc::layout::Shared;

unsafe extern "C" {
    /// glibc 2.30 and later; missing in the `libc` crate. Against the monotonic clock, where `pthread_mutex_timedlock`
    /// would follow every jump of the wall clock.
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        deadline: *const libc::timespec,
    ) -> libc::c_int;
}

/// A mutex that lies in shared memory. Zero bytes are not a usable one: [`RobustMutex::init`] must run first.
#[repr(transparent)]
pub struct RobustMutex(UnsafeCell<libc::pthread_mutex_t>);

const _: () = assert!(size_of::<RobustMutex>() == 40 && align_of::<RobustMutex>() == 8);

// SAFETY: glibc accesses a process-shared mutex only by atomic operations and the kernel's futex calls; it holds links of
// the holding thread's robust list, which only that thread and the kernel follow.
unsafe impl Shared for RobustMutex {}
// SAFETY: that is what a mutex is for.
unsafe impl Sync for RobustMutex {}

/// What taking a lock gave.
#[must_use = "dropping it unlocks at once"]
pub enum Acquired<'a> {
    /// The lock is held, and what it guards is consistent.
    Held(Held<'a>),
    /// The last holder died with the lock: repair first.
    Inherited(Inherited<'a>),
}

/// Why a lock could not be taken without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// A held lock, unlocked when dropped.
pub struct Held<'a>(&'a RobustMutex, NotSend);

/// A lock whose last holder died; it must be repaired first.
pub struct Inherited<'a>(&'a RobustMutex, NotSend);

/// Keeps a held lock in its thread: only the thread that took a mutex may give it back.
type NotSend = PhantomData<*const ()>;

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this thread holds the mutex: only `RobustMutex` makes a Held, and it is neither Send nor Clone.
        let result = unsafe { libc::pthread_mutex_unlock(self.0.raw()) };
        debug_assert_eq!(result, 0, "unlocking a lock that is held");
    }
}

impl<'a> Inherited<'a> {
    /// Declares what the lock guards consistent again; only after repair.
    #[must_use]
    pub fn into_consistent(self) -> Held<'a> {
        // SAFETY: this thread holds the mutex in the inconsistent state: only `RobustMutex` makes an Inherited.
        let result = unsafe { libc::pthread_mutex_consistent(self.0.raw()) };
        assert_eq!(result, 0, "an inherited lock is inconsistent until this call");
        Held(self.0, PhantomData)
    }
}

impl RobustMutex {
    /// Makes it a robust, process-shared, error-checking mutex; before any other process or thread can reach it.
    ///
    /// # Errors
    /// What the pthread calls give, under the name `object`.
    pub fn init(&self, object: &str) -> Result<(), IpcError> {
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attr = attributes.as_mut_ptr();
        let check = |step, result: libc::c_int| match result {
            0 => Ok(()),
            code => Err(IpcError::system(step, object, Errno::from_raw(code))),
        };
        // SAFETY: a place for the attributes, initialised here and destroyed below.
        check("initialise lock attributes of", unsafe { libc::pthread_mutexattr_init(attr) })?;
        // SAFETY: initialised just above (so in the next three).
        check("share", unsafe { libc::pthread_mutexattr_setpshared(attr, libc::PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: as above.
        check("make robust", unsafe { libc::pthread_mutexattr_setrobust(attr, libc::PTHREAD_MUTEX_ROBUST) })?;
        // SAFETY: as above.
        check("set the type of", unsafe { libc::pthread_mutexattr_settype(attr, libc::PTHREAD_MUTEX_ERRORCHECK) })?;
        // SAFETY: by this function's contract no other thread can reach the mutex yet; the attributes are initialised.
        let made = check("initialise", unsafe { libc::pthread_mutex_init(self.raw(), attr) });
        // SAFETY: initialised above and not used again.
        unsafe { libc::pthread_mutexattr_destroy(attr) };
        made
    }

    #[inline]
    fn raw(&self) -> *mut libc::pthread_mutex_t {
        self.0.get()
    }

    /// Takes the lock if that needs no waiting.
    ///
    /// # Errors
    /// [`Busy`]: a living thread holds it.
    #[inline]
    pub fn try_lock(&self) -> Result<Acquired<'_>, Busy> {
        // SAFETY: an initialised mutex in memory that is never unmapped.
        match unsafe { libc::pthread_mutex_trylock(self.raw()) } {
            0 => Ok(Acquired::Held(Held(self, PhantomData))),
            libc::EOWNERDEAD => Ok(Acquired::Inherited(Inherited(self, PhantomData))),
            libc::EBUSY => Err(Busy),
            other => unusable(other),
        }
    }

    /// Takes the lock; while another thread holds it, waits, and calls `still_waiting` every `slice`.
    ///
    /// # Panics
    /// When this thread holds it already, or it was never initialised: both are errors in the program.
    #[inline]
    pub fn lock(&self, slice: Duration, still_waiting: impl FnMut()) -> Acquired<'_> {
        match self.try_lock() {
            Ok(acquired) => acquired,
            Err(Busy) => self.lock_slowly(slice, still_waiting),
        }
    }

    #[cold]
    fn lock_slowly(&self, slice: Duration, mut still_waiting: impl FnMut()) -> Acquired<'_> {
        // A running holder of an account keeps it for some tens of nanoseconds: spinning is cheaper than a system call.
        for _ in 0..64 {
            std::hint::spin_loop();
            if let Ok(acquired) = self.try_lock() {
                return acquired;
            }
        }
        loop {
            let deadline = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from) + slice;
            let deadline = nix::sys::time::TimeSpec::from(deadline);
            // SAFETY: an initialised mutex in memory that is never unmapped, and a deadline that outlives the call.
            match unsafe { pthread_mutex_clocklock(self.raw(), libc::CLOCK_MONOTONIC, deadline.as_ref()) } {
                0 => return Acquired::Held(Held(self, PhantomData)),
                libc::EOWNERDEAD => return Acquired::Inherited(Inherited(self, PhantomData)),
                libc::ETIMEDOUT => still_waiting(),
                libc::EINTR => {}
                other => unusable(other),
            }
        }
    }

    /// The kernel's thread id of the holder, at some moment of the call; `None` when it is free. For tools that look.
    ///
    /// glibc keeps it in the lower 30 bits of the mutex' first word, as the kernel's robust futexes demand
    /// (`Documentation/locking/robust-futex-ABI.rst`).
    #[must_use]
    pub fn holder(&self) -> Option<u32> {
        let tid = self.futex() & 0x3fff_ffff;
        (tid != 0).then_some(tid)
    }

    /// Whether its holder died and no thread has taken it since, at some moment of the call. For tools that look.
    ///
    /// The kernel sets bit 30 of the same word when it clears the dead thread's id.
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.futex() & 0x7fff_ffff == 0x4000_0000
    }

    /// Whether it is neither held nor orphaned, at some moment of the call. Whoever has this answer and then a fence that acquires sees what
    /// was written under the lock by all who had it before.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.futex() == 0
    }

    fn futex(&self) -> u32 {
        let word = self.raw().cast::<std::sync::atomic::AtomicU32>();
        // SAFETY: the mutex begins with this aligned 32-bit word, which glibc and the kernel access atomically as well.
        unsafe { &*word }.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// EDEADLK, ENOTRECOVERABLE or EINVAL: going on without the lock would lose what it guards.
#[cold]
fn unusable(code: libc::c_int) -> ! {
    panic!("a robust lock cannot be used: {}", Errno::from_raw(code));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn fresh() -> Arc<RobustMutex> {
        // SAFETY: zero bytes are a valid value (Shared), made a usable mutex by init.
        let mutex = Arc::new(RobustMutex(UnsafeCell::new(unsafe { std::mem::zeroed() })));
        mutex.init("test").unwrap();
        mutex
    }

    const SLICE: Duration = Duration::from_millis(1);

    /// Does not compile for a type that may be sent to another thread, because then both implementations fit.
    trait NotSendable<Marker> {
        const YES: bool = true;
    }
    impl<T> NotSendable<()> for T {}
    impl<T: Send> NotSendable<u8> for T {}
    const _: bool = <Held<'static> as NotSendable<_>>::YES && <Inherited<'static> as NotSendable<_>>::YES;

    #[test]
    fn a_lock_whose_thread_ended_is_inherited_until_it_is_made_consistent() {
        let mutex = fresh();
        // A robust lock is passed on by the death of its thread; that of a process is tried in tests/robust.rs.
        let dying = mutex.clone();
        std::thread::spawn(move || std::mem::forget(dying.lock(SLICE, || ()))).join().unwrap();
        assert!(mutex.is_orphaned() && mutex.holder().is_none());
        let Acquired::Inherited(inherited) = mutex.lock(SLICE, || ()) else { panic!("the holder died") };
        assert!(!mutex.is_orphaned() && mutex.holder().is_some());
        drop(inherited.into_consistent());
        assert!(matches!(mutex.try_lock(), Ok(Acquired::Held(_))));
        assert!(!mutex.is_orphaned());
    }

    #[test]
    fn dropping_an_inherited_lock_keeps_it() {
        let mutex = fresh();
        for _ in 0..2 {
            let mutex = mutex.clone();
            std::thread::spawn(move || match mutex.lock(SLICE, || ()) {
                Acquired::Held(held) => std::mem::forget(held),
                Acquired::Inherited(_dropped_here) => {}
            })
            .join()
            .unwrap();
        }
        assert!(matches!(mutex.try_lock(), Ok(Acquired::Inherited(_))), "the second thread passed it on");
    }

    #[test]
    fn waiting_is_told_and_the_holder_is_named() {
        let mutex = fresh();
        assert_eq!(mutex.holder(), None);
        let held = mutex.lock(SLICE, || ());
        assert_eq!(mutex.holder(), u32::try_from(nix::unistd::gettid().as_raw()).ok());
        let other = mutex.clone();
        let (tell, told) = crossbeam_channel::bounded(1);
        let waiter = std::thread::spawn(move || {
            assert!(matches!(other.try_lock(), Err(Busy)));
            let acquired = other.lock(SLICE, || _ = tell.try_send(()));
            matches!(acquired, Acquired::Held(_))
        });
        told.recv().unwrap();
        drop(held);
        assert!(waiter.join().unwrap());
    }
}
