//! The journal ring as those see it who only look: a record that is committed, or nothing, while its place is written again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bank_vault::base::vocab::{AccountId, Cents, Lsn, OnDisk};
use bank_vault::ipc::segment;
use bank_vault::store::journal::Record;
use bank_vault::store::ledger::teller::Asker;
use bank_vault::store::ledger::{Completion, Operation, Shape, Table, Teller};

const ACCOUNT: AccountId = AccountId(1);
const RING: u64 = 64;

/// Memory that is unlinked as soon as it is mapped.
fn table(ring: u32) -> Table {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let unique = format!("/vault-test.{}.r{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let names = ["a", "i", "j", "k", "x"].map(|object| format!("{unique}.{object}"));
    let shape = Shape {
        accounts: 2,
        initial_balance: Cents::ZERO,
        ring,
        key_window: 100,
        replies_wait: false,
        replicated: false,
        key_values: false,
    };
    let table = Table::create(names.each_ref().map(String::as_str), 1, &shape).unwrap();
    names.iter().for_each(|name| segment::unlink(name).unwrap());
    table
}

/// Deposits a cent: after operation n the account holds n cents.
fn deposit(teller: &mut Teller<'_>) {
    let one = Operation::Deposit { account: ACCOUNT, amount: Cents(1) };
    teller.carry_out(one, &Asker::ANYBODY, |_| Completion::UNATTENDED).unwrap();
}

/// Stands in for the journal process.
fn keep_up(table: &Table) -> Lsn {
    let last = table.order().now().lsn;
    table.sequencer().set_on_disk_alone(OnDisk(last), Lsn(u64::MAX));
    last
}

/// Holds that what is read of operation `lsn`, if anything, is its record, whole.
fn must_be_whole(table: &Table, lsn: Lsn) -> bool {
    let Some(record) = table.recent_record(lsn).and_then(Record::into_operation) else { return false };
    let wanted = (lsn, i64::try_from(lsn.0).unwrap(), Lsn(lsn.0 - 1));
    assert_eq!((record.lsn, record.balances[0].0, record.previous[0]), wanted, "{record:?}");
    true
}

#[test]
fn only_what_is_committed_and_not_written_over_is_there() {
    let table = table(u32::try_from(RING).unwrap());
    let mut teller = Teller::new(&table, 0, || ());
    for _ in 0..100 {
        deposit(&mut teller);
        keep_up(&table);
    }
    deposit(&mut teller);
    assert_eq!(table.order().now().lsn, Lsn(101));
    let there: Vec<u64> = (0..=200).filter(|&lsn| lsn > 0 && must_be_whole(&table, Lsn(lsn))).collect();
    // Not 101, which is not committed; and the next may be in the place of 38 already.
    assert_eq!(there, (102 - RING + 1..=100).collect::<Vec<_>>());
    assert_eq!(table.recent_record(Lsn(0)), None);
}

#[test]
fn nothing_is_there_without_a_journal() {
    let table = table(0);
    deposit(&mut Teller::new(&table, 0, || ()));
    assert_eq!(table.recent_record(Lsn(1)), None);
}

#[test]
fn no_record_is_half_of_another_while_the_ring_goes_round() {
    const DEPOSITS: u64 = 100_000;
    let table = table(u32::try_from(RING).unwrap());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut teller = Teller::new(&table, 0, || ());
            for _ in 0..DEPOSITS {
                deposit(&mut teller);
                keep_up(&table);
            }
            over.store(true, Ordering::Release);
        });
        let mut read = 0;
        while !over.load(Ordering::Acquire) {
            // The oldest first, whose places are just being written again.
            let committed = table.sequencer().committed().0.0;
            let oldest = committed.saturating_sub(RING).max(1);
            read += (oldest..=committed).filter(|&lsn| must_be_whole(&table, Lsn(lsn))).count();
        }
        assert!(read > 0, "something was read meanwhile");
    });
    assert!(must_be_whole(&table, Lsn(DEPOSITS)));
}
