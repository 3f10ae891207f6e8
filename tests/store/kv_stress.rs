//! Processes that write, read, delete and scan the same few keys, and are killed at any instruction, one after the other.
//!
//! The test itself is the journal: it takes all records out of the ring, and what they say must be what the table has in the end.
//! `VAULT_TEST_KILLS` says how many are killed, `VAULT_TEST_SEED` with which random numbers.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use bank_vault::base::vocab::{Condition, Lsn, OnDisk};
use bank_vault::store::journal::record::{KvKind, blocks_of};
use bank_vault::store::journal::{Assembly, Record};
use bank_vault::store::kv::{KvAsker, KvWriteRequest, PageRequest};
use bank_vault::store::ledger::Completion;
use bank_vault::store::ledger::repair::Settled;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use crate::kv_deaths::Store;
use crate::ledger_deaths::{child, was_killed, xorshift};

const WORKERS: usize = 4;
const KEYS: u64 = 40;
/// So few that the table is full now and then.
const CAPACITY: u32 = 400;

/// Key number `number`; they have different lengths, and fall into few buckets' chains.
fn key(number: u64) -> Vec<u8> {
    let length = usize::try_from(1 + number * 6).unwrap();
    (0..length).map(|at| if at == 0 { u8::try_from(number).unwrap() } else { b'k' }).collect()
}

/// A value that tells whether it is whole and of this key: its seed, and bytes that follow from seed, length and key.
fn value(key: &[u8], seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed ^ (length as u64) << 32 ^ u64::from(key[0]) << 8 | 1;
    let mut value = seed.to_le_bytes().to_vec();
    while value.len() < length {
        value.extend(xorshift(&mut state).to_le_bytes());
    }
    value.truncate(length.max(8));
    value
}

fn must_be_whole(key: &[u8], found: &[u8]) {
    let seed = u64::from_le_bytes(found[..8].try_into().unwrap());
    assert!(found == value(key, seed, found.len()), "{} bytes of {} {:?}", found.len(), key.len(), &found[..8]);
}

/// Random writes, reads and walks, until it is killed; or its parent is gone.
fn work(store: &Store, row: usize, seed: u64) {
    let mut state = seed | 1;
    let mut teller = store.teller(row);
    let mut newest = BTreeMap::new();
    let parent = getppid();
    while getppid() == parent {
        let mut below = |n: u64| xorshift(&mut state) % n;
        let key = key(below(KEYS));
        let what = below(20);
        let length = match below(600) {
            0 => 65_536,
            1..100 => below(2_000),
            _ => below(300),
        };
        let condition = match below(4) {
            0 => Condition::IfAbsent,
            1 => Condition::IfVersion(newest.get(&key).map_or(1, |lsn: &Lsn| lsn.0)),
            _ => Condition::Always,
        };
        let request = (below(3) == 0).then(|| std::array::from_fn(|_| u8::try_from(below(256)).unwrap()));
        let asker = KvAsker { principal: 1, request };
        // Refusals are part of the game, and so is a full ring.
        let mut carry_out = |kind, value: &[u8]| {
            let write = KvWriteRequest { kind, key: &key, value, condition };
            let done = teller.carry_out(&write, &asker, |_| Completion::UNATTENDED);
            if let Ok(lsn) = done {
                assert!(request.is_some() || newest.insert(key.clone(), lsn).is_none_or(|before| before < lsn));
            }
        };
        match what {
            0..9 => carry_out(KvKind::Put, &value(&key, below(u64::MAX), usize::try_from(length).unwrap().max(8))),
            9..12 => carry_out(KvKind::Delete, &[]),
            12 if below(8) == 0 => look_at_all(store),
            _ => {
                let mut bytes = Vec::new();
                if let Some(version) = teller.get(&key, &mut bytes) {
                    assert_eq!(bytes[..key.len()], key);
                    must_be_whole(&key, &bytes[key.len()..]);
                    assert!(newest.insert(key, version).is_none_or(|before| before <= version), "versions go back");
                }
            }
        }
    }
}

fn look_at_all(store: &Store) {
    for (key, (_, value)) in store.pairs() {
        must_be_whole(&key, &value);
    }
    let page = store.table.page(&store.ledger, &PageRequest { from: vec![3], prefix: vec![], limit: 20 });
    assert!(page.entries.is_sorted_by(|one, next| one.key < next.key) && page.entries.len() <= 20);
    assert!(page.entries.iter().all(|entry| entry.key[0] >= 3 && entry.version <= page.shows));
}

/// What the records say.
#[derive(Default)]
struct Journal {
    pairs: BTreeMap<Vec<u8>, (Lsn, Vec<u8>)>,
    assembly: Assembly,
    blocks: u32,
    taken: u64,
    writes: u64,
}

impl Journal {
    /// Takes what has come out of the ring.
    fn keep_up(&mut self, store: &Store) {
        let last = store.ledger.order().now().lsn;
        while self.taken < last.0 {
            self.taken += 1;
            let record = Record::decode(&store.ledger.sequencer().record(Lsn(self.taken))).unwrap();
            let Some(write) = self.assembly.take(&record).unwrap() else { continue };
            let (head, key) = (write.head, write.key().to_vec());
            self.writes += 1;
            if !head.is_done() {
                continue;
            }
            let before = match head.kind {
                KvKind::Put => self.pairs.insert(key, (head.version(), write.value().to_vec())),
                KvKind::Delete => self.pairs.remove(&key),
            };
            assert_eq!(head.previous, before.as_ref().map_or(Lsn(0), |(version, _)| *version), "record {}", self.taken);
            let blocks = |value: &[u8]| blocks_of(write.key().len(), value.len());
            self.blocks -= before.as_ref().map_or(0, |(_, value)| blocks(value));
            self.blocks += if head.kind == KvKind::Put { blocks(write.value()) } else { 0 };
            assert_eq!((head.keys as usize, head.blocks), (self.pairs.len(), self.blocks), "record {}", self.taken);
            assert!(self.blocks <= CAPACITY);
        }
        assert_eq!(self.assembly.open(), None, "the order is at the end of an operation");
        store.ledger.sequencer().set_on_disk_alone(OnDisk(last), Lsn(u64::MAX));
    }
}

#[test]
fn random_deaths_lose_no_write_and_no_block_and_mix_no_value() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = number("VAULT_TEST_KILLS").unwrap_or(60);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()));
    let seed = number("VAULT_TEST_SEED").unwrap_or(clock);
    println!("VAULT_TEST_SEED={seed}");
    let mut state = seed | 1;
    let store = Store::new(CAPACITY, 4096, false);
    let start = |row: usize, seed: u64| {
        child(|| {
            // A panic must not get into the test's own threads, which are not here.
            let failed = catch_unwind(AssertUnwindSafe(|| work(&store, row, seed))).is_err();
            if failed {
                std::process::abort();
            }
        })
    };
    let mut pids: Vec<Pid> = (0..WORKERS).map(|row| start(row, xorshift(&mut state))).collect();
    let mut journal = Journal::default();
    let mut finished = 0;
    for round in 0..kills {
        let row = usize::try_from(xorshift(&mut state) % WORKERS as u64).unwrap();
        let wait_for = store.ledger.order().now().lsn.0 + xorshift(&mut state) % 1_000;
        while store.ledger.order().now().lsn.0 < wait_for {
            journal.keep_up(&store);
        }
        kill(pids[row], Signal::SIGKILL).unwrap();
        assert!(was_killed(pids[row]));
        finished += u64::from(matches!(store.settle(row), Settled::Finished { .. }));
        pids[row] = start(row, xorshift(&mut state));
        if round % 20 == 0 {
            look_at_all(&store);
        }
    }
    for (row, &pid) in pids.iter().enumerate() {
        kill(pid, Signal::SIGKILL).unwrap();
        assert!(was_killed(pid));
        store.settle(row);
    }
    journal.keep_up(&store);
    assert!(store.pairs() == journal.pairs, "the table has what the records say");
    store.must_be_whole("in the end");
    println!("{} writes, {} records, {finished} of {kills} kills within one", journal.writes, journal.taken);
}
