//! Workers of an access log, as far as the log knows them: forked processes that append lines, and may die of it.
#![allow(unsafe_code)] // fork(2), in a test process of several threads: the children use nothing but the log.
#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bank_vault::base::crash_point::{self, Charge, CrashPoint};
use bank_vault::ipc::names::Generation;
use bank_vault::store::access_log::{AccessLog, Full, Handle, Target, Writer};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use tempfile::TempDir;

use crate::log_files::{line, lines_in};

/// Short, so that a test does not wait for what only time brings.
pub const INTERVAL: Duration = Duration::from_millis(50);

/// A log whose names are gone as soon as it is made: the children have it by fork, and nothing can be left behind.
pub fn log_in(folder: &Path, writers: usize, rotate_bytes: u64, keep: u32) -> &'static AccessLog {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let boot = NUMBER.fetch_add(1, Ordering::Relaxed);
    let generation = Generation { instance: format!("test-log-{}", std::process::id()), boot };
    let target = Target { path: folder.join("access.log"), rotate_bytes, keep, interval: INTERVAL };
    let log = AccessLog::create(&generation, writers, target).unwrap();
    AccessLog::unlink(&generation).unwrap();
    log.check_target().unwrap();
    // Log threads refer to it for as long as the process lives.
    Box::leak(Box::new(log))
}

/// Such a log in a folder of its own.
pub fn log(writers: usize, rotate_bytes: u64, keep: u32) -> (TempDir, &'static AccessLog) {
    let home = tempfile::tempdir().unwrap();
    let log = log_in(home.path(), writers, rotate_bytes, keep);
    (home, log)
}

/// Runs `body` in a forked child, which is killed when this process dies.
pub fn child(body: impl FnOnce()) -> Pid {
    // SAFETY: the child uses the log and then ends by _exit; it takes no lock that another thread of the parent may hold.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
            body();
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Waits for a child; whether it died of SIGKILL rather than reaching its end.
pub fn was_killed(pid: Pid) -> bool {
    match waitpid(pid, None).unwrap() {
        WaitStatus::Signaled(_, Signal::SIGKILL, _) => true,
        WaitStatus::Exited(_, 0) => false,
        other => panic!("{other:?}"),
    }
}

/// Appends a line; when there is no room, waits until the log thread says that there is.
pub fn append(handle: &mut Handle, line: &[u8]) {
    while handle.append(line) == Err(Full) {
        std::thread::park();
    }
}

/// Starts worker `worker`'s log thread; this thread is its event loop.
pub fn start(log: &'static AccessLog, worker: u32) -> Handle {
    let event_loop = std::thread::current();
    Writer::start(log, worker, move || event_loop.unpark()).unwrap()
}

/// What a worker does in its life: goes on behind what was appended in earlier lives, up to `lines`, and ends in order.
pub fn life(log: &'static AccessLog, worker: u32, lines: u32) {
    let from = lines_in(worker, log.rings()[worker as usize].appended());
    let mut handle = start(log, worker);
    for number in from..lines {
        append(&mut handle, &line(worker, number));
    }
    handle.finish().unwrap();
}

/// Bytes that were ever appended, by writer.
pub fn appended(log: &AccessLog) -> Vec<u64> {
    log.rings().iter().map(|ring| ring.appended()).collect()
}

/// Random numbers, the same in each run (xorshift, Marsaglia 2003).
pub struct Lots(pub u32);

impl Lots {
    /// A number below `n`.
    pub fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % n
    }
}

/// The crash points of the access log.
pub fn points() -> impl Iterator<Item = CrashPoint> {
    CrashPoint::ALL.iter().copied().filter(|point| point.name().starts_with("log."))
}

/// Appends more than a ring, flushes that and dies of it at `point`, if it comes by there.
pub fn dying_life(log: &'static AccessLog, worker: u32, point: CrashPoint, hit: u32) -> Pid {
    child(|| {
        crash_point::arm(Charge { point, hit, stop: false });
        life(log, worker, lines_in(worker, log.rings()[worker as usize].appended()) + 1_500);
    })
}

/// Appends lines that nobody has written yet, in a life that ends with the last one.
pub fn leave_lines(log: &'static AccessLog, worker: u32, lines: u32) {
    let held = log.lock();
    let pid = child(|| {
        crash_point::arm(Charge { point: CrashPoint::LogAppended, hit: lines, stop: false });
        life(log, worker, u32::MAX);
    });
    assert!(was_killed(pid));
    drop(held);
}

/// A log whose writer 0 died with a plan of which nothing is written, and that plan's bytes.
pub fn torn() -> (TempDir, &'static AccessLog, Vec<u8>) {
    let (home, log) = log(2, 1 << 30, 5);
    life(log, 1, 30);
    assert!(was_killed(dying_life(log, 0, CrashPoint::LogPlanned, 1)));
    let planned = log.plan().load().unwrap();
    let lines: Vec<u8> = (0..).flat_map(|number| line(0, number)).take(planned.length as usize).collect();
    (home, log, lines)
}

/// What the kernel had taken of a dead one's write.
pub fn write_behind(path: &Path, part: &[u8]) {
    use std::io::Write;
    fs::File::options().append(true).open(path).unwrap().write_all(part).unwrap();
}
