use proptest::prelude::*;

use super::*;
use crate::store::journal::record::{KvKind, KvVerdict, TermRecord};
use crate::store::journal::test_support::{kv_head, kv_put, kv_records, record};

fn take_all(assembly: &mut Assembly, records: &[Record]) -> Result<Vec<KvWrite>, AssemblyError> {
    let taken: Result<Vec<_>, _> = records.iter().map(|record| assembly.take(record)).collect();
    Ok(taken?.into_iter().flatten().collect())
}

fn taken(records: &[Record]) -> Result<Vec<KvWrite>, AssemblyError> {
    take_all(&mut Assembly::from_the_first_record(), records)
}

/// All records of `writes`, the last of them ending the entry.
fn entry(index: u64, mut records: Vec<Record>) -> Vec<Record> {
    records.iter_mut().for_each(|record| (record.term, record.index) = (1, index));
    records.last_mut().unwrap().ends_entry = true;
    records
}

proptest! {
    #[test]
    fn key_and_value_come_together_again(
        (key, value) in (1..=255usize, prop_oneof![0..200usize, 65_500..=65_536usize]),
        seed in any::<u8>(),
        lsn in 1..1000u64,
    ) {
        let bytes = |count: usize| -> Vec<u8> { (0..count).map(|at| u8::try_from(at % 241).unwrap() ^ seed).collect() };
        let (key, value) = (bytes(key), bytes(value));
        let head = kv_head(lsn, KvKind::Put, key.len(), value.len());
        let records = kv_records(head, &[&key[..], &value].concat());
        let mut assembly = Assembly::from_the_first_record();
        for record in &records[..records.len() - 1] {
            prop_assert_eq!(assembly.take(record), Ok(None));
            prop_assert_eq!(assembly.open(), Some(Lsn(lsn)));
        }
        let write = assembly.take(&records[records.len() - 1]).unwrap().unwrap();
        prop_assert_eq!((write.key(), write.value(), write.head), (&key[..], &value[..], head));
        prop_assert_eq!(assembly.open(), None);
        prop_assert_eq!(write.head.version(), records[records.len() - 1].lsn());
    }
}

#[test]
fn a_refusal_is_a_write_by_itself_and_other_records_are_none() {
    let refusal = KvHead { verdict: KvVerdict::Full, request: Some([1; 16]), ..kv_head(2, KvKind::Put, 3, 5) };
    let records = [vec![record(1).into()], kv_records(refusal, &[]), kv_put(3, 80, 0), vec![record(5).into()]].concat();
    let writes = taken(&records).unwrap();
    assert_eq!(writes.len(), 2);
    assert_eq!((writes[0].head, writes[0].key(), writes[0].value()), (refusal, &[][..], &[][..]));
    assert_eq!((writes[1].key().len(), writes[1].value()), (80, &[][..]));
}

#[test]
fn records_that_cannot_follow_each_other_are_named() {
    let put = kv_put(2, 3, 200);
    let first: Record = record(1).into();
    let without = |missing: usize| {
        let records = put.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, record)| record.clone());
        [vec![first.clone()], records.collect::<Vec<_>>(), vec![record(6).into()]].concat()
    };
    // Without its head, and without each of its pieces.
    assert_eq!(taken(&without(0)), Err(AssemblyError::Orphan(Lsn(3))));
    assert_eq!(taken(&without(1)), Err(AssemblyError::Length(Lsn(5))));
    assert_eq!(taken(&without(3)), Err(AssemblyError::Unfinished { head: Lsn(2), found: Lsn(6) }));
    // One piece too many, another head, a term instead of a piece.
    let again = [&put[..], &put[3..]].concat();
    assert_eq!(taken(&again), Err(AssemblyError::Orphan(Lsn(5))));
    let other = [&put[..2], &put[..1]].concat();
    assert_eq!(taken(&other), Err(AssemblyError::Unfinished { head: Lsn(2), found: Lsn(2) }));
    let term = Content::Term(TermRecord { lsn: Lsn(4), time_ns: 0 });
    let term = [&put[..2], &[Record { term: 1, index: 1, ends_entry: true, content: term }]].concat();
    assert_eq!(taken(&term), Err(AssemblyError::Unfinished { head: Lsn(2), found: Lsn(4) }));
    // Of another length, and of another time.
    let mut records = put.clone();
    records[1].content = Content::KvPiece(KvPiece::of(Lsn(3), put[0].time_ns(), &[7; 79]));
    assert_eq!(taken(&records), Err(AssemblyError::Length(Lsn(3))));
    records[1].content = Content::KvPiece(KvPiece::of(Lsn(3), put[0].time_ns() + 1, &[7; 80]));
    assert_eq!(taken(&records), Err(AssemblyError::Time(Lsn(3))));
}

#[test]
fn a_write_is_in_one_raft_entry() {
    let (one, two) = (kv_put(1, 3, 200), kv_put(5, 3, 70));
    assert_eq!(taken(&entry(1, [&one[..], &two].concat())).map(|writes| writes.len()), Ok(2), "there may be several");
    for cut in 1..4 {
        let (begin, rest) = one.split_at(cut);
        let records = [entry(1, begin.to_vec()), entry(2, rest.to_vec())].concat();
        assert_eq!(taken(&records), Err(AssemblyError::Entry(Lsn(cut as u64))));
        let records = [begin.to_vec(), entry(2, rest.to_vec())].concat();
        assert_eq!(taken(&records), Err(AssemblyError::Entry(Lsn(cut as u64 + 1))));
    }
}

#[test]
fn a_write_whose_head_is_not_there_is_passed_over_at_the_beginning_only() {
    let (one, two) = (kv_put(1, 3, 200), kv_put(5, 3, 200));
    let all = [&one[..], &two].concat();
    for from in 1..4 {
        let mut assembly = Assembly::default();
        let writes = take_all(&mut assembly, &all[from..]).unwrap();
        assert_eq!(writes.iter().map(|write| write.head.lsn.0).collect::<Vec<_>>(), [5], "{from}");
        assert_eq!(
            taken(&all[from..]),
            Err(AssemblyError::Orphan(Lsn(from as u64 + 1))),
            "none can be before the first"
        );
    }
    assert_eq!(take_all(&mut Assembly::default(), &[]), Ok(vec![]));
    // Behind the last piece of it comes no other piece, whether that is short, or ends an entry.
    let short = [&one[3..], &two[1..]].concat();
    assert_eq!(take_all(&mut Assembly::default(), &short), Err(AssemblyError::Orphan(Lsn(6))));
    let ended = [entry(1, one[1..3].to_vec()), entry(2, two[1..].to_vec())].concat();
    assert_eq!(take_all(&mut Assembly::default(), &ended), Err(AssemblyError::Orphan(Lsn(6))));
    // Nor more than an operation can have.
    let longest = kv_put(1, 255, crate::base::limits::MAX_KV_VALUE_BYTES);
    assert_eq!(take_all(&mut Assembly::default(), &longest[1..]), Ok(vec![]));
    let full = &longest[1..longest.len() - 1];
    let endless = [full, full].concat();
    assert!(matches!(take_all(&mut Assembly::default(), &endless), Err(AssemblyError::Orphan(_))));
}
