//! Disks that fail, fill up, and forget: what was acknowledged is there, what is damaged is named, and nothing is made up.

use crate::{asker, bank, checker, injector, mount, server, turmoil};

use std::fs::{self, File};
use std::io::Write;

use asker::Asker;
use bank::{Bank, deposit};
use bank_vault::base::vocab::Cents;
use bank_vault::service::bank::wire::{Request, Response, Status};
use checker::{Ack, must_be_kept};
use injector::Injector;
use mount::Mount;
use nix::sys::signal::Signal;
use server::{Server, await_that};
use turmoil::Turmoil;

const ARGS: [&str; 6] = ["--workers", "2", "--accounts", "20", "--initial-balance", "1000.00"];

/// Asks until there is no answer any more, on several connections at once; what was answered.
fn ask_to_the_end(server: &Server, at_least: usize, then: impl FnOnce()) -> Vec<Ack> {
    let answered = std::sync::atomic::AtomicUsize::new(0);
    let ask = |seed| {
        let mut asker = Asker::new(server.address, 20, seed);
        while asker.ask().is_ok() {
            answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        asker.acks
    };
    std::thread::scope(|scope| {
        let askers: Vec<_> = (1..=4).map(|seed| scope.spawn(move || ask(seed * 1_001))).collect();
        await_that("enough is answered", || answered.load(std::sync::atomic::Ordering::Relaxed) >= at_least);
        then();
        askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect()
    })
}

#[test]
#[ignore = "needs strace"]
fn after_a_failed_sync_nothing_is_acknowledged_and_the_server_stops() {
    for when in [1, 30] {
        let mut server = Server::start(&ARGS);
        let inject = format!("fdatasync:error=EIO:when={when}");
        // What is under way when the sync fails is never answered, so everybody asks until the connection ends.
        let mut injector = None;
        let acks = ask_to_the_end(&server, 100, || {
            injector = Some(Injector::attach_to_threads(server.journal_now().unwrap(), &inject));
        });
        let output = server.wait();
        assert!(injector.is_some_and(|injector| injector.seen().contains("EIO")), "the sync did fail");
        let said = server.stderr();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let named = said.contains("cannot sync ") && said.contains("0000000000000001.segment");
        assert!(named && said.contains("nothing more is acknowledged"), "{said}");
        assert_eq!(server.objects(), Vec::<String>::new());
        must_be_kept(&server.data(), &acks);
        server.start_again(&[]);
        assert!(Bank::demo(server.address).totals().lsn.0 >= acks.len() as u64);
    }
}

/// A slow disk: the segment that is wanted next takes a minute to prepare, and what is prepared is used up.
#[test]
#[ignore = "needs strace"]
fn whoever_waits_for_a_segment_delays_nobody_else() {
    const ROOM: u64 = 2 * 4_096;
    let server = Server::start(&["--workers", "1", "--accounts", "20"]);
    let turmoil = Turmoil::of(&server);
    let (mut waiting, mut other) = (Bank::demo(server.address), Bank::demo(server.address));
    waiting.call(&deposit(1, 1)).unwrap();
    let sequencer = turmoil.instance.table().sequencer();
    await_that("one segment is ahead", || sequencer.limit().0 == ROOM);
    let injector = Injector::attach_to_threads(server.journal_now().unwrap(), "fsync:delay_enter=60000000");
    // One more than there is room for.
    for _ in 0..ROOM / 64 {
        for _ in 0..64 {
            waiting.send(&deposit(1, 1)).unwrap();
        }
        for _ in 0..63 {
            waiting.read().unwrap();
        }
    }
    await_that("there is no room left", || turmoil.done() == ROOM && turmoil.durable() == ROOM);
    assert!(matches!(other.call(&Request::Ping).unwrap(), Response::Ping { .. }));
    assert_eq!(turmoil.done(), ROOM, "the other one was answered while there was no room");
    drop(injector);
    let last = (0..ROOM / 64).map(|_| waiting.read().unwrap().1).last();
    let balance = Cents(i64::try_from(ROOM).unwrap() + 1);
    assert_eq!(last, Some(Response::Deposit { balance }), "and this one when there was");
}

#[test]
#[ignore = "needs root, to mount a file system"]
fn a_full_disk_refuses_operations_serves_reads_and_recovers() {
    let mount = Mount::tmpfs(8).unwrap();
    let mut server = Server::start_on(&mount.path.join("data"), &ARGS);
    let filler = mount.path.join("filler");
    let mut asker = Asker::new(server.address, 20, 5);
    asker.ask().unwrap();
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    // What is prepared is still used up.
    let busy = |acks: &[Ack]| acks.last().unwrap().status == Status::Busy.code();
    while !busy(&asker.acks) {
        asker.ask().unwrap();
    }
    assert!(asker.acks.len() > 4_096, "the room that was there is used: {}", asker.acks.len());
    let done = Bank::demo(server.address).totals();
    assert_eq!(done.lsn.0, asker.acks.len() as u64 - 1);
    for account in 0..20 {
        asker.bank.balance(account);
    }
    asker.ask().unwrap();
    assert!(busy(&asker.acks), "still");
    assert!(server.stderr().contains("No space left on device"), "{}", server.stderr());
    // Nor does it help to start again: reads are served, the rest waits for space.
    server.kill_all();
    server.start_again(&[]);
    let mut again = Asker::new(server.address, 20, 6);
    again.ask().unwrap();
    assert!(busy(&again.acks), "{:?}", again.acks);
    assert_eq!(again.bank.totals(), done, "nothing is lost");
    asker.bank = again.bank;
    fs::remove_file(&filler).unwrap();
    await_that("there is space again", || {
        asker.ask().unwrap();
        !busy(&asker.acks)
    });
    (0..5_000).for_each(|_| asker.ask().unwrap());
    assert!(!busy(&asker.acks));
    server.kill_all();
    let compared = must_be_kept(&server.data(), &asker.acks);
    assert!(compared.acks > 9_000, "{compared:?}");
}

#[test]
#[ignore = "needs root, to mount a file system, and mkfs.ext4"]
fn a_machine_that_forgets_what_was_not_synced_loses_nothing_acknowledged() {
    for durability in ["sync", "async"] {
        let mount = Mount::ext4(48).unwrap();
        let args = [&ARGS[..], &["--durability", durability, "--flush-interval", "60000"]].concat();
        let mut server = Server::start_on(&mount.path.join("data"), &args);
        let acks = ask_to_the_end(&server, 3_000, || {
            mount.lose_power();
            if durability == "async" {
                // It would go on for long before it missed its disk.
                server.signal(Signal::SIGKILL);
            }
        });
        let output = server.wait();
        mount.come_back();
        if durability == "sync" {
            assert_eq!(output.status.code(), Some(2), "{}", server.stderr());
            let compared = must_be_kept(&server.data(), &acks);
            assert!(compared.acks >= 3_000, "{compared:?}");
            server.start_again(&[]);
            assert!(Bank::demo(server.address).totals().lsn.0 >= acks.len() as u64);
            drop(server);
        } else {
            let kept = checker::Kept::read(&server.data()).records.len();
            println!("async: {} acknowledged, {kept} kept", acks.len());
        }
    }
}
