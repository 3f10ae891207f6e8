//! What the tests of this room share: tables, writes to them, and what must be so whatever happened.

use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::Link;
use super::row::RowStage;
use super::{KvAsker, KvTable, KvTeller, KvUndone, KvWriteRequest};
use crate::base::vocab::{Cents, Condition, Lsn, OnDisk};
use crate::ipc::segment;
use crate::store::journal::Record;
use crate::store::journal::record::KvKind;
use crate::store::ledger::{Completion, Shape, Table};

/// A table and the ledger beside it, in memory that is unlinked as soon as it is mapped.
pub struct Store {
    pub ledger: Table,
    pub table: KvTable,
}

/// A key, its version and its value.
pub type Pair = (Vec<u8>, Lsn, Vec<u8>);

impl Store {
    /// Keys may take `capacity` blocks; `ring` places of the journal ring.
    pub fn new(capacity: u32, ring: u32) -> Self {
        Self::of(capacity, ring, false)
    }

    /// One that follows another.
    pub fn following(capacity: u32) -> Self {
        let store = Self::of(capacity, 64, true);
        store.ledger.sequencer().set_on_disk(OnDisk(Lsn(0)), Lsn(100_000));
        store
    }

    fn of(capacity: u32, ring: u32, replicated: bool) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let unique = format!("/vault-test.{}.kv.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let shape = Shape {
            accounts: 2,
            initial_balance: Cents(100),
            ring,
            key_window: 100,
            replies_wait: false,
            replicated,
            key_values: true,
        };
        let names = ["a", "i", "j", "k", "x", "n", "b", "r"].map(|object| format!("{unique}.{object}"));
        let [a, i, j, k, x, table @ ..] = names.each_ref().map(String::as_str);
        let ledger = Table::create([a, i, j, k, x], 1, &shape).unwrap();
        let table = KvTable::create(table, 1, capacity).unwrap();
        names.iter().for_each(|name| segment::unlink(name).unwrap());
        Store { ledger, table }
    }

    pub fn teller(&self, row: usize) -> KvTeller<'_> {
        KvTeller::new(&self.ledger, &self.table, row, || ())
    }

    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<Lsn, KvUndone> {
        ask(&mut self.teller(0), &put(key, value), None)
    }

    pub fn delete(&self, key: &[u8]) -> Result<Lsn, KvUndone> {
        ask(&mut self.teller(0), &delete(key), None)
    }

    /// Version and value of `key`.
    pub fn get(&self, key: &[u8]) -> Option<(Lsn, Vec<u8>)> {
        let mut bytes = Vec::new();
        let version = self.teller(1).get(key, &mut bytes)?;
        assert_eq!(bytes[..key.len()], *key);
        Some((version, bytes.split_off(key.len())))
    }

    /// All pairs up to `cut`, in the order of their keys.
    pub fn pairs_to(&self, cut: Lsn) -> Vec<Pair> {
        let mut pairs = Vec::new();
        let take = |key: &[u8], version, value: &[u8]| {
            pairs.push((key.to_vec(), version, value.to_vec()));
            Ok::<(), ()>(())
        };
        self.table.pairs(&self.ledger, cut, take).unwrap();
        pairs.sort();
        pairs
    }

    pub fn pairs(&self) -> Vec<Pair> {
        self.pairs_to(Lsn(u64::MAX))
    }

    /// What stands in the ring.
    pub fn records(&self) -> Vec<Record> {
        let record = |lsn| Record::decode(&self.ledger.sequencer().record(Lsn(lsn))).unwrap();
        (1..=self.ledger.order().now().lsn.0).map(record).collect()
    }

    /// Every block is free or of one key, and the counts say how many there are of what; while no write is under way.
    pub fn must_be_whole(&self) {
        let blocks = self.table.blocks();
        let mut taken = vec![false; blocks.0.len()];
        let mut take = |first: Option<u32>, count: u32| {
            let mut next = first;
            for _ in 0..count {
                let block = next.expect("a chain is as long as it says");
                assert!(!std::mem::replace(&mut taken[block as usize], true), "block {block} is in two chains");
                next = blocks.0[block as usize].next.target();
            }
            next
        };
        let word = self.table.pool().header.free.load(Ordering::Acquire);
        let first = u32::try_from(word & u64::from(u32::MAX)).unwrap().checked_sub(1);
        assert_eq!(take(first, self.table.free_blocks()), None, "the free list is longer than it says");
        let counts = KvTable::counts(&self.ledger);
        let (mut keys, mut used) = (0, 0);
        for number in 0..self.table.bucket_count() {
            let bucket = self.table.lock(&self.ledger, number, || ()).unwrap();
            for found in bucket.keys() {
                take(Some(found.chain.first), found.chain.blocks);
                (keys, used) = (keys + 1, used + found.chain.blocks);
                assert!(found.entry.version <= bucket.lsn(), "{found:?}");
            }
        }
        assert_eq!((counts.keys, counts.blocks), (keys, used));
        assert_eq!(used + self.table.free_blocks(), u32::try_from(taken.len()).unwrap(), "blocks are lost");
        assert!(self.table.rows().iter().all(|row| row.stage() == RowStage::Idle));
    }
}

pub fn put<'a>(key: &'a [u8], value: &'a [u8]) -> KvWriteRequest<'a> {
    KvWriteRequest { kind: KvKind::Put, key, value, condition: Condition::Always }
}

pub fn delete(key: &[u8]) -> KvWriteRequest<'_> {
    KvWriteRequest { kind: KvKind::Delete, key, value: &[], condition: Condition::Always }
}

/// Asks with this request id, if any.
pub fn ask(teller: &mut KvTeller<'_>, write: &KvWriteRequest<'_>, request: Option<u8>) -> Result<Lsn, KvUndone> {
    let asker = KvAsker { principal: 5, request: request.map(|id| [id; 16]) };
    teller.carry_out(write, &asker, |_| Completion::UNATTENDED)
}

/// Bytes that differ from one place to the next.
pub fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| seed.wrapping_add(u8::try_from(at % 251).unwrap())).collect()
}

/// Runs `body` on a thread that ends: what that still holds then is inherited, as from a process that was killed.
pub fn die_after(body: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(body).join().unwrap());
}
