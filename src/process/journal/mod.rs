//! The journal process: takes records out of the ring, makes them durable in groups, says how far it has got.
//!
//! It writes all that is in the ring in one go and syncs it; what came meanwhile is the next group. So a group is as large as
//! the disk is slow: group commit without a timer. It sleeps in `poll(2)` on an eventfd, and is woken only when it sleeps.
//!
//! When it dies nothing is lost and nobody notices but by waiting: the ring's places are used again only when their records
//! are durable, so its successor finds all others there and goes on.

mod keeper;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::config::{Durability, Settings};
use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::vocab::Lsn;
use crate::ipc::event::Nudge;
use crate::ipc::process::monotonic_ns;
use crate::store::instance::Instance;
use crate::store::journal::{Directory, RecordBytes, Writer, WriterError};
use crate::store::ledger::order::Order;
use crate::store::ledger::sequencer::{JournalState, Sequencer};
use keeper::Keeper;

/// Records written at once: 2 MiB, far more than makes a write efficient and far less than the ring.
const LARGEST_GROUP: u64 = 1 << 14;
/// How often it is looked whether a full disk has space again; the kernel has no event for that.
const SPACE_PATIENCE: Duration = Duration::from_millis(100);
/// The longest sleep.
const BEAT: Duration = Duration::from_millis(250);
/// How often, also under load, it is looked after segments and snapshots, and shown that the process lives.
const CARE: Duration = Duration::from_millis(50);

/// What the journal process is given at its birth.
pub struct Seat {
    /// The instance's memory.
    pub instance: &'static Instance,
    /// The settings.
    pub settings: &'static Settings,
    /// Where the journal is.
    pub directory: Directory,
    /// How it is woken up.
    pub nudge: Arc<Nudge>,
    /// How it wakes the workers up, by their numbers.
    pub workers: Vec<Arc<Nudge>>,
}

/// Why the journal process cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JournaldError {
    /// The journal cannot be written.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// A thread or an event cannot be had.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The exit code of a journal process that cannot go on, nor can a successor.
pub const EXIT_FAILED: i32 = 2;
/// The exit code of a journal process that lacks what a successor may have.
const EXIT_SHORT: i32 = 1;

impl JournaldError {
    /// Whether only a descriptor, memory or a thread was lacking, so that a successor may do better. After a failed sync nobody can:
    /// the kernel may have dropped what was to be written.
    fn is_shortage(&self) -> bool {
        let source = match self {
            JournaldError::Io { source, .. } | JournaldError::Writer(WriterError::Thread(source)) => source,
            JournaldError::Writer(WriterError::Disk(error)) => &error.source,
            JournaldError::Writer(WriterError::Failed(error)) if error.step != "sync" => &error.source,
            JournaldError::Writer(_) => return false,
        };
        let errno = source.raw_os_error().map(Errno::from_raw);
        matches!(errno, Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS))
    }
}

/// Keeps the journal until told to stop; the process' exit code.
#[must_use]
pub fn run(seat: Seat) -> i32 {
    let instance = seat.instance;
    match Journald::new(seat).and_then(Journald::serve) {
        Ok(()) => 0,
        Err(error) if error.is_shortage() => {
            log::warn!("the journal process cannot go on, its successor may: {error}");
            EXIT_SHORT
        }
        Err(error) => {
            instance.table().sequencer().set_state(JournalState::Failed);
            log::error!("the journal cannot go on, nothing more is acknowledged: {error}");
            EXIT_FAILED
        }
    }
}

/// The journal process at work.
struct Journald {
    instance: &'static Instance,
    sequencer: &'static Sequencer,
    order: Order<'static>,
    nudge: Arc<Nudge>,
    workers: Vec<Arc<Nudge>>,
    writer: Writer,
    keeper: Keeper,
    group: Vec<RecordBytes>,
    /// How long a record may wait for others; none where somebody waits for it.
    flush_interval: Option<Duration>,
    last_flush: Instant,
    last_care: Option<Instant>,
}

/// What became of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Durable,
    /// The next segment is still being prepared.
    NoRoomYet,
    /// The disk is full.
    NoSpace,
}

impl Journald {
    fn new(seat: Seat) -> Result<Self, JournaldError> {
        let Seat { instance, settings, directory, nudge, workers } = seat;
        let sequencer = instance.table().sequencer();
        crate::base::crash_point::arm_from_environment("journal", instance.journal_row().lives());
        let writer = Writer::resume(&directory, sequencer.durable())?;
        let keeper = Keeper::start(instance, settings, directory, nudge.clone())?;
        let flush_interval = (settings.durability == Durability::Async).then_some(settings.flush_interval);
        Ok(Journald {
            instance,
            sequencer,
            order: instance.table().order(),
            nudge,
            workers,
            writer,
            keeper,
            group: Vec::new(),
            flush_interval,
            last_flush: Instant::now(),
            last_care: None,
        })
    }

    /// The loop.
    fn serve(mut self) -> Result<(), JournaldError> {
        loop {
            let stopping = self.instance.journal_row().is_to_leave();
            if self.last_care.is_none_or(|last| last.elapsed() >= CARE) {
                self.keep_house()?;
            }
            let waiting = self.order.now().lsn.0 - self.writer.durable().0;
            if waiting > 0 && (stopping || self.is_due(waiting)) {
                if self.write_group()? == Group::NoSpace && stopping {
                    let told = if self.sequencer.replies_wait() { "nobody was" } else { "clients were" };
                    log::warn!("there is no space for {waiting} records, of which {told} told; they are gone");
                    return self.close();
                }
                continue;
            }
            if stopping {
                return self.close();
            }
            self.sleep()?;
        }
    }

    /// The orderly end.
    fn close(self) -> Result<(), JournaldError> {
        match self.writer.close() {
            Err(WriterError::Disk(error)) => {
                // All is durable; only damage to its end would not be told from a torn tail.
                log::warn!("that the journal was closed in order cannot be noted: {error}");
                Ok(())
            }
            closed => Ok(closed?),
        }
    }

    /// Whether the records that wait, `waiting` of them, are to be written now.
    fn is_due(&self, waiting: u64) -> bool {
        match self.flush_interval {
            None => true,
            Some(interval) => waiting >= self.sequencer.capacity() / 2 || self.last_flush.elapsed() >= interval,
        }
    }

    /// Writes what waits, as much as one group takes, makes it durable, and says so.
    fn write_group(&mut self) -> Result<Group, JournaldError> {
        let first = self.writer.durable().0 + 1;
        let last = self.order.now().lsn.0.min(first + LARGEST_GROUP - 1).min(self.writer.prepared_to().0);
        if last < first {
            return self.wait_for_room();
        }
        self.group.clear();
        self.group.extend((first..=last).map(|lsn| self.sequencer.record(Lsn(lsn))));
        crash_point(CrashPoint::GroupTaken);
        let begun_ns = monotonic_ns();
        match self.writer.append(&mut self.group, self.writer.durable()) {
            Ok(()) => {}
            Err(WriterError::NoSpace(error)) => {
                log::warn!("{error}");
                return self.wait_for_space();
            }
            Err(error) => return Err(error.into()),
        }
        crash_point(CrashPoint::GroupWritten);
        let durable = self.writer.sync()?;
        crash_point(CrashPoint::GroupSynced);
        let took_ns = monotonic_ns() - begun_ns;
        self.publish(durable);
        self.instance.journal_row().count_group(last - first + 1, took_ns);
        self.last_flush = Instant::now();
        Ok(Group::Durable)
    }

    /// Says how far the journal is durable, and wakes the workers that sleep until then.
    fn publish(&self, durable: Lsn) {
        self.sequencer.set_durable(durable, self.writer.prepared_to());
        crash_point(CrashPoint::DurablePublished);
        for (row, nudge) in self.instance.workers().iter().zip(&self.workers) {
            if row.must_be_woken(durable) {
                nudge.send();
            }
        }
    }

    /// The next segment is being prepared, or cannot be.
    fn wait_for_room(&mut self) -> Result<Group, JournaldError> {
        if self.writer.prepare_failure().is_some() {
            return self.wait_for_space();
        }
        let _ = self.writer.wait_until_prepared(self.next(), BEAT);
        Ok(Group::NoRoomYet)
    }

    /// There is no space on the disk: says so, so that operations are refused from now on, and tries again soon.
    fn wait_for_space(&mut self) -> Result<Group, JournaldError> {
        if self.sequencer.state() != JournalState::NoSpace {
            self.sequencer.set_state(JournalState::NoSpace);
            // Who waits for room in the ring is told.
            self.workers.iter().for_each(|nudge| nudge.send());
        }
        self.poll(SPACE_PATIENCE)?;
        self.writer.retry_preparing();
        let _ = self.writer.wait_until_prepared(self.next(), BEAT);
        Ok(Group::NoSpace)
    }

    /// What is to be done now and then.
    fn keep_house(&mut self) -> Result<(), JournaldError> {
        self.last_care = Some(Instant::now());
        self.instance.journal_row().beat(monotonic_ns());
        let durable = self.writer.durable();
        match self.writer.prepare_failure() {
            None if self.sequencer.state() == JournalState::NoSpace => {
                log::info!("there is space on the disk again");
                self.sequencer.set_state(JournalState::Open);
            }
            None => {}
            Some(error) => {
                if self.sequencer.state() == JournalState::Open {
                    log::warn!(
                        "{error}; the room that is left is for {} records",
                        self.writer.prepared_to().0 - durable.0
                    );
                }
                if self.writer.prepared_to() <= durable {
                    self.wait_for_space()?;
                }
                self.writer.retry_preparing();
            }
        }
        self.publish(durable);
        self.keeper.see_to(&mut self.writer);
        Ok(())
    }

    /// Sleeps until there is a record, or it is time to flush, or to show that the process lives.
    fn sleep(&mut self) -> Result<(), JournaldError> {
        let durable = self.writer.durable().0;
        let (wake_at, patience) = match self.flush_interval {
            None => (durable + 1, BEAT),
            Some(interval) => {
                (durable + self.sequencer.capacity() / 2, interval.saturating_sub(self.last_flush.elapsed()).min(BEAT))
            }
        };
        self.sequencer.wake_at(Lsn(wake_at));
        if self.order.now().lsn.0 < wake_at {
            self.poll(patience)?;
        }
        self.sequencer.wake_at(Lsn(u64::MAX));
        Ok(())
    }

    /// The record that is written next.
    fn next(&self) -> Lsn {
        Lsn(self.writer.last().0 + 1)
    }

    fn poll(&self, patience: Duration) -> Result<(), JournaldError> {
        let mut fds = [PollFd::new(self.nudge.as_fd(), PollFlags::POLLIN)];
        // Rounded up: a wait of less than a millisecond would be none.
        let timeout = PollTimeout::try_from(patience + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {
                let _ = self.nudge.take();
                Ok(())
            }
            Err(errno) => Err(JournaldError::Io { step: "wait for records", source: errno.into() }),
        }
    }
}

/// The descriptors that a journal process keeps of its parent's, beside the standard ones.
#[must_use]
pub fn descriptors(seat: &Seat) -> Vec<i32> {
    let own = [seat.nudge.as_fd().as_raw_fd()];
    own.into_iter().chain(seat.workers.iter().map(|nudge| nudge.as_fd().as_raw_fd())).collect()
}
