//! The ledger under deaths: processes that share one account table are killed at every named point, and at random ones.
//!
//! No server takes part: the children here are bare tellers, so that every combination is tried in a few seconds.
#![allow(unsafe_code)] // fork(2), in a test process of several threads: the children use nothing but the ledger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bank_vault::base::crash_point::{self, Charge, CrashPoint};
use bank_vault::base::vocab::{AccountId, Cents, Lsn, OnDisk};
use bank_vault::ipc::segment::Segment;
use bank_vault::store::journal::Verdict;
use bank_vault::store::ledger::commit::Uncommitted;
use bank_vault::store::ledger::repair::{self, Settled};
use bank_vault::store::ledger::teller::{Asker, Undone};
use bank_vault::store::ledger::{
    Completion, Operation, Outcome, Refusal, RememberedOperation, Shape, Table, Teller, cut,
};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

const OPENING: i64 = 1_000;
const A: AccountId = AccountId(3);
const B: AccountId = AccountId(7);
const AMOUNT: Cents = Cents(250);

fn table(accounts: u32, ring: u32) -> Table {
    table_of(accounts, ring, false)
}

/// Memory that is unlinked as soon as it is mapped: the children have it by fork, and nothing can be left behind.
pub fn table_of(accounts: u32, ring: u32, replicated: bool) -> Table {
    table_for(accounts, ring, replicated, false)
}

fn table_for(accounts: u32, ring: u32, replicated: bool, key_values: bool) -> Table {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let unique = format!("/vault-test.{}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let names = ["a", "i", "j", "k", "x"].map(|object| format!("{unique}.{object}"));
    let initial_balance = Cents(OPENING);
    let (key_window, replies_wait) = (1_000, false);
    let shape = Shape { accounts, initial_balance, ring, key_window, replies_wait, replicated, key_values };
    let table = Table::create(names.each_ref().map(String::as_str), 1, &shape).unwrap();
    names.iter().for_each(|name| bank_vault::ipc::segment::unlink(name).unwrap());
    table
}

/// The same of an instance that has a key-value table.
pub fn key_value_ledger(ring: u32, replicated: bool) -> Table {
    table_for(10, ring, replicated, true)
}

fn progress_word() -> Segment<(), AtomicU64> {
    let name = format!("/vault-test.{}.w.{:?}", std::process::id(), std::thread::current().id());
    let segment = Segment::create(&name, 1, 1, 2, |(), _| Ok(())).unwrap();
    bank_vault::ipc::segment::unlink(&name).unwrap();
    segment
}

pub fn arm(point: CrashPoint) {
    crash_point::arm(Charge { point, hit: 1, stop: false });
}

/// Runs `body` in a forked child.
pub fn child(body: impl FnOnce()) -> Pid {
    // SAFETY: the child uses the ledger and then ends by _exit; it takes no lock that another thread of the parent may hold.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            body();
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Waits for a child; whether it died of SIGKILL rather than reaching its end.
pub fn was_killed(pid: Pid) -> bool {
    match waitpid(pid, None).unwrap() {
        WaitStatus::Signaled(_, Signal::SIGKILL, _) => true,
        WaitStatus::Exited(_, 0) => false,
        other => panic!("{other:?}"),
    }
}

fn balances(table: &Table) -> [i64; 2] {
    [A, B].map(|account| table.lock(account, || ()).unwrap().balance().0)
}

fn operations() -> [(Operation, [i64; 2]); 4] {
    let (account, amount) = (A, AMOUNT);
    [
        (Operation::Deposit { account, amount }, [OPENING + 250, OPENING]),
        (Operation::Withdraw { account, amount }, [OPENING - 250, OPENING]),
        (Operation::Transfer { from: A, to: B, amount }, [OPENING - 250, OPENING + 250]),
        // Against the order of the locks.
        (Operation::Transfer { from: B, to: A, amount }, [OPENING + 250, OPENING - 250]),
    ]
}

/// Who comes to a dead worker's accounts, and how that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repairer {
    /// The master settles at once.
    Master,
    /// Another worker wants the accounts first.
    Worker,
    /// Another worker does, and dies of it, at this point.
    DyingWorker(CrashPoint),
}

/// How operations are kept, and asked for.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Places of the journal ring; 0 for none.
    ring: u32,
    keyed: bool,
    /// Whether the reply is to show the operation's number.
    numbered: bool,
}

const RING: u32 = 64;
impl Way {
    fn asker(self, key: u8) -> Asker {
        Asker { principal: 1, key: self.keyed.then_some([key; 16]) }
    }
}

/// An account that is in no operation of a test, for a repairer to go on with.
const ELSEWHERE: AccountId = AccountId(9);

fn one_death(way: Way, operation: Operation, wanted: [i64; 2], point: CrashPoint, repairer: Repairer) {
    let what = format!("{operation:?}, {way:?}, killed at {} and repaired by {repairer:?}", point.name());
    let table = table(10, way.ring);
    let word = progress_word();
    let asker = way.asker(1);
    let worker = child(|| {
        arm(point);
        // Where the reply would stand: its number is written there before the operation has happened.
        let number = |lsn: Lsn| word.elements()[1].store(lsn.0, Ordering::Relaxed);
        let reply = |_: Result<&Outcome, Refusal>| {
            let completion = Completion::moving(0, &word.elements()[0], 77);
            if way.numbered { completion.numbered_by(&number) } else { completion }
        };
        Teller::new(&table, 0, || ()).carry_out(operation, &asker, reply).unwrap();
    });
    if !was_killed(worker) {
        // The operation does not come by this point: then it has simply been done.
        assert_eq!(balances(&table), wanted, "{what}");
        assert_eq!(word.elements()[1].load(Ordering::Relaxed), u64::from(way.numbered), "{what}");
        return;
    }
    let happened = point as u8 >= CrashPoint::Committed as u8;
    // Goes to the accounts first, then does an operation of its own, which needs the sequencer.
    let repair = || {
        balances(&table);
        let elsewhere = Operation::Deposit { account: ELSEWHERE, amount: Cents(5) };
        Teller::new(&table, 1, || ()).carry_out(elsewhere, &way.asker(2), |_| Completion::UNATTENDED).unwrap();
    };
    match repairer {
        Repairer::Master => {}
        Repairer::Worker => assert!(!was_killed(child(repair)), "{what}"),
        Repairer::DyingWorker(second) => {
            was_killed(child(|| {
                arm(second);
                repair();
            }));
            repair::settle(&table, 1).unwrap();
            // What it had locked beside is free for whoever comes next.
            drop(table.lock(ELSEWHERE, || ()));
        }
    }
    let settled = repair::settle(&table, 0).unwrap();
    let in_flight = (CrashPoint::Prepared as u8..CrashPoint::IntentCleared as u8).contains(&(point as u8));
    match settled {
        Settled::Idle => assert!(!in_flight, "{what}"),
        Settled::Dropped => assert!(in_flight && !happened, "{what}"),
        Settled::Finished { connection, progress, lsn } => {
            assert!(in_flight && happened, "{what}");
            assert_eq!((connection, progress), (0, 77), "{what}");
            let shown = word.elements()[1].load(Ordering::Relaxed);
            assert_eq!(shown, if way.numbered { lsn.0 } else { 0 }, "{what}: the reply shows its number");
        }
    }
    assert_eq!(repair::settle(&table, 0), Ok(Settled::Idle), "{what}: settled once");
    assert_eq!(balances(&table), if happened { wanted } else { [OPENING; 2] }, "{what}");
    assert_eq!(table.holders().count() + table.orphaned().count(), 0, "{what}: no account is left locked");
    if way.keyed {
        ask_again(&table, operation, &asker, wanted, happened, &what);
    }
    // The accounts work on, for the successor as well.
    let back = Operation::Transfer { from: A, to: B, amount: Cents(1) };
    Teller::new(&table, 0, || ()).carry_out(back, &way.asker(3), |_| Completion::UNATTENDED).unwrap();
    let totals = cut::take(&table).unwrap();
    assert_eq!(totals.opening(), table.opening(), "{what}");
    assert_eq!(totals.sum.0, (0..10).map(|id| table.peek(AccountId(id)).unwrap().0).sum::<i64>(), "{what}");
}

/// The same request with the same key: done now if it had not happened, answered alike if it had; done once in any case.
fn ask_again(table: &Table, operation: Operation, asker: &Asker, wanted: [i64; 2], happened: bool, what: &str) {
    let mut teller = Teller::new(table, 0, || ());
    let mut ask = || teller.carry_out(operation, asker, |_| Completion::UNATTENDED);
    let first = ask();
    assert_eq!(first.is_ok(), !happened, "{what}: asked again: {first:?}");
    let Err(Undone::Uncommitted(Uncommitted::Repeated(known))) = ask() else {
        panic!("{what}: asked once more");
    };
    assert!(known.lsn.0 >= 1, "{what}: {known:?}");
    let (account, _) = operation.accounts();
    let first = RememberedOperation::from_table(&known).unwrap();
    assert_eq!(first.balances[0].0, wanted[usize::from(account == B)], "{what}");
    let changed = Operation::Deposit { account: A, amount: Cents(1) };
    let conflict = teller.carry_out(changed, asker, |_| Completion::UNATTENDED);
    assert_eq!(conflict, Err(Undone::Uncommitted(Uncommitted::Conflict(known.lsn))), "{what}");
    assert_eq!(balances(table), wanted, "{what}: done once");
}

/// One test a way, so that they run beside each other.
fn deaths_at_every_point(way: Way) {
    let repair_points: Vec<_> =
        CrashPoint::ALL.iter().copied().filter(|point| point.name().starts_with("repair.")).collect();
    assert!(repair_points.len() >= 6);
    for point in CrashPoint::ALL.iter().copied().filter(|point| point.name().starts_with("ledger.")) {
        for (operation, wanted) in operations() {
            one_death(way, operation, wanted, point, Repairer::Master);
            one_death(way, operation, wanted, point, Repairer::Worker);
        }
        // Against the order of the locks, so that the first one repaired is the second one named.
        let [.., (operation, wanted)] = operations();
        for &second in &repair_points {
            one_death(way, operation, wanted, point, Repairer::DyingWorker(second));
        }
    }
}

#[test]
fn a_death_at_any_point_leaves_all_or_nothing() {
    deaths_at_every_point(Way { ring: 0, keyed: false, numbered: false });
}

#[test]
fn a_death_at_any_point_leaves_all_or_nothing_in_the_journal() {
    deaths_at_every_point(Way { ring: RING, keyed: false, numbered: false });
}

#[test]
fn a_death_at_any_point_leaves_a_key_known_or_not() {
    deaths_at_every_point(Way { ring: 0, keyed: true, numbered: false });
}

#[test]
fn a_death_at_any_point_leaves_a_key_known_or_not_in_the_journal() {
    deaths_at_every_point(Way { ring: RING, keyed: true, numbered: false });
}

#[test]
fn a_death_at_any_point_leaves_a_reply_that_shows_its_number() {
    for keyed in [false, true] {
        deaths_at_every_point(Way { ring: 0, keyed, numbered: true });
    }
}

#[test]
fn a_death_at_any_point_leaves_a_reply_that_shows_its_number_in_the_journal() {
    for keyed in [false, true] {
        deaths_at_every_point(Way { ring: RING, keyed, numbered: true });
    }
}

/// A refusal with a key is an operation that changes no account: it happens once, too.
#[test]
fn a_refusal_with_a_key_is_remembered_whenever_its_worker_dies() {
    let refused = Operation::Withdraw { account: A, amount: Cents(OPENING + 1) };
    for point in CrashPoint::ALL.iter().copied().filter(|point| point.name().starts_with("ledger.")) {
        for way in [0, RING].map(|ring| Way { ring, keyed: true, numbered: false }) {
            let what = format!("{way:?} killed at {}", point.name());
            let table = table(10, way.ring);
            let asker = way.asker(1);
            let killed = was_killed(child(|| {
                arm(point);
                let _ = Teller::new(&table, 0, || ()).carry_out(refused, &asker, |_| Completion::UNATTENDED);
            }));
            repair::settle(&table, 0).unwrap();
            let happened = !killed || point as u8 >= CrashPoint::Committed as u8;
            let mut teller = Teller::new(&table, 0, || ());
            // In between the account gets enough for it.
            let more = Operation::Deposit { account: A, amount: Cents(1) };
            teller.carry_out(more, &Asker::ANYBODY, |_| Completion::UNATTENDED).unwrap();
            let again = teller.carry_out(refused, &asker, |_| Completion::UNATTENDED);
            match again {
                Err(Undone::Uncommitted(Uncommitted::Repeated(known))) => {
                    assert!(happened && known.verdict == Verdict::Insufficient.code(), "{what}: {known:?}");
                }
                other => assert!(!happened && other.is_ok(), "{what}: {other:?}"),
            }
        }
    }
}

/// What the tests above would see if repair were left out: so they would see it.
#[test]
fn without_repair_the_books_do_not_balance() {
    let table = table(10, 0);
    let transfer = Operation::Transfer { from: A, to: B, amount: AMOUNT };
    assert!(was_killed(child(|| {
        arm(CrashPoint::FirstApplied);
        Teller::new(&table, 0, || ()).carry_out(transfer, &Asker::ANYBODY, |_| Completion::UNATTENDED).unwrap();
    })));
    let held = || (0..10).map(|account| table.peek(AccountId(account)).unwrap().0).sum::<i64>();
    assert_eq!(held(), 10 * OPENING - AMOUNT.0, "half of the transfer");
    assert_eq!(table.orphaned().collect::<Vec<_>>(), [A, B], "both accounts are still locked by the dead");
    repair::settle(&table, 0).unwrap();
    assert_eq!(held(), 10 * OPENING);
}

/// Stands in for the journal process.
fn keep_up(table: &Table) {
    if table.sequencer().is_journaled() {
        table.sequencer().set_on_disk_alone(OnDisk(table.order().now().lsn), Lsn(u64::MAX));
    }
}

pub fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Random operations for ever, on few accounts, so that many meet.
fn work(table: &Table, worker: usize, accounts: u32, seed: u64) {
    let mut state = seed | 1;
    let mut teller = Teller::new(table, worker, || ());
    loop {
        let mut below = |n: u64| xorshift(&mut state) % n;
        let account = |n: u64| AccountId(u32::try_from(n).unwrap());
        let (from, to) = (account(below(accounts.into())), account(below(accounts.into())));
        let amount = Cents(i64::try_from(below(50)).unwrap() + 1);
        let operation = match below(4) {
            0 => Operation::Deposit { account: from, amount },
            1 => Operation::Withdraw { account: from, amount },
            _ => Operation::Transfer { from, to, amount },
        };
        let mut key = [0; 16];
        key[..8].copy_from_slice(&state.to_le_bytes());
        let asker = Asker { principal: 1, key: state.is_multiple_of(2).then_some(key) };
        // Refusals are part of the game, and so is a full ring.
        let _ = teller.carry_out(operation, &asker, |_| Completion::UNATTENDED);
    }
}

/// Settles worker `worker`'s place, which may need a living worker to get out of the way.
fn settle(table: &Table, worker: usize) -> Settled {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match repair::settle(table, worker) {
            Ok(settled) => return settled,
            Err(busy) => assert!(Instant::now() < deadline, "still {busy:?}"),
        }
    }
}

#[test]
fn three_hundred_random_deaths_move_no_cent() {
    random_deaths(0);
    random_deaths(256);
}

fn random_deaths(ring: u32) {
    const WORKERS: usize = 4;
    let kills: u64 = std::env::var("VAULT_TEST_KILLS").map_or(300, |text| text.parse().unwrap());
    let accounts = 64;
    let table = table(accounts, ring);
    let start = |worker: usize, seed: u64| child(|| work(&table, worker, accounts, seed));
    let mut pids: Vec<Pid> = (0..WORKERS).map(|worker| start(worker, worker as u64 + 1)).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let (mut finished, mut cuts) = (0, 0);
    for number in 0..kills {
        let worker = usize::try_from(xorshift(&mut state) % WORKERS as u64).unwrap();
        // Spread over the operations: as long as it takes to do some, by the count of what was done.
        let wait_for = table.order().now().lsn.0 + xorshift(&mut state) % 3_000;
        while table.order().now().lsn.0 < wait_for {
            std::hint::spin_loop();
            keep_up(&table);
        }
        kill(pids[worker], Signal::SIGKILL).unwrap();
        assert!(was_killed(pids[worker]));
        finished += u64::from(matches!(settle(&table, worker), Settled::Finished { .. }));
        pids[worker] = start(worker, number + 100);
        if number % 10 == 0 {
            // While the others work on.
            let totals = cut::take(&table).expect("nobody dies now");
            assert_eq!(totals.opening(), table.opening(), "after {number} kills");
            cuts += 1;
        }
    }
    for (worker, &pid) in pids.iter().enumerate() {
        kill(pid, Signal::SIGKILL).unwrap();
        assert!(was_killed(pid));
        settle(&table, worker);
    }
    let totals = cut::take(&table).unwrap();
    assert_eq!(totals.opening(), table.opening());
    let peeked: i64 = (0..accounts).map(|account| table.peek(AccountId(account)).unwrap().0).sum();
    assert_eq!(peeked, totals.sum.0);
    println!("{} operations, {finished} of {kills} kills within one, {cuts} cuts under load", totals.lsn);
}

#[test]
fn every_cut_under_load_balances() {
    const WORKERS: usize = 3;
    let table = table(500, 0);
    let pids: Vec<Pid> = (0..WORKERS).map(|worker| child(|| work(&table, worker, 500, worker as u64 + 7))).collect();
    let mut last = 0;
    for _ in 0..5_000 {
        let totals = cut::take(&table).unwrap();
        assert_eq!(totals.opening(), table.opening(), "at operation {}", totals.lsn);
        assert!(totals.lsn.0 >= last);
        last = totals.lsn.0;
    }
    for pid in pids {
        assert_eq!(waitpid(pid, Some(WaitPidFlag::WNOHANG)).unwrap(), WaitStatus::StillAlive, "a worker ended");
        kill(pid, Signal::SIGKILL).unwrap();
        assert!(was_killed(pid));
    }
    assert!(last > 1_000, "the workers did work: {last}");
}
