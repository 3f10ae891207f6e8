use super::*;
use crate::tool::client::load::desk::Op;

fn books() -> Books {
    let before =
        Totals { accounts: 3, sum: Cents(300), deposited: Cents(0), withdrawn: Cents(0), lsn: Default::default() };
    let pages = (0..3).map(|_| Page { opening: 100, ..Page::default() }).collect();
    Books {
        range: AccountRange { first: 0, last: 2 },
        pages,
        before,
        deposited: Sum::default(),
        withdrawn: Sum::default(),
        in_doubt: AtomicU64::new(0),
        torn_cuts: AtomicU64::new(0),
    }
}

fn op(opcode: Opcode, account: u32, to: u32, amount: i64) -> Op {
    Op { opcode, account: AccountId(account), to: AccountId(to), amount: Cents(amount) }
}

fn totals(sum: i64, deposited: i64, withdrawn: i64) -> Totals {
    let [sum, deposited, withdrawn] = [sum, deposited, withdrawn].map(Cents);
    Totals { accounts: 3, sum, deposited, withdrawn, lsn: Default::default() }
}

/// The books after a deposit of 50 into 0, a withdrawal of 30 from 1, a transfer of 20 from 2 to 0, and a refusal.
fn used_books() -> Books {
    let books = books();
    let balance = Cents(0);
    books.settle(&op(Opcode::Deposit, 0, 0, 50), &Response::Deposit { balance });
    books.settle(&op(Opcode::Withdraw, 1, 1, 30), &Response::Withdraw { balance });
    let moved = Response::Transfer { from_balance: balance, to_balance: balance };
    books.settle(&op(Opcode::Transfer, 2, 0, 20), &moved);
    let refused =
        Response::Error { opcode: Opcode::Withdraw.code(), status: crate::service::bank::wire::Status::Insufficient };
    books.settle(&op(Opcode::Withdraw, 1, 1, 1000), &refused);
    books
}

fn mismatches(books: &Books, after: &Totals, balances: [i64; 3]) -> Vec<String> {
    books.judge(after, &balances.map(Cents)).mismatches
}

#[test]
fn a_server_that_did_what_it_said_agrees() {
    assert_eq!(mismatches(&used_books(), &totals(320, 50, 30), [170, 70, 80]), Vec::<String>::new());
}

#[test]
fn every_kind_of_loss_is_seen() {
    let books = used_books();
    // A cent lost from an account, from the totals, between the two, and from each counter.
    assert_eq!(mismatches(&books, &totals(319, 50, 30), [169, 70, 80]).len(), 2);
    assert_eq!(mismatches(&books, &totals(320, 50, 30), [169, 70, 80]).len(), 2);
    assert_eq!(mismatches(&books, &totals(320, 50, 30), [169, 71, 80]).len(), 2);
    assert_eq!(mismatches(&books, &totals(319, 49, 30), [170, 70, 80]).len(), 2);
    assert_eq!(mismatches(&books, &totals(319, 50, 31), [170, 70, 80]).len(), 2);
    let said = mismatches(&books, &totals(320, 50, 30), [169, 71, 80]);
    assert_eq!(said[0], "balance of account 0: own books 1.70, server 1.69");
}

#[test]
fn a_torn_cut_under_load_is_seen() {
    let books = used_books();
    books.settle(&op(Opcode::Totals, 0, 0, 0), &Response::Totals(totals(320, 50, 30)));
    assert!(mismatches(&books, &totals(320, 50, 30), [170, 70, 80]).is_empty());
    books.settle(&op(Opcode::Totals, 0, 0, 0), &Response::Totals(totals(321, 50, 30)));
    assert_eq!(mismatches(&books, &totals(320, 50, 30), [170, 70, 80]).len(), 1);
}

#[test]
fn doubt_widens_exactly_what_it_touches() {
    let books = used_books();
    books.doubt(&op(Opcode::Deposit, 1, 1, 5));
    books.doubt(&op(Opcode::Transfer, 2, 0, 7));
    books.doubt(&op(Opcode::Balance, 0, 0, 0));
    // Neither done, one done, the other done, both done.
    for (deposit, transfer) in [(0, 0), (5, 0), (0, 7), (5, 7)] {
        let after = totals(320 + deposit, 50 + deposit, 30);
        let balances = [170 + transfer, 70 + deposit, 80 - transfer];
        assert!(mismatches(&books, &after, balances).is_empty(), "{deposit} {transfer}");
    }
    // Nothing in doubt takes from account 1, adds to 2, or touches what was withdrawn.
    assert_eq!(mismatches(&books, &totals(320, 50, 30), [170, 69, 80]).len(), 1);
    assert_eq!(mismatches(&books, &totals(320, 50, 30), [170, 70, 81]).len(), 1);
    assert_eq!(mismatches(&books, &totals(319, 50, 31), [170, 70, 80]).len(), 1);
    assert_eq!(books.judge(&totals(320, 50, 30), &[170, 70, 80].map(Cents)).in_doubt, 2);
}

#[test]
fn many_mismatches_are_counted_not_listed() {
    let mut verdict = Verdict { in_doubt: 0, accounts: 0, mismatches: Vec::new(), unnamed: 0 };
    (0..25).for_each(|_| verdict.mismatch(String::new()));
    assert_eq!((verdict.mismatches.len(), verdict.unnamed), (NAMED, 15));
}
