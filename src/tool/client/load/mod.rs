//! The load generator: many connections that are released together, and what became of their operations.

mod ack_log;
mod churn;
mod closed;
pub mod desk;
mod gate;
mod line;
mod many;
mod pace;
pub mod plan;
mod progress;
mod seat;
pub mod tally;

use std::io;
use std::sync::atomic::AtomicU64;
use std::thread::{Builder, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::sys::signal::Signal;

use crate::tool::client::backoff::Backoff;
use crate::tool::client::books::{self, Books, Verdict};
use crate::tool::client::connection::{Connection, Server};
use crate::tool::client::error::{ClientError, Outcome};
use crate::tool::client::interrupt;
use crate::tool::client::options::{LoadOptions, Target};
use crate::tool::client::prng::Prng;
use crate::tool::client::report;
use crate::tool::client::time::nanoseconds;
use crate::tool::output::{self, ResultFile, Unwritten};
use ack_log::{AckFile, AckLog, Page};
use desk::Desk;
use gate::Gate;
use plan::{Clock, Drive, Plan};
use tally::Tally;

/// A thread of the load needs little stack; a hundred of them should not ask for a hundred times the default.
const STACK_BYTES: usize = 256 * 1024;

/// Why a run could not be made or judged.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The options do not go together.
    #[error("{0}")]
    Arguments(String),
    /// The server cannot be talked to, or refused.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The standard output did not take the result.
    #[error(transparent)]
    Output(#[from] Unwritten),
    /// This machine did not give what the run needs.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried, and on what.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Trouble {
    /// What the trouble means for the exit code.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Trouble::Server(error) => error.outcome(),
            Trouble::Arguments(_) | Trouble::Output(_) | Trouble::System { .. } => Outcome::Unusable,
        }
    }
}

/// What a run brought.
#[derive(Debug)]
pub struct Run {
    /// What became of the operations.
    pub tally: Tally,
    /// From the end of the warm-up to the last answer, seconds.
    pub seconds: f64,
    /// Why connections ended early.
    pub failures: Vec<ClientError>,
    /// What the books say, if they were kept and could be closed.
    pub verdict: Option<Verdict>,
    /// Why they could not be closed.
    pub unverified: Option<ClientError>,
    /// The signal that ended the run early.
    pub interrupted: Option<Signal>,
}

/// Runs the load as the options say, and reports it.
///
/// # Errors
/// [`Trouble`] when there is nothing to report.
pub fn run(options: &LoadOptions, target: &Target) -> Result<Outcome, Trouble> {
    interrupt::watch().map_err(|source| Trouble::System { what: "read signals".to_owned(), source })?;
    let server = Server::find(target)?;
    let json = options.json.as_deref().map(report::plan_file).transpose()?;
    let hdr = options.hdr.as_deref().map(report::plan_file).transpose()?;
    let ack_file = options.ack_log.as_deref().map(AckFile::open).transpose()?;
    let mut probe = Connection::open(&server)?;
    let accounts = match options.accounts {
        Some(range) => range.last.saturating_add(1),
        None => books::ask_totals(&mut probe)?.accounts,
    };
    let plan = Plan::settle(options, server, accounts)?;
    raise_descriptor_limit();
    let books = if options.verify { Some(Books::open(&mut probe, plan.accounts)?) } else { None };
    // Kept open, it would stand in the server's statistics as one more client, idle.
    drop(probe);
    let ack_log = ack_file.map(|file| AckLog::begin(file, plan.threads()));
    let mut run = perform(&plan, books.as_ref(), ack_log.as_ref())?;
    // A server that cannot be asked any more should not cost the rest of the result.
    match books.as_ref().map(|books| close(books, &plan)).transpose() {
        Ok(verdict) => run.verdict = verdict,
        Err(error) => run.unverified = Some(error),
    }
    if let Some(error) = &run.unverified {
        output::complain("client", &format!("cannot verify: {error}"));
    }
    run.interrupted = interrupt::signal();
    hand_over(&plan, &run, Files { json, hdr, ack_log })?;
    Ok(run.outcome())
}

/// Where a result goes beside the standard output.
struct Files {
    json: Option<ResultFile>,
    hdr: Option<ResultFile>,
    ack_log: Option<AckLog>,
}

/// Gives out the result, everywhere; what goes wrong in one place keeps it from no other.
fn hand_over(plan: &Plan, run: &Run, files: Files) -> Result<(), Trouble> {
    let written = [
        // A reader that has gone, as in `client | head`, changes neither the files nor the exit code.
        output::say(&report::text(run)).map(drop).map_err(Trouble::Output),
        files.json.map_or(Ok(()), |file| report::write_json(file, plan, run)),
        files.hdr.map_or(Ok(()), |file| report::write_hdr(file, run)),
        files.ack_log.map_or(Ok(()), AckLog::finish),
    ];
    let mut troubles = written.into_iter().filter_map(Result::err);
    let Some(first) = troubles.next() else { return Ok(()) };
    // The caller tells of one.
    troubles.for_each(|trouble| output::complain("client", &trouble.to_string()));
    Err(first)
}

impl Run {
    /// What the run means for the exit code. That it was interrupted comes last: what it found until then counts.
    fn outcome(&self) -> Outcome {
        let failed = self.failures.iter().any(|error| !matches!(error, ClientError::Interrupted(_)))
            || self.verdict.as_ref().is_some_and(|verdict| !verdict.agrees());
        match self.interrupted {
            _ if failed => Outcome::Refused,
            Some(signal) => Outcome::Interrupted(signal),
            None if self.unverified.is_some() => Outcome::Refused,
            None => Outcome::Well,
        }
    }
}

/// Closes the books. A server that is just coming back after a crash is waited for.
fn close(books: &Books, plan: &Plan) -> Result<Verdict, ClientError> {
    let clock = Clock::start();
    let mut backoff = Backoff::new(plan.server.retry_for);
    let mut prng = Prng::new(plan.seed, u64::MAX);
    loop {
        match Connection::open(&plan.server).and_then(|mut connection| books.close(&mut connection)) {
            Err(error) if error.is_passing() && !interrupt::is_over() => {
                let Some(wait) = backoff.next_wait(clock.now(), &mut prng) else { return Err(error) };
                std::thread::sleep(wait);
            }
            settled => return settled,
        }
    }
}

/// A counter on a cache line of its own, so that threads that count do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Answers(AtomicU64);

/// What one thread brought home; nothing where the run was called off before it began.
type Brought = Option<(Tally, Vec<ClientError>)>;

/// What a thread is given.
struct Post<'r> {
    plan: &'r Plan,
    books: Option<&'r Books>,
    answers: &'r AtomicU64,
    page: Option<&'r Page>,
    number: u32,
    gate: &'r Gate,
    ready: Sender<Result<(), ClientError>>,
}

impl<'r> Post<'r> {
    /// Tells that the connections are made, and waits for the others; `None` when the run is called off.
    fn await_start(&self, made: Result<(), ClientError>) -> Option<Desk<'r>> {
        // The receiver lives until every thread has been heard.
        let _ = self.ready.send(made);
        let clock = self.gate.wait()?;
        Some(Desk::new(self.plan, self.books, self.answers, self.page, self.number, clock))
    }
}

/// Makes the connections, releases them together, and waits for all to end.
fn perform(plan: &Plan, books: Option<&Books>, ack_log: Option<&AckLog>) -> Result<Run, Trouble> {
    let threads = plan.threads();
    let answers: Vec<Answers> = (0..threads).map(|_| Answers::default()).collect();
    let gate = Gate::default();
    let (ready, heard) = unbounded();
    let (alive, all_gone) = unbounded::<()>();
    std::thread::scope(|scope| {
        let mut handles: Vec<ScopedJoinHandle<'_, Brought>> = Vec::new();
        for (number, answers) in (0..threads).zip(&answers) {
            let page = ack_log.map(|log| log.page(number));
            let post = Post { plan, books, answers: &answers.0, page, number, gate: &gate, ready: ready.clone() };
            let alive = alive.clone();
            let body = move || {
                let brought = attend(&post);
                drop(alive);
                brought
            };
            let name = format!("load-{number}");
            match Builder::new().name(name).stack_size(STACK_BYTES).spawn_scoped(scope, body) {
                Ok(handle) => handles.push(handle),
                Err(source) => {
                    gate.call_off();
                    return Err(Trouble::System { what: format!("start thread {number} of {threads}"), source });
                }
            }
        }
        if let Some(log) = ack_log {
            let all_gone = all_gone.clone();
            let scribe = Builder::new().name("ack-log".to_owned()).spawn_scoped(scope, move || log.keep(&all_gone));
            if let Err(source) = scribe {
                gate.call_off();
                return Err(Trouble::System { what: "start the thread of the acknowledgement log".to_owned(), source });
            }
        }
        drop((ready, alive));
        release(&gate, &heard, threads)?;
        progress::watch(plan, &answers.iter().map(|answers| &answers.0).collect::<Vec<_>>(), &all_gone);
        Ok(gather(plan, handles))
    })
}

/// The work of one thread, whichever way it drives its connections.
fn attend(post: &Post<'_>) -> Brought {
    match post.plan.drive {
        Drive::Threads => match Connection::open(&post.plan.server) {
            Ok(connection) => {
                let mut desk = post.await_start(Ok(()))?;
                let failure = closed::drive(connection, &mut desk);
                Some((desk.tally, failure.into_iter().collect()))
            }
            Err(error) => {
                post.await_start(Err(error));
                None
            }
        },
        Drive::Loops(loops) => many::attend(post, loops),
        Drive::Churn => {
            let mut desk = post.await_start(Ok(()))?;
            let failure = churn::drive(&mut desk);
            Some((desk.tally, failure.into_iter().collect()))
        }
    }
}

/// Opens the gate once every thread has its connections, or calls the run off when one cannot have them.
fn release(gate: &Gate, heard: &Receiver<Result<(), ClientError>>, threads: u32) -> Result<(), Trouble> {
    for _ in 0..threads {
        match heard.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                gate.call_off();
                return Err(error.into());
            }
            // A thread that ends without a word has panicked; the scope will say so.
            Err(_) => break,
        }
    }
    interrupt::begin_run();
    gate.open();
    Ok(())
}

/// Adds up what the threads brought home.
fn gather(plan: &Plan, handles: Vec<ScopedJoinHandle<'_, Brought>>) -> Run {
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for handle in handles {
        match handle.join() {
            Ok(Some((more, failed))) => {
                tally.add(&more);
                failures.extend(failed);
            }
            Ok(None) => {}
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    let measured = tally.last_answer.saturating_sub(nanoseconds(plan.warmup));
    let seconds = std::time::Duration::from_nanos(measured).as_secs_f64();
    Run { tally, seconds, failures, verdict: None, unverified: None, interrupted: None }
}

/// Thousands of connections need thousands of descriptors: takes what the system allows. Where it does not allow enough,
/// the connection that finds none says so.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
