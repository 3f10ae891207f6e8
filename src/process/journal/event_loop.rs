//! The journal process' loop: group commit.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::config::Durability;
use crate::base::crash_point::{CrashPoint, arm_from_environment, crash_point};
use crate::base::vocab::{Committed, Lsn, OnDisk};
use crate::ipc::event::EventFd;
use crate::ipc::process::monotonic_ns;
use crate::process::journal::arguments::JournalArguments;
use crate::process::journal::error::JournalProcessError;
use crate::process::journal::snapshotter::Snapshotter;
use crate::store::instance::Instance;
use crate::store::journal::record::is_piece;
use crate::store::journal::{RecordBytes, Writer, WriterError};
use crate::store::ledger::Visible;
use crate::store::ledger::order::Order;
use crate::store::ledger::replication::Truncation;
use crate::store::ledger::sequencer::{JournalState, Sequencer};

/// Records written at once: 2 MiB, far more than makes a write efficient and far less than the ring.
const LARGEST_GROUP: u64 = 1 << 14;
/// How often a full disk is tried again; the kernel has no event for that.
const SPACE_RETRY: Duration = Duration::from_millis(100);
/// The longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
/// How often, also under load, segments and snapshots are looked after, and the heartbeat is written.
const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(50);

/// The exit code of a journal process that cannot go on, nor can a successor.
pub const EXIT_FAILED: i32 = 2;
/// The exit code of a journal process that lacks what a successor may have.
const EXIT_SHORT: i32 = 1;

/// Writes the journal until told to stop; gives the process' exit code.
#[must_use]
pub fn run(arguments: JournalArguments) -> i32 {
    let instance = arguments.instance;
    match JournalProcess::new(arguments).and_then(JournalProcess::serve) {
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

struct JournalProcess {
    instance: &'static Instance,
    sequencer: &'static Sequencer,
    order: Order<'static>,
    wakeup: Arc<EventFd>,
    workers: Vec<Arc<EventFd>>,
    /// How the replica process is woken up; `None` without peers.
    replica: Option<Arc<EventFd>>,
    writer: Writer,
    snapshotter: Snapshotter,
    /// Without peers: the last record on disk with which an operation ends. A group may end inside one, and nothing shows half of it.
    whole_to: Lsn,
    group: Vec<RecordBytes>,
    /// How long a record may wait for others; `None` where replies wait for it.
    flush_interval: Option<Duration>,
    last_flush: Instant,
    last_maintenance: Option<Instant>,
    /// Up to where it was said that segments are prepared.
    told_prepared_to: Lsn,
}

/// What became of a group of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupResult {
    OnDisk,
    /// The next segment is still being prepared.
    NotPrepared,
    /// The disk is full.
    NoSpace,
}

impl JournalProcess {
    fn new(arguments: JournalArguments) -> Result<Self, JournalProcessError> {
        let JournalArguments { instance, settings, directory, wakeup, workers, replica } = arguments;
        let sequencer = instance.table().sequencer();
        arm_from_environment("journal", instance.journal_row().life.lives.get());
        let writer = Writer::resume(&directory, sequencer.on_disk().0)?;
        let prepared = wakeup.clone();
        writer.tell_when_prepared(move || prepared.send());
        let snapshotter = Snapshotter::start(instance, settings, directory, wakeup.clone())?;
        let flush_interval = (settings.durability == Durability::Async).then_some(settings.flush_interval);
        Ok(JournalProcess {
            instance,
            sequencer,
            order: instance.table().order(),
            wakeup,
            workers,
            replica,
            writer,
            snapshotter,
            whole_to: sequencer.committed().0,
            group: Vec::new(),
            flush_interval,
            last_flush: Instant::now(),
            last_maintenance: None,
            told_prepared_to: Lsn(0),
        })
    }

    fn serve(mut self) -> Result<(), JournalProcessError> {
        loop {
            let stopping = self.instance.journal_row().life.is_to_leave();
            self.truncate_if_ordered()?;
            if self.last_maintenance.is_none_or(|last| last.elapsed() >= MAINTENANCE_INTERVAL) {
                self.maintain()?;
            }
            // Workers may wait for nothing else.
            if self.writer.prepared_to() != self.told_prepared_to {
                self.publish(self.writer.on_disk());
            }
            let waiting = self.end().0.saturating_sub(self.writer.on_disk().0.0);
            if waiting > 0 && (stopping || self.is_due(waiting)) {
                if self.write_group()? == GroupResult::NoSpace && stopping {
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

    /// The last record that may be written: the last that has a number, or, with peers, the end of the log.
    fn end(&self) -> Lsn {
        self.sequencer.log_end().unwrap_or_else(|| self.order.now().lsn)
    }

    /// Cuts the end of the log where the replica process has ordered that. How far the journal is on disk is said before: should this
    /// process die, its successor looks for no record that is gone.
    fn truncate_if_ordered(&mut self) -> Result<(), JournalProcessError> {
        let Truncation { generation, keep } = self.sequencer.truncation();
        if generation == self.sequencer.truncated() {
            return Ok(());
        }
        let kept = self.writer.on_disk().0.min(keep);
        self.sequencer.set_on_disk(OnDisk(kept), self.writer.prepared_to());
        crash_point(CrashPoint::TruncationBegun);
        self.writer.truncate_after(kept)?;
        crash_point(CrashPoint::TruncationSynced);
        self.sequencer.set_truncated(generation);
        self.wake_replica();
        Ok(())
    }

    fn wake_replica(&self) {
        if let Some(replica) = &self.replica {
            replica.send();
        }
    }

    /// Ends in order.
    fn close(self) -> Result<(), JournalProcessError> {
        // What is not committed may be cut by a later start, so it is not said to have been there.
        let committed = self.sequencer.committed();
        match self.writer.close_committed(committed) {
            Err(WriterError::Disk(error)) => {
                // All is durable; but damage to its end could not be told from a torn tail.
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

    /// Writes what waits, as much as one group takes, syncs it, and says so.
    fn write_group(&mut self) -> Result<GroupResult, JournalProcessError> {
        let first = self.writer.on_disk().0.0 + 1;
        let end = self.end().0;
        let last = end.min(first + LARGEST_GROUP - 1).min(self.writer.prepared_to().0);
        if last < first {
            return self.wait_until_prepared();
        }
        self.group.clear();
        self.group.extend((first..=last).map(|lsn| self.sequencer.record(Lsn(lsn))));
        let next = (last < end).then(|| self.sequencer.record(Lsn(last + 1)));
        let whole_to = whole_records(&self.group, next.as_ref()).map(|count| Lsn(first - 1 + count));
        crash_point(CrashPoint::GroupTaken);
        let begun_ns = monotonic_ns();
        match self.writer.append(&mut self.group, self.writer.on_disk().0) {
            Ok(()) => {}
            Err(WriterError::NoSpace(error)) => {
                log::warn!("{error}");
                return self.wait_for_space();
            }
            Err(error) => return Err(error.into()),
        }
        crash_point(CrashPoint::GroupWritten);
        let on_disk = self.writer.sync()?;
        crash_point(CrashPoint::GroupSynced);
        let took_ns = monotonic_ns() - begun_ns;
        self.whole_to = whole_to.unwrap_or(self.whole_to);
        self.publish(on_disk);
        self.instance.journal_row().count_group(last - first + 1, took_ns);
        self.last_flush = Instant::now();
        Ok(GroupResult::OnDisk)
    }

    /// Says how far the journal is on disk, and wakes the workers that sleep until then.
    fn publish(&mut self, on_disk: OnDisk) {
        self.told_prepared_to = self.writer.prepared_to();
        if self.sequencer.is_replicated() {
            self.sequencer.set_on_disk(on_disk, self.told_prepared_to);
            crash_point(CrashPoint::CommittedPublished);
            if self.sequencer.replica_sleeps() {
                self.wake_replica();
            }
            return;
        }
        let committed = Committed::alone(OnDisk(self.whole_to));
        self.sequencer.set_on_disk(on_disk, self.told_prepared_to);
        self.sequencer.set_committed(committed);
        let visible = Visible { committed, rounds: 0 };
        crash_point(CrashPoint::CommittedPublished);
        for (row, wakeup) in self.instance.workers().iter().zip(&self.workers) {
            if row.must_be_woken(visible) {
                wakeup.send();
            }
        }
    }

    /// The next segment is being prepared, or cannot be.
    fn wait_until_prepared(&mut self) -> Result<GroupResult, JournalProcessError> {
        if self.writer.prepare_failure().is_some() {
            return self.wait_for_space();
        }
        let _ = self.writer.wait_until_prepared(self.next(), LONGEST_SLEEP);
        Ok(GroupResult::NotPrepared)
    }

    /// There is no space on the disk: says so, so that operations are refused from now on, and tries again after a while.
    fn wait_for_space(&mut self) -> Result<GroupResult, JournalProcessError> {
        if self.sequencer.state() != JournalState::NoSpace {
            self.sequencer.set_state(JournalState::NoSpace);
            // Workers wait for room in the ring.
            self.workers.iter().for_each(|wakeup| wakeup.send());
        }
        self.poll(SPACE_RETRY)?;
        self.writer.retry_preparing();
        let _ = self.writer.wait_until_prepared(self.next(), LONGEST_SLEEP);
        Ok(GroupResult::NoSpace)
    }

    /// Writes the heartbeat, tries again what had no space, and advances the snapshot.
    fn maintain(&mut self) -> Result<(), JournalProcessError> {
        self.last_maintenance = Some(Instant::now());
        self.instance.journal_row().life.heartbeat_ns.set(monotonic_ns());
        let on_disk = self.writer.on_disk();
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
                        self.writer.prepared_to().0 - on_disk.0.0
                    );
                }
                if self.writer.prepared_to() <= on_disk.0 {
                    self.wait_for_space()?;
                }
                self.writer.retry_preparing();
            }
        }
        self.publish(on_disk);
        self.snapshotter.advance(&mut self.writer, self.sequencer.committed());
        Ok(())
    }

    /// Sleeps until there is a record, or it is time to flush or for the heartbeat.
    fn sleep(&mut self) -> Result<(), JournalProcessError> {
        let on_disk = self.writer.on_disk().0.0;
        if self.sequencer.is_replicated() {
            self.sequencer.sleep_at_log_end(Lsn(on_disk));
            if self.end().0 <= on_disk && self.sequencer.truncation().generation == self.sequencer.truncated() {
                self.poll(LONGEST_SLEEP)?;
            }
            self.sequencer.wake_from_log_end();
            return Ok(());
        }
        let (wake_at, timeout) = match self.flush_interval {
            None => (on_disk + 1, LONGEST_SLEEP),
            Some(interval) => (
                on_disk + self.sequencer.capacity() / 2,
                interval.saturating_sub(self.last_flush.elapsed()).min(LONGEST_SLEEP),
            ),
        };
        self.sequencer.wake_at(Lsn(wake_at));
        if self.order.now().lsn.0 < wake_at {
            self.poll(timeout)?;
        }
        self.sequencer.wake_at(Lsn(u64::MAX));
        Ok(())
    }

    /// The record that is written next.
    fn next(&self) -> Lsn {
        Lsn(self.writer.last().0 + 1)
    }

    fn poll(&self, timeout: Duration) -> Result<(), JournalProcessError> {
        let mut fds = [PollFd::new(self.wakeup.as_fd(), PollFlags::POLLIN)];
        // Rounded up: a wait of less than a millisecond would be none.
        let timeout = PollTimeout::try_from(timeout + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {
                let _ = self.wakeup.take();
                Ok(())
            }
            Err(errno) => Err(JournalProcessError::Io { step: "wait for records", source: errno.into() }),
        }
    }
}

/// How many records of a group are of operations that end in it; `None` where it is all inside one. `next` is the record behind it, where
/// that has a number already: all records of an operation get theirs at once.
fn whole_records(group: &[RecordBytes], next: Option<&RecordBytes>) -> Option<u64> {
    if !next.is_some_and(is_piece) {
        return Some(group.len() as u64);
    }
    group.iter().rposition(|record| !is_piece(record)).map(|head| head as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::record::{KvPiece, TermRecord};

    #[test]
    fn nothing_behind_the_last_whole_operation_of_a_group_is_committed() {
        let piece = KvPiece::of(Lsn(1), 0, b"value").encode();
        let other = TermRecord { lsn: Lsn(1), time_ns: 0 }.encode();
        // What has a number is whole: the last record of a group is the last of an operation unless a piece follows.
        assert_eq!(whole_records(&[other, piece, piece], None), Some(3));
        assert_eq!(whole_records(&[other, piece, piece], Some(&other)), Some(3));
        assert_eq!(whole_records(&[other, piece, piece], Some(&piece)), Some(0));
        assert_eq!(whole_records(&[piece, other, other, piece], Some(&piece)), Some(2));
        assert_eq!(whole_records(&[piece, other], Some(&piece)), Some(1));
        assert_eq!(whole_records(&[piece, piece], Some(&piece)), None);
        assert_eq!(whole_records(&[piece, piece], Some(&other)), Some(2));
    }
}
