//! The ledger under deaths: processes that share one account table are killed at every named point, and at random ones.
//!
//! No server takes part: the children here are bare tellers, so that every combination is tried in a few seconds.
#![allow(unsafe_code)] // fork(2), in a test process of several threads: the children use nothing but the ledger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bank_vault::crash_point::{self, Charge, CrashPoint};
use bank_vault::ipc::segment::Segment;
use bank_vault::ledger::repair::{self, Settled};
use bank_vault::ledger::{Completion, Operation, Outcome, Table, Teller, cut};
use bank_vault::vocab::{AccountId, Cents};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

const OPENING: i64 = 1_000;
const A: AccountId = AccountId(3);
const B: AccountId = AccountId(7);
const AMOUNT: Cents = Cents(250);

/// Memory that is unlinked as soon as it is mapped: the children have it by fork, and nothing can be left behind.
fn table(accounts: u32) -> Table {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let unique = format!("/vault-test.{}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let names = [format!("{unique}.a"), format!("{unique}.i")];
    let table = Table::create([&names[0], &names[1]], 1, accounts, Cents(OPENING)).unwrap();
    names.iter().for_each(|name| bank_vault::ipc::segment::unlink(name).unwrap());
    table
}

fn progress_word() -> Segment<(), AtomicU64> {
    let name = format!("/vault-test.{}.w.{:?}", std::process::id(), std::thread::current().id());
    let segment = Segment::create(&name, 1, 1, 1, |(), _| Ok(())).unwrap();
    bank_vault::ipc::segment::unlink(&name).unwrap();
    segment
}

fn arm(point: CrashPoint) {
    crash_point::arm(Charge { point, hit: 1, stop: false });
}

/// Runs `body` in a forked child.
fn child(body: impl FnOnce()) -> Pid {
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
fn was_killed(pid: Pid) -> bool {
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

fn one_death(operation: Operation, wanted: [i64; 2], point: CrashPoint, repairer: Repairer) {
    let what = format!("{operation:?} killed at {} and repaired by {repairer:?}", point.name());
    let table = table(10);
    let word = progress_word();
    let worker = child(|| {
        arm(point);
        let reply = |_: &Outcome| Completion::moving(0, &word.elements()[0], 77);
        Teller::new(&table, 0, || ()).carry_out(operation, reply).unwrap();
    });
    if !was_killed(worker) {
        // The operation does not come by this point: then it has simply been done.
        assert_eq!(balances(&table), wanted, "{what}");
        return;
    }
    let happened = point as u8 >= CrashPoint::Committed as u8;
    match repairer {
        Repairer::Master => {}
        Repairer::Worker => assert!(!was_killed(child(|| assert_eq!(balances(&table).len(), 2))), "{what}"),
        Repairer::DyingWorker(second) => {
            let repairing = child(|| {
                arm(second);
                balances(&table);
            });
            was_killed(repairing);
        }
    }
    let settled = repair::settle(&table, 0).unwrap();
    let in_flight = (CrashPoint::Prepared as u8..CrashPoint::IntentCleared as u8).contains(&(point as u8));
    match settled {
        Settled::Idle => assert!(!in_flight, "{what}"),
        Settled::Dropped => assert!(in_flight && !happened, "{what}"),
        Settled::Finished { connection, progress, .. } => {
            assert!(in_flight && happened, "{what}");
            assert_eq!((connection, progress), (0, 77), "{what}");
        }
    }
    assert_eq!(repair::settle(&table, 0), Ok(Settled::Idle), "{what}: settled once");
    assert_eq!(balances(&table), if happened { wanted } else { [OPENING; 2] }, "{what}");
    assert_eq!(table.holders().count() + table.orphaned().count(), 0, "{what}: no account is left locked");
    let totals = cut::take(&table).unwrap();
    assert_eq!(totals.opening(), table.opening(), "{what}");
    assert_eq!(totals.sum.0, balances(&table).iter().sum::<i64>() + 8 * OPENING, "{what}");
    // The accounts work on, for the successor as well.
    let back = Operation::Transfer { from: A, to: B, amount: Cents(1) };
    Teller::new(&table, 0, || ()).carry_out(back, |_| Completion::UNATTENDED).unwrap();
    assert_eq!(cut::take(&table).unwrap().opening(), table.opening(), "{what}");
}

#[test]
fn a_death_at_any_point_leaves_all_or_nothing() {
    let repair_points: Vec<_> =
        CrashPoint::ALL.iter().copied().filter(|point| point.name().starts_with("repair.")).collect();
    assert!(repair_points.len() >= 4);
    for point in CrashPoint::ALL.iter().copied().filter(|point| point.name().starts_with("ledger.")) {
        for (operation, wanted) in operations() {
            one_death(operation, wanted, point, Repairer::Master);
            one_death(operation, wanted, point, Repairer::Worker);
            for &second in &repair_points {
                one_death(operation, wanted, point, Repairer::DyingWorker(second));
            }
        }
    }
}

/// What the tests above would see if repair were left out: so they would see it.
#[test]
fn without_repair_the_books_do_not_balance() {
    let table = table(10);
    let transfer = Operation::Transfer { from: A, to: B, amount: AMOUNT };
    assert!(was_killed(child(|| {
        arm(CrashPoint::FirstApplied);
        Teller::new(&table, 0, || ()).carry_out(transfer, |_| Completion::UNATTENDED).unwrap();
    })));
    let held = || (0..10).map(|account| table.peek(AccountId(account)).unwrap().0).sum::<i64>();
    assert_eq!(held(), 10 * OPENING - AMOUNT.0, "half of the transfer");
    assert_eq!(table.orphaned().collect::<Vec<_>>(), [A, B], "both accounts are still locked by the dead");
    repair::settle(&table, 0).unwrap();
    assert_eq!(held(), 10 * OPENING);
}

fn xorshift(state: &mut u64) -> u64 {
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
        // Refusals are part of the game.
        let _ = teller.carry_out(operation, |_| Completion::UNATTENDED);
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
    const WORKERS: usize = 4;
    let kills: u64 = std::env::var("VAULT_TEST_KILLS").map_or(300, |text| text.parse().unwrap());
    let accounts = 64;
    let table = table(accounts);
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
    let table = table(500);
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
