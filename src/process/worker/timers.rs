//! What is done four times a second.

use crate::process::worker::event_loop::{TICK_NS, Worker};
use crate::service::connection_state::Next;

impl Worker {
    /// Looks for connections that are late, and for room.
    pub fn tick(&mut self) {
        self.next_tick_ns = self.now_ns + TICK_NS;
        for (_, host) in self.services.iter_mut() {
            host.tick();
        }
        self.share_room();
        // In other modes than dispatch: slots may be free that other workers had.
        let _was_short = self.acceptor.look_again();
        self.accept_more |= self.acceptor.listeners().next().is_some();
        for slot in self.services.slots() {
            match self.services.of(slot).and_then(|host| host.check_time(slot, self.now_ns)) {
                Some(Next::Close | Next::CloseFlooding) => self.close(slot),
                Some(Next::Again) => self.serve(slot),
                Some(Next::Wait) | None => {}
            }
        }
    }
}
