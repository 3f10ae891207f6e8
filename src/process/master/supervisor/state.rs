//! The supervisor's state, its event handler, and how it stops. The other files add to the same state machine.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::event::{Action, Event, Observation, Order};
use super::slot::{Backoff, Slot, SlotId, State};
use crate::base::limits::{MAX_WORKERS, STOP_DEADLINE_SECONDS};

/// The journal process may be without a heartbeat for so many times as long as others: a disk may be slow.
pub const JOURNAL_PATIENCE: u64 = 3;
/// How soon settling is tried again while a living worker repairs one of the accounts.
const SETTLE_AGAIN_NS: u64 = 1_000_000;
/// How often the supervisor observes the children, if nothing happens.
pub const TICK_NS: u64 = 250_000_000;
/// The order to stop that kills instead of asking.
const ORDERS_TO_KILL: u32 = 3;
/// Why an upgrade is not begun, or given up, while the books are remade.
pub const REMAKING: &str = "the books are being remade; ask again when they are";
/// Nanoseconds of a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// How far the instance is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It is not.
    Serving,
    /// Workers send what is queued. Those that are not done at the deadline are killed.
    Stopping {
        /// Nanoseconds of the monotonic clock.
        deadline_ns: u64,
        /// How often an end was asked for.
        asked: u32,
    },
}

/// A request that takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRequest {
    /// Its number.
    pub id: u32,
    /// What is waited for.
    pub until: Until,
}

/// When a request is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// A worker is gone.
    Gone {
        /// Its number.
        worker: usize,
        /// Its connections.
        connections: u32,
    },
    /// So many snapshots were taken.
    Snapshots(u64),
    /// The replica process has answered it.
    Replica {
        /// When not to wait any more, nanoseconds of the monotonic clock.
        deadline_ns: u64,
    },
}

/// How far an upgrade is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upgrade {
    /// There is none.
    No,
    /// The new program was asked whether it fits.
    Checking {
        /// The request that asked for the upgrade.
        id: Option<u32>,
        /// When not to wait for the answer any more.
        deadline_ns: u64,
    },
    /// This is the new program. Leadership is handed over first.
    HandingOver {
        /// The request that asked for the upgrade.
        id: Option<u32>,
        /// The workers that are to be replaced.
        slots: VecDeque<usize>,
    },
    /// This is the new program. It replaces the workers in `slots`, the one under way first.
    Rolling {
        /// The request that asked for the upgrade.
        id: Option<u32>,
        /// The workers that are still to be replaced.
        slots: VecDeque<usize>,
    },
}

impl Upgrade {
    /// The request that asked for it.
    pub fn request_id(&self) -> Option<u32> {
        match self {
            Upgrade::No => None,
            Upgrade::Checking { id, .. } | Upgrade::HandingOver { id, .. } | Upgrade::Rolling { id, .. } => *id,
        }
    }
}

/// Leadership is being handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandingOver {
    /// Which of all times this is.
    pub number: u64,
    /// When not to wait any more, nanoseconds of the monotonic clock.
    pub deadline_ns: u64,
}

/// Whether the books are to be remade, and how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remake {
    /// They are as they should be.
    No,
    /// They are to be remade when the processes that have them are gone, and not before this time.
    Wanted {
        /// Nanoseconds of the monotonic clock.
        not_before_ns: u64,
    },
    /// That was asked of the driver, which has not reported yet.
    Asked,
}

/// The state machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervisor {
    pub(super) workers: Vec<Option<Slot>>,
    /// None where the accounts are in memory only, and when the journal is closed.
    pub(super) journal: Option<Slot>,
    /// None where no service needs a cache process, and when a stopping instance needs it no more.
    pub(super) cache: Option<Slot>,
    /// None where no peers are configured, and when a stopping instance needs it no more.
    pub(super) replica: Option<Slot>,
    pub(super) phase: Phase,
    pub(super) journal_failed: bool,
    /// Whether connections can be moved from one worker to another (`--accept dispatch`).
    pub(super) moves_connections: bool,
    pub(super) request: Option<PendingRequest>,
    pub(super) upgrade: Upgrade,
    pub(super) handing_over: Option<HandingOver>,
    /// How often leadership was to be handed over.
    pub(super) hand_overs: u64,
    pub(super) remake: Remake,
    pub(super) remake_backoff: Backoff,
    pub(super) observed_ns: u64,
    /// No process counts as late before: set after the master itself was stopped for a while.
    pub(super) grace_until_ns: u64,
    #[serde(skip)]
    pub(super) actions: VecDeque<Action>,
}

impl Supervisor {
    /// A supervisor that wants `workers` workers, and of the other processes those that `others` names.
    #[must_use]
    pub fn new(now_ns: u64, workers: usize, others: &[SlotId], moves_connections: bool) -> Self {
        let slots = (0..MAX_WORKERS).map(|index| (index < workers).then(|| Slot::new(now_ns)));
        let other = |id| others.contains(&id).then(|| Slot::new(now_ns));
        Supervisor {
            workers: slots.collect(),
            journal: other(SlotId::Journal),
            cache: other(SlotId::Cache),
            replica: other(SlotId::Replica),
            phase: Phase::Serving,
            journal_failed: false,
            moves_connections,
            request: None,
            upgrade: Upgrade::No,
            handing_over: None,
            hand_overs: 0,
            remake: Remake::No,
            remake_backoff: Backoff::default(),
            observed_ns: now_ns,
            grace_until_ns: 0,
            actions: VecDeque::new(),
        }
    }

    /// The next action; report its outcome before asking again.
    pub fn next_action(&mut self) -> Option<Action> {
        // Nothing is done after this program is gone.
        if self.actions.front() == Some(&Action::Execute) {
            self.actions.rotate_left(1);
        }
        self.actions.pop_front()
    }

    /// Handles an event.
    pub fn handle(&mut self, now_ns: u64, event: Event) {
        match event {
            Event::Started(id) => self.started(id),
            Event::NotStarted(id, why) => self.not_started(now_ns, id, &why),
            Event::NotKilled(id, why) => self.not_killed(id, &why),
            Event::Ended(id, end) => self.ended(now_ns, id, &end),
            Event::Settled(index) => {
                self.settled(index);
                // Now, so that it gets its share of the connections that its predecessor had.
                self.start_due(now_ns);
            }
            Event::Remade => self.remade(now_ns),
            Event::NotRemade { why, has_prospect } => self.not_remade(now_ns, &why, has_prospect),
            Event::Ordered(Order::Stop { signal }) => self.stop(now_ns, signal),
            Event::Ordered(Order::AddWorker) => self.add_worker(now_ns),
            Event::Ordered(Order::RemoveWorker { connections }) => self.remove_worker(&connections),
            Event::Requested { id, request } => self.requested(now_ns, id, request),
            Event::Checked(result) => self.checked(result),
            Event::NotExecuted(why) => self.not_executed(why),
        }
    }

    /// Handles what can be observed of the children, and the time; called at least every [`TICK_NS`], and after every event.
    pub fn observe(&mut self, now_ns: u64, seen: &Observation) {
        if now_ns.saturating_sub(self.observed_ns) > seen.worker_timeout_ns / 2 {
            // This process was stopped, and with it perhaps its children: their heartbeats say nothing yet.
            self.grace_until_ns = now_ns + seen.worker_timeout_ns;
        }
        self.observed_ns = now_ns;
        self.remake_step(now_ns);
        self.settle_dead_workers();
        self.kill_unresponsive(now_ns, seen);
        self.start_due(now_ns);
        self.hand_over_step(now_ns, seen);
        self.stop_unneeded(SlotId::Cache, now_ns);
        self.stop_unneeded(SlotId::Replica, now_ns);
        self.stop_journal();
        self.answer_done_request(now_ns, seen);
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
        let cache = self.cache.iter().filter_map(look_at);
        if self.is_remaking() {
            // Nothing else is started or settled until the books are remade.
            let remake_ns = self.next_remake_ns().filter(|_| self.are_books_free());
            return cache.chain(remake_ns).fold(now_ns + TICK_NS, u64::min);
        }
        let workers = self.workers.iter().flatten().filter(|slot| {
            // While it stops, empty slots stay empty.
            !self.is_stopping() || matches!(slot.state, State::Unsettled { .. })
        });
        let others = workers.chain(&self.journal).chain(&self.replica).filter_map(look_at);
        cache.chain(others).fold(now_ns + TICK_NS, u64::min)
    }

    /// Whether all children are gone, as was ordered.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let others = [&self.journal, &self.cache, &self.replica];
        self.is_stopping() && self.has_no_workers() && others.iter().all(|slot| slot.is_none())
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

    /// The number of the request whose asker waits for the answer.
    #[must_use]
    pub fn pending_request(&self) -> Option<u32> {
        self.upgrade.request_id().or(self.request.map(|pending| pending.id))
    }

    pub(super) fn has_no_workers(&self) -> bool {
        self.workers.iter().flatten().all(|slot| matches!(slot.state, State::Empty { .. }))
    }

    pub(super) fn slot_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        match id {
            SlotId::Worker(index) => self.workers.get_mut(index)?.as_mut(),
            SlotId::Journal => self.journal.as_mut(),
            SlotId::Cache => self.cache.as_mut(),
            SlotId::Replica => self.replica.as_mut(),
        }
    }

    /// Whether the slot is to be filled. A stopping instance starts no worker, but needs its journal process to the end, and its cache
    /// process and its replica process as long as there are workers whose clients wait for them.
    pub(super) fn is_wanted(&self, id: SlotId, now_ns: u64) -> bool {
        if self.is_remaking() && Self::has_books(id) {
            return false;
        }
        match (self.phase, id) {
            (Phase::Serving, _) | (Phase::Stopping { .. }, SlotId::Journal) => true,
            (Phase::Stopping { .. }, SlotId::Worker(_)) => false,
            (Phase::Stopping { deadline_ns, asked }, SlotId::Cache | SlotId::Replica) => {
                let is_in_use = !self.has_no_workers() || id == SlotId::Replica && self.handing_over.is_some();
                now_ns < deadline_ns && asked < ORDERS_TO_KILL && is_in_use
            }
        }
    }

    /// All slots, with their names. The processes that workers wait for come first.
    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = (SlotId, &mut Slot)> {
        let workers = self.workers.iter_mut().enumerate();
        let workers = workers.filter_map(|(index, slot)| Some((SlotId::Worker(index), slot.as_mut()?)));
        let journal = self.journal.as_mut().map(|slot| (SlotId::Journal, slot));
        let cache = self.cache.as_mut().map(|slot| (SlotId::Cache, slot));
        let replica = self.replica.as_mut().map(|slot| (SlotId::Replica, slot));
        replica.into_iter().chain(journal).chain(cache).chain(workers)
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn say(&mut self, level: log::Level, text: String) {
        self.act(Action::Say(level, text));
    }

    /// The first signal stops in order, the second quickly, the third kills.
    fn stop(&mut self, now_ns: u64, signal: &'static str) {
        match &mut self.phase {
            Phase::Serving => {
                self.phase = Phase::Stopping { deadline_ns: now_ns + STOP_DEADLINE_SECONDS * SECOND_NS, asked: 1 };
                self.say(log::Level::Info, format!("{signal}: stopping; once more to hurry"));
                self.act(Action::CloseListeners);
                self.begin_hand_over(now_ns);
                self.refuse_requests();
            }
            Phase::Stopping { asked, .. } => {
                *asked += 1;
                if *asked < ORDERS_TO_KILL {
                    self.say(log::Level::Warn, format!("{signal} again: hurrying"));
                    self.handing_over = None;
                    self.act(Action::TellWorkersToHurry);
                } else {
                    self.say(log::Level::Warn, format!("{signal} again: killing the workers"));
                    self.kill_all_but_journal();
                    self.give_up_journal();
                }
            }
        }
    }

    /// Ends at once, without a signal: the promises to clients cannot be kept any more.
    pub(super) fn stop_at_once(&mut self, now_ns: u64) {
        self.phase = Phase::Stopping { deadline_ns: now_ns, asked: 2 };
        self.handing_over = None;
        self.act(Action::CloseListeners);
        self.act(Action::TellWorkersToHurry);
        self.kill_all_but_journal();
        self.refuse_requests();
    }

    /// One worker more.
    fn add_worker(&mut self, now_ns: u64) {
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
    fn remove_worker(&mut self, connections: &[u32]) {
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
