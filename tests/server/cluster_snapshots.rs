//! Members that are so far behind that the others have not their next record any more: they are sent a snapshot.

use crate::{bank, cluster, server};

use std::fs;
use std::path::Path;
use std::process::Command;

use bank::{Bank, deposit};
use bank_vault::base::crash_point::VARIABLE;
use bank_vault::base::vocab::ReplicaRole;
use bank_vault::service::bank::wire::Response;
use bank_vault::store::cluster::read_state;
use bank_vault::store::journal::{Directory, Reader};
use cluster::{Cluster, empty};
use nix::sys::signal::Signal;
use server::{await_that, send};

/// Small segments, snapshots often, and few remembered keys, so that little of the journal stays.
const TRIMMED: &[&str] = &["--segment-records", "4096", "--snapshot-every", "5000", "--key-window", "1000"];

/// The first record that a member's journal has.
fn oldest(data: &Path) -> u64 {
    let directory = Directory::open(data).unwrap();
    Reader::open(&directory).oldest().unwrap().map_or(1, |lsn| lsn.0)
}

/// Deposits without a key, many at a time, until something holds.
fn deposit_until(cluster: &Cluster, index: usize, what: &str, mut holds: impl FnMut() -> bool) {
    let mut bank = Bank::demo(cluster.address(index));
    await_that(what, || {
        for _ in 0..1000 {
            bank.send(&deposit(7, 1)).unwrap();
        }
        for _ in 0..1000 {
            let answered = bank.read().unwrap().1;
            assert!(matches!(answered, Response::Deposit { .. }), "{answered:?}");
        }
        holds()
    });
}

/// Deposits until the journal of `index` begins behind record `beyond`.
fn fill(cluster: &Cluster, index: usize, beyond: u64) {
    deposit_until(cluster, index, "the journal begins behind that record", || oldest(&cluster.data(index)) > beyond);
}

/// Whether the journal of a member passes the audit.
fn must_pass_the_audit(data: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_vaultctl")).arg("audit").arg("--data").arg(data).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// How many snapshots a member has sent.
fn sent(cluster: &Cluster, index: usize) -> u64 {
    cluster.member(index).stats().control().cluster.snapshots_sent.get()
}

/// Asks for leadership to be handed over to a member; whether it was.
fn transfer(cluster: &Cluster, primary: usize, to: usize) -> bool {
    let instance = &cluster.member(primary).instance;
    let words = ["cluster", "transfer", &(to + 1).to_string(), "--instance", instance];
    Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(words).output().unwrap().status.success()
}

/// The most memory that a process has had of its own, KiB (`VmHWM` less what is shared or of files, proc_pid_status(5)).
fn most_memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    value("VmHWM:") - value("RssFile:") - value("RssShmem:")
}

/// Three members, of which one is down, and so far behind that the log does not reach back to where it was.
struct Behind {
    cluster: Cluster,
    primary: usize,
    behind: usize,
    /// The last operation that it had.
    had: u64,
}

impl Behind {
    fn new() -> Behind {
        let mut cluster = Cluster::start(3, TRIMMED);
        let primary = cluster.primary();
        let behind = cluster.another(primary);
        let had = cluster.await_equal();
        cluster.kill(behind);
        fill(&cluster, primary, had + 1);
        Behind { cluster, primary, behind, had }
    }
}

/// Ends the cluster, after all members were found to have the same, in the journal of each as well.
fn must_agree(mut cluster: Cluster) {
    let primary = cluster.primary();
    let lsn = cluster.await_equal();
    let balances = cluster.balances(primary, lsn);
    for index in cluster.living() {
        assert_eq!(cluster.balances(index, lsn), balances, "members {index} and {primary}");
    }
    for index in cluster.living() {
        cluster.stop(index);
        must_pass_the_audit(&cluster.data(index));
        assert!(!cluster.data(index).join("incoming").exists());
        let state = read_state(&Directory::open(&cluster.data(index)).unwrap()).unwrap().unwrap();
        assert!(!state.install);
    }
}

#[test]
fn a_member_that_is_far_behind_is_sent_a_snapshot_and_knows_keys() {
    let Behind { mut cluster, primary, behind, had } = Behind::new();
    let key = Some([5; 16]);
    let first = Bank::demo(cluster.address(primary)).call_with_key(&deposit(3, 77), key).unwrap();
    cluster.start_member(behind);
    cluster.await_equal();
    assert!(sent(&cluster, primary) >= 1, "it came by the log");
    for index in [primary, behind] {
        let most = most_memory(cluster.member(index).replica_now().unwrap());
        assert!(most < 64 << 10, "the replica process of member {index} has had {most} KiB");
    }
    assert!(oldest(&cluster.data(behind)) > had + 1, "its journal begins where the snapshot's does");
    // As the primary, it answers a repeated request as before.
    cluster.await_equal();
    let primary = cluster.primary();
    // It is connected again a moment after it has started again from the snapshot.
    await_that("it takes leadership over", || {
        cluster.role(behind) == ReplicaRole::Primary || transfer(&cluster, primary, behind)
    });
    await_that("it is the primary", || cluster.role(behind) == ReplicaRole::Primary);
    let before = cluster.await_equal();
    assert_eq!(Bank::demo(cluster.address(behind)).call_with_key(&deposit(3, 77), key).unwrap(), first);
    assert_eq!(cluster.await_equal(), before, "it was done once");
    must_agree(cluster);
}

#[test]
fn a_snapshot_that_is_broken_off_is_begun_again() {
    let Behind { mut cluster, primary, behind, had } = Behind::new();
    // The receiver dies, all of it, at three places of the transfer, or when that is over; then the process that sends.
    for place in ["", "snapshot", "journal"] {
        cluster.start_member(behind);
        let incoming = cluster.data(behind).join("incoming").join(place);
        await_that("a snapshot comes, or has come", || incoming.exists() || cluster.applied(behind) > had + 1);
        cluster.kill(behind);
    }
    cluster.start_member(behind);
    send(cluster.member(primary).replica_now().unwrap(), Signal::SIGKILL);
    must_agree(cluster);
}

#[test]
fn a_snapshot_that_was_ordered_is_installed_though_the_process_dies_that_ordered_it() {
    let Behind { mut cluster, behind, had, .. } = Behind::new();
    cluster.start_member_with(behind, &[(VARIABLE, "replica:replica.install-ordered")]);
    cluster.await_equal();
    assert_eq!(cluster.member(behind).stats().replica_row().life.deaths.get(), 1, "it died there");
    assert!(oldest(&cluster.data(behind)) > had + 1);
    must_agree(cluster);
}

#[test]
fn one_with_an_empty_disk_gets_a_log_that_is_longer_than_its_ring() {
    let mut cluster = Cluster::start(3, &[]);
    let primary = cluster.primary();
    let behind = cluster.another(primary);
    let capacity = cluster.member(primary).stats().table().sequencer().capacity();
    deposit_until(&cluster, primary, "the log is longer than a ring", || cluster.applied(primary) > capacity + 1000);
    cluster.kill(behind);
    empty(&cluster.data(behind));
    cluster.start_member(behind);
    // What the primary sends first has no place in its ring.
    cluster.await_equal();
    assert_eq!(sent(&cluster, primary), 0, "it came by the log");
    must_agree(cluster);
}
