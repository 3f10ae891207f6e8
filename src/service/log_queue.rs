//! The access log's lines, as the services of a worker write them.
//!
//! A line that finds no room waits, with the connection that it is of, as long as the file is written and that in time. A file that
//! is not costs no client its place, and no memory beyond [`ACCESS_LOG_HELD_BYTES`]: lines are dropped, counted, and said.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::limits::{ACCESS_LOG_HELD_BYTES, ACCESS_LOG_WAIT_MILLISECONDS};
use crate::service::connection_state::SessionKey;
use crate::service::interface::Now;
use crate::store::access_log::{AccessLog, Entry, Full, Handle, LONGEST_LINE, Timestamp, Writer};
use crate::store::instance::stats::BoundStats;

const WAIT_NS: u64 = ACCESS_LOG_WAIT_MILLISECONDS * 1_000_000;
/// How often, at most, it is said that lines are dropped.
const REPORT_EVERY_NS: u64 = 60_000_000_000;

/// The lines of one service.
pub struct LogQueue {
    log: SharedLog,
    /// Connections whose line found no room.
    waiting: VecDeque<SessionKey>,
    /// How often there was room again when this service last looked.
    seen: u64,
}

/// A worker's end of the access log, which its services share: a ring has one writer.
#[derive(Clone)]
pub struct SharedLog(Rc<RefCell<LogEnd>>);

struct LogEnd {
    log: Handle,
    stats: &'static BoundStats,
    timestamp: Timestamp,
    line: Vec<u8>,
    /// Nanoseconds of the monotonic clock, and milliseconds since 1970, of this turn of the loop.
    now_ns: u64,
    unix_ms: u64,
    /// How often the log thread has made room. Writer: that thread.
    room: Arc<AtomicU64>,
    /// Since when the log has taken no line.
    full_since_ns: Option<u64>,
    orphans: Orphans,
    dropped: Dropped,
}

/// Lines that found no room, of connections that are no more.
#[derive(Debug, Default)]
struct Orphans {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// Lines that were dropped and not spoken of.
#[derive(Debug, Default)]
struct Dropped {
    lines: u64,
    reported_ns: Option<u64>,
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

impl SharedLog {
    /// Starts the log thread of worker `worker`. It calls `wake` when there is room again for who has waited.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(
        log: &'static AccessLog,
        worker: usize,
        stats: &'static BoundStats,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let number = u32::try_from(worker).map_err(|_| io::ErrorKind::InvalidInput)?;
        let room = Arc::new(AtomicU64::new(0));
        let made = room.clone();
        let log = Writer::start(log, number, move || {
            made.fetch_add(1, Ordering::Release);
            wake();
        })?;
        stats.log_held_bytes.set(0);
        Ok(SharedLog(Rc::new(RefCell::new(LogEnd {
            log,
            stats,
            timestamp: Timestamp::default(),
            line: Vec::with_capacity(LONGEST_LINE),
            now_ns: 0,
            unix_ms: 0,
            room,
            full_since_ns: None,
            orphans: Orphans::default(),
            dropped: Dropped::default(),
        }))))
    }
}

impl LogEnd {
    fn write(&mut self, entry: &Entry<'_>) -> Result<(), Vec<u8>> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        Entry { time: self.timestamp.at(self.unix_ms), ..*entry }.write(&mut line);
        let written = self.write_again(&line).map_err(|Full| line.clone());
        self.line = line;
        written
    }

    fn write_again(&mut self, line: &[u8]) -> Result<(), Full> {
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

    fn keep(&mut self, line: Vec<u8>) {
        if !self.orphans.push(line) {
            self.drop_line();
        }
        self.stats.log_held_bytes.set(self.orphans.bytes as u64);
    }

    fn drop_line(&mut self) {
        self.stats.log_dropped.add(1);
        self.dropped.lines += 1;
    }

    fn write_orphans(&mut self) {
        if self.orphans.give(|line| self.log.append(line)) {
            self.full_since_ns = None;
        }
        self.stats.log_held_bytes.set(self.orphans.bytes as u64);
    }

    fn report(&mut self) {
        if let Some(count) = self.dropped.due(self.now_ns) {
            log::warn!(
                "access log: {count} lines were dropped, since the file could not be written, or not within \
                 {ACCESS_LOG_WAIT_MILLISECONDS} ms, and the memory for them is full"
            );
        }
    }

    fn finish(mut self) {
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

impl LogQueue {
    /// Writes into `log`.
    #[must_use]
    pub fn new(log: SharedLog) -> Self {
        LogQueue { log, waiting: VecDeque::new(), seen: 0 }
    }

    /// Sets the time of this turn of the loop.
    pub fn set_time(&mut self, Now { monotonic_ns, since_1970 }: Now) {
        let mut end = self.log.0.borrow_mut();
        end.now_ns = monotonic_ns;
        end.unix_ms = since_1970.as_millis().try_into().unwrap_or(u64::MAX);
    }

    /// Writes the line of one answer, with the time of this turn.
    ///
    /// # Errors
    /// The line, when there is no room for it now and it is worth waiting for.
    pub fn write(&mut self, entry: &Entry<'_>) -> Result<(), Vec<u8>> {
        self.log.0.borrow_mut().write(entry)
    }

    /// Tries a line again; one that has waited for too long is dropped.
    ///
    /// # Errors
    /// There is no room now, and it is worth waiting for.
    pub fn write_again(&mut self, line: &[u8]) -> Result<(), Full> {
        self.log.0.borrow_mut().write_again(line)
    }

    /// Writes the line of an answer whose connection is over, now or as soon as there is room.
    pub fn write_last(&mut self, entry: &Entry<'_>) {
        if let Err(line) = self.write(entry) {
            self.keep(line);
        }
    }

    /// Takes a line of a connection that is over, to be written as soon as there is room.
    pub fn keep(&mut self, line: Vec<u8>) {
        self.log.0.borrow_mut().keep(line);
    }

    /// Remembers that `key` waits for room.
    pub fn join(&mut self, key: SessionKey) {
        self.waiting.push_back(key);
    }

    /// Whether the log thread has made room since this was last asked.
    pub fn has_room_again(&mut self) -> bool {
        let room = self.log.0.borrow().room.load(Ordering::Acquire);
        room != std::mem::replace(&mut self.seen, room)
    }

    /// Who has waited for room, each once.
    pub fn take_waiting(&mut self) -> VecDeque<SessionKey> {
        self.log.0.borrow_mut().write_orphans();
        std::mem::take(&mut self.waiting)
    }

    /// Whether some wait for room in vain.
    #[must_use]
    pub fn is_wait_over(&self) -> bool {
        !self.waiting.is_empty() && self.log.0.borrow().is_hopeless()
    }

    /// Says, now and then, that lines are dropped.
    pub fn report(&mut self) {
        self.log.0.borrow_mut().report();
    }

    /// Has all that was logged written to the file, waiting for that, if no other service is to log any more.
    pub fn finish(self) {
        if let Some(end) = Rc::into_inner(self.log.0) {
            end.into_inner().finish();
        }
    }
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
