use super::*;
use crate::base::vocab::{AccountId, Cents};
use crate::store::journal::record::{Kind, OperationRecord, Verdict};
use crate::store::ledger::remembered::RememberedOperation;

fn keys(window: u32) -> Keys {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let unique = format!("/vault-test.{}.keys.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let names = ["a", "b"].map(|part| format!("{unique}.{part}"));
    let keys = Keys::create([&names[0], &names[1]], 1, window).unwrap();
    names.iter().for_each(|name| crate::ipc::segment::unlink(name).unwrap());
    keys
}

fn record(number: u64) -> (Key, OperationRecord) {
    let mut key = [7; KEY_BYTES];
    key[..8].copy_from_slice(&number.to_le_bytes());
    let record = OperationRecord {
        lsn: Lsn(0),
        time_ns: 1,
        kind: Kind::Transfer,
        verdict: Verdict::Done,
        principal: 5,
        accounts: (AccountId(1), Some(AccountId(2))),
        amount: Cents(i64::try_from(number).unwrap() + 1),
        balances: [Cents(3), Cents(4)],
        previous: [Lsn(0); 2],
        key: Some(key),
    };
    (key, record)
}

fn put(keys: &Keys, number: u64) {
    let (key, record) = record(number);
    let probe = keys.probe(key, 5);
    match keys.find(&probe) {
        Found::Free(slot) => {
            keys.make_known(keys.write(&probe, RememberedOperation::of(&record).to_table(), slot), Lsn(number + 100));
        }
        Found::Known(known) => panic!("{known:?}"),
        Found::BucketFull => panic!("crowded at {number}"),
    }
}

fn found(keys: &Keys, number: u64) -> Option<RememberedOperation> {
    match keys.find(&keys.probe(record(number).0, 5)) {
        Found::Known(known) => RememberedOperation::from_table(&known),
        _ => None,
    }
}

#[test]
fn exactly_the_window_is_remembered() {
    for window in [1, 2, 7, 100, 3000] {
        let keys = keys(window);
        for number in 0..5 * u64::from(window) {
            put(&keys, number);
            let oldest = (number + 1).saturating_sub(window.into());
            // All of them every now and then, the ends always.
            let all = number.is_multiple_of(u64::from(window).max(97));
            for old in (oldest..=number).filter(|&old| all || old == oldest || old == number) {
                let known = found(&keys, old).unwrap_or_else(|| panic!("{old} of {number}, window {window}"));
                assert_eq!(known.lsn, Lsn(old + 100));
                assert!(known.is_same_request(&record(old).1) && !known.is_same_request(&record(old + 1).1));
            }
            assert!(oldest == 0 || found(&keys, oldest - 1).is_none(), "{number}, window {window}");
        }
    }
}

#[test]
fn a_key_is_its_user_s_own() {
    let keys = keys(10);
    put(&keys, 1);
    assert!(found(&keys, 1).is_some());
    let others = keys.probe(record(1).0, 6);
    assert!(matches!(keys.find(&others), Found::Free(_)), "another user's key, although of the same bytes");
}

#[test]
fn a_key_that_was_only_written_down_is_not_known() {
    let keys = keys(10);
    let (key, record) = record(1);
    let probe = keys.probe(key, 5);
    let Found::Free(slot) = keys.find(&probe) else { panic!("nothing is there") };
    keys.write(&probe, RememberedOperation::of(&record).to_table(), slot);
    assert!(found(&keys, 1).is_none());
    put(&keys, 2);
    assert!(found(&keys, 1).is_none() && found(&keys, 2).is_some(), "the other one took its number");
}

#[test]
fn what_is_only_written_down_pushes_no_known_key_out() {
    let keys = keys(3);
    (1..=3).for_each(|number| put(&keys, number));
    let (key, record) = record(4);
    let probe = keys.probe(key, 5);
    let Found::Free(slot) = keys.find(&probe) else { panic!("it is not known") };
    let number = keys.write(&probe, RememberedOperation::of(&record).to_table(), slot);
    assert!((1..=3).all(|known| found(&keys, known).is_some()), "all three, as long as the fourth does not count");
    keys.make_known(number, Lsn(104));
    assert_eq!((keys.known(), keys.window()), (4, 3));
    assert_eq!([1, 2, 3, 4].map(|known| found(&keys, known).is_some()), [false, true, true, true]);
}

#[test]
fn all_of_a_request_is_remembered() {
    let keys = keys(10);
    for (number, kind, verdict, second) in [
        (1, Kind::Deposit, Verdict::Invalid, None),
        (2, Kind::Withdraw, Verdict::Insufficient, None),
        (3, Kind::Transfer, Verdict::NoAccount, Some(AccountId(u32::MAX))),
    ] {
        let (key, mut record) = record(number);
        (record.kind, record.verdict, record.principal) = (kind, verdict, u32::MAX - 1);
        (record.accounts, record.amount) = ((AccountId(u32::MAX - 2), second), Cents(-7));
        record.balances = [Cents(i64::MAX), Cents(i64::MIN)];
        let probe = keys.probe(key, record.principal);
        let Found::Free(slot) = keys.find(&probe) else { panic!("it is not known") };
        keys.make_known(keys.write(&probe, RememberedOperation::of(&record).to_table(), slot), Lsn(9));
        let Found::Known(known) = keys.find(&probe) else { panic!("it is known") };
        let known = RememberedOperation::from_table(&known).unwrap();
        assert_eq!(known, RememberedOperation::of(&OperationRecord { lsn: Lsn(9), ..record.clone() }));
        assert!(known.is_same_request(&record));
        for other in [
            OperationRecord {
                kind: if kind == Kind::Deposit { Kind::Withdraw } else { Kind::Deposit },
                ..record.clone()
            },
            OperationRecord { amount: Cents(7), ..record.clone() },
            OperationRecord { accounts: (AccountId(1), second), ..record.clone() },
        ] {
            assert!(!known.is_same_request(&other), "{other:?}");
        }
    }
}

fn is_in(slot: &AtomicU32, bucket: &Bucket) -> bool {
    bucket.slots.iter().any(|own| std::ptr::eq(own, slot))
}

#[test]
fn a_new_key_goes_into_the_emptier_of_its_two_buckets() {
    let keys = keys(200);
    let used = |bucket: &Bucket| bucket.slots.iter().filter(|slot| slot.load(Ordering::Relaxed) != 0).count();
    let mut chosen = [0; 2];
    for number in 0..150 {
        let probe = keys.probe(record(number).0, 5);
        let [first, second] = probe.buckets;
        let Found::Free(slot) = keys.find(&probe) else { panic!("{number} is not known") };
        if used(first) != used(second) {
            let emptier = usize::from(used(second) < used(first));
            assert!(is_in(slot, probe.buckets[emptier]), "{number}: {} and {} in use", used(first), used(second));
            chosen[emptier] += 1;
        }
        put(&keys, number);
    }
    assert!(chosen[0] > 0 && chosen[1] > 0, "{chosen:?}");
}

#[test]
fn a_tag_is_never_zero_and_leaves_the_number_its_bits() {
    let hash = |top: u64| top << 40 | 0xff_ffff_ffff;
    assert_eq!([0, 1, 0xfffe, 0xffff, 0x10000].map(|top| tag(hash(top), 16) >> 16), [1, 2, 0xffff, 1, 2]);
    assert_eq!([0, 1, 0xff_ffff].map(|top| tag(hash(top), 31)), [1 << 31; 3]);
    assert_eq!([0, 0xff_ffff].map(|top| tag(hash(top), 5)), [1 << 5, 0x100_0000 << 5]);
}

/// Clients choose their keys. Ones that differ in a single bit are looked for in different places all the same.
#[test]
fn every_bit_of_a_key_counts_in_where_it_is_looked_for() {
    let keys = keys(3000);
    let places: Vec<_> = (0..128)
        .map(|bit| {
            let mut key = [0x5a; KEY_BYTES];
            key[bit / 8] ^= 1 << (bit % 8);
            let probe = keys.probe(key, 5);
            (probe.buckets.map(|bucket| std::ptr::from_ref(bucket).addr()), probe.tag)
        })
        .collect();
    let distinct = |places: &mut Vec<_>| {
        places.sort_unstable();
        places.dedup();
        places.len()
    };
    assert!(distinct(&mut places.clone()) > 120, "{places:x?}");
    // Of 512 buckets about 113 would be hit by chance.
    for which in [0, 1] {
        let mut buckets: Vec<_> = places.iter().map(|(buckets, _)| ([buckets[which]; 2], 0)).collect();
        assert!(distinct(&mut buckets) > 64, "{places:x?}");
    }
}

#[test]
fn half_of_all_slots_at_most_are_in_use_when_the_window_is_full() {
    assert_eq!([1, 8, 9, 1000, 1_000_000, 100_000_000].map(Keys::buckets), [1, 1, 2, 128, 1 << 17, 1 << 24]);
}
