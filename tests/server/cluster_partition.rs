//! A primary that is cut off from its peers, while clients reach both sides.

use crate::{bank, callers, cluster, server};

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use bank::{Bank, deposit};
use bank_vault::base::vocab::{AccountId, ReplicaRole};
use bank_vault::service::bank::wire::{Request, Response};
use callers::Callers;
use cluster::Cluster;
use server::await_that;

/// Whether this is one of the answers that tell nothing: a refusal, or the end of the connection.
fn tells_nothing(answer: &std::io::Result<(u32, Response)>) -> bool {
    match answer {
        Ok((_, response)) => matches!(response, Response::Error { .. }),
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
#[ignore = "needs root, to make network namespaces"]
fn a_primary_that_is_cut_off_acknowledges_nothing_and_comes_back() {
    let cluster = Cluster::start_apart(3, &[]);
    let network = cluster.network.as_ref().unwrap();
    let old = cluster.primary();
    let number = u8::try_from(old + 1).unwrap();
    let remakes = |index: usize| cluster.member(index).stats().replica_row().remakes.get();
    assert_eq!(remakes(old), 0);
    let callers = Callers::start(cluster.addresses(), 4);
    callers.await_answers(200);
    let mut writers: Vec<Bank> = (0..4).map(|_| Bank::demo(cluster.address(old))).collect();
    let mut readers: Vec<Bank> = (0..4).map(|_| Bank::demo(cluster.address(old))).collect();
    network.cut(number);
    let cut = Instant::now();
    // Executed there, and shown to nobody.
    for (account, writer) in (50..).zip(&mut writers) {
        writer.send(&deposit(account, 777)).unwrap();
    }
    for reader in &mut readers {
        reader.send(&Request::Balance { account: AccountId(50) }).unwrap();
    }
    for client in writers.iter_mut().chain(&mut readers) {
        let answer = client.read();
        assert!(tells_nothing(&answer), "{answer:?} after {:?}", cut.elapsed());
    }
    let closed = cut.elapsed();
    let new = cluster.primary_but(Some(old));
    println!("clients of the old primary are refused after {closed:?}, there is another one after {:?}", cut.elapsed());
    assert!(closed < Duration::from_secs(5), "{closed:?}");
    await_that("the old one says so, too", || cluster.role(old) != ReplicaRole::Primary);
    callers.await_answers(200);
    // Whoever asks it now is refused.
    let mut bank = Bank::demo(cluster.address(old));
    for request in [&deposit(50, 1), &Request::Balance { account: AccountId(50) }] {
        let answer = bank.call(request).unwrap();
        assert!(matches!(answer, Response::Error { .. }), "{answer:?}");
    }
    assert_eq!(cluster.role(new), ReplicaRole::Primary);
    network.mend(number);
    let mended = Instant::now();
    await_that("the books of the old primary are remade", || remakes(old) > 0);
    callers.await_answers(200);
    let lsn = cluster.applied(cluster.primary());
    cluster.await_applied(old, lsn);
    println!("it has caught up {:?} after the link is back, {} remakes", mended.elapsed(), remakes(old));
    let told = cluster.member(old).stderr();
    assert!(told.contains("the log was cut behind record") && told.contains("the books are remade"), "{told}");
    println!("{:?}", callers.must_be_linearizable());
    let primary = cluster.primary();
    let lsn = cluster.await_equal();
    assert_eq!(cluster.balances(primary, lsn)[50..54], [100_000; 4], "what was not acknowledged is not of the books");
    cluster.must_agree(&[]);
}
