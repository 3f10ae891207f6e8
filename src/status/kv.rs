//! The key-value store: its table now, and what a worker has answered.

use serde::{Serialize, Serializer};

use super::numbers::{self, Counted, Percentiles, Rate, ratio};
use crate::service::kv::wire::{KvProcedure, KvStatus};
use crate::store::instance::Instance;
use crate::store::instance::histogram::Times;
use crate::store::instance::stats::{KV_PROCEDURES, KV_STATUSES, KvStats};
use crate::store::journal::record::BLOCK_BYTES;
use crate::store::kv;

/// Counters per procedure, in the order of [`KvProcedure::ALL`].
pub type ByProcedure<T> = [T; KvProcedure::ALL.len()];
/// Counters per status, in the order of [`KvStatus::ALL`].
pub type ByKvStatus<T> = [T; KvStatus::ALL.len()];

const _: () = assert!(KvProcedure::ALL.len() == KV_PROCEDURES && KvStatus::ALL.len() == KV_STATUSES);

/// The table of keys and values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KvTable {
    /// Keys, as of the last operation.
    pub keys: u64,
    /// Blocks that they and their values take.
    pub blocks: u64,
    /// Blocks that there are, as many as keys at most.
    pub capacity: u64,
    /// Blocks that nothing has now. While writes are under way, what they replace has blocks, too.
    pub free_blocks: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
}

impl KvTable {
    /// That of `instance`; `None` where it has none.
    pub fn of(instance: &Instance) -> Option<KvTable> {
        let table = instance.kv()?;
        let counts = kv::KvTable::counts(instance.table());
        Some(KvTable {
            keys: counts.keys.into(),
            blocks: counts.blocks.into(),
            capacity: table.capacity().into(),
            free_blocks: table.free_blocks().into(),
            block_bytes: BLOCK_BYTES as u64,
        })
    }

    /// The share of the blocks that keys and values take, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        ratio(self.blocks, self.capacity)
    }
}

/// What one worker has counted of the key-value store.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KvCalls {
    /// Calls that were answered, of all procedures.
    pub calls_total: u64,
    /// The same by procedure.
    #[serde(serialize_with = "by_procedure")]
    pub calls: ByProcedure<u64>,
    /// Their results by status.
    #[serde(serialize_with = "by_kv_status")]
    pub results: ByKvStatus<u64>,
    /// Calls that were answered with an error of RPC.
    pub faults: u64,
    /// Records that were no call, or none that is taken.
    pub bad_records: u64,
    /// Scans refused because too many waited for a thread.
    pub scans_refused: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// From when a call was there to be read to when its reply was free to be sent.
    #[serde(serialize_with = "numbers::times")]
    pub answer_times: Times,
}

impl KvCalls {
    /// Reads a worker's counters.
    pub fn of(stats: &KvStats) -> KvCalls {
        let calls: ByProcedure<u64> = std::array::from_fn(|place| stats.calls[place].get());
        KvCalls {
            calls_total: calls.iter().sum(),
            calls,
            results: std::array::from_fn(|place| stats.results[place].get()),
            faults: stats.faults.get(),
            bad_records: stats.bad_records.get(),
            scans_refused: stats.scans_refused.get(),
            bytes_in: stats.bytes_in.get(),
            bytes_out: stats.bytes_out.get(),
            answer_times: stats.answer_times.read(),
        }
    }
}

/// The key-value store in one interval: its table now, and what all workers together answered.
#[derive(Clone, Debug, Serialize)]
pub struct KvView {
    /// The table.
    #[serde(flatten)]
    pub table: KvTable,
    /// Connections now.
    pub connections: u64,
    /// Connections that wait for the log now.
    pub waiting: u64,
    /// Connections turned away.
    pub refused: Rate,
    /// Calls that were answered, of all procedures.
    pub calls_total: Rate,
    /// The same by procedure.
    #[serde(serialize_with = "by_procedure")]
    pub calls: ByProcedure<Rate>,
    /// Their results by status; those that were ever sent.
    #[serde(serialize_with = "by_kv_status")]
    pub results: ByKvStatus<Rate>,
    /// Calls that were answered with an error of RPC.
    pub faults: Rate,
    /// Records that were no call, or none that is taken.
    pub bad_records: Rate,
    /// Scans refused because too many waited for a thread.
    pub scans_refused: Rate,
    /// Bytes received.
    pub bytes_in: Rate,
    /// Bytes sent.
    pub bytes_out: Rate,
    /// From when a call was there to be read to when its reply was free to be sent.
    pub times: Percentiles,
}

/// Every procedure under its name.
fn by_procedure<S: Serializer, T: Serialize>(counts: &ByProcedure<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(KvProcedure::ALL.iter().map(|procedure| procedure.name()).zip(counts))
}

/// Every status that was ever sent, under its name.
fn by_kv_status<S: Serializer, T: Counted>(counts: &ByKvStatus<T>, serializer: S) -> Result<S::Ok, S::Error> {
    let named = KvStatus::ALL.iter().map(|status| status.name()).zip(counts);
    serializer.collect_map(named.filter(|(_, count)| **count != T::default()))
}
