//! The key-value store under 64 clients while every kind of process is killed, and the whole primary: what was acknowledged is there, each
//! request id is answered once, and the calls on each key have an order.
//!
//! `VAULT_TEST_KV_CALLS` says how many calls there are to be; without it, 10,000 of a cluster and a quarter as many of one instance. A million take
//! some minutes of a release build. Who is killed in which order is drawn from a seed that is printed; `VAULT_TEST_SEED` has that order again.

use crate::{cluster, kv, kv_caller, kv_callers, kv_histories, kv_members, server, turmoil};

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use bank_vault::base::onc_rpc::Credentials;
use cluster::Cluster;
use kv::{Kv, kv_options};
use kv_caller::Work;
use kv_callers::KvCallers;
use kv_histories::Compared;
use kv_members::{audited, equal_pairs, pairs_at};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server::{Server, await_that, lives};
use turmoil::Lots;

const CLIENTS: u32 = 64;
const CALLS: u64 = 10_000;
/// Calls that are answered between two kills, at least; twice as many in a long run.
const BETWEEN: u64 = 700;
/// Few keys that all clients use, and many that few of them use at a time.
const WORK: Work =
    Work { hot: 8, cold: 1000, usual: 300, longest: 65_536, credentials: Credentials::None, pause: Duration::ZERO };
/// More keys than a client can be behind with a call, and snapshots all the while; a cache process, of which nothing is asked.
const ARGS: &[&str] = &["--key-window", "300000", "--segment-records", "16384", "--snapshot-every", "100000"];
const WITH_CACHE: &[&str] = &["--getfile-upstream", "http://127.0.0.1:1"];

/// Whom a kill is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    Worker,
    Journal,
    Replica,
    Cache,
    /// The master: the kernel ends the others.
    Master,
    /// All processes at once.
    All,
}

/// The living process of a kind.
fn process(server: &Server, whom: Whom, lots: &mut Lots) -> Option<u32> {
    let workers = || server.workers_now();
    match whom {
        Whom::Worker => {
            let workers = workers();
            let place = lots.below(64) as usize % workers.len().max(1);
            workers.get(place).copied()
        }
        Whom::Journal => server.journal_now(),
        Whom::Replica => server.replica_now(),
        Whom::Cache => server.cache_now(),
        Whom::Master | Whom::All => Some(server.master),
    }
}

/// Kills a child of a server, and waits until it is started anew.
fn kill_child(server: &Server, whom: Whom, lots: &mut Lots) {
    let count = || server.children_now().len();
    let mut before = 0;
    let mut pid = None;
    await_that("there is one to be killed", || {
        before = count();
        pid = process(server, whom, lots);
        pid.is_some()
    });
    let pid = pid.unwrap();
    // Not our child: it may have ended.
    let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
    await_that("it is started anew", || !lives(pid) && process(server, whom, lots).is_some() && count() >= before);
}

/// Ends all processes of a server at once, or its master.
fn kill_server(server: &mut Server, whom: Whom) {
    if whom == Whom::Master {
        server.kill_master();
    } else {
        server.kill_all();
    }
    must_not_have_panicked(server);
}

fn must_not_have_panicked(server: &Server) {
    let said = server.stderr();
    assert!(!said.contains("panicked"), "{said}");
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Who is killed next, and when.
struct Order {
    lots: Lots,
    all: Vec<Whom>,
    left: Vec<Whom>,
    kills: BTreeMap<(Whom, bool), u32>,
    calls: u64,
    began: Instant,
}

impl Order {
    /// Of a run that has so many calls, if no other number is asked for.
    fn new(calls: u64, all: &[Whom]) -> Order {
        let seed = variable("VAULT_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
        println!("VAULT_TEST_SEED={seed} has these kills in this order again");
        Order {
            lots: Lots::new(seed),
            all: all.to_vec(),
            left: Vec::new(),
            kills: BTreeMap::new(),
            calls: variable("VAULT_TEST_KV_CALLS").unwrap_or(calls),
            began: Instant::now(),
        }
    }

    /// The next one, each once before one comes again; `None` when there were enough calls and each came.
    fn next(&mut self, callers: &KvCallers) -> Option<Whom> {
        let killed = self.kills.values().sum::<u32>() as usize;
        if callers.answered() >= self.calls && killed >= self.all.len() {
            return None;
        }
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
        }
        let between = if self.calls > CALLS { 2 * BETWEEN } else { BETWEEN };
        callers.await_answers(between + u64::from(self.lots.below(300)));
        let place = self.lots.below(u32::try_from(self.left.len()).unwrap()) as usize;
        Some(self.left.swap_remove(place))
    }

    fn count(&mut self, whom: Whom, is_primary: bool) {
        *self.kills.entry((whom, is_primary)).or_default() += 1;
    }

    /// Says what was done, and that it was as much as was asked for.
    fn tell(&self, compared: Compared) {
        let (calls, seconds) = (compared.writes + compared.reads, self.began.elapsed().as_secs_f32());
        println!("{calls} calls, {seconds:.1} s; kills, and whether of the primary: {:?}", self.kills);
        assert!(calls as u64 >= self.calls && compared.writes > calls / 5 && compared.reads > calls / 5);
    }
}

#[test]
fn a_cluster_keeps_its_promises_to_many_clients_while_all_processes_die() {
    let mut cluster = Cluster::prepare(3, ARGS).with_key_values();
    for index in 0..3 {
        let port = server::unused_port().to_string();
        cluster.set_own_args(index, &[&["--getfile-port", &port], WITH_CACHE].concat());
    }
    let mut cluster = cluster.started();
    let term = cluster.term(cluster.primary());
    let callers = KvCallers::start_with(cluster.kv_addresses(), CLIENTS, WORK);
    let mut order = Order::new(
        CALLS,
        &[
            Whom::Worker,
            Whom::All,
            Whom::Journal,
            Whom::Worker,
            Whom::Replica,
            Whom::Cache,
            Whom::Master,
            Whom::Worker,
            Whom::Journal,
            Whom::Replica,
        ],
    );
    while let Some(whom) = order.next(&callers) {
        // The primary more often than not; its whole death always.
        let primary = cluster.await_known_primary();
        let is_primary = whom == Whom::All || order.lots.below(3) > 0;
        let index = if is_primary { primary } else { cluster.another(primary) };
        order.count(whom, is_primary);
        if matches!(whom, Whom::All | Whom::Master) {
            kill_server(&mut cluster.servers[index].take().unwrap(), whom);
            callers.await_answers(100);
            cluster.start_member(index);
        } else {
            kill_child(cluster.member(index), whom, &mut order.lots);
        }
    }
    let compared = callers.must_be_linearizable();
    let pairs = equal_pairs(&mut cluster);
    println!("terms {term} to {}, {} keys", cluster.term(cluster.primary()), pairs.len());
    order.tell(compared);
    for index in [0, 1, 2] {
        must_not_have_panicked(cluster.member(index));
    }
    // Nothing is left in /dev/shm.
    [0, 1, 2].into_iter().for_each(|index| cluster.stop(index));
    let counts = thread::scope(|scope| {
        let audit = |index| {
            let data = cluster.data(index);
            scope.spawn(move || audited(&data))
        };
        [0, 1, 2].map(audit).map(|audit| audit.join().unwrap())
    });
    assert!(counts.iter().all(|of_one| *of_one == counts[0]) && counts[0][0] == pairs.len() as u64, "{counts:?}");
}

#[test]
fn one_instance_keeps_its_promises_to_many_clients_while_all_processes_die() {
    let port = server::unused_port().to_string();
    let options = kv_options(&[&["--workers", "4", "--getfile-port", &port], WITH_CACHE, ARGS].concat());
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut server = Server::start(&options);
    let address = kv::kv_address(&server);
    let callers = KvCallers::start_with(vec![address], CLIENTS, WORK);
    let mut order = Order::new(
        CALLS / 4,
        &[Whom::Worker, Whom::All, Whom::Journal, Whom::Worker, Whom::Cache, Whom::Worker, Whom::Master, Whom::Journal],
    );
    while let Some(whom) = order.next(&callers) {
        order.count(whom, true);
        if matches!(whom, Whom::All | Whom::Master) {
            kill_server(&mut server, whom);
            server.start_again(&[]);
        } else {
            kill_child(&server, whom, &mut order.lots);
        }
    }
    let compared = callers.must_be_linearizable();
    order.tell(compared);
    let pairs = pairs_at(&mut Kv::connect(address));
    must_not_have_panicked(&server);
    let output = server.end();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(audited(&server.data())[0], pairs.len() as u64);
}
