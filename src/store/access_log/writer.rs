//! A worker's log thread, and its event loop's end of the ring between the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::limits::{ACCESS_LOG_RING_BYTES as RING_BYTES, MAX_ACCESS_LOG_LINE_BYTES as LONGEST_LINE};
use crate::store::access_log::file::LogError;
use crate::store::access_log::flush::Flusher;
use crate::store::access_log::layout::{Full, WorkerRing};
use crate::store::access_log::log::AccessLog;

/// How soon it is tried again after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// The event loop wakes the thread each time it has appended so many bytes.
const WAKE_EVERY: u64 = RING_BYTES as u64 / 2;

/// What the event loop and the thread tell each other.
#[derive(Default)]
struct Signals {
    /// The event loop got [`Full`], and waits to be woken.
    starved: AtomicBool,
    /// Write what is there and end.
    quit: AtomicBool,
}

/// The event loop's end of a worker's ring, and the only one that appends to it.
pub struct Handle {
    log: &'static AccessLog,
    ring: &'static WorkerRing,
    signals: Arc<Signals>,
    thread: JoinHandle<Result<(), LogError>>,
    /// Bytes that were ever appended when the thread was last woken.
    woken_at: u64,
}

impl Handle {
    /// Appends a line, its newline included; never waits. The line gets into the file even if this process is killed at once.
    ///
    /// # Errors
    /// [`Full`]: keep the line, and try again when `wake` was called.
    ///
    /// # Panics
    /// The line is longer than [`LONGEST_LINE`].
    pub fn append(&mut self, line: &[u8]) -> Result<(), Full> {
        assert!(line.len() <= LONGEST_LINE, "a line of {} bytes", line.len());
        debug_assert!(line.ends_with(b"\n"), "a line without an end");
        match self.ring.append(line) {
            Ok(appended) => {
                crash_point(CrashPoint::LogAppended);
                if appended - self.woken_at >= WAKE_EVERY {
                    self.woken_at = appended;
                    self.ring.request_flush();
                }
                Ok(())
            }
            Err(Full) => {
                // Before the request: the flush that it causes looks at this flag. If it is set already, that flush is still to come.
                if !self.signals.starved.swap(true, Ordering::AcqRel) {
                    self.ring.request_flush();
                }
                Err(Full)
            }
        }
    }

    /// Whether the file could not be written when that was last tried.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.log.failures().1 != 0
    }

    /// Has the thread write all that was appended and end, and waits for it: the last thing that a worker does.
    ///
    /// # Errors
    /// The file could not be written. What is left in memory, a successor or the master can still write.
    pub fn finish(self) -> Result<(), LogError> {
        self.signals.quit.store(true, Ordering::Release);
        self.ring.request_flush();
        // A thread that panics ends the process.
        self.thread.join().unwrap_or(Ok(()))
    }
}

/// The log thread of a worker.
pub struct Writer {
    log: &'static AccessLog,
    worker: usize,
    flusher: Flusher<'static>,
    signals: Arc<Signals>,
    orphans: Orphans,
}

impl Writer {
    /// Starts the thread of worker `worker`, which first writes what a predecessor has left. It calls `wake` when there is
    /// room again after a [`Full`].
    ///
    /// # Errors
    /// No thread can be had.
    ///
    /// # Panics
    /// The log has no ring for that worker.
    pub fn start(log: &'static AccessLog, worker: u32, wake: impl Fn() + Send + 'static) -> std::io::Result<Handle> {
        let place = usize::try_from(worker).unwrap_or(usize::MAX);
        let ring = &log.rings()[place];
        let signals = Arc::new(Signals::default());
        let (flusher, orphans) = (Flusher::new(log), Orphans::new(log));
        let writer = Writer { log, worker: place, flusher, signals: signals.clone(), orphans };
        let thread = thread::Builder::new().name("vault-log".to_owned()).spawn(move || writer.run(&wake));
        let named = |error: std::io::Error| format!("cannot start the thread vault-log: {error}");
        let thread = thread.map_err(|error| std::io::Error::new(error.kind(), named(error)))?;
        Ok(Handle { log, ring, signals, thread, woken_at: ring.appended() })
    }

    fn run(mut self, wake: &impl Fn()) -> Result<(), LogError> {
        let ring = &self.log.rings()[self.worker];
        let interval = self.log.target().interval;
        loop {
            let seen = ring.requests();
            let quit = self.signals.quit.load(Ordering::Acquire);
            let flushed = self.flush_all(quit);
            if RING_BYTES - ring.pending() >= LONGEST_LINE && self.signals.starved.swap(false, Ordering::AcqRel) {
                wake();
            }
            if quit {
                return flushed;
            }
            ring.wait_for_request(seen, if flushed.is_ok() { interval } else { interval.min(RETRY) });
        }
    }

    /// Writes the worker's own lines, and those of dead workers without a successor.
    fn flush_all(&mut self, quit: bool) -> Result<(), LogError> {
        let own = self.flush(self.worker);
        for ring in self.orphans.find(self.log, quit) {
            self.flush(ring)?;
        }
        own
    }

    fn flush(&mut self, ring: usize) -> Result<(), LogError> {
        // Nothing to write, and no plan to complete: the lock is left to others.
        if self.log.rings()[ring].pending() == 0 && self.log.plan().load().is_none() {
            return Ok(());
        }
        self.flusher.flush(ring)
    }
}

/// Finds lines that no thread writes, because their worker was killed and has no successor.
struct Orphans {
    /// When it was last looked for them, and how much of each ring was flushed then.
    last: Instant,
    flushed: Vec<u64>,
}

impl Orphans {
    fn new(log: &AccessLog) -> Self {
        Orphans { last: Instant::now(), flushed: log.rings().iter().map(WorkerRing::flushed).collect() }
    }

    /// The rings that have lines, and of which nothing was flushed for two intervals, where a living worker's thread flushes every
    /// interval. With `quit`, all that have lines: this may be the last log thread.
    fn find(&mut self, log: &AccessLog, quit: bool) -> Vec<usize> {
        if !quit && self.last.elapsed() < log.target().interval * 2 {
            return Vec::new();
        }
        self.last = Instant::now();
        let rings = log.rings().iter().zip(&mut self.flushed).enumerate();
        rings
            .filter_map(|(number, (ring, flushed))| {
                let moved = std::mem::replace(flushed, ring.flushed()) != *flushed;
                (ring.pending() > 0 && (quit || !moved)).then_some(number)
            })
            .collect()
    }
}
