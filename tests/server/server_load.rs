//! A real server under many connections, slow ones among them.

use crate::{bank, server};

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use bank::{Bank, deposit, opening, transfer};
use bank_vault::base::limits::{RECEIVE_BYTES, TRANSMIT_BYTES};
use bank_vault::service::bank::wire::{Request, Response};
use server::{Server, await_that};

/// Transfers on `connections` connections at once; each checks its own answers.
fn transfer_everywhere(server: &Server, connections: u32, each: u32, accounts: u32) {
    std::thread::scope(|scope| {
        for number in 0..connections {
            scope.spawn(move || {
                let mut bank = Bank::demo(server.address);
                for turn in 0..each {
                    let from = (number * 7 + turn * 13) % accounts;
                    let to = (from + 1 + (turn + number) % (accounts - 1)) % accounts;
                    let response = bank.call(&transfer(from, to, 1)).unwrap();
                    assert!(matches!(response, Response::Transfer { .. }), "{response:?}");
                }
            });
        }
    });
}

#[test]
fn a_hundred_connections_conserve_money_in_every_accept_mode() {
    for mode in ["dispatch", "shared", "reuseport"] {
        let args = ["--workers", "4", "--accounts", "20", "--initial-balance", "10000.00", "--accept", mode];
        let server = Server::start(&args);
        transfer_everywhere(&server, 100, 100, 20);
        let totals = Bank::demo(server.address).totals();
        assert_eq!((totals.sum.0, totals.lsn.0), (20 * 1_000_000, 100 * 100), "{mode}");
    }
}

#[test]
fn dispatch_spreads_connections_evenly() {
    let server = Server::start(&["--workers", "4"]);
    let _banks: Vec<_> = (0..40).map(|_| Bank::demo(server.address)).collect();
    let running = bank_vault::store::instance::stale::open_running(&server.instance).unwrap();
    let counts: Vec<_> = running.workers()[..4].iter().map(|worker| worker.connections.get()).collect();
    assert_eq!(counts, [10; 4]);
}

#[test]
fn a_thousand_idle_connections_beside_a_hundred_busy_ones() {
    let server = Server::start(&["--workers", "2", "--accounts", "20", "--initial-balance", "10000.00"]);
    let mut idle: Vec<_> = (0..1000).map(|_| Bank::connect(server.address)).collect();
    transfer_everywhere(&server, 100, 50, 20);
    for bank in &mut idle {
        assert!(matches!(bank.call(&Request::Ping).unwrap(), Response::Ping { .. }));
    }
    let totals = Bank::demo(server.address).totals();
    assert_eq!((totals.sum.0, totals.lsn.0), (20 * 1_000_000, 100 * 50));
}

#[test]
fn a_full_lane_loses_no_connection() {
    // Lanes of one ticket, and more connections at once than both can hold.
    let server = Server::start(&["--workers", "2", "--queue-depth", "1"]);
    let mut banks: Vec<_> = (0..300).map(|_| Bank::connect(server.address)).collect();
    for bank in &mut banks {
        bank.send(&Request::Ping).unwrap();
    }
    for bank in &mut banks {
        assert!(matches!(bank.read().unwrap().1, Response::Ping { .. }));
    }
}

#[test]
fn slow_clients_delay_nobody() {
    let server = Server::start(&["--workers", "1", "--accounts", "10"]);
    // One that never reads: its requests stop being read when its replies have filled all buffers.
    let mut deaf = Bank::demo(server.address);
    await_that("its answers are not taken", || {
        deaf.stuff(&deposit(1, 1));
        server.has_stuck_connection(0)
    });
    // One that sends a byte now and then.
    let mut trickle = Bank::demo(server.address);
    let mut frame = Vec::new();
    Request::Ping.encode(1, None, None, &mut frame);
    let mut fast = Bank::demo(server.address);
    let mut slowest = Duration::ZERO;
    for turn in 0..2_000 {
        // Each frame comes to its end long before it is given up.
        if turn % 10 == 0 {
            trickle.stream.write_all(&frame[turn / 10 % 18..=turn / 10 % 18]).unwrap();
        }
        let start = Instant::now();
        assert!(matches!(fast.call(&deposit(2, 1)).unwrap(), Response::Deposit { .. }));
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let running = bank_vault::store::instance::stale::open_running(&server.instance).unwrap();
    let held: HashMap<_, _> = (0..).zip(running.connections()).filter(|(_, slot)| slot.session().is_some()).collect();
    for (slot, connection) in held {
        let (progress, (received, sent)) = (connection.progress(), connection.moved());
        assert!(received.wrapping_sub(progress.consumed) as usize <= RECEIVE_BYTES, "slot {slot}");
        assert!(progress.queued.wrapping_sub(sent) as usize <= TRANSMIT_BYTES, "slot {slot}: memory is bounded");
    }
    assert_eq!(opening(&fast.totals()), 0);
}

#[test]
fn a_frame_that_does_not_end_is_given_up() {
    let server = Server::start(&["--workers", "1"]);
    let mut slow = Bank::demo(server.address);
    let mut frame = Vec::new();
    Request::Ping.encode(1, None, None, &mut frame);
    let start = Instant::now();
    slow.stream.write_all(&frame[..10]).unwrap();
    assert!(slow.is_closed());
    let took = start.elapsed();
    assert!((9..15).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn every_cut_under_load_balances_over_the_wire() {
    let server = Server::start(&["--workers", "2", "--accounts", "1000", "--initial-balance", "1.00"]);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut bank = Bank::demo(server.address);
                for turn in 0..4_000 {
                    bank.call(&if turn % 2 == 0 { deposit(turn % 1000, 7) } else { transfer(number, turn % 1000, 1) })
                        .unwrap();
                }
            });
        }
        let mut auditor = Bank::demo(server.address);
        let mut last = 0;
        for _ in 0..300 {
            let totals = auditor.totals();
            assert_eq!(opening(&totals), 1000 * 100);
            assert!(totals.lsn.0 >= last);
            last = totals.lsn.0;
        }
    });
}
