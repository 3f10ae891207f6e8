//! The threads of a run: each takes the next path of the workload, gets its file, and takes the next one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope};

use indicatif::{ProgressBar, ProgressStyle};

use crate::tool::client::clock::Clock;
use crate::tool::client::connection::Server;
use crate::tool::client::error::CommandError;
use crate::tool::client::getfile::counters::Counters;
use crate::tool::client::getfile::destination::{Destination, Wanted};
use crate::tool::client::getfile::download::BUFFER_BYTES;
use crate::tool::client::getfile::failure::Failure;
use crate::tool::client::interrupt;

/// Little is on the stack; a hundred threads should not take a hundred times the default.
const STACK_BYTES: usize = 256 * 1024;
/// How many failures the report shows.
const SHOWN_FAILURES: usize = 10;

/// What is to be done.
#[derive(Debug)]
pub struct Plan<'p> {
    /// Whom to ask.
    pub server: Server,
    /// What to get.
    pub workload: &'p [Wanted<'p>],
    /// How many files, by all threads together.
    pub requests: u64,
    /// How many threads.
    pub threads: u32,
    /// What becomes of the files.
    pub destination: &'p Destination,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct RunResult {
    /// What became of the requests.
    pub counters: Counters,
    /// The first different failures, each with its path.
    pub failures: Vec<String>,
    /// The failure that ended the run, where one did.
    pub fatal: Option<Failure>,
}

/// What the threads share.
struct Run<'p> {
    plan: &'p Plan<'p>,
    clock: Clock,
    /// The number of the next request.
    next: AtomicU64,
    /// Whether no thread is to take one more.
    is_over: AtomicBool,
    /// Whether a connection was ever made.
    is_reachable: AtomicBool,
    bar: ProgressBar,
    result: Mutex<RunResult>,
}

/// Gets all files, and waits for the last one.
pub fn run(plan: &Plan<'_>) -> Result<RunResult, CommandError> {
    // It draws on the standard error, and nothing where that is no terminal.
    let bar = ProgressBar::new(plan.requests);
    if let Ok(style) = ProgressStyle::with_template("{elapsed} [{bar:40}] {percent}% {pos} files, {per_sec}") {
        bar.set_style(style.progress_chars("=> "));
    }
    let run = Run {
        plan,
        clock: Clock::start(),
        next: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        is_reachable: AtomicBool::new(false),
        bar,
        result: Mutex::default(),
    };
    interrupt::begin_run();
    scope(|scope| {
        for number in 0..plan.threads {
            let thread = Builder::new().name(format!("get-{number}")).stack_size(STACK_BYTES);
            let what = format!("start thread {number} of {}; use fewer --threads", plan.threads);
            let started = thread.spawn_scoped(scope, || run.work()).map_err(CommandError::system(what));
            started.inspect_err(|_| run.is_over.store(true, Ordering::Relaxed))?;
        }
        Ok::<(), CommandError>(())
    })?;
    run.bar.finish_and_clear();
    Ok(run.result.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Run<'_> {
    /// One thread.
    fn work(&self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut counters = Counters::default();
        while let Some(wanted) = self.next() {
            let since = self.clock.now();
            let result = self.plan.destination.get(&self.plan.server, wanted, &mut buffer);
            let is_checked = matches!(self.plan.destination, Destination::Check(_));
            let is_wrong = counters.count(&result, is_checked, since, self.clock.now());
            self.bar.inc(1);
            if !matches!(result, Err(Failure::NoConnection(_))) {
                self.is_reachable.store(true, Ordering::Relaxed);
            }
            if let (true, Err(failure)) = (is_wrong, result) {
                self.note(wanted, failure);
            }
        }
        self.result.lock().unwrap_or_else(PoisonError::into_inner).counters.merge(&counters);
    }

    /// What to get next.
    fn next(&self) -> Option<&Wanted<'_>> {
        if self.is_over.load(Ordering::Relaxed) || interrupt::interrupted_at().is_some() {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let index = number % self.plan.workload.len() as u64;
        self.plan.workload.get(usize::try_from(index).ok()?).filter(|_| number < self.plan.requests)
    }

    /// Notes a failure. Where it would be the same for every file, it ends the run: this machine's disk is full, nobody listens.
    fn note(&self, wanted: &Wanted<'_>, failure: Failure) {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        if result.failures.len() < SHOWN_FAILURES {
            let path = String::from_utf8_lossy(wanted.path.as_bytes());
            let line = format!("{}: {failure}", path.escape_debug());
            if !result.failures.contains(&line) {
                result.failures.push(line);
            }
        }
        let is_fatal = match failure {
            Failure::Local { .. } => true,
            Failure::NoConnection(_) => !self.is_reachable.load(Ordering::Relaxed),
            _ => false,
        };
        if is_fatal {
            self.is_over.store(true, Ordering::Relaxed);
            result.fatal.get_or_insert(failure);
        }
    }
}
