//! Serving sessions: those whose sockets have something, and those that are scheduled.

use crate::process::worker::event_loop::Worker;
use crate::service::connection_state::{Closing, Next};

impl Worker {
    /// Gives the session in `slot` its turn, if there is one.
    pub fn serve(&mut self, slot: u32) {
        // Before its next request is looked at, which may take a thread again: a client that has always sent the next one would keep this
        // worker for ever.
        if self.is_leaving() && self.give_back(slot) {
            return;
        }
        let Some(host) = self.services.of(slot) else { return };
        let Some(next) = host.serve(slot) else { return };
        match next {
            Next::Wait => {}
            Next::Again => host.schedule(slot),
            Next::Close => return self.close(slot),
            Next::CloseFlooding => {
                self.row.stats.bounds.closed_flooding.add(1);
                return self.close(slot);
            }
        }
        if let Some(state) = host.state(slot)
            && matches!(state.closing, Closing::Lingering(_))
            && !std::mem::replace(&mut state.counted_closing, true)
        {
            self.service_stats(slot).closing.add(1);
        }
        if self.row.life.is_to_leave() {
            self.give_back(slot);
        }
    }

    /// Serves the sessions that can go on, or have more to do than one turn allowed. Each once: what is scheduled meanwhile has its turn
    /// after the sockets have been looked at again.
    pub fn serve_scheduled(&mut self) {
        for service in self.services.ids() {
            let Some(host) = self.services.get(service) else { continue };
            for _ in 0..host.advance() {
                let next = self.services.get(service).and_then(|host| host.next_scheduled());
                let Some(slot) = next else { break };
                self.serve(slot);
            }
        }
    }
}
