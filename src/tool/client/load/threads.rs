//! The threads of a run: starts them, releases them together, shows how far they are, and adds up what they counted.

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, ScopedJoinHandle, scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::Signal;

use crate::tool::client::clock::Clock;
use crate::tool::client::error::{ClientError, CommandError, Outcome};
use crate::tool::client::interrupt;
use crate::tool::client::load::ack_log::AckLog;
use crate::tool::client::load::bank::Bank;
use crate::tool::client::load::blocking;
use crate::tool::client::load::counters::Counters;
use crate::tool::client::load::event_loop::EventLoop;
use crate::tool::client::load::expected::{ExpectedBalances, Verification};
use crate::tool::client::load::pace::Starter;
use crate::tool::client::load::plan::{Driver, LoadPlan, RunPlan};
use crate::tool::client::load::thread::{ThreadResult, ThreadSetup};

/// A load thread needs little stack; a hundred of them should not take a hundred times the default.
const STACK_BYTES: usize = 256 * 1024;
/// How often the progress bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct RunResult {
    pub counters: Counters,
    /// From the end of the warm-up to the last reply, seconds.
    pub seconds: f64,
    /// Why connections ended early.
    pub failures: Vec<ClientError>,
    /// The comparison with the expected balances, if there are any, or why the server could not be asked.
    pub verification: Option<Result<Verification, ClientError>>,
    /// The signal that ended the run early.
    pub interrupted: Option<Signal>,
}

impl RunResult {
    /// What the result means for the exit code. A failure counts more than an interruption.
    pub fn outcome(&self) -> Outcome {
        let failed = self.failures.iter().any(|error| !matches!(error, ClientError::Interrupted(_)))
            || matches!(&self.verification, Some(Ok(verification)) if !verification.agrees());
        match self.interrupted {
            _ if failed => Outcome::Failed,
            Some(signal) => Outcome::Interrupted(signal),
            None if matches!(self.verification, Some(Err(_))) => Outcome::Failed,
            None => Outcome::Success,
        }
    }
}

/// A counter on its own cache lines, so that threads that count do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Replies(AtomicU64);

/// Starts the plan's threads, each of which does `body` with its number, releases them together, and waits for all to end; what they return,
/// in the order of their numbers. `beside`, if there is one, is a thread that is given what tells it when the others have ended.
pub fn run_threads<T: Send>(
    plan: &RunPlan,
    body: impl Fn(u32, Starter<'_>) -> T + Sync,
    beside: Option<Beside<'_>>,
) -> Result<Vec<T>, CommandError> {
    let threads = plan.threads();
    let replies: Vec<Replies> = (0..threads).map(|_| Replies::default()).collect();
    let start = OnceLock::new();
    let (ready, all_ready) = unbounded();
    let (alive, all_ended) = unbounded::<()>();
    scope(|scope| {
        let begin = || -> Result<_, CommandError> {
            let mut handles = Vec::new();
            for (number, replies) in (0..threads).zip(&replies) {
                let (ready, start, alive, body) = (ready.clone(), &start, alive.clone(), &body);
                let starter = Starter { number, replies: &replies.0, start, ready };
                let body = move || {
                    let result = body(number, starter);
                    drop(alive);
                    result
                };
                let thread = Builder::new().name(format!("load-{number}")).stack_size(STACK_BYTES);
                let what = format!("start thread {number} of {threads}");
                handles.push(thread.spawn_scoped(scope, body).map_err(CommandError::system(what))?);
            }
            if let Some(Beside { name, body, what }) = beside {
                let all_ended = all_ended.clone();
                let started = Builder::new().name(name.to_owned()).spawn_scoped(scope, move || body(&all_ended));
                started.map_err(CommandError::system(what))?;
            }
            drop((ready, alive));
            all_ready.iter().take(threads as usize).collect::<Result<(), ClientError>>()?;
            interrupt::begin_run();
            Ok(handles)
        };
        let begun = begin();
        // All threads begin now, or, where one could not be started or has no connection, none.
        let _ = start.set(begun.is_ok().then(Clock::start));
        let handles: Vec<ScopedJoinHandle<'_, T>> = begun?;
        show_progress(plan, &replies, &all_ended);
        let join = |handle: ScopedJoinHandle<'_, T>| match handle.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok(handles.into_iter().map(join).collect())
    })
}

/// What is done until a channel has no sender left.
type UntilEnded<'b> = Box<dyn FnOnce(&Receiver<()>) + Send + 'b>;

/// A thread beside those of a load.
pub struct Beside<'b> {
    pub name: &'static str,
    /// What it does until the others have ended.
    pub body: UntilEnded<'b>,
    /// What could not be done where it cannot be started.
    pub what: &'static str,
}

/// Makes the connections of the ledger's load, releases the threads together, and waits for all to end.
pub fn run(
    plan: &LoadPlan,
    expected: Option<&ExpectedBalances>,
    ack_log: Option<&AckLog>,
) -> Result<RunResult, CommandError> {
    let beside = ack_log.map(|log| Beside {
        name: "ack-log",
        body: Box::new(|all_ended| log.write_until(all_ended)),
        what: "start the thread of the acknowledgement log",
    });
    let body = |number, starter: Starter<'_>| {
        let ack_buffer = ack_log.map(|log| log.buffer(number));
        drive(ThreadSetup { plan, number, expected, ack_buffer }, starter)
    };
    Ok(add_up(plan, run_threads(&plan.run, body, beside)?))
}

fn drive<'r>(setup: ThreadSetup<'r>, starter: Starter<'r>) -> ThreadResult {
    match setup.plan.run.driver {
        Driver::Threads => blocking::run(setup, starter),
        Driver::EventLoops(loops) => {
            let open = || EventLoop::<Bank>::open(setup.plan, setup.number, loops);
            let (mut event_loop, mut thread) = setup.begin(starter, open)?;
            let failures = event_loop.run(&mut thread);
            Some((thread.counters, failures))
        }
        Driver::Churn => blocking::run_churn(setup, starter),
    }
}

/// Waits until every thread has ended (`all_ended` has no sender left), and draws a progress bar meanwhile if there is a terminal.
fn show_progress(plan: &RunPlan, replies: &[Replies], all_ended: &Receiver<()>) {
    if !stderr().is_terminal() {
        // Nothing is ever sent: this returns when the last sender is dropped.
        let _ = all_ended.recv();
        return;
    }
    let start = Instant::now();
    let span = plan.duration.map(|duration| duration + plan.warmup);
    let bar = match (span, plan.total_ops()) {
        (Some(span), _) => ProgressBar::new(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        (None, Some(ops)) => ProgressBar::new(ops),
        (None, None) => ProgressBar::new_spinner(),
    };
    let template = "{elapsed} [{bar:40}] {percent}% {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    while all_ended.recv_timeout(REDRAW) == Err(RecvTimeoutError::Timeout) {
        let done: u64 = replies.iter().map(|replies| replies.0.load(Ordering::Relaxed)).sum();
        let elapsed = start.elapsed();
        bar.set_position(if span.is_some() { u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX) } else { done });
        // A display of a few significant digits.
        #[allow(clippy::cast_precision_loss)]
        let rate = done as f64 / elapsed.as_secs_f64();
        bar.set_message(format!("{done} ops, {rate:.0}/s"));
    }
    bar.finish_and_clear();
}

/// Adds up what the threads counted.
fn add_up(plan: &LoadPlan, results: Vec<ThreadResult>) -> RunResult {
    let mut counters = Counters::default();
    let mut failures = Vec::new();
    for (more, failed) in results.into_iter().flatten() {
        counters.merge(&more);
        failures.extend(failed);
    }
    let seconds = plan.run.measured_seconds(counters.tally.last_reply);
    RunResult { counters, seconds, failures, verification: None, interrupted: None }
}
