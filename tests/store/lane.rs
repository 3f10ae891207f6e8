//! The lane against a model, between two threads, and after a death.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use bank_vault::ipc::lane::{Consumer, Full, LaneRing, LaneSemaphores, Producer, Taken, Ticket};
use bank_vault::ipc::segment::{self, Segment};
use bank_vault::ipc::semaphore;
use proptest::prelude::*;

/// A lane whose names are gone as soon as it is made.
struct Lane {
    rings: Segment<(), LaneRing>,
    semaphores: LaneSemaphores,
    depth: u32,
}

impl Lane {
    fn new(depth: u32) -> Lane {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let unique = format!("/vault-lane.{}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let names = ["slots", "items", "lock"].map(|which| format!("{unique}.{which}"));
        let rings = Segment::create(&unique, 1, 1, 1, |(), _| Ok(())).unwrap();
        let semaphores = LaneSemaphores::create(&names, depth).unwrap();
        segment::unlink(&unique).unwrap();
        names.iter().for_each(|name| semaphore::unlink(name).unwrap());
        Lane { rings, semaphores, depth }
    }

    fn ends(&self) -> (Producer<'_>, Consumer<'_>) {
        let ring = &self.rings.elements()[0];
        (Producer::new(ring, self.semaphores.clone(), self.depth), Consumer::new(ring, self.semaphores.clone()))
    }
}

fn ticket(number: u32) -> Ticket {
    Ticket { slot: number, generation: number ^ 0x5555, accepted_ns: u64::from(number) * 3 }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    Take,
    Retract,
    Reset,
}

proptest! {
    #[test]
    fn a_lane_is_a_bounded_queue(
        depth in 1u32..=256,
        steps in prop::collection::vec(
            prop_oneof![6 => Just(Step::Push), 5 => Just(Step::Take), 1 => Just(Step::Retract), 1 => Just(Step::Reset)],
            1..600,
        ),
    ) {
        let lane = Lane::new(depth);
        let (mut producer, mut consumer) = lane.ends();
        let mut model = VecDeque::new();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Push => {
                    let pushed = producer.push(ticket(number));
                    prop_assert_eq!(pushed, if model.len() < depth as usize { Ok(()) } else { Err(Full) });
                    if pushed.is_ok() {
                        model.push_back(ticket(number));
                    }
                }
                Step::Take => {
                    prop_assert_eq!(consumer.take(), model.pop_front().map_or(Taken::Empty, Taken::Ticket));
                }
                Step::Retract => {
                    producer.retract();
                    model.pop_back();
                }
                Step::Reset => {
                    producer.reset();
                    model.clear();
                }
            }
            prop_assert_eq!(producer.depth() as usize, model.len());
            let values = [lane.semaphores.items.value(), lane.semaphores.slots.value(), lane.semaphores.lock.value()];
            prop_assert_eq!(values, [producer.depth(), depth - producer.depth(), 1]);
        }
    }
}

#[test]
fn two_sides_at_once_lose_and_reorder_nothing() {
    const TICKETS: u32 = 200_000;
    let lane = Lane::new(8);
    let (mut producer, mut consumer) = lane.ends();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..TICKETS {
                while producer.push(ticket(number)).is_err() {
                    std::hint::spin_loop();
                }
            }
        });
        for number in 0..TICKETS {
            let taken = loop {
                if let Taken::Ticket(taken) = consumer.take() {
                    break taken;
                }
                std::thread::yield_now();
            };
            assert_eq!(taken, ticket(number));
        }
        assert_eq!(consumer.take(), Taken::Empty);
    });
}

#[test]
fn a_worker_that_died_at_the_ring_wedges_its_lane_only_until_the_reset() {
    let lane = Lane::new(4);
    let (mut producer, mut consumer) = lane.ends();
    producer.push(ticket(1)).unwrap();
    producer.push(ticket(2)).unwrap();
    // As a worker leaves it that is killed between the two semaphores of `take`.
    assert!(lane.semaphores.items.try_wait() && lane.semaphores.lock.try_wait());
    assert_eq!(producer.push(ticket(3)), Err(Full), "the master is told, and does not wait");
    producer.reset();
    assert_eq!(consumer.take(), Taken::Empty);
    for number in 0..4 {
        producer.push(ticket(number)).unwrap();
    }
    assert_eq!(producer.push(ticket(4)), Err(Full));
    assert_eq!(consumer.take(), Taken::Ticket(ticket(0)));
}

#[test]
fn a_ticket_that_cannot_be_taken_back_at_once_is_taken_back_before_the_next() {
    let lane = Lane::new(4);
    let (mut producer, mut consumer) = lane.ends();
    producer.push(ticket(1)).unwrap();
    producer.push(ticket(2)).unwrap();
    assert!(lane.semaphores.lock.try_wait(), "the worker is at the ring");
    producer.retract();
    assert_eq!(producer.push(ticket(3)), Err(Full));
    lane.semaphores.lock.post();
    producer.push(ticket(3)).unwrap();
    assert_eq!([consumer.take(), consumer.take()], [ticket(1), ticket(3)].map(Taken::Ticket));
    assert_eq!(consumer.take(), Taken::Empty);
}
