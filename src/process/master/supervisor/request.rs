//! What operators' tools ask for: a worker drained, a snapshot taken.

use log::Level;
use serde::{Deserialize, Serialize};

use crate::process::master::supervisor::slot::Slot;
use crate::process::master::supervisor::{Action, Observation, Request, SlotId, Supervisor};

/// A request that takes its time, and the letter that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underway {
    /// The letter's number.
    pub letter: u32,
    until: Until,
}

/// When a request is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Until {
    /// Worker `worker` is gone, which had so many connections.
    Gone { worker: usize, connections: u32 },
    /// So many snapshots were taken.
    Snapshots(u64),
}

const STOPPING: &str = "the server is stopping";

impl Supervisor {
    pub(super) fn asked(&mut self, now_ns: u64, letter: Option<u32>, request: Request) {
        let begun = match request {
            _ if self.is_stopping() => Err(STOPPING.to_owned()),
            Request::Upgrade => return self.begin_upgrade(now_ns, letter),
            Request::Drain { worker, connections } => self.drain(worker, connections),
            Request::Snapshot { .. } if self.journal.is_none() => {
                Err("there is no journal, so nothing to take a snapshot for (--durability none)".to_owned())
            }
            Request::Snapshot { wanted } => Ok(Until::Snapshots(wanted)),
        };
        let Some(letter) = letter else { return };
        match begun {
            Ok(until) => self.request = Some(Underway { letter, until }),
            Err(why) => self.act(Action::Answer(letter, Err(why))),
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

    /// Answers the letter whose request is done.
    pub(super) fn answer_what_is_done(&mut self, seen: &Observation) {
        let Some(Underway { letter, until }) = self.request else { return };
        let text = match until {
            // Asked to leave once, a worker that dies instead is as gone.
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
        self.act(Action::Answer(letter, Ok(text)));
    }

    /// Nobody is to wait for what will not be done any more.
    pub(super) fn refuse_requests(&mut self) {
        if let Some(Underway { letter, .. }) = self.request.take() {
            self.act(Action::Answer(letter, Err(STOPPING.to_owned())));
        }
        self.give_up_upgrade(STOPPING);
    }
}

/// Why connections are not moved in the accept modes where workers accept by themselves.
pub const MUST_HAND_OVER: &str = "connections can be moved only where the master hands them over (--accept dispatch)";
