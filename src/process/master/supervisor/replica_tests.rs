//! The replica process: in which order others are stopped and replaced for its sake, and how the books are remade.

use super::event::*;
use super::slot::{Slot, SlotId, State};
use super::state::*;
use super::world::{ALL, OTHERS, WORKERS, World};
use crate::base::limits::{CLUSTER_REQUEST_SECONDS, HAND_OVER_SECONDS};

fn hang(world: &mut World, id: SlotId) {
    world.processes.get_mut(&id).unwrap().hangs = true;
}

/// It shows that it lives, and does not do what is asked of it.
fn pass_obstinately(world: &mut World, id: SlotId, seconds: u64) {
    for _ in 0..seconds {
        world.processes.entry(id).and_modify(|process| process.heartbeat_ns = world.now_ns);
        world.pass(1);
    }
}

#[test]
fn without_peers_there_is_none_and_nobody_waits_for_leadership() {
    let mut world = World::with(&OTHERS[..2]);
    assert_eq!(world.running(), ALL - 1);
    world.stop();
    assert!(world.told_to_stop);
    (0..3).for_each(|_| world.turn());
    assert!(world.supervisor.is_over() && world.hand_overs_wanted == 0, "{:?}", world.supervisor);
}

#[test]
fn it_is_started_before_those_that_wait_for_it() {
    let mut supervisor = Supervisor::new(0, WORKERS, &OTHERS, true);
    let world = World::new();
    supervisor.observe(0, &world.observation());
    let started = std::iter::from_fn(|| supervisor.next_action());
    let started: Vec<_> =
        started.filter_map(|action| if let Action::Start(id) = action { Some(id) } else { None }).collect();
    let workers = (0..WORKERS).map(SlotId::Worker);
    let wanted = [SlotId::Replica, SlotId::Journal, SlotId::Cache].into_iter().chain(workers);
    assert_eq!(started, wanted.collect::<Vec<_>>());
}

#[test]
fn a_stop_hands_leadership_over_then_stops_the_workers_then_it_then_the_journal_process() {
    // The world holds each action against this order; here is that none of them is left out.
    let mut world = World::new();
    hang(&mut world, SlotId::Replica);
    world.stop();
    assert!(!world.listening && !world.told_to_stop, "leadership goes first");
    world.processes.get_mut(&SlotId::Replica).unwrap().hangs = false;
    hang(&mut world, SlotId::Worker(0));
    (0..3).for_each(|_| world.turn());
    assert!(world.told_to_stop && !world.processes[&SlotId::Replica].asked_to_leave, "worker 0 may wait for it");
    hang(&mut world, SlotId::Replica);
    world.end(SlotId::Worker(0), Ended::Orderly, false);
    (0..3).for_each(|_| world.turn());
    assert!(world.processes[&SlotId::Replica].asked_to_leave && !world.processes[&SlotId::Journal].asked_to_leave);
    world.end(SlotId::Replica, Ended::Orderly, false);
    (0..3).for_each(|_| world.turn());
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
    assert_eq!(world.has_said("leadership was not handed over"), 0);
}

#[test]
fn a_stop_waits_no_longer_for_leadership_than_its_bound() {
    let mut world = World::new();
    world.failing.hand_over = true;
    world.stop();
    world.pass(HAND_OVER_SECONDS - 1);
    assert!(!world.told_to_stop);
    world.pass(2);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
    assert_eq!(world.has_said("leadership was not handed over: that has taken more than"), 1, "{:?}", world.said);
}

#[test]
fn a_second_order_to_stop_and_the_end_of_the_replica_process_end_the_wait_for_leadership() {
    let mut world = World::new();
    world.failing.hand_over = true;
    world.stop();
    world.stop();
    assert!(world.told_to_stop);
    world.pass(2);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
    let mut world = World::new();
    hang(&mut world, SlotId::Worker(0));
    world.failing.hand_over = true;
    world.stop();
    world.end(SlotId::Replica, Ended::Crashed, false);
    world.turn();
    assert!(world.told_to_stop && world.has_said("not handed over: the replica process has ended") == 1);
    assert!(world.processes.contains_key(&SlotId::Replica), "worker 0 waits for what is committed");
}

#[test]
fn one_that_does_not_leave_is_killed_when_the_stop_has_taken_too_long() {
    let mut world = World::new();
    world.stop();
    (0..2).for_each(|_| world.turn());
    hang(&mut world, SlotId::Replica);
    pass_obstinately(&mut world, SlotId::Replica, 12);
    assert_eq!(world.has_said("the replica process: the stop has taken too long; killing it"), 1, "{:?}", world.said);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
}

#[test]
fn one_that_cannot_be_started_holds_no_stop_up() {
    let mut world = World::new();
    world.failing.start_replica = true;
    world.end(SlotId::Replica, Ended::Crashed, false);
    world.pass(5);
    assert_eq!(world.running(), ALL - 1, "everybody else is there");
    world.stop();
    world.pass(2);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
}

#[test]
fn an_upgrade_hands_leadership_over_before_anything_is_replaced() {
    for fails in [false, true] {
        let mut world = World::new();
        world.failing.hand_over = fails;
        world.ask(1, Request::Upgrade);
        world.supervisor.handle(world.now_ns, Event::Checked(Ok("new".to_owned())));
        world.turn();
        assert_eq!((world.executed, world.hand_overs_wanted), (1, 1));
        assert!(world.processes.values().all(|process| !process.asked_to_leave), "leadership goes first");
        world.pass(HAND_OVER_SECONDS + 3);
        assert_eq!(world.answers.get(&1), Some(&true), "{:?}", world.supervisor);
        let new = |slot: &Slot| slot.state == State::Running { killed: false, of_old_program: false };
        assert!(world.supervisor.replica.as_ref().is_some_and(new) && world.running() == ALL);
        assert_eq!(world.has_said("leadership was not handed over"), usize::from(fails));
    }
}

#[test]
fn a_stop_in_the_middle_of_an_upgrade_hands_leadership_over_by_itself() {
    let mut world = World::new();
    world.failing.hand_over = true;
    world.ask(1, Request::Upgrade);
    world.supervisor.handle(world.now_ns, Event::Checked(Ok("new".to_owned())));
    world.turn();
    world.stop();
    assert_eq!((world.hand_overs_wanted, world.answers.get(&1)), (2, Some(&false)));
    world.failing.hand_over = false;
    world.pass(2);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
}

/// What is decided while the replica process is there is done when it has just gone: as two signals may come, of the stop and of its end.
#[test]
fn a_stop_while_the_replica_process_leaves_for_an_upgrade_waits_for_nobody() {
    let mut world = World::new();
    world.ask(1, Request::Upgrade);
    world.supervisor.handle(world.now_ns, Event::Checked(Ok("new".to_owned())));
    (0..2).for_each(|_| world.turn());
    assert!(world.processes[&SlotId::Replica].asked_to_leave, "{:?}", world.supervisor);
    world.stop();
    assert_eq!(world.has_said("leadership was not handed over: the replica process has ended"), 1, "{:?}", world.said);
    world.pass(2);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
    assert_eq!((world.running(), world.answers.get(&1)), (0, Some(&false)));
}

#[test]
fn stale_books_are_remade_while_nobody_has_them_and_the_cache_process_stays() {
    let mut world = World::new();
    let cache = world.processes[&SlotId::Cache].heartbeat_ns;
    world.end(SlotId::Worker(2), Ended::Crashed, false);
    world.end(SlotId::Replica, Ended::BooksStale, false);
    world.turn();
    assert!(world.processes.iter().all(|(&id, process)| process.killed != (id == SlotId::Cache)), "all that have them");
    world.pass(1);
    assert_eq!((world.running(), world.remakes), (ALL, 1));
    assert!(world.unsettled.is_empty() && world.listening);
    assert_eq!(world.has_said("the books are remade, as the cluster"), 1);
    assert!(world.processes[&SlotId::Cache].heartbeat_ns >= cache);
    assert_eq!(world.has_said("the cache process"), 0);
    // Two that died by themselves are failures; those that were killed for it are none.
    assert_eq!(world.deaths, [SlotId::Worker(2)], "{:?}", world.said);
}

#[test]
fn books_that_cannot_be_remade_now_are_remade_later() {
    let mut world = World::new();
    world.failing.remake = true;
    world.end(SlotId::Replica, Ended::BooksStale, false);
    world.pass(60);
    assert_eq!((world.running(), world.remakes), (1, 0), "nobody starts on books that mean nothing");
    let said = world.has_said("the books cannot be remade: cannot open: EMFILE");
    assert!((4..8).contains(&said), "{:?}", world.said);
    world.ask(1, Request::Upgrade);
    world.ask(2, Request::Drain { worker: 1, connections: 0 });
    assert_eq!((world.answers.get(&1), world.answers.get(&2)), (Some(&false), Some(&false)));
    world.failing.remake = false;
    world.pass(3);
    assert_eq!((world.running(), world.remakes), (ALL, 1));
}

#[test]
fn a_damaged_journal_ends_the_instance_when_the_books_are_to_be_remade() {
    let mut world = World::new();
    world.damaged = true;
    world.end(SlotId::Replica, Ended::BooksStale, false);
    world.pass(1);
    assert!(world.supervisor.is_over() && !world.supervisor.journal_failed(), "{:?}", world.supervisor);
    assert_eq!(world.has_said("the books cannot be remade: record 7 is damaged"), 1);
}

#[test]
fn a_process_that_does_not_die_is_waited_for_and_an_unsent_signal_is_sent_again() {
    let mut world = World::new();
    world.failing.kill = true;
    world.end(SlotId::Replica, Ended::BooksStale, false);
    world.pass(3);
    assert_eq!((world.running(), world.remakes), (ALL - 1, 0));
    world.failing.kill = false;
    // Not even by SIGKILL, as long as the kernel has it wait for a disk.
    world.undying = Some(SlotId::Journal);
    world.pass(3);
    assert_eq!((world.running(), world.remakes), (2, 0), "the cache process, and this one");
    world.undying = None;
    world.pass(1);
    assert_eq!((world.running(), world.remakes), (ALL, 1));
}

#[test]
fn a_stop_while_the_books_are_remade_ends_without_them() {
    for fails in [false, true] {
        let mut world = World::new();
        world.failing.remake = fails;
        world.undying = (!fails).then_some(SlotId::Worker(0));
        world.end(SlotId::Replica, Ended::BooksStale, false);
        world.pass(1);
        world.stop();
        world.undying = None;
        world.pass(2);
        assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
        assert_eq!((world.running(), world.remakes, world.unsettled.len()), (0, 0, 0));
    }
}

#[test]
fn a_replica_process_that_always_finds_stale_books_does_not_keep_the_master_busy() {
    let mut world = World::new();
    let end = world.now_ns + 60 * SECOND_NS;
    while world.now_ns < end {
        world.end(SlotId::Replica, Ended::BooksStale, true);
        world.now_ns = world.supervisor.next_look_ns(world.now_ns).max(world.now_ns + 1000);
        world.turn();
    }
    assert!((20..60).contains(&world.remakes), "{}", world.remakes);
    world.pass(3);
    assert_eq!(world.running(), ALL);
}

#[test]
fn what_is_asked_about_the_cluster_is_passed_on_and_answered_once() {
    let mut alone = World::with(&OTHERS[..2]);
    alone.ask(1, Request::Cluster);
    assert_eq!((alone.answers.get(&1), alone.replica_asked), (Some(&false), None), "there is nobody to ask");
    let mut world = World::new();
    world.ask(1, Request::Cluster);
    world.pass(2);
    assert_eq!((world.answers.get(&1), world.replica_asked), (None, Some(1)));
    // A successor answers what its predecessor was asked.
    world.end(SlotId::Replica, Ended::Crashed, false);
    world.pass(2);
    world.replica_answered = 1;
    world.pass(1);
    assert_eq!(world.answers.get(&1), Some(&true));
    world.ask(2, Request::Cluster);
    pass_obstinately(&mut world, SlotId::Replica, CLUSTER_REQUEST_SECONDS + 6);
    assert_eq!(world.answers.get(&2), Some(&false), "it is not waited for for ever");
    world.ask(3, Request::Cluster);
    world.stop();
    assert_eq!(world.answers.get(&3), Some(&false));
}
