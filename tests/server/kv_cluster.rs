//! The key-value store of three members: what is acknowledged is on all of them, whichever of them dies, hangs or is cut off.

use crate::{cluster, kv, kv_callers, kv_members, server};

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bank_vault::base::limits::{AFTER_WAIT_MILLISECONDS, KV_QUORUM_WAIT_MILLISECONDS};
use bank_vault::base::vocab::{Condition, Lsn, ReplicaRole};
use bank_vault::service::kv::wire::{KvRefusal, KvRequest};
use bank_vault::store::journal::{Directory, Reader};
use cluster::Cluster;
use kv::{Answer, Kv, get, put, put_once};
use kv_callers::KvCallers;
use kv_members::{connect, equal_pairs, get_after, must_agree, request_id, tells_nothing, vaultctl};
use nix::sys::signal::Signal;
use serde_json::Value;
use server::{await_that, send};

/// Answers that come before and after anything is done to the members.
const SOME: u64 = 60;
/// The longest value.
const LONGEST: u32 = 65_536;
/// Small segments, snapshots often, and few remembered keys, so that little of the journal stays.
const TRIMMED: &[&str] = &["--segment-records", "4096", "--snapshot-every", "5000", "--key-window", "1000"];

fn start(args: &[&str]) -> Cluster {
    Cluster::prepare(3, args).with_key_values().started()
}

#[test]
fn what_the_primary_has_written_is_read_from_all_and_written_nowhere_else() {
    let mut cluster = start(&[]);
    let primary = cluster.primary();
    let address = cluster.kv_address(primary).to_string();
    let mut writer = connect(&cluster, primary);
    let version = writer.put(b"colour", b"green");
    assert_eq!(writer.get(b"colour"), Some((version, b"green".to_vec())));
    for index in (0..3).filter(|&index| index != primary) {
        let mut reader = connect(&cluster, index);
        let found = reader.call(&get_after(b"colour", version)).unwrap();
        assert_eq!(found, Answer::Found(version, b"green".to_vec()), "it waits until it has applied that");
        let page = KvRequest::Scan { from: b"", prefix: b"col", limit: 0, after: Lsn(version) };
        assert_eq!(reader.call(&page).unwrap(), Answer::Page(vec![(b"colour".to_vec(), version, 5)], false));
        for ahead in [
            get_after(b"colour", version + 1000),
            KvRequest::Scan { from: b"", prefix: b"", limit: 1, after: Lsn(version + 1000) },
        ] {
            let asked = Instant::now();
            assert_eq!(reader.call(&ahead).unwrap(), Answer::Refused(KvRefusal::Behind));
            assert!(asked.elapsed() >= Duration::from_millis(AFTER_WAIT_MILLISECONDS), "{:?}", asked.elapsed());
        }
        let delete = KvRequest::Delete { request_id: None, key: b"colour", condition: Condition::Always };
        for write in [put(b"colour", b"red"), put_once(request_id(1), b"colour", b"red"), delete] {
            assert_eq!(reader.call(&write).unwrap(), Answer::Refused(KvRefusal::NotPrimary));
        }
        let node = reader.status();
        assert_eq!((node.primary, node.primary_address, node.keys), (false, address.clone(), 1));
        assert!(node.applied >= version && node.committed >= version && node.term > 0, "{version}");
    }
    let node = writer.status();
    assert_eq!((node.primary, node.primary_address, node.keys), (true, address.clone(), 1));
    for index in 0..3 {
        let name = &cluster.member(index).instance;
        let mut shown = Value::Null;
        await_that("it knows all members", || {
            shown = serde_json::from_str(&vaultctl(&["cluster", "status", "--instance", name, "--json"])).unwrap();
            shown["members"].as_array().unwrap().iter().all(|member| member["kv_address"] != "")
        });
        let mut of_members: Vec<_> =
            shown["members"].as_array().unwrap().iter().map(|member| member["kv_address"].as_str().unwrap()).collect();
        of_members.sort_unstable();
        let mut wanted: Vec<_> = cluster.kv_addresses().iter().map(ToString::to_string).collect();
        wanted.sort_unstable();
        assert_eq!(of_members, wanted);
        assert_eq!(shown["primary"]["kv_address"], address);
        for words in [&["cluster", "status", "--instance", name][..], &["inspect", "--instance", name]] {
            let text = vaultctl(words);
            assert!(wanted.iter().all(|address| text.contains(address)), "{text}");
        }
    }
    // What has no answer yet when leadership goes is answered by nobody; what a member has, all have.
    assert_eq!(equal_pairs(&mut cluster), [(b"colour".to_vec(), version, b"green".to_vec())]);
    must_agree(cluster);
}

#[test]
fn the_death_of_the_primary_loses_no_write_and_repeats_get_their_first_answers() {
    let mut cluster = start(&[]);
    let first = cluster.primary();
    let absent = |id, key, value| KvRequest::Put {
        request_id: Some(request_id(id)),
        key,
        value,
        condition: Condition::IfAbsent,
    };
    let gone = KvRequest::Delete { request_id: Some(request_id(3)), key: b"nothing", condition: Condition::Always };
    let asked = [put_once(request_id(1), b"done", b"once"), absent(2, b"done", b"twice"), gone];
    let mut kv = connect(&cluster, first);
    let answers: Vec<Answer> = asked.iter().map(|request| kv.call(request).unwrap()).collect();
    let version = answers[0].version();
    assert_eq!(answers[1..], [Answer::Mismatch(version), Answer::Refused(KvRefusal::NotFound)]);
    let callers = KvCallers::start(cluster.kv_addresses(), 4, 300);
    callers.await_answers(SOME);
    cluster.kill(first);
    let second = cluster.primary();
    callers.await_answers(SOME);
    let mut kv = connect(&cluster, second);
    // What was done meanwhile must not matter.
    let later = kv.put(b"nothing", b"something");
    assert!(later > version);
    let again: Vec<Answer> = asked.iter().map(|request| kv.call(request).unwrap()).collect();
    assert_eq!(again, answers, "the first answers");
    let other = kv.call(&put_once(request_id(1), b"done", b"another")).unwrap();
    assert_eq!(other, Answer::Refused(KvRefusal::Conflict));
    assert_eq!(kv.get(b"done"), Some((version, b"once".to_vec())));
    assert!(kv.put(b"done", b"again") > later, "versions rise");
    cluster.start_member(first);
    callers.await_answers(SOME);
    callers.must_be_linearizable();
    must_agree(cluster);
}

#[test]
fn the_death_of_a_process_of_the_primary_under_large_values_costs_a_moment() {
    let mut cluster = start(&["--segment-records", "16384"]);
    let primary = cluster.primary();
    let callers = KvCallers::start(cluster.kv_addresses(), 3, LONGEST);
    callers.await_answers(SOME);
    let kill = |pid: u32| {
        send(pid, Signal::SIGKILL);
        callers.await_answers(SOME);
    };
    let member = cluster.member(primary);
    kill(member.workers_now()[0]);
    kill(member.journal_now().unwrap());
    kill(member.workers_now()[1]);
    assert_eq!(cluster.primary(), primary);
    kill(member.replica_now().unwrap());
    kill(member.replica_now().unwrap());
    callers.must_be_linearizable();
    equal_pairs(&mut cluster);
}

/// The first record that a member's journal has.
fn oldest(data: &Path) -> u64 {
    let directory = Directory::open(data).unwrap();
    Reader::open(&directory).oldest().unwrap().map_or(1, |lsn| lsn.0)
}

#[test]
fn a_member_that_is_far_behind_is_sent_the_pairs_and_serves() {
    let mut cluster = start(TRIMMED);
    let primary = cluster.primary();
    let behind = cluster.another(primary);
    let mut kv = connect(&cluster, primary);
    kv.put(b"old", b"of before");
    let had = cluster.await_equal();
    cluster.kill(behind);
    let mut number = 0_u32;
    await_that("its journal begins behind what that member has", || {
        let name = |number: u32| format!("key-{}", number % 70).into_bytes();
        let values: Vec<_> =
            (number..number + 50).map(|number| (name(number), number.to_be_bytes().repeat(900))).collect();
        number += 50;
        let writes: Vec<_> = values.iter().map(|(key, value)| put(key, value)).collect();
        kv.send_all(&writes).unwrap();
        (0..writes.len()).for_each(|_| _ = kv.read().unwrap().version());
        kv.delete(&values[7].0);
        oldest(&cluster.data(primary)) > had + 1
    });
    let version = kv.call(&put_once(request_id(1), b"once", b"one")).unwrap().version();
    cluster.start_member(behind);
    await_that("it has applied all", || cluster.applied(behind) >= version);
    assert!(cluster.member(behind).stats().control().cluster.snapshots_installed.get() > 0);
    let found = connect(&cluster, behind).call(&get_after(b"once", version)).unwrap();
    assert_eq!(found, Answer::Found(version, b"one".to_vec()));
    let pairs = equal_pairs(&mut cluster);
    assert!(pairs.iter().any(|(key, ..)| key == b"old"));
    // As the primary it knows what was asked before.
    let instance = cluster.member(primary).instance.clone();
    await_that("leadership is handed over to it", || {
        let words = ["cluster", "transfer", &(behind + 1).to_string(), "--instance", &instance];
        Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(words).output().unwrap();
        cluster.role(behind) == ReplicaRole::Primary
    });
    let mut kv = connect(&cluster, behind);
    assert_eq!(kv.call(&put_once(request_id(1), b"once", b"one")).unwrap(), Answer::Written(version));
    assert!(kv.put(b"once", b"two") > version);
    must_agree(cluster);
}

#[test]
fn members_with_tables_of_other_sizes_refuse_each_other() {
    let mut cluster = start(&[]);
    let primary = cluster.primary();
    let other = cluster.another(primary);
    cluster.kill(other);
    cluster.set_own_args(other, &["--kv-mb", "32"]);
    cluster.start_member(other);
    let refused = |index: usize| cluster.member(index).stats().control().cluster.peers.read().refused.key_values;
    await_that("both sides refuse", || refused(other) > 0 && refused(primary) > 0);
    for index in [primary, other] {
        await_that("it says why", || {
            let told = cluster.member(index).stderr();
            told.contains("its key-value table has") && told.contains("--kv-mb must be the same on all members")
        });
    }
    // The others go on without it, and with it once it has the same.
    connect(&cluster, primary).put(b"key", b"value");
    cluster.stop(other);
    cluster.set_own_args(other, &[]);
    assert_eq!(equal_pairs(&mut cluster).len(), 1);
}

#[test]
fn a_primary_that_is_cut_off_shows_nothing_stale_and_what_it_had_executed_is_gone() {
    let mut cluster = start(&[]);
    let old = cluster.primary();
    let mut kv = connect(&cluster, old);
    let version = kv.put(b"key", b"before");
    kv.put(b"other", b"before");
    let mut clients: Vec<Kv> = (0..6).map(|_| connect(&cluster, old)).collect();
    for client in &mut clients {
        assert_eq!(client.get(b"key"), Some((version, b"before".to_vec())));
    }
    let remakes = |index: usize| cluster.member(index).stats().replica_row().remakes.get();
    assert_eq!(remakes(old), 0);
    // Without its replica process it hears of nobody, and nobody of it; its workers go on.
    let replica = cluster.member(old).replica_now().unwrap();
    send(replica, Signal::SIGSTOP);
    let (readers, writers) = clients.split_at_mut(3);
    for (number, writer) in writers.iter_mut().enumerate() {
        writer.send(&put(b"other", b"never seen")).unwrap();
        writer.send(&put(format!("lost-{number}").as_bytes(), &[7; LONGEST as usize])).unwrap();
    }
    await_that("the old primary has executed them", || kv.status().keys == 5);
    // What they read is committed, and nothing but a round can say that it is not old.
    readers.iter_mut().for_each(|reader| reader.send(&get(b"key")).unwrap());
    let new = cluster.primary_but(Some(old));
    let later = connect(&cluster, new).put(b"key", b"after");
    assert!(later > version);
    connect(&cluster, new).delete(b"other");
    for reader in readers {
        reader.stream.set_nonblocking(true).unwrap();
        assert_eq!(reader.read().unwrap_err().kind(), ErrorKind::WouldBlock);
        reader.stream.set_nonblocking(false).unwrap();
    }
    send(replica, Signal::SIGCONT);
    for client in &mut clients {
        let answer = client.read();
        assert!(tells_nothing(&answer), "{answer:?}");
    }
    await_that("the books of the old primary are remade", || remakes(old) > 0);
    let has_it = vec![(b"key".to_vec(), later, b"after".to_vec())];
    assert!(equal_pairs(&mut cluster) == has_it);
    // All of its processes stand still, and go on when there is another one.
    let old = cluster.primary();
    let mut reader = connect(&cluster, old);
    assert!(reader.get(b"key").is_some());
    cluster.signal_all(old, Signal::SIGSTOP);
    reader.send(&get(b"key")).unwrap();
    let new = cluster.primary_but(Some(old));
    let last = connect(&cluster, new).put(b"key", b"last");
    cluster.signal_all(old, Signal::SIGCONT);
    let answer = reader.read();
    assert!(tells_nothing(&answer), "{answer:?}");
    assert!(equal_pairs(&mut cluster) == [(b"key".to_vec(), last, b"last".to_vec())]);
    must_agree(cluster);
}

#[test]
fn a_write_waits_for_a_primary_and_is_told_where_there_is_none() {
    let mut cluster = start(&[]);
    let left = cluster.primary();
    let version = connect(&cluster, left).put(b"key", b"value");
    let others: Vec<usize> = (0..3).filter(|&index| index != left).collect();
    others.iter().for_each(|&index| cluster.kill(index));
    await_that("it has no majority", || cluster.standing(left).primary == 0);
    let mut kv = connect(&cluster, left);
    let write = put_once(request_id(1), b"key", b"another");
    let mut asked = Instant::now();
    await_that(
        "it answers one who has come after the gate was closed; a worker may hear of that a moment later",
        || {
            kv = connect(&cluster, left);
            asked = Instant::now();
            kv.send_all(&[write, get_after(b"key", version)]).unwrap();
            kv.read().is_ok_and(|answer| answer == Answer::Refused(KvRefusal::NoQuorum))
        },
    );
    assert!(asked.elapsed() >= Duration::from_millis(KV_QUORUM_WAIT_MILLISECONDS - 100), "{:?}", asked.elapsed());
    assert_eq!(kv.read().unwrap(), Answer::Found(version, b"value".to_vec()), "nothing was done");
    let node = kv.status();
    assert_eq!((node.primary, &node.primary_address[..]), (false, ""));
    // Another time it waits while the next primary is elected; how long a start takes is not known here.
    kv.send(&write).unwrap();
    cluster.start_member(others[0]);
    let mut answer = kv.read().unwrap();
    while answer == Answer::Refused(KvRefusal::NoQuorum) {
        answer = kv.call(&write).unwrap();
    }
    let primary = cluster.primary();
    if primary == left {
        assert!(answer.version() > version, "the id is still free");
    } else {
        assert_eq!(answer, Answer::Refused(KvRefusal::NotPrimary));
    }
    assert!(connect(&cluster, primary).call(&write).unwrap().version() > version);
    assert!(equal_pairs(&mut cluster).iter().all(|(_, _, value)| value == b"another"));
}

#[test]
fn what_clients_see_has_an_order_whatever_becomes_of_the_primary() {
    let mut cluster = start(&[]);
    let callers = KvCallers::start(cluster.kv_addresses(), 4, 100);
    for what in ["a hanging one", "a hanging replica process", "a death", "a hand-over"] {
        callers.await_answers(SOME);
        let primary = cluster.await_known_primary();
        match what {
            "a hanging one" => {
                cluster.signal_all(primary, Signal::SIGSTOP);
                cluster.primary_but(Some(primary));
                callers.await_answers(SOME);
                cluster.signal_all(primary, Signal::SIGCONT);
            }
            "a hanging replica process" => {
                let replica = cluster.member(primary).replica_now().unwrap();
                send(replica, Signal::SIGSTOP);
                cluster.primary_but(Some(primary));
                callers.await_answers(SOME);
                send(replica, Signal::SIGCONT);
            }
            "a death" => {
                cluster.kill(primary);
                callers.await_answers(SOME);
                cluster.start_member(primary);
            }
            _ => {
                let instance = &cluster.member(primary).instance;
                vaultctl(&["cluster", "transfer", "--instance", instance]);
            }
        }
    }
    callers.await_answers(SOME);
    let compared = callers.must_be_linearizable();
    assert!(compared.writes > 100 && compared.reads > 100, "{compared:?}");
    equal_pairs(&mut cluster);
}
