//! The commit point of an operation: taking the next number from the order word.
//!
//! Under the sequencer's lock an operation writes its record behind the ring's tail, where it does not count yet, and claims the next
//! number in its intent. Then it takes that number from the order word, which is the ring's tail as well. So the ring has no holes,
//! and after a death one comparison tells whether the operation happened. A holder that dies leaves at most one claim that was not
//! reached; the next holder withdraws it before another operation gets the number.
//!
//! Without a journal, operations without a key take their number without the lock.

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::vocab::Lsn;
use crate::store::journal::record::OperationRecord;
use crate::store::ledger::intent::Intent;
use crate::store::ledger::keys::{Found, Probe, Remembered};
use crate::store::ledger::order::Stamp;
use crate::store::ledger::replication::GateState;
use crate::store::ledger::sequencer::JournalState;
use crate::store::ledger::table::Table;

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
            Uncommitted::Later | Uncommitted::NoSpace | Uncommitted::NotPrimary => Lsn(0),
        }
    }
}

impl Table {
    /// Commits the operation of `intent`, whose accounts are all locked; its number goes into `record`. `probe` is that of the
    /// record's key. `number` is called with the operation's number before the operation has happened.
    ///
    /// # Errors
    /// [`Uncommitted`]; then the caller must still clear the intent.
    #[inline]
    pub(super) fn commit(
        &self,
        intent: &Intent,
        record: &mut OperationRecord,
        (probe, number): (Option<&Probe<'_>>, Option<&dyn Fn(Lsn)>),
        still_waiting: impl FnMut(),
    ) -> Result<Stamp, Uncommitted> {
        if !self.sequencer().is_journaled() && probe.is_none() {
            let stamp = self.order().take_next();
            show_number(number, stamp.lsn);
            intent.commit(stamp.lsn);
            crash_point(CrashPoint::Committed);
            return Ok(stamp);
        }
        self.commit_locked(intent, record, (probe, number), still_waiting)
    }

    fn commit_locked(
        &self,
        intent: &Intent,
        record: &mut OperationRecord,
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
        record.lsn = Lsn(self.order().now().lsn.0 + 1);
        let slot = match probe.map(|probe| keys.find(probe)) {
            Some(Found::Known(known)) if known.is_same_request(record) => return Err(Uncommitted::Repeated(known)),
            Some(Found::Known(known)) => return Err(Uncommitted::Conflict(known.lsn)),
            Some(Found::BucketFull) => return Err(Uncommitted::NoSpace),
            Some(Found::Free(slot)) => Some(slot),
            None => None,
        };
        if sequencer.is_journaled() {
            if record.lsn > sequencer.limit() {
                let no_space = sequencer.state() == JournalState::NoSpace;
                return Err(if no_space { Uncommitted::NoSpace } else { Uncommitted::Later });
            }
            record.time_ns = sequencer.next_time_ns(record.time_ns);
            sequencer.put(record);
        }
        let key_number = probe.zip(slot).map(|(probe, slot)| keys.write(probe, record, slot));
        crash_point(CrashPoint::RecordWritten);
        let stamp = self.take_number(intent, record.lsn, (key_number, number));
        record.lsn = stamp.lsn;
        Ok(stamp)
    }

    /// Takes the next number, `expected` where there is a journal, shows it by `number`, and makes key `key_number` known. Holding the
    /// sequencer's lock.
    pub(super) fn take_number(
        &self,
        intent: &Intent,
        expected: Lsn,
        (key_number, number): (Option<u64>, Option<&dyn Fn(Lsn)>),
    ) -> Stamp {
        intent.set_key_number(key_number.unwrap_or(0));
        let stamp = if self.sequencer().is_journaled() {
            // It is this operation's, if it happens: the lock is held.
            show_number(number, expected);
            intent.claim(expected);
            crash_point(CrashPoint::Claimed);
            self.order().take_next()
        } else {
            // Operations without a key take numbers without the lock, so the number is known only now.
            let stamp = self.order().take_next();
            show_number(number, stamp.lsn);
            intent.commit(stamp.lsn);
            stamp
        };
        crash_point(CrashPoint::Committed);
        if let Some(number) = key_number {
            self.sequencer().keys().make_known(number, stamp.lsn);
        }
        crash_point(CrashPoint::KeyKnown);
        stamp
    }

    /// Commits record `lsn`, which another instance has decided and which comes next here; its accounts are all locked. `keyed` is the
    /// operation that it is of, and the probe of its key, if it has one. Nobody else takes numbers meanwhile.
    pub(super) fn commit_applied(
        &self,
        intent: &Intent,
        lsn: Lsn,
        keyed: Option<(&OperationRecord, &Probe<'_>)>,
        still_waiting: impl FnMut(),
    ) -> Stamp {
        let keys = self.sequencer().keys();
        let _held = self.lock_sequencer(still_waiting);
        crash_point(CrashPoint::SequencerLocked);
        // A key that is known already was made known by this very record, or its place is taken as it was where it was decided.
        let number = keyed.and_then(|(operation, probe)| match keys.find(probe) {
            Found::Free(slot) => Some(keys.write(probe, operation, slot)),
            Found::Known(_) | Found::BucketFull => None,
        });
        crash_point(CrashPoint::RecordWritten);
        self.take_number(intent, lsn, (number, None))
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
