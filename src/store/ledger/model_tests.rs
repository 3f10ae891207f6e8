//! The ledger's own code under `loom`: deaths at every point, second ones who repair, keys, cuts, in every order of threads that a
//! bounded number of preemptions allows, and with every value that the stated orderings let a load give.
//!
//! A thread stands for a process. Mostly the dead worker has ended when the others begin, as it has where its locks are inherited; what
//! runs beside each other are those who find what it left: another worker, and the master.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::model::Builder;
use loom::thread;

use super::commit::Uncommitted;
use super::keys::Key;
use super::repair::{Settled, settle};
use super::teller::{Asker, Undone};
use super::{Completion, Operation, RememberedOperation, Shape, Table, Teller, Totals, cut};
use crate::base::crash_point::CrashPoint;
use crate::base::defect::{self, Defect};
use crate::base::vocab::{AccountId, Cents, Lsn};
use crate::ipc::model::mortal;
use crate::store::journal::record::{OperationRecord, Record};

const OPENING: i64 = 1000;
const A: AccountId = AccountId(0);
const B: AccountId = AccountId(1);
const MOVED: Cents = Cents(100);
const KEY: Key = [7; 16];
const OTHER_KEY: Key = [8; 16];
const ASKER: Asker = Asker { principal: 5, key: Some(KEY) };
/// Preemptions in one execution. Two threads that break each other's assumptions need one or two.
const PREEMPTIONS: usize = 3;

/// Every execution of `body`; how many there were.
fn check(body: impl Fn() + Sync + Send + 'static) -> usize {
    check_with(PREEMPTIONS, body)
}

fn check_with(preemptions: usize, body: impl Fn() + Sync + Send + 'static) -> usize {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    executions.load(Ordering::Relaxed)
}

fn table(ring: u32) -> Arc<Table> {
    let shape = Shape {
        accounts: 2,
        initial_balance: Cents(OPENING),
        ring,
        key_window: 3,
        replies_wait: true,
        replicated: false,
        key_values: false,
    };
    Arc::new(Table::create(["accounts", "intents", "journal", "keys", "key-index"], 1, &shape).unwrap())
}

fn carry_out(table: &Table, worker: usize, operation: Operation, asker: &Asker) -> Result<Lsn, Undone> {
    // A reply that shows its number has one point more at which its worker can die.
    Teller::new(table, worker, || ()).carry_out(operation, asker, |_| Completion::UNATTENDED.numbered_by(&into_nothing))
}

fn into_nothing(_: Lsn) {}

/// What the worker that dies is at.
fn first() -> Operation {
    Operation::Transfer { from: A, to: B, amount: MOVED }
}

/// Has worker 0 die at `point` of its operation.
fn die_at(table: &Arc<Table>, point: CrashPoint) {
    let its = table.clone();
    let died = thread::spawn(move || mortal(point as u8, 1, || _ = carry_out(&its, 0, first(), &ASKER))).join();
    assert!(died.unwrap(), "{point:?} was not passed");
}

/// What the master does once it has collected the worker.
fn bury(table: &Table) -> Settled {
    loop {
        match settle(table, 0) {
            Ok(settled) => return settled,
            Err(_) => thread::yield_now(),
        }
    }
}

/// The points of an operation at which a worker can die holding something.
fn points() -> impl Iterator<Item = CrashPoint> {
    let all = CrashPoint::ALL.iter().copied();
    all.filter(|point| point.name().starts_with("ledger.") && *point != CrashPoint::Unlocked)
}

fn happened(point: CrashPoint) -> bool {
    point as u8 >= CrashPoint::Committed as u8
}

fn balances(table: &Table) -> [i64; 2] {
    [A, B].map(|account| table.peek(account).unwrap().0)
}

/// The records of all operations so far, each in its place.
fn records(table: &Table) -> Vec<OperationRecord> {
    let last = table.order().now().lsn.0;
    let read = |lsn| Record::decode(&table.sequencer().record(Lsn(lsn))).unwrap().into_operation().unwrap();
    let records: Vec<_> = (1..=last).map(read).collect();
    assert!((1..).zip(&records).all(|(lsn, record)| record.lsn == Lsn(lsn)), "{records:?}");
    records
}

fn must_be_balanced(table: &Table) -> Totals {
    let totals = cut::take(table).unwrap();
    assert_eq!(totals.opening(), Cents(2 * OPENING), "{totals:?}");
    assert_eq!(totals.sum.0, balances(table).iter().sum::<i64>());
    totals
}

/// Another worker asks for what the dead one was at, with the same key: it is done once, by one of the two.
fn same_key_after_a_death(point: CrashPoint) {
    let table = table(4);
    die_at(&table, point);
    let its = table.clone();
    let second = thread::spawn(move || carry_out(&its, 1, first(), &ASKER));
    let settled = bury(&table);
    let told = second.join().unwrap();
    match (&told, happened(point)) {
        (Ok(lsn), false) => assert_eq!(*lsn, Lsn(1)),
        (Err(Undone::Uncommitted(Uncommitted::Repeated(known))), true) => {
            let known = RememberedOperation::from_table(known).unwrap();
            assert_eq!((known.lsn, known.balances), (Lsn(1), [Cents(OPENING - 100), Cents(OPENING + 100)]));
        }
        _ => panic!("{point:?}: {told:?}"),
    }
    let in_flight = (CrashPoint::Prepared as u8..CrashPoint::IntentCleared as u8).contains(&(point as u8));
    match settled {
        Settled::Idle => assert!(!in_flight),
        Settled::Dropped => assert!(in_flight && !happened(point)),
        Settled::Finished { lsn, .. } => assert!(in_flight && happened(point) && lsn == Lsn(1)),
    }
    assert_eq!(balances(&table), [OPENING - 100, OPENING + 100], "once");
    assert_eq!(records(&table).len(), 1);
    must_be_balanced(&table);
}

/// Another worker takes money out of the account that the dead one was at, or puts it in where only the sequencer is in common.
fn another_operation_after_a_death(point: CrashPoint, operation: Operation, change: [i64; 2]) {
    let table = table(4);
    die_at(&table, point);
    let its = table.clone();
    let second = thread::spawn(move || carry_out(&its, 1, operation, &Asker { key: Some(OTHER_KEY), ..ASKER }));
    bury(&table);
    let lsn = second.join().unwrap().unwrap();
    let moved = if happened(point) { 100 } else { 0 };
    assert_eq!(lsn, Lsn(if happened(point) { 2 } else { 1 }));
    assert_eq!(balances(&table), [OPENING - moved + change[0], OPENING + moved + change[1]]);
    assert_eq!(records(&table).len() as u64, lsn.0);
    must_be_balanced(&table);
    // A successor in the dead one's place: its key is known, or is not.
    let again = carry_out(&table, 0, first(), &ASKER);
    assert_eq!(again.is_ok(), !happened(point), "{again:?}");
}

#[test]
fn a_key_is_used_once_although_its_worker_died_anywhere() {
    let executions: usize = points().map(|point| check(move || same_key_after_a_death(point))).sum();
    println!("{executions} executions");
    assert!(executions > 100);
}

#[test]
fn nothing_is_lost_or_made_by_a_death_beside_another_operation() {
    let withdraw = Operation::Withdraw { account: B, amount: Cents(30) };
    let executions: usize =
        points().map(|point| check(move || another_operation_after_a_death(point, withdraw, [0, -30]))).sum();
    println!("{executions} executions");
    assert!(executions > 100);
}

/// The other worker is at it while the first one still lives, and dies.
fn a_death_under_another_operation(point: CrashPoint) {
    let table = table(4);
    let its = table.clone();
    let dying = thread::spawn(move || mortal(point as u8, 1, || _ = carry_out(&its, 0, first(), &ASKER)));
    let its = table.clone();
    let operation = Operation::Withdraw { account: B, amount: Cents(30) };
    let second = thread::spawn(move || carry_out(&its, 1, operation, &Asker { key: Some(OTHER_KEY), ..ASKER }));
    assert!(dying.join().unwrap());
    bury(&table);
    second.join().unwrap().unwrap();
    let moved = if happened(point) { 100 } else { 0 };
    assert_eq!(balances(&table), [OPENING - moved, OPENING + moved - 30]);
    assert_eq!(records(&table).len(), if happened(point) { 2 } else { 1 });
    must_be_balanced(&table);
}

#[test]
fn nor_by_one_while_another_operation_is_under_way() {
    let executions: usize = points().map(|point| check_with(2, move || a_death_under_another_operation(point))).sum();
    println!("{executions} executions");
    assert!(executions > 1000);
}

#[test]
fn two_who_use_one_key_at_once_do_it_once() {
    let executions = check(|| {
        let table = table(4);
        let its = table.clone();
        let other = thread::spawn(move || carry_out(&its, 1, first(), &ASKER));
        let told = [carry_out(&table, 0, first(), &ASKER), other.join().unwrap()];
        let done = told.iter().filter(|told| told.is_ok()).count();
        let repeated = |told: &Result<Lsn, Undone>| matches!(told, Err(Undone::Uncommitted(Uncommitted::Repeated(known))) if known.lsn == Lsn(1));
        assert!(done == 1 && told.iter().any(repeated), "{told:?}");
        assert_eq!(balances(&table), [OPENING - 100, OPENING + 100]);
        must_be_balanced(&table);
    });
    println!("{executions} executions");
    assert!(executions > 10);
}

#[test]
fn two_who_use_one_key_for_two_things_do_one_of_them() {
    let executions = check(|| {
        let table = table(4);
        let deposit = |account| Operation::Deposit { account, amount: MOVED };
        let its = table.clone();
        let other = thread::spawn(move || carry_out(&its, 1, deposit(B), &ASKER));
        let mut told = [carry_out(&table, 0, deposit(A), &ASKER), other.join().unwrap()];
        told.sort_by_key(Result::is_err);
        assert_eq!(told, [Ok(Lsn(1)), Err(Undone::Uncommitted(Uncommitted::Conflict(Lsn(1))))]);
        assert_eq!(must_be_balanced(&table).deposited, MOVED);
    });
    println!("{executions} executions");
    assert!(executions > 10);
}

/// With a ring by the sequencer's lock, without one by the order word alone.
fn a_cut_beside_an_operation(ring: u32) -> usize {
    check(move || {
        let table = table(ring);
        let its = table.clone();
        let other = thread::spawn(move || {
            carry_out(&its, 1, Operation::Deposit { account: B, amount: Cents(7) }, &Asker::ANYBODY).unwrap();
        });
        let totals = cut::take(&table).unwrap();
        assert_eq!(totals.opening(), Cents(2 * OPENING), "{totals:?}");
        assert_eq!(totals.deposited, Cents(if totals.lsn == Lsn(1) { 7 } else { 0 }), "a prefix: {totals:?}");
        other.join().unwrap();
        assert_eq!(must_be_balanced(&table).lsn, Lsn(1));
    })
}

#[test]
fn a_cut_is_a_prefix_of_the_order() {
    let executions = [0, 4].map(a_cut_beside_an_operation);
    println!("{executions:?} executions");
    assert!(executions.iter().all(|&executions| executions > 10));
}

#[test]
fn a_cut_beside_repair_is_consistent() {
    // The more is left to repair, the more orders there are.
    let points = [
        (CrashPoint::Committed, 1),
        (CrashPoint::FirstBalanceSet, 1),
        (CrashPoint::FirstApplied, PREEMPTIONS),
        (CrashPoint::Tallied, PREEMPTIONS),
    ];
    let executions = points.map(|(point, preemptions)| {
        check_with(preemptions, move || {
            let table = table(4);
            die_at(&table, point);
            let its = table.clone();
            let master = thread::spawn(move || _ = bury(&its));
            let totals = cut::take(&table).unwrap();
            assert_eq!((totals.opening(), totals.lsn), (Cents(2 * OPENING), Lsn(1)), "{totals:?}");
            master.join().unwrap();
            must_be_balanced(&table);
        })
    });
    println!("{executions:?} executions");
}

/// Whether `body` finds `defect`, and nothing without it.
fn finds(defect: Defect, body: impl Fn() + Sync + Send + Copy + 'static) -> bool {
    check(body);
    defect::introduce(Some(defect));
    let found = panic::catch_unwind(panic::AssertUnwindSafe(|| check(body))).is_err();
    defect::introduce(None);
    found
}

#[test]
fn each_defect_that_is_put_in_is_found() {
    let deposit = Operation::Deposit { account: B, amount: Cents(30) };
    assert!(finds(Defect::Repair, move || another_operation_after_a_death(CrashPoint::Committed, deposit, [0, 30])));
    assert!(finds(Defect::StaleClaim, move || another_operation_after_a_death(CrashPoint::Claimed, deposit, [0, 30])));
    assert!(finds(Defect::LostKey, move || same_key_after_a_death(CrashPoint::Committed)));
    assert!(finds(Defect::ClaimFirst, a_claim_is_withdrawn_under_a_third));
}

/// The dead worker held one account and the sequencer, with a claim to number 1. A second worker takes that number for another
/// operation, on the other account, while a third one repairs the account: it must not take the claim for one that was reached.
fn a_claim_is_withdrawn_under_a_third() {
    let table = table(4);
    let its = table.clone();
    let deposit = |account, cents| Operation::Deposit { account, amount: Cents(cents) };
    let died = thread::spawn(move || {
        mortal(CrashPoint::Claimed as u8, 1, || _ = carry_out(&its, 0, deposit(A, 100), &Asker::ANYBODY))
    });
    assert!(died.join().unwrap());
    let its = table.clone();
    let second = thread::spawn(move || carry_out(&its, 1, deposit(B, 30), &Asker::ANYBODY).unwrap());
    // Locks the account, and so repairs it.
    let (balance, _) = Teller::new(&table, 2, || ()).balance(A).unwrap();
    assert_eq!(balance, Cents(OPENING), "it had not happened");
    second.join().unwrap();
    assert_eq!(bury(&table), Settled::Dropped);
    assert_eq!(balances(&table), [OPENING, OPENING + 30]);
    must_be_balanced(&table);
}

#[test]
fn a_withdrawn_claim_is_never_taken_for_a_reached_one() {
    let executions = check(a_claim_is_withdrawn_under_a_third);
    println!("{executions} executions");
}
