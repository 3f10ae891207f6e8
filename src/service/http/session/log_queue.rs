//! The access log's lines.
//!
//! A line that finds no room waits, with the connection that it is of, as long as the file is written and that in time. A file that
//! is not costs no client its place, and no memory beyond [`ACCESS_LOG_HELD_BYTES`]: lines are dropped, counted, and said.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::limits::{ACCESS_LOG_HELD_BYTES, ACCESS_LOG_WAIT_MILLISECONDS};
use crate::ipc::process::monotonic_ns;
use crate::service::connection_state::SessionKey;
use crate::service::http::session::http_session::{Asked, HttpSession};
use crate::service::http::wire::Status;
use crate::store::access_log::{Entry, Full, Handle, LONGEST_LINE, Timestamp};
use crate::store::instance::stats::BoundStats;

const WAIT_NS: u64 = ACCESS_LOG_WAIT_MILLISECONDS * 1_000_000;
/// How often, at most, it is said that lines are dropped.
const REPORT_EVERY_NS: u64 = 60_000_000_000;

/// What writes the lines of one worker.
pub struct LogQueue {
    log: Handle,
    stats: &'static BoundStats,
    timestamp: Timestamp,
    line: Vec<u8>,
    /// Nanoseconds of the monotonic clock, and milliseconds since 1970, of this turn of the loop.
    now_ns: u64,
    unix_ms: u64,
    /// Since when the log has taken no line.
    full_since_ns: Option<u64>,
    /// Connections whose line found no room.
    waiting: VecDeque<SessionKey>,
    orphans: Orphans,
    dropped: Dropped,
}

/// LogQueue that found no room, of connections that are no more.
#[derive(Debug, Default)]
struct Orphans {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// LogQueue that were dropped and not spoken of.
#[derive(Debug, Default)]
struct Dropped {
    lines: u64,
    reported_ns: Option<u64>,
}

/// What came of an answer, beside what was asked.
#[derive(Clone, Copy)]
pub struct Figures {
    /// Bytes of its body that were sent.
    pub body_bytes: u64,
    /// How long it took, nanoseconds.
    pub took_ns: u64,
}

impl Orphans {
    /// Keeps a line, unless there are too many; whether it does.
    fn push(&mut self, line: Vec<u8>) -> bool {
        let fits = self.bytes + line.len() <= ACCESS_LOG_HELD_BYTES;
        if fits {
            self.bytes += line.len();
            self.lines.push_back(line);
        }
        fits
    }

    /// Gives the lines away, the oldest first, as long as they are taken; whether any was.
    fn give(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Full>) -> bool {
        let before = self.lines.len();
        while let Some(line) = self.lines.front() {
            if take(line).is_err() {
                break;
            }
            self.bytes -= line.len();
            self.lines.pop_front();
        }
        self.lines.len() < before
    }
}

impl Dropped {
    /// How many lines are to be spoken of, if it is time for that.
    fn due(&mut self, now_ns: u64) -> Option<u64> {
        let due = self.reported_ns.is_none_or(|at| now_ns.saturating_sub(at) >= REPORT_EVERY_NS);
        if self.lines == 0 || !due {
            return None;
        }
        self.reported_ns = Some(now_ns);
        Some(std::mem::take(&mut self.lines))
    }
}

impl LogQueue {
    /// Writes into `log`.
    #[must_use]
    pub fn new(log: Handle, stats: &'static BoundStats) -> Self {
        stats.log_held_bytes.set(0);
        LogQueue {
            log,
            stats,
            timestamp: Timestamp::default(),
            line: Vec::with_capacity(LONGEST_LINE),
            now_ns: 0,
            unix_ms: 0,
            full_since_ns: None,
            waiting: VecDeque::new(),
            orphans: Orphans::default(),
            dropped: Dropped::default(),
        }
    }

    /// Sets the time: nanoseconds of the monotonic clock, and milliseconds since 1970.
    pub fn set_time(&mut self, now_ns: u64, unix_ms: u64) {
        self.now_ns = now_ns;
        self.unix_ms = unix_ms;
    }

    /// Writes the line of one answer; gives it back when there is no room for it now and it is worth waiting for.
    pub fn write(
        &mut self,
        session: &HttpSession,
        head: &[u8],
        asked: &Asked,
        figures: Figures,
    ) -> Result<(), Vec<u8>> {
        let part = |range: &std::ops::Range<usize>| head.get(range.clone()).filter(|text| !text.is_empty());
        self.line.clear();
        let entry = Entry {
            address: session.data.peer,
            time: self.timestamp.at(self.unix_ms),
            request: part(&asked.line).unwrap_or_default(),
            status: asked.status.code(),
            bytes: figures.body_bytes,
            referer: part(&asked.referer),
            agent: part(&asked.agent),
            duration: Duration::from_nanos(figures.took_ns),
        };
        entry.write(&mut self.line);
        let line = std::mem::take(&mut self.line);
        let written = self.write_again(&line).map_err(|Full| line.clone());
        self.line = line;
        written
    }

    /// Tries a line again; one that has waited for too long is dropped.
    ///
    /// # Errors
    /// There is no room now, and it is worth waiting for.
    pub fn write_again(&mut self, line: &[u8]) -> Result<(), Full> {
        if self.log.append(line).is_ok() {
            self.full_since_ns = None;
            return Ok(());
        }
        self.full_since_ns.get_or_insert(self.now_ns);
        if !self.is_hopeless() {
            return Err(Full);
        }
        self.drop_line();
        Ok(())
    }

    /// Whether waiting for the log is in vain: it is full, and the file cannot be written, or not in time.
    fn is_hopeless(&self) -> bool {
        let late = |since| self.now_ns.saturating_sub(since) >= WAIT_NS;
        self.full_since_ns.is_some_and(|since| late(since) || self.log.is_failing())
    }

    /// Writes the line of an answer whose connection is over, now or as soon as there is room.
    pub fn write_last(&mut self, session: &HttpSession, head: &[u8], asked: &Asked, figures: Figures) {
        if let Err(line) = self.write(session, head, asked, figures) {
            self.keep(line);
        }
    }

    /// Takes a line of a connection that is over, to be written as soon as there is room.
    pub fn keep(&mut self, line: Vec<u8>) {
        if !self.orphans.push(line) {
            self.drop_line();
        }
        self.stats.log_held_bytes.set(self.orphans.bytes as u64);
    }

    fn drop_line(&mut self) {
        self.stats.log_dropped.add(1);
        self.dropped.lines += 1;
    }

    /// Remembers that `key` waits for room.
    pub fn join(&mut self, key: SessionKey) {
        self.waiting.push_back(key);
    }

    /// Who has waited for room, each once.
    pub fn take_waiting(&mut self) -> VecDeque<SessionKey> {
        self.write_orphans();
        std::mem::take(&mut self.waiting)
    }

    /// Whether some wait for room in vain.
    #[must_use]
    pub fn is_wait_over(&self) -> bool {
        !self.waiting.is_empty() && self.is_hopeless()
    }

    /// Says, now and then, that lines are dropped.
    pub fn report(&mut self) {
        if let Some(count) = self.dropped.due(self.now_ns) {
            log::warn!(
                "access log: {count} lines were dropped, since the file could not be written, or not within \
                 {ACCESS_LOG_WAIT_MILLISECONDS} ms, and the memory for them is full"
            );
        }
    }

    fn write_orphans(&mut self) {
        if self.orphans.give(|line| self.log.append(line)) {
            self.full_since_ns = None;
        }
        self.stats.log_held_bytes.set(self.orphans.bytes as u64);
    }

    /// Writes all that was logged to the file, waiting for that.
    pub fn finish(mut self) {
        self.write_orphans();
        for _ in 0..self.orphans.lines.len() {
            self.drop_line();
        }
        self.stats.log_held_bytes.set(0);
        self.dropped.reported_ns = None;
        self.report();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ended_connections_are_kept_in_order_and_within_a_bound() {
        let mut orphans = Orphans::default();
        let line = |number: usize| vec![u8::try_from(number % 251).unwrap(); 1000];
        let kept = (0..1000).take_while(|number| orphans.push(line(*number))).count();
        assert_eq!((kept, orphans.bytes), (ACCESS_LOG_HELD_BYTES / 1000, kept * 1000));
        assert!(!orphans.push(line(kept)) && orphans.push(vec![7; ACCESS_LOG_HELD_BYTES % 1000]), "what fits is kept");
        let mut taken = Vec::new();
        let mut room = 3;
        let mut take = |line: &[u8]| {
            room -= 1;
            taken.extend((room >= 0).then(|| line.to_vec()));
            if room < 0 { Err(Full) } else { Ok(()) }
        };
        assert!(orphans.give(&mut take) && !orphans.give(&mut take));
        assert_eq!(taken, [line(0), line(1), line(2)]);
        assert!(orphans.give(|_| Ok(())));
        assert_eq!((orphans.bytes, orphans.lines.len()), (0, 0));
    }

    #[test]
    fn dropped_lines_are_spoken_of_at_once_and_then_now_and_then() {
        let mut dropped = Dropped::default();
        assert_eq!(dropped.due(5), None);
        dropped.lines = 3;
        assert_eq!((dropped.due(10), dropped.due(10)), (Some(3), None));
        dropped.lines = 4;
        assert_eq!(dropped.due(9 + REPORT_EVERY_NS), None);
        assert_eq!((dropped.due(10 + REPORT_EVERY_NS), dropped.lines), (Some(4), 0));
    }
}
