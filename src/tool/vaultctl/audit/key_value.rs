//! The key-value store, computed again from keys and values alone: what each write must say, by all writes before it.

use std::collections::hash_map::{DefaultHasher, Entry, HashMap};
use std::collections::{HashSet, VecDeque};
use std::hash::Hasher;

use super::ended::Ended;
use crate::base::limits::KEY_BYTES;
use crate::base::vocab::Lsn;
use crate::store::journal::record::{Fingerprint, KvHead, KvKind, blocks_of};
use crate::store::journal::snapshot::Snapshot;
use crate::store::journal::{Assembly, KvWrite, Record, hexadecimal};
use crate::tool::vaultctl::writes::printable;

/// What a key has: its version, and of its value as much as tells it from others. Values themselves are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    version: Lsn,
    value_bytes: u32,
    value_hash: u64,
}

impl Held {
    fn of(version: Lsn, value: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(value);
        let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        Held { version, value_bytes, value_hash: hasher.finish() }
    }

    fn blocks(self, key: &[u8]) -> u64 {
        u64::from(blocks_of(key.len(), self.value_bytes as usize))
    }
}

/// The keys by the records so far.
pub(super) struct ReferenceStore {
    held: HashMap<Vec<u8>, Held>,
    blocks: u64,
    /// The record after which it begins.
    base: Lsn,
    /// The snapshot that it begins with lacks keys that were changed up to this record.
    settled: Lsn,
    writes: Assembly,
    requests: Requests,
}

impl ReferenceStore {
    /// Begins with the snapshot `base`, or with no keys.
    pub(super) fn begin(base: Option<&Snapshot>, key_window: u64) -> Result<Self, Ended> {
        let mut store = ReferenceStore {
            held: HashMap::new(),
            blocks: 0,
            base: base.map_or(Lsn(0), |snapshot| snapshot.header.lsn),
            settled: base.map_or(Lsn(0), |snapshot| snapshot.newest),
            writes: Assembly::default(),
            requests: Requests { window: key_window, known: HashMap::new(), ages: VecDeque::new() },
        };
        if let Some(snapshot) = base {
            let mut twice = None;
            let read = snapshot.pairs(|key, version, value| {
                let held = Held::of(version, value);
                store.blocks += held.blocks(key);
                if store.held.insert(key.to_vec(), held).is_some() {
                    twice = Some(told(key));
                }
            })?;
            read.map_err(Ended::wrong)?;
            if let Some(key) = twice {
                return Err(Ended::wrong(format!("{} has key {key} twice", snapshot.path().display())));
            }
        }
        Ok(store)
    }

    /// How many keys there are, and the blocks that they take.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.held.len() as u64, self.blocks)
    }

    /// Takes in the next record; the write that is whole with it, if it is behind where this began.
    pub(super) fn take(&mut self, record: &Record) -> Result<Option<KvWrite>, Ended> {
        let Some(write) = self.writes.take(record).map_err(|wrong| Ended::wrong(wrong.to_string()))? else {
            return Ok(None);
        };
        // What is wrong is said of its head.
        let head = write.head.lsn;
        self.requests.take(&write.head).map_err(|ended| ended.of(head))?;
        if write.head.version() <= self.base {
            return Ok(None);
        }
        if write.head.is_done() {
            self.take_done(&write).map_err(|ended| ended.of(head))?;
        }
        self.check_counts(&write.head).map_err(|ended| ended.of(head))?;
        Ok(Some(write))
    }

    /// That the verdict follows from version and condition, the record itself shows.
    fn take_done(&mut self, write: &KvWrite) -> Result<(), Ended> {
        let (head, key) = (&write.head, write.key());
        let before = self.held.get(key).copied();
        let was = before.map_or(Lsn(0), |held| held.version);
        // A key that the snapshot lacks, since it was changed while that was made: by this write.
        let is_lacking = before.is_none() && head.version() <= self.settled && head.previous <= self.base;
        if head.previous != was && !is_lacking {
            let says = format!("it says that key {} had version {} before", told(key), head.previous);
            return Err(Ended::wrong(format!("{says}; by the journal it had {was}")));
        }
        self.blocks -= before.map_or(0, |held| held.blocks(key));
        match head.kind {
            KvKind::Delete => _ = self.held.remove(key),
            KvKind::Put => {
                let held = Held::of(head.version(), write.value());
                self.blocks += held.blocks(key);
                self.held.insert(key.to_vec(), held);
            }
        }
        Ok(())
    }

    fn check_counts(&self, head: &KvHead) -> Result<(), Ended> {
        let (keys, blocks) = self.counts();
        if head.version() < self.settled || (u64::from(head.keys), u64::from(head.blocks)) == (keys, blocks) {
            return Ok(());
        }
        let says = format!("it says that there were {} keys in {} blocks afterwards", head.keys, head.blocks);
        Err(Ended::wrong(format!("{says}; by the journal there were {keys} in {blocks}")))
    }

    /// Compares a snapshot whose cut is here; the keys that it lacks, which must be changed up to its newest record.
    pub(super) fn compare(&self, snapshot: &Snapshot) -> Result<HashSet<Vec<u8>>, Ended> {
        let (mut lacking, mut wrong) = (self.held.keys().cloned().collect::<HashSet<_>>(), None);
        let _read = snapshot.pairs(|key, version, value| {
            let (says, was) = (Held::of(version, value), self.held.get(key));
            let is_first = lacking.remove(key);
            if wrong.is_none() && !(is_first && was == Some(&says)) {
                wrong = Some(difference(key, says, was, is_first));
            }
        })?;
        match wrong {
            None => Ok(lacking),
            Some(what) => Err(Ended::wrong(format!("{} {what}", snapshot.path().display()))),
        }
    }
}

/// What a snapshot says of a key, and should not.
fn difference(key: &[u8], says: Held, was: Option<&Held>, is_first: bool) -> String {
    let key = told(key);
    match was {
        Some(was) if was.version != says.version => {
            format!("says that key {key} had version {}; by the journal it had {}", says.version, was.version)
        }
        Some(was) if was != &says => format!("has another value of key {key} than version {} had", was.version),
        Some(_) if !is_first => format!("has key {key} twice"),
        _ => format!("has key {key} with version {}; by the journal it was not there", says.version),
    }
}

/// A key as people see it.
pub(super) fn told(key: &[u8]) -> String {
    match printable(key) {
        Some(text) => format!("\"{text}\""),
        None => hexadecimal(key),
    }
}

/// Whose request id it is, and the id.
type Owned = (u32, [u8; KEY_BYTES]);

/// The request ids of the last records.
struct Requests {
    window: u64,
    known: HashMap<Owned, (Lsn, Fingerprint)>,
    /// In order.
    ages: VecDeque<(Lsn, Owned)>,
}

impl Requests {
    /// Takes in a write; an error if its request id should have been known.
    fn take(&mut self, head: &KvHead) -> Result<(), Ended> {
        let Some(request) = head.request else { return Ok(()) };
        while let Some(&(_, owned)) = self.ages.front().filter(|(lsn, _)| head.lsn.0 - lsn.0 >= self.window) {
            self.ages.pop_front();
            self.known.remove(&owned);
        }
        let owned = (head.principal, request);
        match self.known.entry(owned) {
            Entry::Occupied(first) => {
                let &(earlier, asked) = first.get();
                let same = asked == head.fingerprint;
                let how = if same { "and so is its call: it was done twice" } else { "with another call" };
                Err(Ended::wrong(format!("its request id is that of record {earlier}, of the same user, {how}")))
            }
            Entry::Vacant(place) => {
                place.insert((head.lsn, head.fingerprint));
                self.ages.push_back((head.lsn, owned));
                Ok(())
            }
        }
    }
}
