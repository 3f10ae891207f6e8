//! What the core says, carried out.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::contents::Contents;
use super::core::{Action, ContentId, Core, Event, FetchId, OwnerId, Path, Place, Settings as CoreSettings};
use super::fetches::Fetches;
use super::origin::{Said, Wake};
use super::transfers::{Passed, Transfers};
use crate::base::config::Settings;
use crate::base::crash_point::{CrashPoint, crash_point};
use crate::base::limits::{CACHE_CHUNKS_PER_TURN, CACHE_FILLED_BYTES_PER_TURN, CACHE_UNTOLD_BYTES};
use crate::store::cache_channel::{CacheChannel, DescriptorSender};
use crate::store::transfer::SegmentId;

/// What follows from an action, and is told when all actions before it are carried out.
enum Consequence {
    Event(Event),
    /// What an entry holds is lost.
    Lost(Path),
}

/// Where spools have their files. The data directory is the last choice: what the journal needs of its disk is not to be taken, and `/tmp`
/// may be memory.
fn spool_folders(settings: &Settings) -> Vec<PathBuf> {
    let chosen = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    chosen.into_iter().chain([PathBuf::from("/var/tmp"), settings.data.clone()]).collect()
}

/// The core, and what it decides about.
pub struct Shell {
    core: Core,
    contents: Contents,
    transfers: Transfers,
    fetches: Fetches,
    /// What brings each content, and what it is of.
    origins: HashMap<ContentId, (FetchId, Path)>,
    consequences: VecDeque<Consequence>,
    now_ns: u64,
    bytes_out: u64,
    /// Whether something can go on without being woken.
    is_busy: bool,
}

impl Shell {
    /// An empty cache. `wake` is called, on any thread, when a fetch has something to say. Workers get descriptors by `descriptors`.
    #[must_use]
    pub fn new(
        channel: &'static CacheChannel,
        descriptors: Option<DescriptorSender>,
        settings: &Settings,
        wake: Wake,
    ) -> Self {
        let cache = &settings.getfile.cache;
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (ttl_ns, negative_ttl_ns) = (nanoseconds(cache.ttl), nanoseconds(cache.negative_ttl));
        Shell {
            core: Core::new(CoreSettings::new(cache.bytes, cache.object_bytes, ttl_ns, negative_ttl_ns)),
            contents: Contents::new(spool_folders(settings), descriptors.is_some()),
            transfers: Transfers::new(channel, descriptors),
            fetches: Fetches::new(&settings.getfile, wake),
            origins: HashMap::new(),
            consequences: VecDeque::new(),
            now_ns: 0,
            bytes_out: 0,
            is_busy: false,
        }
    }

    /// What the core has and counts.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Bytes that were put into segments.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// What was passed by descriptor.
    #[must_use]
    pub fn passed(&self) -> Passed {
        self.transfers.passed()
    }

    /// What becomes readable when a worker connects, to get descriptors.
    #[must_use]
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.transfers.listener()
    }

    /// Workers have connected.
    pub fn take_in_workers(&mut self) {
        self.transfers.take_in_workers();
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.handle(Event::Tick, &[]);
    }

    /// Takes a request up. Returns whether it does not come late.
    pub fn request(&mut self, segment: SegmentId, owner: u64, path: &[u8]) -> bool {
        let Some(request) = self.transfers.pick_up(segment) else { return false };
        self.handle(Event::Requested { request, owner: OwnerId(owner), path: path.into() }, &[]);
        true
    }

    /// Forgets one path, or all. Returns how many entries.
    pub fn purge(&mut self, path: Option<&[u8]>) -> u64 {
        let entries = match path {
            Some(path) => u64::from(self.core.purge(path)),
            None => self.core.purge_all(),
        };
        self.perform(&[]);
        self.follow();
        entries
    }

    /// What settings name is to be read again; what was kept of it is forgotten.
    pub fn reload(&mut self) {
        if self.fetches.reload() {
            self.purge(None);
        }
    }

    /// Workers have given chunks back, or have given up.
    pub fn workers_went_on(&mut self) {
        for request in self.transfers.workers_went_on() {
            self.handle(Event::Finished(request), &[]);
        }
    }

    /// Goes on with what can go on, each within its bounds. Returns whether there is more to do.
    pub fn advance(&mut self) -> bool {
        self.is_busy = false;
        self.take_of_fetches();
        if let Err((content, error)) = self.contents.advance() {
            log::error!("GetFile's cache cannot read what it has put into a file: {error}");
            if let Some((_, path)) = self.origins.get(&content) {
                self.consequences.push_back(Consequence::Lost(path.clone()));
            }
            self.follow();
        }
        self.fill();
        self.transfers.wake_workers();
        self.is_busy || self.transfers.is_ready() || self.contents.is_moving()
    }

    fn take_of_fetches(&mut self) {
        for id in self.fetches.ids() {
            let mut taken = 0;
            while taken < CACHE_CHUNKS_PER_TURN
                && let Some(said) = self.fetches.next(id)
            {
                self.said(id, said);
                taken += 1;
            }
            self.is_busy |= taken == CACHE_CHUNKS_PER_TURN;
        }
    }

    fn said(&mut self, id: FetchId, said: Said) {
        match said {
            Said::Head(head) => {
                crash_point(CrashPoint::CacheHeadTaken);
                self.handle(Event::Head(id, head), &[]);
            }
            Said::Chunk(bytes) => self.handle(Event::Chunk(id, bytes.len() as u64), &bytes),
            Said::Whole => {
                crash_point(CrashPoint::CacheWhole);
                self.handle(Event::Whole(id), &[]);
            }
            Said::Failed(_) => self.handle(Event::Failed(id), &[]),
        }
    }

    /// Puts contents into segments.
    fn fill(&mut self) {
        let (mut bytes, mut untold) = (0, 0);
        while bytes < CACHE_FILLED_BYTES_PER_TURN
            && let Some(filled) = self.transfers.fill(&mut self.contents)
        {
            bytes += filled.bytes;
            untold += filled.bytes;
            if untold >= CACHE_UNTOLD_BYTES {
                // Else they would begin to send only when this process has nothing more to fill.
                self.transfers.wake_workers();
                untold = 0;
            }
            let request = filled.request;
            match filled.position {
                None => {
                    if let Some((_, path)) =
                        self.origins.get(&filled.content).filter(|_| self.contents.is_lost(filled.content))
                    {
                        // What cannot be read is given to nobody else.
                        self.consequences.push_back(Consequence::Lost(path.clone()));
                    }
                    self.handle(Event::Finished(request), &[]);
                }
                Some(position) if self.contents.is_window(filled.content) => {
                    self.handle(Event::Read { request, position }, &[]);
                }
                Some(_) => {}
            }
        }
        self.bytes_out += bytes as u64;
    }

    /// Tells the core what has happened, and carries out what it says. `chunk` is what has come, if that has happened.
    fn handle(&mut self, event: Event, chunk: &[u8]) {
        self.core.handle(self.now_ns, event);
        self.perform(chunk);
        self.follow();
    }

    fn follow(&mut self) {
        while let Some(consequence) = self.consequences.pop_front() {
            match consequence {
                Consequence::Event(event) => self.core.handle(self.now_ns, event),
                Consequence::Lost(path) => _ = self.core.purge(&path),
            }
            self.perform(&[]);
        }
    }

    fn perform(&mut self, chunk: &[u8]) {
        while let Some(action) = self.core.next_action() {
            match action {
                Action::Answer(request, answer) => {
                    if self.transfers.answer(request, answer, &self.contents) {
                        self.follows(Event::Finished(request));
                    }
                }
                Action::Fetch { fetch, path, validators } => {
                    if !self.fetches.begin(fetch, path, validators) {
                        self.follows(Event::Failed(fetch));
                    }
                }
                Action::Pause(fetch) => self.fetches.set_paused(fetch, true),
                Action::Resume(fetch) => {
                    self.fetches.set_paused(fetch, false);
                    self.is_busy = true;
                }
                Action::Cancel(fetch) => self.fetches.cancel(fetch),
                Action::Open { content, fetch, place, length } => {
                    if let Some(path) = self.fetches.path(fetch) {
                        self.origins.insert(content, (fetch, path.clone()));
                    }
                    self.open(content, place, length);
                }
                Action::Append(content) => {
                    let appended = self.contents.append(content, chunk);
                    self.kept(content, appended);
                    self.transfers.content_came(content);
                    crash_point(CrashPoint::CacheChunkKept);
                }
                Action::Trim(content, before) => self.contents.trim(content, before),
                Action::Keep(content) => self.contents.keep(content),
                Action::Cut(content) => {
                    for request in self.transfers.cut(content) {
                        self.follows(Event::Finished(request));
                    }
                }
                Action::Release(content) => {
                    self.contents.release(content);
                    self.origins.remove(&content);
                }
            }
        }
    }

    /// Makes room for a content. One of known length for which no file can be had passes through instead.
    fn open(&mut self, content: ContentId, place: Place, length: Option<u64>) {
        let mut opened = self.contents.open(content, place, length);
        if let (Err(error), Place::Spool, Some(length)) = (&opened, place, length) {
            log::warn!("GetFile's cache has no file for {length} bytes, which pass through it: {error}");
            opened = self.contents.open(content, Place::Window, Some(length));
            self.follows(Event::Unspooled(content));
        }
        self.kept(content, opened);
    }

    fn follows(&mut self, event: Event) {
        self.consequences.push_back(Consequence::Event(event));
    }

    /// What cannot be kept ends its fetch.
    fn kept(&mut self, content: ContentId, result: io::Result<()>) {
        let Err(error) = result else { return };
        let Some((fetch, path)) = self.origins.get(&content) else { return };
        let fetch = *fetch;
        log::error!("GetFile's cache cannot keep {}: {error}", path.escape_ascii());
        self.fetches.cancel(fetch);
        self.follows(Event::Failed(fetch));
    }
}
