use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

type Tested = Cache<u8, Rc<u32>>;

#[derive(Clone, Debug)]
enum Step {
    Insert {
        key: u8,
        bytes: u64,
        acquire: bool,
    },
    Acquire(u8),
    /// The handle at this index, modulo their number.
    Release(usize),
    Remove(u8),
}

/// The same, done in the most obvious way: a list, looked through from one end to the other.
struct Model {
    bound: u64,
    /// The one used last in front. Entries in use stand here, too, and are passed over.
    entries: VecDeque<Known>,
    counters: Counters,
}

#[derive(Clone, Debug)]
struct Known {
    key: u8,
    value: u32,
    cost: u64,
    users: u32,
    mapped: bool,
}

impl Model {
    fn find(&self, key: u8) -> Option<usize> {
        self.entries.iter().position(|entry| entry.mapped && entry.key == key)
    }

    fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.cost).sum()
    }

    fn remove(&mut self, key: u8) -> bool {
        let Some(at) = self.find(key) else { return false };
        self.entries[at].mapped = false;
        self.entries.retain(|entry| entry.mapped || entry.users > 0);
        true
    }

    /// Whether it was taken, and the values that made room, in order.
    fn insert(&mut self, key: u8, value: u32, cost: u64, acquire: bool) -> (bool, Vec<u32>) {
        self.remove(key);
        let in_use: u64 = self.entries.iter().filter(|entry| entry.users > 0).map(|entry| entry.cost).sum();
        if in_use + cost > self.bound {
            return (false, Vec::new());
        }
        let mut evicted = Vec::new();
        while self.bytes() + cost > self.bound {
            let oldest = self.entries.iter().rposition(|entry| entry.users == 0).unwrap();
            evicted.extend(self.entries.remove(oldest).map(|entry| entry.value));
            self.counters.evictions += 1;
        }
        self.entries.push_front(Known { key, value, cost, users: u32::from(acquire), mapped: true });
        (true, evicted)
    }

    fn acquire(&mut self, key: u8) -> Option<u32> {
        let found = self.find(key)?;
        let entry = &mut self.entries[found];
        entry.users += 1;
        Some(entry.value)
    }

    fn release(&mut self, value: u32) {
        let at = self.entries.iter().position(|entry| entry.value == value).unwrap();
        let mut entry = self.entries.remove(at).unwrap();
        entry.users -= 1;
        match (entry.users, entry.mapped) {
            (0, true) => self.entries.push_front(entry),
            (0, false) => (),
            _ => self.entries.insert(at, entry),
        }
    }

    fn counters(&self) -> Counters {
        let entries = self.entries.iter().filter(|entry| entry.mapped).count();
        Counters { bytes: self.bytes(), entries, ..self.counters }
    }
}

/// The cache and its model, side by side.
struct Pair {
    cache: Tested,
    model: Model,
    handles: Vec<CacheHandle>,
    /// One user of every value beside the cache, so that it is seen when the cache lets go of it.
    values: Vec<Rc<u32>>,
}

impl Pair {
    fn new(bound: u64) -> Pair {
        let model = Model { bound, entries: VecDeque::new(), counters: Counters::default() };
        Pair { cache: Cache::new(bound), model, handles: Vec::new(), values: Vec::new() }
    }

    fn insert(&mut self, key: u8, bytes: u64, acquire: bool) {
        let value = u32::try_from(self.values.len()).unwrap();
        self.values.push(Rc::new(value));
        let shared = Rc::clone(&self.values[self.values.len() - 1]);
        let (taken, evicted) = self.model.insert(key, value, bytes + Tested::OVERHEAD, acquire);
        let before = self.order();
        let done = if acquire {
            self.cache.insert_acquired(key, shared, bytes).map(|handle| self.handles.push(handle)).is_some()
        } else {
            self.cache.insert(key, shared, bytes)
        };
        assert_eq!(done, taken);
        // Those that went were the oldest, and in the order in which they were used.
        let replaced =
            |value: &u32| self.model.entries.iter().any(|entry| entry.value == *value) || evicted.contains(value);
        let before: Vec<_> = before.into_iter().rev().filter(replaced).collect();
        assert_eq!(before[..evicted.len()], evicted);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Insert { key, bytes, acquire } => self.insert(key, bytes, acquire),
            Step::Acquire(key) => {
                let handle = self.cache.acquire(&key);
                assert_eq!(handle.as_ref().map(|handle| **self.cache.get(handle)), self.model.acquire(key));
                self.handles.extend(handle);
            }
            Step::Release(_) if self.handles.is_empty() => (),
            Step::Release(at) => {
                let handle = self.handles.swap_remove(at % self.handles.len());
                self.model.release(**self.cache.get(&handle));
                self.cache.release(handle);
            }
            Step::Remove(key) => assert_eq!(self.cache.remove(&key), self.model.remove(key)),
        }
        self.check();
    }

    /// What is not in use, the one used last first.
    fn order(&self) -> Vec<u32> {
        let mut values = Vec::new();
        let mut slot = self.cache.newest;
        while slot != NONE {
            values.push(*self.cache.slab[slot].value);
            slot = self.cache.slab[slot].older;
        }
        values
    }

    fn check(&self) {
        assert_eq!(self.cache.counters(), self.model.counters());
        assert!(self.cache.counters().bytes <= self.cache.bound);
        let idle: Vec<_> =
            self.model.entries.iter().filter(|entry| entry.users == 0).map(|entry| entry.value).collect();
        assert_eq!(self.order(), idle);
        let mut backwards = Vec::new();
        let mut slot = self.cache.oldest;
        while slot != NONE {
            backwards.insert(0, *self.cache.slab[slot].value);
            slot = self.cache.slab[slot].newer;
        }
        assert_eq!(backwards, idle);
        // What is in the cache or in use lives, and nothing else does.
        for value in &self.values {
            let lives = self.model.entries.iter().any(|entry| entry.value == **value);
            assert_eq!(Rc::strong_count(value), 1 + usize::from(lives), "{value}");
        }
        let mut in_use: Vec<_> = self.handles.iter().map(|handle| **self.cache.get(handle)).collect();
        in_use.sort_unstable();
        in_use.dedup();
        let mut known: Vec<_> =
            self.model.entries.iter().filter(|entry| entry.users > 0).map(|entry| entry.value).collect();
        known.sort_unstable();
        assert_eq!(in_use, known);
    }

    fn finish(mut self) {
        while !self.handles.is_empty() {
            self.step(&Step::Release(0));
        }
        assert_eq!(self.cache.in_use, 0);
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let key = || 0u8..12;
    prop_oneof![
        4 => (key(), 0u64..3000, any::<bool>()).prop_map(|(key, bytes, acquire)| Step::Insert { key, bytes, acquire }),
        3 => key().prop_map(Step::Acquire),
        4 => any::<usize>().prop_map(Step::Release),
        1 => key().prop_map(Step::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn the_cache_does_what_its_model_does(
        bound in 0u64..12_000, steps in proptest::collection::vec(any_step(), 0..160),
    ) {
        let mut pair = Pair::new(bound);
        steps.iter().for_each(|step| pair.step(step));
        pair.finish();
    }
}

#[test]
fn what_is_replaced_lives_on_for_its_users() {
    let mut cache = Cache::new(10_000);
    assert!(cache.insert("a", 1, 100));
    let old = cache.acquire("a").unwrap();
    assert!(cache.insert("a", 2, 50));
    let new = cache.acquire("a").unwrap();
    assert_eq!((*cache.get(&old), *cache.get(&new)), (1, 2));
    let overhead = Cache::<&str, i32>::OVERHEAD;
    assert_eq!((cache.counters().bytes, cache.counters().entries), (150 + 2 * overhead, 1));
    cache.release(old);
    assert_eq!(cache.counters().bytes, 50 + overhead);
    cache.release(new);
}

#[test]
fn what_cannot_fit_disturbs_nobody() {
    let overhead = Cache::<u8, ()>::OVERHEAD;
    let mut cache = Cache::new(2 * (overhead + 100));
    assert!(cache.insert(1u8, (), 100));
    let handle = cache.insert_acquired(2, (), 100).unwrap();
    assert!(!cache.insert(3, (), 101), "one byte too many");
    assert!(!cache.insert(3, (), u64::MAX));
    assert_eq!((cache.counters().entries, cache.counters().evictions), (2, 0));
    assert!(cache.insert(3, (), 100));
    assert!(cache.acquire(&1).is_none());
    cache.release(handle);
}

#[test]
fn empty_files_are_bounded_too() {
    let bound = 1 << 20;
    let mut cache = Cache::new(bound);
    (0..100_000u64).for_each(|key| assert!(cache.insert(key, (), 0)));
    let known = cache.counters().entries as u64;
    assert_eq!(known, bound / Cache::<u64, ()>::OVERHEAD);
    let memory = cache.slab.capacity() * Cache::<u64, ()>::SLAB_PLACE
        + cache.map.capacity() * 8 / 7 * (size_of::<(u64, usize)>() + 1);
    assert!(memory as u64 <= bound, "{memory}");
}

#[test]
fn more_entries_do_not_mean_more_steps() {
    let most = |entries: u64| {
        let cost = Cache::<u64, ()>::OVERHEAD;
        let mut cache = Cache::new(entries * cost);
        (0..entries).for_each(|key| assert!(cache.insert(key, (), 0)));
        let mut most = 0;
        let mut measure = |cache: &mut Cache<u64, ()>, act: &mut dyn FnMut(&mut Cache<u64, ()>)| {
            let before = cache.steps;
            act(cache);
            most = most.max(cache.steps - before);
        };
        for key in 0..entries {
            let mut handle = None;
            measure(&mut cache, &mut |cache| handle = cache.acquire(&key));
            // All others that could be evicted are in front of this one, and it is in use.
            measure(&mut cache, &mut |cache| assert!(cache.insert(entries + key, (), 0)));
            measure(&mut cache, &mut |cache| handle.take().into_iter().for_each(|handle| cache.release(handle)));
            measure(&mut cache, &mut |cache| assert!(cache.remove(&(entries + key))));
        }
        most
    };
    let few = most(4);
    assert!(few > 0 && few < 20, "{few}");
    assert_eq!(most(4096), few);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "was not released")]
fn a_handle_that_is_dropped_is_noticed() {
    let mut cache = Cache::new(10_000);
    drop(cache.insert_acquired(1u8, (), 0).unwrap());
}
