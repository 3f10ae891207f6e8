//! A cache bounded in bytes. It evicts the least recently used entry (LRU), and never one that is in use.
//!
//! Entries live in a slab and are linked in the order of their use by index. Therefore every operation takes the same few steps
//! however many entries there are, and `insert` takes them once more per entry that it evicts. An entry that is in use is
//! unlinked until it is released, so the entry to evict is always the last one of the list.
//!
//! It is our own because the crate `lru` bounds a number of entries and not of bytes, and evicts entries that are in use.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

use slab::Slab;

/// No neighbour.
const NONE: usize = usize::MAX;

/// A reference to an entry, which is to be released with [`Cache::release`]. It cannot be copied. An entry whose handle is dropped
/// stays in the cache for ever, so in a debug build that is a panic.
#[derive(Debug)]
#[must_use = "an entry stays in use until it is released"]
pub struct CacheHandle {
    slot: usize,
}

impl Drop for CacheHandle {
    fn drop(&mut self) {
        debug_assert!(std::thread::panicking(), "entry {} was not released", self.slot);
    }
}

/// What the cache counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries that were evicted.
    pub evictions: u64,
    /// Bytes that all entries cost now, also those that were replaced and are still in use.
    pub bytes: u64,
    /// Keys in the cache now.
    pub entries: usize,
}

struct Entry<K, V> {
    key: K,
    value: V,
    cost: u64,
    users: u32,
    /// Whether it is in the map; false after it was removed while in use.
    mapped: bool,
    /// The neighbour that was used later. It is meaningless while the entry is in use, like `older`.
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
    in_use: u64,
    counters: Counters,
    /// Entries that were looked at, for the test that it is always the same few.
    #[cfg(test)]
    steps: u64,
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    /// Bytes that an entry costs beside what its key and value refer to: its place in the slab, which has a discriminant, and in the
    /// map, which has a byte of control. Both grow by doubling, so that half of them may be empty; the map is at most 7/8 full.
    pub const OVERHEAD: u64 = (2 * Self::SLAB_PLACE + 3 * (size_of::<(K, usize)>() + 1)) as u64;
    const SLAB_PLACE: usize = size_of::<Entry<K, V>>() + size_of::<usize>();

    /// An empty cache, of at most `bound` bytes.
    #[must_use]
    pub fn new(bound: u64) -> Cache<K, V> {
        Cache {
            slab: Slab::new(),
            map: HashMap::new(),
            newest: NONE,
            oldest: NONE,
            bound,
            in_use: 0,
            counters: Counters::default(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Inserts a value as the one used last. It replaces the value of the key, which is removed also if the new one does not fit.
    /// `bytes` is what key and value refer to; the entry costs [`Cache::OVERHEAD`] more.
    ///
    /// Returns whether it fits. It does not if it is larger than the bound, or than what the entries in use leave of it; then
    /// nothing is evicted.
    pub fn insert(&mut self, key: K, value: V, bytes: u64) -> bool {
        self.insert_acquired(key, value, bytes).map(|handle| self.release(handle)).is_some()
    }

    /// The same, and the entry is in use.
    fn insert_acquired(&mut self, key: K, value: V, bytes: u64) -> Option<CacheHandle> {
        self.remove(&key);
        let cost = bytes.saturating_add(Self::OVERHEAD);
        if cost > self.bound - self.in_use {
            return None;
        }
        while cost > self.bound - self.counters.bytes {
            self.evict_oldest();
        }
        self.counters.bytes += cost;
        self.in_use += cost;
        let entry = Entry { key: key.clone(), value, cost, users: 1, mapped: true, newer: NONE, older: NONE };
        let slot = self.slab.insert(entry);
        self.map.insert(key, slot);
        Some(CacheHandle { slot })
    }

    /// Looks a value up. Its entry is in use, and not evicted, until it is released.
    pub fn acquire<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<CacheHandle>
    where
        K: Borrow<Q>,
    {
        let slot = *self.map.get(key)?;
        let entry = self.entry(slot);
        entry.users += 1;
        let Entry { users, cost, .. } = *entry;
        if users == 1 {
            self.in_use += cost;
            self.unlink(slot);
        }
        Some(CacheHandle { slot })
    }

    /// Releases an entry. When the last handle is released, it becomes the entry used last, or is dropped if it was removed meanwhile.
    ///
    /// # Panics
    /// May panic if the handle is of another cache.
    pub fn release(&mut self, handle: CacheHandle) {
        let slot = handle.slot;
        mem::forget(handle);
        let entry = self.entry(slot);
        entry.users -= 1;
        let Entry { users, cost, mapped, .. } = *entry;
        if users > 0 {
            return;
        }
        self.in_use -= cost;
        if mapped {
            self.link_newest(slot);
        } else {
            self.counters.bytes -= self.slab.remove(slot).cost;
        }
    }

    /// The value of an entry in use.
    ///
    /// # Panics
    /// May panic if the handle is of another cache.
    #[must_use]
    pub fn get(&self, handle: &CacheHandle) -> &V {
        &self.slab[handle.slot].value
    }

    /// Removes a key; returns whether it was there. An entry in use stays until it is released, and its bytes count until then.
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

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { entries: self.map.len(), ..self.counters }
    }

    /// Evicts the entry used longest ago. There is one: the caller has checked that the entries in use leave enough room.
    fn evict_oldest(&mut self) {
        let slot = self.oldest;
        self.unlink(slot);
        let entry = self.slab.remove(slot);
        self.map.remove(&entry.key);
        self.counters.bytes -= entry.cost;
        self.counters.evictions += 1;
    }

    fn entry(&mut self, slot: usize) -> &mut Entry<K, V> {
        #[cfg(test)]
        {
            self.steps += 1;
        }
        &mut self.slab[slot]
    }

    fn unlink(&mut self, slot: usize) {
        let &mut Entry { newer, older, .. } = self.entry(slot);
        match newer {
            NONE => self.newest = older,
            newer => self.entry(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entry(older).newer = newer,
        }
    }

    fn link_newest(&mut self, slot: usize) {
        let older = mem::replace(&mut self.newest, slot);
        let entry = self.entry(slot);
        (entry.newer, entry.older) = (NONE, older);
        match older {
            NONE => self.oldest = slot,
            older => self.entry(older).newer = slot,
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
