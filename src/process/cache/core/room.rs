//! What fetches, contents and entries take, and how it is given back.

use super::defect::Defect;
use super::event::{Action, ContentId, FetchId, Path, Place};
use super::fetch::{Fetch, Stage};
use super::records::Entry;
use super::settings::Settings;
use super::state::Core;

impl Core {
    /// Takes a fetch out of everything. Its content, those who wait, and what it asked about are left to the caller.
    pub(super) fn remove_fetch(&mut self, id: FetchId) -> Option<Fetch> {
        self.detach_record(id);
        let fetch = self.fetches.remove(&id)?;
        match fetch.stage {
            Stage::Queued => self.queue.remove(fetch.owner, id),
            _ if fetch.passes_through => self.passing -= 1,
            _ => self.running -= 1,
        }
        Some(fetch)
    }

    /// Has nobody join a fetch any more, nor it bring an entry.
    pub(super) fn detach(&mut self, id: FetchId) {
        self.detach_record(id);
        if let Some(fetch) = self.fetches.get_mut(&id) {
            fetch.attached = false;
        }
    }

    fn detach_record(&mut self, id: FetchId) {
        if let Some(fetch) = self.fetches.get(&id).filter(|fetch| fetch.attached) {
            self.records.set_fetch(&fetch.path, None);
        }
    }

    pub(super) fn end_use_of_old(&mut self, old: Option<ContentId>) {
        if let Some(old) = old {
            self.contents.end_use(old, 0);
            self.settle(old);
        }
    }

    /// The content that a fetch brings.
    pub(super) fn content_of(&self, fetch: FetchId) -> Option<ContentId> {
        match self.fetches.get(&fetch)?.stage {
            Stage::Streaming(content) => Some(content),
            Stage::Queued | Stage::Asked => None,
        }
    }

    /// The fetch that brings a content, while it does.
    pub(super) fn fetch_into(&self, content: ContentId) -> Option<FetchId> {
        self.contents.get(content).filter(|content| content.filling).map(|content| content.fetch)
    }

    /// Forgets what no reader of a window needs, and goes on with its fetch.
    pub(super) fn trim(&mut self, content: ContentId) {
        if let Some(before) = self.contents.trim(content) {
            self.actions.push_back(Action::Trim(content, before));
            if let Some(fetch) = self.fetch_into(content) {
                self.pause_or_resume(content, fetch);
            }
        }
    }

    /// Takes more of a fetch while one more chunk fits its window.
    pub(super) fn pause_or_resume(&mut self, content: ContentId, id: FetchId) {
        let Some(content) = self.contents.get(content).filter(|content| content.place == Place::Window) else { return };
        let Some(fetch) = self.fetches.get_mut(&id) else { return };
        let is_full = content.here - content.base + self.settings.chunk_bytes > self.settings.window_bytes;
        if is_full != fetch.paused {
            fetch.paused = is_full;
            self.actions.push_back(if is_full { Action::Pause(id) } else { Action::Resume(id) });
        }
    }

    /// Bytes of memory that an entry takes; none if it is too large for one.
    pub(super) fn charge(&self, path: &[u8], length: u64) -> Option<u64> {
        let charge = length.checked_add(path.len() as u64)?;
        (length <= self.settings.object_bytes && charge <= self.settings.cache_bytes).then_some(charge)
    }

    /// Evicts until so many bytes are free. Where that cannot be, nothing is evicted.
    pub(super) fn make_room(&mut self, bytes: u64) -> bool {
        if self.has(Defect::NoEviction) {
            return true;
        }
        if self.contents.busy_bytes().saturating_add(bytes) > self.settings.cache_bytes {
            return false;
        }
        while self.contents.bytes() + bytes > self.settings.cache_bytes {
            let Some(content) = self.contents.oldest_idle().and_then(|id| self.contents.get(id)) else { return false };
            let path = content.path.clone();
            self.set_entry(&path, None);
            self.counted.evicted += 1;
        }
        true
    }

    /// Whether what is whole in a spool is given to others, too, as long as somebody reads it. Where nothing is kept, it is not.
    pub(super) fn shares_spools(&self) -> bool {
        self.settings.cache_bytes > 0 && !self.has(Defect::SpoolIsNotShared)
    }

    /// Whether there is room in the spools for a content of known length, beside one of unknown length that may come.
    pub(super) fn spools_take(&mut self, length: u64) -> bool {
        let Settings { cache_bytes, object_bytes, .. } = self.settings;
        if length > object_bytes || cache_bytes == 0 {
            return false;
        }
        self.make_room_in_spools(length.saturating_add(object_bytes)) || self.has(Defect::SpoolIsOverfull)
    }

    /// Whether so many bytes more have room in the spools. What nobody reads there goes for them.
    pub(super) fn make_room_in_spools(&mut self, bytes: u64) -> bool {
        while self.contents.spooled().saturating_add(bytes) > self.settings.spool_bytes {
            let Some((id, _)) = self.contents.oldest_idle_spool() else { return false };
            self.drop_idle_spool(id);
        }
        true
    }

    /// Drops the entries in spools that nobody has read for long enough, and the oldest where there are too many.
    pub(super) fn drop_idle_spools(&mut self) {
        if self.has(Defect::SpoolIsKept) {
            return;
        }
        while let Some((id, since_ns)) = self.contents.oldest_idle_spool() {
            let is_due = self.now_ns >= since_ns.saturating_add(self.settings.spool_idle_ns);
            if !is_due && self.contents.idle_spools() <= self.settings.fetches {
                return;
            }
            self.drop_idle_spool(id);
        }
    }

    /// An entry leaves its spool: for memory, if there is room for it now.
    fn drop_idle_spool(&mut self, id: ContentId) {
        let Some(content) = self.contents.get(id) else { return };
        let (path, length) = (content.path.clone(), content.here);
        if self.move_to_memory(id, length) {
            self.settle(id);
        } else {
            self.set_entry(&path, None);
        }
    }

    /// What a fetch brings is newer than the entry, and will not become one.
    pub(super) fn forget_entry(&mut self, id: FetchId) {
        if let Some(fetch) = self.fetches.get(&id).filter(|fetch| fetch.attached) {
            let path = fetch.path.clone();
            self.set_entry(&path, None);
        }
    }

    /// Sets the entry of a path.
    pub(super) fn set_entry(&mut self, path: &Path, entry: Option<Entry>) {
        if let Some(Entry::Object(object)) = &entry
            && let Some(content) = self.contents.get_mut(object.content)
        {
            content.kept = true;
        }
        if let Some(old) = self.records.set_entry(path, entry) {
            if let Some(content) = self.contents.get_mut(old) {
                content.kept = false;
            }
            self.settle(old);
        }
    }

    /// Releases a content that nobody needs.
    pub(super) fn settle(&mut self, id: ContentId) {
        if self.contents.settle(self.now_ns, id, self.has(Defect::ReleasedWhileRead)) {
            self.actions.push_back(Action::Release(id));
        }
    }
}
