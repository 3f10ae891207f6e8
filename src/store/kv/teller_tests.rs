use super::*;
use crate::base::vocab::{AccountId, Cents, OnDisk};
use crate::store::kv::Counts;
use crate::store::kv::test_support::{Store, ask, bytes, delete, put};
use crate::store::ledger::replication::GateState;
use crate::store::ledger::teller::{Asker, Undone};
use crate::store::ledger::{Operation, Teller};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

const BIG: usize = 65_536;

fn counts(store: &Store) -> (u32, u32) {
    let Counts { keys, blocks } = KvTable::counts(&store.ledger);
    (keys, blocks)
}

fn put_if<'a>(condition: Condition, key: &'a [u8], value: &'a [u8]) -> KvWriteRequest<'a> {
    KvWriteRequest { condition, ..put(key, value) }
}

fn refused(refusal: KvRefusal) -> Result<Lsn, KvUndone> {
    Err(KvUndone::Refused(refusal))
}

#[test]
fn a_key_has_the_value_that_was_put_last_and_versions_rise() {
    for ring in [0, 4096] {
        let store = Store::new(1024, ring);
        let mut last = Lsn(0);
        for size in [0, 1, 700, 80, 224, 225, BIG, 3, 0] {
            let value = bytes(size, 4);
            let version = store.put(b"key", &value).unwrap();
            assert_eq!(version.0, last.0 + 1 + (3 + size as u64).div_ceil(80), "its last record");
            assert_eq!(store.get(b"key"), Some((version, value)));
            assert_eq!(counts(&store), (1, blocks_of(3, size)));
            store.must_be_whole();
            last = version;
        }
        let gone = store.delete(b"key").unwrap();
        assert_eq!((gone.0, store.get(b"key"), counts(&store)), (last.0 + 2, None, (0, 0)));
        store.must_be_whole();
        assert_eq!(store.put(b"key", b"again"), Ok(Lsn(gone.0 + 2)));
        // What differs in the last byte, or only by its length, is another key.
        for other in [&b"kez"[..], b"ke", b"key\0"] {
            assert_eq!(store.get(other), None);
            store.put(other, other).unwrap();
        }
        assert_eq!(store.get(b"key").unwrap().1, b"again");
        assert_eq!((store.pairs().len(), counts(&store)), (4, (4, 4)));
    }
}

#[test]
fn conditions_are_held_and_each_refusal_says_why() {
    let store = Store::new(64, 4096);
    let mut teller = store.teller(0);
    let mut ask = |write: &KvWriteRequest<'_>| ask(&mut teller, write, None);
    assert_eq!(ask(&delete(b"k")), refused(KvRefusal::NotFound));
    let delete_if = |condition| KvWriteRequest { condition, ..delete(b"k") };
    assert_eq!(ask(&delete_if(Condition::IfVersion(1))), refused(KvRefusal::Mismatch(Lsn(0))));
    assert_eq!(ask(&delete_if(Condition::IfAbsent)), refused(KvRefusal::NotFound));
    assert_eq!(ask(&put_if(Condition::IfVersion(1), b"k", b"v")), refused(KvRefusal::Mismatch(Lsn(0))));
    assert_eq!(ask(&put_if(Condition::IfVersion(0), b"k", b"v")), refused(KvRefusal::Mismatch(Lsn(0))));
    assert_eq!(store.ledger.order().now().lsn, Lsn(0), "what is refused leaves nothing");
    let first = ask(&put_if(Condition::IfAbsent, b"k", b"v")).unwrap();
    assert_eq!(ask(&put_if(Condition::IfAbsent, b"k", b"w")), refused(KvRefusal::Mismatch(first)));
    assert_eq!(ask(&put_if(Condition::IfVersion(first.0 + 1), b"k", b"w")), refused(KvRefusal::Mismatch(first)));
    let second = ask(&put_if(Condition::IfVersion(first.0), b"k", b"w")).unwrap();
    assert_eq!(ask(&delete_if(Condition::IfVersion(first.0))), refused(KvRefusal::Mismatch(second)));
    assert_eq!(ask(&delete_if(Condition::IfAbsent)), refused(KvRefusal::Mismatch(second)));
    assert_eq!(store.get(b"k"), Some((second, b"w".to_vec())));
    assert_eq!(ask(&delete_if(Condition::IfVersion(second.0))), Ok(Lsn(second.0 + 2)));
    store.must_be_whole();
}

#[test]
fn a_request_id_gets_its_first_answer_and_another_request_a_conflict() {
    for ring in [0, 4096] {
        let store = Store::new(4, ring);
        let (mut teller, mut other) = (store.teller(0), store.teller(1));
        let repeated = |lsn, first| Err(KvUndone::Repeated { lsn, first });
        let done = ask(&mut teller, &put(b"k", b"v"), Some(1)).unwrap();
        let absent = put_if(Condition::IfAbsent, b"k", b"v");
        let mismatch = ask(&mut teller, &absent, Some(2)).unwrap();
        let not_found = ask(&mut teller, &delete(b"nowhere"), Some(3)).unwrap();
        let much = bytes(224 + 3 * 248, 0);
        let full = ask(&mut teller, &put(b"m", &much), Some(4)).unwrap();
        assert_eq!([done, mismatch, not_found, full], [2, 3, 4, 5].map(Lsn));
        // Whatever has changed since.
        let gone = store.delete(b"k").unwrap();
        store.put(b"nowhere", b"now here").unwrap();
        for teller in [&mut teller, &mut other] {
            assert_eq!(ask(teller, &put(b"k", b"v"), Some(1)), repeated(done, Ok(())));
            assert_eq!(ask(teller, &absent, Some(2)), repeated(mismatch, Err(KvRefusal::Mismatch(done))));
            assert_eq!(ask(teller, &delete(b"nowhere"), Some(3)), repeated(not_found, Err(KvRefusal::NotFound)));
            assert_eq!(ask(teller, &put(b"m", &much), Some(4)), repeated(full, Err(KvRefusal::Full)));
            for changed in [
                put(b"k", b"w"),
                put(b"l", b"v"),
                put(b"kv", b""),
                put(b"k", b""),
                put_if(Condition::IfVersion(9), b"k", b"v"),
                delete(b"k"),
            ] {
                assert_eq!(ask(teller, &changed, Some(1)), Err(KvUndone::Conflict), "{changed:?}");
            }
        }
        assert_eq!((store.get(b"k"), store.get(b"nowhere").is_some()), (None, true), "since {gone}");
        // Of another user it is another one.
        let asker = KvAsker { principal: 6, request: Some([1; 16]) };
        assert!(teller.carry_out(&put(b"k", b"w"), &asker, |_| Completion::UNATTENDED).is_ok());
        store.must_be_whole();
    }
}

#[test]
fn a_key_of_a_bank_s_operation_is_no_other_write_s() {
    let store = Store::new(8, 64);
    let deposit = Operation::Deposit { account: AccountId(0), amount: Cents(1) };
    let asker = |id: u8| Asker { principal: 5, key: Some([id; 16]) };
    let mut bank = Teller::new(&store.ledger, 0, || ());
    let lsn = bank.carry_out(deposit, &asker(1), |_| Completion::UNATTENDED).unwrap();
    assert_eq!(ask(&mut store.teller(0), &put(b"k", b"v"), Some(1)), Err(KvUndone::Conflict));
    assert_eq!(store.get(b"k"), None);
    let lsn = ask(&mut store.teller(0), &put(b"k", b"v"), Some(2)).map(|put| (lsn, put)).unwrap().1;
    let conflict = bank.carry_out(deposit, &asker(2), |_| Completion::UNATTENDED);
    assert_eq!(conflict, Err(Undone::Uncommitted(Uncommitted::Conflict(lsn))));
    store.must_be_whole();
}

#[test]
fn a_full_table_says_so_and_has_room_again_when_something_goes() {
    let store = Store::new(8, 4096);
    let two_blocks = bytes(300, 1);
    for key in 0u8..4 {
        store.put(&[key], &two_blocks).unwrap();
    }
    assert_eq!(counts(&store), (4, 8));
    let mut teller = store.teller(0);
    assert_eq!(ask(&mut teller, &put(b"more", b""), None), refused(KvRefusal::Full));
    // It shows how much all others have taken.
    assert_eq!((teller.take_seen(), teller.take_has_read()), (store.ledger.order().now().lsn, true));
    assert_eq!(store.put(&[1], &bytes(600, 2)), refused(KvRefusal::Full), "three blocks instead of two");
    assert_eq!(store.get(&[1]).unwrap().1, two_blocks, "as it was");
    assert_eq!(store.put(&[1], &bytes(310, 2)).map(|_| counts(&store)), Ok((4, 8)), "two instead of two");
    store.must_be_whole();
    store.put(&[2], b"less").unwrap();
    store.put(b"more", b"").unwrap();
    assert_eq!((counts(&store), store.put(b"still more", b"")), ((5, 8), refused(KvRefusal::Full)));
    store.delete(&[3]).unwrap();
    store.put(&[1], &bytes(600, 2)).unwrap();
    assert_eq!(counts(&store), (4, 7));
    store.must_be_whole();
}

#[test]
fn a_ring_without_room_takes_a_write_wholly_or_not_at_all() {
    let store = Store::new(64, 8);
    // Three records, twice; a third time there are two places left.
    let value = bytes(100, 1);
    store.put(b"a", &value).unwrap();
    store.put(b"b", &value).unwrap();
    let before = store.pairs();
    for write in [put(b"c", &value), put(b"a", &value)] {
        for request in [None, Some(1)] {
            assert_eq!(ask(&mut store.teller(0), &write, request), Err(KvUndone::Later));
        }
    }
    assert_eq!((store.pairs(), store.ledger.order().now().lsn), (before, Lsn(6)));
    store.must_be_whole();
    assert_eq!(store.delete(b"a"), Ok(Lsn(8)), "that needs two");
    assert_eq!(ask(&mut store.teller(0), &delete(b"a"), Some(2)), Err(KvUndone::Later), "a refusal needs one");
    store.ledger.sequencer().set_on_disk_alone(OnDisk(Lsn(8)), Lsn(1000));
    assert_eq!(ask(&mut store.teller(0), &put(b"c", &value), Some(1)), Ok(Lsn(11)));
    store.must_be_whole();
}

#[test]
fn a_full_disk_and_a_closed_gate_change_nothing() {
    let store = Store::new(64, 8);
    store.put(b"a", b"1").unwrap();
    store.ledger.set_gate(GateState::Closed);
    assert_eq!(store.put(b"a", b"2"), Err(KvUndone::NotPrimary));
    assert_eq!(store.delete(b"a"), Err(KvUndone::NotPrimary));
    assert_eq!(ask(&mut store.teller(0), &delete(b"b"), Some(1)), Err(KvUndone::NotPrimary));
    store.ledger.set_gate(GateState::Open);
    store.ledger.sequencer().set_state(crate::store::ledger::sequencer::JournalState::NoSpace);
    assert_eq!(store.put(b"b", &bytes(1000, 0)), Err(KvUndone::NoSpace));
    assert_eq!(store.pairs(), [(b"a".to_vec(), Lsn(2), b"1".to_vec())]);
    store.must_be_whole();
}

#[test]
fn the_reply_counts_with_the_write_and_is_asked_for_again_if_the_outcome_changes() {
    let store = Store::new(1, 64);
    let (word, shown) = (AtomicU64::new(0), AtomicU64::new(0));
    let number = |lsn: Lsn| shown.store(lsn.0, Ordering::Relaxed);
    let asked = RefCell::new(Vec::new());
    let carry_out = |write: &KvWriteRequest<'_>, request: Option<u8>| {
        asked.borrow_mut().clear();
        let asker = KvAsker { principal: 5, request: request.map(|id| [id; 16]) };
        store.teller(0).carry_out(write, &asker, |outcome| {
            asked.borrow_mut().push(outcome);
            Completion::moving(3, &word, asked.borrow().len() as u64).numbered_by(&number)
        })
    };
    let first = carry_out(&put(b"k", b"v"), None).unwrap();
    assert_eq!(
        (asked.take(), word.swap(0, Ordering::Relaxed), shown.swap(0, Ordering::Relaxed)),
        (vec![Ok(())], 1, first.0)
    );
    // It seems to fit until the sequencer counts.
    let full = Err(KvRefusal::Full);
    assert_eq!(carry_out(&put(b"l", b"v"), None), refused(KvRefusal::Full));
    assert_eq!((asked.take(), word.load(Ordering::Relaxed)), (vec![Ok(())], 0), "the caller answers");
    carry_out(&put(b"l", b"v"), Some(1)).unwrap();
    assert_eq!((asked.take(), word.swap(0, Ordering::Relaxed)), (vec![Ok(()), full], 2));
    assert_eq!(shown.load(Ordering::Relaxed), 0, "a refusal shows no number");
    assert_eq!(carry_out(&delete(b"l"), None), refused(KvRefusal::NotFound));
    assert_eq!((asked.take(), word.load(Ordering::Relaxed)), (vec![], 0));
    carry_out(&delete(b"l"), Some(2)).unwrap();
    assert_eq!((asked.take(), word.swap(0, Ordering::Relaxed)), (vec![Err(KvRefusal::NotFound)], 1));
    assert!(matches!(carry_out(&delete(b"l"), Some(2)), Err(KvUndone::Repeated { .. })));
    assert_eq!(word.load(Ordering::Relaxed), 0);
    assert_eq!(carry_out(&put(b"k", b"v"), Some(2)), Err(KvUndone::Conflict));
    assert_eq!((word.load(Ordering::Relaxed), shown.load(Ordering::Relaxed)), (0, 0));
    store.must_be_whole();
}

#[test]
fn a_teller_knows_what_it_has_shown() {
    let store = Store::new(8, 64);
    let mut teller = store.teller(0);
    assert_eq!((teller.get(b"k", &mut Vec::new()), teller.take_seen(), teller.take_has_read()), (None, Lsn(0), true));
    let put_at = ask(&mut teller, &put(b"k", b"v"), None).unwrap();
    assert_eq!((teller.take_seen(), teller.take_has_read()), (put_at, false));
    teller.get(b"k", &mut Vec::new());
    assert_eq!((teller.take_seen(), teller.take_has_read()), (put_at, true));
    let gone = ask(&mut teller, &delete(b"k"), Some(1)).unwrap();
    teller.take_seen();
    // That it is not there shows that it went.
    teller.get(b"k", &mut Vec::new());
    assert_eq!(teller.take_seen(), gone);
    assert_eq!(ask(&mut teller, &delete(b"k"), None), refused(KvRefusal::NotFound));
    assert_eq!((teller.take_seen(), teller.take_has_read()), (gone, true));
    assert!(matches!(ask(&mut teller, &delete(b"k"), Some(1)), Err(KvUndone::Repeated { .. })));
    assert_eq!(teller.take_seen(), gone);
}

#[test]
fn a_fingerprint_is_the_one_on_disk() {
    // By another implementation of XXH3: directories outlive programs.
    let value = [b'v'; 1000];
    let long = put_if(Condition::IfVersion(7), b"key", &value).fingerprint();
    assert_eq!(u128::from_le_bytes(long), 0x5bfd_41fe_251f_cd3d_0535_8d14_64c3_ad36);
    assert_eq!(u128::from_le_bytes(delete(b"key").fingerprint()), 0x55de_ef55_9a75_a535_3610_22b5_9729_9be0);
}
