//! Every write to the key-value table that was acknowledged is there after whatever ends a server, with its version, and its request id is
//! known.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bank_vault::service::kv::wire::{KvRefusal, RequestId};
use nix::sys::signal::Signal;

use crate::kv::{Answer, Kv, kv_address, kv_server, put, put_once};
use crate::kv_model::Model;
use crate::server::{Server, await_that, holds_soon, master, unused_name};
use crate::turmoil::Lots;

fn vaultctl(words: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vaultctl")).args(words).output().unwrap();
    (output.status.success(), format!("{output:?}"))
}

fn must_pass_the_audit(data: &Path) {
    let (passes, said) = vaultctl(&["audit", "--data", data.to_str().unwrap()]);
    assert!(passes, "{said}");
}

/// A write that was acknowledged.
struct Ack {
    id: RequestId,
    key: Vec<u8>,
    value: Vec<u8>,
    version: u64,
}

/// A client that writes its keys, each write with an id, and asks again after each failure until it is answered.
struct Writer {
    client: u32,
    lots: Lots,
    acks: Vec<Ack>,
}

impl Writer {
    fn new(client: u32) -> Writer {
        Writer { client, lots: Lots::new(u64::from(client) + 7), acks: Vec::new() }
    }

    fn write_until(&mut self, address: SocketAddr, stop: &AtomicBool, done: &AtomicU64) {
        let mut kv = None;
        while !stop.load(Ordering::Relaxed) {
            let number = u32::try_from(self.acks.len()).unwrap();
            let mut id = [0xAA; 16];
            id[..4].copy_from_slice(&self.client.to_be_bytes());
            id[4..8].copy_from_slice(&number.to_be_bytes());
            let key = format!("{}/{}", self.client, self.lots.below(10)).into_bytes();
            let bytes = if self.lots.below(20) == 0 { 65_536 } else { self.lots.below(500) };
            let value: Vec<u8> = id.iter().copied().cycle().take(bytes as usize).collect();
            let mut version = None;
            let answered = holds_soon(|| {
                let connection = kv.take().or_else(|| Kv::try_connect(address).ok());
                let Some(mut connection) = connection else { return false };
                let Ok(answer) = connection.call(&put_once(id, &key, &value)) else { return false };
                version = Some(answer.version());
                kv = Some(connection);
                true
            });
            assert!(answered, "client {} is not served again", self.client);
            self.acks.push(Ack { id, key, value, version: version.unwrap() });
            done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Holds what is there against what was acknowledged.
    fn check(&self, kv: &mut Kv) {
        let last_of_all = kv.status().applied;
        let mut newest = BTreeMap::new();
        let mut last = 0;
        for ack in &self.acks {
            assert!(ack.version > last, "versions rise");
            last = ack.version;
            newest.insert(&ack.key, ack);
        }
        for (key, ack) in newest {
            let there = kv.get(key);
            assert!(there.as_ref().is_some_and(|(version, value)| *version == ack.version && *value == ack.value));
        }
        // Ids of the last ones are known: the window has ten thousand records.
        let from = last_of_all.saturating_sub(9_000);
        for ack in self.acks.iter().rev().take_while(|ack| ack.version > from) {
            let again = kv.call(&put_once(ack.id, &ack.key, &ack.value)).unwrap();
            assert_eq!(again, Answer::Written(ack.version));
        }
        if let Some(ack) = self.acks.last().filter(|ack| ack.version > from) {
            let other = kv.call(&put_once(ack.id, &ack.key, b"another value")).unwrap();
            assert_eq!(other, Answer::Refused(KvRefusal::Conflict));
        }
    }
}

#[test]
fn what_is_acknowledged_is_there_after_the_death_of_all() {
    const CLIENTS: u32 = 4;
    const ROUNDS: u64 = 5;
    let (mut server, address) = kv_server(&["--workers", "2", "--snapshot-every", "4000", "--kv-mb", "16"]);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut writers: Vec<Writer> = (0..CLIENTS).map(Writer::new).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = writers
            .iter_mut()
            .map(|writer| {
                let (stop, done) = (&stop, &done);
                scope.spawn(move || writer.write_until(address, stop, done))
            })
            .collect();
        for round in 0..ROUNDS {
            let wanted = done.load(Ordering::Relaxed) + 100 + 37 * round;
            await_that("the clients are answered, or have failed", || {
                done.load(Ordering::Relaxed) >= wanted || threads.iter().any(|thread| thread.is_finished())
            });
            server.kill_all();
            server.start_again(&[]);
            assert_eq!(kv_address(&server), address);
        }
        let wanted = done.load(Ordering::Relaxed) + 100;
        await_that("the clients are answered", || done.load(Ordering::Relaxed) >= wanted);
        stop.store(true, Ordering::Relaxed);
    });
    let mut kv = Kv::connect(address);
    writers.iter().for_each(|writer| writer.check(&mut kv));
    drop(kv);
    // A snapshot is asked for, and the journal is trimmed to it.
    let (made, said) = vaultctl(&["snapshot", "--instance", &server.instance]);
    assert!(made, "{said}");
    assert!(server.stats().journal_row().snapshot().0 > 4000);
    assert!(server.end().status.success(), "{}", server.stderr());
    must_pass_the_audit(&server.data());
    server.start_again(&[]);
    let mut kv = Kv::connect(address);
    writers.iter().for_each(|writer| writer.check(&mut kv));
    println!("{} writes", done.load(Ordering::Relaxed));
}

/// A start that must fail.
fn fail_to_start(data: &Path, args: &[&str]) -> Output {
    let output = master(&unused_name(), data, args).output().unwrap();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
    output
}

#[test]
fn a_start_without_the_table_or_with_too_small_a_one_says_what_it_needs() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let options = crate::kv::kv_options(&["--workers", "1"]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = Server::start_on(&data, &options);
    let mut kv = Kv::connect(kv_address(&server));
    let value = vec![1; 65_536];
    for n in 0..60_u8 {
        kv.put(&[n], &value);
    }
    drop(kv);
    assert!(server.stop().status.success());
    let said = String::from_utf8(fail_to_start(&data, &[]).stderr).unwrap();
    assert!(said.contains("--kv-port") && said.lines().count() == 1, "{said}");
    let said = String::from_utf8(fail_to_start(&data, &[&options[..], &["--kv-mb", "2"]].concat()).stderr).unwrap();
    assert!(said.contains("--kv-mb") && said.lines().count() == 1, "{said}");
    let mut words = said.rsplit(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u32>().ok());
    let needed = words.next().unwrap();
    assert!((4..=6).contains(&needed), "{said}");
    let server = Server::start_on(&data, &[&options[..], &["--kv-mb", &needed.to_string()]].concat());
    let mut kv = Kv::connect(kv_address(&server));
    assert_eq!(kv.status().keys, 60);
    assert!((0..60_u8).all(|n| kv.get(&[n]).is_some_and(|(_, there)| there == value)));
}

#[test]
fn a_stop_in_the_middle_of_writes_loses_none_that_was_acknowledged() {
    let (mut server, address) = kv_server(&["--workers", "2"]);
    let mut clients: Vec<_> = (0..4).map(|_| Kv::connect(address)).collect();
    let (mut kept, mut answered) = (BTreeMap::new(), 0);
    for (client, kv) in clients.iter_mut().enumerate() {
        for n in 0..200_u32 {
            let key = format!("{client}/{n}").into_bytes();
            kv.send(&put(&key, &vec![1; n as usize * 3])).unwrap();
        }
    }
    let running = server.stats();
    await_that("some are done", || running.table().order().now().lsn.0 > 500);
    server.signal(Signal::SIGTERM);
    for (client, kv) in clients.iter_mut().enumerate() {
        // In order, and none behind the last.
        for n in 0..200_u32 {
            match kv.read() {
                Ok(answer) => kept.insert(format!("{client}/{n}").into_bytes(), (answer.version(), n as usize * 3)),
                Err(error) => {
                    let end = error.kind();
                    assert!(
                        matches!(end, std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset),
                        "{error}"
                    );
                    break;
                }
            };
            answered += 1;
        }
    }
    drop(clients);
    let output = server.wait();
    assert!(output.status.success(), "{output:?}");
    must_pass_the_audit(&server.data());
    server.start_again(&[]);
    let mut kv = Kv::connect(address);
    for (key, (version, bytes)) in &kept {
        let there = kv.get(key).map(|(version, value)| (version, value.len()));
        assert_eq!(there, Some((*version, *bytes)), "{}", String::from_utf8_lossy(key));
    }
    println!("{answered} of 800 were answered");
}

#[test]
fn an_upgrade_under_load_is_not_noticed() {
    let (server, address) = kv_server(&["--workers", "2"]);
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (stop, answered) = (&stop, &answered);
                scope.spawn(move || {
                    let (mut kv, mut model) = (Kv::connect(address), Model::new(client, 8));
                    while !stop.load(Ordering::Relaxed) {
                        let before = model.answers;
                        model.burst(&mut kv);
                        answered.fetch_add(model.answers - before, Ordering::Relaxed);
                    }
                    model.compare(&mut kv);
                })
            })
            .collect();
        for round in 1..3 {
            let wanted = answered.load(Ordering::Relaxed) + 200;
            await_that("the clients are answered, or have failed", || {
                answered.load(Ordering::Relaxed) >= wanted || clients.iter().any(|client| client.is_finished())
            });
            server.signal(Signal::SIGUSR2);
            await_that("it is done", || server.stderr().matches("upgrade: done").count() == round);
        }
        let wanted = answered.load(Ordering::Relaxed) + 200;
        await_that("the clients are answered, or have failed", || {
            answered.load(Ordering::Relaxed) >= wanted || clients.iter().any(|client| client.is_finished())
        });
        stop.store(true, Ordering::Relaxed);
    });
    assert!(server.stop().status.success());
}
