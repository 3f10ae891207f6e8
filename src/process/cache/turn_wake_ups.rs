//! Wakes workers once for all that a turn has for them.
//!
//! A worker that is woken looks at all of its requests, so one wake-up is enough for what several of them have waited for; and an eventfd
//! costs a system call each time. A wake-up that this process does not come to, because it dies, is made up for by the master, which
//! wakes all who have a segment then.

use std::cell::Cell;

use crate::base::limits::MAX_WORKERS;
use crate::store::transfer::{Wake, WakeUps};

/// The workers that are to be woken.
pub struct TurnWakeUps {
    wake_ups: &'static WakeUps,
    due: [Cell<bool>; MAX_WORKERS],
    is_any_due: Cell<bool>,
}

impl TurnWakeUps {
    /// Nobody yet.
    #[must_use]
    pub fn new(wake_ups: &'static WakeUps) -> Self {
        TurnWakeUps { wake_ups, due: std::array::from_fn(|_| Cell::new(false)), is_any_due: Cell::new(false) }
    }

    /// Wakes those that are to be woken.
    pub fn send(&self) {
        if !self.is_any_due.take() {
            return;
        }
        for worker in (0..MAX_WORKERS).filter(|worker| self.due[*worker].take()) {
            self.wake_ups.worker(worker);
        }
    }
}

impl Wake for TurnWakeUps {
    fn worker(&self, worker: usize) {
        // The number comes out of shared memory.
        if let Some(due) = self.due.get(worker) {
            due.set(true);
            self.is_any_due.set(true);
        }
    }

    fn cache(&self) {
        self.wake_ups.cache();
    }
}
