//! The commit point of an operation: taking the next number from the order word.
//!
//! Under the sequencer's lock an operation writes its records behind the ring's tail, where they do not count yet, and claims the last of
//! their numbers in its intent. Then it takes the numbers from the order word, which is the ring's tail as well. So the ring has no holes,
//! and after a death one comparison tells whether the operation happened. A holder that dies leaves at most one claim that was not
//! reached; the next holder withdraws it before another operation gets the number.
//!
//! Without a journal and a key-value store, operations without a key take their number without the lock.

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::vocab::Lsn;
use crate::store::journal::record::RecordBytes;
use crate::store::ledger::intent::{Intent, Plan};
use crate::store::ledger::keys::{Found, Probe, Remembered};
use crate::store::ledger::order::Stamp;
use crate::store::ledger::replication::GateState;
use crate::store::ledger::sequencer::{JournalState, Sequencer};
use crate::store::ledger::table::{REPLICA_ROW, Table};

/// Why an operation was not committed; nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncommitted {
    /// Its key is known with the same request; this is its result.
    Repeated(Remembered),
    /// Its key is known with another request, which is this operation. The answer shows that it has happened.
    Conflict(Lsn),
    /// The ring is full: try again when more is durable.
    Later,
    /// The disk is full: try again much later.
    NoSpace,
    /// What the operation would add has no room.
    Full,
    /// The gate is closed: another instance is the primary, or none is.
    NotPrimary,
}

impl Uncommitted {
    /// The operation whose result the answer shows; 0 for none.
    #[must_use]
    pub fn shows(&self) -> Lsn {
        match self {
            Uncommitted::Repeated(first) => first.lsn,
            Uncommitted::Conflict(first) => *first,
            Uncommitted::Later | Uncommitted::NoSpace | Uncommitted::Full | Uncommitted::NotPrimary => Lsn(0),
        }
    }
}

/// What the sequencer gives numbers to: an operation of one record or of several.
pub(in crate::store) trait Sequenced {
    /// How many records it takes.
    fn records(&self) -> u64 {
        1
    }

    /// When it was decided by the clock of who decided, nanoseconds since 1970.
    fn clock_ns(&self) -> u64;

    /// Its first record is to be `first`, and all are to bear `time_ns`, nanoseconds since 1970.
    fn place(&mut self, first: Lsn, time_ns: u64);

    /// What the word of counts is after it, from what that is before ([`Sequencer::counts`]); `None` where it stays.
    ///
    /// # Errors
    /// There is no room for it.
    fn count(&mut self, _before: u64) -> Result<Option<u64>, Uncommitted> {
        Ok(None)
    }

    /// Puts its records into their places in the ring.
    fn put(&self, sequencer: &Sequencer);

    /// What is remembered of it by its key.
    fn remembered(&self) -> Remembered;

    /// Whether it asks for the same as a request that has the same key of the same user.
    fn is_same_request(&self, known: &Remembered) -> bool;
}

/// What an operation leaves behind under the sequencer's lock beside its records.
#[derive(Clone, Copy, Default)]
pub(in crate::store) struct Traces<'a> {
    /// The number of the key that it makes known.
    pub key_number: Option<u64>,
    /// What the word of counts is after it, if it changes that.
    pub counts: Option<u64>,
    /// Is told the operation's number before the operation has happened.
    pub number: Option<&'a dyn Fn(Lsn)>,
}

impl Table {
    /// Commits the operation of `intent`, whose locks are all held. `probe` is that of its key. `number` is called with the
    /// operation's number, which is that of its last record, before the operation has happened.
    ///
    /// # Errors
    /// [`Uncommitted`]; then the caller must still clear the intent.
    #[inline]
    pub(in crate::store) fn commit(
        &self,
        intent: &Intent,
        operation: &mut impl Sequenced,
        (probe, number): (Option<&Probe<'_>>, Option<&dyn Fn(Lsn)>),
        still_waiting: impl FnMut(),
    ) -> Result<Stamp, Uncommitted> {
        if !self.sequencer().is_ordered() && probe.is_none() {
            let stamp = self.order().take_next(1);
            show_number(number, stamp.lsn);
            intent.commit(stamp.lsn);
            crash_point(CrashPoint::Committed);
            return Ok(stamp);
        }
        self.commit_locked(intent, operation, (probe, number), still_waiting)
    }

    fn commit_locked(
        &self,
        intent: &Intent,
        operation: &mut impl Sequenced,
        (probe, number): (Option<&Probe<'_>>, Option<&dyn Fn(Lsn)>),
        still_waiting: impl FnMut(),
    ) -> Result<Stamp, Uncommitted> {
        let sequencer = self.sequencer();
        let keys = sequencer.keys();
        let _held = self.lock_sequencer(still_waiting);
        crash_point(CrashPoint::SequencerLocked);
        match sequencer.gate().state {
            GateState::Open => {}
            GateState::Closed => return Err(Uncommitted::NotPrimary),
        }
        let slot = match probe.map(|probe| keys.find(probe)) {
            Some(Found::Known(known)) if operation.is_same_request(&known) => {
                return Err(Uncommitted::Repeated(known));
            }
            Some(Found::Known(known)) => return Err(Uncommitted::Conflict(known.lsn)),
            Some(Found::BucketFull) => return Err(Uncommitted::NoSpace),
            Some(Found::Free(slot)) => Some(slot),
            None => None,
        };
        let counts = operation.count(sequencer.counts())?;
        let last = self.order().now().lsn;
        if sequencer.is_journaled() {
            if last.0 + operation.records() > sequencer.limit().0 {
                let no_space = sequencer.state() == JournalState::NoSpace;
                return Err(if no_space { Uncommitted::NoSpace } else { Uncommitted::Later });
            }
            operation.place(Lsn(last.0 + 1), sequencer.next_time_ns(operation.clock_ns()));
            operation.put(sequencer);
        }
        let key_number = probe.zip(slot).map(|(probe, slot)| keys.write(probe, operation.remembered(), slot));
        crash_point(CrashPoint::RecordWritten);
        Ok(self.take_numbers(intent, operation.records(), Traces { key_number, counts, number }))
    }

    /// Takes the next `records` numbers, shows the last of them, and leaves `traces`. Holding the sequencer's lock.
    pub(super) fn take_numbers(&self, intent: &Intent, records: u64, traces: Traces<'_>) -> Stamp {
        let Traces { key_number, counts, number } = traces;
        intent.set_key_number(key_number.unwrap_or(0));
        if let Some(counts) = counts {
            intent.set_counts(counts);
        }
        let stamp = if self.sequencer().is_ordered() {
            // They are this operation's, if it happens: the lock is held.
            let expected = Lsn(self.order().now().lsn.0 + records);
            show_number(number, expected);
            intent.claim(expected);
            crash_point(CrashPoint::Claimed);
            self.order().take_next(records)
        } else {
            // Operations without a key take numbers without the lock, so the number is known only now.
            let stamp = self.order().take_next(records);
            show_number(number, stamp.lsn);
            intent.commit(stamp.lsn);
            stamp
        };
        crash_point(CrashPoint::Committed);
        if let Some(number) = key_number {
            self.sequencer().keys().make_known(number, stamp.lsn);
        }
        crash_point(CrashPoint::KeyKnown);
        if let Some(counts) = counts {
            self.sequencer().set_counts(counts);
            crash_point(CrashPoint::Counted);
        }
        stamp
    }

    /// Commits an operation of `records` records, the next ones, which another instance has decided; its locks are all held. `keyed` is
    /// what is remembered of it and the probe of its key, if it has one, and `counts` what the word of counts is after it, if it changes
    /// that. Nobody else takes numbers meanwhile.
    pub(in crate::store) fn commit_applied(
        &self,
        intent: &Intent,
        records: u64,
        (keyed, counts): (Option<(Remembered, &Probe<'_>)>, Option<u64>),
        still_waiting: impl FnMut(),
    ) -> Stamp {
        let keys = self.sequencer().keys();
        let _held = self.lock_sequencer(still_waiting);
        crash_point(CrashPoint::SequencerLocked);
        // A key that is known already was made known by this very record, or its place is taken as it was where it was decided.
        let key_number = keyed.and_then(|(remembered, probe)| match keys.find(probe) {
            Found::Free(slot) => Some(keys.write(probe, remembered, slot)),
            Found::Known(_) | Found::BucketFull => None,
        });
        crash_point(CrashPoint::RecordWritten);
        self.take_numbers(intent, records, Traces { key_number, counts, number: None })
    }
}

impl Table {
    /// Puts a record that is no operation behind all others, and gives its place, for which `encode` makes it. Called by the replica process
    /// only, whose row must be settled.
    ///
    /// While the gate is open, everything before it is carried out here, and it takes its number like an operation. While it is closed, it
    /// stands behind the end of the log, and is applied when it is committed.
    ///
    /// `time_ns` is what the clock says, or the time of the record at the end of the log where that is later: the others may have been
    /// written by a member with another clock. `encode` is given the time that the record is to bear, nanoseconds since 1970.
    pub fn append_control(&self, time_ns: u64, encode: impl FnOnce(Lsn, u64) -> RecordBytes) -> Lsn {
        let _held = self.lock_sequencer(|| ());
        let sequencer = self.sequencer();
        let time_ns = sequencer.next_time_ns(time_ns);
        let last = self.order().now().lsn;
        match sequencer.gate().state {
            GateState::Open => {
                let lsn = Lsn(last.0 + 1);
                sequencer.put_bytes(lsn, &encode(lsn, time_ns));
                let intent = &self.rows()[REPLICA_ROW].intent;
                intent.prepare(&Plan::NOTHING);
                let stamp = self.take_numbers(intent, 1, Traces::default());
                intent.clear();
                stamp.lsn
            }
            GateState::Closed => {
                let lsn = Lsn(last.max(sequencer.log_end().unwrap_or_default()).0 + 1);
                sequencer.put_bytes(lsn, &encode(lsn, time_ns));
                lsn
            }
        }
    }
}

/// Puts the operation's number into its reply, which stands where it does not count yet. The operation has not happened: whoever repairs a
/// death finds a whole reply, or none that counts.
#[inline]
fn show_number(number: Option<&dyn Fn(Lsn)>, lsn: Lsn) {
    if let Some(show) = number {
        show(lsn);
        crash_point(CrashPoint::ReplyNumbered);
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "commit_tests.rs"]
mod tests;
