//! A lock that survives its holder: a robust mutex shared by two processes, one of which is killed while holding it.
//!
//!     cargo run --example robust_mutex
//!
//! The lock guards two balances that must always add up to 100. A child takes the lock, writes down what it is about to
//! do (its intent), takes money from one balance, and is killed with SIGKILL before it can put it into the other.
//!
//! 1. The parent locks and gets EOWNERDEAD: the lock is his, and a warning that what it guards may be half changed. He
//!    repairs it by the intent, and only then calls `pthread_mutex_consistent`. The lock is as good as new.
//! 2. The same again, but the parent unlocks without `pthread_mutex_consistent`. The next attempt gets ENOTRECOVERABLE,
//!    and so will every attempt for ever.
//!
//! Watch it: `strace -f -e trace=futex,set_robust_list,kill,wait4 target/debug/examples/robust_mutex`

#![allow(unsafe_code)] // fork, mmap, and the mutex calls, for which there is no safe wrapper

use std::cell::UnsafeCell;
use std::error::Error;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, pipe2, read, write};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What both balances must add up to.
const TOTAL: i64 = 100;
/// What the child moves from the first to the second.
const AMOUNT: i64 = 30;
/// In `intent`: nothing is being done.
const NO_INTENT: i64 = 0;

/// What the shared memory holds. All but the lock itself is guarded by the lock.
#[repr(C)]
struct Shared {
    lock: UnsafeCell<libc::pthread_mutex_t>,
    first: AtomicI64,
    second: AtomicI64,
    /// The second balance as it will be when the move is done, or NO_INTENT. From it and TOTAL follow both balances:
    /// absolute values, so that repairing twice does no harm.
    intent: AtomicI64,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("robust_mutex: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let shared = Shared::create()?;

    println!("1. repaired and marked consistent");
    kill_a_holder(shared)?;
    expect("locking after the holder's death", shared.lock(), Err(Errno::EOWNERDEAD))?;
    let (first, second) = shared.balances();
    println!("   found {first} + {second} = {}, which is not {TOTAL}", first + second);
    if first + second == TOTAL {
        return Err("the holder was killed too early or too late: nothing is half done".into());
    }
    shared.repair();
    expect("marking it consistent", shared.mark_consistent(), Ok(()))?;
    expect("unlocking", shared.unlock(), Ok(()))?;
    expect("locking again", shared.lock(), Ok(()))?;
    let (first, second) = shared.balances();
    println!("   now   {first} + {second} = {}", first + second);
    if first + second != TOTAL {
        return Err("the repair lost money".into());
    }
    // An ordinary mutex would wait for itself here for ever; ERRORCHECK says so instead.
    expect("locking what this process holds", shared.lock(), Err(Errno::EDEADLK))?;
    expect("unlocking", shared.unlock(), Ok(()))?;

    println!("2. unlocked without being marked consistent");
    kill_a_holder(shared)?;
    expect("locking after the holder's death", shared.lock(), Err(Errno::EOWNERDEAD))?;
    expect("unlocking", shared.unlock(), Ok(()))?;
    expect("locking again", shared.lock(), Err(Errno::ENOTRECOVERABLE))?;
    println!("OK: a dead holder's lock is inherited, and usable again only if it is marked consistent");
    Ok(())
}

/// Lets a child die with the lock held and the move half done; returns when it is dead and reaped.
fn kill_a_holder(shared: &'static Shared) -> Result<()> {
    // "I am half way", from the child. Not a sleep: the parent kills neither too early nor later than it needs.
    let (half_way, tell_half_way) = pipe2(OFlag::O_CLOEXEC)?;
    // Never written to. The child waits on it, and it ends when the parent does, so that no child is left behind.
    let (parent_lives, parent_holds) = pipe2(OFlag::O_CLOEXEC)?;

    // SAFETY: this process has one thread, so no lock can be left taken in the child.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(parent_holds);
            let done = shared.lock().and_then(|()| {
                shared.move_half_way();
                write(&tell_half_way, b"!")?;
                read(&parent_lives, &mut [0; 1])
            });
            // Only if locking failed or the parent has gone; the parent's kill ends it before.
            eprintln!("robust_mutex, child: was not killed: {done:?}");
            std::process::exit(1)
        }
        ForkResult::Parent { child } => {
            // Closed here, so that a child that fails before writing ends the read below instead of blocking it.
            drop(tell_half_way);
            let told = read(&half_way, &mut [0; 1])?;
            kill(child, Signal::SIGKILL)?;
            match waitpid(child, None)? {
                WaitStatus::Signaled(_, Signal::SIGKILL, _) if told == 1 => {
                    println!("   child {child} was killed while it held the lock");
                    Ok(())
                }
                other => Err(format!("the child did not get half way: {other:?}").into()),
            }
        }
    }
}

/// Prints what a call returned, and fails if it is not what this program claims.
fn expect(what: &str, got: nix::Result<()>, wanted: nix::Result<()>) -> Result<()> {
    let told = |result: nix::Result<()>| match result {
        Ok(()) => "success".to_owned(),
        Err(errno) => format!("{errno:?} ({})", errno.desc()),
    };
    println!("   {what}: {}", told(got));
    if got == wanted { Ok(()) } else { Err(format!("{what} should give {}", told(wanted)).into()) }
}

impl Shared {
    /// Maps memory that a forked child shares, and prepares lock and balances in it. It has no name, so nothing is
    /// left of it when the last process ends.
    fn create() -> Result<&'static Shared> {
        let length = NonZeroUsize::new(size_of::<Shared>()).ok_or("shared memory of no size")?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice cannot disturb anything in this process.
        let mapped = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) }?;
        // SAFETY: the mapping is page-aligned, as long as a Shared, zeroed and never unmapped; zero bytes are valid for
        // the atomics, and for the mutex until `initialise` has made it what it should be.
        let shared: &'static Shared = unsafe { mapped.cast::<Shared>().as_ref() };
        shared.initialise()?;
        shared.first.store(TOTAL, Relaxed);
        Ok(shared)
    }

    /// A zero-filled mutex would seem to work, but as a private and non-robust one: each property must be asked for.
    fn initialise(&self) -> Result<()> {
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the pointer is to memory for an attributes object.
        check(unsafe { libc::pthread_mutexattr_init(attributes) })?;
        // SAFETY: the attributes object was initialised above; the same holds for the next two.
        check(unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: see above.
        check(unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) })?;
        // SAFETY: see above.
        check(unsafe { libc::pthread_mutexattr_settype(attributes, libc::PTHREAD_MUTEX_ERRORCHECK) })?;
        // SAFETY: the mutex is in memory that never moves, and no other process exists yet that could use it.
        check(unsafe { libc::pthread_mutex_init(self.lock.get(), attributes) })?;
        // SAFETY: the attributes object was initialised above and is not used after this.
        check(unsafe { libc::pthread_mutexattr_destroy(attributes) })?;
        Ok(())
    }

    /// EOWNERDEAD is no failure: the lock *is* held then. It is returned as an error so that it cannot be overlooked.
    fn lock(&self) -> nix::Result<()> {
        // SAFETY: the mutex was initialised before any reference to it was handed out; the same holds below.
        check(unsafe { libc::pthread_mutex_lock(self.lock.get()) })
    }

    fn unlock(&self) -> nix::Result<()> {
        // SAFETY: initialised; an ERRORCHECK mutex refuses one who does not hold it.
        check(unsafe { libc::pthread_mutex_unlock(self.lock.get()) })
    }

    fn mark_consistent(&self) -> nix::Result<()> {
        // SAFETY: initialised; the call refuses a mutex that is not in the inherited state.
        check(unsafe { libc::pthread_mutex_consistent(self.lock.get()) })
    }

    fn balances(&self) -> (i64, i64) {
        (self.first.load(Relaxed), self.second.load(Relaxed))
    }

    /// The first half of moving money: the intent is written down before anything changes. Caller holds the lock.
    fn move_half_way(&self) {
        let (first, second) = self.balances();
        self.intent.store(second + AMOUNT, Relaxed);
        self.first.store(first - AMOUNT, Relaxed);
        // Not reached by this program's child: the second balance, and then the intent set back to NO_INTENT.
    }

    /// Finishes what the intent says, if there is one. Caller holds the lock.
    fn repair(&self) {
        let second = self.intent.load(Relaxed);
        if second != NO_INTENT {
            self.second.store(second, Relaxed);
            self.first.store(TOTAL - second, Relaxed);
            self.intent.store(NO_INTENT, Relaxed);
        }
    }
}

/// The pthread calls return their error instead of setting errno.
fn check(returned: libc::c_int) -> nix::Result<()> {
    if returned == 0 { Ok(()) } else { Err(Errno::from_raw(returned)) }
}
