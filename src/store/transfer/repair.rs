//! What the master does for a process that has died: it lets go of what that had.
//!
//! It is done when the process has been collected, and before a successor is started, which would have the same number. Everything here may
//! be done again.

use crate::base::defect::{self, Defect};
use crate::store::transfer::header::{LetGo, State};
use crate::store::transfer::tickets::{Memory, Wake, pass_on};

/// What a dead process had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Segments that are free now.
    pub freed: u32,
    /// Segments that the other side still has, and was told of.
    pub left: u32,
}

impl Repaired {
    fn count(&mut self, let_go: LetGo) {
        match let_go {
            LetGo::Freed => self.freed += 1,
            LetGo::OtherSide => self.left += 1,
            LetGo::NotHeld => {}
        }
    }
}

/// A worker has died, or ended in order, which may leave a ticket as well: its segments are freed, or left to the cache process where that is still writing, and its ticket is taken down.
pub fn worker_died(memory: &impl Memory, worker: u16, wake: &dyn Wake) -> Repaired {
    let mut repaired = Repaired::default();
    for number in 0..memory.segments() {
        let header = memory.header(number);
        let claim = header.claim();
        if claim.owner == worker {
            repaired.count(header.end_reading(claim.generation, worker));
        }
    }
    if !defect::is(Defect::StaleTicket) {
        memory.tickets().show(usize::from(worker), None);
    }
    if repaired.left > 0 {
        wake.cache();
    }
    pass_on(memory, wake);
    repaired
}

/// The cache process has died: what it was writing is broken, and the workers that wait for it are woken; what it alone still had is free.
///
/// Segments that are offered and not picked up, or are written, stay as they are, and their workers are woken, too. If the dead process had already taken the
/// request from the queue, nobody knows of it any more: so a worker that sees that there is a successor asks it again for what is not
/// picked up (`Reader::is_picked_up`). A request that is there twice is picked up once.
pub fn cache_died(memory: &impl Memory, wake: &dyn Wake) -> Repaired {
    let mut repaired = Repaired::default();
    for number in 0..memory.segments() {
        let header = memory.header(number);
        let let_go = header.end_dead_writing();
        repaired.count(let_go);
        let claim = header.claim();
        // It may have let go of a segment, and not have come to waking its worker.
        if let_go == LetGo::OtherSide || matches!(claim.state, State::Offered | State::Written) {
            wake.worker(usize::from(claim.owner));
        }
    }
    pass_on(memory, wake);
    repaired
}

/// How many segments are in each state, as [`State`] is ordered.
#[must_use]
pub fn count(memory: &impl Memory) -> [usize; 7] {
    let mut counts = [0; 7];
    for number in 0..memory.segments() {
        counts[memory.header(number).claim().state as usize] += 1;
    }
    counts
}

/// Whether nobody has a segment.
#[must_use]
pub fn is_idle(memory: &impl Memory) -> bool {
    count(memory)[State::Free as usize] == memory.segments()
}
