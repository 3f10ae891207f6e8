//! What the master wants of a worker: to stop, to leave, to give connections back, to read the settings again.

use std::os::fd::AsRawFd;

use mio::unix::SourceFd;

use crate::base::limits::STOP_DEADLINE_SECONDS;
use crate::process::worker::event_loop::Worker;
use crate::service::connection_state::Closing;
use crate::service::interface::Departure;
use crate::store::instance::control::{Orders, WorkerState};

const SECOND_NS: u64 = 1_000_000_000;

impl Worker {
    /// Reads the master's orders and obeys.
    pub fn obey(&mut self) {
        let _ = self.wakeup.take();
        match self.instance.control().orders() {
            Orders::Serve => {}
            Orders::Stop => self.begin_to_stop(),
            Orders::Hurry => {
                self.begin_to_stop();
                self.leave_by_ns = Some(0);
            }
        }
        self.reload();
        let surplus = self.row.take_surplus() as usize;
        let mut given = 0;
        for slot in self.services.slots() {
            if given == surplus {
                break;
            }
            given += usize::from(self.give_back(slot));
        }
        if self.row.life.is_to_leave() {
            self.begin_to_leave();
        }
    }

    /// Others stay: they go on with the connections.
    fn begin_to_leave(&mut self) {
        self.row.set_state(WorkerState::Leaving);
        self.stop_accepting();
        for slot in self.services.slots() {
            match self.services.of(slot).and_then(|host| host.departure(slot)) {
                Some(Departure::Move) => drop(self.give_back(slot)),
                Some(Departure::Close) => self.close(slot),
                Some(Departure::Finish) | None => {}
            }
        }
    }

    /// All stop: answers nothing new, and sends what is queued.
    fn begin_to_stop(&mut self) {
        if self.leave_by_ns.is_some() {
            return;
        }
        self.row.set_state(WorkerState::Stopping);
        self.stop_accepting();
        for (_, host) in self.services.iter_mut() {
            host.stop();
        }
        // A second before the master loses its patience.
        self.leave_by_ns = Some(self.now_ns + (STOP_DEADLINE_SECONDS - 1) * SECOND_NS);
        for slot in self.services.slots() {
            let Some(host) = self.services.of(slot) else { continue };
            // One that waits for something gets its answer first.
            if host.departure(slot) == Some(Departure::Move)
                && let Some(state) = host.state(slot)
            {
                state.closing = Closing::AfterSending;
            }
            self.serve(slot);
        }
    }

    /// Takes over settings and users that were read again by the master, if they were.
    fn reload(&mut self) {
        let reloads = self.instance.control().reloads();
        if std::mem::replace(&mut self.reloads, reloads) == reloads {
            return;
        }
        for (_, host) in self.services.iter_mut() {
            host.reload();
        }
    }

    /// Accepts no more by itself. The sockets are the master's as well, so closing them here alone would not end its watching.
    fn stop_accepting(&mut self) {
        for listener in self.acceptor.listeners() {
            let _ = self.poll.registry().deregister(&mut SourceFd(&listener.as_raw_fd()));
        }
        self.acceptor.close_listeners();
    }

    /// Whether others go on with the connections that can be given back.
    pub fn is_leaving(&self) -> bool {
        self.row.life.is_to_leave() && self.leave_by_ns.is_none()
    }

    /// Whether this worker has nothing left to do, or no time left to do it in.
    pub fn may_leave(&self) -> bool {
        if let Some(leave_by) = self.leave_by_ns {
            return self.count == 0 || self.now_ns >= leave_by;
        }
        let lane_empty = self.instance.lane_ring(usize::from(self.number)).depth() == 0 && !self.acceptor.holds_back();
        // The master stops handing over before it asks to leave, so an empty lane stays empty. It must also have been told
        // of every connection that was closed.
        self.row.life.is_to_leave() && self.count == 0 && lane_empty && self.notices.is_empty()
    }
}
