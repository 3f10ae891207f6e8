//! Fetches: when each begins, what becomes of what it brings, and who is told.

use std::collections::BTreeSet;

use super::content::Content;
use super::defect::Defect;
use super::event::{Action, Answer, ContentId, FetchId, Head, Place, Reason, RequestId, Source, Validators};
use super::fetch::{Fetch, Stage};
use super::records::{Entry, Object};
use super::state::Core;

impl Core {
    /// Begins as many fetches as may run.
    pub(super) fn start_fetches(&mut self) {
        while self.running < self.settings.fetches {
            let Some(id) = self.queue.take() else { return };
            // The entry that it was to ask about may be gone.
            self.cancel_if_unwanted(id);
            let Some(fetch) = self.fetches.get_mut(&id) else { continue };
            (fetch.stage, fetch.asked_at_ns) = (Stage::Asked, self.now_ns);
            self.running += 1;
            let (path, object) = (fetch.path.clone(), self.records.object(&fetch.path));
            let validators = object.map_or_else(Validators::default, |object| object.validators.clone());
            if let Some(object) = object.filter(|_| !validators.is_empty()) {
                // What it is asked about stays there until the answer.
                fetch.old = Some(object.content);
                self.contents.begin_use(object.content);
            }
            self.counted.fetches += 1;
            self.actions.push_back(Action::Fetch { fetch: id, path, validators });
        }
    }

    /// The upstream has answered.
    pub(super) fn head(&mut self, now_ns: u64, id: FetchId, head: Head) {
        let Some(fetch) = self.fetches.get(&id) else { return };
        if fetch.stage != Stage::Asked {
            return self.give_up(now_ns, id, Reason::Upstream);
        }
        match head {
            Head::Found { length, validators } => self.open(now_ns, id, length, validators),
            Head::NotModified => match fetch.old {
                Some(old) => self.not_modified(id, old),
                None => self.failed(now_ns, id),
            },
            Head::NotFound => self.not_found(id),
        }
    }

    /// Until when what a fetch brings is fresh.
    fn fresh_until(&self, fetch: &Fetch, ttl_ns: u64) -> u64 {
        let since_ns = if self.has(Defect::AgeOfTheAnswer) { self.now_ns } else { fetch.asked_at_ns };
        since_ns.saturating_add(ttl_ns)
    }

    fn not_modified(&mut self, id: FetchId, old: ContentId) {
        let Some(fetch) = self.remove_fetch(id) else { return };
        let fresh_until_ns = self.fresh_until(&fetch, self.settings.ttl_ns);
        if fetch.attached
            && let Some(object) = self.records.object_mut(&fetch.path)
        {
            object.fresh_until_ns = fresh_until_ns;
            object.retry_at_ns = 0;
            self.counted.renewed += 1;
        }
        let length = self.contents.get(old).map_or(0, |content| content.here);
        for request in fetch.waiting {
            self.end_waiting(request);
            self.answer_found(request, old, length, Source::Revalidated);
        }
        self.end_use_of_old(Some(old));
    }

    fn not_found(&mut self, id: FetchId) {
        let Some(fetch) = self.remove_fetch(id) else { return };
        if fetch.attached {
            let ttl_ns = self.settings.negative_ttl_ns;
            let entry = (ttl_ns > 0).then(|| Entry::Negative(self.fresh_until(&fetch, ttl_ns)));
            self.set_entry(&fetch.path, entry);
            while self.records.negative() > self.settings.negative {
                let Some(first) = self.records.first_negative() else { break };
                self.set_entry(&first, None);
            }
        }
        for request in fetch.waiting {
            let source = self.end_waiting(request);
            self.answer(request, Answer::NotFound(source));
        }
        self.end_use_of_old(fetch.old);
    }

    /// Decides where the bytes of a fetch go, and tells those who wait.
    fn open(&mut self, now_ns: u64, id: FetchId, length: Option<u64>, validators: Validators) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        let (path, old) = (fetch.path.clone(), fetch.old.take());
        self.end_use_of_old(old);
        let charge = length.and_then(|length| self.charge(&path, length));
        let place = match (length, charge) {
            (None, _) => Place::Spool,
            (Some(_), Some(charge)) if self.make_room(charge) => Place::Memory,
            (Some(length), _) if self.spools_take(length) => Place::Spool,
            _ => Place::Window,
        };
        if place == Place::Window && self.passing >= self.settings.pass_through {
            return self.give_up(now_ns, id, Reason::Full);
        }
        let may_be_kept = place != Place::Window && (length.is_none() || charge.is_some());
        let charge = if place == Place::Memory { charge.unwrap_or(0) } else { 0 };
        let content = self.contents.open(id, path, place, length, charge);
        self.actions.push_back(Action::Open { content, fetch: id, place, length });
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        fetch.stage = Stage::Streaming(content);
        fetch.validators = validators;
        let waiting = if length.is_some() { std::mem::take(&mut fetch.waiting) } else { BTreeSet::new() };
        if place == Place::Window {
            self.passes_through(id);
        }
        if !may_be_kept {
            self.forget_entry(id);
        }
        if let Some(length) = length {
            self.answer_waiting(waiting, content, length);
        }
        self.cancel_if_unwanted(id);
    }

    /// A fetch passes through from now on.
    fn passes_through(&mut self, id: FetchId) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        fetch.passes_through = true;
        self.running -= 1;
        self.passing += 1;
        self.counted.passed_through += 1;
    }

    /// A content has no room in a spool, and passes through.
    pub(super) fn unspooled(&mut self, now_ns: u64, content_id: ContentId) {
        let Some(id) = self.fetch_into(content_id) else { return };
        let is_new = |content: &Content| content.place == Place::Spool && content.length.is_some() && content.here == 0;
        if !self.contents.get(content_id).is_some_and(is_new) {
            return;
        }
        self.contents.move_to_window(content_id);
        if self.passing >= self.settings.pass_through {
            return self.give_up(now_ns, id, Reason::Full);
        }
        self.passes_through(id);
        self.forget_entry(id);
        self.cancel_if_unwanted(id);
    }

    fn answer_waiting(&mut self, waiting: BTreeSet<RequestId>, content: ContentId, length: u64) {
        for request in waiting {
            let source = self.end_waiting(request);
            self.answer_found(request, content, length, source);
        }
    }

    /// Bytes have come.
    pub(super) fn chunk(&mut self, now_ns: u64, id: FetchId, bytes: u64) {
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        let Stage::Streaming(content_id) = fetch.stage else { return self.give_up(now_ns, id, Reason::Upstream) };
        let path = fetch.path.clone();
        let Some(content) = self.contents.get(content_id) else { return };
        let here = content.here.saturating_add(bytes);
        let is_of_unknown_length = content.place == Place::Spool && content.length.is_none();
        if content.length.is_some_and(|length| here > length) {
            return self.give_up(now_ns, id, Reason::Upstream);
        }
        if is_of_unknown_length && (here > self.settings.object_bytes || !self.make_room_in_spools(bytes)) {
            return self.give_up(now_ns, id, Reason::TooLarge);
        }
        self.contents.grow(content_id, bytes);
        self.actions.push_back(Action::Append(content_id));
        if is_of_unknown_length {
            if self.charge(&path, here).is_none() {
                self.forget_entry(id);
            }
            self.cancel_if_unwanted(id);
        }
        self.pause_or_resume(content_id, id);
    }

    /// The content has come to its end.
    pub(super) fn whole(&mut self, now_ns: u64, id: FetchId) {
        let Some(fetch) = self.fetches.get(&id) else { return };
        let Stage::Streaming(content_id) = fetch.stage else { return self.give_up(now_ns, id, Reason::Upstream) };
        let Some(content) = self.contents.get(content_id) else { return };
        let (here, place, length) = (content.here, content.place, content.length);
        if length.is_some_and(|length| length != here) && !self.has(Defect::ShortIsWhole) {
            return self.failed(now_ns, id);
        }
        let length = length.unwrap_or(here);
        let Some(fetch) = self.remove_fetch(id) else { return };
        self.contents.end(content_id, length);
        let fresh_until_ns = self.fresh_until(&fetch, self.settings.ttl_ns);
        if fetch.attached {
            let is_kept = match place {
                Place::Memory => true,
                Place::Window => false,
                Place::Spool => self.move_to_memory(content_id, length) || self.shares_spools(),
            };
            let validators = fetch.validators;
            let object = Object { content: content_id, length, validators, fresh_until_ns, retry_at_ns: 0 };
            let entry = is_kept.then_some(Entry::Object(object));
            // What does not become an entry is newer all the same than what was one.
            self.set_entry(&fetch.path, entry);
        }
        self.answer_waiting(fetch.waiting, content_id, length);
        self.settle(content_id);
    }

    /// A content from a spool becomes an entry in memory, if there is room for it.
    pub(super) fn move_to_memory(&mut self, id: ContentId, length: u64) -> bool {
        let Some(content) = self.contents.get(id) else { return false };
        let Some(charge) = self.charge(&content.path, length).filter(|charge| self.make_room(*charge)) else {
            return false;
        };
        self.contents.move_to_memory(id, charge);
        self.actions.push_back(Action::Keep(id));
        true
    }

    /// The fetch is not to go on, since what it brings is wrong, or cannot be taken.
    fn give_up(&mut self, now_ns: u64, id: FetchId, reason: Reason) {
        self.actions.push_back(Action::Cancel(id));
        self.fail(now_ns, id, reason);
    }

    /// The fetch has failed.
    pub(super) fn failed(&mut self, now_ns: u64, id: FetchId) {
        self.fail(now_ns, id, Reason::Upstream);
    }

    fn fail(&mut self, now_ns: u64, id: FetchId, reason: Reason) {
        let Some(mut fetch) = self.remove_fetch(id) else { return };
        self.counted.failed_fetches += 1;
        if let Stage::Streaming(content) = fetch.stage {
            self.cut(content);
        }
        let (retry_ns, bound_ns) = (self.settings.retry_ns, self.settings.stale_if_error_ns);
        let mut instead = None;
        if let Some(object) = self.records.object_mut(&fetch.path) {
            if fetch.attached {
                object.retry_at_ns = now_ns.saturating_add(retry_ns);
            }
            // Another fetch may have brought it, if nobody could join this one any more.
            let source = if now_ns < object.fresh_until_ns { Source::Hit } else { Source::Stale };
            let is_good = now_ns < object.fresh_until_ns.saturating_add(bound_ns);
            instead = is_good.then_some((object.content, object.length, source));
        }
        if self.has(Defect::ForgottenRequest) {
            fetch.waiting.pop_first();
        }
        for request in fetch.waiting {
            self.end_waiting(request);
            match instead {
                Some((content, length, source)) => self.answer_found(request, content, length, source),
                None => self.answer(request, Answer::Error(reason)),
            }
        }
        self.end_use_of_old(fetch.old);
    }

    /// No more bytes of a content come.
    fn cut(&mut self, id: ContentId) {
        if self.has(Defect::CutIsLeaked) {
            return;
        }
        if let Some(content) = self.contents.get_mut(id) {
            content.filling = false;
            if content.users > 0 {
                self.actions.push_back(Action::Cut(id));
            }
        }
        self.settle(id);
    }

    /// Ends a fetch that nobody needs.
    pub(super) fn cancel_if_unwanted(&mut self, id: FetchId) {
        let Some(fetch) = self.fetches.get(&id) else { return };
        if self.is_wanted(fetch) {
            return;
        }
        if fetch.stage != Stage::Queued {
            self.actions.push_back(Action::Cancel(id));
        }
        let Some(fetch) = self.remove_fetch(id) else { return };
        if let Stage::Streaming(content) = fetch.stage {
            self.cut(content);
        }
        self.end_use_of_old(fetch.old);
    }

    fn is_wanted(&self, fetch: &Fetch) -> bool {
        !fetch.waiting.is_empty()
            || match fetch.stage {
                Stage::Queued => fetch.owner.is_none() && self.records.object(&fetch.path).is_some(),
                Stage::Asked => fetch.attached,
                Stage::Streaming(id) => self.contents.get(id).is_some_and(|content| {
                    let may_be_kept = match content.place {
                        Place::Memory => true,
                        Place::Window => false,
                        // Its readers may have all of it before it is known to be whole; others share it then.
                        Place::Spool if content.length == Some(content.here) => true,
                        Place::Spool => self.charge(&fetch.path, content.length.unwrap_or(content.here)).is_some(),
                    };
                    content.users > 0 || fetch.attached && may_be_kept
                }),
            }
    }
}
