//! Filling the table from the journal, before the first worker.

use crate::base::vocab::Lsn;
use crate::store::journal::record::{KvKind, blocks_of};
use crate::store::journal::{Assembly, AssemblyError, KvWrite, Record};
use crate::store::kv::counts::Counts;
use crate::store::kv::operation::RememberedWrite;
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
        /// A size with which what has been read so far fits, this key included.
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
    assembly: Assembly,
    counts: Counts,
    cut: Lsn,
}

impl<'a> Restorer<'a> {
    /// Of an empty table.
    #[must_use]
    pub fn new(ledger: &'a Table, table: &'a KvTable) -> Self {
        let teller = KvTeller::new(ledger, table, 0, || ());
        Restorer { ledger, table, teller, assembly: Assembly::default(), counts: Counts::default(), cut: Lsn(0) }
    }

    /// Says that the keys that come are those after record `cut`, and that of records up to there only the request ids are wanted.
    pub fn begin_after(&mut self, cut: Lsn) {
        self.cut = cut;
    }

    /// A key of a snapshot.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn pair(&mut self, key: &[u8], version: Lsn, value: &[u8]) -> Result<(), RestoreError> {
        self.set(key, version, Some(value))
    }

    /// The next record. Whether its key is to be known, `remember` says.
    ///
    /// # Errors
    /// There is no room for it, or it does not follow the one before.
    pub fn record(&mut self, record: &Record, remember: impl Fn(Lsn) -> bool) -> Result<(), RestoreError> {
        let Some(write) = self.assembly.take(record)? else { return Ok(()) };
        let KvWrite { head, .. } = &write;
        if remember(head.lsn) {
            self.ledger.restore_remembered(head.request, RememberedWrite::of(head).to_table());
        }
        match head.kind {
            _ if !head.is_done() || head.version() <= self.cut => Ok(()),
            KvKind::Put => self.set(write.key(), head.version(), Some(write.value())),
            KvKind::Delete => self.set(write.key(), head.version(), None),
        }
    }

    /// Says how much the table holds; after the last record.
    pub fn finish(self) -> Counts {
        self.ledger.sequencer().set_counts(self.counts.to_word());
        self.counts
    }

    /// Gives `key` a value, or takes it away, as operation `version`.
    fn set(&mut self, key: &[u8], version: Lsn, value: Option<&[u8]>) -> Result<(), RestoreError> {
        let home = self.table.home(key);
        let Some(bucket) = self.teller.lock(home) else { return Ok(()) };
        let displaced = bucket.find(home, key).map(|found| found.chain);
        let change = self.teller.take_blocks(home, displaced, value.map(|value| (key, value)));
        let blocks = |chain: Option<Chain>| chain.map_or(0, |chain| chain.blocks);
        let after = change.and_then(|change| self.counts.after(blocks(displaced), blocks(change.fresh)));
        match change.zip(after.filter(|after| after.blocks <= self.table.capacity())) {
            Some((change, after)) => {
                bucket.carry_out(version, &change);
                self.teller.give_back(displaced);
                self.counts = after;
                Ok(())
            }
            None => {
                self.teller.give_back(change.and_then(|change| change.fresh));
                let wanted = blocks_of(key.len(), value.map_or(0, <[u8]>::len));
                let (blocks, mebibyte) =
                    (u64::from(self.counts.blocks) + u64::from(wanted), KvTable::capacity_of(1 << 20));
                Err(RestoreError::Full { mebibytes: blocks.div_ceil(mebibyte.into()) })
            }
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
#[path = "restore_tests.rs"]
mod tests;
