//! The supervisor: which child processes there are to be, and what is done when one ends, hangs, or cannot be started.
//!
//! It is a state machine without system calls, clock or memory of its own: [`Event`]s and the time go in, [`Action`]s come out, and
//! the driver ([`crate::process::master::driver`]) performs them and reports what became of them. An action that fails is an event like any
//! other, so no failing system call can end the master; `tests.rs` drives every state through every failing action.
//!
//! The state is part of what an upgrade hands over, so a request under way goes on with the new program.

mod event;
mod lifecycle;
mod request;
mod slot;
#[cfg(test)]
mod tests;
mod upgrade;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::base::limits::{MAX_WORKERS, STOP_DEADLINE_SECONDS};
pub use event::{Action, End, Ended, Event, Observation, Order, Request, WorkerSeen};
pub use request::MUST_HAND_OVER;
use request::Underway;
use slot::Slot;
pub use slot::{SlotId, State};
use upgrade::Upgrade;

/// The journal process may show no life for so many times as long as a worker: a disk may take its time.
const JOURNAL_PATIENCE: u64 = 3;
/// How soon a dead worker's operation is looked at again while a living worker mends one of its accounts.
const SETTLE_AGAIN_NS: u64 = 1_000_000;
/// How often the supervisor looks at what it sees, if nothing happens.
pub const TICK_NS: u64 = 250_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// How far the instance is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Serving,
    /// Workers send what is queued. Who is not done at the deadline is killed.
    Stopping {
        deadline_ns: u64,
        /// How often an end was asked for.
        asked: u32,
    },
}

/// The state machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervisor {
    workers: Vec<Option<Slot>>,
    /// None where the books are in memory only, and when the journal is closed.
    journal: Option<Slot>,
    phase: Phase,
    journal_failed: bool,
    /// Whether connections can be moved from one worker to another (`--accept dispatch`).
    moves_connections: bool,
    request: Option<Underway>,
    upgrade: Upgrade,
    observed_ns: u64,
    /// Nobody is late before: after the master itself was stopped for a while.
    forbearing_until_ns: u64,
    #[serde(skip)]
    actions: VecDeque<Action>,
}

impl Supervisor {
    /// A supervisor that wants `workers` workers, and a journal process if `journal`.
    #[must_use]
    pub fn new(now_ns: u64, workers: usize, journal: bool, moves_connections: bool) -> Self {
        let slots = (0..MAX_WORKERS).map(|index| (index < workers).then(|| Slot::new(now_ns)));
        Supervisor {
            workers: slots.collect(),
            journal: journal.then(|| Slot::new(now_ns)),
            phase: Phase::Serving,
            journal_failed: false,
            moves_connections,
            request: None,
            upgrade: Upgrade::No,
            observed_ns: now_ns,
            forbearing_until_ns: 0,
            actions: VecDeque::new(),
        }
    }

    /// What is to be done next; report what became of it before asking again.
    pub fn next_action(&mut self) -> Option<Action> {
        // Nothing is done after this program is gone.
        if self.actions.front() == Some(&Action::Execute) {
            self.actions.rotate_left(1);
        }
        self.actions.pop_front()
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, now_ns: u64, event: Event) {
        match event {
            Event::Started(id) => self.started(id),
            Event::NotStarted(id, why) => self.not_started(now_ns, id, &why),
            Event::NotKilled(id, why) => self.not_killed(id, &why),
            Event::Ended(id, end) => self.ended(now_ns, id, &end),
            Event::Settled(index) => {
                self.settled(index);
                // Now, so that it gets its share of the connections that its predecessor had.
                self.start_what_is_due(now_ns);
            }
            Event::Ordered(Order::Stop { signal }) => self.stop(now_ns, signal),
            Event::Ordered(Order::OneMore) => self.one_more(now_ns),
            Event::Ordered(Order::OneLess { connections }) => self.one_less(&connections),
            Event::Asked { letter, request } => self.asked(now_ns, letter, request),
            Event::Checked(result) => self.checked(result),
            Event::NotExecuted(why) => self.not_executed(why),
        }
    }

    /// Looks at what can be seen of the children, and at the time; at least every [`TICK_NS`], and after every event.
    pub fn observe(&mut self, now_ns: u64, seen: &Observation) {
        if now_ns.saturating_sub(self.observed_ns) > seen.worker_timeout_ns / 2 {
            // This process was stopped, and with it perhaps its children: their heartbeats say nothing yet.
            self.forbearing_until_ns = now_ns + seen.worker_timeout_ns;
        }
        self.observed_ns = now_ns;
        self.settle_the_dead();
        self.kill_the_late(now_ns, seen);
        self.start_what_is_due(now_ns);
        self.close_the_journal();
        self.answer_what_is_done(seen);
        self.upgrade_step(now_ns, seen);
    }

    /// When [`Supervisor::observe`] is to be called again, even if nothing happens.
    #[must_use]
    pub fn next_look_ns(&self, now_ns: u64) -> u64 {
        let look_at = |slot: &Slot| match slot.state {
            State::Empty { start_at_ns } => Some(start_at_ns),
            State::Unsettled { .. } => Some(now_ns + SETTLE_AGAIN_NS),
            State::Starting | State::Running { .. } => None,
        };
        let workers = self.workers.iter().flatten().filter(|slot| {
            // While it stops, nobody fills an empty slot.
            !self.is_stopping() || matches!(slot.state, State::Unsettled { .. })
        });
        workers.chain(&self.journal).filter_map(look_at).fold(now_ns + TICK_NS, u64::min)
    }

    /// Whether all children are gone, as was ordered.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_stopping() && self.has_no_workers() && self.journal.is_none()
    }

    /// Whether the instance is on its way out.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.phase != Phase::Serving
    }

    /// Whether it ends because the journal failed.
    #[must_use]
    pub fn journal_failed(&self) -> bool {
        self.journal_failed
    }

    /// Whether connections can be handed to worker `index`.
    #[must_use]
    pub fn serves(&self, index: usize) -> bool {
        self.workers.get(index).and_then(Option::as_ref).is_some_and(Slot::serves)
    }

    /// The number of the letter that is being worked on for whoever waits for its answer.
    #[must_use]
    pub fn letter(&self) -> Option<u32> {
        self.upgrade.letter().or(self.request.map(|underway| underway.letter))
    }

    fn has_no_workers(&self) -> bool {
        self.workers.iter().flatten().all(|slot| matches!(slot.state, State::Empty { .. }))
    }

    fn slot_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        match id {
            SlotId::Worker(index) => self.workers.get_mut(index)?.as_mut(),
            SlotId::Journal => self.journal.as_mut(),
        }
    }

    /// All slots, with their names. The journal process comes first: what workers do waits for it.
    fn slots_mut(&mut self) -> impl Iterator<Item = (SlotId, &mut Slot)> {
        let workers = self.workers.iter_mut().enumerate();
        let workers = workers.filter_map(|(index, slot)| Some((SlotId::Worker(index), slot.as_mut()?)));
        self.journal.as_mut().map(|slot| (SlotId::Journal, slot)).into_iter().chain(workers)
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn say(&mut self, level: log::Level, text: String) {
        self.act(Action::Say(level, text));
    }

    /// The first time: an orderly stop. The second: a quick one. The third: an end.
    fn stop(&mut self, now_ns: u64, signal: &'static str) {
        match &mut self.phase {
            Phase::Serving => {
                self.phase = Phase::Stopping { deadline_ns: now_ns + STOP_DEADLINE_SECONDS * SECOND_NS, asked: 1 };
                self.say(log::Level::Info, format!("{signal}: stopping; once more to hurry"));
                self.act(Action::CloseListeners);
                self.act(Action::TellWorkersToStop);
                self.refuse_requests();
            }
            Phase::Stopping { asked, .. } => {
                *asked += 1;
                if *asked == 2 {
                    self.say(log::Level::Warn, format!("{signal} again: hurrying"));
                    self.act(Action::TellWorkersToHurry);
                } else {
                    self.say(log::Level::Warn, format!("{signal} again: killing the workers"));
                    self.kill_workers();
                    self.give_up_journal();
                }
            }
        }
    }

    /// Ends at once, without an order from outside: what clients are promised cannot be kept any more.
    fn stop_at_once(&mut self, now_ns: u64) {
        self.phase = Phase::Stopping { deadline_ns: now_ns, asked: 2 };
        self.act(Action::CloseListeners);
        self.act(Action::TellWorkersToHurry);
        self.kill_workers();
        self.refuse_requests();
    }

    /// One worker more.
    fn one_more(&mut self, now_ns: u64) {
        if self.is_stopping() {
            return;
        }
        match self.workers.iter().position(Option::is_none) {
            Some(index) => {
                self.workers[index] = Some(Slot::new(now_ns));
                self.say(log::Level::Info, format!("SIGTTIN: worker {index} joins"));
            }
            None => {
                let text = format!("SIGTTIN: there are {MAX_WORKERS} workers, which is the most there can be");
                self.say(log::Level::Warn, text);
            }
        }
    }

    /// One worker less: it leaves when its connections are gone.
    fn one_less(&mut self, connections: &[u32]) {
        let serving = self.workers.iter().flatten().filter(|slot| slot.serves()).count();
        match self.workers.iter().rposition(|slot| slot.as_ref().is_some_and(Slot::serves)) {
            Some(index) if serving > 1 => {
                let connections = connections.get(index).copied().unwrap_or(0);
                let how = if self.moves_connections { "others go on with" } else { "when it is done with" };
                self.say(
                    log::Level::Info,
                    format!("SIGTTOU: worker {index} leaves, {how} its {connections} connections"),
                );
                self.ask_to_leave(SlotId::Worker(index), false);
            }
            _ => self.say(log::Level::Warn, "SIGTTOU: the last worker stays".to_owned()),
        }
    }
}
