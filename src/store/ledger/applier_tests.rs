use super::*;
use crate::base::vocab::OnDisk;
use crate::store::journal::record::{Content, TermRecord};
use crate::store::ledger::commit::Uncommitted;
use crate::store::ledger::intent::Phase;
use crate::store::ledger::replication::GateState;
use crate::store::ledger::teller::Undone;
use crate::store::ledger::test_support::{A, B, ask, deposit, operate, table_of, transfer, withdraw};
use crate::store::ledger::{Shape, Teller, cut};

fn table(replicated: bool) -> Table {
    let (accounts, initial_balance, replies_wait) = (3, Cents(100), true);
    let shape =
        Shape { accounts, initial_balance, ring: 64, key_window: 10, replies_wait, replicated, key_values: false };
    let table = table_of(&shape);
    table.sequencer().set_on_disk(OnDisk(Lsn(0)), Lsn(1000));
    table
}

/// The records of an instance that carried out some of everything.
fn records() -> (Table, Vec<Record>) {
    let primary = table(false);
    let mut teller = Teller::new(&primary, 0, || ());
    operate(&mut teller, deposit(A, 50)).unwrap();
    ask(&mut teller, transfer(B, A, 30), 1).unwrap();
    ask(&mut teller, withdraw(B, 1000), 2).unwrap();
    operate(&mut teller, withdraw(A, 5)).unwrap();
    ask(&mut teller, transfer(A, B, 170), 3).unwrap();
    drop(teller);
    let last = primary.order().now().lsn.0;
    let records = (1..=last).map(|lsn| Record::decode(&primary.sequencer().record(Lsn(lsn))).unwrap()).collect();
    (primary, records)
}

fn state(table: &Table) -> (cut::Totals, [Option<(Cents, Lsn)>; 3]) {
    (cut::take(table).unwrap(), [A, B, AccountId(2)].map(|account| table.peek_stamped(account)))
}

#[test]
fn a_follower_that_has_applied_all_is_equal_and_goes_on_as_primary() {
    let (primary, records) = records();
    let follower = table(true);
    let mut applier = Applier::new(&follower, || ());
    records.iter().for_each(|record| applier.apply(record).unwrap());
    assert_eq!(state(&follower), state(&primary));
    assert_eq!(follower.sequencer().keys().known(), 3);
    // Not before the gate is open.
    let mut teller = Teller::new(&follower, 0, || ());
    assert_eq!(operate(&mut teller, deposit(A, 1)), Err(Undone::Uncommitted(Uncommitted::NotPrimary)));
    assert_eq!(follower.set_gate(GateState::Open), Lsn(5));
    let again = ask(&mut teller, transfer(B, A, 30), 1);
    assert!(
        matches!(again, Err(Undone::Uncommitted(Uncommitted::Repeated(known))) if known.lsn == Lsn(2)),
        "{again:?}"
    );
    assert!(matches!(ask(&mut teller, deposit(A, 1), 3), Err(Undone::Uncommitted(Uncommitted::Conflict(Lsn(5))))));
    assert_eq!(operate(&mut teller, deposit(A, 1)), Ok(Lsn(6)));
    assert_eq!(follower.sequencer().gate().closings, 1);
    assert_eq!([GateState::Closed; 2].map(|state| follower.set_gate(state)), [Lsn(6); 2]);
    assert_eq!(follower.sequencer().gate().closings, 2);
}

#[test]
fn what_a_cluster_writes_beside_operations_takes_a_number_and_changes_nothing() {
    let (_, records) = records();
    let follower = table(true);
    let mut applier = Applier::new(&follower, || ());
    applier.apply(&records[0]).unwrap();
    let (before, accounts) = state(&follower);
    let content = Content::Term(TermRecord { lsn: Lsn(2), time_ns: 1 });
    applier.apply(&Record { term: 3, index: 7, ends_entry: true, content }).unwrap();
    let (totals, accounts_now) = state(&follower);
    assert_eq!((totals.lsn, totals.sum, accounts_now), (Lsn(2), before.sum, accounts));
}

#[test]
fn records_out_of_order_and_of_other_ledgers_change_nothing() {
    let (_, records) = records();
    let follower = table(true);
    let mut applier = Applier::new(&follower, || ());
    applier.apply(&records[0]).unwrap();
    let before = state(&follower);
    for wrong in [&records[0], &records[2]] {
        let refused = applier.apply(wrong);
        assert_eq!(refused, Err(ApplyError::OutOfOrder { expected: Lsn(2), found: wrong.lsn() }));
    }
    let transfer = records[1].operation().unwrap().clone();
    let elsewhere = OperationRecord { accounts: (AccountId(7), Some(A)), ..transfer };
    assert_eq!(applier.apply(&elsewhere.into()), Err(ApplyError::NoAccount { lsn: Lsn(2), account: AccountId(7) }));
    assert_eq!((state(&follower), follower.rows()[REPLICA_ROW].intent.phase()), (before, Phase::Idle));
}

#[test]
fn a_record_of_the_log_itself_takes_the_next_number_or_stands_behind_the_end_of_the_log() {
    use crate::store::journal::record::RECORD_BYTES;
    let instance = table(true);
    instance.set_gate(GateState::Open);
    operate(&mut Teller::new(&instance, 0, || ()), deposit(A, 1)).unwrap();
    let marked = |byte| move |lsn: Lsn, _| [u8::try_from(lsn.0).unwrap() + byte; RECORD_BYTES];
    assert_eq!((instance.append_control(0, marked(0x10)), instance.order().now().lsn), (Lsn(2), Lsn(2)));
    assert_eq!(instance.sequencer().record(Lsn(2)), [0x12; RECORD_BYTES]);
    instance.set_gate(GateState::Closed);
    instance.sequencer().set_log_end(Lsn(7));
    assert_eq!((instance.append_control(0, marked(0x20)), instance.order().now().lsn), (Lsn(8), Lsn(2)));
    assert_eq!(instance.sequencer().record(Lsn(8)), [0x28; RECORD_BYTES]);
}

#[test]
fn operations_leave_places_of_the_ring_to_the_records_of_the_log_itself() {
    let instance = table(true);
    instance.set_gate(GateState::Open);
    let mut teller = Teller::new(&instance, 0, || ());
    let taken = (0..64).take_while(|_| operate(&mut teller, deposit(A, 1)).is_ok()).count();
    assert_eq!((taken, instance.append_control(0, |_, _| [0; 128])), (64 - 16, Lsn(49)));
}
