use super::*;
use crate::base::vocab::{AccountId, Cents, Condition, OnDisk};
use crate::store::kv::teller::{KvRefusal, KvUndone, KvWriteRequest};
use crate::store::kv::test_support::{Store, ask, bytes, delete, put};
use crate::store::ledger::replication::GateState;
use crate::store::ledger::teller::Asker;
use crate::store::ledger::{Completion, Operation, Teller, cut};

const CAPACITY: u32 = 1024;

/// An instance that carried out some of everything.
fn primary() -> Store {
    let store = Store::new(CAPACITY, 4096);
    let mut teller = store.teller(0);
    let mut ask = |write: &KvWriteRequest<'_>, request| ask(&mut teller, write, request).unwrap();
    let bank = |account| {
        let operation = Operation::Deposit { account: AccountId(account), amount: Cents(5) };
        let asker = Asker { principal: 5, key: Some([100; 16]) };
        Teller::new(&store.ledger, 1, || ()).carry_out(operation, &asker, |_| Completion::UNATTENDED).unwrap();
    };
    ask(&put(b"a", b"1"), None);
    bank(1);
    ask(&put(b"b", &bytes(700, 1)), Some(1));
    ask(&put(b"a", &bytes(65_536, 2)), Some(2));
    ask(&put(b"c", b""), None);
    ask(&delete(b"a"), None);
    ask(&KvWriteRequest { condition: Condition::IfAbsent, ..put(b"c", b"2") }, Some(3));
    ask(&delete(b"nowhere"), Some(4));
    ask(&put(b"a", b"again"), None);
    drop(teller);
    store
}

fn follow(store: &Store, records: &[Record]) -> Result<(), LogApplyError> {
    let mut applier = LogApplier::new(&store.ledger, Some(&store.table), || ());
    records.iter().try_for_each(|record| applier.apply(record))
}

#[test]
fn a_follower_that_has_applied_all_is_equal_and_goes_on_as_primary() {
    let (primary, follower) = (primary(), Store::following(CAPACITY));
    follow(&follower, &primary.records()).unwrap();
    assert_eq!(follower.pairs(), primary.pairs());
    assert_eq!(KvTable::counts(&follower.ledger), KvTable::counts(&primary.ledger));
    assert_eq!(cut::take(&follower.ledger).unwrap(), cut::take(&primary.ledger).unwrap());
    assert_eq!(follower.ledger.sequencer().keys().known(), 5);
    follower.must_be_whole();
    assert_eq!(follower.put(b"a", b"b"), Err(KvUndone::NotPrimary));
    let last = follower.ledger.set_gate(GateState::Open);
    assert_eq!(last, primary.ledger.order().now().lsn);
    follower.ledger.sequencer().set_on_disk(OnDisk(last), Lsn(100_000));
    let mut teller = follower.teller(0);
    for (write, request) in [(put(b"b", &bytes(700, 1)), 1), (delete(b"nowhere"), 4)] {
        let [here, there] = [&mut teller, &mut primary.teller(0)].map(|teller| ask(teller, &write, Some(request)));
        assert!(here == there && matches!(here, Err(KvUndone::Repeated { .. })), "{here:?}, {there:?}");
    }
    assert_eq!(ask(&mut teller, &put(b"b", b""), Some(1)), Err(KvUndone::Conflict));
    assert_eq!(follower.put(b"a", b"b"), primary.put(b"a", b"b"));
    assert_eq!(follower.pairs(), primary.pairs());
}

#[test]
fn a_successor_begins_with_the_first_record_that_is_not_applied() {
    let primary = primary();
    let records = primary.records();
    for died_before in [1, 2, 3, 5, 8, 12, 14, 600, records.len() - 1] {
        let follower = Store::following(CAPACITY);
        follow(&follower, &records[..died_before]).unwrap();
        let applied = usize::try_from(follower.ledger.order().now().lsn.0).unwrap();
        assert!(applied <= died_before && !records[applied].is_piece(), "{applied} of {died_before}");
        follow(&follower, &records[applied..]).unwrap();
        assert_eq!(follower.pairs(), primary.pairs());
        follower.must_be_whole();
    }
}

#[test]
fn records_that_do_not_follow_are_refused_and_change_nothing() {
    let primary = primary();
    let records = primary.records();
    let at = |numbers: &[usize]| -> (Result<(), LogApplyError>, Lsn) {
        let follower = Store::following(CAPACITY);
        let some: Vec<Record> = numbers.iter().map(|&number| records[number].clone()).collect();
        let result = follow(&follower, &some);
        follower.must_be_whole();
        (result, follower.ledger.order().now().lsn)
    };
    let out_of_order =
        |expected, found| Err(ApplyError::OutOfOrder { expected: Lsn(expected), found: Lsn(found) }.into());
    assert_eq!(at(&[2]), (out_of_order(1, 3), Lsn(0)), "the bank's");
    assert_eq!(at(&[3]), (out_of_order(1, 4), Lsn(0)), "a head");
    assert_eq!(at(&[1]), (out_of_order(1, 2), Lsn(0)), "a piece");
    assert_eq!(at(&[0, 2]), (Err(AssemblyError::Unfinished { head: Lsn(1), found: Lsn(3) }.into()), Lsn(0)));
    assert_eq!(at(&[0, 1, 1]).0, out_of_order(3, 2), "once more");
    // What is applied ends with whole operations, so a piece never comes next.
    let follower = Store::following(CAPACITY);
    follow(&follower, &records[..3]).unwrap();
    let mut piece = records[1].clone();
    let Content::KvPiece(inner) = &mut piece.content else { panic!("{piece:?}") };
    inner.lsn = Lsn(4);
    assert_eq!(follow(&follower, &[piece]), Err(AssemblyError::Orphan(Lsn(4)).into()));
}

#[test]
fn members_that_differ_find_it_out() {
    let primary = primary();
    let records = primary.records();
    let change = |number: usize, change: &dyn Fn(&mut crate::store::journal::record::KvHead)| {
        let follower = Store::following(CAPACITY);
        follow(&follower, &records[..number]).unwrap();
        let before = follower.pairs();
        let mut rest = records[number..].to_vec();
        let Content::KvHead(head) = &mut rest[0].content else { panic!("{:?}", rest[0]) };
        change(head);
        let told = follow(&follower, &rest);
        let lsn = Lsn(number as u64 + 1);
        assert!(matches!(told, Err(LogApplyError::Differs { lsn: at, .. }) if at == lsn), "{told:?}");
        assert_eq!((follower.pairs(), follower.ledger.order().now().lsn.0), (before, number as u64));
        follower.must_be_whole();
    };
    let heads: Vec<usize> =
        (0..records.len()).filter(|&at| matches!(records[at].content, Content::KvHead(_))).collect();
    assert_eq!(heads.len(), 8);
    for &head in &heads {
        change(head, &|head| head.keys += 1);
        change(head, &|head| head.blocks += 1);
    }
    for &head in [0, 1, 2, 3, 4, 7].map(|number| &heads[number]) {
        change(head, &|head| head.previous = Lsn(head.previous.0 + 1));
    }
}

#[test]
fn a_member_without_the_table_or_with_less_room_says_so() {
    let primary = primary();
    let records = primary.records();
    let follower = Store::following(CAPACITY);
    let mut applier = LogApplier::new(&follower.ledger, None, || ());
    assert_eq!(applier.apply(&records[0]), Err(LogApplyError::NoTable(Lsn(1))));
    // Another process has all that is left.
    let row = &follower.table.rows()[0];
    row.prepare(0, None);
    let all = follower.table.pool().lock(|| ()).allocate(row, follower.table.free_blocks()).unwrap();
    assert_eq!(follow(&follower, &records), Err(LogApplyError::Full(Lsn(1))));
    follower.table.pool().lock(|| ()).release(row, all);
    follower.must_be_whole();
    follow(&follower, &records).unwrap();
    let full = KvUndone::Refused(KvRefusal::Full);
    assert_ne!(follower.put(b"a", b""), Err(full));
}
