//! What operators' tools ask for: a worker drained, a snapshot taken, a member added, and an upgrade, step by step: the new program is asked whether it
//! fits, executed, and the children are replaced one by one.

use std::collections::VecDeque;

use log::Level;

use super::event::{Action, Observation, Request};
use super::slot::{Slot, SlotId, State};
use super::state::{PendingRequest, REMAKING, SECOND_NS, Supervisor, Until, Upgrade};
use crate::base::limits::{CLUSTER_REQUEST_SECONDS, UPGRADE_ANSWER_SECONDS};

/// New workers in a row that end before they do anything, after which no further old one is replaced.
const EARLY_FAILURES_TO_GIVE_UP: u32 = 3;
const STOPPING: &str = "the server is stopping";
/// Why a request is answered that the replica process has not.
const LATE: &str = "it was not done in time, and may still come about: a majority of the members, or the node that it is about, does not \
                    answer; see `vaultctl cluster status`";

impl Supervisor {
    pub(super) fn requested(&mut self, now_ns: u64, id: Option<u32>, request: Request) {
        let begun = match request {
            _ if self.is_stopping() => Err(STOPPING.to_owned()),
            Request::Upgrade => return self.begin_upgrade(now_ns, id),
            Request::Drain { worker, connections } => self.drain(worker, connections),
            Request::Snapshot { .. } if self.journal.is_none() => {
                Err("there is no journal, so nothing to take a snapshot for (--durability none)".to_owned())
            }
            Request::Snapshot { wanted } => Ok(Until::Snapshots(wanted)),
            Request::Cluster if self.replica.is_none() => {
                Err("this instance is by itself: it was started without --peers".to_owned())
            }
            Request::Cluster => Ok(Until::Replica { deadline_ns: now_ns + (CLUSTER_REQUEST_SECONDS + 5) * SECOND_NS }),
        };
        let Some(id) = id else { return };
        if let Ok(Until::Replica { .. }) = begun {
            self.act(Action::AskReplica(id));
        }
        match begun {
            Ok(until) => self.request = Some(PendingRequest { id, until }),
            Err(why) => self.act(Action::Answer(id, Err(why))),
        }
    }

    fn drain(&mut self, worker: usize, connections: u32) -> Result<Until, String> {
        if !self.moves_connections {
            return Err(MUST_HAND_OVER.to_owned());
        }
        if !self.serves(worker) {
            return Err(format!("there is no worker {worker} that serves"));
        }
        if self.workers.iter().flatten().filter(|slot| slot.serves()).count() < 2 {
            return Err(format!("worker {worker} is the last that serves"));
        }
        let text = format!("worker {worker} is drained: its {connections} connections go to others, and it leaves");
        self.say(Level::Info, text);
        self.ask_to_leave(SlotId::Worker(worker), false);
        Ok(Until::Gone { worker, connections })
    }

    /// Answers the request that is done.
    pub(super) fn answer_done_request(&mut self, now_ns: u64, seen: &Observation) {
        let Some(PendingRequest { id, until }) = self.request else { return };
        let text = match until {
            // A worker that dies after it was asked to leave is gone, too.
            Until::Gone { worker, connections }
                if self.workers[worker].as_ref().is_none_or(|slot: &Slot| !slot.leaving) =>
            {
                format!("worker {worker} has left, others go on with its {connections} connections")
            }
            Until::Snapshots(wanted) if seen.snapshots_done >= wanted => {
                format!("the newest snapshot is of operation {}", seen.snapshot)
            }
            Until::Replica { .. } if seen.replica_answered == id => {
                self.request = None;
                return self.act(Action::PassAnswer(id));
            }
            Until::Replica { deadline_ns } if now_ns >= deadline_ns => {
                self.request = None;
                return self.act(Action::Answer(id, Err(LATE.to_owned())));
            }
            Until::Gone { .. } | Until::Snapshots(_) | Until::Replica { .. } => return,
        };
        self.request = None;
        self.act(Action::Answer(id, Ok(text)));
    }

    /// Answers requests that will not be done any more.
    pub(super) fn refuse_requests(&mut self) {
        if let Some(PendingRequest { id, .. }) = self.request.take() {
            self.act(Action::Answer(id, Err(STOPPING.to_owned())));
        }
        self.give_up_upgrade(STOPPING);
    }

    /// Asks the new program first; nothing is touched before it has answered.
    pub(super) fn begin_upgrade(&mut self, now_ns: u64, id: Option<u32>) {
        if self.upgrade != Upgrade::No {
            return self.refuse_upgrade(id, "the server is being upgraded already");
        }
        if self.is_remaking() {
            return self.refuse_upgrade(id, REMAKING);
        }
        let deadline_ns = now_ns + UPGRADE_ANSWER_SECONDS * SECOND_NS;
        self.upgrade = Upgrade::Checking { id, deadline_ns };
        self.act(Action::CheckNewProgram);
    }

    pub(super) fn checked(&mut self, result: Result<String, String>) {
        let Upgrade::Checking { id, .. } = self.upgrade else { return };
        match result {
            Ok(said) => {
                self.say(Level::Info, format!("upgrade: {said}"));
                self.act(Action::Execute);
            }
            Err(why) => {
                self.upgrade = Upgrade::No;
                self.refuse_upgrade(id, &why);
            }
        }
    }

    pub(super) fn not_executed(&mut self, why: String) {
        self.checked(Err(why));
    }

    fn refuse_upgrade(&mut self, id: Option<u32>, why: &str) {
        self.say(Level::Error, format!("no upgrade, the server goes on as it is: {why}"));
        if let Some(id) = id {
            self.act(Action::Answer(id, Err(why.to_owned())));
        }
    }

    pub(super) fn give_up_upgrade(&mut self, why: &str) {
        match std::mem::replace(&mut self.upgrade, Upgrade::No) {
            Upgrade::No => {}
            Upgrade::Checking { id, .. } => {
                // It may just have answered.
                self.actions.retain(|action| *action != Action::Execute);
                self.act(Action::AbandonCheck);
                self.refuse_upgrade(id, why);
            }
            Upgrade::HandingOver { id, slots } | Upgrade::Rolling { id, slots } => {
                let text = format!("upgrade: this program goes on, {} workers of the old one stay: {why}", slots.len());
                self.say(Level::Warn, text.clone());
                if let Some(id) = id {
                    self.act(Action::Answer(id, Err(text)));
                }
            }
        }
    }

    /// Goes on as the program that was executed: leadership is handed over first, where it is a cluster's; then the replica process, the
    /// journal process and the cache process are replaced, then one worker after the other.
    pub fn resume_upgraded(&mut self, now_ns: u64) {
        let id = self.upgrade.request_id();
        self.observed_ns = now_ns;
        let mut slots = VecDeque::new();
        for (id, slot) in self.slots_mut() {
            if let State::Running { of_old_program, .. } = &mut slot.state {
                *of_old_program = true;
            }
            if let SlotId::Worker(index) = id
                && !slot.leaving
            {
                slots.push_back(index);
            }
        }
        self.upgrade = Upgrade::HandingOver { id, slots };
        self.say(Level::Info, "upgrade: this program goes on with everything; replacing the children".to_owned());
        self.begin_hand_over(now_ns);
    }

    /// Replaces the processes that are no workers; the workers follow.
    pub(super) fn begin_rolling(&mut self) {
        match std::mem::replace(&mut self.upgrade, Upgrade::No) {
            Upgrade::HandingOver { id, slots } => self.upgrade = Upgrade::Rolling { id, slots },
            other => {
                self.upgrade = other;
                return;
            }
        }
        [SlotId::Replica, SlotId::Journal, SlotId::Cache].into_iter().for_each(|id| self.ask_to_leave(id, true));
    }

    /// Goes on as the old program, which was executed again because the new one could not go on.
    pub fn resume_unchanged(&mut self, now_ns: u64, why: &str) {
        self.observed_ns = now_ns;
        self.checked(Err(why.to_owned()));
    }

    /// Takes the next step, if it is time.
    pub(super) fn upgrade_step(&mut self, now_ns: u64, seen: &Observation) {
        match &self.upgrade {
            Upgrade::No | Upgrade::HandingOver { .. } => {}
            Upgrade::Checking { deadline_ns, .. } if now_ns < *deadline_ns => {}
            Upgrade::Checking { .. } => {
                self.give_up_upgrade(&format!("the new program has not answered within {UPGRADE_ANSWER_SECONDS} s"));
            }
            Upgrade::Rolling { slots, .. } => match slots.front() {
                Some(&index) if self.moves_connections => self.replace(index, seen),
                _ => self.upgraded(),
            },
        }
    }

    /// Replaces worker `index`, step by step: it leaves, another one of this program is there, the next one's turn comes.
    fn replace(&mut self, index: usize, seen: &Observation) {
        let Some(slot) = self.workers[index].as_ref() else { return self.replaced() };
        if slot.backoff.failed_early() >= EARLY_FAILURES_TO_GIVE_UP {
            return self.give_up_upgrade(&format!("worker {index} of this program ends as soon as it is started"));
        }
        match slot.state {
            State::Running { of_old_program: true, .. } if !slot.leaving => {
                self.ask_to_leave(SlotId::Worker(index), true);
            }
            State::Running { of_old_program: false, .. } if seen.workers[index].serving => self.replaced(),
            _ => {}
        }
    }

    fn replaced(&mut self) {
        if let Upgrade::Rolling { slots, .. } = &mut self.upgrade {
            slots.pop_front();
        }
    }

    fn upgraded(&mut self) {
        let id = self.upgrade.request_id();
        self.upgrade = Upgrade::No;
        self.say(Level::Info, "upgrade: done".to_owned());
        let children = if self.moves_connections {
            "all children are of the new program"
        } else {
            "workers that accept by themselves stay of the old program"
        };
        if let Some(id) = id {
            self.act(Action::Answer(id, Ok(format!("upgraded: {children}"))));
        }
    }
}

/// Why connections are not moved in the accept modes where workers accept by themselves.
pub const MUST_HAND_OVER: &str = "connections can be moved only where the master hands them over (--accept dispatch)";
