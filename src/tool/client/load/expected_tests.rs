use super::*;
use crate::service::bank::wire::{Opcode, Status};

fn totals(sum: i64, deposited: i64, withdrawn: i64) -> Totals {
    let [sum, deposited, withdrawn] = [sum, deposited, withdrawn].map(Cents);
    Totals { accounts: 3, sum, deposited, withdrawn, lsn: Default::default() }
}

fn deposit(account: u32, cents: i64) -> Request<'static> {
    Request::Deposit { account: AccountId(account), amount: Cents(cents) }
}

fn withdraw(account: u32, cents: i64) -> Request<'static> {
    Request::Withdraw { account: AccountId(account), amount: Cents(cents) }
}

fn transfer(from: u32, to: u32, cents: i64) -> Request<'static> {
    Request::Transfer { from: AccountId(from), to: AccountId(to), amount: Cents(cents) }
}

/// Three accounts of 100, after a deposit of 50 into 0, a withdrawal of 30 from 1, a transfer of 20 from 2 to 0, and a refusal.
fn after_a_run() -> ExpectedBalances {
    let range = AccountRange { first: 0, last: 2 };
    let expected = ExpectedBalances::new(range, totals(300, 0, 0), &[Cents(100); 3]);
    let balance = Cents(0);
    expected.apply(&deposit(0, 50), &Response::Deposit { balance });
    expected.apply(&withdraw(1, 30), &Response::Withdraw { balance });
    expected.apply(&transfer(2, 0, 20), &Response::Transfer { from_balance: balance, to_balance: balance });
    let refused = Response::Error { opcode: Opcode::Withdraw.code(), status: Status::Insufficient };
    expected.apply(&withdraw(1, 1000), &refused);
    expected
}

fn mismatches(expected: &ExpectedBalances, after: &Totals, balances: [i64; 3]) -> Vec<String> {
    expected.compare(after, &balances.map(Cents)).mismatches
}

#[test]
fn a_server_that_did_what_it_acknowledged_agrees() {
    assert_eq!(mismatches(&after_a_run(), &totals(320, 50, 30), [170, 70, 80]), Vec::<String>::new());
}

#[test]
fn every_kind_of_loss_is_found() {
    let expected = after_a_run();
    // A cent lost from an account, from the totals, between the two, and from each counter.
    assert_eq!(mismatches(&expected, &totals(319, 50, 30), [169, 70, 80]).len(), 2);
    assert_eq!(mismatches(&expected, &totals(320, 50, 30), [169, 70, 80]).len(), 2);
    assert_eq!(mismatches(&expected, &totals(320, 50, 30), [169, 71, 80]).len(), 2);
    assert_eq!(mismatches(&expected, &totals(319, 49, 30), [170, 70, 80]).len(), 2);
    assert_eq!(mismatches(&expected, &totals(319, 50, 31), [170, 70, 80]).len(), 2);
    let described = mismatches(&expected, &totals(320, 50, 30), [169, 71, 80]);
    assert_eq!(described[0], "balance of account 0: expected 1.70, server 1.69");
}

#[test]
fn torn_totals_during_the_run_are_found() {
    let expected = after_a_run();
    expected.apply(&Request::Totals, &Response::Totals(totals(320, 50, 30)));
    assert!(mismatches(&expected, &totals(320, 50, 30), [170, 70, 80]).is_empty());
    expected.apply(&Request::Totals, &Response::Totals(totals(321, 50, 30)));
    assert_eq!(mismatches(&expected, &totals(320, 50, 30), [170, 70, 80]).len(), 1);
}

#[test]
fn an_operation_in_doubt_widens_only_what_it_names() {
    let expected = after_a_run();
    expected.add_in_doubt(&deposit(1, 5));
    expected.add_in_doubt(&transfer(2, 0, 7));
    expected.add_in_doubt(&Request::Balance { account: AccountId(0) });
    // Neither done, one done, the other done, both done.
    for (deposit, transfer) in [(0, 0), (5, 0), (0, 7), (5, 7)] {
        let after = totals(320 + deposit, 50 + deposit, 30);
        let balances = [170 + transfer, 70 + deposit, 80 - transfer];
        assert!(mismatches(&expected, &after, balances).is_empty(), "{deposit} {transfer}");
    }
    // Nothing in doubt takes from account 1, adds to 2, or touches what was withdrawn.
    assert_eq!(mismatches(&expected, &totals(320, 50, 30), [170, 69, 80]).len(), 1);
    assert_eq!(mismatches(&expected, &totals(320, 50, 30), [170, 70, 81]).len(), 1);
    assert_eq!(mismatches(&expected, &totals(319, 50, 31), [170, 70, 80]).len(), 1);
    assert_eq!(expected.compare(&totals(320, 50, 30), &[170, 70, 80].map(Cents)).in_doubt, 2);
    // A withdrawal takes at most its amount.
    expected.add_in_doubt(&withdraw(1, 4));
    assert!(mismatches(&expected, &totals(316, 50, 34), [170, 66, 80]).is_empty());
    assert_eq!(mismatches(&expected, &totals(315, 50, 35), [170, 65, 80]).len(), 2);
}

#[test]
fn many_mismatches_are_counted_not_described() {
    let mut found = Verification { in_doubt: 0, accounts: 0, mismatches: Vec::new(), unnamed_mismatches: 0 };
    (0..25).for_each(|_| found.mismatch(String::new()));
    assert_eq!((found.mismatches.len(), found.unnamed_mismatches), (MAX_DESCRIBED, 15));
}
