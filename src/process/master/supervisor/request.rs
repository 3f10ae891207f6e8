//! What operators' tools ask for: a worker drained, a snapshot taken.

use log::Level;

use super::event::{Action, Observation, Request};
use super::slot::{Slot, SlotId};
use super::state::{PendingRequest, Supervisor, Until};

const STOPPING: &str = "the server is stopping";

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
        };
        let Some(id) = id else { return };
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
    pub(super) fn answer_done_request(&mut self, seen: &Observation) {
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
            Until::Gone { .. } | Until::Snapshots(_) => return,
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
}

/// Why connections are not moved in the accept modes where workers accept by themselves.
pub const MUST_HAND_OVER: &str = "connections can be moved only where the master hands them over (--accept dispatch)";
