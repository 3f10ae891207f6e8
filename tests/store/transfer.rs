//! Contents through segments: whole, in every size, between threads and processes, given up, failed, waited for.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use bank_vault::ipc::names::Generation;
use bank_vault::ipc::segment::Access;
use bank_vault::store::transfer::header::State;
use bank_vault::store::transfer::repair::{self, is_idle};
use bank_vault::store::transfer::{Claimant, Gone, Next, Pool, Reader, SegmentId, Shape, Writer};

use crate::transfer_support::{Setting, child, claim, contents, read, serve, setting, sleep, was_killed, whole};

const SIZES: [usize; 3] = [824, 1024, 1 << 20];

/// Totals at which something could go wrong with chunks of `chunk` bytes.
fn totals(chunk: usize) -> Vec<usize> {
    let around = [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk - 1, 2 * chunk, 2 * chunk + 1, 3 * chunk];
    around.into_iter().chain([7 * chunk + 3, if chunk < 1000 { 1000 * chunk + 1 } else { 20 * chunk + 1 }]).collect()
}

#[test]
fn contents_of_every_length_come_whole_between_threads() {
    for bytes in SIZES {
        let setting = setting(1, bytes);
        for (number, total) in (1..).zip(totals(setting.pool.shape().chunk_bytes())) {
            let sent = contents(number, total);
            let id = claim(&setting, 0);
            assert_eq!(id, SegmentId { number: 0, generation: number });
            std::thread::scope(|scope| {
                scope.spawn(|| assert!(serve(&setting, id, &sent, number)));
                assert_eq!(read(&setting, id, 0, u64::MAX), whole(&sent, number), "{total} of {bytes}");
            });
        }
        assert!(is_idle(&setting.pool));
    }
}

#[test]
fn contents_of_every_length_come_whole_between_processes() {
    for bytes in SIZES {
        let setting = setting(2, bytes);
        let all = totals(setting.pool.shape().chunk_bytes());
        let ids = mpsc::channel();
        // As requests have it: the segment is named before the cache process sees it.
        for (number, &total) in (1..).zip(&all) {
            ids.0.send((number, total, claim(&setting, 1))).unwrap();
            let (number, total, id) = ids.1.recv().unwrap();
            let cache = child(|| assert!(serve(&setting, id, &contents(number, total), 7)));
            assert_eq!(read(&setting, id, 1, u64::MAX), whole(&contents(number, total), 7), "{total} of {bytes}");
            assert!(!was_killed(cache));
        }
        assert!(is_idle(&setting.pool));
    }
}

#[test]
fn a_chunk_is_sent_straight_to_a_socket_that_takes_it_in_parts() {
    let setting = setting(1, 1 << 20);
    let sent = contents(1, 3_000_000);
    let id = claim(&setting, 0);
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(serve(&setting, id, &sent, 0)));
        let received = scope.spawn(move || {
            let mut received = Vec::new();
            far.read_to_end(&mut received).unwrap();
            received
        });
        let mut reader = Reader::new(&setting.pool, id, 0, &setting.wake).unwrap();
        let mut partial = 0;
        loop {
            match reader.poll() {
                Next::Pending => sleep(setting.wake.of_worker(0)),
                Next::Chunk => match reader.send(near.as_fd()) {
                    Ok(_) => partial += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                        std::thread::yield_now();
                    }
                },
                last => break assert_eq!(last, Next::End),
            }
        }
        assert_eq!(reader.bytes(), sent.len() as u64);
        drop((reader, near));
        assert_eq!(crc32fast::hash(&received.join().unwrap()), crc32fast::hash(&sent));
        assert!(partial > sent.len() / setting.pool.shape().chunk_bytes() + 1, "{partial} sends");
    });
    assert!(is_idle(&setting.pool));
}

#[test]
fn four_workers_share_two_segments_for_a_thousand_transfers() {
    const TRANSFERS: u32 = 250;
    let setting = setting(2, 824);
    let (requests, queue) = mpsc::channel::<(u32, SegmentId)>();
    std::thread::scope(|scope| {
        let setting = &setting;
        for worker in 0..4 {
            let requests = requests.clone();
            scope.spawn(move || {
                for number in 0..TRANSFERS {
                    let seed = number << 2 | u32::from(worker);
                    let id = claim(setting, worker);
                    requests.send((seed, id)).unwrap();
                    let total = seed as usize * 7 % 2000;
                    // Some clients leave in the middle.
                    let most = if seed % 5 == 0 { 300 } else { u64::MAX };
                    let told = read(setting, id, worker, most);
                    assert!(told == whole(&contents(seed, total), seed) || told.bytes >= most, "{told:?}");
                }
            });
        }
        drop(requests);
        for (seed, id) in queue {
            serve(setting, id, &contents(seed, seed as usize * 7 % 2000), seed);
        }
    });
    assert!(is_idle(&setting.pool), "{:?}", repair::count(&setting.pool));
    assert_eq!(setting.pool.segments().map(|segment| segment.claim.generation).sum::<u32>(), 4 * TRANSFERS);
}

/// A claimant, and the segment that it has claimed.
fn claimant(setting: &Setting, worker: u16) -> Claimant<'_, Pool> {
    Claimant::new(&setting.pool, worker, 1, &setting.wake)
}

#[test]
fn a_free_segment_goes_to_the_oldest_ticket_of_all_workers() {
    let setting = setting(1, 824);
    let held = claim(&setting, 3);
    let mut workers = [0, 1, 2].map(|worker| claimant(&setting, worker));
    let mut tickets: Vec<_> = [2, 0, 1, 0, 2].map(|worker| (worker, workers[worker].draw())).into();
    let left = tickets.remove(3);
    assert!(workers.iter_mut().all(|worker| worker.claim().is_none()), "there is none");
    assert!(workers[left.0].cancel(left.1) && !workers[left.0].cancel(left.1));
    let mut free = Reader::new(&setting.pool, held, 3, &setting.wake);
    for (worker, ticket) in tickets {
        drop(free);
        assert!((0..3).all(|other| setting.wake.of_worker(other).take() == (other == worker)), "who is woken");
        for other in (0..3).filter(|&other| other != worker) {
            assert_eq!(workers[other].claim(), None, "it is not its turn");
        }
        let (granted, id) = workers[worker].claim().unwrap();
        assert_eq!(granted, ticket);
        free = Reader::new(&setting.pool, id, u16::try_from(worker).unwrap(), &setting.wake);
    }
    assert!(workers.iter().all(|worker| worker.waiting() == 0));
}

#[test]
fn who_gives_up_or_dies_waiting_lets_the_next_one_by() {
    let setting = setting(1, 824);
    let [mut first, mut second, mut third] = [0, 1, 2].map(|worker| claimant(&setting, worker));
    let ticket = first.draw();
    second.draw();
    third.draw();
    assert_eq!((second.claim(), third.claim()), (None, None));
    assert!(first.cancel(ticket));
    assert!(setting.wake.of_worker(1).take() && !setting.wake.of_worker(2).take());
    // It dies before it looks.
    drop(second);
    repair::worker_died(&setting.pool, 1, &setting.wake);
    assert!(setting.wake.of_worker(2).take());
    assert!(third.claim().is_some());
}

#[test]
fn a_request_that_comes_late_or_twice_or_from_elsewhere_is_not_picked_up() {
    let setting = setting(1, 824);
    let pick_up = |id| Writer::pick_up(&setting.pool, id, 1, &setting.wake);
    let given_up = claim(&setting, 0);
    drop(Reader::new(&setting.pool, given_up, 0, &setting.wake));
    assert!(pick_up(given_up).is_none(), "its worker has given it up");
    let id = claim(&setting, 1);
    assert!(pick_up(given_up).is_none(), "it has a new owner");
    for id in [SegmentId { number: 1, ..id }, SegmentId { number: u32::MAX, ..id }] {
        assert!(pick_up(id).is_none() && Reader::new(&setting.pool, id, 1, &setting.wake).is_none());
    }
    let writer = pick_up(id).unwrap();
    assert!(pick_up(id).is_none(), "it is picked up already");
    // Neither who is not its owner nor an owner of earlier gets at it.
    for (id, worker) in [(id, 2), (given_up, 0)] {
        assert!(Reader::new(&setting.pool, id, worker, &setting.wake).is_none());
    }
    assert!(writer.is_wanted());
}

#[test]
fn a_transfer_that_fails_says_why_and_one_that_is_given_up_is_noticed() {
    let setting = setting(1, 824);
    let start = || {
        let id = claim(&setting, 0);
        let reader = Reader::new(&setting.pool, id, 0, &setting.wake).unwrap();
        (reader, Writer::pick_up(&setting.pool, id, 1, &setting.wake).unwrap())
    };
    let (mut reader, writer) = start();
    assert_eq!(reader.poll(), Next::Pending);
    writer.fail(404);
    assert!(setting.wake.of_worker(0).take());
    assert_eq!((reader.poll(), reader.begun()), (Next::Failed(404), None));
    drop(reader);

    let (mut reader, mut writer) = start();
    writer.begin(1000, 0);
    assert_eq!(writer.write(&[1; 100]), Ok(100));
    drop(writer);
    assert_eq!(reader.poll(), Next::Failed(0), "it was left in the middle");
    drop(reader);

    let (reader, mut writer) = start();
    writer.begin(1000, 0);
    assert_eq!(writer.write(&[1; 1000]), Ok(560), "as much as fits into two chunks");
    drop(reader);
    assert!(setting.wake.of_cache().take());
    assert_eq!(writer.write(&[1; 440]), Err(Gone));
    drop(writer);
    assert!(is_idle(&setting.pool));
}

#[test]
fn a_pool_is_found_by_name_and_shown() {
    let generation = Generation { instance: format!("test-transfer-pool-{}", std::process::id()), boot: 1 };
    let shape = Shape::new(3, 1000).unwrap();
    let pool = Pool::create(&generation, shape).unwrap();
    let opened = Pool::open(&generation, Access::Read).unwrap();
    Pool::unlink(&generation).unwrap();
    assert_eq!((opened.shape(), opened.summary()), (shape, pool.summary()));
    assert_eq!(pool.summary().1, Pool::bytes_for(shape));
    let shown: Vec<_> = opened.segments().map(|segment| (segment.number, segment.claim.state)).collect();
    assert_eq!(shown, [0, 1, 2].map(|number| (number, State::Free)));
    assert!(Pool::open(&generation, Access::Read).is_err());
}
