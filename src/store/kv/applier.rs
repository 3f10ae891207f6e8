//! Applies the records of the log, of the ledger and of the key-value table, on an instance that follows.

use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::vocab::Lsn;
use crate::store::journal::record::{Content, KvKind, Record};
use crate::store::journal::{Assembly, AssemblyError, KvWrite};
use crate::store::kv::counts::Counts;
use crate::store::kv::operation::RememberedWrite;
use crate::store::kv::table::{Home, KvTable};
use crate::store::kv::teller::KvTeller;
use crate::store::ledger::applier::ApplyError;
use crate::store::ledger::intent::Plan;
use crate::store::ledger::table::REPLICA_ROW;
use crate::store::ledger::{Applier, Table};

/// Why a record cannot be applied: it is not of these books.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogApplyError {
    /// It is not of this ledger.
    #[error(transparent)]
    Ledger(#[from] ApplyError),
    /// It does not follow the one before.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// There is no table for it.
    #[error("record {0} is a write to a key-value store, and this instance has none; give --kv-port on all members")]
    NoTable(Lsn),
    /// What was decided elsewhere is not what would be decided here: the members differ.
    #[error("write {lsn} found {expected}, and here is {found}: the members differ")]
    Differs {
        /// The write's first record.
        lsn: Lsn,
        /// What it says.
        expected: String,
        /// What is here.
        found: String,
    },
    /// There are no blocks left for it, although its member had some.
    #[error("write {0} has no room here; --kv-mb must be the same on all members")]
    Full(Lsn),
}

/// Applies records. It is used by `&mut`: there is one row for it, and so one operation in flight.
pub struct LogApplier<'a> {
    ledger: Applier<'a>,
    writes: Option<KvTeller<'a>>,
    table: &'a Table,
    assembly: Assembly,
    /// Bytes of the key of the write whose head was the last record of which memory was fetched; 0 where that was another record.
    key_ahead: usize,
    /// Where the key of that write, or of the one before, belongs.
    home_ahead: Option<Home>,
}

impl<'a> LogApplier<'a> {
    /// The applier of an instance, whose row must be settled; `writes` where it has a key-value table. `still_waiting` is called now
    /// and then while it waits for a lock.
    #[must_use]
    pub fn new(table: &'a Table, writes: Option<&'a KvTable>, still_waiting: impl Fn() + Clone + 'a) -> Self {
        let teller = writes.map(|writes| KvTeller::new(table, writes, REPLICA_ROW, still_waiting.clone()));
        LogApplier {
            ledger: Applier::new(table, still_waiting),
            writes: teller,
            table,
            assembly: Assembly::default(),
            key_ahead: 0,
            home_ahead: None,
        }
    }

    /// Has the memory fetched that applying `record` will touch; called for one record after the other. A hint.
    #[inline]
    pub fn prefetch(&mut self, record: &Record) {
        let key_bytes = std::mem::take(&mut self.key_ahead);
        match &record.content {
            Content::KvHead(head) => {
                self.key_ahead = if head.is_done() { head.key_bytes.into() } else { 0 };
                let Some(teller) = &self.writes else { return };
                if let Some(id) = head.request {
                    teller.prefetch_request(id);
                }
                // The bucket was fetched meanwhile, and tells what is touched next.
                if let Some(home) = self.home_ahead.take() {
                    teller.prefetch_first_key_of(home);
                }
            }
            // A key that goes on in the next record is left alone.
            Content::KvPiece(piece) => {
                if let (Some(teller), Some(key @ [_, ..])) = (&self.writes, piece.bytes().get(..key_bytes)) {
                    let home = teller.home(key);
                    teller.prefetch_bucket(home);
                    self.home_ahead = Some(home);
                }
            }
            _ => self.ledger.prefetch(record),
        }
    }

    /// Applies `record`, which is committed and is the next one. A write is applied with its last record, wholly or not at all, whenever
    /// this process may die; whoever comes after it begins with the write's first record again.
    ///
    /// # Errors
    /// [`LogApplyError`]; nothing has changed.
    #[inline]
    pub fn apply(&mut self, record: &Record) -> Result<(), LogApplyError> {
        match record.content {
            Content::KvHead(_) | Content::KvPiece(_) => self.gather(record),
            _ => {
                // Not between the records of a write.
                self.assembly.take(record)?;
                Ok(self.ledger.apply(record)?)
            }
        }
    }

    fn gather(&mut self, record: &Record) -> Result<(), LogApplyError> {
        let lsn = record.lsn();
        let begins = self.assembly.open().unwrap_or(lsn);
        let expected = Lsn(self.table.order().now().lsn.0 + 1);
        if begins != expected {
            return Err(ApplyError::OutOfOrder { expected, found: begins }.into());
        }
        let Some(teller) = &mut self.writes else { return Err(LogApplyError::NoTable(lsn)) };
        if record.is_piece() && self.assembly.open().is_none() {
            // What is applied ends with whole operations, so there is nothing to pass over.
            return Err(AssemblyError::Orphan(lsn).into());
        }
        match self.assembly.take(record)? {
            Some(write) => teller.apply(&write),
            None => Ok(()),
        }
    }
}

impl KvTeller<'_> {
    /// Carries out a write that another instance has decided, and whose records come next.
    pub(super) fn apply(&mut self, write: &KvWrite) -> Result<(), LogApplyError> {
        let head = &write.head;
        let keyed = head.request.map(|id| self.ledger().sequencer().keys().probe(id, head.principal));
        let keyed = keyed.as_ref().map(|probe| (RememberedWrite::of(head).to_table(), probe));
        let (intent, counts) = (&self.ledger_row().intent, KvTable::counts(self.ledger()));
        let said = Counts { keys: head.keys, blocks: head.blocks };
        let differs = |expected: String, found: String| LogApplyError::Differs { lsn: head.lsn, expected, found };
        if !head.is_done() {
            if said != counts {
                return Err(differs(format!("{said:?}"), format!("{counts:?}")));
            }
            intent.prepare(&Plan::NOTHING);
            self.ledger().commit_applied(intent, head.records(), (keyed, None), &self.still_waiting);
            self.end();
            return Ok(());
        }
        let home = self.home(write.key());
        let Some(bucket) = self.lock(home) else { return Err(LogApplyError::NoTable(head.lsn)) };
        let found = bucket.find(home, write.key());
        let previous = found.map_or(Lsn(0), |found| found.entry.version);
        if previous != head.previous {
            return Err(differs(format!("version {}", head.previous), format!("version {previous}")));
        }
        let displaced = found.map(|found| found.chain);
        let data = (head.kind == KvKind::Put).then(|| (write.key(), write.value()));
        let change = self.take_blocks(home, displaced, data).ok_or(LogApplyError::Full(head.lsn))?;
        let [had, has] = [displaced, change.fresh].map(|chain| chain.map_or(0, |chain| chain.blocks));
        let after = counts.after(had, has);
        if after != Some(said) {
            self.give_back(change.fresh);
            return Err(differs(format!("{said:?}"), format!("{after:?}")));
        }
        intent.prepare(&Plan::NOTHING);
        crash_point(CrashPoint::KvPrepared);
        let counts = Some(said.to_word());
        let stamp = self.ledger().commit_applied(intent, head.records(), (keyed, counts), &self.still_waiting);
        crash_point(CrashPoint::KvSequenced);
        bucket.carry_out(stamp.lsn, &change);
        self.give_back(displaced);
        self.end();
        drop(bucket);
        crash_point(CrashPoint::KvUnlocked);
        Ok(())
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "applier_tests.rs"]
mod tests;
