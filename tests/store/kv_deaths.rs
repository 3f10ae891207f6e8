//! The key-value table under deaths: processes that share one table are killed at every named point, and at random ones.
//!
//! No server takes part: the children here are bare tellers and appliers, so that every combination is tried in a few seconds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bank_vault::base::crash_point::CrashPoint;
use bank_vault::base::vocab::{Condition, Lsn, OnDisk};
use bank_vault::ipc::segment::{Segment, unlink};
use bank_vault::store::journal::Record;
use bank_vault::store::journal::record::{KvKind, blocks_of};
use bank_vault::store::kv::row::RowStage;
use bank_vault::store::kv::{
    self, Counts, KvAsker, KvRefusal, KvTable, KvTeller, KvUndone, KvWriteRequest, LogApplier, PageRequest,
};
use bank_vault::store::ledger::repair::{self, Settled};
use bank_vault::store::ledger::table::REPLICA_ROW;
use bank_vault::store::ledger::{Completion, Table};

use crate::ledger_deaths::{arm, child, key_value_ledger, was_killed};

const CAPACITY: u32 = 1024;
const RING: u32 = 4096;
const KEY: &[u8] = b"the key";
const OLD: &[u8] = b"what it had before";
/// What a key has that nobody writes, and that is behind [`KEY`] in the same bucket.
const NEIGHBOUR: &[u8] = b"of the neighbour";

/// The table, the ledger beside it, and a progress word with the place where a reply shows its number.
pub struct Store {
    pub ledger: Table,
    pub table: KvTable,
    words: Segment<(), AtomicU64>,
    blocks: u32,
    /// A key in the bucket of [`KEY`].
    neighbour: Vec<u8>,
}

impl Store {
    pub fn new(capacity: u32, ring: u32, replicated: bool) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let unique = format!("/vault-test.{}.kv.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let names = ["n", "b", "r", "w"].map(|object| format!("{unique}.{object}"));
        let [index, blocks, rows, words] = names.each_ref().map(String::as_str);
        let table = KvTable::create([index, blocks, rows], 1, capacity).unwrap();
        let words = Segment::create(words, 1, 1, 2, |(), _| Ok(())).unwrap();
        names.iter().for_each(|name| unlink(name).unwrap());
        let blocks = table.free_blocks();
        let home = table.home(KEY).bucket;
        let mut names = (0_u32..).map(|number| number.to_le_bytes().to_vec());
        let neighbour = names.find(|name| table.home(name).bucket == home).unwrap();
        Store { ledger: key_value_ledger(ring, replicated), table, words, blocks, neighbour }
    }

    pub fn teller(&self, row: usize) -> KvTeller<'_> {
        KvTeller::new(&self.ledger, &self.table, row, || ())
    }

    fn ask(&self, row: usize, write: &KvWriteRequest<'_>, request: Option<u64>) -> Result<Lsn, KvUndone> {
        self.teller(row).carry_out(write, &asker(request), |_| Completion::UNATTENDED)
    }

    /// Takes all keys away, and makes room in the ring.
    fn clear(&self) {
        for key in self.pairs().keys() {
            self.keep_up();
            self.ask(0, &delete(key), None).unwrap();
        }
        self.keep_up();
        self.words.elements().iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Stands in for the journal process.
    fn keep_up(&self) {
        if self.ledger.sequencer().is_journaled() {
            self.ledger.sequencer().set_on_disk_alone(OnDisk(self.ledger.order().now().lsn), Lsn(u64::MAX));
        }
    }

    fn get(&self, key: &[u8]) -> Option<(Lsn, Vec<u8>)> {
        let mut bytes = Vec::new();
        let version = self.teller(7).get(key, &mut bytes)?;
        Some((version, bytes.split_off(key.len())))
    }

    pub fn pairs(&self) -> BTreeMap<Vec<u8>, (Lsn, Vec<u8>)> {
        let mut pairs = BTreeMap::new();
        let take = |key: &[u8], version, value: &[u8]| {
            assert_eq!(pairs.insert(key.to_vec(), (version, value.to_vec())), None, "a key is there twice");
            Ok::<(), ()>(())
        };
        self.table.pairs(&self.ledger, Lsn(u64::MAX), take).unwrap();
        pairs
    }

    /// What the master does once it has collected the process; it may have to come again while others are at the locks.
    pub fn settle(&self, row: usize) -> Settled {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let settled = kv::settle(&self.table, &self.ledger, row).and_then(|()| repair::settle(&self.ledger, row));
            match settled {
                Ok(settled) => return settled,
                Err(busy) => assert!(std::time::Instant::now() < deadline, "still {busy:?}"),
            }
        }
    }

    /// Every block is free or a key's, and the counts say so; while no write is under way.
    pub fn must_be_whole(&self, what: &str) {
        let pairs = self.pairs();
        let used = pairs.iter().map(|(key, (_, value))| blocks_of(key.len(), value.len())).sum();
        let keys = u32::try_from(pairs.len()).unwrap();
        assert_eq!(KvTable::counts(&self.ledger), Counts { keys, blocks: used }, "{what}: counts");
        assert_eq!(self.table.free_blocks() + used, self.blocks, "{what}: blocks are lost, or there twice");
        assert!(self.table.rows().iter().all(|row| row.stage() == RowStage::Idle), "{what}: all rows are idle");
    }

    /// Takes all blocks there are, and gives them back: none is in two places of the list.
    fn must_have_room_for_all(&self, what: &str) {
        let big = vec![7; 65_536];
        let mut left = CAPACITY - KvTable::counts(&self.ledger).blocks;
        for number in 0u8.. {
            let bytes = (left as usize * 248).saturating_sub(24 + 1).min(big.len());
            let put = put(std::slice::from_ref(&number), &big[..bytes]);
            self.keep_up();
            assert!(self.ask(2, &put, None).is_ok(), "{what}: {left} blocks are left");
            left -= blocks_of(1, bytes);
            if left == 0 {
                break;
            }
        }
        assert_eq!(KvTable::counts(&self.ledger).blocks, CAPACITY);
        self.must_be_whole(what);
    }
}

/// Somebody with this request id.
fn asker(request: Option<u64>) -> KvAsker {
    let id = |id: u64| u128::from(id).to_le_bytes();
    KvAsker { principal: 5, request: request.map(id) }
}

/// A request id that no other request has.
fn new_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(1);
    LAST.fetch_add(1, Ordering::Relaxed)
}

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> KvWriteRequest<'a> {
    KvWriteRequest { kind: KvKind::Put, key, value, condition: Condition::Always }
}

fn delete(key: &[u8]) -> KvWriteRequest<'_> {
    KvWriteRequest { kind: KvKind::Delete, key, value: &[], condition: Condition::Always }
}

/// What the process that dies is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    PutNew,
    PutOver,
    Delete,
    /// Of a put, which its condition forbids.
    Refusal,
}

impl Work {
    const ALL: [Work; 4] = [Work::PutNew, Work::PutOver, Work::Delete, Work::Refusal];

    fn write(self, value: &[u8]) -> KvWriteRequest<'_> {
        match self {
            Work::PutNew | Work::PutOver => put(KEY, value),
            Work::Delete => delete(KEY),
            Work::Refusal => KvWriteRequest { condition: Condition::IfAbsent, ..put(KEY, value) },
        }
    }

    /// What the key has where the work has happened, as number `lsn`; `before` is what it had.
    fn after(self, before: Option<(Lsn, Vec<u8>)>, lsn: Lsn, value: &[u8]) -> Option<(Lsn, Vec<u8>)> {
        match self {
            Work::PutNew | Work::PutOver => Some((lsn, value.to_vec())),
            Work::Delete => None,
            Work::Refusal => before,
        }
    }
}

/// Who comes to what a dead process left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heir {
    /// The master settles at once.
    Master,
    /// Another worker reads the key first, and writes another one, for which it needs all locks.
    Worker,
    /// Another worker writes over the same key first.
    Writer,
    /// Another worker does what `Worker` does, and dies of it, at this point.
    Dying(CrashPoint),
}

#[derive(Clone, Copy, Debug)]
struct Way {
    ring: u32,
    big: bool,
    keyed: bool,
}

/// The points that a write comes by, in that order.
const POINTS: [CrashPoint; 24] = [
    CrashPoint::KvLocked,
    CrashPoint::KvAllocating,
    CrashPoint::KvTaken,
    CrashPoint::KvAllocated,
    CrashPoint::KvFilled,
    CrashPoint::KvReplyWritten,
    CrashPoint::KvPrepared,
    CrashPoint::SequencerLocked,
    CrashPoint::RecordWritten,
    CrashPoint::ReplyNumbered,
    CrashPoint::Claimed,
    CrashPoint::Committed,
    CrashPoint::KeyKnown,
    CrashPoint::Counted,
    CrashPoint::KvSequenced,
    CrashPoint::KvStamped,
    CrashPoint::KvLinked,
    CrashPoint::KvApplied,
    CrashPoint::KvProgressMoved,
    CrashPoint::KvReleasing,
    CrashPoint::KvGiven,
    CrashPoint::KvReleased,
    CrashPoint::KvIntentCleared,
    CrashPoint::KvUnlocked,
];

const REPAIR_POINTS: [CrashPoint; 7] = [
    CrashPoint::KvRepairInherited,
    CrashPoint::KvStamped,
    CrashPoint::KvRepairLinked,
    CrashPoint::KvRepairApplied,
    CrashPoint::RepairWithdrawn,
    CrashPoint::RepairKeyKnown,
    CrashPoint::RepairCounted,
];

fn place(point: CrashPoint) -> usize {
    POINTS.iter().position(|&other| other == point).unwrap()
}

/// Whether the process died at `point`, rather than not coming by it.
fn one_death(store: &Store, way: Way, work: Work, point: CrashPoint, heir: Heir) -> bool {
    let what = format!("{work:?}, {way:?}, killed at {} and repaired by {heir:?}", point.name());
    store.clear();
    let value = vec![b'v'; if way.big { 65_536 } else { 10 }];
    let neighbour = store.ask(0, &put(&store.neighbour, NEIGHBOUR), None).unwrap();
    if work != Work::PutNew {
        store.ask(0, &put(KEY, OLD), None).unwrap();
    }
    store.ask(0, &put(b"other", &[9; 1000]), Some(new_id())).unwrap();
    let before = store.get(KEY);
    let known_before = before.as_ref().map_or(Lsn(0), |(version, _)| *version);
    let known = store.ledger.order().now().lsn;
    let write = work.write(&value);
    let request = (way.keyed || work == Work::Refusal).then(new_id);
    let [word, shown] = [0, 1].map(|at| &store.words.elements()[at]);
    let killed = was_killed(child(|| {
        arm(point);
        let number = |lsn: Lsn| shown.store(lsn.0, Ordering::Relaxed);
        store
            .teller(0)
            .carry_out(&write, &asker(request), |_| Completion::moving(3, word, 77).numbered_by(&number))
            .unwrap();
    }));
    let happened = !killed || place(point) >= place(CrashPoint::Committed);
    // As far as it is known before anybody repairs.
    let lsn = store.ledger.order().now().lsn;
    assert_eq!(lsn > known, happened, "{what}");
    let wanted = if happened { work.after(before.clone(), lsn, &value) } else { before };
    let wanted = come_first(store, heir, &what).or(wanted);
    let settled = store.settle(0);
    let in_flight =
        killed && (place(CrashPoint::KvPrepared)..place(CrashPoint::KvIntentCleared)).contains(&place(point));
    match settled {
        Settled::Idle => assert!(!in_flight, "{what}"),
        Settled::Dropped => assert!(in_flight && !happened, "{what}"),
        Settled::Finished { connection, progress, lsn: as_number } => {
            assert!(in_flight && happened, "{what}");
            assert_eq!((connection, progress, as_number), (3, 77, lsn), "{what}");
        }
    }
    let moved = word.load(Ordering::Relaxed) == 77 || matches!(settled, Settled::Finished { .. });
    assert_eq!(moved, happened, "{what}: the reply counts if it has happened");
    if happened {
        let number = if work == Work::Refusal { 0 } else { lsn.0 };
        assert_eq!(shown.load(Ordering::Relaxed), number, "{what}: the reply shows its number");
    }
    assert_eq!(store.settle(0), Settled::Idle, "{what}: settled once");
    assert_eq!(store.get(KEY), wanted, "{what}");
    assert_eq!(store.get(&store.neighbour), Some((neighbour, NEIGHBOUR.to_vec())), "{what}");
    store.must_be_whole(&what);
    if let Some(id) = request {
        let first = if work == Work::Refusal { Err(KvRefusal::Mismatch(known_before)) } else { Ok(()) };
        ask_again(store, &write, id, happened.then_some((lsn, first)), &what);
    }
    store.keep_up();
    let next = store.ask(0, &put(KEY, b"next"), None).unwrap();
    assert_eq!(store.get(KEY), Some((next, b"next".to_vec())), "{what}: its successor writes");
    store.must_be_whole(&what);
    if way.big && way.ring == 0 && work == Work::PutOver {
        store.must_have_room_for_all(&what);
    }
    killed
}

/// What others do before the master has settled the dead process; what the key has by that, if one has written it.
fn come_first(store: &Store, heir: Heir, what: &str) -> Option<(Lsn, Vec<u8>)> {
    let id = new_id();
    let look_and_write = || {
        store.get(KEY);
        store.ask(1, &put(b"elsewhere", &[3; 600]), Some(id)).unwrap();
    };
    match heir {
        Heir::Master => {}
        Heir::Worker => {
            assert!(!was_killed(child(look_and_write)), "{what}");
        }
        Heir::Writer => {
            assert!(!was_killed(child(|| _ = store.ask(1, &put(KEY, &[8; 300]), None).unwrap())), "{what}");
            return Some((store.ledger.order().now().lsn, vec![8; 300]));
        }
        Heir::Dying(second) => {
            was_killed(child(|| {
                arm(second);
                look_and_write();
            }));
            // Another one does after it, before the master has settled either; then the one that died later comes first.
            if second != CrashPoint::RepairCounted {
                store.get(KEY);
            }
            store.settle(1);
        }
    }
    None
}

/// The same request with the same id: done now if it had not happened, answered alike if it had; done once in any case.
fn ask_again(
    store: &Store,
    write: &KvWriteRequest<'_>,
    id: u64,
    first: Option<(Lsn, Result<(), KvRefusal>)>,
    what: &str,
) {
    let before = store.get(KEY);
    store.keep_up();
    let again = store.ask(0, write, Some(id));
    match first {
        Some((lsn, first)) => {
            assert_eq!(again, Err(KvUndone::Repeated { lsn, first }), "{what}: asked again");
            assert_eq!(store.get(KEY), before, "{what}: done once");
        }
        None => {
            let lsn = again.unwrap_or_else(|undone| panic!("{what}: asked again: {undone:?}"));
            let once_more = store.ask(1, write, Some(id));
            let told = matches!(once_more, Err(KvUndone::Repeated { lsn: first, .. }) if first == lsn);
            assert!(told, "{what}: asked once more: {once_more:?}");
        }
    }
    let other = KvWriteRequest { key: b"no such key", ..*write };
    assert_eq!(store.ask(0, &other, Some(id)), Err(KvUndone::Conflict), "{what}");
}

fn deaths_at_every_point(way: Way) {
    let store = Store::new(CAPACITY, way.ring, false);
    let mut deaths = 0;
    // Long values take long to compare: with them, some of the heirs.
    let (heirs, over, repairs): (&[Heir], &[Work], &[CrashPoint]) = if way.big {
        (&[Heir::Master, Heir::Worker], &[Work::PutOver], &[CrashPoint::KvRepairLinked])
    } else {
        (&[Heir::Master, Heir::Worker, Heir::Writer], &[Work::PutOver, Work::Delete], &REPAIR_POINTS)
    };
    for point in POINTS {
        for work in Work::ALL {
            for &heir in heirs {
                deaths += u32::from(one_death(&store, way, work, point, heir));
            }
        }
        for &work in over {
            for &second in repairs {
                deaths += u32::from(one_death(&store, way, work, point, Heir::Dying(second)));
            }
        }
    }
    // A put that displaces something comes by all points, one that does not by all but two, a delete and a refusal by some.
    let wanted = if way.big { 2 * (24 + 22 + 19 + 12) + 24 } else { 3 * (24 + 22 + 19 + 12) + 7 * (24 + 19) };
    assert_eq!(deaths, wanted, "everybody died who should");
}

#[test]
fn a_death_at_any_point_leaves_a_write_or_nothing() {
    deaths_at_every_point(Way { ring: 0, big: false, keyed: false });
}

#[test]
fn a_death_at_any_point_leaves_a_write_or_nothing_in_the_journal() {
    deaths_at_every_point(Way { ring: RING, big: false, keyed: true });
}

#[test]
fn a_death_at_any_point_leaves_a_long_value_or_nothing() {
    deaths_at_every_point(Way { ring: 0, big: true, keyed: true });
}

#[test]
fn a_death_at_any_point_leaves_a_long_value_or_nothing_in_the_journal() {
    deaths_at_every_point(Way { ring: RING, big: true, keyed: false });
}

/// The master dies while it gives back what a dead process had: the next one goes on. Another process may come to the list in between.
#[test]
fn a_death_of_who_settles_is_settled_by_the_next() {
    let store = Store::new(CAPACITY, RING, false);
    for work in [Work::PutNew, Work::PutOver, Work::Delete] {
        for point in [CrashPoint::KvFilled, CrashPoint::KvPrepared, CrashPoint::Committed, CrashPoint::KvSequenced] {
            let seconds = REPAIR_POINTS.into_iter().chain([CrashPoint::KvReleasing, CrashPoint::KvGiven]);
            for (second, other_first) in seconds.flat_map(|second| [(second, false), (second, true)]) {
                let what = format!("{work:?} killed at {}, settled to {}", point.name(), second.name());
                store.clear();
                let old = (work != Work::PutNew).then(|| (store.ask(0, &put(KEY, OLD), None).unwrap(), OLD.to_vec()));
                let killed = was_killed(child(|| {
                    arm(point);
                    store.ask(0, &work.write(b"new"), None).unwrap();
                }));
                let lsn = store.ledger.order().now().lsn;
                was_killed(child(|| {
                    arm(second);
                    store.settle(0);
                }));
                if other_first {
                    store.ask(1, &put(b"elsewhere", b""), None).unwrap();
                }
                store.settle(0);
                let happened = !killed || place(point) >= place(CrashPoint::Committed);
                let wanted = if happened { work.after(old.clone(), lsn, b"new") } else { old };
                assert_eq!(store.get(KEY), wanted, "{what}");
                store.must_be_whole(&what);
            }
        }
    }
}

/// The first one has counted and is not settled; after another write a second one dies at the sequencer. What that has counted since stays.
#[test]
fn who_inherits_the_sequencer_takes_no_count_from_an_older_write() {
    for ring in [0, RING] {
        for rows in [[0, 1], [1, 0]] {
            let store = Store::new(CAPACITY, ring, false);
            let die = |row, point, key: &[u8]| {
                assert!(was_killed(child(|| {
                    arm(point);
                    store.ask(row, &put(key, &[1; 1000]), None).unwrap();
                })));
            };
            die(rows[0], CrashPoint::KvSequenced, KEY);
            store.ask(2, &put(b"in between", b"v"), None).unwrap();
            let counts = KvTable::counts(&store.ledger);
            die(rows[1], CrashPoint::SequencerLocked, b"not done");
            store.settle(rows[1]);
            assert_eq!(KvTable::counts(&store.ledger), counts);
            store.settle(rows[0]);
            assert_eq!(store.pairs().len(), 2);
            store.must_be_whole("settled");
        }
    }
}

/// A scan and a snapshot see a write that has its number, whether or not its bucket leads there.
#[test]
fn a_write_that_has_its_number_is_seen_by_every_walk() {
    for point in [CrashPoint::Committed, CrashPoint::KvSequenced, CrashPoint::KvLinked] {
        let store = Store::new(CAPACITY, RING, false);
        assert!(was_killed(child(|| {
            arm(point);
            store.ask(0, &put(KEY, b"v"), None).unwrap();
        })));
        let request = PageRequest { from: Vec::new(), prefix: Vec::new(), limit: 3 };
        assert_eq!(store.table.page(&store.ledger, &request).entries.len(), 1, "{}", point.name());
        assert_eq!(store.pairs().len(), 1);
    }
}

fn follower() -> Store {
    let store = Store::new(CAPACITY, 64, true);
    store.ledger.sequencer().set_on_disk(OnDisk(Lsn(0)), Lsn(100_000));
    store
}

/// Applies what the order has not reached.
fn go_on(store: &Store, records: &[Record]) {
    let mut applier = LogApplier::new(&store.ledger, Some(&store.table), || ());
    let reached = store.ledger.order().now().lsn;
    records.iter().filter(|record| record.lsn() > reached).for_each(|record| applier.apply(record).unwrap());
}

/// The records of `primary` that `follower` has not applied.
fn next_records(primary: &Store, follower: &Store) -> Vec<Record> {
    let [applied, last] = [follower, primary].map(|store| store.ledger.order().now().lsn.0);
    (applied + 1..=last).map(|lsn| Record::decode(&primary.ledger.sequencer().record(Lsn(lsn))).unwrap()).collect()
}

#[test]
fn whoever_comes_after_a_dead_applier_ends_with_the_same_table() {
    let (primary, follower) = (Store::new(CAPACITY, RING, false), follower());
    let long = vec![6; 65_536];
    let absent = KvWriteRequest { condition: Condition::IfAbsent, ..put(KEY, b"") };
    let mut deaths = 0;
    for point in POINTS {
        for (number, repairer) in [None, Some(None), Some(Some(CrashPoint::KvRepairLinked))].into_iter().enumerate() {
            let long = if number == 0 { &long[..] } else { &long[..1000] };
            let writes = [put(KEY, OLD), put(b"other", b"o"), put(KEY, long), absent, put(KEY, b"short")];
            for write in writes.into_iter().chain([delete(b"nowhere"), delete(KEY), put(KEY, b"again")]) {
                let what = format!("{} and {repairer:?} at {} {}", point.name(), write.kind.name(), write.value.len());
                primary.keep_up();
                primary.ask(0, &write, Some(new_id())).unwrap();
                let records = next_records(&primary, &follower);
                deaths += u32::from(was_killed(child(|| {
                    arm(point);
                    go_on(&follower, &records);
                })));
                if let Some(Some(second)) = repairer {
                    was_killed(child(|| {
                        arm(second);
                        follower.get(KEY);
                    }));
                }
                if repairer.is_some() {
                    // Somebody who reads comes to the bucket before the master does.
                    follower.get(KEY);
                }
                follower.settle(REPLICA_ROW);
                go_on(&follower, &next_records(&primary, &follower));
                assert_eq!(follower.pairs(), primary.pairs(), "{what}");
                let [here, there] = [&follower, &primary].map(|store| &store.ledger);
                assert_eq!(KvTable::counts(here), KvTable::counts(there), "{what}");
                assert_eq!(here.sequencer().keys().known(), there.sequencer().keys().known(), "{what}");
                follower.must_be_whole(&what);
            }
        }
    }
    // It writes no reply, so a put over a key has 21 points, one of a new key two less, a delete 16, a refusal 6.
    assert_eq!(deaths, 3 * (4 * 21 + 19 + 16 + 2 * 6), "everybody died who should");
}
