//! Times of records never go back, also where the clock is behind what an earlier life of the books, or another primary, has written.

use crate::{bank, cluster, server};

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bank::{Bank, deposit};
use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::service::bank::wire::Response;
use bank_vault::store::journal::{Directory, Kind, OperationRecord, Record, Verdict, Writer, full_scan};
use cluster::{ACCOUNTS, Cluster};
use server::{Server, await_that};

const HOUR: Duration = Duration::from_secs(3600);

/// Books of one deposit, by a clock that was an hour ahead; gives the time of its record.
fn written_an_hour_ahead(data: &Path) -> u64 {
    let time_ns = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + HOUR).as_nanos().try_into().unwrap();
    let record = OperationRecord {
        lsn: Lsn(1),
        time_ns,
        kind: Kind::Deposit,
        verdict: Verdict::Done,
        principal: 1,
        accounts: (AccountId(1), None),
        amount: Cents(1),
        balances: [Cents(100_001), Cents(0)],
        previous: [Lsn(0); 2],
        key: None,
    };
    let directory = Directory::open_or_create(data, ACCOUNTS, Cents(100_000), 524_288).unwrap();
    let mut writer = Writer::resume(&directory, Lsn(0)).unwrap();
    assert!(writer.wait_until_prepared(Lsn(1), Duration::from_secs(60)));
    writer.append(&mut [record.encode()], Lsn(0)).unwrap();
    writer.sync().unwrap();
    time_ns
}

/// The times of all records, in order.
fn times(data: &Path) -> Vec<u64> {
    let mut times = Vec::new();
    full_scan(&Directory::open(data).unwrap(), Lsn(0), None, |record: &Record| times.push(record.time_ns())).unwrap();
    times
}

fn add(server: &Server) {
    assert!(matches!(Bank::demo(server.address).call(&deposit(2, 5)).unwrap(), Response::Deposit { .. }));
}

fn warnings(server: &Server) -> usize {
    server.stderr().matches("behind the time of the last record").count()
}

#[test]
fn an_instance_whose_clock_is_behind_its_last_record_says_so_once_and_lets_no_time_go_back() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let time_ns = written_an_hour_ahead(&data);
    let args = ["--accounts", "100", "--initial-balance", "1000.00", "--workers", "2"];
    let server = Server::start_on(&data, &args);
    (0..3).for_each(|_| add(&server));
    await_that("it says that its clock is behind", || warnings(&server) == 1);
    assert!(server.stderr().contains("the clock is 3599."), "{}", server.stderr());
    add(&server);
    let said = server.stop();
    assert_eq!(String::from_utf8_lossy(&said.stderr).matches("behind the time of the last record").count(), 1);
    assert_eq!(times(&data), [time_ns; 5]);
}

#[test]
fn a_primary_whose_clock_is_behind_the_log_goes_on_from_its_last_record() {
    let mut cluster = Cluster::prepare(1, &[]);
    let time_ns = written_an_hour_ahead(&cluster.data(0));
    cluster.start_member(0);
    cluster.primary();
    add(cluster.member(0));
    // Its successor finds what it needs on disk, and a new primary does.
    cluster.kill(0);
    cluster.start_member(0);
    cluster.primary();
    add(cluster.member(0));
    await_that("it says that its clock is behind", || warnings(cluster.member(0)) == 1);
    cluster.stop(0);
    // Two terms have begun, and two deposits came.
    assert_eq!(times(&cluster.data(0)), [time_ns; 5]);
}
