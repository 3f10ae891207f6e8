//! A cache bounded in bytes: what was used longest ago makes room (least recently used, LRU). What is in use stays.
//!
//! Entries live in a slab and know their neighbours in the order of use by index, so every operation takes the same few steps
//! however many entries there are; `insert` takes them once more per entry that it evicts. An entry that is in use leaves the
//! order until its last user lets go, so looking for what to evict never has to pass over anything.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

use slab::Slab;

mod slab;

/// No neighbour.
const NONE: usize = usize::MAX;

/// The use of one entry, given back with [`Cache::release`]. It can be neither copied nor used twice; dropping one keeps its
/// entry for ever, which a debug build takes for the mistake that it is.
#[derive(Debug)]
#[must_use = "an entry stays in use until it is released"]
pub struct Hold {
    slot: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        debug_assert!(std::thread::panicking(), "the use of entry {} was not given back", self.slot);
    }
}

/// What does not fit: it is larger than the bound, or than what the entries in use leave of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry of {cost} bytes does not fit into {room} bytes")]
pub struct Refused<V> {
    /// The value, given back.
    pub value: V,
    /// Bytes that it would have cost.
    pub cost: u64,
    /// Bytes that there could have been, had everything been evicted that can be.
    pub room: u64,
}

/// How it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times that [`Cache::acquire`] found something.
    pub hits: u64,
    /// Times that it did not.
    pub misses: u64,
    /// Entries that made room for others.
    pub evictions: u64,
    /// Bytes that all entries cost now, those among them that were replaced and are still in use.
    pub bytes: u64,
    /// Keys that are known now.
    pub entries: usize,
}

struct Entry<K, V> {
    key: K,
    value: V,
    cost: u64,
    users: u32,
    /// Whether the map knows it; false once it was removed while in use.
    mapped: bool,
    /// The neighbour that was used later. Meaningless while in use, like `older`.
    newer: usize,
    /// The neighbour that was used earlier.
    older: usize,
}

/// The cache. `K` is cloned once per entry, so it should be cheap to clone, such as an `Rc<[u8]>`.
pub struct Cache<K, V> {
    slab: Slab<Entry<K, V>>,
    map: HashMap<K, usize>,
    newest: usize,
    oldest: usize,
    bound: u64,
    /// Bytes of the entries in use.
    held: u64,
    counters: Counters,
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    /// Bytes that an entry costs beside what its key and value refer to: its place in the slab and in the map. Both grow by
    /// doubling, so that half of them may be empty; the map's is never more than 7/8 full, and has a byte of its own per place.
    pub const OVERHEAD: u64 = (2 * Slab::<Entry<K, V>>::PLACE_BYTES + 3 * (size_of::<(K, usize)>() + 1)) as u64;

    /// An empty cache, of at most `bound` bytes.
    #[must_use]
    pub fn new(bound: u64) -> Cache<K, V> {
        Cache {
            slab: Slab::default(),
            map: HashMap::new(),
            newest: NONE,
            oldest: NONE,
            bound,
            held: 0,
            counters: Counters::default(),
        }
    }

    /// Puts a value in, as the one used last, in place of whatever the key stood for; that is gone also if the value is
    /// refused. `bytes` is what key and value refer to; the entry costs [`Cache::OVERHEAD`] more.
    ///
    /// # Errors
    /// [`Refused`], with the value; then nothing was evicted.
    pub fn insert(&mut self, key: K, value: V, bytes: u64) -> Result<(), Refused<V>> {
        self.insert_held(key, value, bytes).map(|hold| self.release(hold))
    }

    /// The same, for who uses it right away.
    ///
    /// # Errors
    /// As [`Cache::insert`].
    pub fn insert_held(&mut self, key: K, value: V, bytes: u64) -> Result<Hold, Refused<V>> {
        self.remove(&key);
        let cost = bytes.saturating_add(Self::OVERHEAD);
        let room = self.bound - self.held;
        if cost > room {
            return Err(Refused { value, cost, room });
        }
        while cost > self.bound - self.counters.bytes {
            self.evict_oldest();
        }
        self.counters.bytes += cost;
        self.held += cost;
        let entry = Entry { key: key.clone(), value, cost, users: 1, mapped: true, newer: NONE, older: NONE };
        let slot = self.slab.insert(entry);
        self.map.insert(key, slot);
        Ok(Hold { slot })
    }

    /// Finds a value and keeps it from being evicted until it is released.
    pub fn acquire<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<Hold>
    where
        K: Borrow<Q>,
    {
        let Some(&slot) = self.map.get(key) else {
            self.counters.misses += 1;
            return None;
        };
        self.counters.hits += 1;
        let entry = &mut self.slab[slot];
        entry.users += 1;
        if entry.users == 1 {
            self.held += entry.cost;
            self.unlink(slot);
        }
        Some(Hold { slot })
    }

    /// Lets go of a value. When its last user does, it is the one used last; if it was removed meanwhile, it is gone.
    ///
    /// # Panics
    /// May panic when `hold` is of another cache.
    pub fn release(&mut self, hold: Hold) {
        let slot = hold.slot;
        mem::forget(hold);
        let entry = &mut self.slab[slot];
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        self.held -= entry.cost;
        if entry.mapped {
            self.link_newest(slot);
        } else {
            self.counters.bytes -= self.slab.remove(slot).cost;
        }
    }

    /// The value that is held.
    ///
    /// # Panics
    /// May panic when `hold` is of another cache.
    #[must_use]
    pub fn get(&self, hold: &Hold) -> &V {
        &self.slab[hold.slot].value
    }

    /// Forgets a key; whether it was known. Who uses its value goes on using it, and until then its bytes count.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let Some(slot) = self.map.remove(key) else { return false };
        if self.slab[slot].users > 0 {
            self.slab[slot].mapped = false;
        } else {
            self.unlink(slot);
            self.counters.bytes -= self.slab.remove(slot).cost;
        }
        true
    }

    /// How it goes.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { entries: self.map.len(), ..self.counters }
    }

    /// Makes room. There is an oldest entry whenever what is in use leaves too little: who calls has made sure of that.
    fn evict_oldest(&mut self) {
        let slot = self.oldest;
        self.unlink(slot);
        let entry = self.slab.remove(slot);
        self.map.remove(&entry.key);
        self.counters.bytes -= entry.cost;
        self.counters.evictions += 1;
    }

    fn unlink(&mut self, slot: usize) {
        let Entry { newer, older, .. } = self.slab[slot];
        match newer {
            NONE => self.newest = older,
            newer => self.slab[newer].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slab[older].newer = newer,
        }
    }

    fn link_newest(&mut self, slot: usize) {
        let older = mem::replace(&mut self.newest, slot);
        let entry = &mut self.slab[slot];
        (entry.newer, entry.older) = (NONE, older);
        match older {
            NONE => self.oldest = slot,
            older => self.slab[older].newer = slot,
        }
    }
}

#[cfg(test)]
mod tests;
