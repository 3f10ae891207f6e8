use super::*;
use crate::base::vocab::{Cents, OnDisk};
use crate::store::journal::Record;
use crate::store::journal::record::{OperationRecord, TermRecord, time_of};
use crate::store::ledger::test_support::{A, B, ask, deposit, operate, table, table_of, transfer, withdraw};
use crate::store::ledger::{Applier, Shape, Teller};

/// The times of the records `first` to `last`.
fn times(table: &Table, first: u64, last: u64) -> Vec<u64> {
    (first..=last).map(|lsn| time_of(&table.sequencer().record(Lsn(lsn)))).collect()
}

#[test]
fn times_never_go_back_whatever_the_clocks_of_workers_say() {
    let table = table(2, Cents(100), 16);
    let mut tellers = [0, 1].map(|worker| Teller::new(&table, worker, || ()));
    for (worker, clock_ns) in [(0, 50), (1, 40), (1, 60), (0, 55), (0, 60), (1, 61)] {
        tellers[worker].set_wall_clock(clock_ns);
        operate(&mut tellers[worker], deposit(A, 1)).unwrap();
    }
    assert_eq!(times(&table, 1, 6), [50, 50, 60, 60, 60, 61]);
    // What has no record moves nothing; a refusal with a key has one.
    tellers[0].set_wall_clock(90);
    assert!(operate(&mut tellers[0], withdraw(B, 1000)).is_err());
    assert_eq!(table.sequencer().last_time_ns(), 61);
    ask(&mut tellers[0], withdraw(B, 1000), 1).unwrap();
    tellers[1].set_wall_clock(70);
    operate(&mut tellers[1], transfer(A, B, 1)).unwrap();
    assert_eq!(times(&table, 7, 8), [90, 90]);
}

#[test]
fn times_go_on_from_those_of_a_restored_journal() {
    let table = table(1, Cents(100), 16);
    table.sequencer().begin_after_time(1000);
    let mut teller = Teller::new(&table, 0, || ());
    for clock_ns in [10, 999, 1001] {
        teller.set_wall_clock(clock_ns);
        operate(&mut teller, deposit(A, 1)).unwrap();
    }
    assert_eq!(times(&table, 1, 3), [1000, 1000, 1001]);
}

#[test]
fn a_new_primary_whose_clock_is_behind_goes_on_from_the_last_record_of_the_log() {
    let shape = Shape {
        accounts: 3,
        initial_balance: Cents(100),
        ring: 64,
        key_window: 10,
        replies_wait: true,
        replicated: true,
        key_values: false,
    };
    let table = table_of(&shape);
    table.sequencer().set_on_disk(OnDisk(Lsn(0)), Lsn(1000));
    let hour_ns = 3_600_000_000_000;
    let operation = OperationRecord {
        lsn: Lsn(1),
        time_ns: hour_ns,
        kind: crate::store::journal::Kind::Deposit,
        verdict: crate::store::journal::Verdict::Done,
        principal: 0,
        accounts: (A, None),
        amount: Cents(1),
        balances: [Cents(101), Cents(0)],
        previous: [Lsn(0); 2],
        key: None,
    };
    // What the old primary has sent: as a follower this instance was never asked for a time.
    table.sequencer().put_entry_record(Lsn(1), &operation.encode());
    table.sequencer().set_log_end(Lsn(1));
    Applier::new(&table, || ()).apply(&Record::from(operation)).unwrap();
    assert_eq!(table.sequencer().last_time_ns(), 0);
    let clock_ns = 7;
    let last_ns = time_of(&table.sequencer().record(table.sequencer().log_end().unwrap()));
    let term = table.append_control(last_ns.max(clock_ns), |lsn, time_ns| TermRecord { lsn, time_ns }.encode());
    table.sequencer().set_log_end(term);
    let content = crate::store::journal::record::Content::Term(TermRecord { lsn: term, time_ns: hour_ns });
    Applier::new(&table, || ()).apply(&Record { term: 2, index: 2, ends_entry: true, content }).unwrap();
    table.set_gate(GateState::Open);
    let mut teller = Teller::new(&table, 0, || ());
    for clock_ns in [clock_ns, hour_ns + 1, clock_ns] {
        teller.set_wall_clock(clock_ns);
        operate(&mut teller, deposit(A, 1)).unwrap();
    }
    table.append_control(clock_ns, |lsn, time_ns| TermRecord { lsn, time_ns }.encode());
    assert_eq!(times(&table, 1, 6), [hour_ns, hour_ns, hour_ns, hour_ns + 1, hour_ns + 1, hour_ns + 1]);
}
