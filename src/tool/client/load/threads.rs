//! The threads of a run: starts them, releases them together, and adds up what they counted.

use std::sync::atomic::AtomicU64;
use std::thread::{Builder, ScopedJoinHandle, scope};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use nix::sys::signal::Signal;

use crate::tool::client::clock::nanoseconds;
use crate::tool::client::error::{ClientError, CommandError, Outcome};
use crate::tool::client::interrupt;
use crate::tool::client::load::ack_log::AckLog;
use crate::tool::client::load::blocking;
use crate::tool::client::load::churn;
use crate::tool::client::load::counters::Counters;
use crate::tool::client::load::event_loop;
use crate::tool::client::load::expected::{ExpectedBalances, Verification};
use crate::tool::client::load::plan::{Driver, LoadPlan};
use crate::tool::client::load::progress;
use crate::tool::client::load::start_barrier::StartBarrier;
use crate::tool::client::load::thread::{ThreadResult, ThreadSetup};

/// A load thread needs little stack; a hundred of them should not take a hundred times the default.
const STACK_BYTES: usize = 256 * 1024;

/// The result of a run.
#[derive(Debug)]
pub struct RunResult {
    /// What became of the operations.
    pub counters: Counters,
    /// From the end of the warm-up to the last reply, seconds.
    pub seconds: f64,
    /// Why connections ended early.
    pub failures: Vec<ClientError>,
    /// The comparison with the expected balances, if there are any and the server could be asked.
    pub verification: Option<Verification>,
    /// Why the server could not be asked.
    pub unverified: Option<ClientError>,
    /// The signal that ended the run early.
    pub interrupted: Option<Signal>,
}

impl RunResult {
    /// What the result means for the exit code. A failure counts more than an interruption.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let failed = self.failures.iter().any(|error| !matches!(error, ClientError::Interrupted(_)))
            || self.verification.as_ref().is_some_and(|verification| !verification.agrees());
        match self.interrupted {
            _ if failed => Outcome::Failed,
            Some(signal) => Outcome::Interrupted(signal),
            None if self.unverified.is_some() => Outcome::Failed,
            None => Outcome::Success,
        }
    }
}

/// A counter on its own cache lines, so that threads that count do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Replies(AtomicU64);

/// Makes the connections, releases the threads together, and waits for all to end.
///
/// # Errors
/// [`CommandError`] when a connection cannot be made or a thread cannot be started.
pub fn run(
    plan: &LoadPlan,
    expected: Option<&ExpectedBalances>,
    ack_log: Option<&AckLog>,
) -> Result<RunResult, CommandError> {
    let threads = plan.threads();
    let replies: Vec<Replies> = (0..threads).map(|_| Replies::default()).collect();
    let barrier = StartBarrier::default();
    let (ready, all_ready) = unbounded();
    let (alive, all_ended) = unbounded::<()>();
    scope(|scope| {
        let mut handles = Vec::new();
        for (number, replies) in (0..threads).zip(&replies) {
            let ack_buffer = ack_log.map(|log| log.buffer(number));
            let (ready, barrier) = (ready.clone(), &barrier);
            let setup = ThreadSetup { plan, number, expected, replies: &replies.0, ack_buffer, barrier, ready };
            let alive = alive.clone();
            let body = move || {
                let result = drive(setup);
                drop(alive);
                result
            };
            let name = format!("load-{number}");
            match Builder::new().name(name).stack_size(STACK_BYTES).spawn_scoped(scope, body) {
                Ok(handle) => handles.push(handle),
                Err(source) => {
                    barrier.cancel();
                    return Err(CommandError::System { what: format!("start thread {number} of {threads}"), source });
                }
            }
        }
        if let Some(log) = ack_log {
            let all_ended = all_ended.clone();
            let writer = Builder::new().name("ack-log".to_owned());
            if let Err(source) = writer.spawn_scoped(scope, move || log.write_until(&all_ended)) {
                barrier.cancel();
                let what = "start the thread of the acknowledgement log".to_owned();
                return Err(CommandError::System { what, source });
            }
        }
        drop((ready, alive));
        release(&barrier, &all_ready, threads)?;
        progress::show(plan, &replies.iter().map(|replies| &replies.0).collect::<Vec<_>>(), &all_ended);
        Ok(add_up(plan, handles))
    })
}

/// Runs one thread with its driver.
fn drive(setup: ThreadSetup<'_>) -> ThreadResult {
    match setup.plan.driver {
        Driver::Threads => blocking::run(setup),
        Driver::EventLoops(loops) => event_loop::run(setup, loops),
        Driver::Churn => churn::run(setup),
    }
}

/// Releases the threads once all have their connections, or cancels the run when one cannot have them.
fn release(
    barrier: &StartBarrier,
    all_ready: &Receiver<Result<(), ClientError>>,
    threads: u32,
) -> Result<(), CommandError> {
    for _ in 0..threads {
        match all_ready.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                barrier.cancel();
                return Err(error.into());
            }
            // A thread that ends without a report has panicked; the scope passes that on.
            Err(_) => break,
        }
    }
    interrupt::begin_run();
    barrier.release();
    Ok(())
}

/// Joins the threads and adds up what they counted.
fn add_up(plan: &LoadPlan, handles: Vec<ScopedJoinHandle<'_, ThreadResult>>) -> RunResult {
    let mut counters = Counters::default();
    let mut failures = Vec::new();
    for handle in handles {
        match handle.join() {
            Ok(Some((more, failed))) => {
                counters.merge(&more);
                failures.extend(failed);
            }
            Ok(None) => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    let measured = counters.last_reply.saturating_sub(nanoseconds(plan.warmup));
    let seconds = Duration::from_nanos(measured).as_secs_f64();
    RunResult { counters, seconds, failures, verification: None, unverified: None, interrupted: None }
}
