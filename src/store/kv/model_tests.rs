//! The table's own code under `loom`: a writer that dies at every point, beside another writer of its bucket and the master; and a walk
//! beside a writer. As in the ledger's models, a thread stands for a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::model::Builder;
use loom::thread;

use super::row::RowStage;
use super::{Counts, KvAsker, KvTable, KvTeller, KvUndone, KvWriteRequest, settle};
use crate::base::crash_point::CrashPoint;
use crate::base::vocab::{Cents, Condition, Lsn};
use crate::ipc::model::mortal;
use crate::store::journal::record::KvKind;
use crate::store::ledger::repair::{self, Settled};
use crate::store::ledger::{Completion, Shape, Table};

const KEY: &[u8] = b"key";
/// Keys may take so many blocks; there are two buckets.
const CAPACITY: u32 = 4;

struct Store {
    ledger: Table,
    table: KvTable,
    blocks: u32,
}

impl Store {
    fn new() -> Arc<Self> {
        let shape = Shape {
            accounts: 1,
            initial_balance: Cents(0),
            ring: 0,
            key_window: 1,
            replies_wait: false,
            replicated: false,
            key_values: true,
        };
        let ledger = Table::create(["accounts", "intents", "journal", "keys", "key-index"], 1, &shape).unwrap();
        let table = KvTable::create(["kv-index", "kv-blocks", "kv-rows"], 1, CAPACITY).unwrap();
        let blocks = table.free_blocks();
        Arc::new(Store { ledger, table, blocks })
    }

    fn write(&self, row: usize, kind: KvKind, value: &[u8]) -> Result<Lsn, KvUndone> {
        self.write_to(row, kind, KEY, value)
    }

    fn write_to(&self, row: usize, kind: KvKind, key: &[u8], value: &[u8]) -> Result<Lsn, KvUndone> {
        let write = KvWriteRequest { kind, key, value, condition: Condition::Always };
        let asker = KvAsker { principal: 0, request: None };
        KvTeller::new(&self.ledger, &self.table, row, || ()).carry_out(&write, &asker, |_| Completion::UNATTENDED)
    }

    fn put(&self, row: usize, value: &[u8]) -> Lsn {
        self.write(row, KvKind::Put, value).unwrap()
    }

    /// A key that is in another bucket than [`KEY`].
    fn elsewhere(&self) -> [u8; 1] {
        let bucket = |key: &[u8]| self.table.home(key).bucket;
        [(0..=u8::MAX).find(|&key| bucket(&[key]) != bucket(KEY)).unwrap()]
    }

    /// Version and value of the key.
    fn get(&self) -> Option<(Lsn, Vec<u8>)> {
        self.get_of(KEY)
    }

    fn get_of(&self, key: &[u8]) -> Option<(Lsn, Vec<u8>)> {
        let mut bytes = Vec::new();
        let version = KvTeller::new(&self.ledger, &self.table, 2, || ()).get(key, &mut bytes)?;
        Some((version, bytes.split_off(key.len())))
    }

    /// What the master does once it has collected worker 0.
    fn bury(&self) -> Settled {
        loop {
            match settle(&self.table, &self.ledger, 0).and_then(|()| repair::settle(&self.ledger, 0)) {
                Ok(settled) => return settled,
                Err(_) => thread::yield_now(),
            }
        }
    }

    fn must_be_whole(&self) {
        let elsewhere = self.elsewhere();
        let blocks = [KEY, &elsewhere].into_iter().filter(|key| self.get_of(key).is_some()).count();
        let blocks = u32::try_from(blocks).unwrap();
        assert_eq!(KvTable::counts(&self.ledger), Counts { keys: blocks, blocks });
        assert_eq!(self.table.free_blocks() + blocks, self.blocks, "no block is lost or there twice");
        assert!(self.table.rows().iter().all(|row| row.stage() == RowStage::Idle));
    }
}

/// Every execution of `body` with so many preemptions; how many there were.
fn check(preemptions: usize, body: impl Fn() + Sync + Send + 'static) -> usize {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    executions.load(Ordering::Relaxed)
}

/// The points of a put over a key at which its worker can die holding something, and whether it has happened then.
const POINTS: [(CrashPoint, bool); 19] = [
    (CrashPoint::KvLocked, false),
    (CrashPoint::KvAllocating, false),
    (CrashPoint::KvTaken, false),
    (CrashPoint::KvAllocated, false),
    (CrashPoint::KvFilled, false),
    (CrashPoint::KvPrepared, false),
    (CrashPoint::SequencerLocked, false),
    (CrashPoint::RecordWritten, false),
    (CrashPoint::Claimed, false),
    (CrashPoint::Committed, true),
    (CrashPoint::KeyKnown, true),
    (CrashPoint::Counted, true),
    (CrashPoint::KvSequenced, true),
    (CrashPoint::KvLinked, true),
    (CrashPoint::KvApplied, true),
    (CrashPoint::KvReleasing, true),
    (CrashPoint::KvGiven, true),
    (CrashPoint::KvReleased, true),
    (CrashPoint::KvIntentCleared, true),
];

/// Worker 0 is dead; worker 1 writes the same key while the master settles.
fn a_write_after_a_death(point: CrashPoint, happened: bool, kind: KvKind) {
    let store = Store::new();
    let old = store.put(1, b"old");
    let its = store.clone();
    let died = thread::spawn(move || mortal(point as u8, 1, || _ = its.put(0, b"its"))).join().unwrap();
    assert!(died, "{point:?} was not passed");
    let its = store.clone();
    let second = thread::spawn(move || its.write(1, kind, b"next").unwrap());
    store.bury();
    let lsn = second.join().unwrap();
    let before = if happened { old.0 + 2 } else { old.0 };
    assert_eq!(lsn, Lsn(before + 2), "each has its numbers");
    assert_eq!(store.get(), (kind == KvKind::Put).then(|| (lsn, b"next".to_vec())));
    store.must_be_whole();
}

#[test]
fn a_death_at_any_point_beside_another_writer_of_the_bucket_loses_nothing() {
    let mut executions = 0;
    for (point, happened) in POINTS {
        for kind in [KvKind::Put, KvKind::Delete] {
            executions += check(2, move || a_write_after_a_death(point, happened, kind));
        }
    }
    println!("{executions} executions");
    assert!(executions > 100);
}

/// Worker 1 is at it while worker 0 still lives, and dies; on the same bucket, or on another, where the list of blocks and the sequencer are
/// in common.
fn a_death_under_another_write(point: CrashPoint, happened: bool, same_bucket: bool) {
    let store = Store::new();
    let old = store.put(1, b"old");
    let key = if same_bucket { KEY.to_vec() } else { store.elsewhere().to_vec() };
    let [its, other_s] = [0; 2].map(|_| store.clone());
    let dying = thread::spawn(move || mortal(point as u8, 1, || _ = its.put(0, b"its")));
    let other = key.clone();
    let second = thread::spawn(move || other_s.write_to(1, KvKind::Put, &other, b"next").unwrap());
    assert!(dying.join().unwrap());
    store.bury();
    let lsn = second.join().unwrap();
    assert_eq!(store.ledger.order().now().lsn.0, old.0 + if happened { 4 } else { 2 });
    let next = Some((lsn, b"next".to_vec()));
    if same_bucket {
        // In whichever order they came.
        let its = Some((Lsn(old.0 + 4), b"its".to_vec()));
        let wanted = if lsn == Lsn(old.0 + 2) && happened { its } else { next };
        assert_eq!(store.get(), wanted, "{point:?}");
    } else {
        assert_eq!(store.get_of(&key), next, "{point:?}");
        let value = if happened { &b"its"[..] } else { b"old" };
        assert_eq!(store.get().unwrap().1, value, "{point:?}");
    }
    store.must_be_whole();
}

#[test]
fn nor_does_one_while_another_write_is_under_way() {
    let mut executions = 0;
    for (point, happened) in POINTS {
        for same_bucket in [true, false] {
            executions += check(2, move || a_death_under_another_write(point, happened, same_bucket));
        }
    }
    println!("{executions} executions");
    assert!(executions > 1000);
}

/// The master alone, with somebody who reads.
#[test]
fn who_reads_beside_the_master_s_repair_sees_all_of_it_or_nothing() {
    let mut executions = 0;
    for (point, happened) in POINTS {
        executions += check(2, move || {
            let store = Store::new();
            let old = store.put(1, b"old");
            let its = store.clone();
            assert!(thread::spawn(move || mortal(point as u8, 1, || _ = its.put(0, b"its"))).join().unwrap());
            let its = store.clone();
            let reader = thread::spawn(move || its.get());
            store.bury();
            let wanted = if happened { (Lsn(old.0 + 2), b"its".to_vec()) } else { (old, b"old".to_vec()) };
            assert_eq!(reader.join().unwrap().as_ref(), Some(&wanted), "{point:?}");
            assert_eq!(store.get(), Some(wanted));
            store.must_be_whole();
        });
    }
    println!("{executions} executions");
    assert!(executions > 100);
}

#[test]
fn a_walk_finds_every_key_that_its_cut_includes() {
    let executions = check(3, || {
        let store = Store::new();
        let its = store.clone();
        let writer = thread::spawn(move || its.put(0, b"value"));
        let cut = store.ledger.order().now().lsn;
        let mut found = Vec::new();
        let take = |key: &[u8], version, value: &[u8]| {
            found.push((key.to_vec(), version, value.to_vec()));
            Ok::<(), ()>(())
        };
        store.table.pairs(&store.ledger, cut, take).unwrap();
        let lsn = writer.join().unwrap();
        let wanted = (cut >= lsn).then(|| (KEY.to_vec(), lsn, b"value".to_vec()));
        assert_eq!(found, wanted.into_iter().collect::<Vec<_>>(), "up to {cut}");
        store.must_be_whole();
    });
    println!("{executions} executions");
    assert!(executions > 10);
}
