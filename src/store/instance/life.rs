//! What is known of a child process: its pid, its heartbeat, how often it was started and died.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::shared_struct;

shared_struct! {
    /// A place that one process at a time fills. Two cache lines: what the master writes, and what the process writes.
    pub struct Life, align 64, size 128; {
        pid: AtomicU32,
        /// 1 from the moment on that the process is to leave.
        leaving: AtomicU32,
        /// How often a process was started for this place.
        lives: AtomicU32,
        /// Operations that dead processes of this place had begun, and that were finished or dropped.
        repairs: AtomicU32,
        /// How many of them ended without having been asked to.
        deaths: AtomicU32,
        /// How often a process could not be started for this place.
        failed_starts: AtomicU32,
        spare: [AtomicU64; 5],
        /// Its last heartbeat, nanoseconds of the monotonic clock. Writers: the master at birth, then the process.
        heartbeat_ns: AtomicU64,
        spare_line: [AtomicU64; 7],
    }
}

impl Life {
    /// Begins another life, before the fork. Only the master.
    pub fn begin(&self, now_ns: u64) {
        self.leaving.store(0, Ordering::Relaxed);
        self.lives.fetch_add(1, Ordering::Relaxed);
        self.beat(now_ns);
    }

    /// Takes back [`Life::begin`]: no process could be started. Only the master.
    pub fn cancel(&self) {
        self.lives.fetch_sub(1, Ordering::Relaxed);
        self.set_pid(0);
    }

    /// Counts a start that failed. Only the master.
    pub fn count_failed_start(&self) {
        self.failed_starts.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a process could not be started for this place.
    #[must_use]
    pub fn failed_starts(&self) -> u32 {
        self.failed_starts.load(Ordering::Relaxed)
    }

    /// Sets the process id after the fork, and to 0 after the end. Only the master.
    pub fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// The process id; 0 when there is no process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// How often a process was started for this place.
    #[must_use]
    pub fn lives(&self) -> u32 {
        self.lives.load(Ordering::Relaxed)
    }

    /// Counts a process that ended without having been asked to. Only the master.
    pub fn count_death(&self) {
        self.deaths.fetch_add(1, Ordering::Relaxed);
    }

    /// How many processes of this place ended without having been asked to.
    #[must_use]
    pub fn deaths(&self) -> u32 {
        self.deaths.load(Ordering::Relaxed)
    }

    /// Counts an operation that a dead process of this place had begun, and that is finished or dropped. Only the master.
    pub fn count_repair(&self) {
        self.repairs.fetch_add(1, Ordering::Relaxed);
    }

    /// Operations that dead processes of this place had begun, and that were finished or dropped.
    #[must_use]
    pub fn repairs(&self) -> u32 {
        self.repairs.load(Ordering::Relaxed)
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

    /// Writes the heartbeat.
    #[inline]
    pub fn beat(&self, now_ns: u64) {
        self.heartbeat_ns.store(now_ns, Ordering::Relaxed);
    }

    /// The last heartbeat, nanoseconds of the monotonic clock.
    #[must_use]
    pub fn heartbeat_ns(&self) -> u64 {
        self.heartbeat_ns.load(Ordering::Relaxed)
    }
}
