//! Filling the table from the journal, before the first worker.

use crate::base::vocab::Lsn;
use crate::store::journal::record::{KvKind, blocks_of};
use crate::store::journal::{Assembly, AssemblyError, KvWrite, Record};
use crate::store::kv::counts::Counts;
use crate::store::kv::operation::RememberedWrite;
use crate::store::kv::pool::LockedPool;
use crate::store::kv::row::Chain;
use crate::store::kv::table::KvTable;
use crate::store::kv::teller::KvTeller;
use crate::store::ledger::Table;

/// Why the table cannot be filled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The keys take more room than there is.
    #[error("the keys and values of the journal do not fit into --kv-mb; give at least {mebibytes}")]
    Full {
        /// A size with which all of them fit.
        mebibytes: u64,
    },
    /// Records that no server has written.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
}

/// Puts what the journal holds into the table, in the order of the log; no other process or thread has part in it.
pub struct Restorer<'a> {
    ledger: &'a Table,
    table: &'a KvTable,
    teller: KvTeller<'a>,
    /// The list of free blocks, locked once for all: nobody else wants it.
    pool: LockedPool<'a>,
    assembly: Assembly,
    counts: Counts,
    cut: Lsn,
    /// Blocks that are needed as far as is known, once there were too few; nothing more is put into the table then.
    needed: Option<u64>,
}

impl<'a> Restorer<'a> {
    /// Of an empty table.
    #[must_use]
    pub fn new(ledger: &'a Table, table: &'a KvTable) -> Self {
        let teller = KvTeller::new(ledger, table, 0, || ());
        let (pool, assembly, counts) = (table.pool().lock(|| ()), Assembly::default(), Counts::default());
        Restorer { ledger, table, teller, pool, assembly, counts, cut: Lsn(0), needed: None }
    }

    /// Says that the keys that come are those after record `cut`, and that of records up to there only the request ids are wanted.
    pub fn begin_after(&mut self, cut: Lsn) {
        self.cut = cut;
    }

    /// A key of a snapshot.
    pub fn pair(&mut self, key: &[u8], version: Lsn, value: &[u8]) {
        match &mut self.needed {
            None => self.set(key, version, Some(value)),
            Some(needed) => *needed += u64::from(blocks_of(key.len(), value.len())),
        }
    }

    /// The next record. Whether its key is to be known, `remember` says.
    ///
    /// # Errors
    /// It does not follow the one before.
    pub fn record(&mut self, record: &Record, remember: impl Fn(Lsn) -> bool) -> Result<(), RestoreError> {
        let Some(write) = self.assembly.take(record)? else { return Ok(()) };
        let KvWrite { head, .. } = &write;
        if remember(head.lsn) {
            self.ledger.restore_remembered(head.request, RememberedWrite::of(head).to_table());
        }
        match (head.kind, &mut self.needed) {
            _ if !head.is_done() || head.version() <= self.cut => {}
            (_, Some(needed)) => *needed = (*needed).max(head.blocks.into()),
            (KvKind::Put, None) => self.set(write.key(), head.version(), Some(write.value())),
            (KvKind::Delete, None) => self.set(write.key(), head.version(), None),
        }
        Ok(())
    }

    /// Says how much the table holds; after the last record.
    ///
    /// # Errors
    /// It does not hold all of it.
    pub fn finish(self) -> Result<Counts, RestoreError> {
        if let Some(needed) = self.needed {
            let mebibyte = KvTable::capacity_of(1 << 20);
            return Err(RestoreError::Full { mebibytes: needed.div_ceil(mebibyte.into()) });
        }
        self.ledger.sequencer().set_counts(self.counts.to_word());
        Ok(self.counts)
    }

    /// Gives `key` a value, or takes it away, as operation `version`.
    fn set(&mut self, key: &[u8], version: Lsn, value: Option<&[u8]>) {
        let home = self.table.home(key);
        let Some(bucket) = self.teller.lock(home) else { return };
        let displaced = bucket.find(home, key).map(|found| found.chain);
        let change = self.teller.take_blocks_of(&self.pool, home, displaced, value.map(|value| (key, value)));
        let blocks = |chain: Option<Chain>| chain.map_or(0, |chain| chain.blocks);
        let after = change.and_then(|change| self.counts.after(blocks(displaced), blocks(change.fresh)));
        match change.zip(after.filter(|after| after.blocks <= self.table.capacity())) {
            Some((change, after)) => {
                bucket.carry_out(version, &change);
                self.teller.give_back_to(&self.pool, displaced);
                self.counts = after;
            }
            None => {
                self.teller.give_back_to(&self.pool, change.and_then(|change| change.fresh));
                // What comes is only counted: of records, each says what the table held after it.
                let wanted = blocks_of(key.len(), value.map_or(0, <[u8]>::len));
                let freed = displaced.map_or(0, |chain| chain.blocks);
                self.needed = Some((u64::from(self.counts.blocks) + u64::from(wanted)).saturating_sub(freed.into()));
            }
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "restore_tests.rs"]
mod tests;
