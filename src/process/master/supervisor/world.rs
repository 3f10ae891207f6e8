//! A world for the supervisor's tests: children without processes, and a driver without a kernel, in which every action may fail.

use std::collections::{BTreeMap, BTreeSet};

use super::event::*;
use super::slot::SlotId;
use super::state::*;
use crate::base::limits::{HAND_OVER_SECONDS, MAX_WORKERS};

pub(super) const TIMEOUT_NS: u64 = 10 * SECOND_NS;
pub(super) const WORKERS: usize = 3;
/// The journal process, the cache process and the replica process.
pub(super) const BESIDE_WORKERS: usize = OTHERS.len();
pub(super) const OTHERS: [SlotId; 3] = [SlotId::Journal, SlotId::Cache, SlotId::Replica];
pub(super) const ALL: usize = WORKERS + BESIDE_WORKERS;

/// What kinds of action fail at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failing {
    pub(super) start_worker: bool,
    pub(super) start_journal: bool,
    pub(super) start_cache: bool,
    pub(super) start_replica: bool,
    /// It asks in vain for leadership to be taken.
    pub(super) hand_over: bool,
    pub(super) remake: bool,
    pub(super) kill: bool,
    pub(super) settle: bool,
    pub(super) check: bool,
    pub(super) execute: bool,
}

impl Failing {
    fn start(self, id: SlotId) -> bool {
        match id {
            SlotId::Worker(_) => self.start_worker,
            SlotId::Journal => self.start_journal,
            SlotId::Cache => self.start_cache,
            SlotId::Replica => self.start_replica,
        }
    }
}

/// A process of the world.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) asked_to_leave: bool,
    pub(super) killed: bool,
    /// It shows no life.
    pub(super) hangs: bool,
    pub(super) heartbeat_ns: u64,
}

/// Children without processes, and a driver without a kernel. It holds each action against what may be done now.
pub(super) struct World {
    pub(super) supervisor: Supervisor,
    pub(super) now_ns: u64,
    pub(super) processes: BTreeMap<SlotId, Process>,
    pub(super) unsettled: BTreeSet<usize>,
    pub(super) lanes: BTreeSet<usize>,
    pub(super) failing: Failing,
    /// The new program was asked and has not answered.
    pub(super) asked: bool,
    pub(super) answers: BTreeMap<u32, bool>,
    pub(super) said: Vec<String>,
    pub(super) listening: bool,
    pub(super) snapshots_done: u64,
    pub(super) next_pid: i32,
    pub(super) executed: usize,
    pub(super) hand_overs_wanted: u64,
    pub(super) hand_overs_done: u64,
    pub(super) replica_answered: u32,
    pub(super) replica_asked: Option<u32>,
    /// When the last one was asked for.
    pub(super) hand_over_at_ns: u64,
    /// One has died since.
    pub(super) replica_has_died: bool,
    /// When one ended last.
    pub(super) replica_ended_ns: Option<u64>,
    /// The books are to be remade, and whoever has them must not go on with them.
    pub(super) stale: bool,
    pub(super) remakes: usize,
    /// The journal is damaged, so that they cannot be remade.
    pub(super) damaged: bool,
    /// One that no signal ends.
    pub(super) undying: Option<SlotId>,
    /// The deaths that were counted.
    pub(super) deaths: Vec<SlotId>,
    /// The workers were told to stop.
    pub(super) told_to_stop: bool,
}

impl World {
    pub(super) fn new() -> World {
        Self::with(&OTHERS)
    }

    /// One that has these processes beside its workers.
    pub(super) fn with(others: &[SlotId]) -> World {
        let now_ns = 1000 * SECOND_NS;
        let mut world = World {
            supervisor: Supervisor::new(now_ns, WORKERS, others, true),
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
            hand_overs_wanted: 0,
            hand_overs_done: 0,
            replica_answered: 0,
            replica_asked: None,
            hand_over_at_ns: 0,
            replica_has_died: false,
            replica_ended_ns: None,
            stale: false,
            remakes: 0,
            damaged: false,
            undying: None,
            deaths: Vec::new(),
            told_to_stop: false,
        };
        world.turn();
        world
    }

    pub(super) fn observation(&self) -> Observation {
        let mut workers = [WorkerSeen::default(); MAX_WORKERS];
        for (index, seen) in workers.iter_mut().enumerate() {
            if let Some(process) = self.processes.get(&SlotId::Worker(index)) {
                *seen = WorkerSeen { heartbeat_ns: process.heartbeat_ns, serving: !process.hangs };
            }
        }
        let heartbeat_ns = |id| self.processes.get(&id).map_or(0, |process: &Process| process.heartbeat_ns);
        Observation {
            workers,
            journal_heartbeat_ns: heartbeat_ns(SlotId::Journal),
            cache_heartbeat_ns: heartbeat_ns(SlotId::Cache),
            replica_heartbeat_ns: heartbeat_ns(SlotId::Replica),
            hand_overs_done: self.hand_overs_done,
            replica_answered: self.replica_answered,
            snapshots_done: self.snapshots_done,
            snapshot: 0,
            worker_timeout_ns: TIMEOUT_NS,
        }
    }

    /// One turn of the driver's loop: whoever was killed or asked to leave does so, then the supervisor has its turn.
    pub(super) fn turn(&mut self) {
        let now = self.now_ns;
        for process in self.processes.values_mut().filter(|process| !process.hangs) {
            process.heartbeat_ns = now;
        }
        let all = (0..MAX_WORKERS).map(SlotId::Worker).chain(OTHERS);
        if self.processes.get(&SlotId::Replica).is_some_and(|process| !process.hangs) && !self.failing.hand_over {
            self.hand_overs_done = self.hand_overs_wanted;
        }
        for id in all {
            match self.processes.get(&id) {
                Some(process) if process.killed && self.undying != Some(id) => self.end(id, Ended::Crashed, false),
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
    pub(super) fn pass(&mut self, seconds: u64) {
        self.pass_while(seconds, |_| true);
    }

    /// The same, and no longer than until the supervisor is over.
    pub(super) fn pass_to_the_end(&mut self, seconds: u64) {
        self.pass_while(seconds, |supervisor| !supervisor.is_over());
    }

    fn pass_while(&mut self, seconds: u64, goes_on: impl Fn(&Supervisor) -> bool) {
        let end = self.now_ns + seconds * SECOND_NS;
        let mut turns = 0;
        while self.now_ns < end && goes_on(&self.supervisor) {
            // At least the microsecond that a turn takes.
            self.now_ns = self.supervisor.next_look_ns(self.now_ns).max(self.now_ns + 1000);
            self.turn();
            turns += 1;
            assert!(turns < seconds * 1100 + 50, "the loop spins: {:?}", self.supervisor);
        }
    }

    pub(super) fn end(&mut self, id: SlotId, how: Ended, failed_early: bool) {
        if self.processes.remove(&id).is_none() {
            return;
        }
        if let SlotId::Worker(index) = id {
            self.unsettled.insert(index);
        }
        if id == SlotId::Replica {
            (self.replica_has_died, self.replica_ended_ns) = (true, Some(self.now_ns));
        }
        self.stale |= how == Ended::BooksStale;
        self.next_pid += 1;
        let end = End { pid: self.next_pid, text: format!("{how:?}"), how, failed_early };
        self.supervisor.handle(self.now_ns, Event::Ended(id, end));
    }

    pub(super) fn perform(&mut self, action: Action) -> Option<Event> {
        let failing = self.failing;
        match action {
            Action::Start(id) => return Some(self.start(id)),
            Action::Kill(id) => {
                assert!(self.processes.contains_key(&id), "{id} does not run");
                if failing.kill {
                    return Some(Event::NotKilled(id, "EPERM".to_owned()));
                }
                self.processes.get_mut(&id)?.killed = true;
            }
            Action::AskToLeave(id) => {
                self.check_order(id);
                self.processes.get_mut(&id).unwrap_or_else(|| panic!("{id} does not run")).asked_to_leave = true;
            }
            Action::Settle(index) => {
                assert!(self.unsettled.contains(&index), "there is nothing to settle");
                assert!(!self.stale || !self.listening, "what it had begun must not be finished");
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
            Action::HandOverLeadership(number) => self.want_hand_over(number),
            Action::AskReplica(id) => self.replica_asked = Some(id),
            Action::PassAnswer(id) => self.note_answer(id, self.replica_answered == id),
            Action::Remake => return Some(self.remake()),
            Action::TellWorkersToStop | Action::TellWorkersToHurry => {
                assert!(action == Action::TellWorkersToHurry || self.has_handed_over(), "leadership goes first");
                assert!(!self.listening);
                self.told_to_stop = true;
                let workers = self.processes.iter_mut().filter(|(name, _)| matches!(name, SlotId::Worker(_)));
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
            Action::Answer(id, answer) => self.note_answer(id, answer.is_ok()),
            Action::CountDeath(id) => self.deaths.push(id),
            Action::CountFailedStart(_) => {}
            Action::Say(_, text) => self.said.push(text),
        }
        None
    }

    fn want_hand_over(&mut self, number: u64) {
        assert_eq!(number, self.hand_overs_wanted + 1, "each has a number of its own");
        // It may end between that is decided and done, in one turn: then nobody hears it.
        let is_there = self.processes.contains_key(&SlotId::Replica);
        assert!(is_there || self.replica_ended_ns == Some(self.now_ns), "there is nobody who could");
        (self.hand_overs_wanted, self.hand_over_at_ns) = (number, self.now_ns);
        self.replica_has_died = !is_there;
    }

    fn note_answer(&mut self, id: u32, is_done: bool) {
        assert!(self.answers.insert(id, is_done).is_none(), "request {id} is answered twice");
    }

    fn start(&mut self, id: SlotId) -> Event {
        assert!(!self.processes.contains_key(&id), "{id} runs already");
        assert!(!self.stale || id == SlotId::Cache, "{id} gets books that are to be remade");
        if let SlotId::Worker(index) = id {
            assert!(!self.unsettled.contains(&index), "{id}: what its predecessor left is not seen to");
            assert!(self.listening, "no worker is started by a stopping instance");
            self.lanes.insert(index);
        }
        if self.failing.start(id) {
            return Event::NotStarted(id, "cannot fork: EAGAIN".to_owned());
        }
        self.processes.insert(id, Process { heartbeat_ns: self.now_ns, ..Process::default() });
        Event::Started(id)
    }

    /// Whether nobody need wait for leadership to be handed over any more.
    fn has_handed_over(&self) -> bool {
        let patience_ns = HAND_OVER_SECONDS * SECOND_NS;
        self.hand_overs_done == self.hand_overs_wanted
            || self.now_ns >= self.hand_over_at_ns + patience_ns
            || self.replica_has_died
            // One that is to be killed, and lives on only since that fails, is not asked.
            || self.failing.kill
            || self.processes.get(&SlotId::Replica).is_none_or(|process| process.killed)
    }

    /// Whether a process may be asked to leave now, by what others need of it.
    fn check_order(&self, id: SlotId) {
        let workers = self.processes.keys().filter(|id| matches!(id, SlotId::Worker(_))).count();
        let (stopping, out_of_time) = match self.supervisor.phase {
            Phase::Serving => (false, false),
            Phase::Stopping { deadline_ns, asked } => (true, self.now_ns >= deadline_ns || asked >= 3),
        };
        match id {
            SlotId::Replica => {
                let in_a_hurry = matches!(self.supervisor.phase, Phase::Stopping { asked, .. } if asked > 1);
                assert!(self.has_handed_over() || out_of_time || in_a_hurry, "leadership goes first");
                assert!(!stopping || workers == 0 || out_of_time, "workers wait for what is committed");
            }
            SlotId::Journal if stopping => {
                assert!(workers == 0 && !self.processes.contains_key(&SlotId::Replica), "somebody still needs it");
            }
            SlotId::Journal => assert!(self.has_handed_over(), "leadership goes first"),
            SlotId::Cache | SlotId::Worker(_) => {}
        }
    }

    fn remake(&mut self) -> Event {
        assert!(self.stale && self.processes.keys().all(|&id| id == SlotId::Cache), "{:?}", self.processes);
        if self.failing.remake || self.damaged {
            let why = if self.damaged { "record 7 is damaged" } else { "cannot open: EMFILE" };
            return Event::NotRemade { why: why.to_owned(), has_prospect: !self.damaged };
        }
        // The driver leaves nothing of what dead workers had.
        self.unsettled.clear();
        (self.stale, self.remakes) = (false, self.remakes + 1);
        Event::Remade
    }

    pub(super) fn running(&self) -> usize {
        self.processes.len()
    }

    pub(super) fn has_said(&self, text: &str) -> usize {
        self.said.iter().filter(|said| said.contains(text)).count()
    }

    pub(super) fn ask(&mut self, id: u32, request: Request) {
        self.supervisor.handle(self.now_ns, Event::Requested { id: Some(id), request });
        self.turn();
    }

    pub(super) fn stop(&mut self) {
        self.supervisor.handle(self.now_ns, Event::Ordered(Order::Stop { signal: "SIGTERM" }));
        self.turn();
    }
}
