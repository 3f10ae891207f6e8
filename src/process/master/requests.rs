//! Requests of operators' tools: read from shared memory, passed on to the supervisor, or done at once.

use crate::base::config::AcceptMode;
use crate::process::master::driver::Driver;
use crate::process::master::supervisor::{Event, MUST_HAND_OVER, Request};
use crate::store::instance::control_requests::{Answer, ControlRequest};

impl Driver {
    /// Reads the request that has come, if one has.
    pub(super) fn take_request(&mut self, now: u64) {
        let instance = self.common.instance;
        let requests = &instance.control().requests;
        let pending = requests.pending().filter(|(id, _)| self.supervisor.pending_request() != Some(*id));
        let Some((id, request)) = pending else { return };
        let request = match request {
            None => return requests.answer(id, &Err("this server does not know how to do that".to_owned())),
            Some(ControlRequest::Rebalance) => return requests.answer(id, &self.rebalance()),
            Some(ControlRequest::Drain { worker }) => {
                let worker = worker as usize;
                let connections = self.workers.get(worker).and_then(Option::as_ref).map_or(0, |slot| slot.connections);
                Request::Drain { worker, connections }
            }
            Some(ControlRequest::Snapshot) => {
                let wanted = instance.journal_row().want_snapshot();
                self.common.journal.send();
                Request::Snapshot { wanted }
            }
            Some(ControlRequest::Upgrade) => Request::Upgrade,
        };
        self.supervisor.handle(now, Event::Requested { id: Some(id), request });
    }

    fn rebalance(&mut self) -> Answer {
        if self.common.settings.accept != AcceptMode::Dispatch {
            return Err(MUST_HAND_OVER.to_owned());
        }
        let serving: Vec<_> = self.workers.iter().flatten().filter(|slot| slot.takes_connections()).collect();
        let total: u32 = serving.iter().map(|slot| slot.connections).sum();
        let fair = total.div_ceil(u32::try_from(serving.len()).unwrap_or(1).max(1));
        let mut moved = 0;
        for slot in serving {
            let surplus = slot.connections.saturating_sub(fair);
            if surplus > 0 {
                self.common.instance.workers()[slot.index].ask_for(surplus);
                self.common.wakeups[slot.index].send();
                moved += surplus;
            }
        }
        log::info!("rebalancing: {moved} of {total} connections move");
        Ok(format!("{moved} of {total} connections move; {fair} a worker is even"))
    }
}
