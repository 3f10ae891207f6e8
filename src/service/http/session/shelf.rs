//! The shelf: what the worker has at hand of the files that it serves, and who waits for those that it has not.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::service::http::rules::{Cache, CacheHandle};
use crate::service::http::session::Librarians;
use crate::service::http::session::library::{Finding, Item, Job, Key, Outcome};
use crate::service::pool::Overloaded;
use crate::store::instance::stats::WebStats;

/// How long what was read of a file is believed without looking again, nanoseconds.
const FRESH_NS: u64 = 1_000_000_000;

/// A connection slot in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The slot.
    pub slot: u32,
    /// Its life.
    pub generation: u32,
}

/// A file on the shelf.
pub struct Shelved {
    item: Arc<Item>,
    /// When it was last known to be what the folder has.
    seen_ns: Cell<u64>,
}

/// What came of asking for a file.
pub enum Lookup {
    /// It is at hand.
    AtHand(CacheHandle),
    /// Somebody is at it; the reader is told.
    Awaited,
    /// Too many wait already.
    Overloaded,
}

/// What a reader who waited is told.
#[derive(Clone)]
pub enum News {
    /// It had not changed, but made room for others meanwhile: ask again.
    Gone,
    /// This came of it.
    Outcome(Arc<Outcome>),
}

/// The shelf.
pub struct Shelf {
    files: Cache<Key, Shelved>,
    /// Files that are being looked for, and who waits for them: each is looked for once, however many ask.
    awaited: HashMap<Key, Vec<Reader>>,
    /// Evictions that are counted already; the counters in shared memory are also those of predecessors.
    evictions: u64,
    stats: &'static WebStats,
}

impl Shelf {
    /// An empty shelf for files of `bytes` bytes together.
    #[must_use]
    pub fn new(bytes: u64, stats: &'static WebStats) -> Self {
        Shelf { files: Cache::new(bytes), awaited: HashMap::new(), evictions: 0, stats }
    }

    /// Asks for a file, for `reader`.
    #[inline]
    pub fn look(&mut self, key: &[u8], reader: Reader, now_ns: u64, librarians: &Librarians) -> Lookup {
        let mut known = None;
        if let Some(hold) = self.files.acquire(key) {
            let shelved = self.files.get(&hold);
            if now_ns.saturating_sub(shelved.seen_ns.get()) < FRESH_NS {
                self.stats.cache_hits.add(1);
                return Lookup::AtHand(hold);
            }
            known = Some(shelved.item.stamp);
            self.files.release(hold);
        }
        if let Some(readers) = self.awaited.get_mut(key) {
            readers.push(reader);
            return Lookup::Awaited;
        }
        match librarians.submit(Job::Find { key: key.into(), known, asked_ns: now_ns }) {
            Ok(()) => {
                self.awaited.insert(key.into(), vec![reader]);
                self.count_queue();
                Lookup::Awaited
            }
            Err(Overloaded(_)) => {
                self.stats.overloaded.add(1);
                Lookup::Overloaded
            }
        }
    }

    /// Takes in what was found; who waited for it, and what to tell them.
    pub fn take_in(&mut self, finding: Finding) -> (Vec<Reader>, News) {
        let Finding { key, asked_ns, outcome } = finding;
        let readers = self.awaited.remove(&key).unwrap_or_default();
        self.count_queue();
        let news = match outcome {
            Outcome::Same => match self.files.acquire(&*key) {
                Some(hold) => {
                    let shelved = self.files.get(&hold);
                    shelved.seen_ns.set(asked_ns);
                    let item = shelved.item.clone();
                    self.files.release(hold);
                    self.stats.cache_hits.add(readers.len() as u64);
                    // Not told to ask again: on a slow disk the file may be too old by now, and would be so for ever.
                    News::Outcome(Arc::new(Outcome::Found(item)))
                }
                None => News::Gone,
            },
            outcome => {
                self.stats.cache_misses.add(readers.len() as u64);
                // Whatever was there is not what the folder has.
                self.files.remove(&key);
                if let Outcome::Found(item) = &outcome {
                    let shelved = Shelved { item: item.clone(), seen_ns: Cell::new(asked_ns) };
                    // What does not fit is served all the same, by whoever holds it.
                    let _refused = self.files.insert(key, shelved, item.shelf_bytes());
                }
                News::Outcome(Arc::new(outcome))
            }
        };
        self.show();
        (readers, news)
    }

    /// The file that is held.
    #[inline]
    #[must_use]
    pub fn item(&self, hold: &CacheHandle) -> &Arc<Item> {
        &self.files.get(hold).item
    }

    /// Puts a file back.
    #[inline]
    pub fn put_back(&mut self, hold: CacheHandle) {
        self.files.release(hold);
    }

    fn count_queue(&self) {
        self.stats.queued.set(self.awaited.len() as u64);
    }

    fn show(&mut self) {
        let counters = self.files.counters();
        self.stats.cache_bytes.set(counters.bytes);
        self.stats.cache_entries.set(counters.entries as u64);
        let evicted = counters.evictions - std::mem::replace(&mut self.evictions, counters.evictions);
        self.stats.cache_evictions.add(evicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::segment::{self, Segment};
    use crate::service::http::session::built_in;
    use crate::service::http::session::library::Done;
    use crate::service::pool::Pool;
    use crate::store::instance::stats::WorkerStats;

    fn stats(test: &str) -> &'static WebStats {
        let name = format!("/vault-test.{}.{test}", std::process::id());
        let made = Segment::<(), WorkerStats>::create(&name, 1, 1, 1, |(), _| Ok(())).unwrap();
        segment::unlink(&name).unwrap();
        let made: &'static Segment<(), WorkerStats> = Box::leak(Box::new(made));
        &made.elements()[0].web
    }

    /// Whoever has waited for a disk that takes longer than files are believed in is served all the same.
    #[test]
    fn a_slow_answer_that_nothing_has_changed_is_an_answer() {
        let stats = stats("shelf");
        let (key, reader) = (&b"--index.html"[..], Reader { slot: 7, generation: 1 });
        // It finds nothing before the test is over: the findings are made by hand.
        let (_over, wait) = crossbeam_channel::bounded::<()>(0);
        let idle = move |_| wait.recv().map_or(Done::Fetched(reader), |()| Done::Fetched(reader));
        let librarians: Librarians = Pool::start("test", 1, 8, idle, || ()).unwrap();
        let mut shelf = Shelf::new(1 << 20, stats);
        let found = |outcome, asked_ns| Finding { key: key.into(), asked_ns, outcome };
        assert!(matches!(shelf.look(key, reader, 0, &librarians), Lookup::Awaited));
        assert!(matches!(shelf.look(key, reader, 1, &librarians), Lookup::Awaited));
        let (readers, news) = shelf.take_in(found(built_in::find(b"index.html", false, None), 0));
        assert!(matches!(news, News::Outcome(outcome) if matches!(*outcome, Outcome::Found(_))));
        assert_eq!((readers, stats.cache_misses.get()), (vec![reader; 2], 2));
        let Lookup::AtHand(hold) = shelf.look(key, reader, FRESH_NS - 1, &librarians) else { panic!("it is fresh") };
        shelf.put_back(hold);
        assert!(matches!(shelf.look(key, reader, 2 * FRESH_NS, &librarians), Lookup::Awaited), "it is not");
        let (readers, news) = shelf.take_in(found(Outcome::Same, 2 * FRESH_NS));
        assert!(matches!(news, News::Outcome(outcome) if matches!(*outcome, Outcome::Found(_))));
        assert_eq!((readers, stats.cache_hits.get()), (vec![reader], 2));
    }
}
