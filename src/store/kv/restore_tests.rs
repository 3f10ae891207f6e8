use super::*;
use crate::store::kv::teller::KvUndone;
use crate::store::kv::test_support::{Store, ask, bytes, delete, put};

const CAPACITY: u32 = 1024;

fn journal() -> Store {
    let store = Store::new(CAPACITY, 4096);
    let mut teller = store.teller(0);
    for number in 0u8..20 {
        ask(&mut teller, &put(&[b'k', number % 7], &bytes(usize::from(number) * 60, number)), Some(number)).unwrap();
        if number % 5 == 4 {
            ask(&mut teller, &delete(&[b'k', number % 3]), Some(number + 50)).unwrap();
        }
    }
    ask(&mut teller, &delete(b"nowhere"), Some(99)).unwrap();
    drop(teller);
    store
}

/// Reads the journal of `from` into a new table, from a snapshot of what was there up to `cut` as it is now.
fn restored(from: &Store, cut: Lsn, first: u64) -> Store {
    let store = Store::new(CAPACITY, 4096);
    let mut restorer = Restorer::new(&store.ledger, &store.table);
    restorer.begin_after(cut);
    for (key, version, value) in from.pairs_to(cut) {
        restorer.pair(&key, version, &value);
    }
    for record in from.records().iter().filter(|record| record.lsn().0 >= first) {
        restorer.record(record, |_| true).unwrap();
    }
    let counts = restorer.finish().unwrap();
    assert_eq!(counts, KvTable::counts(&store.ledger));
    store
}

#[test]
fn what_is_in_the_journal_is_in_the_table_after_a_start() {
    let journal = journal();
    let store = restored(&journal, Lsn(0), 1);
    assert_eq!(store.pairs(), journal.pairs());
    assert_eq!(KvTable::counts(&store.ledger), KvTable::counts(&journal.ledger));
    store.must_be_whole();
    let last = journal.ledger.order().now().lsn;
    store.ledger.begin_after(last, crate::base::vocab::Cents(200), [crate::base::vocab::Cents(0); 2]);
    store.ledger.sequencer().set_on_disk_alone(crate::base::vocab::OnDisk(last), Lsn(1_000_000));
    for (write, request) in [(put(b"k\0", b""), 0), (delete(b"nowhere"), 99), (put(b"k\x05", &bytes(1140, 19)), 19)] {
        let [here, there] = [&store, &journal].map(|store| ask(&mut store.teller(0), &write, Some(request)));
        assert!(here == there && matches!(here, Err(KvUndone::Repeated { .. })), "{here:?}, {there:?}");
    }
    assert_eq!(store.put(b"new", b"1"), Ok(Lsn(last.0 + 2)));
    store.must_be_whole();
}

#[test]
fn a_snapshot_of_any_moment_and_the_log_after_it_lead_to_the_same() {
    let journal = journal();
    let last = journal.ledger.order().now().lsn.0;
    let ends: Vec<u64> =
        journal.records().windows(2).filter(|two| !two[1].is_piece()).map(|two| two[0].lsn().0).collect();
    assert!(ends.len() > 20);
    for cut in ends {
        // The journal may begin at any record up to there; keys of requests are read from all of it.
        for first in [1, cut.saturating_sub(3).max(1), cut + 1] {
            let store = restored(&journal, Lsn(cut), first);
            assert_eq!(store.pairs(), journal.pairs(), "cut {cut} of {last}, from {first}");
            assert_eq!(KvTable::counts(&store.ledger), KvTable::counts(&journal.ledger));
            store.must_be_whole();
        }
    }
}

#[test]
fn only_wanted_request_ids_are_remembered() {
    let journal = journal();
    let store = Store::new(CAPACITY, 4096);
    let mut restorer = Restorer::new(&store.ledger, &store.table);
    let wanted = |lsn: Lsn| lsn.0 > 50;
    journal.records().iter().for_each(|record| restorer.record(record, wanted).unwrap());
    restorer.finish().unwrap();
    let mut assembly = Assembly::default();
    let writes: Vec<KvWrite> = journal.records().iter().filter_map(|record| assembly.take(record).unwrap()).collect();
    let expected = writes.iter().filter(|write| wanted(write.head.lsn)).count();
    assert!(expected > 5 && expected < writes.len());
    assert_eq!(store.ledger.sequencer().keys().known(), expected as u64);
}

#[test]
fn what_does_not_fit_says_how_much_would() {
    // Of a snapshot, all keys are counted; in a table of one mebibyte, each takes 257 blocks of 256 bytes.
    let store = Store::new(4096, 64);
    let mut restorer = Restorer::new(&store.ledger, &store.table);
    (0..40_u32).for_each(|number| restorer.pair(&number.to_le_bytes(), Lsn(1), &bytes(65_536, 0)));
    assert_eq!(restorer.finish(), Err(RestoreError::Full { mebibytes: (40 * 257_u64).div_ceil(4096) }));
    // Of records, the most that the table has held.
    let journal = journal();
    for capacity in [1, 10, 20] {
        let store = Store::new(capacity, 64);
        let mut restorer = Restorer::new(&store.ledger, &store.table);
        journal.records().iter().for_each(|record| restorer.record(record, |_| true).unwrap());
        assert_eq!(restorer.finish(), Err(RestoreError::Full { mebibytes: 1 }), "{capacity}");
    }
}

#[test]
fn records_that_lack_some_are_told() {
    let journal = journal();
    let store = Store::new(CAPACITY, 64);
    let mut restorer = Restorer::new(&store.ledger, &store.table);
    let records = journal.records();
    let head = records.iter().position(|record| record.is_piece()).unwrap() - 1;
    restorer.record(&records[head], |_| true).unwrap();
    let next = records.iter().skip(head + 1).find(|record| !record.is_piece()).unwrap();
    assert!(matches!(restorer.record(next, |_| true), Err(RestoreError::Assembly(AssemblyError::Unfinished { .. }))));
}
