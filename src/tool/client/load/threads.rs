//! The threads of a run: starts them, releases them together, shows how far they are, and adds up what they counted.

use std::io::{IsTerminal, stderr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, ScopedJoinHandle, scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::Signal;

use crate::tool::client::clock::{Clock, nanoseconds};
use crate::tool::client::error::{ClientError, CommandError, Outcome};
use crate::tool::client::interrupt;
use crate::tool::client::load::ack_log::AckLog;
use crate::tool::client::load::blocking;
use crate::tool::client::load::counters::Counters;
use crate::tool::client::load::event_loop;
use crate::tool::client::load::expected::{ExpectedBalances, Verification};
use crate::tool::client::load::plan::{Driver, LoadPlan};
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

/// Makes the connections, releases the threads together, and waits for all to end.
pub fn run(
    plan: &LoadPlan,
    expected: Option<&ExpectedBalances>,
    ack_log: Option<&AckLog>,
) -> Result<RunResult, CommandError> {
    let threads = plan.threads();
    let replies: Vec<Replies> = (0..threads).map(|_| Replies::default()).collect();
    let start = OnceLock::new();
    let (ready, all_ready) = unbounded();
    let (alive, all_ended) = unbounded::<()>();
    scope(|scope| {
        let begin = || -> Result<_, CommandError> {
            let mut handles = Vec::new();
            for (number, replies) in (0..threads).zip(&replies) {
                let ack_buffer = ack_log.map(|log| log.buffer(number));
                let (ready, start, alive) = (ready.clone(), &start, alive.clone());
                let setup = ThreadSetup { plan, number, expected, replies: &replies.0, ack_buffer, start, ready };
                let body = move || {
                    let result = drive(setup);
                    drop(alive);
                    result
                };
                let thread = Builder::new().name(format!("load-{number}")).stack_size(STACK_BYTES);
                let what = format!("start thread {number} of {threads}");
                handles.push(thread.spawn_scoped(scope, body).map_err(CommandError::system(what))?);
            }
            if let Some(log) = ack_log {
                let all_ended = all_ended.clone();
                let writer = Builder::new().name("ack-log".to_owned());
                let what = "start the thread of the acknowledgement log";
                let started = writer.spawn_scoped(scope, move || log.write_until(&all_ended));
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
        let handles = begun?;
        show_progress(plan, &replies, &all_ended);
        Ok(add_up(plan, handles))
    })
}

fn drive(setup: ThreadSetup<'_>) -> ThreadResult {
    match setup.plan.driver {
        Driver::Threads => blocking::run(setup),
        Driver::EventLoops(loops) => event_loop::run(setup, loops),
        Driver::Churn => blocking::run_churn(setup),
    }
}

/// Waits until every thread has ended (`all_ended` has no sender left), and draws a progress bar meanwhile if there is a terminal.
fn show_progress(plan: &LoadPlan, replies: &[Replies], all_ended: &Receiver<()>) {
    if !stderr().is_terminal() {
        // Nothing is ever sent: this returns when the last sender is dropped.
        let _ = all_ended.recv();
        return;
    }
    let start = Instant::now();
    let span = plan.options.duration.map(|duration| duration + plan.options.warmup);
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
    let measured = counters.last_reply.saturating_sub(nanoseconds(plan.options.warmup));
    let seconds = Duration::from_nanos(measured).as_secs_f64();
    RunResult { counters, seconds, failures, verification: None, interrupted: None }
}
