//! Transfers between threads and forked processes: pools, contents that are a function of their number, and both sides as they are used.
#![allow(unsafe_code)] // fork(2), in a test process of several threads: the children use nothing but the pool.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bank_vault::base::crash_point::{self, Charge, CrashPoint};
use bank_vault::ipc::event::EventFd;
use bank_vault::ipc::names::Generation;
use bank_vault::store::transfer::{Begun, Claimant, Next, Pool, Reader, SegmentId, Shape, WakeUps, Writer};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// Workers of a test.
pub const WORKERS: usize = 4;
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pool and its eventfds.
pub struct Setting {
    pub pool: Pool,
    pub wake: WakeUps,
}

/// A pool whose name is gone as soon as it is made: children have it by fork, and nothing can be left behind.
pub fn setting(segments: usize, segment_bytes: usize) -> Setting {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let boot = NUMBER.fetch_add(1, Ordering::Relaxed);
    let generation = Generation { instance: format!("test-transfer-{}", std::process::id()), boot };
    let pool = Pool::create(&generation, Shape::new(segments, segment_bytes).unwrap()).unwrap();
    Pool::unlink(&generation).unwrap();
    let event = || Arc::new(EventFd::new().unwrap());
    Setting { pool, wake: WakeUps::new((0..WORKERS).map(|_| event()).collect(), event()) }
}

/// Sleeps until `event` was written, as an event loop does.
pub fn sleep(event: &EventFd) {
    let mut descriptors = [PollFd::new(event.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut descriptors, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
    assert!(ready > 0, "nobody has woken this side");
    assert!(event.take());
}

/// Contents of so many bytes, other ones for each `seed`.
pub fn contents(seed: u32, total: usize) -> Vec<u8> {
    let mut state = u64::from(seed) << 32 | 0x9E37_79B9;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..total).map(|_| byte()).collect()
}

/// Sleeps until worker `worker` has a segment.
pub fn claim(setting: &Setting, worker: u16) -> SegmentId {
    let mut claimant = Claimant::new(&setting.pool, worker, std::process::id(), &setting.wake);
    claimant.draw();
    loop {
        if let Some((_, id)) = claimant.claim() {
            return id;
        }
        sleep(setting.wake.of_worker(worker.into()));
    }
}

/// What the cache process does for a request; `false` where the request was over, or nobody wanted the end.
pub fn serve(setting: &Setting, id: SegmentId, contents: &[u8], detail: u32) -> bool {
    let Some(mut writer) = Writer::pick_up(&setting.pool, id, std::process::id(), &setting.wake) else { return false };
    writer.begin(contents.len() as u64, detail);
    let mut written = 0;
    while written < contents.len() {
        match writer.write(&contents[written..]) {
            Err(_) => return false,
            Ok(0) => sleep(setting.wake.of_cache()),
            Ok(more) => written += more,
        }
    }
    writer.finish();
    true
}

/// How a transfer ended for its worker, with the checksum of what came and what was said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub last: Next,
    pub begun: Option<Begun>,
    pub bytes: u64,
    pub crc: u32,
}

/// What a worker does with a segment that it has claimed: reads to the end, or to `most` bytes.
pub fn read(setting: &Setting, id: SegmentId, worker: u16, most: u64) -> Told {
    let mut reader = Reader::new(&setting.pool, id, worker, &setting.wake).unwrap();
    let mut hasher = crc32fast::Hasher::new();
    // No divisor of a chunk, so that chunks are left in the middle.
    let mut buffer = [0; 1000];
    let last = loop {
        match reader.poll() {
            Next::Pending => sleep(setting.wake.of_worker(worker.into())),
            Next::Chunk if reader.bytes() < most => {
                let length = reader.copy_out(&mut buffer);
                hasher.update(&buffer[..length]);
            }
            last => break last,
        }
    };
    Told { last, begun: reader.begun(), bytes: reader.bytes(), crc: hasher.finalize() }
}

/// What [`read`] is to tell of whole contents.
pub fn whole(contents: &[u8], detail: u32) -> Told {
    let total = contents.len() as u64;
    let begun = Some(Begun { total, detail });
    Told { last: Next::End, begun, bytes: total, crc: crc32fast::hash(contents) }
}

/// Runs `body` in a forked child, which is killed when this process dies.
pub fn child(body: impl FnOnce()) -> Pid {
    // SAFETY: the child uses the pool and then ends by _exit; it takes no lock that another thread of the parent may hold, but that of the
    // allocator, which fork(2) of the C library takes care of.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(i32::from(!done)) }
        }
    }
}

/// Such a child that dies when it comes by `point` for the `hit`-th time.
pub fn dying(point: CrashPoint, hit: u32, body: impl FnOnce()) -> Pid {
    child(|| {
        crash_point::arm(Charge { point, hit, stop: false });
        body();
    })
}

/// Waits for a child; whether it died of SIGKILL rather than reaching its end.
pub fn was_killed(pid: Pid) -> bool {
    match waitpid(pid, None).unwrap() {
        WaitStatus::Signaled(_, Signal::SIGKILL, _) => true,
        WaitStatus::Exited(_, 0) => false,
        other => panic!("{other:?}"),
    }
}
