//! The barrier that all threads of a run pass together, or not at all.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::tool::client::clock::Clock;

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Waiting,
    Released(Clock),
    Cancelled,
}

/// A barrier that can be cancelled: a thread whose connection fails must not leave the others waiting for ever.
#[derive(Debug, Default)]
pub struct StartBarrier {
    state: Mutex<State>,
    changed: Condvar,
}

impl StartBarrier {
    /// Waits for the release; the clock that started with it, or `None` when the run is cancelled.
    pub fn wait(&self) -> Option<Clock> {
        // A panic while the lock was held cannot have left the state half written.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *state {
                State::Waiting => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                State::Released(clock) => return Some(clock),
                State::Cancelled => return None,
            }
        }
    }

    /// Releases all threads; the clock of the run starts now.
    pub fn release(&self) {
        self.set(State::Released(Clock::start()));
    }

    /// Cancels the run for all threads.
    pub fn cancel(&self) {
        self.set(State::Cancelled);
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pass_at_one_instant_or_none_does() {
        for released in [true, false] {
            let barrier = StartBarrier::default();
            let starts: Vec<Option<Clock>> = std::thread::scope(|scope| {
                let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| barrier.wait())).collect();
                if released {
                    barrier.release();
                } else {
                    barrier.cancel();
                }
                waiting.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(starts.iter().all(|start| *start == starts[0] && start.is_some() == released));
        }
    }
}
