//! Who is a member of a cluster and who leads, as operators have it: leadership handed over under load, members added and removed, and an
//! instance that has lost its data directory.

use crate::{bank, cluster, load, server};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bank::{Bank, deposit, withdraw};
use bank_vault::base::vocab::ReplicaRole;
use bank_vault::ipc::process::monotonic_ns;
use bank_vault::service::bank::wire::{Response, Status};
use bank_vault::store::cluster::{ClusterView, read_state};
use bank_vault::store::journal::Directory;
use cluster::{Cluster, empty};
use load::{UNTIL_TOLD, end};
use serde_json::Value;
use server::{Server, await_that, unused_port};

const ARGS: &[&str] = &["--workers", "2", "--accounts", "100", "--initial-balance", "1000.00"];

/// Runs `vaultctl cluster` against a member's instance; its exit code and all that it says.
fn ask(server: &Server, words: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vaultctl"))
        .arg("cluster")
        .args(words)
        .args(["--instance", &server.instance])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

fn status(server: &Server) -> Value {
    let (code, text) = ask(server, &["status", "--json"]);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn view(server: &Server) -> ClusterView {
    server.stats().control().cluster.view()
}

/// The numbers of those that a member takes for members, and what each is to it.
fn members(server: &Server) -> Vec<(u8, ReplicaRole)> {
    let mut members: Vec<_> = view(server).members.iter().map(|member| (member.replica, member.role)).collect();
    members.sort_unstable_by_key(|member| member.0);
    members
}

fn numbers(server: &Server) -> Vec<u8> {
    members(server).into_iter().map(|member| member.0).collect()
}

/// What stands in a member's DATA/raft, by numbers: voters, and learners.
fn kept(server: &Server) -> (Vec<u8>, Vec<u8>) {
    let state = read_state(&Directory::open(&server.data()).unwrap()).unwrap().unwrap();
    let numbers = |members: &[bank_vault::store::cluster::Member]| {
        let mut numbers: Vec<_> = members.iter().map(|member| member.replica.number()).collect();
        numbers.sort_unstable();
        numbers
    };
    (numbers(&state.membership.voters), numbers(&state.membership.learners))
}

/// The balances of all accounts, as of the last operation that is committed there; the first line names it.
fn balances(server: &Server) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(["export", "--instance", &server.instance]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Holds that these members come to the same balances, as of the same operation, while nobody writes.
fn must_be_equal(servers: &[&Server]) {
    let applied = |server: &Server| {
        let instance = server.stats();
        let sequencer = instance.table().sequencer();
        (instance.table().order().now().lsn.0, sequencer.committed().0.0)
    };
    await_that("all have applied the same, which is committed", || {
        let first = applied(servers[0]);
        first.0 == first.1 && servers.iter().all(|server| applied(server) == first)
    });
    let first = balances(servers[0]);
    for server in &servers[1..] {
        assert_eq!(balances(server), first);
    }
}

/// A verified load on all members, of keyed operations that are asked again where they were not answered. It goes on until it is told to
/// end.
fn begin_load(cluster: &Cluster) -> Child {
    let servers: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    Command::new(env!("CARGO_BIN_EXE_client"))
        .args(["--server", &servers.join(","), "--connections", "8", "--duration", UNTIL_TOLD])
        .args(["--rate", "2000", "--verify"])
        .args(["--retry-for", "30", "--mix", "transfer=50,withdraw=25,deposit=25"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn well(load: Child) {
    let text = end(load);
    assert!(text.contains("verify: OK"), "{text}");
}

fn await_traffic(server: &Server, operations: u64) {
    let instance = server.stats();
    let before = instance.table().order().now().lsn.0;
    await_that("there is traffic", || instance.table().order().now().lsn.0 > before + operations);
}

/// Somebody who withdraws more than there is, wherever that is taken, and measures the longest time between two answers. Under a key that
/// is an operation of the log like any other, and moves no money.
struct Prober {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Prober {
    fn start(addresses: Vec<SocketAddr>) -> Prober {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let (mut longest, mut last, mut key) = (Duration::ZERO, Instant::now(), 0_u128);
            while !over.load(Ordering::Relaxed) {
                for address in &addresses {
                    let Ok(mut bank) = Bank::try_connect(*address) else { continue };
                    if !matches!(bank.login("demo", "demo"), Ok(Ok(()))) {
                        continue;
                    }
                    let mut ask = || {
                        key += 1;
                        bank.call_with_key(&withdraw(1, 1_000_000_000_000), Some(key.to_be_bytes()))
                    };
                    while let Ok(Response::Error { status: Status::Insufficient, .. }) = ask() {
                        longest = longest.max(last.elapsed());
                        last = Instant::now();
                        if over.load(Ordering::Relaxed) {
                            return longest;
                        }
                    }
                }
            }
            longest.max(last.elapsed())
        });
        Prober { is_over, thread }
    }

    /// The longest time without an answer.
    fn finish(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn leadership_is_handed_over_under_load() {
    let cluster = Cluster::start(3, &[]);
    let client = begin_load(&cluster);
    let prober = Prober::start(cluster.addresses());
    for turn in 0..3 {
        let primary = cluster.primary();
        await_traffic(cluster.member(primary), 500);
        let next = (primary + 1) % 3;
        let term = view(cluster.member(primary)).term;
        let number = (next + 1).to_string();
        // The last time to whoever has most of the log.
        let words: &[&str] = if turn < 2 { &["transfer", &number] } else { &["transfer"] };
        let (code, text) = ask(cluster.member(primary), words);
        assert!(code == 0 && text.contains("leads, in term"), "{text}");
        let new = cluster.primary();
        assert!(new != primary && (new == next || turn == 2), "{text}");
        assert!(view(cluster.member(new)).term > term);
    }
    well(client);
    let pause = prober.finish();
    println!("the longest time without an answer, over three hand-overs: {pause:?}");
    assert!(pause < Duration::from_secs(2), "{pause:?}");
    must_be_equal(&[0, 1, 2].map(|index| cluster.member(index)));
    let remakes = (0..3).map(|index| status(cluster.member(index))["remakes"].as_u64().unwrap());
    assert_eq!(remakes.sum::<u64>(), 0, "nothing was executed that the log does not have");
}

#[test]
fn an_instance_that_lost_its_disk_comes_back_by_itself() {
    let mut cluster = Cluster::start(3, &[]);
    let client = begin_load(&cluster);
    let primary = cluster.primary();
    await_traffic(cluster.member(primary), 500);
    let lost = (primary + 1) % 3;
    let old = view(cluster.member(lost)).node;
    cluster.kill(lost);
    empty(&cluster.data(lost));
    await_traffic(cluster.member(primary), 500);
    cluster.start_member(lost);
    let third = 3 - primary - lost;
    await_that("the new node gets the log, or has it", || {
        let view = view(cluster.member(primary));
        view.members.len() > 3 || view.members.iter().all(|member| member.node != old)
    });
    // Another leader goes on with it.
    let (code, text) = ask(cluster.member(primary), &["transfer", &(third + 1).to_string()]);
    assert_eq!(code, 0, "{text}");
    let all = vec![1, 2, 3];
    await_that("the new node votes in the place of the old one, as each member knows, durably", || {
        (0..3).all(|index| {
            let view = view(cluster.member(index));
            numbers(cluster.member(index)) == all
                && view.members.iter().all(|member| member.node != old && member.role != ReplicaRole::Learner)
                && kept(cluster.member(index)) == (all.clone(), vec![])
        })
    });
    assert_ne!(view(cluster.member(lost)).node, old, "it is another node");
    well(client);
    must_be_equal(&[0, 1, 2].map(|index| cluster.member(index)));
    // It counts: without another one the cluster goes on.
    cluster.kill(third);
    let leads = cluster.primary();
    let mut bank = Bank::demo(cluster.addresses()[leads]);
    assert!(matches!(bank.call(&deposit(1, 1)), Ok(Response::Deposit { .. })));
    must_be_equal(&[cluster.member(primary), cluster.member(lost)]);
}

/// The founders' peers and one more, as `--peers` takes them.
fn with_a_fourth(cluster: &Cluster) -> (String, String) {
    let members = view(cluster.member(0)).members;
    let first: SocketAddr = members[0].peer_address.parse().unwrap();
    let fourth = SocketAddr::new(first.ip(), unused_port()).to_string();
    let peers: Vec<_> = members.iter().map(|member| format!("{}={}", member.replica, member.peer_address)).collect();
    (format!("{},4={fourth}", peers.join(",")), format!("4={fourth}"))
}

fn start_fourth(cluster: &Cluster, data: &PathBuf, peers: &str) -> Server {
    let secret = cluster.data(0).parent().unwrap().join("secret").display().to_string();
    let mut args = vec!["--replica-id", "4", "--peers", peers, "--cluster-secret", &secret];
    args.extend(ARGS);
    std::fs::create_dir_all(data).unwrap();
    Server::start_on(data, &args)
}

#[test]
fn the_books_of_one_become_those_of_all() {
    let mut cluster = Cluster::prepare(3, &[]);
    std::fs::create_dir_all(cluster.data(1)).unwrap();
    let alone = Server::start_on(&cluster.data(1), ARGS);
    let mut bank = Bank::demo(alone.address);
    for account in 1..50 {
        assert!(matches!(bank.call(&deposit(account, 10)), Ok(Response::Deposit { .. })));
    }
    assert!(alone.stop().status.success());
    cluster.start_members();
    assert_eq!(cluster.primary(), 1);
    await_that("all vote, durably", || (0..3).all(|index| kept(cluster.member(index)) == (vec![1, 2, 3], vec![])));
    must_be_equal(&[0, 1, 2].map(|index| cluster.member(index)));
    // They have what was before, too.
    cluster.kill(1);
    let next = cluster.primary();
    let mut bank = Bank::demo(cluster.address(next));
    assert!(matches!(bank.call(&withdraw(1, 100_010)), Ok(Response::Withdraw { .. })), "all that it had");
    must_be_equal(&[0, 2].map(|index| cluster.member(index)));
}

#[test]
fn a_fourth_is_added_and_one_is_removed() {
    let mut cluster = Cluster::start(3, &[]);
    let (peers, named) = with_a_fourth(&cluster);
    let data = cluster.data(3);
    let fourth = start_fourth(&cluster, &data, &peers);
    let primary = cluster.primary();
    let client = begin_load(&cluster);
    await_traffic(cluster.member(primary), 500);
    let (code, text) = ask(cluster.member(primary), &["add", &named]);
    assert!(code == 0 && text.contains("is a learner"), "{text}");
    let (code, text) = ask(cluster.member(primary), &["add", &named]);
    assert!(code == 1 && text.contains("is a member already"), "{text}");
    let (code, text) = ask(cluster.member(primary), &["transfer", "4"]);
    assert!(code == 1 && text.contains("does not vote"), "{text}");
    // Refused for as long as it is behind.
    let mut said = String::new();
    await_that("the learner has the log", || {
        let (code, text) = ask(cluster.member(primary), &["promote", "4"]);
        assert!(code == 0 || text.contains("has the log up to"), "{text}");
        said = text;
        code == 0
    });
    assert!(said.contains("replica 4 votes"), "{said}");
    await_that("all know four voters, durably", || {
        [0, 1, 2].map(|index| cluster.member(index)).into_iter().chain([&fourth]).all(|server| {
            kept(server) == (vec![1, 2, 3, 4], vec![])
                && members(server).iter().all(|member| member.1 != ReplicaRole::Learner)
        })
    });
    let (code, text) = ask(cluster.member(primary), &["promote", "4"]);
    assert!(code == 1 && text.contains("votes already"), "{text}");
    let gone = (primary + 1) % 3;
    let number = (gone + 1).to_string();
    let (code, text) = ask(cluster.member(primary), &["remove", &number]);
    assert!(code == 0 && text.contains("is no member any more"), "{text}");
    let (code, text) = ask(cluster.member(primary), &["remove", &number]);
    assert!(code == 1 && text.contains("is no member"), "{text}");
    well(client);
    cluster.kill(gone);
    let third = 3 - primary - gone;
    let left: Vec<u8> = (1..=4).filter(|&member| usize::from(member) != gone + 1).collect();
    for server in [cluster.member(primary), cluster.member(third), &fourth] {
        await_that("the others know", || numbers(server) == left && kept(server) == (left.clone(), vec![]));
    }
    must_be_equal(&[cluster.member(primary), cluster.member(third), &fourth]);
    // The new one leads like any other.
    let (code, text) = ask(cluster.member(primary), &["transfer", "4"]);
    assert!(code == 0 && text.contains("replica 4 leads"), "{text}");
    let mut bank = Bank::demo(fourth.address);
    assert!(matches!(bank.call(&deposit(1, 1)), Ok(Response::Deposit { .. })));
    must_be_equal(&[cluster.member(primary), cluster.member(third), &fourth]);
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let cluster = Cluster::start(3, &[]);
    let primary = cluster.primary();
    let follower = (primary + 1) % 3;
    let leads = format!("that is replica {}, with clients at {}", primary + 1, cluster.addresses()[primary]);
    await_that("the follower knows who leads", || {
        status(cluster.member(follower))["primary"]["replica"] == primary + 1
    });
    for words in [&["transfer"][..], &["promote", "1"], &["remove", "1"], &["add", "4=127.0.0.1:9"]] {
        let (code, text) = ask(cluster.member(follower), words);
        assert!(code == 1 && text.contains("not the primary") && text.contains(&leads), "{words:?}: {text}");
    }
    let own = (primary + 1).to_string();
    let server = cluster.member(primary);
    for (words, expected) in [
        (&["transfer", "7"][..], "replica 7 is no member"),
        (&["promote", "7"], "replica 7 is no member"),
        (&["remove", "7"], "replica 7 is no member"),
        (&["remove", &own], "is this instance, the primary; hand leadership over first"),
    ] {
        let (code, text) = ask(server, words);
        assert!(code == 1 && text.contains(expected), "{words:?}: {text}");
    }
    assert_eq!(ask(server, &["transfer", &own]).0, 0, "it leads already");
    for words in [&["add", "4"][..], &["add", "8=127.0.0.1:9"], &["remove", "0"], &["promote", "x"]] {
        assert_eq!(ask(server, words).0, 2, "{words:?}");
    }
    assert!(ask(server, &["status"]).1.contains("primary, term"));
    let alone = Server::start(&["--accounts", "10"]);
    let (code, text) = ask(&alone, &["status"]);
    assert!(code == 0 && text.contains("is by itself"), "{text}");
    let (code, text) = ask(&alone, &["transfer"]);
    assert!(code == 1 && text.contains("without --peers"), "{text}");
}

#[test]
fn one_that_does_not_answer_is_not_added_and_a_majority_is_kept() {
    let mut cluster = Cluster::start(3, &[]);
    let primary = cluster.primary();
    let (_, named) = with_a_fourth(&cluster);
    let (code, text) = ask(cluster.member(primary), &["add", &named]);
    assert!(code == 1 && text.contains("not done within") && text.contains("replica 4 at"), "{text}");
    assert_eq!(numbers(cluster.member(primary)), [1, 2, 3]);
    let down = (primary + 1) % 3;
    cluster.kill(down);
    let other = 3 - primary - down;
    let silent = |heard_ns| monotonic_ns().saturating_sub(heard_ns) > 1_000_000_000;
    await_that("it is known to be down", || {
        let members = view(cluster.member(primary)).members;
        members.iter().any(|member| usize::from(member.replica) == down + 1 && silent(member.heard_ns))
    });
    let (code, text) = ask(cluster.member(primary), &["remove", &(other + 1).to_string()]);
    assert!(code == 1 && text.contains("no majority"), "{text}");
    let (code, text) = ask(cluster.member(primary), &["transfer", &(down + 1).to_string()]);
    assert!(code == 1 && text.contains("is not connected"), "{text}");
    let (code, text) = ask(cluster.member(primary), &["remove", &(down + 1).to_string()]);
    assert!(code == 0, "{text}");
    assert_eq!(kept(cluster.member(primary)).0.len(), 2);
}
