use super::*;
use crate::base::limits::MAX_KV_VALUE_BYTES;
use crate::base::vocab::{AccountId, Cents, Condition};
use crate::store::journal::Assembly;
use crate::store::journal::record::{Content, Kind, Verdict};
use crate::store::kv::KvTable;
use crate::store::kv::teller::{KvRefusal, KvUndone, KvWriteRequest};
use crate::store::kv::test_support::{Store, ask, bytes, delete, put};
use crate::store::ledger::RememberedOperation;

fn head() -> KvHead {
    KvHead {
        lsn: Lsn(9),
        time_ns: 0,
        kind: KvKind::Put,
        verdict: KvVerdict::Mismatch,
        principal: u32::MAX,
        key_bytes: 3,
        value_bytes: 100,
        condition: Condition::IfAbsent,
        fingerprint: std::array::from_fn(|i| u8::try_from(i).unwrap() + 200),
        previous: Lsn(u64::MAX >> 12),
        keys: 0,
        blocks: 0,
        request: Some([1; 16]),
    }
}

#[test]
fn what_is_remembered_is_what_was_done() {
    for (kind, verdict) in [
        (KvKind::Put, KvVerdict::Done),
        (KvKind::Put, KvVerdict::Mismatch),
        (KvKind::Put, KvVerdict::Full),
        (KvKind::Delete, KvVerdict::NotFound),
    ] {
        let head = KvHead { kind, verdict, ..head() };
        let known = RememberedWrite::of(&head);
        assert_eq!(known.lsn, Lsn(if verdict == KvVerdict::Done { 11 } else { 9 }));
        assert_eq!(RememberedWrite::from_table(&known.to_table()), Some(known));
        assert_eq!(RememberedOperation::from_table(&known.to_table()), None, "no operation of the ledger");
        let operation = |head| KvOperation { head, key: b"key", value: &[], blocks: [0; 2], capacity: 1 };
        assert!(operation(head).is_same_request(&known.to_table()));
        // Another principal's would not be found; what else differs is in the fingerprint.
        let mut other = head;
        other.fingerprint[15] ^= 1;
        assert!(!operation(other).is_same_request(&known.to_table()));
        let kind = if kind == KvKind::Put { KvKind::Delete } else { KvKind::Put };
        assert!(!operation(KvHead { kind, ..head }).is_same_request(&known.to_table()));
    }
    let deposit = RememberedOperation {
        lsn: Lsn(3),
        principal: 5,
        kind: Kind::Deposit,
        verdict: Verdict::Done,
        accounts: (AccountId(1), None),
        amount: Cents(7),
        balances: [Cents(7), Cents(0)],
    };
    let known = deposit.to_table();
    assert_eq!(RememberedWrite::from_table(&known), None);
}

#[test]
fn a_write_counts_what_it_takes_and_no_more_than_there_is() {
    let counts = |verdict, blocks, before| {
        let head = KvHead { verdict, ..head() };
        KvOperation { head, key: &[], value: &[], blocks, capacity: 10 }.counts(before)
    };
    let at = |keys, blocks| Counts { keys, blocks };
    assert_eq!(counts(KvVerdict::Done, [0, 4], at(2, 6)), Some(at(3, 10)));
    assert_eq!(counts(KvVerdict::Done, [0, 5], at(2, 6)), None);
    assert_eq!(counts(KvVerdict::Done, [3, 7], at(2, 6)), Some(at(2, 10)));
    assert_eq!(counts(KvVerdict::Done, [3, 8], at(2, 6)), None);
    assert_eq!(counts(KvVerdict::Done, [3, 0], at(2, 6)), Some(at(1, 3)));
    // Where there is more than may be, as after a start with less room, what does not add to it may be.
    assert_eq!(counts(KvVerdict::Done, [3, 3], at(2, 60)), Some(at(2, 60)));
    assert_eq!(counts(KvVerdict::Done, [3, 4], at(2, 60)), None);
    assert_eq!(counts(KvVerdict::Mismatch, [3, 9], at(2, 6)), Some(at(2, 6)), "a refusal takes nothing");
}

/// The ring holds what was asked for, in pieces that lead to it again, with the counts of that moment.
#[test]
fn what_stands_in_the_ring_is_what_was_written() {
    let store = Store::new(2048, 4096);
    let mut teller = store.teller(0);
    teller.set_wall_clock(77);
    let mut wanted = Vec::new();
    let sizes = [0, 1, 76, 77, 78, 79, 80, 81, 156, 157, 158, 224, 1000, MAX_KV_VALUE_BYTES];
    for (number, &size) in (1u8..).zip(&sizes) {
        let (key, value) = (bytes(3, number), bytes(size, number));
        let request = (number % 2 == 0).then_some(number);
        let lsn = ask(&mut teller, &put(&key, &value), request).unwrap();
        wanted.push((lsn, key, value, Lsn(0), request, KvTable::counts(&store.ledger)));
    }
    for number in [2, 13] {
        let (key, previous) = (wanted[number].1.clone(), wanted[number].0);
        let lsn = ask(&mut teller, &delete(&key), None).unwrap();
        wanted.push((lsn, key, Vec::new(), previous, None, KvTable::counts(&store.ledger)));
    }
    let mut assembly = Assembly::default();
    let writes: Vec<_> = store.records().iter().filter_map(|record| assembly.take(record).unwrap()).collect();
    assert_eq!(writes.len(), wanted.len());
    for (write, (lsn, key, value, previous, request, counts)) in writes.iter().zip(&wanted) {
        assert_eq!((write.head.version(), write.key(), write.value()), (*lsn, &key[..], &value[..]));
        assert_eq!((write.head.previous, write.head.request), (*previous, request.map(|id| [id; 16])));
        assert_eq!((write.head.keys, write.head.blocks), (counts.keys, counts.blocks));
        assert_eq!(
            (write.head.principal, write.head.time_ns, write.head.fingerprint == [0; 16]),
            (5, 77, request.is_none())
        );
    }
    assert!(store.records().iter().all(|record| record.time_ns() == 77));
}

#[test]
fn a_refusal_with_a_request_id_is_one_record_and_without_it_none() {
    let store = Store::new(8, 64);
    let version = store.put(b"key", b"value").unwrap();
    let absent = KvWriteRequest { condition: Condition::IfAbsent, ..put(b"key", b"other") };
    let refused = Err(KvUndone::Refused(KvRefusal::Mismatch(version)));
    assert_eq!(ask(&mut store.teller(0), &absent, None), refused);
    assert_eq!(store.ledger.order().now().lsn, version);
    assert_eq!(ask(&mut store.teller(0), &absent, Some(1)), Ok(Lsn(version.0 + 1)));
    let records = store.records();
    let Content::KvHead(head) = records.last().unwrap().content else { panic!("{records:?}") };
    assert_eq!((head.verdict, head.previous, head.condition), (KvVerdict::Mismatch, version, Condition::IfAbsent));
    assert_eq!((head.keys, head.blocks), (1, 1));
}
