//! Servers that break a promise on purpose (`master --break`), each beside one that does not: what goes wrong, every time, and
//! which check catches it. Needs the feature `break-it`; `docs/LABS.md` does the same by hand.

#[path = "support/asker.rs"]
mod asker;
#[path = "support/bank.rs"]
mod bank;
#[path = "support/checker.rs"]
mod checker;
#[path = "support/server.rs"]
mod server;

use std::io::ErrorKind;

use asker::Asker;
use bank::{Bank, deposit, opening, transfer};
use bank_vault::base::crash_point::{CrashPoint, VARIABLE};
use bank_vault::base::vocab::AccountId;
use bank_vault::service::bank::wire::{Opcode, Response};
use bank_vault::store::instance::{Instance, stale};
use checker::{Broken, Kept, judge};
use nix::sys::signal::Signal;
use server::{Server, await_that, send, unused_name};

const OPENING: i64 = 100_000;

/// A server with the defect, or without any, of which something is armed to happen.
fn server(defect: Option<&str>, workers: &str, armed: &str) -> Server {
    let mut args = vec!["--workers", workers, "--accounts", "10", "--initial-balance", "1000.00"];
    args.extend(defect.iter().flat_map(|defect| ["--break", defect]));
    let server = Server::start_with(&unused_name(), &args, &[(VARIABLE, armed)]);
    assert_eq!(server.stderr().contains("BROKEN ON PURPOSE"), defect.is_some(), "{}", server.stderr());
    server
}

fn memory(server: &Server) -> Instance {
    stale::open_running(&server.instance).unwrap()
}

/// Whether every thread of the process is halted, as by SIGSTOP.
fn is_halted(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap().contains("State:\tT")
}

/// The worker dies between the two halves of a transfer. Gives what TOTALS then takes for the opening total, and how the server
/// ends.
fn half_a_transfer(defect: Option<&str>) -> (i64, Option<i32>) {
    let mut server = server(defect, "1", &format!("0:{}", CrashPoint::FirstApplied.name()));
    let mut bank = Bank::demo(server.address);
    assert!(
        matches!(bank.call(&transfer(1, 2, 250)).unwrap(), Response::Transfer { .. }),
        "the reply is the promised one"
    );
    let opened = opening(&bank.totals());
    drop(bank);
    server.signal(Signal::SIGINT);
    (opened, server.wait().status.code())
}

#[test]
fn without_repair_half_a_transfer_is_missing_in_totals_and_the_server_ends_with_1() {
    assert_eq!(half_a_transfer(None), (10 * OPENING, Some(0)));
    assert_eq!(half_a_transfer(Some("repair")), (10 * OPENING - 250, Some(1)));
}

/// Two workers are halted when each holds the first lock of its transfer, and go on together; gives the server, and the memory
/// by which one sees who holds what.
fn opposite_transfers(defect: Option<&str>) -> (Server, [Bank; 2], Instance) {
    let point = CrashPoint::FirstLocked.name();
    let server = server(defect, "2", &format!("0:{point}/stop,1:{point}/stop"));
    let memory = memory(&server);
    // The first of equals gets the first connection, the other one the second.
    let mut banks = [Bank::demo(server.address), Bank::demo(server.address)];
    let pids: Vec<u32> = (0..2).map(|worker| memory.workers()[worker].life.pid.get()).collect();
    let [first, second] = &mut banks;
    first.send(&transfer(1, 2, 250)).unwrap();
    await_that("worker 0 holds its first account", || is_halted(pids[0]));
    second.send(&transfer(2, 1, 250)).unwrap();
    let waits = || !is_halted(pids[1]) && memory.workers()[1].stats.requests[Opcode::Transfer.index()].get() == 1;
    await_that("worker 1 holds its first account, or waits for it", || is_halted(pids[1]) || waits());
    send(pids[0], Signal::SIGCONT);
    if defect.is_none() {
        await_that("worker 1 holds its first account", || is_halted(pids[1]));
    }
    send(pids[1], Signal::SIGCONT);
    (server, banks, memory)
}

#[test]
fn locks_in_the_order_of_numbers_never_wait_for_each_other() {
    let (server, mut banks, _) = opposite_transfers(None);
    for bank in &mut banks {
        assert!(matches!(bank.read().unwrap().1, Response::Transfer { .. }));
    }
    assert!(server.stop().status.success());
}

#[test]
fn locks_in_any_order_wait_for_each_other_until_one_of_the_holders_dies() {
    let (server, mut banks, memory) = opposite_transfers(Some("order"));
    let pids: Vec<u32> = (0..2).map(|worker| memory.workers()[worker].life.pid.get()).collect();
    let held = || -> Vec<_> { memory.table().holders().collect() };
    let deadlock = [(AccountId(1), pids[0]), (AccountId(2), pids[1])];
    assert_eq!(held(), deadlock);
    // Both beat on: who waits for a lock is alive, and an error-checking lock looks at its own holder only. Nobody helps them.
    let beats = || [0, 1].map(|worker| memory.workers()[worker].life.heartbeat_ns.get());
    let before = beats();
    await_that("both have beaten", || before.iter().zip(beats()).all(|(before, now)| now > *before));
    let before = beats();
    await_that("both have beaten again", || before.iter().zip(beats()).all(|(before, now)| now > *before));
    assert_eq!(held(), deadlock);
    for bank in &banks {
        bank.stream.set_nonblocking(true).unwrap();
        assert_eq!(bank.stream.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        bank.stream.set_nonblocking(false).unwrap();
    }
    // The lock of the dead goes to the other, and the successor does the dead one's request: all are served in the end. Should the
    // successor be the first to get that lock, they wait for each other once more, and it has to die as well.
    send(pids[0], Signal::SIGKILL);
    banks[1].stream.set_nonblocking(true).unwrap();
    await_that("the other one's request is answered", || {
        if let [(_, successor), (_, other)] = held()[..]
            && successor != pids[0]
            && [successor, other] == [memory.workers()[0].life.pid.get(), pids[1]]
        {
            send(successor, Signal::SIGKILL);
        }
        banks[1].stream.peek(&mut [0]).is_ok()
    });
    banks[1].stream.set_nonblocking(false).unwrap();
    for bank in &mut banks {
        assert!(matches!(bank.read().unwrap().1, Response::Transfer { .. }));
    }
    assert_eq!(opening(&banks[0].totals()), 10 * OPENING);
    assert!(server.stop().status.success());
}

/// Asks for one deposit while the journal process is halted with its record in the hand, unwritten. Gives whether the answer came
/// all the same, and what the judge finds once everything is dead.
fn answer_of_a_halted_journal(defect: Option<&str>) -> (bool, Vec<Broken>) {
    let mut server = server(defect, "1", &format!("journal:{}/stop", CrashPoint::GroupTaken.name()));
    let memory = memory(&server);
    let mut asker = Asker::new(server.address, 10, 1);
    let halted = memory.journal_row().life.pid.get();
    if defect.is_some() {
        asker.ask_for(&deposit(1, 250), [7; 16]).unwrap();
    } else {
        asker.bank.send_with_key(&deposit(1, 250), Some([7; 16])).unwrap();
        await_that("it is done", || memory.table().order().now().lsn.0 == 1);
    }
    await_that("the journal has it in its hand", || is_halted(halted));
    assert_eq!(memory.table().sequencer().committed().0.0, 0);
    server.kill_all();
    let broken = judge(&Kept::read(&server.data()), &asker.acks).err().unwrap_or_default();
    (!asker.acks.is_empty(), broken)
}

#[test]
fn an_early_answer_is_of_an_operation_that_can_be_lost() {
    assert_eq!(answer_of_a_halted_journal(None), (false, Vec::new()));
    let (answered, broken) = answer_of_a_halted_journal(Some("ack-early"));
    assert!(answered && matches!(&broken[..], [Broken::Lost(_)]), "{broken:?}");
}
