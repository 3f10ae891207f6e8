//! Random faults of a cluster, one after the other, under load. `VAULT_TEST_CLUSTER_SECONDS` says for how long; without it, for some
//! seconds. Which come in which order is drawn from a seed that is printed; `VAULT_TEST_SEED` has that order again.

use crate::{callers, checker, cluster, load, server, turmoil};

use std::process::Command;
use std::time::{Duration, Instant};

use bank_vault::base::vocab::ReplicaRole;
use bank_vault::store::cluster::ClusterView;
use callers::Callers;
use checker::Ack;
use cluster::{ACCOUNTS, Cluster, empty};
use load::Load;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server::{Server, await_that};
use turmoil::Lots;

const SECONDS: u64 = 5;
/// Calls that are answered between two faults.
const BETWEEN: u64 = 150;
/// The member whose disk may be full, where one can be; it has so many mebibytes.
const ON_SMALL_DISK: usize = 2;
const MEBIBYTES: u32 = 4096;
/// Small segments, so that a full disk is soon felt.
const ARGS: &[&str] = &["--segment-records", "4096", "--keep-journal"];
/// For how long a disk is full, if nobody notices.
const FULL: Duration = Duration::from_secs(5);

/// What `vaultctl cluster` says where an earlier primary has done what it is asked for, and could not say so.
const ALREADY: [&str; 3] = ["is a member already", "votes already", "is no member"];

/// What befalls a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Replica,
    Journal,
    Worker,
    Master,
    All,
    Stop,
    Pause,
    Upgrade,
    Transfer,
    Emptied,
    AddAndRemove,
    CutOff,
    CutOut,
    CutIn,
    DiskFull,
}

/// What needs nobody's leave.
const FAULTS: [Fault; 11] = [
    Fault::Replica,
    Fault::Journal,
    Fault::Worker,
    Fault::Master,
    Fault::All,
    Fault::Stop,
    Fault::Pause,
    Fault::Upgrade,
    Fault::Transfer,
    Fault::Emptied,
    Fault::AddAndRemove,
];
/// What wants root.
const MACHINES: [Fault; 4] = [Fault::CutOff, Fault::CutOut, Fault::CutIn, Fault::DiskFull];

/// Faults and whom they befall, by a seed: each once before one comes again.
struct Order {
    lots: Lots,
    all: Vec<Fault>,
    left: Vec<Fault>,
    /// How long a fault lasts that has no end of its own, at most: so often [`BETWEEN`].
    longest: u32,
}

/// What comes next.
struct Next {
    fault: Fault,
    /// The primary, where it is none.
    member: Option<usize>,
    /// The answers that it lasts for.
    answers: u64,
}

impl Order {
    fn next(&mut self) -> Next {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
        }
        let place = self.lots.below(u32::try_from(self.left.len()).unwrap()) as usize;
        let fault = self.left.swap_remove(place);
        // The primary more often than not.
        let (of_primary, member) = (self.lots.below(2) == 0, self.lots.below(3) as usize);
        let answers = BETWEEN * u64::from(1 + self.lots.below(self.longest));
        Next { fault, member: (!of_primary).then_some(member), answers }
    }
}

fn view(server: &Server) -> ClusterView {
    server.stats().control().cluster.view()
}

/// Runs `vaultctl` against an instance; whether it succeeds, and what it says.
fn vaultctl(server: &Server, words: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vaultctl"))
        .args(words)
        .args(["--instance", &server.instance])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

fn kill_one(pid: Option<u32>) {
    if let Some(pid) = pid {
        // Not our child: it may have ended.
        let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
    }
}

impl Cluster {
    /// Has that befall a member; afterwards it is, or comes, up again.
    fn befall(&mut self, index: usize, fault: Fault, answers: u64, callers: &Callers) {
        let member = self.member(index);
        match fault {
            Fault::Replica => kill_one(member.replica_now()),
            Fault::Journal => kill_one(member.journal_now()),
            Fault::Worker => kill_one(member.workers_now().first().copied()),
            Fault::Master => self.servers[index].take().unwrap().kill_master(),
            Fault::All => self.kill(index),
            Fault::Stop => self.stop(index),
            Fault::Pause => {
                self.signal_all(index, Signal::SIGSTOP);
                callers.await_answers(answers);
                self.signal_all(index, Signal::SIGCONT);
            }
            Fault::Upgrade => {
                let (is_done, text) = vaultctl(member, &["upgrade"]);
                assert!(is_done && text.contains("upgraded"), "{text}{}", member.stderr());
            }
            Fault::Transfer => self.ask_primary("leadership is handed over", &["cluster", "transfer"]),
            Fault::Emptied => self.lose_disk(index, answers, callers),
            Fault::AddAndRemove => self.add_and_remove(callers),
            Fault::CutOff | Fault::CutOut | Fault::CutIn => self.cut(index, fault, answers, callers),
            Fault::DiskFull => self.fill_disk(callers),
        }
        if self.servers[index].is_none() {
            callers.await_answers(answers);
            self.start_member(index);
        }
    }

    fn cut(&self, index: usize, fault: Fault, answers: u64, callers: &Callers) {
        let network = self.network.as_ref().unwrap();
        let number = u8::try_from(index + 1).unwrap();
        match fault {
            Fault::CutOut => network.cut_out(number),
            Fault::CutIn => network.cut_in(number),
            _ => network.cut(number),
        }
        callers.await_answers(answers);
        network.mend(number);
        network.mend_ways(number);
    }

    fn fill_disk(&self, callers: &Callers) {
        let member = self.member(ON_SMALL_DISK);
        let complaints = || member.stderr().matches("No space left on device").count();
        let before = complaints();
        self.mount(ON_SMALL_DISK).fill();
        let until = Instant::now() + FULL;
        while complaints() == before && Instant::now() < until {
            callers.await_some_time();
        }
        println!("  the disk is full: {} complaints", complaints() - before);
        self.mount(ON_SMALL_DISK).give_room(MEBIBYTES);
    }

    /// Asks whoever is the primary until it agrees, or says that it is so already.
    fn ask_primary(&self, what: &str, words: &[&str]) {
        let mut said = String::new();
        await_that(what, || {
            let (is_done, text) = vaultctl(self.member(self.primary()), words);
            said = text;
            is_done || ALREADY.iter().any(|already| said.contains(already))
        });
        println!("  {}", said.trim_end());
    }

    /// All are voters, nobody else is a member, and each has what the primary had a moment ago: then one disk can be spared.
    fn await_whole(&self) {
        let all: Vec<u8> = (1..=3).collect();
        await_that("all are members and vote, as the primary knows", || {
            let mut members = view(self.member(self.primary())).members;
            members.sort_unstable_by_key(|member| member.replica);
            members.iter().map(|member| member.replica).eq(all.iter().copied())
                && members.iter().all(|member| member.role != ReplicaRole::Learner)
        });
        let lsn = self.applied(self.primary());
        (0..3).for_each(|index| self.await_applied(index, lsn));
    }

    /// A data directory is lost, and another node comes in the place of the one that it was.
    fn lose_disk(&mut self, index: usize, answers: u64, callers: &Callers) {
        self.await_whole();
        let old = view(self.member(index)).node;
        self.kill(index);
        empty(&self.data(index));
        callers.await_answers(answers);
        self.start_member(index);
        await_that("the old node is no member any more", || {
            view(self.member(self.primary())).members.iter().all(|member| member.node != old)
        });
        self.await_whole();
    }

    /// A fourth comes, votes, and goes again.
    fn add_and_remove(&self, callers: &Callers) {
        let (named, fourth) = self.start_another();
        self.ask_primary("a fourth is added", &["cluster", "add", &named]);
        self.ask_primary("a fourth votes", &["cluster", "promote", "4"]);
        callers.await_answers(BETWEEN);
        self.ask_primary("a fourth is removed", &["cluster", "remove", "4"]);
        drop(fourth);
        std::fs::remove_dir_all(self.data(3)).unwrap();
        self.await_whole();
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Has one after the other of these befall the members of a cluster, and holds that it keeps its promises.
fn keeps_its_promises(mut cluster: Cluster, faults: &[Fault]) {
    let (seconds, longest) = variable("VAULT_TEST_CLUSTER_SECONDS").map_or((SECONDS, 4), |seconds| (seconds, 20));
    let seed = variable("VAULT_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("VAULT_TEST_SEED={seed} has these faults in this order again");
    let mut order = Order { lots: Lots::new(seed), all: faults.to_vec(), left: Vec::new(), longest };
    let callers = Callers::start(cluster.addresses(), 4);
    let accounts = format!("{}-{}", callers::ACCOUNTS, ACCOUNTS - 1);
    let duration = format!("{seconds}s");
    let args = ["--connections", "4", "--pipeline", "2", "--rate", "500", "--timeout", "1s", "--accounts", &accounts];
    let mut load = Load::start_at(&cluster.addresses(), &[&args[..], &["--duration", &duration]].concat());
    await_that("the load has begun", || load.has_begun() || load.is_over());
    // On a busy machine that may have taken longer than the faults are to.
    let (began, mut befallen) = (Instant::now(), 0);
    while befallen == 0 || began.elapsed() < Duration::from_secs(seconds) {
        callers.await_answers(BETWEEN);
        let Next { fault, member, answers } = order.next();
        let index = member.unwrap_or_else(|| cluster.primary());
        let whom = match (fault, member) {
            (Fault::Transfer | Fault::AddAndRemove, _) => String::new(),
            (Fault::DiskFull, _) => format!(" of member {}", ON_SMALL_DISK + 1),
            (_, Some(_)) => format!(" of member {}", index + 1),
            (_, None) => format!(" of the primary, member {}", index + 1),
        };
        println!("{:6.1} s: {fault:?}{whom}, for {answers} answers", began.elapsed().as_secs_f64());
        befallen += 1;
        cluster.befall(index, fault, answers, &callers);
    }
    callers.await_answers(BETWEEN);
    let brought = load.finish();
    brought.must_have_all_answers();
    let acks: Vec<Ack> = brought.acks;
    println!("{befallen} faults, {} answers, {:?}", acks.len(), callers.must_be_linearizable());
    cluster.must_agree(&acks);
}

#[test]
fn a_cluster_keeps_its_promises_whatever_befalls_one_of_it() {
    keeps_its_promises(Cluster::start(3, ARGS), &FAULTS);
}

#[test]
#[ignore = "needs root, to make network namespaces and to mount a file system"]
fn a_cluster_keeps_its_promises_whatever_befalls_a_machine_of_it() {
    let mut cluster = Cluster::prepare_apart(3, ARGS);
    cluster.put_into_memory(ON_SMALL_DISK, MEBIBYTES);
    // All of it, if there is time; the others have a test of their own.
    let is_long = variable("VAULT_TEST_CLUSTER_SECONDS").is_some();
    let all = if is_long { [&FAULTS[..], &MACHINES].concat() } else { MACHINES.to_vec() };
    keeps_its_promises(cluster.started(), &all);
}
