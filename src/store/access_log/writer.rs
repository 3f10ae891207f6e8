//! A worker's log thread, and its event loop's end of the row between the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::store::access_log::shared::{Full, Row};
use crate::store::access_log::sink::Sink;
use crate::store::access_log::{AccessLog, LONGEST_LINE, LogError, RING_BYTES};

/// How soon it is tried again after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// The event loop calls the thread each time it has appended so many bytes.
const CALL_EVERY: u64 = RING_BYTES as u64 / 2;

/// What the event loop and the thread tell each other, within one process.
#[derive(Default)]
struct Signals {
    /// The event loop was told [`Full`], and waits to be woken.
    starved: AtomicBool,
    /// Write what is there and end.
    quit: AtomicBool,
}

/// The event loop's end of a worker's row; its one appender.
pub struct Handle {
    log: &'static AccessLog,
    row: &'static Row,
    signals: Arc<Signals>,
    thread: JoinHandle<Result<(), LogError>>,
    /// Bytes that were ever appended when the thread was last called.
    called_at: u64,
}

impl Handle {
    /// Puts a line, its newline included, behind those that are there; never waits. It is in the file soon, also if this process is
    /// killed at once.
    ///
    /// # Errors
    /// [`Full`]: keep the line, and try again when `wake` was called.
    ///
    /// # Panics
    /// The line is longer than [`LONGEST_LINE`].
    pub fn append(&mut self, line: &[u8]) -> Result<(), Full> {
        assert!(line.len() <= LONGEST_LINE, "a line of {} bytes", line.len());
        debug_assert!(line.ends_with(b"\n"), "a line without an end");
        match self.row.append(line) {
            Ok(appended) => {
                crash_point(CrashPoint::LogAppended);
                if appended - self.called_at >= CALL_EVERY {
                    self.called_at = appended;
                    self.row.request();
                }
                Ok(())
            }
            Err(Full) => {
                // Before the request: the turn that this causes looks at it. If it is set already, that turn is to come.
                if !self.signals.starved.swap(true, Ordering::AcqRel) {
                    self.row.request();
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

    /// Ends the thread when it has written all that was appended; waits for that. The worker's last act.
    ///
    /// # Errors
    /// The file could not be written. What is left in memory, a successor or the master can still write.
    pub fn finish(self) -> Result<(), LogError> {
        self.signals.quit.store(true, Ordering::Release);
        self.row.request();
        // A thread that panics ends the process.
        self.thread.join().unwrap_or(Ok(()))
    }
}

/// The log thread of a worker.
pub struct Writer {
    log: &'static AccessLog,
    worker: usize,
    sink: Sink<'static>,
    signals: Arc<Signals>,
    sweep: Sweep,
}

impl Writer {
    /// Starts the thread of worker `worker`, which first writes what a predecessor has left. It calls `wake` when there is
    /// room again after a [`Full`].
    ///
    /// # Errors
    /// No thread can be had.
    ///
    /// # Panics
    /// The log has no row for that worker.
    pub fn start(log: &'static AccessLog, worker: u32, wake: impl Fn() + Send + 'static) -> std::io::Result<Handle> {
        let place = usize::try_from(worker).unwrap_or(usize::MAX);
        let row = &log.rows()[place];
        let signals = Arc::new(Signals::default());
        let sink = Sink::new(log, worker);
        let writer = Writer { log, worker: place, sink, signals: signals.clone(), sweep: Sweep::begin(log) };
        let thread = thread::Builder::new().name("vault-log".to_owned()).spawn(move || writer.run(&wake));
        let named = |error: std::io::Error| format!("cannot start the thread vault-log: {error}");
        let thread = thread.map_err(|error| std::io::Error::new(error.kind(), named(error)))?;
        Ok(Handle { log, row, signals, thread, called_at: row.appended() })
    }

    fn run(mut self, wake: &impl Fn()) -> Result<(), LogError> {
        let row = &self.log.rows()[self.worker];
        let interval = self.log.target().interval;
        loop {
            let seen = row.requests();
            let quit = self.signals.quit.load(Ordering::Acquire);
            let done = self.turn(quit);
            if RING_BYTES - row.pending() >= LONGEST_LINE && self.signals.starved.swap(false, Ordering::AcqRel) {
                wake();
            }
            if quit {
                return done;
            }
            row.wait_for_request(seen, if done.is_ok() { interval } else { interval.min(RETRY) });
        }
    }

    /// Writes the own lines, and those that nobody else does.
    fn turn(&mut self, quit: bool) -> Result<(), LogError> {
        let own = self.flush(self.worker);
        for row in self.sweep.due(self.log, quit) {
            self.flush(row)?;
        }
        own
    }

    fn flush(&mut self, row: usize) -> Result<(), LogError> {
        // Nothing to write, and nothing of a dead one to complete: the guard is left to others.
        if self.log.rows()[row].pending() == 0 && self.log.plan().load().is_none() {
            return Ok(());
        }
        self.sink.flush(row)
    }
}

/// Finds lines that nobody writes: of a worker that was killed and has no successor.
struct Sweep {
    last: Instant,
    /// How much of each row was flushed then.
    flushed: Vec<u64>,
}

impl Sweep {
    fn begin(log: &AccessLog) -> Sweep {
        Sweep { last: Instant::now(), flushed: log.rows().iter().map(Row::flushed).collect() }
    }

    /// The rows that have lines, and of which nothing was flushed for two intervals. A living worker's thread flushes in one. With
    /// `quit` all that have lines: there may be nobody left who would look again.
    fn due(&mut self, log: &AccessLog, quit: bool) -> Vec<usize> {
        if !quit && self.last.elapsed() < log.target().interval * 2 {
            return Vec::new();
        }
        self.last = Instant::now();
        let rows = log.rows().iter().zip(&mut self.flushed).enumerate();
        rows.filter_map(|(number, (row, flushed))| {
            let moved = std::mem::replace(flushed, row.flushed()) != *flushed;
            (row.pending() > 0 && (quit || !moved)).then_some(number)
        })
        .collect()
    }
}
