//! One of three fails under load: nothing that was acknowledged is lost, nothing is done twice, and the others go on soon.

use crate::{bank, callers, cluster, load, server};

use std::time::{Duration, Instant};

use bank::{Bank, deposit};
use bank_vault::base::crash_point::VARIABLE;
use bank_vault::base::vocab::AccountId;
use bank_vault::service::bank::wire::{Request, Response};
use callers::Callers;
use cluster::Cluster;
use load::{Brought, Load, UNTIL_TOLD};
use nix::sys::signal::Signal;
use server::{await_that, send};

/// Answers that come before anything is done to the servers.
const BEFORE: u64 = 200;

/// A load on all three, which has begun, and goes on until it is told to end.
fn load_on(cluster: &Cluster) -> Load {
    let load = ["--connections", "6", "--pipeline", "2", "--rate", "800", "--verify", "--timeout", "1s"];
    let load = Load::start_at(&cluster.addresses(), &[&load[..], &["--duration", UNTIL_TOLD]].concat());
    await_that("the load has begun", || load.has_begun());
    let lsn = cluster.applied(cluster.primary());
    cluster.await_applied(cluster.primary(), lsn + BEFORE);
    load
}

/// Ends the load, when it is answered again after whatever was done.
fn finish(what: &str, cluster: &Cluster, load: Load) -> Brought {
    cluster.await_progress(BEFORE);
    let brought = load.end();
    brought.must_have_all_answers();
    println!(
        "{what}: {} answers, {} reconnects, longest pause {:?}",
        brought.acks.len(),
        brought.count("reconnects"),
        brought.longest_pause()
    );
    brought
}

#[test]
fn the_death_of_a_process_of_the_primary_costs_a_moment() {
    let cluster = Cluster::start(3, &[]);
    let primary = cluster.primary();
    let term = cluster.term(primary);
    let member = cluster.member(primary);
    // Its successor leads again at once, and clients keep their connections.
    let load = load_on(&cluster);
    send(member.replica_now().unwrap(), Signal::SIGKILL);
    await_that("it leads again", || cluster.term(primary) > term && cluster.primary() == primary);
    assert_eq!(cluster.term(primary), term + 1);
    let mut acks = finish("replica process", &cluster, load).acks;
    assert_eq!((cluster.primary(), cluster.term(primary)), (primary, term + 1));
    let replica = load_on(&cluster);
    send(member.replica_now().unwrap(), Signal::SIGKILL);
    let brought = finish("replica process again", &cluster, replica);
    assert_eq!(brought.count("reconnects"), 0, "{}", brought.report);
    assert!(brought.longest_pause() < Duration::from_secs(1), "{:?}", brought.longest_pause());
    acks.extend(brought.acks);
    let load = load_on(&cluster);
    send(member.journal_now().unwrap(), Signal::SIGKILL);
    let brought = finish("journal process", &cluster, load);
    assert_eq!(brought.count("reconnects"), 0, "{}", brought.report);
    assert!(brought.longest_pause() < Duration::from_secs(2), "{:?}", brought.longest_pause());
    acks.extend(brought.acks);
    assert_eq!(cluster.primary(), primary);
    let load = load_on(&cluster);
    send(member.workers_now()[0], Signal::SIGKILL);
    let brought = finish("worker", &cluster, load);
    assert!(brought.longest_pause() < Duration::from_secs(2), "{:?}", brought.longest_pause());
    acks.extend(brought.acks);
    assert_eq!((cluster.primary(), cluster.term(primary)), (primary, term + 2));
    cluster.must_agree(&acks);
}

#[test]
fn the_death_of_the_primary_loses_nothing() {
    let mut cluster = Cluster::start(3, &[]);
    let first = cluster.primary();
    let load = load_on(&cluster);
    let mut master = cluster.servers[first].take().unwrap();
    master.kill_master();
    drop(master);
    let second = cluster.primary();
    assert_ne!(first, second);
    cluster.start_member(first);
    let lsn = cluster.applied(second);
    cluster.await_applied(first, lsn);
    cluster.await_applied(cluster.another(second), lsn);
    let brought = finish("master", &cluster, load);
    assert!(brought.longest_pause() < Duration::from_secs(5), "{:?}", brought.longest_pause());
    let mut acks = brought.acks;
    let load = load_on(&cluster);
    let primary = cluster.primary();
    cluster.kill(primary);
    let brought = finish("all processes", &cluster, load);
    assert!(brought.longest_pause() < Duration::from_secs(5), "{:?}", brought.longest_pause());
    acks.extend(brought.acks);
    assert!(cluster.term(cluster.primary()) >= 3);
    cluster.must_agree(&acks);
}

#[test]
fn an_orderly_stop_hands_leadership_over() {
    let mut cluster = Cluster::start(3, &[]);
    let load = load_on(&cluster);
    let primary = cluster.primary();
    cluster.stop(primary);
    let next = cluster.primary();
    cluster.start_member(primary);
    let brought = finish("orderly stop", &cluster, load);
    assert!(brought.longest_pause() < Duration::from_secs(1), "{:?}", brought.longest_pause());
    assert_eq!(cluster.primary(), next, "who comes back follows");
    cluster.must_agree(&brought.acks);
}

#[test]
fn all_three_can_die_at_once() {
    let mut cluster = Cluster::start(3, &[]);
    let load = load_on(&cluster);
    for index in 0..3 {
        cluster.signal_all(index, Signal::SIGKILL);
    }
    for server in &mut cluster.servers {
        server.take().unwrap().wait();
    }
    cluster.start_members();
    let brought = finish("all three", &cluster, load);
    assert!(brought.longest_pause() < Duration::from_secs(10), "{:?}", brought.longest_pause());
    cluster.must_agree(&brought.acks);
}

#[test]
fn a_primary_that_was_stopped_for_a_while_tells_nothing_that_is_old() {
    let cluster = Cluster::start(3, &[]);
    let old = cluster.primary();
    let deposited = |bank: &mut Bank| match bank.call(&deposit(60, 100)).unwrap() {
        Response::Deposit { balance } => balance.0,
        other => panic!("{other:?}"),
    };
    let mut writer = Bank::demo(cluster.address(old));
    assert_eq!(deposited(&mut writer), 100_100);
    let mut readers: Vec<Bank> = (0..8).map(|_| Bank::demo(cluster.address(old))).collect();
    let callers = Callers::start(cluster.addresses(), 4);
    callers.await_answers(BEFORE);
    cluster.signal_all(old, Signal::SIGSTOP);
    let stopped = Instant::now();
    // They wait in its sockets.
    let read = Request::Balance { account: AccountId(50) };
    for reader in &mut readers[..4] {
        reader.send(&read).unwrap();
    }
    let new = cluster.primary_but(Some(old));
    let pause = stopped.elapsed();
    let mut writer = Bank::demo(cluster.address(new));
    assert!(matches!(writer.call(&deposit(50, 7)).unwrap(), Response::Deposit { balance } if balance.0 == 100_007));
    callers.await_answers(BEFORE);
    cluster.signal_all(old, Signal::SIGCONT);
    for reader in &mut readers[4..] {
        // Its connection may be closed already.
        let _ = reader.send(&read);
    }
    for reader in &mut readers {
        let answer = reader.read();
        assert!(matches!(answer, Err(_) | Ok((_, Response::Error { .. }))), "{answer:?}");
    }
    println!("another primary after {pause:?}");
    assert!(pause < Duration::from_secs(5), "{pause:?}");
    callers.await_answers(BEFORE);
    println!("{:?}", callers.must_be_linearizable());
    cluster.must_agree(&[]);
}

#[test]
fn calls_have_one_order_through_failovers() {
    let mut cluster = Cluster::start(3, &[]);
    let callers = Callers::start(cluster.addresses(), 6);
    for _ in 0..2 {
        callers.await_answers(BEFORE);
        let primary = cluster.primary();
        send(cluster.member(primary).replica_now().unwrap(), Signal::SIGKILL);
        callers.await_answers(BEFORE);
        let primary = cluster.primary();
        cluster.kill(primary);
        callers.await_answers(BEFORE);
        cluster.start_member(primary);
    }
    callers.await_answers(BEFORE);
    let compared = callers.must_be_linearizable();
    println!("{compared:?}");
    assert!(compared.writes > 200 && compared.reads > 200, "{compared:?}");
    cluster.must_agree(&[]);
}

#[test]
fn a_replica_process_that_dies_before_it_wakes_who_waits_leaves_nobody_waiting() {
    let mut cluster = Cluster::prepare(1, &[]);
    // It has taken the worker's note that it waits: nobody else would wake it.
    cluster.start_member_with(0, &[(VARIABLE, "replica:replica.note-taken")]);
    cluster.primary();
    let mut bank = Bank::demo(cluster.address(0));
    let asked = Instant::now();
    assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { balance } if balance.0 == 100_001));
    let waited = asked.elapsed();
    assert_eq!(cluster.member(0).stats().replica_row().life.deaths.get(), 1, "it died there");
    println!("answered after {waited:?}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    cluster.must_agree(&[]);
}

#[test]
fn what_a_follower_has_and_its_new_primary_has_not_is_cut_off_while_it_runs() {
    let mut cluster = Cluster::prepare(3, &[]);
    for index in 0..3 {
        // Its journal process dies in the middle of the first truncation, and the next one finishes that.
        cluster.start_member_with(index, &[(VARIABLE, "journal:journal.truncation-begun")]);
    }
    let old = cluster.primary();
    let [ahead, other] = [1, 2].map(|next| (old + next) % 3);
    let mut bank = Bank::demo(cluster.address(old));
    assert!(matches!(bank.call(&deposit(1, 1)).unwrap(), Response::Deposit { .. }));
    cluster.await_equal();
    // One follower gets what the primary itself never has on its disk: so it is committed nowhere. The other one is not only stopped: it
    // would find it in its socket.
    cluster.kill(other);
    send(cluster.member(old).journal_now().unwrap(), Signal::SIGSTOP);
    let on_disk = |cluster: &Cluster, index| cluster.member(index).stats().table().sequencer().on_disk().0.0;
    let before = on_disk(&cluster, ahead);
    for account in 2..20 {
        bank.send(&deposit(account, 1)).unwrap();
    }
    await_that("the follower has on its disk what is not committed", || on_disk(&cluster, ahead) >= before + 18);
    assert_eq!(cluster.applied(ahead), before);
    cluster.signal_all(ahead, Signal::SIGSTOP);
    cluster.kill(old);
    cluster.start_member(other);
    cluster.start_member(old);
    let new = cluster.primary_but(Some(ahead));
    let mut bank = Bank::demo(cluster.address(new));
    assert!(matches!(bank.call(&deposit(1, 5)).unwrap(), Response::Deposit { balance } if balance.0 == 100_006));
    cluster.signal_all(ahead, Signal::SIGCONT);
    cluster.await_equal();
    let instance = cluster.member(ahead).stats();
    let (truncated, remakes) = (instance.table().sequencer().truncated(), instance.replica_row().remakes.get());
    assert_eq!((truncated, remakes), (1, 0), "cut once, and nothing was made again");
    assert_eq!(instance.journal_row().life.deaths.get(), 1, "in the middle of it");
    drop(instance);
    cluster.must_agree(&[]);
}
