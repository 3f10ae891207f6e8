//! The gate that all threads of a run pass together, or not at all.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::tool::client::load::plan::Clock;

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Shut,
    Open(Clock),
    CalledOff,
}

/// A barrier that can be called off: a thread whose connection fails must not leave the others waiting for ever.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    moved: Condvar,
}

impl Gate {
    /// Waits for the gate; the clock that started when it opened, or `None` when the run is called off.
    pub fn wait(&self) -> Option<Clock> {
        // The state is one word: whoever panicked while holding the lock cannot have left it half written.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *state {
                State::Shut => state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner),
                State::Open(clock) => return Some(clock),
                State::CalledOff => return None,
            }
        }
    }

    /// Lets everyone through; the clock of the run starts now.
    pub fn open(&self) {
        self.set(State::Open(Clock::start()));
    }

    /// Sends everyone home.
    pub fn call_off(&self) {
        self.set(State::CalledOff);
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pass_at_one_instant_or_none_does() {
        for open in [true, false] {
            let gate = Gate::default();
            let starts: Vec<Option<Clock>> = std::thread::scope(|scope| {
                let waiting: Vec<_> = (0..8).map(|_| scope.spawn(|| gate.wait())).collect();
                if open {
                    gate.open();
                } else {
                    gate.call_off();
                }
                waiting.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(starts.iter().all(|start| *start == starts[0] && start.is_some() == open));
        }
    }
}
