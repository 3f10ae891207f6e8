//! How long a client of a cluster waits when something of the primary dies or leadership goes to another member, under load.
//!
//! `VAULT_TEST_PAUSES=100 cargo test --release --locked --test server cluster_pauses -- --ignored --nocapture --test-threads 1` measures 100 of
//! each, and prints the rows of the table in `docs/PERFORMANCE.md`. It takes some ten minutes, and times mean something in a release build
//! only, so it is no part of the usual run. `VAULT_TEST_PAUSES_LOAD` says how many other clients there are.

use crate::{callers, cluster, server};

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use callers::Callers;
use cluster::{ACCOUNTS, Cluster};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server::{await_that, lives};

/// What befalls the primary.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Nothing, for comparison.
    Nothing,
    ReplicaKilled,
    Transferred,
    AllKilled,
}

impl Event {
    /// How long a client may wait.
    fn aim(self) -> Option<Duration> {
        match self {
            Event::Nothing => None,
            Event::ReplicaKilled => Some(Duration::from_millis(100)),
            Event::Transferred => Some(Duration::from_millis(200)),
            Event::AllKilled => Some(Duration::from_secs(3)),
        }
    }
}

/// Transfers without end, over connections of which each has one under way.
struct Background(Child);

impl Background {
    fn start(cluster: &Cluster, connections: u32) -> Background {
        let servers: Vec<_> = cluster.addresses().iter().map(ToString::to_string).collect();
        // Not those of the one whose answers are measured.
        let accounts = format!("{}-{}", callers::ACCOUNTS, ACCOUNTS - 1);
        let client = Command::new(env!("CARGO_BIN_EXE_client"))
            .args(["--server", &servers.join(","), "--connections", &connections.to_string(), "--accounts", &accounts])
            .args([
                "--duration",
                "24h",
                "--mix",
                "transfer=100",
                "--loops",
                "1",
                "--retry-for",
                "30s",
                "--timeout",
                "1s",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Background(client)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has that happen, and waits until it is over; the longest time that a client waited for an answer meanwhile.
fn pause(cluster: &mut Cluster, event: Event) -> Duration {
    /// Answers before and after.
    const AROUND: u64 = 100;
    let primary = cluster.primary();
    let term = cluster.term(primary);
    let callers = Callers::start(cluster.addresses(), 1);
    callers.await_answers(AROUND);
    match event {
        Event::Nothing => callers.await_answers(AROUND),
        Event::ReplicaKilled => {
            let replica = cluster.member(primary).replica_now().unwrap();
            kill(Pid::from_raw(i32::try_from(replica).unwrap()), Signal::SIGKILL).unwrap();
            await_that("the member leads again", || {
                !lives(replica)
                    && cluster.term(cluster.primary()) > term
                    && cluster.member(primary).replica_now().is_some()
            });
        }
        Event::Transferred => {
            let transfer = Command::new(env!("CARGO_BIN_EXE_vaultctl"))
                .args(["cluster", "transfer", "--instance", &cluster.member(primary).instance])
                .output()
                .unwrap();
            assert!(transfer.status.success(), "{transfer:?}");
            cluster.primary_but(Some(primary));
        }
        Event::AllKilled => {
            cluster.kill(primary);
            cluster.primary_but(Some(primary));
        }
    }
    callers.await_answers(AROUND);
    let calls = callers.finish();
    // A read that is repeated counts as begun anew, so it is the time between two answers that is looked at.
    let waited = calls.windows(2).map(|pair| pair[1].end - pair[0].end).max().unwrap();
    if let Event::AllKilled = event {
        cluster.start_member(primary);
        let done = cluster.applied(cluster.primary());
        cluster.await_applied(primary, done);
    }
    Duration::from_nanos(waited)
}

/// Measures as often as `VAULT_TEST_PAUSES` says, and prints a row of the table.
fn measure(event: Event) {
    let from_environment = |name, otherwise| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let times = from_environment("VAULT_TEST_PAUSES", 5);
    let connections = from_environment("VAULT_TEST_PAUSES_LOAD", 16);
    let mut cluster = Cluster::start(3, &[]);
    let background = Background::start(&cluster, connections);
    let mut waited: Vec<Duration> = (0..times).map(|_| pause(&mut cluster, event)).collect();
    drop(background);
    waited.sort_unstable();
    let at = |hundredths: usize| waited[(waited.len() * hundredths).div_ceil(100).max(1) - 1];
    let [p50, p99, most] = [at(50), at(99), at(100)].map(|pause| pause.as_secs_f64() * 1000.0);
    let aim = event.aim().map_or("-".to_owned(), |aim| aim.as_millis().to_string());
    println!("| what happens | times | other clients | p50 ms | p99 ms | longest ms | aim ms |");
    println!("| {event:?} | {times} | {connections} | {p50:.1} | {p99:.1} | {most:.1} | {aim} |");
    cluster.must_agree(&[]);
    // A debug build is slower, and so are others of its tests beside it.
    let is_kept = cfg!(debug_assertions) || event.aim().is_none_or(|aim| at(99) <= aim);
    assert!(is_kept, "clients waited longer than is promised");
}

#[test]
#[ignore = "it takes as long as VAULT_TEST_PAUSES says"]
fn while_nothing_happens() {
    measure(Event::Nothing);
}

#[test]
#[ignore = "it takes as long as VAULT_TEST_PAUSES says"]
fn when_the_replica_process_of_the_primary_is_killed() {
    measure(Event::ReplicaKilled);
}

#[test]
#[ignore = "it takes as long as VAULT_TEST_PAUSES says"]
fn when_leadership_is_handed_over() {
    measure(Event::Transferred);
}

#[test]
#[ignore = "it takes as long as VAULT_TEST_PAUSES says"]
fn when_the_primary_is_killed() {
    measure(Event::AllKilled);
}
