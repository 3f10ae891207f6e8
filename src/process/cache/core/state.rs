//! The whole state, what can be seen of it, and which part an event goes to.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::content::Contents;
use super::defect::Defect;
use super::event::{Action, Event, FetchId, RequestId};
use super::fetch::{Fetch, Request};
use super::queue::Queue;
use super::records::{Entry, Records};
use super::settings::Settings;

/// The cache.
#[derive(Debug)]
pub struct Core {
    pub(super) settings: Settings,
    pub(super) contents: Contents,
    pub(super) records: Records,
    pub(super) fetches: BTreeMap<FetchId, Fetch>,
    pub(super) queue: Queue,
    pub(super) requests: HashMap<RequestId, Request>,
    pub(super) actions: VecDeque<Action>,
    /// What only grows; [`Core::counters`] adds what is.
    pub(super) counted: Counters,
    pub(super) waiting: usize,
    /// Fetches whose turn has come, but for those that pass through.
    pub(super) running: usize,
    pub(super) passing: usize,
    pub(super) next_fetch: u64,
    /// When the last event happened.
    pub(super) now_ns: u64,
    pub(super) defect: Option<Defect>,
}

/// What can be seen of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers out of what was there and fresh, negative ones too.
    pub hits: u64,
    /// Answers to requests for which a fetch was begun.
    pub misses: u64,
    /// Answers out of what was not fresh.
    pub stale: u64,
    /// Answers that waited for the upstream to say that an entry is still right.
    pub revalidated: u64,
    /// Answers to requests that joined another's fetch.
    pub coalesced: u64,
    /// Answers that there is no such object, which are counted above too.
    pub not_found: u64,
    /// Answers that the upstream is in error.
    pub errors: u64,
    /// Answers that there is no room.
    pub refused: u64,
    /// Times that the upstream has said that an entry is still right.
    pub renewed: u64,
    /// Entries that had to go for others.
    pub evicted: u64,
    /// Entries that were purged.
    pub purged: u64,
    /// Fetches that were begun.
    pub fetches: u64,
    /// Fetches that failed.
    pub failed_fetches: u64,
    /// Contents that were too large to be kept.
    pub passed_through: u64,
    /// Bytes of memory that are reserved.
    pub bytes: u64,
    /// Bytes in spools; all of a content whose length is known, from its beginning on.
    pub spooled_bytes: u64,
    /// Entries that have content.
    pub entries: u64,
    /// Entries that have none.
    pub negative_entries: u64,
    /// Fetches under way.
    pub fetching: u64,
    /// Fetches that wait for their turn.
    pub queued: u64,
    /// Requests that wait.
    pub waiting: u64,
    /// Requests that read.
    pub reading: u64,
}

/// A line of the list of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Of what.
    pub path: &'a [u8],
    /// What the cache has of it.
    pub what: ListedAs,
    /// Bytes of its content, or of as much of it as has come.
    pub bytes: u64,
    /// Requests that read it.
    pub readers: u32,
    /// Until when it is fresh.
    pub fresh_until_ns: u64,
    /// Whether a fetch of it waits or is under way.
    pub fetching: bool,
}

/// What the cache has of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedAs {
    /// Content that is fresh.
    Fresh,
    /// Content that is not.
    Stale,
    /// There is no such object.
    Negative,
    /// Nothing yet.
    Coming,
}

impl Core {
    /// An empty cache.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Core {
            settings,
            contents: Contents::default(),
            records: Records::default(),
            fetches: BTreeMap::new(),
            queue: Queue::default(),
            requests: HashMap::new(),
            actions: VecDeque::new(),
            counted: Counters::default(),
            waiting: 0,
            running: 0,
            passing: 0,
            next_fetch: 0,
            now_ns: 0,
            defect: None,
        }
    }

    /// Takes note of what has happened. What is to be done then is told by [`Core::next_action`], in order; of a chunk it is to be done
    /// before the next event.
    pub fn handle(&mut self, now_ns: u64, event: Event) {
        self.now_ns = now_ns;
        match event {
            Event::Requested { request, owner, path } => self.requested(now_ns, request, owner, path),
            Event::Read { request, position } => self.read(request, position),
            Event::Finished(request) => self.finished(request),
            Event::Head(fetch, head) => self.head(now_ns, fetch, head),
            Event::Chunk(fetch, bytes) => self.chunk(now_ns, fetch, bytes),
            Event::Whole(fetch) => self.whole(now_ns, fetch),
            Event::Failed(fetch) => self.failed(now_ns, fetch),
            Event::Unspooled(content) => self.unspooled(now_ns, content),
            Event::Tick => {}
        }
        self.drop_idle_spools();
        self.start_fetches();
    }

    /// What is to be done next.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What can be seen.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let number = |length: usize| length as u64;
        Counters {
            bytes: self.contents.bytes(),
            spooled_bytes: self.contents.spooled(),
            entries: number(self.records.objects()),
            negative_entries: number(self.records.negative()),
            fetching: number(self.fetches.len() - self.queue.len()),
            queued: number(self.queue.len()),
            waiting: number(self.waiting),
            reading: number(self.requests.len() - self.waiting),
            ..self.counted
        }
    }

    /// What there is of the paths after this one, by path.
    pub fn list(&self, now_ns: u64, after: Option<&[u8]>) -> impl Iterator<Item = Listed<'_>> {
        self.records.after(after).map(move |(path, record)| {
            let fetching = record.fetch.is_some();
            let (what, content, fresh_until_ns) = match &record.entry {
                Some(Entry::Object(object)) if now_ns < object.fresh_until_ns => {
                    (ListedAs::Fresh, Some(object.content), object.fresh_until_ns)
                }
                Some(Entry::Object(object)) => (ListedAs::Stale, Some(object.content), object.fresh_until_ns),
                Some(Entry::Negative(until_ns)) => (ListedAs::Negative, None, *until_ns),
                None => (ListedAs::Coming, record.fetch.and_then(|fetch| self.content_of(fetch)), 0),
            };
            let content = content.and_then(|content| self.contents.get(content));
            let (bytes, readers) = content.map_or((0, 0), |content| (content.here, content.users));
            Listed { path, what, bytes, readers, fresh_until_ns, fetching }
        })
    }

    /// Whether the tests have put this defect in.
    pub(super) fn has(&self, defect: Defect) -> bool {
        cfg!(test) && self.defect == Some(defect)
    }
}
