//! Which fetch is next: those that requests wait for, by turns of their owners; then those in the background.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::event::{FetchId, OwnerId};

/// The fetches that wait for their turn.
#[derive(Debug, Default)]
pub struct Queue {
    foreground: BTreeMap<OwnerId, BTreeSet<FetchId>>,
    background: BTreeSet<FetchId>,
    /// Whose turn was last.
    last: Option<OwnerId>,
    length: usize,
}

impl Queue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// How many wait that no request waits for.
    pub fn background_len(&self) -> usize {
        self.background.len()
    }

    /// Adds a fetch that requests of this owner wait for.
    pub fn add(&mut self, owner: OwnerId, fetch: FetchId) {
        self.length += usize::from(self.foreground.entry(owner).or_default().insert(fetch));
    }

    /// Adds a fetch that nobody waits for.
    pub fn add_background(&mut self, fetch: FetchId) {
        self.length += usize::from(self.background.insert(fetch));
    }

    /// Removes a fetch. `owner` is none for one in the background.
    pub fn remove(&mut self, owner: Option<OwnerId>, fetch: FetchId) {
        let Some(owner) = owner else {
            self.length -= usize::from(self.background.remove(&fetch));
            return;
        };
        let Some(fetches) = self.foreground.get_mut(&owner) else { return };
        let removed = fetches.remove(&fetch);
        if fetches.is_empty() {
            self.foreground.remove(&owner);
        }
        self.length -= usize::from(removed);
    }

    /// Takes the next.
    pub fn take(&mut self) -> Option<FetchId> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.foreground.range((after, Bound::Unbounded)).next().or_else(|| self.foreground.iter().next());
        let Some((&owner, fetches)) = next else {
            let fetch = self.background.pop_first();
            self.length -= usize::from(fetch.is_some());
            return fetch;
        };
        let fetch = *fetches.first()?;
        self.last = Some(owner);
        self.remove(Some(owner), fetch);
        Some(fetch)
    }
}
