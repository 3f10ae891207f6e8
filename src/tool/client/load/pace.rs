//! When a thread begins and sends, whatever it sends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Sender;
use rand::rngs::SmallRng;

use crate::tool::client::clock::{Clock, nanoseconds};
use crate::tool::client::error::ClientError;
use crate::tool::client::interrupt;
use crate::tool::client::load::plan::RunPlan;

/// What a thread is given to begin together with the others.
#[derive(Debug)]
pub struct Starter<'r> {
    /// The thread's number.
    pub number: u32,
    pub replies: &'r AtomicU64,
    /// The clock of the run, once all threads have their connections; `None` in it when the run is cancelled.
    pub start: &'r OnceLock<Option<Clock>>,
    /// Where the thread reports that its connections are made.
    pub ready: Sender<Result<(), ClientError>>,
}

impl<'r> Starter<'r> {
    /// Makes the thread's connections, and waits until all other threads have theirs; `None` when the run is cancelled.
    pub fn begin<C>(self, plan: &RunPlan, connect: impl FnOnce() -> Result<C, ClientError>) -> Option<(C, Pace<'r>)> {
        let mut connected = None;
        let made = connect().map(|connections| connected = Some(connections));
        // The receiver lives until every thread has reported. A failure cancels the run.
        let _ = self.ready.send(made);
        let clock = (*self.start.wait())?;
        Some((connected?, Pace::new(plan, self.number, clock, self.replies)))
    }
}

/// When a thread sends, and how far it is; the same whatever it sends.
#[derive(Debug)]
pub struct Pace<'r> {
    pub clock: Clock,
    /// What is sent before this is no part of the result.
    pub measure_from: u64,
    /// Nothing new is sent from here on, by the plan.
    deadline: u64,
    /// Replies so far, for the progress bar; written by this thread only.
    replies: &'r AtomicU64,
    /// Random numbers for operations and waits.
    pub rng: SmallRng,
}

impl<'r> Pace<'r> {
    /// That of a thread of a run that began with `clock`.
    pub fn new(plan: &RunPlan, number: u32, clock: Clock, replies: &'r AtomicU64) -> Pace<'r> {
        let measure_from = nanoseconds(plan.warmup);
        let deadline = plan.duration.map_or(u64::MAX, |length| measure_from.saturating_add(nanoseconds(length)));
        Pace { clock, measure_from, deadline, replies, rng: plan.rng(number) }
    }

    /// The time now, nanoseconds since the start.
    #[inline]
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Nothing new is sent from this time on: by the plan, or because the run was interrupted.
    #[inline]
    pub fn deadline(&self) -> u64 {
        interrupt::interrupted_at().map_or(self.deadline, |time| self.deadline.min(self.clock.since_start(time)))
    }

    /// Whether a connection begins another operation `now`: some remain for it, of which this is one, and the time is not over.
    #[inline]
    pub fn begins_another(&self, remaining: &mut Option<u64>, now: u64) -> bool {
        if now >= self.deadline() || *remaining == Some(0) {
            return false;
        }
        if let Some(remaining) = remaining
            && now >= self.measure_from
        {
            *remaining -= 1;
        }
        true
    }

    /// Adds the replies of one read to the progress of the run.
    #[inline]
    pub fn show_progress(&self, replies: usize) {
        // Only this thread writes, so a plain addition cannot lose a count; nothing else is published by it.
        let before = self.replies.load(Ordering::Relaxed);
        self.replies.store(before + replies as u64, Ordering::Relaxed);
    }
}
