//! The contents: how many bytes each has, where they are, and who reads them.

use std::collections::{BTreeMap, HashMap};

use super::event::{ContentId, FetchId, Path, Place};

/// The bytes that one fetch gave, or gives.
#[derive(Debug)]
pub struct Content {
    /// Which.
    pub fetch: FetchId,
    /// What they are of.
    pub path: Path,
    /// Where they go.
    pub place: Place,
    /// How many there will be, if that is known.
    pub length: Option<u64>,
    /// How many have come.
    pub here: u64,
    /// Whether more may come.
    pub filling: bool,
    /// Whether it is that of an entry.
    pub kept: bool,
    /// Requests that read it, and fetches that ask whether it is still right.
    pub users: u32,
    /// Bytes of memory that are reserved for it.
    charge: u64,
    /// Where the window begins.
    pub base: u64,
    /// Of a window: where its readers are, and how many at each place.
    positions: BTreeMap<u64, u32>,
    /// Its place among those that nobody uses: in memory or in spools, each by itself.
    idle: Option<u64>,
}

impl Content {
    /// Bytes that it takes of the spools: all that will come, where that is known.
    pub fn spooled(&self) -> u64 {
        if self.place == Place::Spool { self.length.unwrap_or(self.here) } else { 0 }
    }

    /// Whether who begins to read now can have all of it.
    pub fn has_its_beginning(&self) -> bool {
        self.base == 0
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Contents {
    by_id: HashMap<ContentId, Content>,
    /// Entries in memory that nobody uses, by when that began.
    idle: BTreeMap<u64, ContentId>,
    idle_bytes: u64,
    /// Entries in spools that nobody uses, and since when.
    idle_spools: BTreeMap<u64, (ContentId, u64)>,
    bytes: u64,
    spooled: u64,
    next_id: u64,
    next_idle: u64,
}

impl Contents {
    /// Bytes of memory that are reserved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of these that cannot be had by eviction.
    pub fn busy_bytes(&self) -> u64 {
        self.bytes - self.idle_bytes
    }

    /// Bytes that are taken of the spools.
    pub fn spooled(&self) -> u64 {
        self.spooled
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// One of them.
    pub fn get(&self, id: ContentId) -> Option<&Content> {
        self.by_id.get(&id)
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, id: ContentId) -> Option<&mut Content> {
        self.by_id.get_mut(&id)
    }

    /// A new one, for which `charge` bytes of memory are reserved.
    pub fn open(&mut self, fetch: FetchId, path: Path, place: Place, length: Option<u64>, charge: u64) -> ContentId {
        let id = ContentId(self.next_id);
        self.next_id += 1;
        self.bytes += charge;
        let content = Content {
            fetch,
            path,
            place,
            length,
            here: 0,
            filling: true,
            kept: false,
            users: 0,
            charge,
            base: 0,
            positions: BTreeMap::new(),
            idle: None,
        };
        self.spooled += content.spooled();
        self.by_id.insert(id, content);
        id
    }

    /// So many bytes have come.
    pub fn grow(&mut self, id: ContentId, bytes: u64) {
        let Some(content) = self.by_id.get_mut(&id) else { return };
        let before = content.spooled();
        content.here += bytes;
        self.spooled += content.spooled() - before;
    }

    /// No more bytes come, and there are so many.
    pub fn end(&mut self, id: ContentId, length: u64) {
        if let Some(content) = self.by_id.get_mut(&id) {
            (content.filling, content.length) = (false, Some(length));
        }
    }

    /// What was in a spool is now in memory, of which `charge` bytes are reserved for it.
    pub fn move_to_memory(&mut self, id: ContentId, charge: u64) {
        self.end_idleness(id);
        let Some(content) = self.by_id.get_mut(&id) else { return };
        self.spooled -= content.spooled();
        content.place = Place::Memory;
        content.charge = charge;
        self.bytes += charge;
    }

    /// What was to go into a spool, and has not begun to come, passes through.
    pub fn move_to_window(&mut self, id: ContentId) {
        let Some(content) = self.by_id.get_mut(&id) else { return };
        self.spooled -= content.spooled();
        content.place = Place::Window;
        if content.users > 0 {
            content.positions.insert(0, content.users);
        }
    }

    /// Somebody uses it from now on; of a window: reads it, from its beginning.
    pub fn begin_use(&mut self, id: ContentId) {
        let Some(content) = self.by_id.get_mut(&id) else { return };
        content.users += 1;
        if content.place == Place::Window {
            *content.positions.entry(0).or_default() += 1;
        }
        self.end_idleness(id);
    }

    fn end_idleness(&mut self, id: ContentId) {
        let Some(content) = self.by_id.get_mut(&id) else { return };
        let Some(place) = content.idle.take() else { return };
        if self.idle.remove(&place).is_some() {
            self.idle_bytes -= content.charge;
        }
        self.idle_spools.remove(&place);
    }

    /// Somebody uses it no more, whose place was this.
    pub fn end_use(&mut self, id: ContentId, position: u64) {
        let Some(content) = self.by_id.get_mut(&id) else { return };
        content.users -= 1;
        if content.place == Place::Window {
            leave(&mut content.positions, position);
        }
    }

    /// A reader of a window goes on from one place to another, as far as bytes have come. Returns its new place.
    pub fn advance(&mut self, id: ContentId, from: u64, to: u64) -> u64 {
        let Some(content) = self.by_id.get_mut(&id) else { return from };
        let to = to.clamp(from, content.here.max(from));
        if content.place == Place::Window && to != from {
            leave(&mut content.positions, from);
            *content.positions.entry(to).or_default() += 1;
        }
        to
    }

    /// The place before which no reader needs the bytes of a window, where that has changed.
    pub fn trim(&mut self, id: ContentId) -> Option<u64> {
        let content = self.by_id.get_mut(&id)?;
        let (&first, _) = content.positions.first_key_value()?;
        let moved = first > content.base;
        content.base = first;
        moved.then_some(first)
    }

    /// Whether it is neither needed nor read; then it is gone. An entry that nobody uses is idle from now on.
    pub fn settle(&mut self, now_ns: u64, id: ContentId, even_if_read: bool) -> bool {
        let Some(content) = self.by_id.get_mut(&id) else { return false };
        if content.users > 0 && !even_if_read {
            return false;
        }
        if content.kept {
            if content.idle.is_none() && content.users == 0 {
                content.idle = Some(self.next_idle);
                if content.place == Place::Spool {
                    self.idle_spools.insert(self.next_idle, (id, now_ns));
                } else {
                    self.idle.insert(self.next_idle, id);
                    self.idle_bytes += content.charge;
                }
                self.next_idle += 1;
            }
            return false;
        }
        if content.filling {
            return false;
        }
        self.bytes -= content.charge;
        self.spooled -= content.spooled();
        self.end_idleness(id);
        self.by_id.remove(&id);
        true
    }

    /// The entry that has been idle for longest.
    pub fn oldest_idle(&self) -> Option<ContentId> {
        self.idle.first_key_value().map(|(_, id)| *id)
    }

    /// The entry in a spool that has been idle for longest, and since when.
    pub fn oldest_idle_spool(&self) -> Option<(ContentId, u64)> {
        self.idle_spools.first_key_value().map(|(_, idle)| *idle)
    }

    /// How many such entries there are.
    pub fn idle_spools(&self) -> usize {
        self.idle_spools.len()
    }
}

/// One reader is at this place no more.
fn leave(positions: &mut BTreeMap<u64, u32>, position: u64) {
    if let Some(count) = positions.get_mut(&position) {
        *count -= 1;
        if *count == 0 {
            positions.remove(&position);
        }
    }
}
