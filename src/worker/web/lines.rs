//! The access log's lines.

use std::collections::VecDeque;
use std::time::Duration;

use crate::access_log::{Entry, Full, Handle, LONGEST_LINE, Stamp};
use crate::http::Status;
use crate::ipc::process::monotonic_ns;
use crate::worker::web::guest::{Asked, Guest};
use crate::worker::web::shelf::Reader;

/// What writes the lines of one worker.
pub struct Lines {
    log: Handle,
    stamp: Stamp,
    line: Vec<u8>,
    /// Milliseconds since 1970, of this turn of the loop.
    unix_ms: u64,
    /// Connections whose line found no room.
    waiting: VecDeque<Reader>,
    /// Lines that found no room, of connections that are no more.
    orphans: VecDeque<Vec<u8>>,
}

/// What came of an answer, beside what was asked.
#[derive(Clone, Copy)]
pub struct Outcome {
    /// Bytes of its body that were sent.
    pub body_bytes: u64,
    /// How long it took, nanoseconds.
    pub took_ns: u64,
}

impl Lines {
    /// Writes into `log`.
    #[must_use]
    pub fn new(log: Handle) -> Self {
        Lines {
            log,
            stamp: Stamp::default(),
            line: Vec::with_capacity(LONGEST_LINE),
            unix_ms: 0,
            waiting: VecDeque::new(),
            orphans: VecDeque::new(),
        }
    }

    /// Sets the time, milliseconds since 1970.
    pub fn set_time(&mut self, unix_ms: u64) {
        self.unix_ms = unix_ms;
    }

    /// Writes the line of one answer; gives it back when there is no room for it now.
    pub fn write(&mut self, guest: &Guest, head: &[u8], asked: &Asked, outcome: Outcome) -> Result<(), Vec<u8>> {
        let part = |range: &std::ops::Range<usize>| head.get(range.clone()).filter(|text| !text.is_empty());
        self.line.clear();
        let entry = Entry {
            address: guest.peer,
            time: self.stamp.at(self.unix_ms),
            request: part(&asked.line).unwrap_or_default(),
            status: asked.status.code(),
            bytes: outcome.body_bytes,
            referer: part(&asked.referer),
            agent: part(&asked.agent),
            duration: Duration::from_nanos(outcome.took_ns),
        };
        entry.write(&mut self.line);
        self.log.append(&self.line).map_err(|Full| self.line.clone())
    }

    /// Writes the line of an answer whose connection is over, now or as soon as there is room.
    pub fn write_last(&mut self, guest: &Guest, head: &[u8], asked: &Asked, outcome: Outcome) {
        if let Err(line) = self.write(guest, head, asked, outcome) {
            self.orphans.push_back(line);
        }
    }

    /// Takes a line of a connection that is over, to be written as soon as there is room.
    pub fn keep(&mut self, line: Vec<u8>) {
        self.orphans.push_back(line);
    }

    /// Tries a line again.
    pub fn write_again(&mut self, line: &[u8]) -> Result<(), Full> {
        self.log.append(line)
    }

    /// Remembers that `reader` waits for room.
    pub fn join(&mut self, reader: Reader) {
        self.waiting.push_back(reader);
    }

    /// Who has waited for room, each once.
    pub fn take_waiting(&mut self) -> VecDeque<Reader> {
        self.write_orphans();
        std::mem::take(&mut self.waiting)
    }

    fn write_orphans(&mut self) {
        while let Some(line) = self.orphans.front() {
            if self.log.append(line).is_err() {
                break;
            }
            self.orphans.pop_front();
        }
    }

    /// Writes all that was logged to the file, waiting for that.
    pub fn finish(mut self) {
        self.write_orphans();
        if !self.orphans.is_empty() {
            log::error!("{} lines of the access log found no room, and are lost", self.orphans.len());
        }
        if let Err(error) = self.log.finish() {
            log::error!("{error}");
        }
    }
}

/// How long ago `since_ns` is.
#[must_use]
pub fn since(since_ns: u64) -> u64 {
    monotonic_ns().saturating_sub(since_ns)
}

/// The place of a status among the counters.
#[must_use]
pub fn place_of(status: Status) -> usize {
    Status::ALL.iter().position(|known| *known == status).unwrap_or(0)
}
