//! No reply leaves before what it shows is on disk, also when the worker that owes it dies: the journal process is halted, so
//! that nothing becomes durable, and still no answer may come.

use crate::{bank, server};

use std::io::ErrorKind;

use bank::{Bank, deposit};
use bank_vault::base::crash_point::{CrashPoint, VARIABLE};
use bank_vault::base::vocab::Cents;
use bank_vault::service::bank::wire::{Request, Response};
use bank_vault::store::instance::stale;
use nix::sys::signal::Signal;
use server::{Server, await_that, is_halted, send, unused_name};

/// A server of one worker that dies of its first operation at `point`, and of a journal process that halts before it has
/// written anything.
fn halted(point: CrashPoint) -> Server {
    let armed = format!("0:{},journal:{}/stop", point.name(), CrashPoint::GroupTaken.name());
    Server::start_with(&unused_name(), &["--workers", "1", "--accounts", "10"], &[(VARIABLE, &armed)])
}

/// Has the journal process go on. It may not have come to where it halts yet, and a signal that is sent before is lost.
fn release(server: &Server) {
    let journal = server.journal_now().unwrap();
    await_that("the journal process halts", || is_halted(journal));
    send(journal, Signal::SIGCONT);
}

/// Nothing has come, and nothing is on its way.
fn must_be_silent(bank: &Bank, what: &str) {
    bank.stream.set_nonblocking(true).unwrap();
    let mut byte = [0];
    let seen = bank.stream.peek(&mut byte);
    assert!(matches!(&seen, Err(error) if error.kind() == ErrorKind::WouldBlock), "{what}: {seen:?}");
    bank.stream.set_nonblocking(false).unwrap();
}

#[test]
fn a_dead_workers_reply_is_not_sent_before_it_is_durable() {
    for point in [CrashPoint::Committed, CrashPoint::ProgressMoved, CrashPoint::IntentCleared, CrashPoint::Unlocked] {
        let what = point.name();
        let server = halted(point);
        let (mut bank, mut other) = (Bank::demo(server.address), Bank::demo(server.address));
        bank.send(&deposit(1, 250)).unwrap();
        let running = stale::open_running(&server.instance).unwrap();
        await_that("its connections go on with the successor", || running.workers()[0].stats.resumed.get() == 2);
        // The successor has given both of them a turn by then: nothing else was in its way.
        assert!(matches!(other.call(&Request::Ping).unwrap(), Response::Ping { .. }));
        assert!(matches!(Bank::connect(server.address).call(&Request::Ping).unwrap(), Response::Ping { .. }));
        must_be_silent(&bank, what);
        assert_eq!(running.table().sequencer().committed().0.0, 0, "{what}");
        release(&server);
        assert_eq!(bank.read().unwrap(), (2, Response::Deposit { balance: Cents(250) }), "{what}");
    }
}

#[test]
fn nor_is_it_when_a_worker_gives_its_connections_back() {
    let armed = format!("journal:{}/stop", CrashPoint::GroupTaken.name());
    let args = ["--workers", "2", "--accounts", "10"];
    let server = Server::start_with(&unused_name(), &args, &[(VARIABLE, &armed)]);
    // The first of equals gets the first connection; the last is the one that leaves.
    let (mut staying, mut moving) = (Bank::demo(server.address), Bank::demo(server.address));
    moving.send(&deposit(1, 250)).unwrap();
    let running = stale::open_running(&server.instance).unwrap();
    await_that("it is done", || running.table().order().now().lsn.0 == 1);
    server.signal(Signal::SIGTTOU);
    await_that("the connection goes on elsewhere", || running.workers()[0].stats.resumed.get() == 1);
    assert!(matches!(staying.call(&Request::Ping).unwrap(), Response::Ping { .. }));
    must_be_silent(&moving, "given back");
    release(&server);
    assert_eq!(moving.read().unwrap(), (2, Response::Deposit { balance: Cents(250) }));
}
