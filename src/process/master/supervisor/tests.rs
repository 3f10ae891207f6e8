//! The supervisor against a world in which every action may fail.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::event::*;
use super::slot::{SlotId, State};
use super::state::*;
use crate::base::limits::MAX_WORKERS;

const TIMEOUT_NS: u64 = 10 * SECOND_NS;
const WORKERS: usize = 3;

/// What kinds of action fail at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Failing {
    start_worker: bool,
    start_journal: bool,
    kill: bool,
    settle: bool,
    check: bool,
    execute: bool,
}

/// A process of the world.
#[derive(Clone, Copy, Debug, Default)]
struct Process {
    asked_to_leave: bool,
    killed: bool,
    /// It shows no life.
    hangs: bool,
    heartbeat_ns: u64,
}

/// Children without processes, and a driver without a kernel. It holds each action against what may be done now.
struct World {
    supervisor: Supervisor,
    now_ns: u64,
    processes: BTreeMap<SlotId, Process>,
    unsettled: BTreeSet<usize>,
    lanes: BTreeSet<usize>,
    failing: Failing,
    /// The new program was asked and has not answered.
    asked: bool,
    answers: BTreeMap<u32, bool>,
    said: Vec<String>,
    listening: bool,
    snapshots_done: u64,
    next_pid: i32,
    executed: usize,
}

impl World {
    fn new(journal: bool) -> World {
        let now_ns = 1000 * SECOND_NS;
        let mut world = World {
            supervisor: Supervisor::new(now_ns, WORKERS, journal, true),
            now_ns,
            processes: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            lanes: BTreeSet::new(),
            failing: Failing::default(),
            asked: false,
            answers: BTreeMap::new(),
            said: Vec::new(),
            listening: true,
            snapshots_done: 0,
            next_pid: 1,
            executed: 0,
        };
        world.turn();
        world
    }

    fn observation(&self) -> Observation {
        let mut workers = [WorkerSeen::default(); MAX_WORKERS];
        for (index, seen) in workers.iter_mut().enumerate() {
            if let Some(process) = self.processes.get(&SlotId::Worker(index)) {
                *seen = WorkerSeen { heartbeat_ns: process.heartbeat_ns, serving: !process.hangs };
            }
        }
        let journal = self.processes.get(&SlotId::Journal);
        Observation {
            workers,
            journal_heartbeat_ns: journal.map_or(0, |process| process.heartbeat_ns),
            snapshots_done: self.snapshots_done,
            snapshot: 0,
            worker_timeout_ns: TIMEOUT_NS,
        }
    }

    /// One turn of the driver's loop: whoever was killed or asked to leave does so, then the supervisor has its turn.
    fn turn(&mut self) {
        let now = self.now_ns;
        for process in self.processes.values_mut().filter(|process| !process.hangs) {
            process.heartbeat_ns = now;
        }
        let all = (0..MAX_WORKERS).map(SlotId::Worker).chain([SlotId::Journal]);
        for id in all {
            match self.processes.get(&id) {
                Some(process) if process.killed => self.end(id, Ended::Crashed, false),
                Some(process) if process.asked_to_leave && !process.hangs => self.end(id, Ended::Orderly, false),
                _ => {}
            }
        }
        self.supervisor.observe(now, &self.observation());
        while let Some(action) = self.supervisor.next_action() {
            if let Some(event) = self.perform(action) {
                self.supervisor.handle(now, event);
            }
        }
        let look = self.supervisor.next_look_ns(now);
        assert!(look <= now + TICK_NS);
    }

    /// Turns until `seconds` have passed, each time as late as the supervisor allows.
    fn pass(&mut self, seconds: u64) {
        let end = self.now_ns + seconds * SECOND_NS;
        let mut turns = 0;
        while self.now_ns < end {
            // At least the microsecond that a turn takes.
            self.now_ns = self.supervisor.next_look_ns(self.now_ns).max(self.now_ns + 1000);
            self.turn();
            turns += 1;
            assert!(turns < seconds * 1100 + 50, "the loop spins: {:?}", self.supervisor);
        }
    }

    fn end(&mut self, id: SlotId, how: Ended, failed_early: bool) {
        if self.processes.remove(&id).is_none() {
            return;
        }
        if let SlotId::Worker(index) = id {
            self.unsettled.insert(index);
        }
        self.next_pid += 1;
        let end = End { pid: self.next_pid, text: format!("{how:?}"), how, failed_early };
        self.supervisor.handle(self.now_ns, Event::Ended(id, end));
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        let failing = self.failing;
        match action {
            Action::Start(id) => {
                assert!(!self.processes.contains_key(&id), "{id} runs already");
                if let SlotId::Worker(index) = id {
                    assert!(!self.unsettled.contains(&index), "{id}: what its predecessor left is not seen to");
                    assert!(self.listening, "no worker is started by a stopping instance");
                    self.lanes.insert(index);
                }
                let fails = if id == SlotId::Journal { failing.start_journal } else { failing.start_worker };
                if fails {
                    return Some(Event::NotStarted(id, "cannot fork: EAGAIN".to_owned()));
                }
                self.processes.insert(id, Process { heartbeat_ns: self.now_ns, ..Process::default() });
                return Some(Event::Started(id));
            }
            Action::Kill(id) => {
                assert!(self.processes.contains_key(&id), "{id} does not run");
                if failing.kill {
                    return Some(Event::NotKilled(id, "EPERM".to_owned()));
                }
                self.processes.get_mut(&id)?.killed = true;
            }
            Action::AskToLeave(id) => {
                self.processes.get_mut(&id).unwrap_or_else(|| panic!("{id} does not run")).asked_to_leave = true;
            }
            Action::Settle(index) => {
                assert!(self.unsettled.contains(&index), "there is nothing to settle");
                if failing.settle {
                    return None;
                }
                self.unsettled.remove(&index);
                return Some(Event::Settled(index));
            }
            Action::CloseLane(index) => {
                assert!(!self.processes.contains_key(&SlotId::Worker(index)) && !self.unsettled.contains(&index));
                assert!(self.lanes.remove(&index), "worker {index} has no lane");
            }
            Action::TellWorkersToStop | Action::TellWorkersToHurry => {
                let workers = self.processes.iter_mut().filter(|(name, _)| **name != SlotId::Journal);
                workers.for_each(|(_, process)| process.asked_to_leave = true);
            }
            Action::CloseListeners => self.listening = false,
            Action::CheckNewProgram => {
                assert!(!std::mem::replace(&mut self.asked, !failing.check), "it was asked already");
                return failing.check.then(|| Event::Checked(Err("it does not fit".to_owned())));
            }
            Action::AbandonCheck => self.asked = false,
            Action::Execute => {
                assert!(self.supervisor.actions.is_empty(), "nothing is done behind it");
                if failing.execute {
                    return Some(Event::NotExecuted("ENOEXEC".to_owned()));
                }
                // The state goes through the hand-over as it does in an upgrade.
                let text = serde_json::to_string(&self.supervisor).unwrap();
                self.supervisor = serde_json::from_str(&text).unwrap();
                self.supervisor.resume_upgraded(self.now_ns);
                self.executed += 1;
            }
            Action::Answer(id, answer) => {
                assert!(self.answers.insert(id, answer.is_ok()).is_none(), "request {id} is answered twice");
            }
            Action::CountDeath(_) | Action::CountFailedStart(_) => {}
            Action::Say(_, text) => self.said.push(text),
        }
        None
    }

    fn running(&self) -> usize {
        self.processes.len()
    }

    fn has_said(&self, text: &str) -> usize {
        self.said.iter().filter(|said| said.contains(text)).count()
    }

    fn ask(&mut self, id: u32, request: Request) {
        self.supervisor.handle(self.now_ns, Event::Requested { id: Some(id), request });
        self.turn();
    }

    fn stop(&mut self) {
        self.supervisor.handle(self.now_ns, Event::Ordered(Order::Stop { signal: "SIGTERM" }));
        self.turn();
    }
}

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
        ("everybody has died", |world| {
            (0..WORKERS).for_each(|i| world.end(SlotId::Worker(i), Ended::Crashed, false));
            world.end(SlotId::Journal, Ended::Crashed, false);
        }),
        ("a worker hangs", |world| {
            world.processes.get_mut(&SlotId::Worker(1)).unwrap().hangs = true;
            world.pass(11);
        }),
        ("the journal process hangs", |world| {
            world.processes.get_mut(&SlotId::Journal).unwrap().hangs = true;
            world.pass(31);
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

/// Each action that may fail, alone and all together.
fn failures() -> Vec<Failing> {
    let none = Failing::default();
    vec![
        Failing { start_worker: true, ..none },
        Failing { start_journal: true, ..none },
        Failing { kill: true, ..none },
        Failing { settle: true, ..none },
        Failing { check: true, ..none },
        Failing { execute: true, ..none },
        Failing { start_worker: true, start_journal: true, kill: true, settle: true, check: true, execute: true },
    ]
}

/// Whatever fails, whenever: nobody is ended for it, it is tried again, and when it succeeds all are there.
#[test]
fn every_failing_action_in_every_state_is_survived() {
    for (state, reach) in states() {
        for failing in failures() {
            let mut world = World::new(true);
            assert_eq!(world.running(), WORKERS + 1);
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
                let wanted = world.supervisor.workers.iter().flatten().count() + 1;
                assert_eq!(world.running(), wanted, "{state}, {failing:?}: all are back: {:?}", world.supervisor);
                assert!(world.unsettled.is_empty() && wanted >= WORKERS - 1, "{state}, {failing:?}");
                assert_eq!(world.supervisor.pending_request(), None, "{state}, {failing:?}: every request is answered");
                world.answers.clear();
            }
            world.stop();
            world.pass(15);
            assert!(world.supervisor.is_over(), "{state}, {failing:?}: {:?}", world.supervisor);
            assert_eq!(world.running(), 0, "{state}, {failing:?}");
        }
    }
}

#[test]
fn a_stop_ends_also_while_actions_fail_as_soon_as_they_succeed() {
    for (state, reach) in states() {
        for failing in failures() {
            let mut world = World::new(true);
            world.failing = failing;
            reach(&mut world);
            world.stop();
            world.pass(12);
            world.failing = Failing::default();
            world.asked = false;
            world.pass(45);
            assert!(world.supervisor.is_over(), "{state}, {failing:?}: {:?}", world.supervisor);
            assert_eq!((world.running(), world.unsettled.len()), (0, 0), "{state}, {failing:?}");
        }
    }
}

#[test]
fn a_shortage_that_lasts_is_said_less_and_less_often() {
    let mut world = World::new(true);
    world.failing.start_worker = true;
    world.end(SlotId::Worker(0), Ended::Crashed, false);
    world.pass(60);
    assert_eq!(world.running(), WORKERS, "everybody else is there");
    let said = world.has_said("worker 0 cannot be started: cannot fork: EAGAIN");
    assert!((5..10).contains(&said), "{:?}", world.said);
    world.failing.start_worker = false;
    world.pass(3);
    assert_eq!((world.running(), world.has_said("worker 0 is back, after")), (WORKERS + 1, 1));
}

#[test]
fn a_journal_that_cannot_be_written_ends_everything_at_once() {
    let mut world = World::new(true);
    world.ask(1, Request::Snapshot { wanted: 1 });
    world.end(SlotId::Journal, Ended::JournalFailed, false);
    world.pass(1);
    assert!(world.supervisor.is_over() && world.supervisor.journal_failed());
    assert_eq!((world.running(), world.answers.get(&1)), (0, Some(&false)));
}

#[test]
fn a_stopping_instance_still_needs_its_journal_process() {
    let mut world = World::new(true);
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
fn three_orders_to_stop_are_enough_when_there_can_be_no_journal_process() {
    let mut world = World::new(true);
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
    let mut world = World::new(true);
    world.now_ns += 100 * SECOND_NS;
    world.supervisor.observe(world.now_ns, &world.observation());
    assert_eq!(world.has_said("no life"), 0);
    world.pass(5);
    assert_eq!((world.running(), world.has_said("no life")), (WORKERS + 1, 0));
}

#[test]
fn an_upgrade_replaces_one_after_the_other() {
    let mut world = World::new(true);
    world.ask(1, Request::Upgrade);
    assert!(world.asked);
    world.ask(2, Request::Upgrade);
    assert_eq!(world.answers.get(&2), Some(&false), "one is under way");
    // A worker that dies meanwhile is replaced as ever.
    world.end(SlotId::Worker(0), Ended::Crashed, false);
    world.pass(1);
    assert_eq!(world.running(), WORKERS + 1);
    world.asked = false;
    world.supervisor.handle(world.now_ns, Event::Checked(Ok("new".to_owned())));
    for _ in 0..1000 {
        world.now_ns += 1_000_000;
        world.turn();
        assert!(world.running() >= WORKERS - 1, "one worker at a time, beside the journal process");
    }
    assert_eq!((world.executed, world.answers.get(&1)), (1, Some(&true)));
    assert!(
        world
            .supervisor
            .workers
            .iter()
            .flatten()
            .all(|slot| { slot.state == State::Running { killed: false, of_old_program: false } })
    );
}

#[test]
fn a_new_program_that_does_not_answer_is_not_waited_for() {
    let mut world = World::new(true);
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
    let mut world = World::new(true);
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
    let mut world = World::new(true);
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
    let failing = proptest::array::uniform6(any::<bool>()).prop_map(|[a, b, c, d, e, f]| Failing {
        start_worker: a,
        start_journal: b,
        kill: c,
        settle: d,
        check: e,
        execute: f,
    });
    prop_oneof![
        (0..6usize).prop_map(Blow::Kill),
        Just(Blow::KillJournal),
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
        let mut world = World::new(true);
        for (id, blow) in (1..).zip(blows) {
            let now = world.now_ns;
            match blow {
                Blow::Kill(index) => world.end(SlotId::Worker(index), Ended::Crashed, false),
                Blow::KillJournal => world.end(SlotId::Journal, Ended::Crashed, false),
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
            prop_assert_eq!(world.running(), wanted + 1, "{:?}", world.supervisor);
            prop_assert!(wanted >= 1 && world.unsettled.is_empty());
            prop_assert_eq!(world.lanes.len(), wanted);
        }
        prop_assert_eq!(world.supervisor.pending_request(), None);
    }
}
