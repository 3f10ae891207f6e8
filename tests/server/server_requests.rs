//! What a server answers, request by request and fault by fault.

use crate::{bank, server};

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bank::{Bank, deposit, opening, transfer, withdraw};
use bank_vault::base::limits::{HEADER_BYTES, MAX_FRAME_BYTES};
use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::service::bank::wire::{Opcode, Request, Response, Status};
use server::{Server, await_that};

const RICH: [&str; 6] = ["--accounts", "100", "--initial-balance", "1000.00", "--workers", "2"];

fn error(request: &Request<'_>, status: Status) -> Response {
    Response::Error { opcode: request.opcode().code(), status }
}

/// The frame of a request, to be spoiled.
fn frame(request: &Request<'_>, seq: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(seq, None, None, &mut bytes);
    bytes
}

#[test]
fn every_operation_answers_as_the_document_says() {
    let server = Server::start(&RICH);
    let mut bank = Bank::connect(server.address);
    for request in [deposit(1, 1), withdraw(1, 1), transfer(1, 2, 1), Request::Totals] {
        assert_eq!(bank.call(&request).unwrap(), error(&request, Status::Auth), "before LOGIN");
    }
    assert!(
        matches!(bank.call(&Request::Ping).unwrap(), Response::Ping { server_time_ms } if server_time_ms > 1 << 40)
    );
    assert_eq!(bank.login("demo", "wrong").unwrap(), Err(Status::Auth));
    assert_eq!(bank.login("nobody", "demo").unwrap(), Err(Status::Auth));
    bank.login("demo", "demo").unwrap().unwrap();
    for xored in [false, true] {
        bank.xored = xored;
        let start = bank.balance(1).0;
        assert_eq!(bank.call(&deposit(1, 50)).unwrap(), Response::Deposit { balance: Cents(start + 50) });
        assert_eq!(bank.call(&withdraw(1, 30)).unwrap(), Response::Withdraw { balance: Cents(start + 20) });
        let other = bank.balance(2).0;
        let moved = Response::Transfer { from_balance: Cents(start), to_balance: Cents(other + 20) };
        assert_eq!(bank.call(&transfer(1, 2, 20)).unwrap(), moved);
    }
    let totals = bank.totals();
    assert_eq!((totals.accounts, totals.deposited, totals.withdrawn), (100, Cents(100), Cents(60)));
    assert_eq!((opening(&totals), totals.lsn), (100 * 100_000, Lsn(6)));
    let output = server.stop();
    assert!(String::from_utf8_lossy(&output.stdout).contains("6 operations"), "{output:?}");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name_and_changes_nothing() {
    let server = Server::start(&RICH);
    let mut bank = Bank::demo(server.address);
    let table = [
        (deposit(1, 0), Status::Invalid),
        (deposit(1, -5), Status::Invalid),
        (withdraw(1, i64::MIN), Status::Invalid),
        (transfer(1, 1, 5), Status::Invalid),
        (deposit(1, i64::MAX), Status::Invalid),
        (withdraw(1, 100_001), Status::Insufficient),
        (transfer(1, 2, 100_001), Status::Insufficient),
        (deposit(100, 5), Status::NoAccount),
        (transfer(1, u32::MAX, 5), Status::NoAccount),
        (Request::Balance { account: AccountId(100) }, Status::NoAccount),
        (Request::History { account: AccountId(100), before: Lsn(0), limit: 5 }, Status::NoAccount),
        (Request::History { account: AccountId(1), before: Lsn(0), limit: 0 }, Status::Invalid),
    ];
    for (request, status) in table {
        assert_eq!(bank.call(&request).unwrap(), error(&request, status), "{request:?}");
    }
    let totals = bank.totals();
    assert_eq!((totals.sum, totals.lsn), (Cents(100 * 100_000), Lsn(0)));
}

#[test]
fn a_stream_may_be_split_anywhere() {
    let server = Server::start(&RICH);
    let mut bank = Bank::demo(server.address);
    let requests = [deposit(3, 5), withdraw(3, 2), transfer(3, 4, 1), Request::Ping];
    let bytes: Vec<u8> = (1..).zip(&requests).flat_map(|(seq, request)| frame(request, seq)).collect();
    for piece in [1, 2, 3, 7, 17, 18, 19, bytes.len()] {
        for part in bytes.chunks(piece) {
            bank.stream.write_all(part).unwrap();
        }
        for seq in 1..=4 {
            let (answered, response) = bank.read().unwrap();
            assert_eq!(answered, seq);
            assert!(!matches!(response, Response::Error { .. }), "{response:?}");
        }
    }
    assert_eq!(bank.balance(4), Cents(100_008));
}

#[test]
fn a_spoiled_frame_is_named_and_the_next_is_served() {
    let server = Server::start(&RICH);
    let ping = frame(&Request::Ping, 9);
    let spoil = |at: usize, with: u8| {
        let mut bytes = ping.clone();
        bytes[at] ^= with;
        bytes
    };
    let bad_opcode = |opcode: u16, status| Response::Error { opcode, status };
    let mut unknown = ping.clone();
    unknown[8..10].copy_from_slice(&0x7777u16.to_be_bytes());
    let crc = bank_vault::service::bank::wire::checksum(&unknown);
    unknown[14..18].copy_from_slice(&crc.to_be_bytes());
    let table = [
        (spoil(17, 1), 9, bad_opcode(Opcode::Ping.code(), Status::BadCrc)),
        (spoil(4, 0xff), 0, bad_opcode(0, Status::BadFrame)),
        (spoil(6, 2), 0, bad_opcode(0, Status::BadFrame)),
        (unknown, 9, bad_opcode(0x7777, Status::BadFrame)),
    ];
    for (bytes, seq, response) in table {
        let mut bank = Bank::demo(server.address);
        bank.stream.write_all(&bytes).unwrap();
        assert_eq!(bank.read().unwrap(), (seq, response));
        assert!(matches!(bank.call(&Request::Ping).unwrap(), Response::Ping { .. }), "after {response:?}");
    }
}

#[test]
fn three_strikes_and_a_length_beyond_the_limit_close_the_connection() {
    let server = Server::start(&RICH);
    let mut other = Bank::demo(server.address);
    let mut bad = frame(&Request::Ping, 1);
    bad[17] ^= 1;
    let mut bank = Bank::demo(server.address);
    for _ in 0..3 {
        bank.stream.write_all(&bad).unwrap();
        assert!(matches!(bank.read().unwrap(), (1, Response::Error { status: Status::BadCrc, .. })));
    }
    assert!(bank.is_closed());

    let mut bank = Bank::demo(server.address);
    let mut long = frame(&Request::Ping, 4);
    long[..4].copy_from_slice(&u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_be_bytes());
    bank.stream.write_all(&long).unwrap();
    bank.stream.write_all(&[0; 100_000]).unwrap();
    assert!(matches!(bank.read().unwrap(), (4, Response::Error { status: Status::BadFrame, .. })));
    assert!(bank.is_closed());
    assert!(matches!(other.call(&Request::Ping).unwrap(), Response::Ping { .. }), "others are not touched");
}

#[test]
fn a_client_that_has_sent_its_last_byte_still_gets_its_answers() {
    let server = Server::start(&RICH);
    let mut bank = Bank::demo(server.address);
    for _ in 0..1000 {
        bank.send(&deposit(1, 1)).unwrap();
    }
    bank.send(&Request::Totals).unwrap();
    bank.stream.shutdown(Shutdown::Write).unwrap();
    for _ in 0..1000 {
        assert!(matches!(bank.read().unwrap().1, Response::Deposit { .. }));
    }
    assert!(matches!(bank.read().unwrap().1, Response::Totals(totals) if totals.deposited == Cents(1000)));
    assert!(bank.is_closed());
}

#[test]
fn too_many_connections_are_told_so_and_served_later() {
    for mode in ["dispatch", "shared", "reuseport"] {
        let server = Server::start(&["--max-connections", "2", "--workers", "2", "--accept", mode]);
        let mut first = Bank::demo(server.address);
        let _second = Bank::demo(server.address);
        let mut third = Bank::connect(server.address);
        let busy = Response::Error { opcode: 0, status: Status::Busy };
        assert_eq!(third.read().unwrap(), (0, busy), "{mode}");
        assert!(third.is_closed());
        assert!(matches!(first.call(&Request::Ping).unwrap(), Response::Ping { .. }));
        drop(first);
        // The server learns of it in its own time.
        await_that("there is room again", || {
            Bank::connect(server.address).login("demo", "demo").is_ok_and(|login| login.is_ok())
        });
    }
}

#[test]
fn a_client_that_asks_too_fast_is_told_so() {
    let server = Server::start(&["--rate-limit", "5"]);
    let mut bank = Bank::connect(server.address);
    let mut answers = [0, 0];
    for _ in 0..40 {
        match bank.call(&Request::Ping).unwrap() {
            Response::Ping { .. } => answers[0] += 1,
            Response::Error { status: Status::Busy, .. } => answers[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(answers[0] >= 5 && answers[1] >= 20, "{answers:?}");
}

#[test]
fn idle_clients_are_dropped_and_a_ping_is_life() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let mut idle = Bank::demo(server.address);
    let mut alive = Bank::demo(server.address);
    let start = Instant::now();
    alive.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    while start.elapsed() < Duration::from_secs(2) {
        assert!(matches!(alive.call(&Request::Ping).unwrap(), Response::Ping { .. }));
        // Nothing comes: this waits for 300 ms.
        assert!(alive.stream.read(&mut [0; HEADER_BYTES]).is_err());
    }
    idle.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert_eq!(idle.stream.read(&mut [0; 1]).unwrap(), 0, "dropped by now");
}

#[test]
fn roles_hold_and_hashed_passwords_are_checked() {
    use bank_vault::store::users::{self, Role};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    users::add(&path, "tina", b"till", Role::Teller).unwrap();
    users::add(&path, "otto", b"books", Role::Auditor).unwrap();
    users::add(&path, "carla", b"cash", "customer:10-19".parse().unwrap()).unwrap();
    let mut args = RICH.to_vec();
    args.extend(["--users", path.to_str().unwrap()]);
    let server = Server::start(&args);
    let login = |user: &str, pass: &str| {
        let mut bank = Bank::connect(server.address);
        bank.login(user, pass).unwrap().map(|()| bank)
    };
    assert_eq!(login("demo", "demo").err(), Some(Status::Auth), "no demo user beside a users file");
    assert_eq!(login("tina", "books").err(), Some(Status::Auth));
    let (mut tina, mut otto) = (login("tina", "till").unwrap(), login("otto", "books").unwrap());
    let mut carla = login("carla", "cash").unwrap();
    assert!(matches!(tina.call(&deposit(1, 5)).unwrap(), Response::Deposit { .. }));
    assert_eq!(otto.call(&deposit(1, 5)).unwrap(), error(&deposit(1, 5), Status::Forbidden));
    assert_eq!(otto.balance(1), Cents(100_005));
    assert!(matches!(carla.call(&transfer(10, 99, 5)).unwrap(), Response::Transfer { .. }));
    assert_eq!(carla.call(&transfer(99, 10, 5)).unwrap(), error(&transfer(99, 10, 5), Status::Forbidden));
    assert_eq!(carla.call(&Request::Totals).unwrap(), error(&Request::Totals, Status::Forbidden));
}
