use super::*;
use crate::base::vocab::OnDisk;
use crate::store::journal::record::Record;
use crate::store::ledger::remembered::RememberedOperation;
use crate::store::ledger::sequencer::{JournalState, Shape};
use crate::store::ledger::test_support::{A, B, ask, deposit, operate, table, table_of, transfer, withdraw};
use crate::store::ledger::visibility::Shows;
use std::sync::mpsc;

const RING: u32 = 8;

fn record_of(table: &Table, lsn: Lsn) -> OperationRecord {
    Record::decode(&table.sequencer().record(lsn)).unwrap().into_operation().unwrap()
}

#[test]
fn a_record_says_who_did_what_when_and_what_was_before() {
    let table = table(3, Cents(100), RING);
    let mut teller = Teller::new(&table, 0, || ());
    teller.set_wall_clock(77);
    assert_eq!(operate(&mut teller, deposit(B, 5)), Ok(Lsn(1)));
    assert_eq!(operate(&mut teller, transfer(A, B, 10)), Ok(Lsn(2)));
    assert_eq!(ask(&mut teller, withdraw(B, 20), 9), Ok(Lsn(3)));
    let first = OperationRecord {
        lsn: Lsn(1),
        time_ns: 77,
        kind: Kind::Deposit,
        verdict: Verdict::Done,
        principal: 0,
        accounts: (B, None),
        amount: Cents(5),
        balances: [Cents(105), Cents(0)],
        previous: [Lsn(0); 2],
        key: None,
    };
    let second = OperationRecord {
        lsn: Lsn(2),
        kind: Kind::Transfer,
        accounts: (A, Some(B)),
        amount: Cents(10),
        balances: [Cents(90), Cents(115)],
        previous: [Lsn(0), Lsn(1)],
        ..first
    };
    let third = OperationRecord {
        lsn: Lsn(3),
        kind: Kind::Withdraw,
        principal: 5,
        amount: Cents(20),
        balances: [Cents(95), Cents(0)],
        previous: [Lsn(2), Lsn(0)],
        key: Some([9; 16]),
        ..first
    };
    for wanted in [first, second, third] {
        assert_eq!(record_of(&table, wanted.lsn), wanted);
    }
}

#[test]
fn a_refusal_is_journaled_only_with_a_key_and_has_its_verdict() {
    let table = table(2, Cents(100), RING);
    let mut teller = Teller::new(&table, 0, || ());
    let refused = [
        (withdraw(A, 101), Refusal::Insufficient, Verdict::Insufficient),
        (deposit(AccountId(2), 1), Refusal::NoAccount, Verdict::NoAccount),
        (transfer(A, A, 1), Refusal::Invalid, Verdict::Invalid),
        (deposit(A, i64::MAX), Refusal::Invalid, Verdict::Invalid),
    ];
    for (key, (operation, refusal, verdict)) in (1..).zip(refused) {
        assert_eq!(operate(&mut teller, operation), Err(Undone::Refused(refusal)));
        assert_eq!(table.order().now().lsn, Lsn(u64::from(key) - 1), "no number is taken");
        let lsn = ask(&mut teller, operation, key).unwrap();
        let record = record_of(&table, lsn);
        assert_eq!((record.verdict, record.balances, record.previous), (verdict, [Cents(0); 2], [Lsn(0); 2]));
        assert_eq!((record.accounts, record.amount), (operation.accounts(), operation.amount()));
    }
    assert_eq!([A, B].map(|account| table.peek(account)), [Some(Cents(100)); 2]);
}

#[test]
fn a_key_that_is_known_gets_its_first_result_and_shows_it() {
    for ring in [0, RING] {
        let table = table(2, Cents(100), ring);
        let mut teller = Teller::new(&table, 0, || ());
        let operation = transfer(A, B, 30);
        operate(&mut teller, deposit(B, 1)).unwrap();
        let lsn = ask(&mut teller, operation, 1).unwrap();
        operate(&mut teller, deposit(B, 1)).unwrap();
        assert_eq!(teller.take_seen(), Lsn(3));
        let Err(Undone::Uncommitted(Uncommitted::Repeated(known))) = ask(&mut teller, operation, 1) else {
            panic!("it was asked for before")
        };
        let known = RememberedOperation::from_table(&known).unwrap();
        assert_eq!((known.lsn, known.balances, known.verdict), (lsn, [Cents(70), Cents(131)], Verdict::Done));
        assert_eq!(teller.take_seen(), lsn, "what it shows must be committed first");
        let conflict = ask(&mut teller, transfer(A, B, 31), 1);
        assert_eq!(conflict, Err(Undone::Uncommitted(Uncommitted::Conflict(lsn))));
        assert_eq!(teller.take_seen(), lsn, "that something happened is shown as well");
        assert_eq!(table.order().now().lsn, Lsn(3));
        assert_eq!([A, B].map(|account| table.peek(account)), [Some(Cents(70)), Some(Cents(132))], "done once");
    }
}

#[test]
fn what_an_answer_shows_is_the_newest_that_it_depends_on() {
    let table = table(3, Cents(100), 0);
    let mut teller = Teller::new(&table, 0, || ());
    assert_eq!(teller.take_seen(), Lsn(0));
    operate(&mut teller, deposit(A, 1)).unwrap();
    operate(&mut teller, deposit(B, 1)).unwrap();
    assert_eq!((teller.take_seen(), teller.take_seen()), (Lsn(2), Lsn(0)), "since the last call");
    assert_eq!(teller.balance(B), Ok((Cents(101), Lsn(2))));
    assert_eq!(teller.balance(A), Ok((Cents(101), Lsn(1))));
    assert_eq!(teller.take_seen(), Lsn(2));
    assert_eq!((teller.last_change(A), teller.last_change(AccountId(2))), (Ok(Lsn(1)), Ok(Lsn(0))));
    assert_eq!(teller.take_seen(), Lsn(0), "where the caller looks is not shown yet");
    // Refused because of what both accounts hold.
    for operation in [transfer(A, B, 102), transfer(B, A, 102)] {
        assert_eq!(operate(&mut teller, operation), Err(Undone::Refused(Refusal::Insufficient)));
        assert_eq!(teller.take_seen(), Lsn(2));
    }
    let nowhere = AccountId(3);
    assert_eq!(
        (teller.balance(nowhere), teller.last_change(nowhere)),
        (Err(Refusal::NoAccount), Err(Refusal::NoAccount))
    );
    assert_eq!(teller.take_seen(), Lsn(0));
}

#[test]
fn a_full_ring_takes_nothing_more_until_records_are_committed() {
    let table = table(2, Cents(100), 4);
    let sequencer = table.sequencer();
    let mut teller = Teller::new(&table, 0, || ());
    for lsn in 1..=4 {
        assert_eq!(operate(&mut teller, deposit(A, 1)), Ok(Lsn(lsn)));
    }
    teller.take_seen();
    let mut must_wait = |why: Uncommitted| {
        for refused in [operate(&mut teller, deposit(A, 1)), ask(&mut teller, deposit(A, 1), 1)] {
            assert_eq!(refused, Err(Undone::Uncommitted(why)));
            assert_eq!(teller.take_seen(), Lsn(0), "that shows nothing");
        }
        assert_eq!((table.peek(A), table.order().now().lsn.0), (Some(Cents(104)), 4));
    };
    must_wait(Uncommitted::Later);
    sequencer.set_state(JournalState::NoSpace);
    must_wait(Uncommitted::NoSpace);
    sequencer.set_state(JournalState::Open);
    must_wait(Uncommitted::Later);
    sequencer.set_on_disk_alone(OnDisk(Lsn(2)), Lsn(5));
    assert_eq!(sequencer.limit(), Lsn(5), "no further than segments are prepared");
    assert_eq!(ask(&mut teller, deposit(A, 1), 1), Ok(Lsn(5)), "its key was not remembered meanwhile");
    assert_eq!(operate(&mut teller, deposit(A, 1)), Err(Undone::Uncommitted(Uncommitted::Later)));
    sequencer.set_on_disk_alone(OnDisk(Lsn(2)), Lsn(100));
    assert_eq!(operate(&mut teller, deposit(A, 1)), Ok(Lsn(6)), "as many places as the ring has");
    assert_eq!(operate(&mut teller, deposit(A, 1)), Err(Undone::Uncommitted(Uncommitted::Later)));
    // Each in its own place, and 1 and 2 are overwritten.
    let there: Vec<_> = (3..=6).map(|lsn| record_of(&table, Lsn(lsn)).lsn.0).collect();
    assert_eq!(there, [3, 4, 5, 6]);
}

/// Who waits for the lower of two accounts has not locked the higher one yet: so no two transfers wait for each other.
#[test]
fn the_lower_account_is_locked_first_whichever_way_the_money_goes() {
    for operation in [transfer(A, B, 1), transfer(B, A, 1)] {
        let table = table(2, Cents(100), 0);
        let (waits, waiting) = mpsc::channel();
        let held = table.lock(A, || ()).unwrap();
        std::thread::scope(|scope| {
            let its = &table;
            let other = scope.spawn(move || operate(&mut Teller::new(its, 0, || _ = waits.send(())), operation));
            waiting.recv().unwrap();
            let locked: Vec<_> = table.holders().map(|(account, _)| account).collect();
            assert_eq!(locked, [A], "{operation:?}");
            drop(held);
            assert_eq!(other.join().unwrap(), Ok(Lsn(1)));
        });
        assert_eq!(table.holders().count(), 0);
    }
}

#[test]
fn the_reply_counts_once_the_operation_is_done_and_only_then() {
    let table = table(2, Cents(100), 0);
    let word = AtomicU64::new(0);
    let mut teller = Teller::new(&table, 1, || ());
    let mut ask = |operation, next, key: Option<u8>| {
        let asker = Asker { principal: 5, key: key.map(|key| [key; 16]) };
        teller.carry_out(operation, &asker, |_| Completion::moving(3, &word, next))
    };
    assert_eq!(ask(transfer(A, B, 1), 11, None), Ok(Lsn(1)));
    assert_eq!(word.load(Ordering::Relaxed), 11);
    assert_eq!(ask(withdraw(A, 1000), 22, Some(1)), Ok(Lsn(2)));
    assert_eq!(word.load(Ordering::Relaxed), 22, "that of a refusal with a key, too");
    assert_eq!(ask(withdraw(A, 1000), 33, None), Err(Undone::Refused(Refusal::Insufficient)));
    assert!(matches!(ask(withdraw(A, 1000), 44, Some(1)), Err(Undone::Uncommitted(_))));
    assert_eq!(word.load(Ordering::Relaxed), 22);
    let row = &table.rows()[1];
    assert_eq!(row.intent.phase(), crate::store::ledger::intent::Phase::Idle);
    assert_eq!((row.tally.deposited(), row.tally.withdrawn()), (Cents(0), Cents(0)));
}

#[test]
fn each_worker_counts_what_came_in_and_went_out_through_it() {
    let table = table(2, Cents(100), 0);
    let [mut one, mut other] = [1, 2].map(|worker| Teller::new(&table, worker, || ()));
    for (teller, operation) in [(&mut one, deposit(A, 7)), (&mut other, withdraw(B, 3))] {
        operate(teller, operation).unwrap();
    }
    operate(&mut one, withdraw(A, 2)).unwrap();
    let counted = [1, 2].map(|worker| {
        let tally = &table.rows()[worker].tally;
        (tally.deposited().0, tally.withdrawn().0)
    });
    assert_eq!(counted, [(7, 2), (0, 3)]);
}

#[test]
fn replies_wait_only_where_they_are_to_and_until_what_they_show_is_committed() {
    for replies_wait in [false, true] {
        let initial_balance = Cents(100);
        let table = table_of(&Shape {
            accounts: 2,
            initial_balance,
            ring: 8,
            key_window: 10,
            replies_wait,
            replicated: false,
            key_values: false,
        });
        let sequencer = table.sequencer();
        assert_eq!(sequencer.replies_wait(), replies_wait);
        let mut teller = Teller::new(&table, 0, || ());
        (0..3).for_each(|_| _ = operate(&mut teller, deposit(A, 1)).unwrap());
        assert_eq!(
            [0, 1, 3].map(|lsn| sequencer.may_be_shown(Shows::operation(Lsn(lsn)))),
            [true, !replies_wait, !replies_wait]
        );
        sequencer.set_on_disk_alone(OnDisk(Lsn(2)), Lsn(100));
        assert_eq!(sequencer.committed().0, Lsn(2));
        assert_eq!(
            [1, 2, 3].map(|lsn| sequencer.may_be_shown(Shows::operation(Lsn(lsn)))),
            [true, true, !replies_wait]
        );
    }
}
