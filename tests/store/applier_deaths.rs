//! The process that applies what another instance has decided is killed at every point of every kind of record.

use bank_vault::base::crash_point::CrashPoint;
use bank_vault::base::vocab::{AccountId, Cents, Lsn, OnDisk};
use bank_vault::store::journal::Record;
use bank_vault::store::ledger::repair;
use bank_vault::store::ledger::table::REPLICA_ROW;
use bank_vault::store::ledger::teller::Asker;
use bank_vault::store::ledger::{Applier, Completion, Operation, Table, Teller, Totals, cut};

use crate::ledger_deaths::{arm, child, table_of, was_killed};

const ACCOUNTS: u32 = 4;
const A: AccountId = AccountId(1);
const B: AccountId = AccountId(2);

/// The points that an applier comes by.
const POINTS: [CrashPoint; 15] = [
    CrashPoint::Locked,
    CrashPoint::Prepared,
    CrashPoint::SequencerLocked,
    CrashPoint::RecordWritten,
    CrashPoint::Claimed,
    CrashPoint::Committed,
    CrashPoint::KeyKnown,
    CrashPoint::Sequenced,
    CrashPoint::FirstBalanceSet,
    CrashPoint::FirstApplied,
    CrashPoint::Applied,
    CrashPoint::Tallied,
    CrashPoint::IntentCleared,
    CrashPoint::FirstUnlocked,
    CrashPoint::Unlocked,
];

fn follower() -> Table {
    let table = table_of(ACCOUNTS, 64, true);
    table.sequencer().set_on_disk(OnDisk(Lsn(0)), Lsn(1000));
    table
}

/// What an instance decided.
fn records() -> (Table, Vec<Record>) {
    let primary = table_of(ACCOUNTS, 64, false);
    let mut teller = Teller::new(&primary, 0, || ());
    let amount = Cents(250);
    let operations = [
        Operation::Deposit { account: A, amount },
        Operation::Transfer { from: B, to: A, amount },
        Operation::Withdraw { account: B, amount: Cents(100_000) },
        Operation::Transfer { from: A, to: B, amount },
        Operation::Withdraw { account: A, amount },
    ];
    for (number, operation) in (1..).zip(operations) {
        let asker = Asker { principal: 1, key: (number != 1).then_some([number; 16]) };
        teller.carry_out(operation, &asker, |_| Completion::UNATTENDED).unwrap();
    }
    drop(teller);
    let record = |lsn| Record::decode(&primary.sequencer().record(Lsn(lsn))).unwrap();
    let records = (1..=primary.order().now().lsn.0).map(record).collect();
    (primary, records)
}

fn state(table: &Table) -> (Totals, Vec<(Cents, Lsn)>, u64) {
    let accounts = (0..ACCOUNTS).map(|account| {
        let cell = table.lock(AccountId(account), || ()).unwrap();
        (cell.balance(), cell.lsn())
    });
    (cut::take(table).unwrap(), accounts.collect(), table.sequencer().keys().known())
}

/// Applies what the order has not reached.
fn go_on(table: &Table, records: &[Record]) {
    let mut applier = Applier::new(table, || ());
    let reached = table.order().now().lsn;
    records.iter().filter(|record| record.lsn() > reached).for_each(|record| applier.apply(record).unwrap());
}

#[test]
fn whoever_comes_after_a_dead_applier_ends_with_the_same_ledger() {
    let (primary, records) = records();
    let wanted = state(&primary);
    let mut deaths = 0;
    for point in POINTS {
        for record in &records {
            for looked_first in [false, true] {
                let follower = follower();
                let before = usize::try_from(record.lsn().0 - 1).unwrap();
                go_on(&follower, &records[..before]);
                let died = was_killed(child(|| {
                    arm(point);
                    Applier::new(&follower, || ()).apply(record).unwrap();
                }));
                deaths += u32::from(died);
                if looked_first {
                    // Somebody who reads comes to the accounts before the master does.
                    state(&follower);
                }
                repair::settle(&follower, REPLICA_ROW).unwrap();
                go_on(&follower, &records);
                assert_eq!(state(&follower), wanted, "{} at record {}", point.name(), record.lsn());
            }
        }
    }
    // A refusal changes no account, so it does not come by some of them; nothing has two accounts in every record.
    assert!(deaths >= 2 * 12 * 5, "{deaths}");
}
