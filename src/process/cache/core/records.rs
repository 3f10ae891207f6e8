//! What is known of each path: the entry, and the fetch that may bring another.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::event::{ContentId, FetchId, Path, Validators};

/// An entry that has content.
#[derive(Clone, Debug)]
pub struct Object {
    /// Which.
    pub content: ContentId,
    /// Its bytes.
    pub length: u64,
    /// What the upstream can be asked with.
    pub validators: Validators,
    /// Until when it is fresh.
    pub fresh_until_ns: u64,
    /// When the upstream may be asked about it again.
    pub retry_at_ns: u64,
}

/// An entry.
#[derive(Clone, Debug)]
pub enum Entry {
    /// There is such an object.
    Object(Object),
    /// There was none, which is believed until then.
    Negative(u64),
}

/// What is known of a path.
#[derive(Debug, Default)]
pub struct Record {
    /// What is kept.
    pub entry: Option<Entry>,
    /// The fetch that requests may join.
    pub fetch: Option<FetchId>,
}

/// What is known of all paths.
#[derive(Debug, Default)]
pub struct Records {
    by_path: BTreeMap<Path, Record>,
    /// Negative entries, by when they end.
    negative: BTreeSet<(u64, Path)>,
    objects: usize,
}

impl Records {
    /// Entries that have content.
    pub fn objects(&self) -> usize {
        self.objects
    }

    /// Entries that have none.
    pub fn negative(&self) -> usize {
        self.negative.len()
    }

    /// How many paths something is known of.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_path.len()
    }

    /// What is known of a path.
    pub fn get(&self, path: &[u8]) -> Option<&Record> {
        self.by_path.get(path)
    }

    /// The same, and the path as it is shared.
    pub fn get_key_value(&self, path: &[u8]) -> Option<(&Path, &Record)> {
        self.by_path.get_key_value(path)
    }

    /// The entry with content.
    pub fn object(&self, path: &[u8]) -> Option<&Object> {
        match self.get(path)?.entry.as_ref()? {
            Entry::Object(object) => Some(object),
            Entry::Negative(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn object_mut(&mut self, path: &[u8]) -> Option<&mut Object> {
        match self.by_path.get_mut(path)?.entry.as_mut()? {
            Entry::Object(object) => Some(object),
            Entry::Negative(_) => None,
        }
    }

    /// Sets the fetch that requests may join.
    pub fn set_fetch(&mut self, path: &Path, fetch: Option<FetchId>) {
        self.by_path.entry(path.clone()).or_default().fetch = fetch;
        self.prune(path);
    }

    /// Sets the entry. Returns the content that was that of the old one.
    pub fn set_entry(&mut self, path: &Path, entry: Option<Entry>) -> Option<ContentId> {
        match &entry {
            Some(Entry::Negative(until_ns)) => _ = self.negative.insert((*until_ns, path.clone())),
            Some(Entry::Object(_)) => self.objects += 1,
            None => {}
        }
        let new_until = if let Some(Entry::Negative(until_ns)) = entry { Some(until_ns) } else { None };
        let old = std::mem::replace(&mut self.by_path.entry(path.clone()).or_default().entry, entry);
        self.prune(path);
        match old {
            Some(Entry::Object(object)) => {
                self.objects -= 1;
                Some(object.content)
            }
            Some(Entry::Negative(until_ns)) if new_until != Some(until_ns) => {
                self.negative.remove(&(until_ns, path.clone()));
                None
            }
            _ => None,
        }
    }

    /// The path of the negative entry that ends first.
    pub fn first_negative(&self) -> Option<Path> {
        self.negative.first().map(|(_, path)| path.clone())
    }

    /// The paths after this one, in order.
    pub fn after(&self, path: Option<&[u8]>) -> impl Iterator<Item = (&Path, &Record)> {
        let start = path.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_path.range::<[u8], _>((start, Bound::Unbounded))
    }

    /// Of a path of which nothing is known there is no record.
    fn prune(&mut self, path: &Path) {
        if self.by_path.get(path).is_some_and(|record| record.entry.is_none() && record.fetch.is_none()) {
            self.by_path.remove(path);
        }
    }
}
