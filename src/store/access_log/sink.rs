//! The way of lines from a row into the file, and of what a dead or failed writer had begun.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::ipc::guard::Held;
use crate::ipc::process;
use crate::store::access_log::shared::{FileId, Planned, Row};
use crate::store::access_log::{AccessLog, LogError, Opened, id_of, rotation};

/// How often, at most, the server's own log is told that lines cannot be written.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// One process' way into the file.
pub struct Sink<'a> {
    log: &'a AccessLog,
    who: u32,
    /// The lines of one write, kept for its room.
    lines: Vec<u8>,
}

impl<'a> Sink<'a> {
    /// The way for process number `who`; of each number one at a time.
    #[must_use]
    pub fn new(log: &'a AccessLog, who: u32) -> Self {
        Sink { log, who, lines: Vec::new() }
    }

    /// Writes what was appended to row `row` until now, after what anybody had begun; waits for the guard.
    ///
    /// # Errors
    /// The file cannot be opened or written: what is not written stays in memory, and a plan that is partly carried out stands
    /// until it is completed. Or it cannot be rotated: then all is written.
    ///
    /// # Panics
    /// There is no such row.
    pub fn flush(&mut self, row: usize) -> Result<(), LogError> {
        let held = self.log.guard().take(self.who);
        crash_point(CrashPoint::LogGuarded);
        let done = self.flush_under(&held, row);
        self.note(&done, &held);
        drop(held);
        crash_point(CrashPoint::LogReleased);
        done
    }

    fn flush_under(&mut self, held: &Held<'_>, row: usize) -> Result<(), LogError> {
        self.settle(held)?;
        let lines = &self.log.rows()[row];
        let length = lines.pending();
        if length == 0 {
            return Ok(());
        }
        let path = &self.log.target().path;
        let mut opened = open(path)?;
        let planned = Planned {
            file: opened.id,
            offset: opened.length,
            writer: number(row),
            position: lines.flushed(),
            length: number(length),
        };
        self.log.plan().publish(&planned, held);
        crash_point(CrashPoint::LogPlanned);
        self.complete(&planned, &mut opened, held)?;
        self.rotate_if_due(&opened)
    }

    /// Carries out the plan that stands, if one does.
    fn settle(&mut self, held: &Held<'_>) -> Result<(), LogError> {
        let Some(planned) = self.log.plan().load() else { return Ok(()) };
        crash_point(CrashPoint::LogInherited);
        match self.find(planned.file)? {
            // A file that is shorter than it was is another one, of the same number.
            Some(mut opened) if opened.length >= planned.offset => self.complete(&planned, &mut opened, held),
            // The file is gone, with what was written of the lines. They still count as not flushed: the next flush of their
            // row writes them anew.
            _ => {
                self.log.plan().clear(held);
                Ok(())
            }
        }
    }

    /// Writes what is not yet written of a plan, and clears it. What the disk refuses leaves the plan standing.
    fn complete(&mut self, planned: &Planned, opened: &mut Opened, held: &Held<'_>) -> Result<(), LogError> {
        if let Some(row) = usize::try_from(planned.writer).ok().and_then(|row| self.log.rows().get(row)) {
            self.write(row, planned, opened)?;
            crash_point(CrashPoint::LogWritten);
            row.set_flushed(planned.position + u64::from(planned.length), held);
            crash_point(CrashPoint::LogFlushed);
        }
        self.log.plan().clear(held);
        crash_point(CrashPoint::LogCleared);
        Ok(())
    }

    fn write(&mut self, row: &Row, planned: &Planned, opened: &mut Opened) -> Result<(), LogError> {
        // Nobody else has written since the plan was made: what is behind its offset is the beginning of its lines.
        let reached = (opened.length - planned.offset).min(u64::from(planned.length));
        let rest = u64::from(planned.length) - reached;
        self.lines.resize(usize::try_from(rest).unwrap_or(0), 0);
        row.copy_out(planned.position + reached, &mut self.lines);
        opened.file.write_all(&self.lines).map_err(|e| LogError::io("write", &self.log.target().path, e))?;
        opened.length += rest;
        Ok(())
    }

    /// The file, whatever its name is now: somebody may have renamed it since. `None` when it is not in the log's folder.
    fn find(&self, id: FileId) -> Result<Option<Opened>, LogError> {
        let path = &self.log.target().path;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let entries = fs::read_dir(folder).map_err(|e| LogError::io("look into", folder, e))?;
        // The log itself first: it may be a link, and usually it is the one.
        for path in std::iter::once(path.clone()).chain(entries.flatten().map(|entry| entry.path())) {
            if fs::metadata(&path).is_ok_and(|metadata| id_of(&metadata) == id) {
                let opened = open_existing(&path)?;
                // Renamed between the two looks: the next flush looks again.
                let moving = || LogError::io("find again", &path, io::Error::from_raw_os_error(libc::ESTALE));
                return (opened.id == id).then_some(Some(opened)).ok_or_else(moving);
            }
        }
        Ok(None)
    }

    fn rotate_if_due(&self, opened: &Opened) -> Result<(), LogError> {
        let target = self.log.target();
        // Somebody else may have renamed it: then it is not this file's turn.
        if opened.length < target.rotate_bytes
            || !fs::metadata(&target.path).is_ok_and(|metadata| id_of(&metadata) == opened.id)
        {
            return Ok(());
        }
        rotation::rotate(&target.path, target.keep)
            .map_err(|source| LogError::Rotate { path: target.path.clone(), source })?;
        self.log.head().rotations.add(1);
        Ok(())
    }

    /// Keeps what became of a flush for tools, and tells people now and then.
    fn note(&self, done: &Result<(), LogError>, _held: &Held<'_>) {
        let head = self.log.head();
        match done {
            Ok(()) => {
                if head.errno.load(Ordering::Relaxed) != 0 {
                    head.errno.store(0, Ordering::Relaxed);
                    log::info!("the access log {} is written again", self.log.target().path.display());
                }
            }
            Err(error) => {
                head.failures.add(1);
                head.errno.store(error.errno().unsigned_abs(), Ordering::Relaxed);
                let (now, last) = (process::monotonic_ns(), head.complained_ns.load(Ordering::Relaxed));
                if last == 0 || Duration::from_nanos(now.saturating_sub(last)) >= COMPLAIN_EVERY {
                    head.complained_ns.store(now, Ordering::Relaxed);
                    log::error!("access log: {error}");
                }
            }
        }
    }
}

/// Opens the log's file, mode 0640 if there is none.
pub(super) fn open(path: &Path) -> Result<Opened, LogError> {
    open_with(OpenOptions::new().create(true).mode(0o640), path)
}

fn open_existing(path: &Path) -> Result<Opened, LogError> {
    open_with(&mut OpenOptions::new(), path)
}

fn open_with(options: &mut OpenOptions, path: &Path) -> Result<Opened, LogError> {
    // A pipe that nobody reads would be waited for.
    let opened = options.append(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|e| LogError::io("open", path, e))?;
    let metadata = file.metadata().map_err(|e| LogError::io("look at", path, e))?;
    if !metadata.is_file() {
        return Err(LogError::NotRegular(path.to_owned()));
    }
    Ok(Opened { file, id: id_of(&metadata), length: metadata.len() })
}

/// Rows and lengths are far below 2^32.
fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
