//! Requests: what each is answered with, or what it waits for.

use super::defect::Defect;
use super::event::{Action, Answer, ContentId, FetchId, OwnerId, Path, Reason, RequestId, Source};
use super::fetch::{Fetch, Request, Stage};
use super::records::Entry;
use super::state::Core;

/// What an entry is good for.
enum Use {
    /// It is the answer.
    Answer(ContentId, u64, Source),
    /// It is the answer, and the upstream is to be asked about it.
    AnswerAndAsk(ContentId, u64),
    /// There is no such object.
    NotFound,
    /// The upstream is to be asked first.
    Ask,
}

impl Core {
    /// Somebody asks for a path.
    pub(super) fn requested(&mut self, now_ns: u64, request: RequestId, owner: OwnerId, path: Path) {
        if self.requests.contains_key(&request) {
            debug_assert!(false, "request {request:?} is under way already");
            return;
        }
        match self.use_of_entry(now_ns, &path) {
            Use::Answer(content, length, source) => self.answer_found(request, content, length, source),
            Use::NotFound => self.answer(request, Answer::NotFound(Source::Hit)),
            Use::AnswerAndAsk(content, length) => {
                self.answer_found(request, content, length, Source::Stale);
                self.revalidate(path);
            }
            Use::Ask => self.join_or_fetch(request, owner, path),
        }
    }

    /// What the entry of a path is good for now.
    fn use_of_entry(&self, now_ns: u64, path: &[u8]) -> Use {
        match self.records.get(path).and_then(|record| record.entry.as_ref()) {
            Some(Entry::Negative(until_ns)) if now_ns < *until_ns => Use::NotFound,
            Some(Entry::Object(object)) => {
                let (content, length, settings) = (object.content, object.length, &self.settings);
                let is_within = |bound_ns: u64| now_ns < object.fresh_until_ns.saturating_add(bound_ns);
                if is_within(0) {
                    Use::Answer(content, length, Source::Hit)
                } else if now_ns < object.retry_at_ns && is_within(settings.stale_if_error_ns) {
                    Use::Answer(content, length, Source::Stale)
                } else if is_within(settings.stale_while_revalidate_ns) {
                    Use::AnswerAndAsk(content, length)
                } else {
                    Use::Ask
                }
            }
            _ => Use::Ask,
        }
    }

    /// A fetch in the background, unless there is one, or too many wait for their turn.
    fn revalidate(&mut self, path: Path) {
        let has_one = self.records.get(&path).is_some_and(|record| record.fetch.is_some());
        if !has_one && self.queue.background_len() < self.settings.revalidations {
            let fetch = self.new_fetch(path, None);
            self.queue.add_background(fetch);
        }
    }

    /// A new fetch, which is to be queued.
    fn new_fetch(&mut self, path: Path, owner: Option<OwnerId>) -> FetchId {
        let fetch = FetchId(self.next_fetch);
        self.next_fetch += 1;
        self.records.set_fetch(&path, Some(fetch));
        self.fetches.insert(fetch, Fetch::new(path, owner));
        fetch
    }

    /// The request joins the fetch of its path, or begins one.
    fn join_or_fetch(&mut self, request: RequestId, owner: OwnerId, path: Path) {
        let found = self.records.get(&path).and_then(|record| record.fetch);
        let Some(fetch) = found else { return self.begin(request, owner, path) };
        let content = self.content_of(fetch).and_then(|id| Some((id, self.contents.get(id)?)));
        match content.and_then(|(id, content)| Some((id, content, content.length?))) {
            Some((id, content, length)) => {
                if content.has_its_beginning() || self.has(Defect::LateReader) {
                    self.answer_found(request, id, length, Source::Coalesced);
                } else {
                    // The window has moved past the beginning: who comes later shares another fetch.
                    self.detach(fetch);
                    self.begin(request, owner, path);
                }
            }
            None => self.wait(request, fetch, owner),
        }
    }

    /// The request begins a fetch.
    fn begin(&mut self, request: RequestId, owner: OwnerId, path: Path) {
        if self.waiting >= self.settings.waiting {
            return self.answer(request, Answer::Error(Reason::Full));
        }
        let fetch = self.new_fetch(path, Some(owner));
        self.queue.add(owner, fetch);
        self.add_waiting(request, fetch, true);
    }

    /// The request waits for a fetch that there is.
    fn wait(&mut self, request: RequestId, id: FetchId, owner: OwnerId) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        if fetch.waiting.len() >= self.settings.waiting_per_path || self.waiting >= self.settings.waiting {
            return self.answer(request, Answer::Error(Reason::Full));
        }
        if fetch.stage == Stage::Queued && fetch.owner.is_none() {
            // It is in the background no more.
            fetch.owner = Some(owner);
            self.queue.remove(None, id);
            self.queue.add(owner, id);
        }
        self.add_waiting(request, id, false);
    }

    fn add_waiting(&mut self, request: RequestId, id: FetchId, first: bool) {
        if let Some(fetch) = self.fetches.get_mut(&id) {
            fetch.waiting.insert(request);
            self.waiting += 1;
            self.requests.insert(request, Request::Waiting { fetch: id, first });
        }
    }

    /// Ends the waiting of a request. Returns where an answer out of its fetch comes from.
    pub(super) fn end_waiting(&mut self, request: RequestId) -> Source {
        match self.requests.remove(&request) {
            Some(Request::Waiting { first, .. }) => {
                self.waiting -= 1;
                if first { Source::Miss } else { Source::Coalesced }
            }
            _ => Source::Miss,
        }
    }

    /// Answers a request, which waits no more, with content.
    pub(super) fn answer_found(&mut self, request: RequestId, content: ContentId, length: u64, source: Source) {
        if self.requests.len() - self.waiting >= self.settings.readers {
            return self.answer(request, Answer::Error(Reason::Full));
        }
        self.contents.begin_use(content);
        self.requests.insert(request, Request::Reading { content, position: 0 });
        self.answer(request, Answer::Found { content, length, source });
    }

    /// Answers a request, which waits no more.
    pub(super) fn answer(&mut self, request: RequestId, answer: Answer) {
        let counted = &mut self.counted;
        match answer {
            Answer::Found { source, .. } | Answer::NotFound(source) => match source {
                Source::Hit => counted.hits += 1,
                Source::Miss => counted.misses += 1,
                Source::Stale => counted.stale += 1,
                Source::Revalidated => counted.revalidated += 1,
                Source::Coalesced => counted.coalesced += 1,
            },
            Answer::Error(Reason::Full) => counted.refused += 1,
            Answer::Error(Reason::Upstream | Reason::TooLarge) => counted.errors += 1,
        }
        counted.not_found += u64::from(matches!(answer, Answer::NotFound(_)));
        self.actions.push_back(Action::Answer(request, answer));
    }

    /// A reader goes on.
    pub(super) fn read(&mut self, request: RequestId, to: u64) {
        let Some(Request::Reading { content, position }) = self.requests.get_mut(&request) else { return };
        *position = self.contents.advance(*content, *position, to);
        let content = *content;
        self.trim(content);
    }

    /// A request needs nothing any more.
    pub(super) fn finished(&mut self, request: RequestId) {
        match self.requests.get(&request).copied() {
            None => {}
            Some(Request::Waiting { fetch: id, .. }) => {
                self.end_waiting(request);
                if let Some(fetch) = self.fetches.get_mut(&id) {
                    fetch.waiting.remove(&request);
                }
                self.cancel_if_unwanted(id);
            }
            Some(Request::Reading { content, position }) => {
                self.requests.remove(&request);
                self.contents.end_use(content, position);
                self.trim(content);
                if let Some(fetch) = self.fetch_into(content) {
                    self.cancel_if_unwanted(fetch);
                }
                self.settle(content);
            }
        }
    }

    /// Removes the entry of a path, and has no fetch that is under way bring one. Who reads, or waits already, is not affected.
    pub fn purge(&mut self, path: &[u8]) -> bool {
        let Some((path, record)) = self.records.get_key_value(path) else { return false };
        let (path, fetch, has_entry) = (path.clone(), record.fetch, record.entry.is_some());
        if has_entry {
            self.set_entry(&path, None);
            self.counted.purged += 1;
        }
        if let Some(id) = fetch {
            let is_queued = self.fetches.get(&id).is_some_and(|fetch| fetch.stage == Stage::Queued);
            if !is_queued && !self.has(Defect::PurgedIsKept) {
                self.detach(id);
            }
            self.cancel_if_unwanted(id);
        }
        self.start_fetches();
        has_entry || fetch.is_some()
    }

    /// The same of all paths. Returns of how many there was anything.
    pub fn purge_all(&mut self) -> u64 {
        let paths: Vec<Path> = self.records.after(None).map(|(path, _)| path.clone()).collect();
        paths.iter().map(|path| u64::from(self.purge(path))).sum()
    }
}
