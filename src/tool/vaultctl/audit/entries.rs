//! The entries of a cluster's log, as the places of records tell them.

use super::ended::Ended;
use crate::store::journal::record::Place;

/// Checks that records make up entries: terms and indices never go back, an index is one above that of the entry before, an entry's records
/// have one term and one index, and no record without an entry comes behind one with an entry.
#[derive(Debug, Default)]
pub(super) struct Entries {
    before: Place,
}

impl Entries {
    /// Takes in the place of the next record.
    pub(super) fn take(&mut self, next: Place) -> Result<(), Ended> {
        let before = std::mem::replace(&mut self.before, next);
        if before.index == 0 {
            // An instance without peers, the first entry of a cluster, or the oldest record that is kept.
            return Ok(());
        }
        let entry = |place: Place| format!("entry {} of term {}", place.index, place.term);
        if next.index == 0 {
            return Err(Ended::wrong(format!("it is of no entry, and the record before is of {}", entry(before))));
        }
        let expected = before.index + u64::from(before.ends_entry);
        let same_term = next.term == before.term || before.ends_entry;
        if next.index != expected || !same_term || next.term < before.term {
            let ends = if before.ends_entry { "ends" } else { "is of" };
            return Err(Ended::wrong(format!(
                "it is of {}, and the record before {ends} {}",
                entry(next),
                entry(before)
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place((term, index, ends_entry): (u64, u64, bool)) -> Place {
        Place { term, index, ends_entry, ..Place::default() }
    }

    #[test]
    fn entries_follow_each_other() {
        let mut entries = Entries::default();
        let good =
            [(0, 0, false), (0, 0, false), (1, 1, true), (1, 2, false), (1, 2, true), (4, 3, false), (4, 3, true)];
        for next in good {
            entries.take(place(next)).unwrap();
        }
        let ((open, ended), mut later) = (((2, 7, false), (2, 7, true)), Entries::default());
        later.take(place(open)).unwrap();
        let wrong = [
            (open, (0, 0, false), "it is of no entry, and the record before is of entry 7 of term 2"),
            (open, (2, 8, true), "it is of entry 8 of term 2, and the record before is of entry 7 of term 2"),
            (open, (3, 7, true), "it is of entry 7 of term 3, and the record before is of entry 7 of term 2"),
            (open, (2, 6, true), "it is of entry 6 of term 2, and the record before is of entry 7 of term 2"),
            (ended, (2, 7, true), "it is of entry 7 of term 2, and the record before ends entry 7 of term 2"),
            (ended, (2, 9, true), "it is of entry 9 of term 2, and the record before ends entry 7 of term 2"),
            (ended, (1, 8, true), "it is of entry 8 of term 1, and the record before ends entry 7 of term 2"),
            (ended, (0, 0, false), "it is of no entry, and the record before is of entry 7 of term 2"),
        ];
        for (before, next, said) in wrong {
            let mut entries = Entries::default();
            entries.take(place(before)).unwrap();
            assert_eq!(entries.take(place(next)).unwrap_err().to_string(), said);
        }
    }
}
