use super::*;
use crate::base::limits::MAX_ENTRY_RECORDS;
use crate::store::journal::record::{TermRecord, stamp};

/// A journal in memory, from this record on.
struct Journal {
    oldest: u64,
    records: Vec<RecordBytes>,
    /// Records that were read.
    read: u64,
}

impl Records for Journal {
    fn oldest(&self) -> Result<Option<Lsn>, ReadError> {
        Ok((!self.records.is_empty()).then_some(Lsn(self.oldest)))
    }

    fn records(&mut self, first: Lsn, last: Lsn) -> Result<Vec<RecordBytes>, ReadError> {
        let places = first.0.saturating_sub(self.oldest)..(last.0 + 1).saturating_sub(self.oldest);
        let within = |place: u64| usize::try_from(place).unwrap().min(self.records.len());
        let gone = first.0 < self.oldest;
        let read = if gone { &[] } else { &self.records[within(places.start)..within(places.end)] };
        self.read += read.len() as u64;
        Ok(read.to_vec())
    }
}

impl Journal {
    /// Records of entries from `index` on, each of so many; 0 for one record from before there were peers.
    fn of(mut index: u64, sizes: impl IntoIterator<Item = u64>) -> Journal {
        let mut records = Vec::new();
        for size in sizes {
            for place in 1..=size.max(1) {
                let mut bytes = TermRecord { lsn: Lsn(records.len() as u64 + 1), time_ns: 1 }.encode();
                if size > 0 {
                    stamp(&mut bytes, 1 + index / 100, index, place == size);
                }
                records.push(bytes);
            }
            index += u64::from(size > 0);
        }
        Journal { oldest: 1, records, read: 0 }
    }

    fn end(&self) -> Lsn {
        Lsn(self.oldest + self.records.len() as u64 - 1)
    }

    fn forget_before(&mut self, oldest: u64) {
        self.records.drain(..usize::try_from(oldest - self.oldest).unwrap());
        self.oldest = oldest;
    }
}

/// A few hundred thousand records, entries of all sizes that there can be among them.
fn large() -> Journal {
    let sizes = (1..600).map(|number: u64| 1 + number * number * 7919 % 1000);
    let single = std::iter::repeat_n(1, 40_000);
    Journal::of(1, sizes.clone().chain([MAX_ENTRY_RECORDS]).chain(single).chain(sizes).chain([MAX_ENTRY_RECORDS, 3]))
}

fn whole(journal: &mut Journal) -> Log {
    let end = journal.end();
    let (log, more) = load_log(journal, end, Commit::default(), Lsn(0)).unwrap();
    assert!(!more, "from the oldest on");
    log
}

/// Reads what is older than `log` until nothing is.
fn read_back(journal: &mut Journal, log: &mut Log) -> u64 {
    let (mut older, mut windows) = (OlderEntries::default(), 0);
    loop {
        let before = journal.read;
        let read = older.read_piece(journal, log.base_last()).unwrap();
        assert!(journal.read - before <= PIECE_RECORDS);
        if let Some((entries, more)) = read {
            windows += 1;
            assert!(entries.len() as u64 <= WINDOW_RECORDS && (!entries.is_empty() || !more));
            log.prepend(entries).unwrap();
            if !more {
                return windows;
            }
        }
    }
}

#[test]
fn a_start_reads_the_end_only_and_the_rest_comes_in_pieces() {
    let mut journal = large();
    let (all, end) = (whole(&mut journal), journal.end());
    for back in [0, 1, 2, 3, 70_000, MAX_ENTRY_RECORDS + 2, 300_000, 400_000] {
        let needed = Lsn(end.0 - back);
        let commit = Commit { index: all.index_at(needed), lsn: all.last_of(all.index_at(needed)).unwrap() };
        for executed in [needed, end, Lsn(needed.0 - 30_000)] {
            journal.read = 0;
            let (mut log, more) = load_log(&mut journal, end, commit, executed).unwrap();
            let least = commit.lsn.min(executed);
            assert!(log.base_last() <= least && log.base() <= commit.index, "{back} {executed}: what is needed");
            assert!(journal.read <= end.0 - least.0 + TAIL_RECORDS + 1, "{back} {executed}: {}", journal.read);
            assert!(more && log.base() > 0);
            assert!(read_back(&mut journal, &mut log) > 1);
            assert_eq!(log, all);
        }
    }
}

#[test]
fn what_is_trimmed_is_the_end_of_reading_back() {
    let mut journal = large();
    let (all, end) = (whole(&mut journal), journal.end());
    let commit = Commit { index: all.last_index(), lsn: all.last() };
    let (mut log, _) = load_log(&mut journal, end, commit, end).unwrap();
    let mut older = OlderEntries::default();
    assert_eq!(older.read_piece(&mut journal, log.base_last()).unwrap(), None);
    // A segment of what is being read goes, somewhere within an entry.
    journal.forget_before(log.base_last().0 - 5000);
    let read = loop {
        if let Some(read) = older.read_piece(&mut journal, log.base_last()).unwrap() {
            break read;
        }
    };
    assert!(!read.1);
    log.prepend(read.0).unwrap();
    assert!(log.base_last().0 >= journal.oldest && log.base() == all.index_at(log.base_last()));
    assert_eq!(log.entry(log.base() + 1), all.entry(log.base() + 1));
    journal.forget_before(log.base_last().0 + 1);
    let nothing = older.read_piece(&mut journal, log.base_last()).unwrap().unwrap();
    assert!(nothing.0.is_empty() && !nothing.1);
}

/// What is before the first entry, by what the records say and, where there are no entries, by what DATA/raft says.
#[test]
fn records_of_before_are_entry_1_where_the_cluster_was_founded_so() {
    let commit = |index, lsn| Commit { index, lsn: Lsn(lsn) };
    for (first, sizes, commit, base) in [
        // No records of before.
        (1, &[2, 1][..], commit(1, 2), (0, 0)),
        (1, &[][..], commit(0, 0), (0, 0)),
        // A cluster of one that an earlier version founded.
        (1, &[0, 0, 0, 2], commit(1, 5), (0, 3)),
        (1, &[0, 0, 0], commit(0, 3), (0, 3)),
        // They are entry 1.
        (2, &[0, 0, 0, 2], commit(1, 3), (1, 3)),
        (2, &[0, 0, 0, 2, 1], commit(3, 6), (1, 3)),
        (2, &[0, 0, 0], commit(1, 3), (1, 3)),
    ] {
        let mut journal = Journal::of(first, sizes.iter().copied());
        let end = Lsn(journal.records.len() as u64);
        let (log, more) = load_log(&mut journal, end, commit, end).unwrap();
        assert_eq!((log.base(), log.base_last().0, log.last(), more), (base.0, base.1, end, false), "{sizes:?}");
        assert_eq!(log.term_of(log.base()), Some(u64::from(base.0 == 1)));
    }
}

#[test]
fn what_is_no_log_is_refused() {
    let mut journal = Journal::of(1, [3, 4, 5]);
    stamp(&mut journal.records[6], 1, 9, true);
    let loaded = load_log(&mut journal, Lsn(12), Commit::default(), Lsn(0));
    assert!(matches!(loaded, Err(ReplicaError::Log(_))), "{loaded:?}");
    let missing = load_log(&mut journal, Lsn(13), Commit::default(), Lsn(0));
    assert!(matches!(missing, Err(ReplicaError::Log(_) | ReplicaError::Missing(_))), "{missing:?}");
    let mut short = Journal::of(1, [3, 4]);
    let missing = load_log(&mut short, Lsn(8), Commit::default(), Lsn(0));
    assert!(matches!(missing, Err(ReplicaError::Missing(Lsn(8)))), "{missing:?}");
}
