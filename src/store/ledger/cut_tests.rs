use super::*;
use crate::store::ledger::Teller;
use crate::store::ledger::test_support::{A, B, deposit, die_after, operate, table, transfer, withdraw};

#[test]
fn a_cut_says_what_there_is_and_the_next_the_same() {
    let table = table(5, Cents(100), 0);
    let mut teller = Teller::new(&table, 0, || ());
    operate(&mut teller, deposit(A, 7)).unwrap();
    operate(&mut Teller::new(&table, 9, || ()), withdraw(B, 3)).unwrap();
    operate(&mut teller, transfer(A, B, 1)).unwrap();
    let wanted = Totals { accounts: 5, sum: Cents(504), deposited: Cents(7), withdrawn: Cents(3), lsn: Lsn(3) };
    for _ in 0..4 {
        assert_eq!(take(&table), Some(wanted));
    }
    assert_eq!(wanted.opening(), Cents(500));
}

/// Worker 0 keeps the number of the cut that it saw last, while the numbers come round to it again.
#[test]
fn the_numbers_of_cuts_begin_anew_and_no_cut_takes_an_idle_worker_s_for_its_own() {
    let table = table(2, Cents(100), 0);
    let [mut idle, mut busy] = [0, 1].map(|worker| Teller::new(&table, worker, || ()));
    take(&table).unwrap();
    operate(&mut idle, deposit(A, 50)).unwrap();
    let its_cut = table.order().now().epoch;
    assert!(its_cut > 0);
    for number in 1..2 * i64::from(EPOCHS) + 3 {
        operate(&mut busy, deposit(B, 1)).unwrap();
        let totals = take(&table).unwrap();
        assert_eq!((totals.sum, totals.deposited), (Cents(250 + number), Cents(50 + number)), "cut {number}");
        assert_ne!(table.order().now().epoch, its_cut);
    }
}

/// What the visitor and the workers see once a cut has begun, step by step.
#[test]
fn an_operation_after_the_cut_counts_the_old_balance_in_before_it_changes_it() {
    let table = table(2, Cents(100), 0);
    let mut teller = Teller::new(&table, 0, || ());
    operate(&mut teller, deposit(A, 10)).unwrap();
    operate(&mut teller, withdraw(A, 4)).unwrap();
    let tally = &table.rows()[0].tally;
    let epoch = unused_epoch(&table);
    assert_eq!(table.order().begin_cut(epoch), Lsn(2));
    assert_eq!(tally.as_of(epoch), [10, 4, 0], "of a worker that has done nothing since, its sums hold");
    operate(&mut teller, deposit(A, 1000)).unwrap();
    assert_eq!(tally.as_of(epoch), [10, 4, 106], "as of the cut");
    operate(&mut teller, withdraw(A, 500)).unwrap();
    assert_eq!(tally.as_of(epoch), [10, 4, 106], "an account is counted once");
    operate(&mut teller, transfer(A, B, 1)).unwrap();
    assert_eq!(tally.as_of(epoch), [10, 4, 206]);
    assert!([A, B].iter().all(|&account| !table.lock(account, || ()).unwrap().count_into(epoch)), "marked");
    // The next cut counts anew.
    let next = unused_epoch(&table);
    table.order().begin_cut(next);
    assert_eq!(tally.as_of(next), [1010, 504, 0]);
    operate(&mut Teller::new(&table, 1, || ()), deposit(B, 1)).unwrap();
    assert_eq!(table.rows()[1].tally.as_of(next), [0, 0, 101]);
    assert!(table.lock(A, || ()).unwrap().count_into(next), "nobody has been there");
}

#[test]
fn a_cut_whose_taker_died_is_no_hindrance() {
    let table = table(2, Cents(100), 0);
    die_after(|| {
        std::mem::forget(table.cut_lock().lock(Duration::from_millis(1), || ()));
        table.order().begin_cut(unused_epoch(&table));
        assert!(table.lock(A, || ()).unwrap().count_into(table.order().now().epoch));
    });
    assert_eq!(take(&table).map(|totals| totals.sum), Some(Cents(200)));
}
