//! The supervisor against a world in which every action may fail.

use proptest::prelude::*;

use super::event::*;
use super::slot::{SlotId, State};
use super::state::*;
use super::world::{ALL, BESIDE_WORKERS, Failing, WORKERS, World};

/// How to get into a state from a world that serves.
type Reach = fn(&mut World);

/// Each state that the world can be in when an action fails.
fn states() -> Vec<(&'static str, Reach)> {
    vec![
        ("serving", |_| {}),
        ("a worker has died", |world| world.end(SlotId::Worker(1), Ended::Crashed, false)),
        ("a worker failed early", |world| world.end(SlotId::Worker(1), Ended::Crashed, true)),
        ("all workers have died", |world| {
            (0..WORKERS).for_each(|i| world.end(SlotId::Worker(i), Ended::Crashed, false));
        }),
        ("the journal process has died", |world| world.end(SlotId::Journal, Ended::Crashed, false)),
        ("the cache process has died", |world| world.end(SlotId::Cache, Ended::Crashed, false)),
        ("the cache process failed early", |world| world.end(SlotId::Cache, Ended::Crashed, true)),
        ("the cache process has left unasked", |world| world.end(SlotId::Cache, Ended::Orderly, false)),
        ("the replica process has died", |world| world.end(SlotId::Replica, Ended::Crashed, false)),
        ("the replica process failed early", |world| world.end(SlotId::Replica, Ended::Crashed, true)),
        ("the replica process has left unasked", |world| world.end(SlotId::Replica, Ended::Orderly, false)),
        ("the replica process hangs", |world| {
            if let Some(process) = world.processes.get_mut(&SlotId::Replica) {
                process.hangs = true;
            }
            world.pass(11);
        }),
        ("everybody has died", |world| {
            (0..WORKERS).for_each(|i| world.end(SlotId::Worker(i), Ended::Crashed, false));
            world.end(SlotId::Replica, Ended::Crashed, false);
            world.end(SlotId::Journal, Ended::Crashed, false);
            world.end(SlotId::Cache, Ended::Crashed, false);
        }),
        ("a worker hangs", |world| {
            world.processes.get_mut(&SlotId::Worker(1)).unwrap().hangs = true;
            world.pass(11);
        }),
        ("the journal process hangs", |world| {
            world.processes.get_mut(&SlotId::Journal).unwrap().hangs = true;
            world.pass(31);
        }),
        ("the cache process hangs", |world| {
            world.processes.get_mut(&SlotId::Cache).unwrap().hangs = true;
            world.pass(11);
        }),
        ("one more is wanted", |world| world.supervisor.handle(world.now_ns, Event::Ordered(Order::AddWorker))),
        ("one less is wanted", |world| {
            world.supervisor.handle(world.now_ns, Event::Ordered(Order::RemoveWorker { connections: vec![] }));
        }),
        ("a worker is drained", |world| world.ask(1, Request::Drain { worker: 1, connections: 5 })),
        ("a drained worker has died", |world| {
            world.ask(1, Request::Drain { worker: 1, connections: 5 });
            world.end(SlotId::Worker(1), Ended::Crashed, false);
        }),
        ("a new program was asked", |world| world.ask(1, Request::Upgrade)),
        ("a new program has answered", |world| {
            world.ask(1, Request::Upgrade);
            if std::mem::replace(&mut world.asked, false) {
                world.supervisor.handle(world.now_ns, Event::Checked(Ok("new".to_owned())));
            }
        }),
    ]
}

/// Those in which the books are to be remade.
fn stale_states() -> Vec<(&'static str, Reach)> {
    vec![
        ("the books are stale", |world| world.end(SlotId::Replica, Ended::BooksStale, false)),
        ("the books are stale while a worker is dead", |world| {
            world.end(SlotId::Worker(1), Ended::Crashed, false);
            world.end(SlotId::Replica, Ended::BooksStale, true);
        }),
        ("the books are stale while a worker is drained", |world| {
            world.ask(1, Request::Drain { worker: 1, connections: 5 });
            world.end(SlotId::Replica, Ended::BooksStale, false);
        }),
        ("the books are stale while a new program is asked", |world| {
            world.ask(1, Request::Upgrade);
            world.end(SlotId::Replica, Ended::BooksStale, false);
        }),
    ]
}

/// Each action that may fail, alone and all together.
fn failures() -> Vec<Failing> {
    let none = Failing::default();
    vec![
        Failing { start_worker: true, ..none },
        Failing { start_journal: true, ..none },
        Failing { start_cache: true, ..none },
        Failing { kill: true, ..none },
        Failing { settle: true, ..none },
        Failing { check: true, ..none },
        Failing { execute: true, ..none },
        Failing { start_replica: true, ..none },
        Failing { hand_over: true, ..none },
        Failing { remake: true, ..none },
        Failing {
            start_replica: true,
            hand_over: true,
            remake: true,
            start_worker: true,
            start_journal: true,
            start_cache: true,
            kill: true,
            settle: true,
            check: true,
            execute: true,
        },
    ]
}

/// Whatever fails, whenever: nobody is ended for it, it is tried again, and when it succeeds all are there.
#[test]
fn every_failing_action_in_every_state_is_survived() {
    for (state, reach) in states().into_iter().chain(stale_states()) {
        for failing in failures() {
            let mut world = World::new();
            assert_eq!(world.running(), ALL);
            // The state is reached before, or while, the action fails.
            for before in [true, false] {
                if !before {
                    world.failing = failing;
                }
                reach(&mut world);
                world.failing = failing;
                world.pass(3);
                assert!(!world.supervisor.is_over() && world.listening, "{state}, {failing:?}: it goes on");
                world.failing = Failing::default();
                world.asked = false;
                world.pass(60);
                let wanted = world.supervisor.workers.iter().flatten().count() + BESIDE_WORKERS;
                assert_eq!(world.running(), wanted, "{state}, {failing:?}: all are back: {:?}", world.supervisor);
                assert!(world.unsettled.is_empty() && wanted >= ALL - 2, "{state}, {failing:?}");
                assert_eq!(world.supervisor.pending_request(), None, "{state}, {failing:?}: every request is answered");
                world.answers.clear();
            }
            world.stop();
            world.pass_to_the_end(15);
            assert!(world.supervisor.is_over(), "{state}, {failing:?}: {:?}", world.supervisor);
            assert_eq!(world.running(), 0, "{state}, {failing:?}");
        }
    }
}

#[test]
fn a_stop_ends_also_while_actions_fail_as_soon_as_they_succeed() {
    for (state, reach) in states().into_iter().chain(stale_states()) {
        for failing in failures() {
            let mut world = World::new();
            world.failing = failing;
            reach(&mut world);
            world.stop();
            world.pass(12);
            world.failing = Failing::default();
            world.asked = false;
            world.pass_to_the_end(45);
            assert!(world.supervisor.is_over(), "{state}, {failing:?}: {:?}", world.supervisor);
            assert_eq!((world.running(), world.unsettled.len()), (0, 0), "{state}, {failing:?}");
        }
    }
}

#[test]
fn a_shortage_that_lasts_is_said_less_and_less_often() {
    let mut world = World::new();
    world.failing.start_worker = true;
    world.end(SlotId::Worker(0), Ended::Crashed, false);
    world.pass(60);
    assert_eq!(world.running(), ALL - 1, "everybody else is there");
    let said = world.has_said("worker 0 cannot be started: cannot fork: EAGAIN");
    assert!((5..10).contains(&said), "{:?}", world.said);
    world.failing.start_worker = false;
    world.pass(3);
    assert_eq!((world.running(), world.has_said("worker 0 is back, after")), (ALL, 1));
}

#[test]
fn a_journal_that_cannot_be_written_ends_everything_at_once() {
    let mut world = World::new();
    world.ask(1, Request::Snapshot { wanted: 1 });
    world.end(SlotId::Journal, Ended::JournalFailed, false);
    world.pass(1);
    assert!(world.supervisor.is_over() && world.supervisor.journal_failed());
    assert_eq!((world.running(), world.answers.get(&1)), (0, Some(&false)));
}

#[test]
fn a_stopping_instance_still_needs_its_journal_process() {
    let mut world = World::new();
    world.processes.get_mut(&SlotId::Worker(0)).unwrap().hangs = true;
    world.stop();
    world.end(SlotId::Journal, Ended::Crashed, false);
    world.pass(1);
    assert!(world.processes.contains_key(&SlotId::Journal), "what is queued must become durable");
    world.pass(10);
    assert_eq!(world.has_said("worker 0: no life for 10000 ms; killing it"), 1, "{:?}", world.said);
    assert!(world.supervisor.is_over());
}

#[test]
fn a_journal_process_that_leaves_for_an_upgrade_has_a_successor_also_when_a_stop_is_ordered_meanwhile() {
    let mut world = World::new();
    world.processes.get_mut(&SlotId::Worker(0)).unwrap().hangs = true;
    world.processes.get_mut(&SlotId::Journal).unwrap().hangs = true;
    world.ask(1, Request::Upgrade);
    world.turn();
    world.supervisor.handle(world.now_ns, Event::Checked(Ok("fits".to_owned())));
    // Leadership is handed over in the first turn.
    (0..3).for_each(|_| world.turn());
    assert!(world.processes[&SlotId::Journal].asked_to_leave);
    world.stop();
    world.end(SlotId::Journal, Ended::Orderly, false);
    world.pass(1);
    assert!(world.processes.contains_key(&SlotId::Journal), "what worker 0 has queued must become durable");
    world.pass(12);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
}

#[test]
fn a_stopping_instance_needs_its_cache_process_as_long_as_there_are_workers() {
    let mut world = World::new();
    world.processes.get_mut(&SlotId::Worker(0)).unwrap().hangs = true;
    world.stop();
    world.end(SlotId::Cache, Ended::Crashed, false);
    world.pass(1);
    assert!(world.processes.contains_key(&SlotId::Cache), "clients of that worker may wait for it");
    assert!(!world.processes[&SlotId::Cache].asked_to_leave);
    world.end(SlotId::Worker(0), Ended::Crashed, false);
    // What it left is settled in the first turn.
    (0..2).for_each(|_| world.turn());
    assert!(world.processes[&SlotId::Cache].asked_to_leave, "now nobody does");
    world.pass(2);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
}

#[test]
fn a_cache_process_that_does_not_leave_is_killed_when_the_stop_has_taken_too_long() {
    let mut world = World::new();
    world.stop();
    world.processes.get_mut(&SlotId::Cache).unwrap().hangs = true;
    // It shows that it lives, and does not leave.
    for _ in 0..11 {
        world.processes.entry(SlotId::Cache).and_modify(|process| process.heartbeat_ns = world.now_ns);
        world.pass(1);
    }
    assert_eq!(world.has_said("the cache process: the stop has taken too long; killing it"), 1, "{:?}", world.said);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
}

#[test]
fn a_cache_process_that_cannot_be_started_holds_no_stop_up() {
    let mut world = World::new();
    world.failing.start_cache = true;
    world.end(SlotId::Cache, Ended::Crashed, false);
    world.pass(5);
    assert_eq!(world.running(), ALL - 1, "everybody else is there");
    world.stop();
    world.pass(2);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
}

#[test]
fn the_third_order_to_stop_kills_the_cache_process_too() {
    let mut world = World::new();
    for id in [SlotId::Worker(0), SlotId::Cache] {
        world.processes.get_mut(&id).unwrap().hangs = true;
    }
    for _ in 0..3 {
        world.stop();
        world.turn();
    }
    world.pass(1);
    assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
}

#[test]
fn a_cache_process_that_fails_early_is_started_less_and_less_often_and_nobody_else_suffers() {
    let mut world = World::new();
    let mut starts = 0;
    let end = world.now_ns + 60 * SECOND_NS;
    while world.now_ns < end {
        if world.processes.contains_key(&SlotId::Cache) {
            starts += 1;
            world.end(SlotId::Cache, Ended::Crashed, true);
        }
        world.now_ns = world.supervisor.next_look_ns(world.now_ns).max(world.now_ns + 1000);
        world.turn();
        assert!(world.running() >= ALL - 1 && world.listening, "{:?}", world.supervisor);
    }
    assert!((30..60).contains(&starts), "{starts}");
    world.pass(3);
    assert_eq!(world.running(), ALL);
}

#[test]
fn three_orders_to_stop_are_enough_when_there_can_be_no_journal_process() {
    let mut world = World::new();
    world.failing.start_journal = true;
    world.end(SlotId::Journal, Ended::Crashed, false);
    world.stop();
    world.pass(30);
    assert!(!world.supervisor.is_over());
    world.stop();
    world.stop();
    world.pass(1);
    assert!(world.supervisor.is_over() && world.has_said("is lost") == 1);
}

#[test]
fn after_the_master_itself_was_stopped_nobody_is_late() {
    let mut world = World::new();
    world.now_ns += 100 * SECOND_NS;
    world.supervisor.observe(world.now_ns, &world.observation());
    assert_eq!(world.has_said("no life"), 0);
    world.pass(5);
    assert_eq!((world.running(), world.has_said("no life")), (ALL, 0));
}

#[test]
fn an_upgrade_replaces_one_after_the_other() {
    let mut world = World::new();
    world.ask(1, Request::Upgrade);
    assert!(world.asked);
    world.ask(2, Request::Upgrade);
    assert_eq!(world.answers.get(&2), Some(&false), "one is under way");
    // A worker that dies meanwhile is replaced as ever.
    world.end(SlotId::Worker(0), Ended::Crashed, false);
    world.pass(1);
    assert_eq!(world.running(), ALL);
    world.asked = false;
    world.supervisor.handle(world.now_ns, Event::Checked(Ok("new".to_owned())));
    for _ in 0..1000 {
        world.now_ns += 1_000_000;
        world.turn();
        assert!(world.running() >= ALL - 4, "one worker at a time, beside those that are no workers");
    }
    assert_eq!((world.executed, world.answers.get(&1)), (1, Some(&true)));
    assert!(
        world
            .supervisor
            .workers
            .iter()
            .flatten()
            .chain(&world.supervisor.journal)
            .chain(&world.supervisor.cache)
            .chain(&world.supervisor.replica)
            .all(|slot| { slot.state == State::Running { killed: false, of_old_program: false } })
    );
}

#[test]
fn a_new_program_that_does_not_answer_is_not_waited_for() {
    let mut world = World::new();
    world.ask(1, Request::Upgrade);
    world.pass(UPGRADE_SECONDS);
    assert_eq!((world.asked, world.answers.get(&1)), (false, Some(&false)));
    world.supervisor.handle(world.now_ns, Event::Checked(Ok("too late".to_owned())));
    world.turn();
    assert_eq!(world.executed, 0);
    world.ask(2, Request::Upgrade);
    assert!(world.asked, "and it can be asked again");
}

#[test]
fn workers_of_a_new_program_that_end_at_once_do_not_replace_the_others() {
    let mut world = World::new();
    world.ask(1, Request::Upgrade);
    world.asked = false;
    world.supervisor.handle(world.now_ns, Event::Checked(Ok("new".to_owned())));
    for _ in 0..200 {
        world.now_ns += 20_000_000;
        world.turn();
        // A new one never gets into its loop.
        if let Some(process) = world.processes.get_mut(&SlotId::Worker(0)) {
            process.hangs = true;
            world.end(SlotId::Worker(0), Ended::Crashed, true);
        }
    }
    assert_eq!(world.answers.get(&1), Some(&false));
    assert_eq!(world.has_said("2 workers") + world.has_said("3 workers"), 1, "{:?}", world.said);
    assert!([1, 2].iter().all(|&index| world.processes.contains_key(&SlotId::Worker(index))));
}

#[test]
fn what_is_under_way_goes_through_an_upgrade() {
    let mut world = World::new();
    world.ask(1, Request::Snapshot { wanted: 1 });
    world.supervisor.handle(world.now_ns, Event::Requested { id: None, request: Request::Upgrade });
    world.turn();
    world.asked = false;
    world.supervisor.handle(world.now_ns, Event::Checked(Ok("new".to_owned())));
    world.pass(2);
    assert_eq!((world.executed, world.answers.get(&1)), (1, None));
    world.snapshots_done = 1;
    world.pass(1);
    assert_eq!(world.answers.get(&1), Some(&true));
}

const UPGRADE_SECONDS: u64 = crate::base::limits::UPGRADE_ANSWER_SECONDS + 1;

/// What happens to the world from outside.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill(usize),
    KillJournal,
    KillCache,
    KillReplica,
    StillbornReplica,
    HangReplica,
    StaleBooks,
    StillbornCache,
    HangCache,
    Stillborn(usize),
    Hang(usize),
    More,
    Less,
    Drain(usize),
    Upgrade,
    Answer(bool),
    Fail(Failing),
    Pass(u64),
}

fn blow() -> impl Strategy<Value = Blow> {
    let failing = proptest::array::uniform10(any::<bool>()).prop_map(|[a, b, c, d, e, f, g, h, i, j]| Failing {
        start_worker: a,
        start_journal: b,
        kill: c,
        settle: d,
        check: e,
        execute: f,
        start_cache: g,
        start_replica: h,
        hand_over: i,
        remake: j,
    });
    prop_oneof![
        (0..6usize).prop_map(Blow::Kill),
        Just(Blow::KillJournal),
        Just(Blow::KillCache),
        Just(Blow::KillReplica),
        Just(Blow::StillbornReplica),
        Just(Blow::HangReplica),
        Just(Blow::StaleBooks),
        Just(Blow::StillbornCache),
        Just(Blow::HangCache),
        (0..6usize).prop_map(Blow::Stillborn),
        (0..6usize).prop_map(Blow::Hang),
        Just(Blow::More),
        Just(Blow::Less),
        (0..6usize).prop_map(Blow::Drain),
        Just(Blow::Upgrade),
        any::<bool>().prop_map(Blow::Answer),
        failing.prop_map(Blow::Fail),
        (1..13u64).prop_map(Blow::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    /// Whatever happens in whatever order, while whatever fails: afterwards all are there, and every request is answered once.
    #[test]
    fn no_order_of_events_is_fatal(blows in proptest::collection::vec(blow(), 1..40), stops in any::<bool>()) {
        let mut world = World::new();
        for (id, blow) in (1..).zip(blows) {
            let now = world.now_ns;
            match blow {
                Blow::Kill(index) => world.end(SlotId::Worker(index), Ended::Crashed, false),
                Blow::KillJournal => world.end(SlotId::Journal, Ended::Crashed, false),
                Blow::KillCache => world.end(SlotId::Cache, Ended::Crashed, false),
                Blow::KillReplica => world.end(SlotId::Replica, Ended::Crashed, false),
                Blow::StillbornReplica => world.end(SlotId::Replica, Ended::Crashed, true),
                Blow::StaleBooks => world.end(SlotId::Replica, Ended::BooksStale, false),
                Blow::HangReplica => if let Some(process) = world.processes.get_mut(&SlotId::Replica) {
                    process.hangs = true;
                },
                Blow::StillbornCache => world.end(SlotId::Cache, Ended::Crashed, true),
                Blow::HangCache => if let Some(process) = world.processes.get_mut(&SlotId::Cache) {
                    process.hangs = true;
                },
                Blow::Stillborn(index) => world.end(SlotId::Worker(index), Ended::Crashed, true),
                Blow::Hang(index) => if let Some(process) = world.processes.get_mut(&SlotId::Worker(index)) {
                    process.hangs = true;
                },
                Blow::More => world.supervisor.handle(now, Event::Ordered(Order::AddWorker)),
                Blow::Less => world.supervisor.handle(now, Event::Ordered(Order::RemoveWorker { connections: vec![1; 64] })),
                // One request at a time, as shared memory has it.
                Blow::Drain(_) | Blow::Upgrade if world.supervisor.pending_request().is_some() => {}
                Blow::Drain(worker) => world.ask(id, Request::Drain { worker, connections: 0 }),
                Blow::Upgrade => world.ask(id, Request::Upgrade),
                Blow::Answer(fits) => if std::mem::replace(&mut world.asked, false) {
                    let answer = if fits { Ok("new".to_owned()) } else { Err("no".to_owned()) };
                    world.supervisor.handle(now, Event::Checked(answer));
                },
                Blow::Fail(failing) => world.failing = failing,
                Blow::Pass(seconds) => world.pass(seconds),
            }
            world.turn();
        }
        world.failing = Failing::default();
        if stops {
            world.stop();
            world.pass(60);
            prop_assert!(world.supervisor.is_over(), "{:?}", world.supervisor);
            prop_assert_eq!(world.running(), 0);
        } else {
            world.pass(100);
            let wanted = world.supervisor.workers.iter().flatten().count();
            prop_assert_eq!(world.running(), wanted + BESIDE_WORKERS, "{:?}", world.supervisor);
            prop_assert!(wanted >= 1 && world.unsettled.is_empty());
            prop_assert_eq!(world.lanes.len(), wanted);
        }
        prop_assert_eq!(world.supervisor.pending_request(), None);
    }
}
