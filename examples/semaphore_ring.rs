//! A ring queue in POSIX shared memory between two processes, guarded by three named semaphores.
//!
//!     cargo run --example semaphore_ring
//!     cargo run --example semaphore_ring -- --kill-producer     (what happens when a side dies)
//!
//! `slots` counts the free places and `items` the full ones, so that the producer sleeps while the ring is full and the
//! consumer while it is empty; `lock`, whose count is 1, lets one process at a time move the positions. (With one
//! producer and one consumer the two counts would do; the lock makes it right for any number of them.)
//!
//! A parent makes and unlinks the objects, and only supervises. It never waits on a semaphore itself: a semaphore does
//! not notice that the process that was to post it has died, while `waitpid` does.
//!
//! Watch it: `ls -l /dev/shm`, `strace -f -e trace=futex,openat,unlink,wait4 target/debug/examples/semaphore_ring`

#![allow(unsafe_code)] // fork, mmap, and the semaphore calls, for which there is no safe wrapper

use std::error::Error;
use std::ffi::CString;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::errno::Errno;
use nix::fcntl::{OFlag, posix_fallocate};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, shm_open, shm_unlink};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Places in the ring; small, so that both sides really have to wait.
const PLACES: usize = 8;
/// Numbers that go through it: 1, 2, … up to this one.
const NUMBERS: u64 = 10_000;

/// What the shared memory holds. Zero bytes are a valid empty ring.
///
/// The semaphores order all access, so relaxed atomics suffice; atomics they must be, since other processes write here.
#[repr(C)]
struct Ring {
    /// Items ever put in; written by the producer, under `lock`.
    head: AtomicU64,
    /// Items ever taken out; written by the consumer, under `lock`.
    tail: AtomicU64,
    places: [AtomicU64; PLACES],
    /// The sum that each side computed for itself; written at its end, read by the parent after that side has exited.
    sum_put: AtomicU64,
    sum_taken: AtomicU64,
}

fn main() -> ExitCode {
    let kill_producer = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--kill-producer") => true,
        Some(other) => {
            eprintln!("semaphore_ring: unknown argument `{other}`; the only one is --kill-producer");
            return ExitCode::from(2);
        }
    };
    match run(kill_producer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("semaphore_ring: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(kill_producer: bool) -> Result<()> {
    // A Control-C goes to all three processes. The parent outlives it to clean up: it sees that its children ended.
    let interrupts = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    interrupts.thread_block()?;

    // Dropped at the end of this function on every way out, which unlinks the names. Children never get to that end.
    let names = Names::create()?;
    println!("made {} and its semaphores .slots, .items, .lock", names.ring);

    let producer = start("producer", &interrupts, || produce(&names, kill_producer))?;
    let consumer = match start("consumer", &interrupts, || consume(&names)) {
        Ok(consumer) => consumer,
        Err(error) => {
            // Nobody would ever empty the ring.
            kill(producer, Signal::SIGKILL)?;
            wait()?;
            return Err(error);
        }
    };
    supervise(producer, consumer)?;

    let ring = names.map()?;
    let (put, taken) = (ring.sum_put.load(Relaxed), ring.sum_taken.load(Relaxed));
    println!("the producer put in   1 + 2 + … + {NUMBERS} = {put}");
    println!("the consumer took out                    = {taken}");
    if put != taken || put != NUMBERS * (NUMBERS + 1) / 2 {
        return Err(format!("the sums are wrong: {put} and {taken}").into());
    }
    println!("OK: nothing lost, nothing twice");
    Ok(())
}

/// Forks a child that does `work` and exits.
fn start(role: &str, interrupts: &SigSet, work: impl FnOnce() -> Result<()>) -> Result<Pid> {
    let parent = getpid();
    // SAFETY: this process has one thread, so no lock can be left taken in the child.
    if let ForkResult::Parent { child } = unsafe { fork() }? {
        return Ok(child);
    }
    // From here on the child, which ends by `exit`: returning would run the parent's cleanup in the wrong process.
    let prepare = || -> Result<()> {
        set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != parent {
            return Err("the parent died before this process could ask to be told".into());
        }
        interrupts.thread_unblock()?;
        Ok(())
    };
    let done = prepare().and_then(|()| work());
    if let Err(error) = &done {
        eprintln!("semaphore_ring, {role}: {error}");
    }
    std::process::exit(if done.is_ok() { 0 } else { 1 })
}

/// Waits for both children; when one fails, ends the other, which might otherwise wait for it for ever.
fn supervise(producer: Pid, consumer: Pid) -> Result<()> {
    let first = wait()?;
    if !matches!(first, WaitStatus::Exited(_, 0)) {
        let other = if first.pid() == Some(producer) { consumer } else { producer };
        kill(other, Signal::SIGKILL)?;
        wait()?;
        return Err(format!("one side failed ({first:?}), so the other was ended").into());
    }
    match wait()? {
        WaitStatus::Exited(_, 0) => Ok(()),
        last => Err(format!("one side failed: {last:?}").into()),
    }
}

fn produce(names: &Names, die_half_way: bool) -> Result<()> {
    let (ring, slots, items, lock) = names.attach()?;
    let mut sum = 0;
    for number in 1..=NUMBERS {
        slots.wait()?;
        lock.wait()?;
        if die_half_way && number == NUMBERS / 2 {
            // With the lock taken, which nobody will ever give back: semaphores know no owner.
            raise(Signal::SIGKILL)?;
        }
        let head = ring.head.load(Relaxed);
        place(ring, head).store(number, Relaxed);
        ring.head.store(head + 1, Relaxed);
        lock.post()?;
        items.post()?;
        sum += number;
    }
    ring.sum_put.store(sum, Relaxed);
    Ok(())
}

fn consume(names: &Names) -> Result<()> {
    let (ring, slots, items, lock) = names.attach()?;
    let mut sum = 0;
    for _ in 1..=NUMBERS {
        items.wait()?;
        lock.wait()?;
        let tail = ring.tail.load(Relaxed);
        sum += place(ring, tail).load(Relaxed);
        ring.tail.store(tail + 1, Relaxed);
        lock.post()?;
        slots.post()?;
    }
    ring.sum_taken.store(sum, Relaxed);
    Ok(())
}

/// The place of the item with this running number.
fn place(ring: &Ring, running: u64) -> &AtomicU64 {
    let places = PLACES as u64;
    // The remainder is below PLACES, so it fits whatever the width of usize.
    &ring.places[usize::try_from(running % places).unwrap_or(0)]
}

/// The names of the four objects; unlinked on drop.
struct Names {
    ring: String,
}

impl Names {
    /// Makes all four objects; what an error leaves half made is unlinked too.
    fn create() -> Result<Names> {
        // The pid keeps two runs of this program apart.
        let names = Names { ring: format!("/semaphore-ring.{}", getpid()) };
        // O_EXCL: never take over what somebody else made under this name.
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
        let memory = shm_open(names.ring.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|e| step("make the shared memory", &names.ring, e))?;
        // Allocated and not just sized: with /dev/shm full, this fails here, where a sized segment would kill the first
        // process to touch it (SIGBUS).
        posix_fallocate(&memory, 0, libc::off_t::try_from(size_of::<Ring>())?)
            .map_err(|e| step("allocate the shared memory", &names.ring, e))?;
        let places = u32::try_from(PLACES)?;
        for (name, count) in [("slots", places), ("items", 0), ("lock", 1)] {
            Semaphore::create(&names.semaphore(name), count)?;
        }
        Ok(names)
    }

    fn semaphore(&self, name: &str) -> String {
        format!("{}.{name}", self.ring)
    }

    /// Opens everything by name, as any unrelated process could.
    fn attach(&self) -> Result<(&'static Ring, Semaphore, Semaphore, Semaphore)> {
        let open = |name| Semaphore::open(&self.semaphore(name));
        Ok((self.map()?, open("slots")?, open("items")?, open("lock")?))
    }

    fn map(&self) -> Result<&'static Ring> {
        let memory = shm_open(self.ring.as_str(), OFlag::O_RDWR, Mode::empty())
            .map_err(|e| step("open the shared memory", &self.ring, e))?;
        let length = NonZeroUsize::new(size_of::<Ring>()).ok_or("a ring of no size")?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice cannot disturb anything in this process.
        let mapped = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, &memory, 0) }
            .map_err(|e| step("map the shared memory", &self.ring, e))?;
        // SAFETY: the mapping is page-aligned, as long as a Ring, and never unmapped; a Ring consists of atomics, for
        // which any bytes are valid and writes by other processes are allowed.
        Ok(unsafe { mapped.cast::<Ring>().as_ref() })
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // Errors are of no use here: what was not yet made cannot be unlinked.
        let _ = shm_unlink(self.ring.as_str());
        for name in ["slots", "items", "lock"] {
            if let Ok(name) = CString::new(self.semaphore(name)) {
                // SAFETY: the name is a valid C string for the time of the call.
                unsafe { libc::sem_unlink(name.as_ptr()) };
            }
        }
    }
}

/// An open named semaphore.
struct Semaphore {
    handle: *mut libc::sem_t,
    name: String,
}

impl Semaphore {
    fn create(name: &str, count: libc::c_uint) -> Result<Semaphore> {
        let text = CString::new(name)?;
        let mode: libc::c_uint = 0o600;
        // SAFETY: the name is a valid C string, and mode and count are of the types that O_CREAT makes it expect.
        let handle = unsafe { libc::sem_open(text.as_ptr(), libc::O_CREAT | libc::O_EXCL, mode, count) };
        Semaphore::checked(handle, name, "make the semaphore")
    }

    fn open(name: &str) -> Result<Semaphore> {
        let text = CString::new(name)?;
        // SAFETY: the name is a valid C string, and without O_CREAT there are no further arguments.
        let handle = unsafe { libc::sem_open(text.as_ptr(), 0) };
        Semaphore::checked(handle, name, "open the semaphore")
    }

    fn checked(handle: *mut libc::sem_t, name: &str, what: &str) -> Result<Semaphore> {
        if handle == libc::SEM_FAILED {
            return Err(step(what, name, Errno::last()));
        }
        Ok(Semaphore { handle, name: name.to_owned() })
    }

    /// Takes one off the count, and sleeps while there is none to take.
    fn wait(&self) -> Result<()> {
        loop {
            // SAFETY: the handle is open until drop.
            match Errno::result(unsafe { libc::sem_wait(self.handle) }) {
                Ok(_) => return Ok(()),
                // A signal came; the count is as it was.
                Err(Errno::EINTR) => {}
                Err(error) => return Err(step("wait on the semaphore", &self.name, error)),
            }
        }
    }

    /// Adds one to the count, and wakes a sleeper.
    fn post(&self) -> Result<()> {
        // SAFETY: the handle is open until drop.
        Errno::result(unsafe { libc::sem_post(self.handle) }).map_err(|e| step("post the semaphore", &self.name, e))?;
        Ok(())
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nobody can use it after this.
        unsafe { libc::sem_close(self.handle) };
    }
}

fn step(what: &str, name: &str, error: impl Display) -> Box<dyn Error> {
    format!("cannot {what} {name}: {error}").into()
}
