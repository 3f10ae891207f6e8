//! Moves lines from a ring into the file, after completing what a dead or failed writer had begun.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::ipc::process;
use crate::ipc::robust::Held;
use crate::store::access_log::file::{LogError, LogFile, is_file};
use crate::store::access_log::layout::{PlannedWrite, WorkerRing};
use crate::store::access_log::log::AccessLog;
use crate::store::access_log::rotation;

/// How often, at most, a failure is written to the server's own log.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Flushes rings of the log.
pub struct Flusher<'a> {
    log: &'a AccessLog,
    /// The lines of one write; kept so that its memory is used again.
    lines: Vec<u8>,
}

impl AccessLog {
    /// Writes what any worker has left in memory. The master's, when no worker lives any more; else it could wait for the lock.
    ///
    /// # Errors
    /// The file cannot be written; the lines stay where they are.
    pub fn drain(&self) -> Result<(), LogError> {
        let mut flusher = Flusher::new(self);
        (0..self.rings().len())
            .filter(|&ring| self.rings()[ring].pending() > 0)
            .try_for_each(|ring| flusher.flush(ring))
    }
}

impl<'a> Flusher<'a> {
    /// A flusher of `log`.
    #[must_use]
    pub fn new(log: &'a AccessLog) -> Self {
        Flusher { log, lines: Vec::new() }
    }

    /// Writes what was appended to ring `ring` until now, after completing the plan, if there is one; waits for the lock.
    ///
    /// # Errors
    /// The file cannot be opened or written: what is not written stays in memory, and a plan that is partly carried out stays
    /// until it is completed. Or it cannot be rotated: then all is written.
    ///
    /// # Panics
    /// There is no such ring.
    pub fn flush(&mut self, ring: usize) -> Result<(), LogError> {
        let held = self.log.lock();
        crash_point(CrashPoint::LogGuarded);
        let flushed = self.flush_locked(&held, ring);
        self.report(&flushed, &held);
        drop(held);
        crash_point(CrashPoint::LogReleased);
        flushed
    }

    fn flush_locked(&mut self, held: &Held<'_>, ring: usize) -> Result<(), LogError> {
        self.replay_plan(held)?;
        let lines = &self.log.rings()[ring];
        let length = lines.pending();
        if length == 0 {
            return Ok(());
        }
        let mut file = LogFile::open_or_create(&self.log.target().path)?;
        let planned = PlannedWrite {
            file: file.id,
            offset: file.length,
            worker: number(ring),
            position: lines.flushed(),
            length: number(length),
        };
        self.log.plan().store(&planned, held);
        crash_point(CrashPoint::LogPlanned);
        self.complete(&planned, &mut file, held)?;
        self.rotate_if_due(&file)
    }

    /// Carries out the plan that another flush has left, if one has.
    fn replay_plan(&mut self, held: &Held<'_>) -> Result<(), LogError> {
        let Some(planned) = self.log.plan().load() else { return Ok(()) };
        crash_point(CrashPoint::LogInherited);
        match LogFile::find(planned.file, &self.log.target().path)? {
            // A file that is shorter than it was is another one, of the same number.
            Some(mut file) if file.length >= planned.offset => {
                self.complete(&planned, &mut file, held)?;
                self.log.header().replayed.add(1);
            }
            // The file is gone, with what was written of the lines. They still count as not flushed: the next flush of their
            // ring writes them anew.
            _ => self.log.plan().clear(held),
        }
        Ok(())
    }

    /// Writes what is not yet written of a plan, and clears it. When the disk refuses, the plan stays.
    fn complete(&mut self, planned: &PlannedWrite, file: &mut LogFile, held: &Held<'_>) -> Result<(), LogError> {
        if let Some(ring) = usize::try_from(planned.worker).ok().and_then(|ring| self.log.rings().get(ring)) {
            self.write(ring, planned, file)?;
            crash_point(CrashPoint::LogWritten);
            ring.set_flushed(planned.position + u64::from(planned.length), held);
            crash_point(CrashPoint::LogFlushed);
        }
        self.log.plan().clear(held);
        crash_point(CrashPoint::LogCleared);
        Ok(())
    }

    fn write(&mut self, ring: &WorkerRing, planned: &PlannedWrite, file: &mut LogFile) -> Result<(), LogError> {
        // Nobody else has written since the plan was made: what is behind its offset is the beginning of its lines.
        let written = (file.length - planned.offset).min(u64::from(planned.length));
        let rest = u64::from(planned.length) - written;
        self.lines.resize(usize::try_from(rest).unwrap_or(0), 0);
        ring.copy_out(planned.position + written, &mut self.lines);
        file.file.write_all(&self.lines).map_err(|e| LogError::io("write", &self.log.target().path, e))?;
        file.length += rest;
        Ok(())
    }

    fn rotate_if_due(&self, file: &LogFile) -> Result<(), LogError> {
        let target = self.log.target();
        // Another program may have renamed it: then the file of that name is not this one.
        if file.length < target.rotate_bytes || !is_file(&target.path, file.id) {
            return Ok(());
        }
        rotation::rotate(&target.path, target.keep)
            .map_err(|source| LogError::Rotate { path: target.path.clone(), source })?;
        self.log.header().rotations.add(1);
        Ok(())
    }

    /// Stores what became of a flush, for tools, and tells the server's own log now and then.
    fn report(&self, flushed: &Result<(), LogError>, _held: &Held<'_>) {
        let header = self.log.header();
        let Err(error) = flushed else {
            if header.errno.swap(0, Ordering::Relaxed) != 0 {
                log::info!("the access log {} is written again", self.log.target().path.display());
            }
            return;
        };
        header.failures.add(1);
        header.errno.store(error.errno().unsigned_abs(), Ordering::Relaxed);
        let (now, last) = (process::monotonic_ns(), header.reported_ns.load(Ordering::Relaxed));
        if last == 0 || Duration::from_nanos(now.saturating_sub(last)) >= REPORT_INTERVAL {
            header.reported_ns.store(now, Ordering::Relaxed);
            log::error!("access log: {error}");
        }
    }
}

/// Ring numbers and lengths are far below 2^32.
fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
