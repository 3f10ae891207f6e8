//! What the cache has promised, as a shell sees it: each action is held against all that has happened.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Action, Answer, ContentId, Event, FetchId, Head, Path, Place, Reason, RequestId, Source};
use super::settings::Settings;
use super::state::Core;

/// What is wrong, if something is.
pub type Verdict = Result<(), String>;

/// What a shell knows of a fetch.
struct FetchSeen {
    path: Path,
    begun: u64,
    asked_at_ns: u64,
    paused: bool,
    has_content: bool,
    asked_with: Option<Box<[u8]>>,
    place: Option<Place>,
}

/// What a shell has of a content.
struct ContentSeen {
    path: Path,
    fetch: FetchId,
    etag: Option<Box<[u8]>>,
    place: Place,
    length: Option<u64>,
    here: u64,
    base: u64,
    /// When its fetch began, as a number of events.
    begun: u64,
    /// When the upstream was asked that has last said that it is right, while it was an entry.
    right_at_ns: u64,
    /// When the upstream has said so, whether it was one or not.
    said_right_at_ns: u64,
    /// When it was last read, or asked about.
    used_at_ns: u64,
    whole: bool,
    cut: bool,
}

impl ContentSeen {
    /// Bytes that it takes of the spools.
    fn spooled(&self) -> u64 {
        if self.place == Place::Spool { self.length.unwrap_or(self.here) } else { 0 }
    }
}

enum RequestSeen {
    Asked { path: Path, at: u64, at_ns: u64 },
    Reads { content: ContentId, length: u64, position: u64 },
}

/// All that has happened.
pub struct Oracle {
    settings: Settings,
    now_ns: u64,
    /// How many events there were.
    count: u64,
    event: Option<Event>,
    fetches: BTreeMap<FetchId, FetchSeen>,
    contents: BTreeMap<ContentId, ContentSeen>,
    requests: BTreeMap<RequestId, RequestSeen>,
    /// When a path was last purged.
    purged: BTreeMap<Path, u64>,
    purged_all: u64,
    /// When a path was said not to be there, when that was asked, and when the fetch had begun that was told so.
    not_found: BTreeMap<Path, Vec<(u64, u64, u64)>>,
    /// What the upstream has said of the fetch in this event.
    over: BTreeSet<FetchId>,
}

fn hold(good: bool, what: impl FnOnce() -> String) -> Verdict {
    if good { Ok(()) } else { Err(what()) }
}

impl Oracle {
    pub fn new(settings: Settings) -> Oracle {
        Oracle {
            settings,
            now_ns: 0,
            count: 0,
            event: None,
            fetches: BTreeMap::new(),
            contents: BTreeMap::new(),
            requests: BTreeMap::new(),
            purged: BTreeMap::new(),
            purged_all: 0,
            not_found: BTreeMap::new(),
            over: BTreeSet::new(),
        }
    }

    pub fn is_under_way(&self, fetch: FetchId) -> bool {
        self.fetches.contains_key(&fetch)
    }

    pub fn may_go_on(&self, fetch: FetchId) -> bool {
        self.fetches.get(&fetch).is_some_and(|fetch| !fetch.paused)
    }

    /// Those who read, in order.
    pub fn readers(&self) -> Vec<RequestId> {
        let reads = |seen: &RequestSeen| matches!(seen, RequestSeen::Reads { .. });
        self.requests.iter().filter(|(_, seen)| reads(seen)).map(|(id, _)| *id).collect()
    }

    pub fn open_requests(&self) -> Vec<RequestId> {
        self.requests.keys().copied().collect()
    }

    /// A reader reads so many bytes, if they are there. Returns where it is then, or nothing if it has come to its end.
    pub fn read(&mut self, request: RequestId, bytes: u64) -> Result<Option<u64>, String> {
        let Some(RequestSeen::Reads { content: id, length, position }) = self.requests.get_mut(&request) else {
            return Err(format!("{request:?} does not read"));
        };
        let content = self.contents.get(id).ok_or_else(|| format!("{request:?} reads {id:?}, which is released"))?;
        hold(*position >= content.base, || format!("{request:?} needs bytes of {id:?} that were trimmed"))?;
        *position = (*position + bytes).min(content.here);
        let is_at_its_end = *position >= *length || content.cut && *position == content.here;
        Ok((!is_at_its_end).then_some(*position))
    }

    fn purged_at(&self, path: &[u8]) -> u64 {
        self.purged.get(path).copied().unwrap_or(0).max(self.purged_all)
    }

    /// Now, one path or all are purged.
    pub fn purged(&mut self, path: Option<&Path>) {
        self.count += 1;
        self.event = None;
        match path {
            Some(path) => _ = self.purged.insert(path.clone(), self.count),
            None => self.purged_all = self.count,
        }
    }

    /// An event is about to be handled.
    pub fn before(&mut self, now_ns: u64, event: &Event) -> Verdict {
        self.count += 1;
        self.now_ns = now_ns;
        for id in self.used() {
            self.contents.entry(id).and_modify(|content| content.used_at_ns = now_ns);
        }
        self.event = Some(event.clone());
        match event {
            Event::Requested { request, path, .. } => {
                let seen = RequestSeen::Asked { path: path.clone(), at: self.count, at_ns: now_ns };
                self.requests.insert(*request, seen);
            }
            Event::Finished(request) => _ = self.requests.remove(request),
            Event::Head(fetch, Head::NotFound) => {
                if let Some(seen) = self.fetches.get(fetch) {
                    self.not_found.entry(seen.path.clone()).or_default().push((now_ns, seen.asked_at_ns, seen.begun));
                }
            }
            Event::Head(fetch, Head::NotModified) => {
                // That holds for what it was asked about, and for an entry unless that was purged meanwhile.
                if let Some(seen) = self.fetches.get(fetch).filter(|seen| seen.asked_with.is_some()) {
                    let was_purged = seen.begun < self.purged_at(&seen.path);
                    let is_meant = |content: &&mut ContentSeen| {
                        content.whole && content.path == seen.path && content.etag == seen.asked_with
                    };
                    for content in self.contents.values_mut().filter(is_meant) {
                        content.said_right_at_ns = now_ns;
                        if !was_purged {
                            content.right_at_ns = seen.asked_at_ns;
                        }
                    }
                }
            }
            Event::Whole(fetch) => {
                for content in self.contents.values_mut().filter(|content| content.fetch == *fetch && !content.cut) {
                    content.whole = content.length.is_none_or(|length| length == content.here);
                    content.used_at_ns = now_ns;
                }
            }
            Event::Unspooled(id) => {
                if let Some(content) = self.contents.get_mut(id) {
                    content.place = Place::Window;
                    self.fetches.entry(content.fetch).and_modify(|fetch| fetch.place = Some(Place::Window));
                }
            }
            _ => {}
        }
        match event {
            Event::Head(fetch, Head::NotFound | Head::NotModified) | Event::Whole(fetch) | Event::Failed(fetch) => {
                self.end(*fetch);
            }
            _ => {}
        }
        Ok(())
    }

    fn is_read(&self, id: ContentId) -> bool {
        self.requests.values().any(|seen| matches!(seen, RequestSeen::Reads { content, .. } if *content == id))
    }

    /// Contents that are read, or that the upstream may be asked about.
    fn used(&self) -> Vec<ContentId> {
        let is_asked_about = |path: &Path| self.fetches.values().any(|fetch| fetch.path == *path && !fetch.has_content);
        let is_used = |(id, content): &(&ContentId, &ContentSeen)| self.is_read(**id) || is_asked_about(&content.path);
        self.contents.iter().filter(is_used).map(|(id, _)| *id).collect()
    }

    /// The upstream is done with a fetch.
    fn end(&mut self, fetch: FetchId) {
        if self.fetches.remove(&fetch).is_some() {
            self.over.insert(fetch);
        }
    }

    /// An action is performed.
    pub fn performed(&mut self, action: &Action) -> Verdict {
        let known = |fetch: &FetchId| format!("{action:?} of {fetch:?}, which is not under way");
        match action {
            Action::Answer(request, answer) => self.answered(*request, *answer),
            Action::Fetch { fetch, path, validators } => self.begun(*fetch, path, validators.etag.clone()),
            Action::Pause(fetch) | Action::Resume(fetch) => {
                let seen = self.fetches.get_mut(fetch).ok_or_else(|| known(fetch))?;
                seen.paused = matches!(action, Action::Pause(_));
                Ok(())
            }
            Action::Cancel(fetch) => {
                hold(self.fetches.remove(fetch).is_some() || self.over.contains(fetch), || known(fetch))
            }
            Action::Open { content, fetch, place, length } => self.opened(*content, *fetch, *place, *length),
            Action::Append(id) => self.appended(*id),
            Action::Trim(id, before) => {
                let seen = self.content(*id, action)?;
                hold(*before > seen.base && *before <= seen.here, || format!("{action:?} of {}", seen.here))?;
                seen.base = *before;
                Ok(())
            }
            Action::Keep(id) => {
                let seen = self.content(*id, action)?;
                (seen.place, seen.length) = (Place::Memory, Some(seen.here));
                Ok(())
            }
            Action::Cut(id) => {
                self.content(*id, action)?.cut = true;
                Ok(())
            }
            Action::Release(id) => {
                self.content(*id, action)?;
                self.contents.remove(id);
                hold(!self.is_read(*id), || format!("{id:?} is released and read"))
            }
        }
    }

    fn content(&mut self, id: ContentId, action: &Action) -> Result<&mut ContentSeen, String> {
        self.contents.get_mut(&id).ok_or_else(|| format!("{action:?}, which is not there"))
    }

    fn begun(&mut self, fetch: FetchId, path: &Path, asked_with: Option<Box<[u8]>>) -> Verdict {
        let purged = self.purged_at(path);
        // A second fetch of a path makes sense only if nobody can join the first.
        let can_be_joined =
            |seen: &&FetchSeen| seen.path == *path && seen.begun > purged && seen.place != Some(Place::Window);
        hold(!self.fetches.values().any(|seen| can_be_joined(&seen)), || format!("{path:?} is fetched twice"))?;
        // Nor is what is whole, fresh, and still read.
        let is_good = |id: &ContentId, content: &ContentSeen| {
            let is_fresh = self.now_ns - content.right_at_ns < self.settings.ttl_ns && content.begun > purged;
            content.path == *path && content.whole && is_fresh && content.place != Place::Window && self.is_read(*id)
        };
        let has_it = self.contents.iter().any(|(id, content)| is_good(id, content));
        hold(!has_it, || format!("{path:?} is fetched although it is read"))?;
        let seen = FetchSeen {
            path: path.clone(),
            begun: self.count,
            asked_at_ns: self.now_ns,
            paused: false,
            has_content: false,
            asked_with,
            place: None,
        };
        self.fetches.insert(fetch, seen);
        Ok(())
    }

    fn opened(&mut self, id: ContentId, fetch: FetchId, place: Place, length: Option<u64>) -> Verdict {
        let now_ns = self.now_ns;
        let Settings { object_bytes, spool_bytes, .. } = self.settings;
        let spooled: u64 = self.contents.values().map(ContentSeen::spooled).sum();
        let has_room = |length: u64| length <= object_bytes && spooled + length + object_bytes <= spool_bytes;
        let must_pass_through = place != Place::Window || !length.is_some_and(has_room);
        hold(must_pass_through, || format!("{id:?} passes through, although there are {spooled} bytes in spools"))?;
        let seen = self.fetches.get_mut(&fetch).ok_or_else(|| format!("{id:?} is of no fetch"))?;
        hold(!seen.has_content, || format!("{fetch:?} has two contents"))?;
        (seen.has_content, seen.place) = (true, Some(place));
        let content = ContentSeen {
            path: seen.path.clone(),
            fetch,
            etag: match &self.event {
                Some(Event::Head(_, Head::Found { validators, .. })) => validators.etag.clone(),
                _ => None,
            },
            place,
            length,
            here: 0,
            base: 0,
            begun: seen.begun,
            right_at_ns: seen.asked_at_ns,
            said_right_at_ns: now_ns,
            used_at_ns: now_ns,
            whole: false,
            cut: false,
        };
        self.contents.insert(id, content);
        Ok(())
    }

    fn appended(&mut self, id: ContentId) -> Verdict {
        let Some(Event::Chunk(fetch, bytes)) = self.event else { return Err(format!("{id:?}: no chunk has come")) };
        let window_bytes = self.settings.window_bytes;
        let seen = self.contents.get_mut(&id).ok_or_else(|| format!("a chunk for {id:?}, which is not there"))?;
        hold(seen.fetch == fetch && !seen.cut, || format!("{id:?} is given a chunk of {fetch:?}"))?;
        seen.here += bytes;
        hold(seen.length.is_none_or(|length| seen.here <= length), || format!("{id:?} is too long"))?;
        let held = seen.here - seen.base;
        hold(seen.place != Place::Window || held <= window_bytes, || format!("{held} bytes in the window of {id:?}"))
    }

    fn answered(&mut self, request: RequestId, answer: Answer) -> Verdict {
        let wrong = |why: &str| Err(format!("{request:?} is answered {answer:?}: {why}"));
        let Some(RequestSeen::Asked { path, at, at_ns }) = self.requests.remove(&request) else {
            return wrong("it waits for no answer");
        };
        match answer {
            Answer::Error(Reason::Full) => Ok(()),
            Answer::Error(_) => match &self.event {
                Some(Event::Failed(_) | Event::Whole(_) | Event::Chunk(..) | Event::Head(..)) => Ok(()),
                _ => wrong("nothing has failed"),
            },
            Answer::NotFound(source) => {
                let purged = self.purged_at(&path);
                let is_good = |(said_ns, asked_ns, begun): &(u64, u64, u64)| {
                    let is_of_age = if source == Source::Hit {
                        self.now_ns - asked_ns < self.settings.negative_ttl_ns
                    } else {
                        *said_ns == self.now_ns
                    };
                    is_of_age && (at < purged || *begun >= purged)
                };
                match self.not_found.get(&path) {
                    Some(said) if said.iter().rev().any(is_good) => Ok(()),
                    _ => wrong("nobody has said that, or long ago, or before a purge"),
                }
            }
            Answer::Found { content: id, length, source } => {
                let purged = self.purged_at(&path);
                let Some(content) = self.contents.get(&id) else { return wrong("it is released") };
                let age_ns = self.now_ns - content.right_at_ns;
                let Settings { ttl_ns, stale_if_error_ns, .. } = self.settings;
                let is_of_known_length = content.length.is_some_and(|known| known == length)
                    || content.length.is_none() && content.whole && content.here == length;
                let has_all = if matches!(source, Source::Miss | Source::Coalesced) {
                    content.whole || self.is_under_way(content.fetch)
                } else {
                    content.whole && content.here == length
                };
                let is_of_age = match source {
                    Source::Hit => age_ns < ttl_ns,
                    Source::Revalidated => content.said_right_at_ns == self.now_ns,
                    Source::Stale => age_ns >= ttl_ns && age_ns < ttl_ns + stale_if_error_ns,
                    Source::Miss | Source::Coalesced => true,
                };
                match () {
                    () if content.path != path => wrong("it is of another path"),
                    () if content.base > 0 => wrong("its beginning is gone"),
                    () if content.cut => wrong("it was cut"),
                    () if !is_of_known_length => wrong("that is not its length"),
                    () if !has_all => wrong("it is not whole, nor will be"),
                    () if !is_of_age => Err(format!("{answer:?} is {age_ns} ns old")),
                    () if at > purged && content.begun < purged => wrong("it was purged"),
                    () => {
                        debug_assert!(at_ns <= self.now_ns);
                        self.requests.insert(request, RequestSeen::Reads { content: id, length, position: 0 });
                        Ok(())
                    }
                }
            }
        }
    }

    /// An event has been handled, and all that it led to was done.
    pub fn after(&mut self, event: &Event, core: &Core) -> Verdict {
        self.over.clear();
        let settings = &self.settings;
        let reserved =
            |content: &ContentSeen| if content.place == Place::Memory { content.length.unwrap_or(0) } else { 0 };
        let bytes: u64 = self.contents.values().map(reserved).sum();
        let spooled: u64 = self.contents.values().map(ContentSeen::spooled).sum();
        let counters = core.counters();
        hold(bytes <= settings.cache_bytes && bytes <= counters.bytes, || format!("{bytes} bytes after {event:?}"))?;
        hold(counters.bytes <= settings.cache_bytes, || format!("{} bytes are counted", counters.bytes))?;
        hold(spooled <= settings.spool_bytes && spooled == counters.spooled_bytes, || {
            format!("{spooled} bytes spooled")
        })?;
        let used: BTreeSet<ContentId> = self.used().into_iter().collect();
        let is_idle = |(id, content): &(&ContentId, &ContentSeen)| {
            content.place == Place::Spool && content.whole && !used.contains(*id)
        };
        let idle: Vec<_> = self.contents.iter().filter(is_idle).collect();
        let is_recent = |content: &ContentSeen| self.now_ns - content.used_at_ns < settings.spool_idle_ns;
        let are_few = idle.len() <= settings.fetches && idle.iter().all(|(_, content)| is_recent(content));
        hold(are_few, || format!("{} spools that nobody uses after {event:?}", idle.len()))?;
        hold(counters.fetching == self.fetches.len() as u64, || format!("fetches after {event:?}"))?;
        let passing = self.fetches.values().filter(|seen| seen.place == Some(Place::Window)).count();
        let is_within = passing <= settings.pass_through && self.fetches.len() - passing <= settings.fetches;
        hold(is_within, || format!("{} fetches, {passing} pass through", self.fetches.len()))?;
        let reading = self.readers().len();
        hold(counters.reading == reading as u64 && reading <= settings.readers, || format!("{reading} readers"))?;
        let waiting = self.requests.len() - reading;
        hold(counters.waiting == waiting as u64 && waiting <= settings.waiting, || format!("{waiting} wait"))?;
        hold(core.contents.len() == self.contents.len(), || format!("handles after {event:?}"))?;
        hold(counters.negative_entries <= settings.negative as u64, || "too many negative entries".to_owned())
    }

    /// Nobody asks any more, and all was purged.
    pub fn at_rest(&self, core: &Core) -> Verdict {
        let open = self.open_requests();
        hold(open.is_empty(), || format!("{open:?} never come to an end"))?;
        hold(self.fetches.is_empty(), || format!("{:?} never end", self.fetches.keys()))?;
        hold(self.contents.is_empty(), || format!("{:?} are never released", self.contents.keys()))?;
        let counters = core.counters();
        let left = [counters.bytes, counters.spooled_bytes, counters.queued, core.records.len() as u64];
        hold(left == [0; 4] && core.running == 0 && core.passing == 0, || format!("{left:?} is left"))
    }
}
