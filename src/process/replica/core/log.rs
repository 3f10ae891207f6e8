//! Which records an entry has.

use std::collections::VecDeque;

use crate::base::vocab::Lsn;
use crate::process::replica::message::{EntryKind, EntryRange};
use crate::store::cluster::Change;

/// The log by index: entries without a gap after a base, which is the last entry that is not known any more.
///
/// It takes 32 bytes of memory an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    base: u64,
    base_term: u64,
    base_last: Lsn,
    entries: VecDeque<Slot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    term: u64,
    last: Lsn,
    kind: SlotKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SlotKind {
    Operations,
    Term,
    Change(Box<Change>),
}

/// Why an entry does not continue a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Its index is not the next.
    #[error("entry {found} where {expected} is next")]
    Index {
        /// The next.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// Its term is smaller than that of the entry before.
    #[error("entry {index} of term {found} after one of term {before}")]
    Term {
        /// Which entry.
        index: u64,
        /// The term before.
        before: u64,
        /// What it has.
        found: u64,
    },
    /// Older entries end with another one than the last that is not known.
    #[error("older entries end with entry {found}, and entry {expected} is the one before those that are known")]
    Join {
        /// The base.
        expected: u64,
        /// The last of the older ones.
        found: u64,
    },
    /// Its records do not continue those of the entry before, or it has none.
    #[error("entry {index} has records {first} to {last} where {expected} is next")]
    Records {
        /// Which entry.
        index: u64,
        /// The next record.
        expected: Lsn,
        /// What it begins with.
        first: Lsn,
        /// What it ends with.
        last: Lsn,
    },
}

impl Log {
    /// A log without entries after the entry `base`, of that term, whose last record is `last`. All are 0 where nothing was before.
    #[must_use]
    pub fn new(base: u64, term: u64, last: Lsn) -> Log {
        Log { base, base_term: term, base_last: last, entries: VecDeque::new() }
    }

    /// Whether an entry could be the next.
    ///
    /// # Errors
    ///
    /// [`LogError`] says why it could not.
    pub fn check(&self, entry: &EntryRange) -> Result<(), LogError> {
        follows((self.last_index(), self.last_term(), self.last()), entry)
    }

    /// Appends an entry.
    ///
    /// # Errors
    ///
    /// As [`Log::check`]; then nothing is appended.
    pub fn push(&mut self, entry: EntryRange) -> Result<(), LogError> {
        self.check(&entry)?;
        let kind = match entry.kind {
            EntryKind::Operations => SlotKind::Operations,
            EntryKind::Term => SlotKind::Term,
            EntryKind::Change(change) => SlotKind::Change(Box::new(change)),
        };
        self.entries.push_back(Slot { term: entry.term, last: entry.last, kind });
        Ok(())
    }

    /// The entry before the first that is known.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The last record of that entry.
    #[must_use]
    pub fn base_last(&self) -> Lsn {
        self.base_last
    }

    /// The first record that is known, or the one that comes next.
    #[must_use]
    pub fn first(&self) -> Lsn {
        Lsn(self.base_last.0 + 1)
    }

    /// The last entry; the base where none is known.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The term of the last entry.
    #[must_use]
    pub fn last_term(&self) -> u64 {
        self.entries.back().map_or(self.base_term, |slot| slot.term)
    }

    /// The last record.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.entries.back().map_or(self.base_last, |slot| slot.last)
    }

    /// How many entries are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        let place = index.checked_sub(self.base + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// The term of an entry, the base included; `None` where it is not known.
    #[must_use]
    pub fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.base { Some(self.base_term) } else { self.slot(index).map(|slot| slot.term) }
    }

    /// The last record of an entry, the base included; `None` where it is not known.
    #[must_use]
    pub fn last_of(&self, index: u64) -> Option<Lsn> {
        if index == self.base { Some(self.base_last) } else { self.slot(index).map(|slot| slot.last) }
    }

    /// An entry.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<EntryRange> {
        let slot = self.slot(index)?;
        let kind = match &slot.kind {
            SlotKind::Operations => EntryKind::Operations,
            SlotKind::Term => EntryKind::Term,
            SlotKind::Change(change) => EntryKind::Change((**change).clone()),
        };
        let first = Lsn(self.last_of(index - 1)?.0 + 1);
        Some(EntryRange { index, term: slot.term, first, last: slot.last, kind })
    }

    /// The change of membership that an entry is.
    pub(super) fn change_of(&self, index: u64) -> Option<&Change> {
        match &self.slot(index)?.kind {
            SlotKind::Change(change) => Some(change),
            SlotKind::Operations | SlotKind::Term => None,
        }
    }

    /// The last entry all of whose records are at or before `lsn`; the base where there is none.
    #[must_use]
    pub fn index_at(&self, lsn: Lsn) -> u64 {
        self.base + self.entries.partition_point(|slot| slot.last <= lsn) as u64
    }

    /// Drops all entries after `index`, which is the base or later.
    pub(super) fn cut_after(&mut self, index: u64) {
        let stays = usize::try_from(index.saturating_sub(self.base)).unwrap_or(usize::MAX);
        self.entries.truncate(stays);
    }

    /// Puts older entries before those that are known: a log that ends with the base of this one. The base is that of the older one then.
    ///
    /// # Errors
    ///
    /// [`LogError::Join`], where it ends with another entry; then nothing is changed.
    pub fn prepend(&mut self, older: Log) -> Result<(), LogError> {
        let end = (older.last_index(), older.last_term(), older.last());
        if end != (self.base, self.base_term, self.base_last) {
            return Err(LogError::Join { expected: self.base, found: end.0 });
        }
        (self.base, self.base_term, self.base_last) = (older.base, older.base_term, older.base_last);
        self.entries.reserve(older.entries.len());
        older.entries.into_iter().rev().for_each(|slot| self.entries.push_front(slot));
        Ok(())
    }

    /// Forgets entries up to and with `index`, which becomes the base, unless it is beyond the last or before the base.
    pub(super) fn forget_to(&mut self, index: u64) {
        let (Some(term), Some(last)) = (self.term_of(index), self.last_of(index)) else { return };
        let many = usize::try_from(index - self.base).unwrap_or(0);
        self.entries.drain(..many);
        (self.base, self.base_term, self.base_last) = (index, term, last);
    }
}

/// Whether an entry could follow one of that index, term and last record.
pub(super) fn follows((index, term, last): (u64, u64, Lsn), entry: &EntryRange) -> Result<(), LogError> {
    if entry.index != index + 1 {
        return Err(LogError::Index { expected: index + 1, found: entry.index });
    }
    if entry.term < term || entry.term == 0 {
        return Err(LogError::Term { index: entry.index, before: term, found: entry.term });
    }
    let is_one = entry.first == entry.last || !matches!(entry.kind, EntryKind::Change(_));
    if entry.first.0 != last.0 + 1 || entry.last < entry.first || !is_one {
        let (expected, first, last) = (Lsn(last.0 + 1), entry.first, entry.last);
        return Err(LogError::Records { index: entry.index, expected, first, last });
    }
    Ok(())
}
