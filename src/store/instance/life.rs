//! What is known of a child process: its pid, its heartbeat, how often it was started and died.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::ipc::layout::{Counter, Word};
use crate::shared_struct;

shared_struct! {
    /// A place that one process at a time fills. Two cache lines: what the master writes, and what the process writes.
    pub struct Life, align 64, size 128; {
        /// The process id; 0 when there is no process. Writer, of all in this line: the master.
        pub pid: Word,
        /// 1 from the moment on that the process is to leave.
        leaving: AtomicU32,
        /// How often a process was started for this place.
        pub lives: Word,
        /// Operations that dead processes of this place had begun, and that were finished or dropped.
        pub repairs: Word,
        /// How many of them ended without having been asked to.
        pub deaths: Word,
        /// How often a process could not be started for this place.
        pub failed_starts: Word,
        spare: [AtomicU64; 5],
        /// Its last heartbeat, nanoseconds of the monotonic clock. Writers: the master at birth, then the process.
        pub heartbeat_ns: Counter,
        spare_line: [AtomicU64; 7],
    }
}

impl Life {
    /// Begins another life, before the fork. Only the master.
    pub fn begin(&self, now_ns: u64) {
        self.leaving.store(0, Ordering::Relaxed);
        self.lives.add(1);
        self.heartbeat_ns.set(now_ns);
    }

    /// Takes back [`Life::begin`]: no process could be started. Only the master.
    pub fn cancel(&self) {
        self.lives.set(self.lives.get().wrapping_sub(1));
        self.pid.set(0);
    }

    /// Asks the process to finish and leave; wake it up afterwards.
    pub fn ask_to_leave(&self) {
        self.leaving.store(1, Ordering::Release);
    }

    /// Whether the process is to finish and leave.
    #[must_use]
    pub fn is_to_leave(&self) -> bool {
        self.leaving.load(Ordering::Acquire) != 0
    }
}
