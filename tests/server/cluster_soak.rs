//! Random faults of a cluster, one after the other, under load. `VAULT_TEST_CLUSTER_SECONDS` says for how long; without it, for some
//! seconds.

use crate::{callers, checker, cluster, load, server, turmoil};

use std::time::{Duration, Instant};

use callers::Callers;
use checker::Ack;
use cluster::{ACCOUNTS, Cluster};
use load::Load;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server::await_that;
use turmoil::Lots;

const SECONDS: u64 = 10;
/// Calls that are answered between two faults.
const BETWEEN: u64 = 150;

/// What befalls a member.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Replica,
    Journal,
    Worker,
    Master,
    All,
    Stop,
    Pause,
}

const FAULTS: [Fault; 7] =
    [Fault::Replica, Fault::Journal, Fault::Worker, Fault::Master, Fault::All, Fault::Stop, Fault::Pause];

impl Cluster {
    /// Has that befall a member; afterwards it is, or comes, up again.
    fn befall(&mut self, index: usize, fault: Fault, callers: &Callers) {
        let member = self.member(index);
        let killed = match fault {
            Fault::Replica => member.replica_now(),
            Fault::Journal => member.journal_now(),
            Fault::Worker => member.workers_now().first().copied(),
            Fault::Master => {
                self.servers[index].take().unwrap().kill_master();
                None
            }
            Fault::All => {
                self.kill(index);
                None
            }
            Fault::Stop => {
                self.stop(index);
                None
            }
            Fault::Pause => {
                self.signal_all(index, Signal::SIGSTOP);
                callers.await_answers(BETWEEN);
                self.signal_all(index, Signal::SIGCONT);
                None
            }
        };
        if let Some(pid) = killed {
            // Not our child: it may have ended.
            let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
        }
        if self.servers[index].is_none() {
            callers.await_answers(BETWEEN);
            self.start_member(index);
        }
    }
}

#[test]
fn a_cluster_keeps_its_promises_whatever_befalls_one_of_it() {
    let seconds = std::env::var("VAULT_TEST_CLUSTER_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let seed = u64::from(std::process::id());
    let mut lots = Lots::new(seed);
    let mut cluster = Cluster::start(3, &[]);
    let callers = Callers::start(cluster.addresses(), 4);
    let until = Instant::now() + Duration::from_secs(seconds);
    let accounts = format!("{}-{}", callers::ACCOUNTS, ACCOUNTS - 1);
    let duration = format!("{seconds}s");
    let args = ["--connections", "4", "--pipeline", "2", "--rate", "500", "--timeout", "1s", "--accounts", &accounts];
    let mut load = Load::start_at(&cluster.addresses(), &[&args[..], &["--duration", &duration]].concat());
    await_that("the load has begun", || load.has_begun() || load.is_over());
    let mut befallen = Vec::new();
    while Instant::now() < until {
        callers.await_answers(BETWEEN);
        // The primary more often than not.
        let index = if lots.below(2) == 0 { cluster.primary() } else { lots.below(3) as usize };
        let fault = FAULTS[lots.below(7) as usize];
        befallen.push((index + 1, fault));
        println!("member {} of seed {seed}: {fault:?}", index + 1);
        cluster.befall(index, fault, &callers);
    }
    callers.await_answers(BETWEEN);
    let brought = load.finish();
    brought.must_have_all_answers();
    let acks: Vec<Ack> = brought.acks;
    println!("{} faults, {} answers, {:?}", befallen.len(), acks.len(), callers.must_be_linearizable());
    assert!(!befallen.is_empty());
    cluster.must_agree(&acks);
}
