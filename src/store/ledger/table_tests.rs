use super::*;
use crate::base::vocab::OnDisk;
use crate::ipc::segment::{Segment as AnySegment, describe};
use crate::store::journal::record::OperationRecord;
use crate::store::journal::record::{Kind, Verdict};
use crate::store::ledger::commit::Uncommitted;
use crate::store::ledger::intent::Phase;
use crate::store::ledger::sequencer::JournalState;
use crate::store::ledger::teller::Undone;
use crate::store::ledger::test_support::{A, B, ask, deposit, die_after, names, operate, table, transfer};
use crate::store::ledger::{Teller, cut, test_support};

fn shape(accounts: u32, ring: u32, key_window: u32) -> Shape {
    Shape {
        accounts,
        initial_balance: Cents(100),
        ring,
        key_window,
        replies_wait: true,
        replicated: false,
        key_values: false,
    }
}

/// Whether there is an object of this name.
fn exists(name: &str) -> bool {
    crate::ipc::segment::open_file(name).is_ok()
}

#[test]
fn segments_are_as_large_as_was_said_before_they_were_made() {
    for shape in [shape(1, 0, 1), shape(1000, 0, 10_000), shape(7, 256, 3)] {
        let names = names();
        let table = Table::create(names.each_ref().map(String::as_str), 1, &shape).unwrap();
        let segments = table.segments();
        assert_eq!(segments.map(|(name, _)| name), names.each_ref().map(String::as_str));
        assert_eq!(segments.map(|(_, bytes)| bytes), Table::bytes_for(&shape), "{shape:?}");
        for (name, bytes) in segments {
            assert_eq!(describe(name).unwrap().bytes, bytes as u64);
            unlink(name).unwrap();
        }
    }
}

#[test]
fn another_process_finds_in_it_what_was_made() {
    let names = names();
    let names = names.each_ref().map(String::as_str);
    let made = Table::create(names, 1, &shape(3, 8, 10)).unwrap();
    let (taking_part, looking) = (Table::open(names, Access::Write), Table::open(names, Access::Read));
    names.iter().for_each(|name| unlink(name).unwrap());
    operate(&mut Teller::new(&taking_part.unwrap(), 0, || ()), deposit(B, 5)).unwrap();
    for table in [&made, &looking.unwrap()] {
        assert_eq!((table.accounts(), table.opening(), table.cap()), (3, Cents(300), Cents(i64::MAX / 3)));
        assert_eq!(
            [0, 1, 2, 3].map(|id| table.peek(AccountId(id))),
            [100, 105, 100, 0].map(|cents| { (cents > 0).then_some(Cents(cents)) })
        );
        assert_eq!(table.order().now().lsn, Lsn(1));
        assert_eq!((table.sequencer().keys().window(), table.sequencer().replies_wait()), (10, true));
    }
}

#[test]
fn a_table_that_cannot_be_made_leaves_nothing_behind() {
    let names = names();
    let [.., last] = &names;
    let taken = AnySegment::<(), AtomicU64>::create(last, 1, 1, 1, |(), _| Ok(())).unwrap();
    assert!(Table::create(names.each_ref().map(String::as_str), 1, &shape(3, 8, 10)).is_err());
    assert!(!names.iter().any(|name| exists(name)), "{}", taken.name());
}

#[test]
fn who_looks_sees_a_balance_with_its_operation_or_nothing() {
    let table = table(3, Cents(100), 0);
    operate(&mut Teller::new(&table, 0, || ()), transfer(A, B, 1)).unwrap();
    let stamped = |id| table.peek_stamped(AccountId(id));
    let (a, b) = (Some((Cents(99), Lsn(1))), Some((Cents(101), Lsn(1))));
    assert_eq!([0, 1, 2, 3].map(stamped), [a, b, Some((Cents(100), Lsn(0))), None]);
    let held = table.lock(A, || ()).unwrap();
    assert_eq!([0, 1].map(stamped), [None, b], "it may just be changed");
    let tid = u32::try_from(nix::unistd::gettid().as_raw()).unwrap();
    assert_eq!(table.holders().collect::<Vec<_>>(), [(A, tid)]);
    drop(held);
    assert_eq!(stamped(0), a);
    die_after(|| std::mem::forget(table.lock(B, || ())));
    assert_eq!([0, 1].map(stamped), [a, None], "until somebody has looked what its changer left");
    assert_eq!((table.holders().count(), table.orphaned().collect::<Vec<_>>()), (0, vec![B]));
    assert_eq!(table.inherited(), 0);
    drop(table.lock(B, || ()));
    assert_eq!((stamped(1), table.orphaned().count(), table.inherited()), (b, 0, 1));
}

/// What the file of a segment holds.
fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(format!("/dev/shm{name}")).unwrap()
}

/// Restores what a journal of five operations says.
fn restore_five(table: &Table) {
    let balances = [Cents(149), Cents(0)];
    let record = OperationRecord {
        lsn: Lsn(5),
        time_ns: 0,
        kind: Kind::Deposit,
        verdict: Verdict::Done,
        principal: 5,
        accounts: (B, None),
        amount: Cents(50),
        balances,
        previous: [Lsn(0); 2],
        key: Some([1; 16]),
    };
    (0..3).for_each(|account| table.restore(AccountId(account), Cents(100), Lsn(0)));
    table.restore(B, Cents(149), Lsn(5));
    table.restore_key(&record);
    table.begin_after(Lsn(5), Cents(300), [Cents(50), Cents(1)]);
}

#[test]
fn a_table_that_was_reset_is_restored_to_what_a_new_one_is() {
    let shape = shape(3, 8, 10);
    let names = [names(), names()];
    let [old, fresh] =
        names.each_ref().map(|names| Table::create(names.each_ref().map(String::as_str), 1, &shape).unwrap());
    // Operations and keys, one that was begun, and locks whose holders are dead: an account's, the cut's, the sequencer's.
    let mut teller = Teller::new(&old, 7, || ());
    for key in 1..=6 {
        ask(&mut teller, deposit(A, 5), key).unwrap();
    }
    operate(&mut teller, transfer(A, B, 7)).unwrap();
    cut::take(&old).unwrap();
    let sequencer = old.sequencer();
    sequencer.set_on_disk_alone(OnDisk(Lsn(3)), Lsn(100));
    sequencer.set_state(JournalState::Failed);
    sequencer.wake_at(Lsn(4));
    old.rows()[9].tally.withdrawn.store(77, Ordering::Relaxed);
    old.rows()[9].intent.claim(Lsn(8));
    die_after(|| {
        std::mem::forget(old.lock(B, || ()));
        std::mem::forget(old.cut_lock().try_lock());
        std::mem::forget(sequencer.lock().try_lock());
    });
    assert_eq!(old.orphaned().count(), 1);

    old.reset(&shape).unwrap();
    restore_five(&old);
    restore_five(&fresh);
    let [accounts, intents, ring, keys, index] =
        [0, 1, 2, 3, 4].map(|which| [&names[0][which], &names[1][which]].map(|name| bytes_of(name)));
    for (what, [old, fresh]) in [("accounts", accounts), ("intents", intents), ("ring", ring)] {
        assert!(old == fresh, "{what} differ from a new table's");
    }
    // All but the seeds, behind the segment's header, and where the number of the one key stands in the index.
    let without_seeds = keys.map(|bytes| [&bytes[..64], &bytes[80..]].concat());
    assert!(without_seeds[0] == without_seeds[1], "keys differ from a new table's");
    assert!(index.iter().all(|bytes| bytes[64..].iter().any(|&byte| byte != 0)));
    for table in [&old, &fresh] {
        assert_eq!((table.orphaned().count(), table.inherited(), table.sequencer().keys().known()), (0, 0, 1));
        table.sequencer().set_on_disk_alone(OnDisk(Lsn(5)), Lsn(100));
        let mut teller = Teller::new(table, 0, || ());
        let again = ask(&mut teller, deposit(B, 50), 1);
        assert!(matches!(again, Err(Undone::Uncommitted(Uncommitted::Repeated(known))) if known.lsn == Lsn(5)));
        assert_eq!(ask(&mut teller, deposit(A, 5), 2), Ok(Lsn(6)), "a key that the journal does not know");
        assert_eq!(cut::take(table).unwrap().sum, Cents(354));
    }
    names.iter().flatten().for_each(|name| unlink(name).unwrap());
}

#[test]
fn a_start_goes_on_where_the_journal_ends() {
    let table = table(3, Cents(100), 8);
    table.restore(A, Cents(150), Lsn(4));
    table.restore(A, Cents(1), Lsn(3));
    assert_eq!(table.peek_stamped(A), Some((Cents(150), Lsn(4))), "what is older is passed over");
    table.restore(A, Cents(151), Lsn(4));
    table.restore(B, Cents(149), Lsn(5));
    table.restore(AccountId(3), Cents(1), Lsn(5));
    assert_eq!([A, B].map(|account| table.peek(account)), [Some(Cents(151)), Some(Cents(149))]);
    let record = OperationRecord {
        lsn: Lsn(5),
        time_ns: 0,
        kind: Kind::Deposit,
        verdict: Verdict::Done,
        principal: 5,
        accounts: (B, None),
        amount: Cents(50),
        balances: [Cents(149), Cents(0)],
        previous: [Lsn(0); 2],
        key: Some([1; 16]),
    };
    table.restore_key(&OperationRecord { lsn: Lsn(4), key: None, ..record.clone() });
    table.restore_key(&record);
    table.restore_key(&record);
    assert_eq!(table.sequencer().keys().known(), 1, "once");
    table.begin_after(Lsn(5), Cents(300), [Cents(110), Cents(10)]);

    let mut teller = Teller::new(&table, 0, || ());
    let totals = cut::take(&table).unwrap();
    assert_eq!((totals.sum, totals.deposited, totals.withdrawn), (Cents(400), Cents(110), Cents(10)));
    assert_eq!((totals.opening(), table.opening(), totals.lsn), (Cents(300), Cents(300), Lsn(5)));
    let again = ask(&mut teller, deposit(B, 50), 1);
    assert!(matches!(again, Err(Undone::Uncommitted(Uncommitted::Repeated(known))) if known.lsn == Lsn(5)));
    // Not before the journal process has said how much room there is.
    let sequencer = table.sequencer();
    assert_eq!((sequencer.committed().0, sequencer.limit()), (Lsn(5), Lsn(5)));
    assert_eq!(operate(&mut teller, deposit(A, 1)), Err(Undone::Uncommitted(Uncommitted::Later)));
    sequencer.set_state(JournalState::Open);
    sequencer.set_on_disk_alone(OnDisk(Lsn(5)), Lsn(100));
    assert_eq!(operate(&mut teller, deposit(A, 1)), Ok(Lsn(6)));
    assert_eq!(Record::decode(&sequencer.record(Lsn(6))).unwrap().operation().unwrap().previous[0], Lsn(4));
    assert_eq!(table.rows()[0].intent.phase(), Phase::Idle);
}

#[test]
fn no_balance_passes_the_share_of_an_account() {
    let table = table(4, Cents(0), 0);
    assert_eq!(table.cap(), Cents(i64::MAX / 4));
    let mut teller = Teller::new(&table, 0, || ());
    operate(&mut teller, deposit(A, i64::MAX / 4)).unwrap();
    assert!(operate(&mut teller, deposit(A, 1)).is_err());
    operate(&mut teller, deposit(B, 1)).unwrap();
    assert!(operate(&mut teller, transfer(B, A, 1)).is_err());
}

#[test]
fn a_record_can_be_seen_in_the_ring_from_when_it_is_committed_until_its_place_may_be_taken() {
    let table = table(1, Cents(0), 4);
    let mut teller = Teller::new(&table, 0, || ());
    for lsn in 1..=6 {
        operate(&mut teller, deposit(A, 1)).unwrap();
        table.sequencer().set_on_disk_alone(OnDisk(Lsn(lsn - 1)), Lsn(100));
    }
    let seen = |lsn| {
        table
            .recent_record(Lsn(lsn))
            .and_then(Record::into_operation)
            .map(|record| (record.lsn.0, record.balances[0].0))
    };
    assert_eq!([0, 1, 2, 3].map(seen), [None; 4], "the next record may be in the place of 3 already");
    assert_eq!([4, 5, 6, 7].map(seen), [Some((4, 4)), Some((5, 5)), None, None]);
    // A start of the server finds an empty ring.
    let started = test_support::table(1, Cents(0), 4);
    started.begin_after(Lsn(3), Cents(0), [Cents(3), Cents(0)]);
    assert_eq!([1, 2, 3].map(|lsn| started.recent_record(Lsn(lsn))), [None, None, None]);
    let without = test_support::table(1, Cents(0), 0);
    operate(&mut Teller::new(&without, 0, || ()), deposit(A, 1)).unwrap();
    without.sequencer().set_on_disk_alone(OnDisk(Lsn(1)), Lsn(1));
    assert_eq!(without.recent_record(Lsn(1)), None);
}
