//! The file cache: the files that the worker has in memory, and the sessions that wait for others.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::service::connection_state::SessionKey;
use crate::service::http::rules::{Cache, CacheHandle};
use crate::service::http::session::file_loader::{Found, Job, Loaders};
use crate::service::http::session::served_file::{FileKey, LoadOutcome, ServedFile};
use crate::service::pool::Overloaded;
use crate::store::instance::stats::WebStats;

/// How long what was read of a file is believed without looking again, nanoseconds.
const FRESH_NS: u64 = 1_000_000_000;

/// A file on the cache.
pub struct CachedFile {
    item: Arc<ServedFile>,
    /// When it was last known to be what the folder has.
    seen_ns: Cell<u64>,
}

/// What came of asking for a file.
pub enum Lookup {
    /// It is at hand.
    Cached(CacheHandle),
    /// A thread looks for it; the session is told when it has.
    Awaited,
    /// Too many wait already.
    Overloaded,
}

/// What a session is told that waited for a file.
#[derive(Clone)]
pub enum Loaded {
    /// It had not changed, but made room for others meanwhile: ask again.
    Gone,
    /// This came of it.
    Outcome(Arc<LoadOutcome>),
}

/// The cache.
pub struct FileCache {
    files: Cache<FileKey, CachedFile>,
    /// Files that threads look for, and the sessions that wait: each file is looked for once, however many sessions ask.
    awaited: HashMap<FileKey, Vec<SessionKey>>,
    /// Evictions that are counted already; the counters in shared memory are also those of predecessors.
    evictions: u64,
    stats: &'static WebStats,
}

impl FileCache {
    /// An empty cache for files of `bytes` bytes together.
    #[must_use]
    pub fn new(bytes: u64, stats: &'static WebStats) -> Self {
        FileCache { files: Cache::new(bytes), awaited: HashMap::new(), evictions: 0, stats }
    }

    /// Asks for a file, for `session`.
    #[inline]
    pub fn look(&mut self, key: &[u8], session: SessionKey, now_ns: u64, loaders: &Loaders) -> Lookup {
        let mut known = None;
        if let Some(hold) = self.files.acquire(key) {
            let cached = self.files.get(&hold);
            if now_ns.saturating_sub(cached.seen_ns.get()) < FRESH_NS {
                self.stats.cache_hits.add(1);
                return Lookup::Cached(hold);
            }
            known = Some(cached.item.stamp);
            self.files.release(hold);
        }
        if let Some(waiting) = self.awaited.get_mut(key) {
            waiting.push(session);
            return Lookup::Awaited;
        }
        match loaders.submit(Job::Find { key: key.into(), known, asked_ns: now_ns }) {
            Ok(()) => {
                self.awaited.insert(key.into(), vec![session]);
                self.count_queue();
                Lookup::Awaited
            }
            Err(Overloaded(_)) => {
                self.stats.overloaded.add(1);
                Lookup::Overloaded
            }
        }
    }

    /// Takes a result of the threads in. Returns the sessions that waited for it, and what to tell them.
    pub fn take_in(&mut self, finding: Found) -> (Vec<SessionKey>, Loaded) {
        let Found { key, asked_ns, outcome } = finding;
        let waiting = self.awaited.remove(&key).unwrap_or_default();
        self.count_queue();
        let loaded = match outcome {
            LoadOutcome::Same => match self.files.acquire(&*key) {
                Some(hold) => {
                    let cached = self.files.get(&hold);
                    cached.seen_ns.set(asked_ns);
                    let item = cached.item.clone();
                    self.files.release(hold);
                    self.stats.cache_hits.add(waiting.len() as u64);
                    // Not loaded to ask again: on a slow disk the file may be too old by now, and would be so for ever.
                    Loaded::Outcome(Arc::new(LoadOutcome::Found(item)))
                }
                None => Loaded::Gone,
            },
            outcome => {
                self.stats.cache_misses.add(waiting.len() as u64);
                // Whatever was there is not what the folder has.
                self.files.remove(&key);
                if let LoadOutcome::Found(item) = &outcome {
                    let cached = CachedFile { item: item.clone(), seen_ns: Cell::new(asked_ns) };
                    // What does not fit is still served, from the copy that its sessions hold.
                    let _refused = self.files.insert(key, cached, item.cached_bytes());
                }
                Loaded::Outcome(Arc::new(outcome))
            }
        };
        self.show();
        (waiting, loaded)
    }

    /// The file that is held.
    #[inline]
    #[must_use]
    pub fn item(&self, hold: &CacheHandle) -> &Arc<ServedFile> {
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
    use crate::service::http::session::file_loader::Done;
    use crate::service::pool::Pool;
    use crate::store::instance::stats::WorkerStats;

    fn stats(test: &str) -> &'static WebStats {
        let name = format!("/vault-test.{}.{test}", std::process::id());
        let made = Segment::<(), WorkerStats>::create(&name, 1, 1, 1, |(), _| Ok(())).unwrap();
        segment::unlink(&name).unwrap();
        let made: &'static Segment<(), WorkerStats> = Box::leak(Box::new(made));
        &made.elements()[0].web
    }

    /// A session that waited for a disk longer than cached files are believed is still served.
    #[test]
    fn a_slow_answer_that_nothing_has_changed_is_an_answer() {
        let stats = stats("cache");
        let (key, session) = (&b"--index.html"[..], SessionKey { slot: 7, generation: 1 });
        // It finds nothing before the test is over: the findings are made by hand.
        let (_over, wait) = crossbeam_channel::bounded::<()>(0);
        let idle = move |_| wait.recv().map_or(Done::Fetched(session), |()| Done::Fetched(session));
        let loaders: Loaders = Pool::start("test", 1, 8, idle, || ()).unwrap();
        let mut cache = FileCache::new(1 << 20, stats);
        let found = |outcome, asked_ns| Found { key: key.into(), asked_ns, outcome };
        assert!(matches!(cache.look(key, session, 0, &loaders), Lookup::Awaited));
        assert!(matches!(cache.look(key, session, 1, &loaders), Lookup::Awaited));
        let (waiting, loaded) = cache.take_in(found(built_in::find(b"index.html", false, None), 0));
        assert!(matches!(loaded, Loaded::Outcome(outcome) if matches!(*outcome, LoadOutcome::Found(_))));
        assert_eq!((waiting, stats.cache_misses.get()), (vec![session; 2], 2));
        let Lookup::Cached(hold) = cache.look(key, session, FRESH_NS - 1, &loaders) else { panic!("it is fresh") };
        cache.put_back(hold);
        assert!(matches!(cache.look(key, session, 2 * FRESH_NS, &loaders), Lookup::Awaited), "it is not");
        let (waiting, loaded) = cache.take_in(found(LoadOutcome::Same, 2 * FRESH_NS));
        assert!(matches!(loaded, Loaded::Outcome(outcome) if matches!(*outcome, LoadOutcome::Found(_))));
        assert_eq!((waiting, stats.cache_hits.get()), (vec![session], 2));
    }
}
