use super::*;
use crate::base::vocab::{AccountId, Cents};
use crate::store::journal::record::{Kind, OperationRecord, Verdict};
use crate::store::ledger::cut;
use crate::store::ledger::intent::Plan;
use crate::store::ledger::keys::Found;
use crate::store::ledger::remembered::RememberedOperation;
use crate::store::ledger::test_support::{A, B, ask, deposit, die_after, operate, table, transfer};
use crate::store::ledger::{Operation, Teller};
use std::sync::mpsc;

const RING: u32 = 8;
const DEAD: usize = 2;

/// A transfer of 30 from A to B, of which 5 were deposited on the way, so that the tally moves too.
fn plan() -> Plan {
    Plan {
        accounts: [Some(A), Some(B)],
        balances: [Cents(70), Cents(135)],
        deposited: [Cents(0), Cents(5)],
        withdrawn: [Cents(0); 2],
        connection: 3,
        progress: 77,
    }
}

/// Worker [`DEAD`] dies with both accounts locked and its intent prepared, after `body`.
fn die(table: &Table, body: impl FnOnce() + Send) {
    die_after(|| {
        std::mem::forget([A, B].map(|account| table.lock(account, || ())));
        table.rows()[DEAD].intent.prepare(&plan());
        body();
    });
}

fn balances(table: &Table) -> [i64; 2] {
    [A, B].map(|account| table.peek(account).unwrap().0)
}

fn intent_phase(table: &Table) -> Phase {
    table.rows()[DEAD].intent.phase()
}

fn must_be_finished(table: &Table, lsn: Lsn) {
    let finished = Settled::Finished { lsn, connection: 3, progress: 77 };
    assert_eq!(settle(table, DEAD), Ok(finished));
    assert_eq!(settle(table, DEAD), Ok(Settled::Idle), "settled once");
    assert_eq!(balances(table), [70, 135]);
    assert_eq!([A, B].map(|account| table.cell(account).unwrap().lsn()), [lsn; 2]);
    assert_eq!(table.rows()[DEAD].tally.deposited(), Cents(5));
    assert_eq!(table.orphaned().count() + table.holders().count(), 0);
}

#[test]
fn what_had_not_happened_is_dropped() {
    let table = table(3, Cents(100), RING);
    assert_eq!(settle(&table, DEAD), Ok(Settled::Idle));
    die(&table, || ());
    assert_eq!(table.orphaned().collect::<Vec<_>>(), [A, B]);
    assert_eq!(settle(&table, DEAD), Ok(Settled::Dropped));
    assert_eq!(intent_phase(&table), Phase::Idle);
    assert_eq!(operate(&mut Teller::new(&table, 0, || ()), transfer(A, B, 1)), Ok(Lsn(1)));
    assert_eq!((balances(&table), table.inherited()), ([99, 101], 2));
}

#[test]
fn what_had_happened_is_finished() {
    let table = table(3, Cents(100), RING);
    die(&table, || table.rows()[DEAD].intent.commit(table.order().take_next(1).lsn));
    assert_eq!(balances(&table), [100; 2], "not applied yet");
    must_be_finished(&table, Lsn(1));
    assert_eq!(table.inherited(), 2);
}

#[test]
fn a_claim_counts_from_the_moment_that_the_order_reaches_it() {
    for reached in [false, true] {
        let table = table(3, Cents(100), RING);
        die(&table, || {
            std::mem::forget(table.lock_sequencer(|| ()));
            table.rows()[DEAD].intent.claim(Lsn(1));
            if reached {
                table.order().take_next(1);
            }
        });
        if reached {
            must_be_finished(&table, Lsn(1));
        } else {
            assert_eq!(settle(&table, DEAD), Ok(Settled::Dropped));
            assert_eq!(balances(&table), [100; 2]);
        }
    }
}

/// Else the dead worker's operation would count as soon as another one gets its number.
#[test]
fn a_claim_that_was_not_reached_is_withdrawn_before_the_number_goes_to_another() {
    let table = table(3, Cents(100), RING);
    die(&table, || {
        std::mem::forget(table.lock_sequencer(|| ()));
        table.rows()[DEAD].intent.claim(Lsn(1));
    });
    let elsewhere = AccountId(2);
    assert_eq!(operate(&mut Teller::new(&table, 0, || ()), deposit(elsewhere, 1)), Ok(Lsn(1)));
    assert_eq!(intent_phase(&table), Phase::Prepared);
    assert_eq!(settle(&table, DEAD), Ok(Settled::Dropped));
    assert_eq!((balances(&table), table.peek(elsewhere)), ([100; 2], Some(Cents(101))));
}

#[test]
fn who_inherits_an_account_mends_that_one_and_leaves_the_other() {
    let table = table(3, Cents(100), 0);
    die(&table, || table.rows()[DEAD].intent.commit(table.order().take_next(1).lsn));
    let b = table.lock(B, || ()).unwrap();
    assert_eq!((b.balance(), b.lsn()), (Cents(135), Lsn(1)));
    drop(b);
    assert_eq!((balances(&table), table.orphaned().collect::<Vec<_>>()), ([100, 135], vec![A]));
    assert_eq!(table.rows()[DEAD].tally.deposited(), Cents(5), "moved by the first who repairs");
    assert_eq!(intent_phase(&table), Phase::Committed(Lsn(1)), "until the master has found all repaired");
    must_be_finished(&table, Lsn(1));
}

#[test]
fn an_intent_says_nothing_of_what_happened_to_its_account_later() {
    let table = table(3, Cents(100), 0);
    die(&table, || table.rows()[DEAD].intent.commit(table.order().take_next(1).lsn));
    let mut teller = Teller::new(&table, 0, || ());
    assert_eq!(operate(&mut teller, deposit(B, 10)), Ok(Lsn(2)));
    assert_eq!(table.peek(B), Some(Cents(145)), "on top of what the dead worker did");
    die_after(|| std::mem::forget(table.lock(B, || ())));
    assert_eq!(table.lock(B, || ()).unwrap().balance(), Cents(145), "inherited again, with nothing to be done");
    let finished = Settled::Finished { lsn: Lsn(1), connection: 3, progress: 77 };
    assert_eq!(settle(&table, DEAD), Ok(finished));
    assert_eq!((balances(&table), table.inherited()), ([70, 145], 3));
}

/// Where a repairer died before it had stored the number, its own operation and the older one are both to be done.
#[test]
fn two_operations_of_the_dead_are_done_in_their_order() {
    let table = table(3, Cents(100), 0);
    die(&table, || {
        // The newer one in the row that is looked at first.
        let newer = Plan { accounts: [Some(B), None], balances: [Cents(145), Cents(0)], ..plan() };
        table.rows()[0].intent.prepare(&newer);
        table.rows()[DEAD].intent.commit(table.order().take_next(1).lsn);
        table.rows()[0].intent.commit(table.order().take_next(1).lsn);
    });
    let b = table.lock(B, || ()).unwrap();
    assert_eq!((b.balance(), b.lsn()), (Cents(145), Lsn(2)));
}

#[test]
fn the_master_does_not_wait_for_a_worker_that_repairs() {
    let table = table(3, Cents(100), 0);
    die(&table, || table.rows()[DEAD].intent.commit(table.order().take_next(1).lsn));
    let (locked, is_locked) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let its = &table;
        let repairer = scope.spawn(move || {
            // Inherited like the dead worker's, and not repaired as long as it is held.
            let _inherited = its.cell(B).unwrap().lock.try_lock();
            locked.send(()).unwrap();
            may_go_on.recv().unwrap();
        });
        is_locked.recv().unwrap();
        assert_eq!(settle(&table, DEAD), Err(Busy));
        assert_eq!(intent_phase(&table), Phase::Committed(Lsn(1)), "to be called again");
        go_on.send(()).unwrap();
        repairer.join().unwrap();
    });
    must_be_finished(&table, Lsn(1));
}

#[test]
fn nor_for_an_account_that_is_in_use_and_repaired() {
    let table = table(3, Cents(100), 0);
    die(&table, || table.rows()[DEAD].intent.commit(table.order().take_next(1).lsn));
    drop(table.lock(A, || ()));
    drop(table.lock(B, || ()));
    let (locked, is_locked) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let its = &table;
        let user = scope.spawn(move || {
            let _held = its.lock(B, || ()).unwrap();
            locked.send(()).unwrap();
            may_go_on.recv().unwrap();
        });
        is_locked.recv().unwrap();
        assert!(matches!(settle(&table, DEAD), Ok(Settled::Finished { .. })));
        go_on.send(()).unwrap();
        user.join().unwrap();
    });
    assert_eq!(balances(&table), [70, 135]);
}

#[test]
fn a_tally_that_has_gone_on_is_left() {
    let table = table(3, Cents(100), 0);
    let row = &table.rows()[0];
    let plan = Plan { deposited: [Cents(0), Cents(5)], withdrawn: [Cents(0), Cents(2)], ..plan() };
    repair_tally(row, &plan);
    repair_tally(row, &plan);
    assert_eq!((row.tally.deposited(), row.tally.withdrawn()), (Cents(5), Cents(2)));
    operate(&mut Teller::new(&table, 0, || ()), deposit(A, 10)).unwrap();
    repair_tally(row, &plan);
    assert_eq!((row.tally.deposited(), row.tally.withdrawn()), (Cents(15), Cents(2)));
}

/// Dies with the sequencer locked and a key written: which must be known afterwards if its operation has happened, and else must not.
#[test]
fn the_key_of_an_operation_that_happened_is_made_known_by_the_next_at_the_sequencer() {
    for happened in [false, true] {
        let table = table(3, Cents(100), RING);
        assert_eq!(ask(&mut Teller::new(&table, 0, || ()), deposit(A, 1), 1), Ok(Lsn(1)));
        die_after(|| {
            std::mem::forget(table.lock_sequencer(|| ()));
            let Operation::Deposit { account, amount } = deposit(B, 50) else { unreachable!("it is one") };
            let record = OperationRecord {
                lsn: Lsn(2),
                time_ns: 0,
                kind: Kind::Deposit,
                verdict: Verdict::Done,
                principal: 5,
                accounts: (account, None),
                amount,
                balances: [Cents(150), Cents(0)],
                previous: [Lsn(0); 2],
                key: Some([2; 16]),
            };
            let (keys, intent) = (table.sequencer().keys(), &table.rows()[DEAD].intent);
            let probe = keys.probe([2; 16], 5);
            let Found::Free(slot) = keys.find(&probe) else { panic!("there is room") };
            intent.prepare(&Plan { accounts: [None; 2], ..plan() });
            intent.set_key_number(keys.write(&probe, RememberedOperation::of(&record).to_table(), slot));
            intent.claim(Lsn(2));
            if happened {
                table.order().take_next(1);
            }
        });
        let again = ask(&mut Teller::new(&table, 1, || ()), deposit(B, 50), 2);
        assert_eq!(again.is_ok(), !happened, "{again:?}");
        assert_eq!(table.sequencer().keys().known(), 2);
        // The older key has kept its number.
        assert!(ask(&mut Teller::new(&table, 1, || ()), deposit(A, 1), 1).is_err());
        assert_eq!(table.order().now().lsn, Lsn(2));
    }
}

#[test]
fn a_cut_under_which_a_lock_was_inherited_is_taken_again() {
    let table = table(3, Cents(100), 0);
    die(&table, || table.rows()[DEAD].intent.commit(table.order().take_next(1).lsn));
    let before = table.order().now().epoch;
    let totals = cut::take(&table).unwrap();
    assert_eq!((totals.sum, totals.deposited, totals.lsn), (Cents(305), Cents(5), Lsn(1)));
    assert_eq!(table.order().now().epoch, before + 2, "the first was discarded");
}
