//! The key-value store of members that the network has cut off, wholly or in one direction, while clients reach all of them.

use crate::{cluster, kv, kv_callers, kv_members, network, server};

use std::time::{Duration, Instant};

use bank_vault::base::limits::{AFTER_WAIT_MILLISECONDS, KV_QUORUM_WAIT_MILLISECONDS};
use bank_vault::base::vocab::ReplicaRole;
use bank_vault::service::kv::wire::{KvRefusal, KvRequest};
use cluster::Cluster;
use kv::{Answer, Kv, get, put_once};
use kv_callers::KvCallers;
use kv_members::{connect, get_after, must_agree, request_id, tells_nothing};
use network::Network;
use server::await_that;

/// Answers that come before, during and after a cut.
const SOME: u64 = 60;

fn start() -> Cluster {
    Cluster::prepare_apart(3, &[]).with_key_values().started()
}

/// Clients of all members, who follow the primary. They think in between: these tests wait for deadlines, and others need the processors.
fn callers(cluster: &Cluster) -> KvCallers {
    let pause = Duration::from_millis(5);
    let callers = KvCallers::start_as(cluster.kv_credentials(), cluster.kv_addresses(), (4, 300), pause);
    callers.await_answers(SOME);
    callers
}

/// The network of these members, and the number that one of them has there.
fn network(cluster: &Cluster, index: usize) -> (&Network, u8) {
    (cluster.network.as_ref().unwrap(), u8::try_from(index + 1).unwrap())
}

/// How often a member has made its books again.
fn remakes(cluster: &Cluster, index: usize) -> u64 {
    cluster.member(index).stats().replica_row().remakes.get()
}

/// Waits until a member that is cut off has heard of no primary for a while, and says so of this write; the connection by which it did.
fn await_refusal(cluster: &Cluster, index: usize, write: &KvRequest<'_>) -> Kv {
    await_that("it knows of no primary", || cluster.standing(index).primary == 0);
    let mut kv = connect(cluster, index);
    // A worker may hear of it a moment later than the member itself: then the connection is closed.
    await_that("it refuses the write for want of a majority", || {
        kv = connect(cluster, index);
        let asked = Instant::now();
        let is_refused = kv.call(write).is_ok_and(|answer| answer == Answer::Refused(KvRefusal::NoQuorum));
        let least = Duration::from_millis(KV_QUORUM_WAIT_MILLISECONDS - 100);
        assert!(!is_refused || asked.elapsed() >= least, "it waits for a primary: {:?}", asked.elapsed());
        is_refused
    });
    kv
}

/// Holds that a member that is no primary tells those who have seen `version` of nothing older, and says what it is.
fn must_be_behind(kv: &mut Kv, key: &[u8], version: u64) {
    let asked = Instant::now();
    assert_eq!(kv.call(&get_after(key, version)).unwrap(), Answer::Refused(KvRefusal::Behind));
    assert!(asked.elapsed() >= Duration::from_millis(AFTER_WAIT_MILLISECONDS), "{:?}", asked.elapsed());
    let node = kv.status();
    // What it has executed may have higher numbers, and is other than what these stand for elsewhere.
    assert!(!node.primary && node.committed < version, "{node:?} and {version}");
}

#[test]
#[ignore = "needs root, to make network namespaces"]
fn a_primary_that_is_cut_off_by_the_network_shows_nothing_old_and_gets_what_the_others_have() {
    let cluster = start();
    let old = cluster.primary();
    let (network, number) = network(&cluster, old);
    let mut kv = connect(&cluster, old);
    let first = put_once(request_id(1), b"key", b"before");
    let version = kv.call(&first).unwrap().version();
    let callers = callers(&cluster);
    let mut readers: Vec<Kv> = (0..3).map(|_| connect(&cluster, old)).collect();
    for reader in &mut readers {
        assert_eq!(reader.get(b"key"), Some((version, b"before".to_vec())));
    }
    let lost = [2, 3, 4].map(|id| put_once(request_id(id), b"lost", b"asked for there, and again elsewhere"));
    let mut writers: Vec<Kv> = lost.iter().map(|_| connect(&cluster, old)).collect();
    assert_eq!(remakes(&cluster, old), 0);
    network.cut(number);
    // These are executed, and those read what is committed: nothing but a round can say that it is not old.
    writers.iter_mut().zip(&lost).for_each(|(writer, write)| writer.send(write).unwrap());
    readers.iter_mut().for_each(|reader| reader.send(&get(b"key")).unwrap());
    let new = cluster.primary_but(Some(old));
    let mut elsewhere = connect(&cluster, new);
    let later = elsewhere.put(b"key", b"after");
    assert!(later > version, "versions rise");
    for client in writers.iter_mut().chain(&mut readers) {
        let answer = client.read();
        assert!(tells_nothing(&answer), "{answer:?}");
    }
    callers.await_answers(SOME);
    // Who comes now is told that nothing was done, and may read as of what there is here, which is not called linearizable.
    let late = put_once(request_id(5), b"late", b"asked for there, and again elsewhere");
    let mut left = await_refusal(&cluster, old, &late);
    must_be_behind(&mut left, b"key", later);
    assert_eq!(left.get(b"key"), Some((version, b"before".to_vec())));
    assert_eq!((left.get(b"late"), left.status().primary_address.as_str()), (None, ""));
    // Ids that were asked there are answered elsewhere: what was acknowledged as then, and the others are done once.
    let asked: Vec<_> = [first].into_iter().chain(lost).chain([late]).collect();
    let answers: Vec<Answer> = asked.iter().map(|write| elsewhere.call(write).unwrap()).collect();
    assert_eq!(answers[0], Answer::Written(version));
    assert!(answers[1..].iter().all(|answer| answer.version() > later), "{answers:?}");
    network.mend(number);
    await_that("the books of the old primary are made again", || remakes(&cluster, old) > 0);
    let told = cluster.member(old).stderr();
    assert!(told.contains("the log was cut behind record") && told.contains("the books are remade"), "{told}");
    callers.await_answers(SOME);
    let primary = cluster.await_known_primary();
    let again: Vec<Answer> = asked.iter().map(|write| connect(&cluster, primary).call(write).unwrap()).collect();
    assert_eq!(again, answers, "the first answers");
    let other = put_once(request_id(2), b"lost", b"another");
    assert_eq!(connect(&cluster, primary).call(&other).unwrap(), Answer::Refused(KvRefusal::Conflict));
    let last = answers[4].version();
    cluster.await_applied(old, last);
    let found = connect(&cluster, old).call(&get_after(b"key", last)).unwrap();
    assert_eq!(found, Answer::Found(later, b"after".to_vec()));
    let compared = callers.must_be_linearizable();
    assert!(compared.writes > 60 && compared.reads > 60, "{compared:?}");
    must_agree(cluster);
}

#[test]
#[ignore = "needs root, to make network namespaces"]
fn a_follower_that_is_cut_off_by_the_network_is_behind_and_says_so() {
    let cluster = start();
    let primary = cluster.primary();
    let follower = cluster.another(primary);
    let (network, number) = network(&cluster, follower);
    let mut kv = connect(&cluster, primary);
    let version = kv.put(b"key", b"before");
    let found = connect(&cluster, follower).call(&get_after(b"key", version)).unwrap();
    assert_eq!(found, Answer::Found(version, b"before".to_vec()));
    let callers = callers(&cluster);
    network.cut(number);
    callers.await_answers(SOME);
    let later = kv.put(b"key", b"after");
    let mut left = connect(&cluster, follower);
    must_be_behind(&mut left, b"key", later);
    assert_eq!(left.get(b"key"), Some((version, b"before".to_vec())), "as of what it has");
    let write = put_once(request_id(1), b"key", b"from the other side");
    let mut left = await_refusal(&cluster, follower, &write);
    must_be_behind(&mut left, b"key", later);
    assert_eq!(left.get(b"key"), Some((version, b"before".to_vec())));
    assert_eq!(cluster.role(primary), ReplicaRole::Primary, "two of three are enough");
    let last = kv.call(&write).unwrap().version();
    assert!(last > later, "the id is free");
    network.mend(number);
    cluster.await_applied(follower, last);
    let found = connect(&cluster, follower).call(&get_after(b"key", last)).unwrap();
    assert_eq!(found, Answer::Found(last, b"from the other side".to_vec()));
    callers.await_answers(SOME);
    callers.must_be_linearizable();
    must_agree(cluster);
}

/// Cuts one direction between a primary and its peers, and holds that another one is found, and that the old one shows nothing old.
fn must_survive(cut: fn(&Network, u8)) {
    let cluster = start();
    let old = cluster.primary();
    let (network, number) = network(&cluster, old);
    let version = connect(&cluster, old).put(b"key", b"before");
    let callers = callers(&cluster);
    let (mut reader, mut writer) = (connect(&cluster, old), connect(&cluster, old));
    assert_eq!(reader.get(b"key"), Some((version, b"before".to_vec())));
    assert!(writer.status().primary);
    cut(network, number);
    let write = put_once(request_id(1), b"doubtful", b"done once, here or there");
    writer.send(&write).unwrap();
    let new = cluster.primary_but(Some(old));
    let later = connect(&cluster, new).put(b"key", b"after");
    assert!(later > version);
    // Its answer would come from the old one; where it says nothing, the connection ends as soon as it knows that it is the primary no more.
    let is_sent = reader.send(&get(b"key"));
    let answer = is_sent.and_then(|()| reader.read());
    assert!(tells_nothing(&answer), "{answer:?}");
    let first = writer.read();
    callers.await_answers(SOME);
    network.mend_ways(number);
    cluster.await_applied(old, later);
    callers.await_answers(SOME);
    let primary = cluster.await_known_primary();
    let answer = connect(&cluster, primary).call(&write).unwrap();
    match first {
        Ok(Answer::Written(version)) => assert_eq!(answer.version(), version, "the first answer"),
        told => assert!(tells_nothing(&told) && answer.version() > version, "{told:?}, {answer:?}"),
    }
    callers.must_be_linearizable();
    must_agree(cluster);
}

#[test]
#[ignore = "needs root, to make network namespaces"]
fn a_primary_that_is_not_heard_is_replaced_and_shows_nothing_old() {
    must_survive(Network::cut_out);
}

#[test]
#[ignore = "needs root, to make network namespaces"]
fn a_primary_that_hears_nobody_is_replaced_and_shows_nothing_old() {
    must_survive(Network::cut_in);
}
