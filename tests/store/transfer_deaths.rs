//! Transfers under deaths: either side is killed at every named point, and at random ones, and the master gives back what it had.

use std::time::Duration;

use bank_vault::base::crash_point::CrashPoint;
use bank_vault::store::transfer::header::State;
use bank_vault::store::transfer::repair::{self, Repaired, is_idle};
use bank_vault::store::transfer::{Next, Reader, SegmentId};
use nix::sys::signal::{Signal, kill};

use crate::transfer_support::{Setting, child, claim, contents, dying, read, serve, setting, was_killed, whole};

/// Points at which the cache process can die, and how often it comes by in five chunks.
const OF_CACHE: [(CrashPoint, u32); 5] = [
    (CrashPoint::TransferPickedUp, 1),
    (CrashPoint::TransferAnnounced, 1),
    (CrashPoint::TransferFilled, 5),
    (CrashPoint::TransferHandedOver, 5),
    (CrashPoint::TransferWritten, 1),
];
/// Points at which a worker can die.
const OF_WORKER: [(CrashPoint, u32); 5] = [
    (CrashPoint::TransferClaimed, 1),
    (CrashPoint::TransferOffered, 1),
    (CrashPoint::TransferTaken, 5),
    (CrashPoint::TransferReturned, 5),
    (CrashPoint::TransferFreed, 1),
];
const CHUNKS: usize = 5;

#[test]
fn every_point_is_of_one_side() {
    let points = CrashPoint::ALL.iter().copied().filter(|point| point.name().starts_with("transfer."));
    let tried = OF_CACHE.iter().chain(&OF_WORKER).map(|&(point, _)| point);
    assert!(points.clone().all(|point| tried.clone().any(|other| other == point)), "{:?}", points.collect::<Vec<_>>());
}

/// One transfer after the other, which must work as if nothing had been.
fn must_work(setting: &Setting, seed: u32) {
    for worker in [0, 1] {
        let sent = contents(seed, 2000);
        let id = claim(setting, worker);
        let cache = child(|| assert!(serve(setting, id, &sent, 0)));
        assert_eq!(read(setting, id, worker, u64::MAX), whole(&sent, 0));
        assert!(!was_killed(cache));
    }
    assert!(is_idle(&setting.pool), "{:?}", repair::count(&setting.pool));
}

#[test]
fn a_cache_process_that_dies_anywhere_breaks_its_transfer_and_nothing_else() {
    let points = OF_CACHE.iter().flat_map(|&(point, hits)| (1..=hits).map(move |hit| (point, hit)));
    for (seed, (point, hit)) in (1..).zip(points) {
        let what = format!("killed at {} #{hit}", point.name());
        let setting = setting(1, 824);
        let sent = contents(seed, CHUNKS * setting.pool.shape().chunk_bytes());
        let id = claim(&setting, 0);
        let cache = dying(point, hit, || _ = serve(&setting, id, &sent, 0));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| read(&setting, id, 0, u64::MAX));
            assert!(was_killed(cache), "{what}: it does not come by there");
            repair::cache_died(&setting.pool, &setting.wake);
            let told = reader.join().unwrap();
            let all = told.bytes == sent.len() as u64;
            assert_eq!(told.last, if all { Next::End } else { Next::Broken }, "{what}");
            assert_eq!(told.crc, crc32fast::hash(&sent[..usize::try_from(told.bytes).unwrap()]), "{what}");
            assert!(!all || hit >= 5 || point == CrashPoint::TransferWritten, "{what}: {told:?}");
        });
        assert_eq!(repair::cache_died(&setting.pool, &setting.wake), Repaired::default(), "{what}: done once");
        must_work(&setting, seed);
    }
}

#[test]
fn what_the_dead_cache_process_had_not_picked_up_its_successor_does() {
    let setting = setting(2, 824);
    let [first, second] = [0, 1].map(|worker| claim(&setting, worker));
    let cache = dying(CrashPoint::TransferAnnounced, 1, || _ = serve(&setting, first, &contents(1, 10), 0));
    assert!(was_killed(cache));
    assert_eq!(repair::cache_died(&setting.pool, &setting.wake), Repaired { freed: 0, left: 1 });
    assert!([0, 1].iter().all(|&worker| setting.wake.of_worker(worker).take()) && !setting.wake.of_worker(2).take());
    let is_picked_up = [(first, 0), (second, 1)].map(|(id, worker)| {
        let reader = Reader::new(&setting.pool, id, worker, &setting.wake).unwrap();
        let is_picked_up = reader.is_picked_up();
        std::mem::forget(reader);
        is_picked_up
    });
    assert_eq!(is_picked_up, [true, false], "the second one is to be asked for again");
    let successor = child(|| {
        assert!(serve(&setting, second, &contents(2, 10), 0));
        assert!(!serve(&setting, second, &contents(2, 10), 0), "it is asked twice");
    });
    assert_eq!(read(&setting, second, 1, u64::MAX), whole(&contents(2, 10), 0));
    assert_eq!(read(&setting, first, 0, u64::MAX).last, Next::Broken);
    assert!(!was_killed(successor));
    assert!(is_idle(&setting.pool));
}

#[test]
fn a_worker_that_dies_anywhere_gives_its_segment_to_who_waits() {
    let points = OF_WORKER.iter().flat_map(|&(point, hits)| (1..=hits).map(move |hit| (point, hit)));
    for (seed, (point, hit)) in (1..).zip(points) {
        let what = format!("killed at {} #{hit}", point.name());
        let setting = setting(1, 824);
        let sent = contents(seed, CHUNKS * setting.pool.shape().chunk_bytes());
        let id = SegmentId { number: 0, generation: 1 };
        let worker = dying(point, hit, || {
            assert_eq!(claim(&setting, 0), id);
            _ = read(&setting, id, 0, u64::MAX);
        });
        std::thread::scope(|scope| {
            let claimed = [CrashPoint::TransferClaimed, CrashPoint::TransferOffered].contains(&point);
            let (setting, sent) = (&setting, &sent);
            let cache = scope.spawn(move || {
                while !claimed && setting.pool.segments().all(|segment| segment.claim.state != State::Offered) {
                    std::thread::yield_now();
                }
                !claimed && serve(setting, id, sent, 0)
            });
            assert!(was_killed(worker), "{what}: it does not come by there");
            // Another worker has waited all the while.
            let next = scope.spawn(move || must_work_once(setting, seed));
            repair::worker_died(&setting.pool, 0, &setting.wake);
            cache.join().unwrap();
            next.join().unwrap();
        });
        assert!(is_idle(&setting.pool), "{what}: {:?}", repair::count(&setting.pool));
        assert_eq!(repair::worker_died(&setting.pool, 0, &setting.wake), Repaired::default(), "{what}: done once");
        must_work(&setting, seed);
    }
}

/// A transfer of worker 1, whose cache process is a thread of its own.
fn must_work_once(setting: &Setting, seed: u32) {
    let sent = contents(seed, 10);
    let id = claim(setting, 1);
    assert!(serve(setting, id, &sent, 0), "it fits into one chunk");
    assert_eq!(read(setting, id, 1, u64::MAX), whole(&sent, 0));
}

#[test]
fn a_worker_that_dies_while_the_cache_process_writes_leaves_the_segment_to_it() {
    let setting = setting(1, 824);
    let id = claim(&setting, 0);
    // Three chunks: the third one waits for a worker that takes none.
    let cache = child(|| assert!(!serve(&setting, id, &contents(1, 3 * 280), 0)));
    while setting.pool.segments().any(|segment| segment.filled < 2) {
        std::thread::yield_now();
    }
    assert_eq!(repair::worker_died(&setting.pool, 0, &setting.wake), Repaired { freed: 0, left: 1 });
    assert!(!was_killed(cache), "it was woken, and has seen that nobody wants the rest");
    assert!(is_idle(&setting.pool));
    // Both die.
    let id = claim(&setting, 0);
    let cache = dying(CrashPoint::TransferHandedOver, 2, || _ = serve(&setting, id, &contents(1, 3 * 280), 0));
    assert!(was_killed(cache));
    assert_eq!(repair::worker_died(&setting.pool, 0, &setting.wake), Repaired { freed: 0, left: 1 });
    assert_eq!(repair::cache_died(&setting.pool, &setting.wake), Repaired { freed: 1, left: 0 });
    must_work(&setting, 2);
}

#[test]
fn random_deaths_of_both_sides_leak_no_segment_and_mix_no_contents() {
    const ROUNDS: u32 = 200;
    let setting = setting(2, 1024);
    let (mut whole_ones, mut deaths) = (0, 0);
    for seed in 0..ROUNDS {
        let sent = contents(seed, 40_000);
        let id = claim(&setting, 0);
        let cache = child(|| _ = serve(&setting, id, &sent, seed));
        let worker = child(|| {
            let told = read(&setting, id, 0, u64::MAX);
            assert!(told == whole(&sent, seed) || told.last == Next::Broken, "{told:?}");
            assert_eq!(told.crc, crc32fast::hash(&sent[..usize::try_from(told.bytes).unwrap()]));
        });
        // The moment is what is random; there is no event to wait for.
        std::thread::sleep(Duration::from_micros(u64::from(seed.wrapping_mul(2_654_435_761) % 1500)));
        let (of_cache, of_worker) = (seed % 3 != 0, seed % 3 != 1);
        for (pid, dies) in [(cache, of_cache), (worker, of_worker)] {
            if dies {
                kill(pid, Signal::SIGKILL).unwrap();
            }
        }
        if of_cache {
            deaths += u32::from(was_killed(cache));
            repair::cache_died(&setting.pool, &setting.wake);
            // Its successor is asked again: the dead one may not have come to pick the segment up.
            assert!(!was_killed(child(|| _ = of_worker || serve(&setting, id, &sent, seed))));
        }
        let killed = was_killed(worker);
        repair::worker_died(&setting.pool, 0, &setting.wake);
        deaths += u32::from(killed);
        whole_ones += u32::from(!killed);
        if !of_cache {
            assert!(!was_killed(cache));
        }
        assert!(is_idle(&setting.pool), "round {seed}: {:?}", repair::count(&setting.pool));
        while setting.wake.of_worker(0).take() || setting.wake.of_cache().take() {}
    }
    println!("{deaths} deaths, {whole_ones} workers came to their end");
    assert!(deaths > 0);
    must_work(&setting, ROUNDS);
}
