//! Workers and the journal process of a real server are killed, at every named step of a write to the key-value table and at random: clients
//! notice a pause at most.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bank_vault::base::crash_point::{CrashPoint, VARIABLE};
use bank_vault::base::vocab::Condition;
use bank_vault::service::kv::wire::{KvRefusal, KvRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kv::{Answer, Kv, get, kv_server, kv_server_with, put, put_once, scan};
use crate::kv_model::Model;
use crate::server::{await_that, send};

/// Bytes of the large values; the small ones have ten.
const LARGE: usize = 65_536;

fn value(seed: u8, bytes: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(bytes).map(|byte| seed.wrapping_add(byte)).collect()
}

/// Points of the ledger that a write to the table comes by.
const SHARED: [CrashPoint; 7] = [
    CrashPoint::SequencerLocked,
    CrashPoint::RecordWritten,
    CrashPoint::ReplyNumbered,
    CrashPoint::Claimed,
    CrashPoint::Committed,
    CrashPoint::KeyKnown,
    CrashPoint::ReplySent,
];

/// A process dies of one of these calls, which are sent one by one; the client sees all answers as if nothing had happened.
fn die_at(point: CrashPoint, hit: u32, bytes: usize) {
    let what = format!("{} #{hit}, {bytes} bytes", point.name());
    let of_journal = point.name().starts_with("journal.");
    let armed = format!("{}:{}#{hit}", if of_journal { "journal" } else { "0" }, point.name());
    let (server, address) = kv_server_with(&["--workers", "1", "--accounts", "10"], &[(VARIABLE, &armed)]);
    let mut kv = Kv::connect(address);
    let mut told = |request: &KvRequest<'_>| kv.call(request).unwrap_or_else(|error| panic!("{what}: {error}"));
    let records = |bytes: usize| 1 + bytes.div_ceil(80) as u64;
    let (old, new) = (value(1, bytes), value(2, bytes));
    let (first, second) = (records(1 + bytes), 2 * records(1 + bytes));
    let third = second + records(1);
    let remove = KvRequest::Delete { request_id: Some([3; 16]), key: b"k", condition: Condition::IfVersion(second) };
    let writes = [
        (put_once([1; 16], b"k", &old), first, Answer::Found(first, old.clone())),
        (put_once([2; 16], b"k", &new), second, Answer::Found(second, new.clone())),
        (remove, third, Answer::Refused(KvRefusal::NotFound)),
    ];
    for (write, version, after) in &writes {
        assert_eq!(told(write), Answer::Written(*version), "{what}: done once");
        assert!(told(&get(b"k")) == *after, "{what}");
        assert_eq!(told(write), Answer::Written(*version), "{what}: asked again");
    }
    for (write, version, _) in &writes {
        assert_eq!(told(write), Answer::Written(*version), "{what}: asked again");
    }
    assert_eq!(told(&scan(b"", b"", 0)), Answer::Page(vec![], false), "{what}");
    // No block is lost, and every lock is free.
    for n in 0..3_u8 {
        assert_eq!(told(&put(&[n], &new)).version(), third + (u64::from(n) + 1) * records(1 + bytes), "{what}");
    }
    let said = server.stderr();
    if of_journal {
        assert!(said.contains("the journal process is back") && !said.contains("handed on"), "{what}: {said}");
    } else {
        assert!(said.contains("killed by SIGKILL") && said.contains("1 handed on, 0 closed"), "{what}: {said}");
    }
}

#[test]
fn a_death_at_any_step_is_not_noticed_by_the_client() {
    let of_worker = |point: &CrashPoint| point.name().starts_with("kv.") && !point.name().contains(".repair-");
    let of_journal =
        [CrashPoint::GroupTaken, CrashPoint::GroupWritten, CrashPoint::GroupSynced, CrashPoint::CommittedPublished];
    let points = CrashPoint::ALL.iter().copied().filter(of_worker).chain(SHARED).chain(of_journal);
    // Every other point with a large value, the others with a small one; on demand all with both.
    let is_long = std::env::var_os("VAULT_TEST_KILLS").is_some();
    let cases: Vec<_> = points
        .flat_map(|point| [(point, 1, LARGE), (point, 2, 10)])
        .enumerate()
        .filter_map(|(number, case)| (is_long || matches!(number % 4, 0 | 3)).then_some(case))
        .collect();
    assert!(cases.len() >= 26, "{}", cases.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((point, hit, bytes)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    die_at(*point, *hit, *bytes);
                }
            });
        }
    });
}

#[test]
fn who_waits_for_a_bucket_of_one_that_stands_still_is_answered_once_that_is_killed() {
    let armed = format!("0:{}/stop", CrashPoint::KvSequenced.name());
    let (server, address) = kv_server_with(&["--workers", "2", "--worker-timeout", "1"], &[(VARIABLE, &armed)]);
    // They take turns: every other connection is the second worker's.
    let mut all: Vec<Kv> = (0..6).map(|_| Kv::connect(address)).collect();
    let [halting, scanning, _, getting, _, putting] = all.as_mut_slice() else { unreachable!() };
    let other = scanning.put(b"other", b"o");
    halting.send(&put(b"key", b"first")).unwrap();
    let sequencer = server.stats();
    await_that("it has its number", || sequencer.table().order().now().lsn.0 == other + 2);
    // A scan waits in a thread; the others hold up their worker, which is not taken for dead.
    scanning.send(&scan(b"", b"", 0)).unwrap();
    getting.send(&get(b"key")).unwrap();
    putting.send(&put(b"key", b"second")).unwrap();
    let first = halting.read().unwrap().version();
    let second = putting.read().unwrap().version();
    assert_eq!((first, second), (other + 2, other + 4));
    let found = getting.read().unwrap();
    let wanted = [Answer::Found(first, b"first".to_vec()), Answer::Found(second, b"second".to_vec())];
    assert!(wanted.contains(&found), "{found:?}");
    let Answer::Page(entries, false) = scanning.read().unwrap() else { panic!("all keys are of one page") };
    let keys: Vec<&[u8]> = entries.iter().map(|(key, ..)| key.as_slice()).collect();
    assert_eq!(keys, [&b"key"[..], b"other"]);
    assert_eq!(server.stderr().matches("no life for").count(), 1, "{}", server.stderr());
}

#[test]
fn a_death_in_the_middle_of_what_comes_and_of_what_goes_loses_no_byte() {
    const PAGES: usize = 150;
    let (server, address) = kv_server(&["--workers", "1"]);
    let mut kv = Kv::connect(address);
    let large = value(7, LARGE);
    let kill_worker = || {
        let worker = server.workers_now()[0];
        send(worker, Signal::SIGKILL);
        await_that("it is replaced", || server.workers_now().first().is_some_and(|now| *now != worker));
    };
    // While 64 KiB come, at one byte and another.
    let record = kv.record(&put(b"large", &large));
    let running = server.stats();
    let received = || running.connections().iter().map(|slot| slot.moved().0 as usize).max().unwrap();
    let mut at = 0;
    // Fewer than the deaths that one request may cause.
    for end in [1, 3, 60, 40_001, record.len() - 1] {
        kv.send_bytes(&record[at..end]).unwrap();
        at = end;
        await_that("it is received", || received() == end);
        kill_worker();
    }
    kv.send_bytes(&record[at..]).unwrap();
    let version = kv.read().unwrap().version();
    // While more is to be sent than all buffers hold.
    kv.send_all(&vec![get(b"large"); PAGES]).unwrap();
    kv.send(&scan(b"", b"", 0)).unwrap();
    let is_stuck = || {
        let unsent = |slot: &bank_vault::store::connection::slot::ConnectionSlot| {
            slot.progress().queued.wrapping_sub(slot.moved().1) as usize
        };
        running.connections().iter().any(|slot| unsent(slot) > LARGE / 2)
    };
    for page in 0..PAGES {
        if page == 0 {
            await_that("the client's buffers are full", is_stuck);
        }
        if page % 40 == 0 {
            kill_worker();
        }
        assert!(kv.read().unwrap() == Answer::Found(version, large.clone()), "{page}");
    }
    assert_eq!(kv.read().unwrap(), Answer::Page(vec![(b"large".to_vec(), version, 65_536)], false));
    // A scan that nobody has answered is asked again, and what comes behind it waits.
    send(server.workers_now()[0], Signal::SIGSTOP);
    kv.send_all(&[scan(b"", b"", 0), get(b"none"), scan(b"", b"", 0)]).unwrap();
    kv.stream.flush().unwrap();
    kill_worker();
    let page = || Answer::Page(vec![(b"large".to_vec(), version, 65_536)], false);
    let wanted = [page(), Answer::Refused(KvRefusal::NotFound), page()];
    assert_eq!([(); 3].map(|()| kv.read().unwrap()), wanted);
    assert!(server.stop().status.success());
}

#[test]
fn random_deaths_under_load_are_not_noticed() {
    const CLIENTS: u32 = 6;
    let kills: u32 = std::env::var("VAULT_TEST_KILLS").map_or(20, |text| text.parse().unwrap());
    let (server, address) = kv_server(&["--workers", "3", "--worker-timeout", "60"]);
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let models: Vec<Model> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (stop, answered) = (&stop, &answered);
                scope.spawn(move || {
                    let (mut kv, mut model) = (Kv::connect(address), Model::new(client, 8));
                    while !stop.load(Ordering::Relaxed) {
                        let before = model.answers;
                        model.burst(&mut kv);
                        answered.fetch_add(model.answers - before, Ordering::Relaxed);
                    }
                    model
                })
            })
            .collect();
        for number in 0..kills {
            let wanted = answered.load(Ordering::Relaxed) + 20 + u64::from(number * 7 % 60);
            await_that("the clients are answered, or have failed", || {
                answered.load(Ordering::Relaxed) >= wanted || clients.iter().any(|client| client.is_finished())
            });
            let processes =
                if number % 5 == 4 { server.journal_now().into_iter().collect() } else { server.workers_now() };
            if let Some(&process) = processes.get(number as usize % processes.len().max(1)) {
                // Not our child: between the look and the signal it may have been replaced.
                let _ = kill(Pid::from_raw(i32::try_from(process).unwrap()), Signal::SIGKILL);
            }
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let mut kv = Kv::connect(address);
    models.iter().for_each(|model| model.compare(&mut kv));
    assert_eq!(kv.status().keys, models.iter().map(|model| model.pairs.len() as u64).sum::<u64>());
    println!("{kills} kills, {} answers", answered.load(Ordering::Relaxed));
    assert!(server.stop().status.success());
}
