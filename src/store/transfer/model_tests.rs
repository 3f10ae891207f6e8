//! The hand-over's own code under `loom`: chunks, deaths, segments that are given up and used anew, and tickets, in every order of threads
//! that a bounded number of preemptions allows.
//!
//! A thread stands for a process. The bytes of a chunk are a cell that `loom` watches: that two sides are at it at once, or that a reader
//! does not see what was written, ends the model. A side that sleeps and is not woken ends it, too.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::model::Builder;
use loom::sync::Notify;
use loom::thread;

use super::claimant::Claimant;
use super::handover::{Filling, Next, Room, Taking};
use super::header::{LetGo, SegmentId, TransferHeader};
use super::repair::{self, is_idle};
use super::shape::CHUNKS;
use super::tickets::{Memory, Tickets, Wake, pass_on};
use crate::base::crash_point::CrashPoint;
use crate::base::defect::{self, Defect};
use crate::ipc::model::{Watched, mortal};

/// What a chunk of the model holds: which use it was filled for, and with which number.
type Bytes = Watched<(u32, u64)>;

struct Model {
    tickets: Tickets,
    headers: Vec<TransferHeader>,
    chunks: Vec<[Bytes; CHUNKS]>,
    workers: [Notify; 3],
    cache: Notify,
}

impl Memory for Model {
    fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    fn segments(&self) -> usize {
        self.headers.len()
    }

    fn header(&self, number: usize) -> &TransferHeader {
        &self.headers[number]
    }
}

impl Wake for Model {
    fn worker(&self, worker: usize) {
        self.workers[worker].notify();
    }

    fn cache(&self) {
        self.cache.notify();
    }
}

fn model(segments: usize) -> Arc<Model> {
    Arc::new(Model {
        tickets: Tickets::default(),
        headers: (0..segments).map(|_| TransferHeader::default()).collect(),
        chunks: (0..segments).map(|_| std::array::from_fn(|_| Bytes::default())).collect(),
        workers: std::array::from_fn(|_| Notify::new()),
        cache: Notify::new(),
    })
}

fn check(preemptions: usize, body: impl Fn() + Sync + Send + 'static) -> usize {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    let executions = executions.load(Ordering::Relaxed);
    println!("{executions} executions");
    executions
}

/// A worker that sleeps until it has a segment.
fn claim(model: &Model, worker: u16) -> SegmentId {
    let mut claimant = Claimant::new(model, worker, 1, model);
    claimant.draw();
    loop {
        if let Some((_, id)) = claimant.claim() {
            return id;
        }
        model.workers[usize::from(worker)].wait();
    }
}

/// What the cache process does for a request; `None` where it was over, else whether it came to the end.
fn write(model: &Model, id: SegmentId, total: u64) -> Option<bool> {
    let number = id.number as usize;
    let mut filling = Filling::pick_up(&model.headers[number], id.generation, 2)?;
    filling.announce(total, 0, model);
    let mut filled = 0;
    while filled < total {
        match filling.room() {
            Room::Gone => break,
            Room::None => model.cache.wait(),
            Room::Chunk(index) => {
                model.chunks[number][index].set((id.generation, filled));
                filling.hand_over(1, model);
                filled += 1;
            }
        }
    }
    if model.headers[number].end_writing(id.generation) == LetGo::Freed {
        pass_on(model, model);
    }
    Some(filled == total)
}

/// What a worker does with a claimed segment, until the end or for `most` chunks; what there was last.
fn read(model: &Model, id: SegmentId, worker: u16, most: u64) -> Next {
    let number = id.number as usize;
    let mut taking = Taking::new(&model.headers[number], 1);
    let mut last = Next::Pending;
    while taking.bytes() < most || last == Next::Pending {
        last = taking.poll();
        match last {
            Next::Pending => model.workers[usize::from(worker)].wait(),
            Next::Chunk => {
                assert!(taking.begun().is_some_and(|begun| taking.bytes() < begun.total));
                let chunk = &model.chunks[number][taking.held().unwrap().index];
                assert_eq!(chunk.get(), (id.generation, taking.bytes()), "each in its turn, and of this use");
                taking.give_back(model);
            }
            Next::End | Next::Elsewhere | Next::Failed(_) | Next::Broken => break,
        }
    }
    match model.headers[number].end_reading(id.generation, worker) {
        LetGo::Freed => pass_on(model, model),
        LetGo::OtherSide => model.cache(),
        LetGo::NotHeld => panic!("it had it"),
    }
    last
}

fn whole_transfer(total: u64) {
    let model = model(1);
    let id = claim(&model, 0);
    let its = model.clone();
    let writer = thread::spawn(move || write(&its, id, total));
    assert_eq!(read(&model, id, 0, u64::MAX), Next::End);
    // The worker may have given it back before the writer had let go.
    writer.join().unwrap().unwrap();
    assert!(is_idle(&*model));
}

#[test]
fn chunks_come_in_order_and_nobody_sleeps_for_ever() {
    let executions: usize = [(0, 3), (1, 3), (3, 2)]
        .map(|(total, preemptions)| check(preemptions, move || whole_transfer(total)))
        .iter()
        .sum();
    assert!(executions > 1000);
}

/// The writer says that the contents come by another way, and may die at any of its steps.
fn elsewhere(point: Option<CrashPoint>) {
    let model = model(1);
    let id = claim(&model, 0);
    let its = model.clone();
    let tells = move || {
        let mut filling = Filling::pick_up(&its.headers[0], id.generation, 2).unwrap();
        filling.announce_elsewhere(5, 9, &*its);
        if its.headers[0].end_writing(id.generation) == LetGo::Freed {
            pass_on(&*its, &*its);
        }
    };
    let writer = thread::spawn(move || match point {
        Some(point) => mortal(point as u8, 1, tells),
        None => {
            tells();
            false
        }
    });
    let its = model.clone();
    let reader = thread::spawn(move || read(&its, id, 0, u64::MAX));
    if writer.join().unwrap() {
        repair::cache_died(&*model, &*model);
    }
    let last = reader.join().unwrap();
    // What was said before the death holds.
    let was_said = point != Some(CrashPoint::TransferPickedUp);
    assert_eq!(last, if was_said { Next::Elsewhere } else { Next::Broken });
    assert!(is_idle(&*model), "{:?}", repair::count(&*model));
}

#[test]
fn contents_that_come_by_another_way_are_told_even_by_one_who_dies_then() {
    let points = [None, Some(CrashPoint::TransferPickedUp), Some(CrashPoint::TransferAnnounced)];
    let executions: usize = points.map(|point| check(3, move || elsewhere(point))).iter().sum();
    assert!(executions > 30);
}

#[test]
fn a_transfer_that_fails_in_the_middle_says_so() {
    let executions = check(3, || {
        let model = model(1);
        let id = claim(&model, 0);
        let its = model.clone();
        let writer = thread::spawn(move || {
            let mut filling = Filling::pick_up(&its.headers[0], id.generation, 2).unwrap();
            filling.announce(2, 0, &*its);
            assert_eq!(filling.room(), Room::Chunk(0));
            its.chunks[0][0].set((id.generation, 0));
            filling.hand_over(1, &*its);
            filling.fail(7, &*its);
            _ = its.headers[0].end_writing(id.generation);
        });
        assert_eq!(read(&model, id, 0, u64::MAX), Next::Failed(7));
        writer.join().unwrap();
        assert!(is_idle(&*model));
    });
    assert!(executions > 100);
}

/// One worker gives up in the middle; another claims the segment, and has its contents written by another thread of the cache process.
fn given_up_and_used_anew() {
    let model = model(1);
    let id = claim(&model, 0);
    let its = model.clone();
    let late = thread::spawn(move || write(&its, id, 3));
    let its = model.clone();
    let next = thread::spawn(move || {
        let id = claim(&its, 1);
        assert_eq!(write(&its, id, 1), Some(true));
        assert_eq!(read(&its, id, 1, u64::MAX), Next::End);
    });
    let last = read(&model, id, 0, 1);
    assert!(last == Next::Chunk || last == Next::End, "{last:?}");
    late.join().unwrap();
    next.join().unwrap();
    assert!(is_idle(&*model));
    assert_eq!(write(&model, id, 1), None, "a request that comes late");
}

#[test]
fn what_is_given_up_is_not_written_under_its_next_owner() {
    assert!(check(2, given_up_and_used_anew) > 100);
}

/// The cache process dies at `point`; the worker, which is at it meanwhile, is told, and the segment is used again.
fn a_writer_dies(point: CrashPoint, hit: u32) {
    let model = model(1);
    let id = claim(&model, 0);
    let its = model.clone();
    let dying = thread::spawn(move || mortal(point as u8, hit, || _ = write(&its, id, 2)));
    let its = model.clone();
    let reader = thread::spawn(move || read(&its, id, 0, u64::MAX));
    let died = dying.join().unwrap();
    repair::cache_died(&*model, &*model);
    let last = reader.join().unwrap();
    assert!(last == Next::Broken && died || last == Next::End, "{last:?}");
    assert!(is_idle(&*model), "{:?}", repair::count(&*model));
    let id = claim(&model, 0);
    assert_eq!(write(&model, id, 1), Some(true));
    assert_eq!(read(&model, id, 0, u64::MAX), Next::End);
}

#[test]
fn a_writer_that_dies_leaves_nobody_asleep_and_nothing_behind() {
    let points = [
        (CrashPoint::TransferPickedUp, 1),
        (CrashPoint::TransferAnnounced, 1),
        (CrashPoint::TransferFilled, 1),
        (CrashPoint::TransferFilled, 2),
        (CrashPoint::TransferHandedOver, 1),
        (CrashPoint::TransferHandedOver, 2),
    ];
    let executions: usize = points.map(|(point, hit)| check(2, move || a_writer_dies(point, hit))).iter().sum();
    assert!(executions > 100);
}

/// Another worker claims the segment, and gives it back.
fn claim_and_free(model: &Model, worker: u16) {
    let id = claim(model, worker);
    assert_eq!(model.headers[id.number as usize].end_reading(id.generation, worker), LetGo::Freed);
    pass_on(model, model);
}

/// A worker dies between the claim and its request.
fn a_claimant_dies(point: CrashPoint) {
    let model = model(1);
    let its = model.clone();
    let dying = thread::spawn(move || mortal(point as u8, 1, || _ = claim(&its, 0)));
    let its = model.clone();
    let next = thread::spawn(move || claim_and_free(&its, 1));
    assert!(dying.join().unwrap(), "{point:?} was not passed");
    repair::worker_died(&*model, 0, &*model);
    next.join().unwrap();
    assert!(is_idle(&*model), "{:?}", repair::count(&*model));
}

#[test]
fn a_worker_that_dies_with_a_segment_that_nobody_knows_of_holds_up_nobody() {
    for point in [CrashPoint::TransferClaimed, CrashPoint::TransferOffered] {
        assert!(check(2, move || a_claimant_dies(point)) > 10);
    }
}

#[test]
fn a_worker_that_dies_in_a_transfer_keeps_no_writer_and_no_segment() {
    for (point, hit) in [(CrashPoint::TransferTaken, 1), (CrashPoint::TransferReturned, 1)] {
        let executions = check(2, move || {
            let model = model(1);
            let id = claim(&model, 0);
            let its = model.clone();
            let dying = thread::spawn(move || mortal(point as u8, hit, || _ = read(&its, id, 0, u64::MAX)));
            let its = model.clone();
            let writer = thread::spawn(move || write(&its, id, 3));
            assert!(dying.join().unwrap(), "{point:?} was not passed");
            repair::worker_died(&*model, 0, &*model);
            writer.join().unwrap().unwrap();
            assert!(is_idle(&*model), "{:?}", repair::count(&*model));
            claim_and_free(&model, 1);
        });
        assert!(executions > 10);
    }
}

#[test]
fn the_oldest_ticket_comes_first_and_no_segment_lies_idle_beside_one() {
    let executions = check(2, || {
        let model = model(1);
        let held = claim(&model, 2);
        let waiting = [0, 1].map(|worker| {
            let its = model.clone();
            thread::spawn(move || claim_and_free(&its, worker))
        });
        assert_eq!(model.headers[0].end_reading(held.generation, 2), LetGo::Freed);
        pass_on(&*model, &*model);
        waiting.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(is_idle(&*model));
    });
    assert!(executions > 100);
}

#[test]
fn who_gives_up_waiting_lets_the_next_one_by() {
    let executions = check(3, || {
        let model = model(1);
        let its = model.clone();
        let fickle = thread::spawn(move || {
            let mut claimant = Claimant::new(&*its, 0, 1, &*its);
            let ticket = claimant.draw();
            assert!(claimant.cancel(ticket) && !claimant.cancel(ticket));
        });
        let id = claim(&model, 1);
        assert_eq!(id.generation, 1);
        fickle.join().unwrap();
    });
    assert!(executions > 10);
}

/// Whether `body` finds `defect`, and nothing without it.
fn finds(defect: Defect, body: impl Fn() + Sync + Send + Copy + 'static) -> bool {
    check(2, body);
    defect::introduce(Some(defect));
    let found = panic::catch_unwind(panic::AssertUnwindSafe(|| check(2, body))).is_err();
    defect::introduce(None);
    found
}

#[test]
fn each_defect_that_is_put_in_is_found() {
    assert!(finds(Defect::EarlyFree, given_up_and_used_anew));
    assert!(finds(Defect::NoSecondLook, || whole_transfer(1)));
    assert!(finds(Defect::StaleTicket, || a_claimant_dies(CrashPoint::TransferClaimed)));
}
