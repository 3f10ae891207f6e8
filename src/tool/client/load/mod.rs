//! The load generator: many connections that are released together, and a report of what became of their operations.

mod ack_log;
mod bank;
mod blocking;
pub mod counters;
pub mod event_loop;
mod expected;
pub mod pace;
pub mod pipeline;
pub mod plan;
mod polled;
pub mod protocol;
pub mod report;
pub mod thread;
pub mod threads;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::tool::client::clock::monotonic;
use crate::tool::client::connection::{Connection, Server};
use crate::tool::client::error::{ClientError, CommandError, Outcome};
use crate::tool::client::interrupt;
use crate::tool::client::options::{LoadOptions, ReadFrom, Target};
use crate::tool::output::{self, OutputFile};
use ack_log::AckLog;
use expected::{ExpectedBalances, Verification};
use plan::LoadPlan;
use threads::RunResult;

/// Runs the load of the options, and reports the result.
pub fn run(options: &LoadOptions, target: &Target) -> Result<Outcome, CommandError> {
    if target.read_from == ReadFrom::Any {
        let why = "--read-from any is for single requests and the shell: a load is all sent to the primary";
        return Err(CommandError::Unusable(why.to_owned()));
    }
    interrupt::watch().map_err(CommandError::system("read signals"))?;
    let server = Server::resolve(target)?;
    let json = options.json.as_deref().map(report::prepare_file).transpose()?;
    let hdr = options.hdr.as_deref().map(report::prepare_file).transpose()?;
    let ack_log = options.ack_log.as_deref().map(AckLog::open).transpose()?;
    let (mut connection, accounts) = find_primary(&server, options)?;
    let plan = LoadPlan::new(options, server, accounts)?;
    raise_descriptor_limit();
    let expected = if options.verify { Some(ExpectedBalances::request(&mut connection, plan.accounts)?) } else { None };
    // Kept open, it would count in the server's statistics as one more, idle client.
    drop(connection);
    let ack_log = ack_log.map(|log| log.begin(plan.run.threads()));
    let mut result = threads::run(&plan, expected.as_ref(), ack_log.as_ref())?;
    // The rest of the result is reported also where the server cannot be asked any more.
    result.verification = expected.map(|expected| {
        verify(&expected, &plan).inspect_err(|error| output::print_error("client", &format!("cannot verify: {error}")))
    });
    result.interrupted = interrupt::signal();
    write_reports(&plan, &result, [json, hdr], ack_log)?;
    Ok(result.outcome())
}

/// Connects to the primary; gives the number of accounts as well.
fn find_primary(server: &Server, options: &LoadOptions) -> Result<(Connection, u32), ClientError> {
    let find = || {
        let mut connection = Connection::find(server)?;
        let accounts = match options.accounts {
            Some(range) => range.last.saturating_add(1),
            None => expected::request_totals(&mut connection)?.accounts,
        };
        Ok((connection, accounts))
    };
    match find() {
        Err(ClientError::Refused { status, .. }) if status.is_elsewhere() => {
            server.servers.expect_cluster();
            find()
        }
        done => done,
    }
}

/// Writes every report, even if one of them fails.
fn write_reports(
    plan: &LoadPlan,
    result: &RunResult,
    [json, hdr]: [Option<OutputFile>; 2],
    ack_log: Option<AckLog>,
) -> Result<(), CommandError> {
    let written = [
        // A reader that closed the pipe, as in `client | head`, changes neither the files nor the exit code.
        output::print(&result.to_string()).map(drop).map_err(CommandError::Output),
        json.map_or(Ok(()), |file| report::write_json(file, plan, result)),
        hdr.map_or(Ok(()), |file| report::write_hdr(file, &result.counters.latencies())),
        ack_log.map_or(Ok(()), AckLog::finish),
    ];
    first_error(written)
}

/// The first error, which the caller prints; the others are printed here.
pub fn first_error(written: impl IntoIterator<Item = Result<(), CommandError>>) -> Result<(), CommandError> {
    let mut errors = written.into_iter().filter_map(Result::err);
    let Some(first) = errors.next() else { return Ok(()) };
    errors.for_each(|error| output::print_error("client", &error.to_string()));
    Err(first)
}

/// Compares the balances after the run; retries while the server comes back from a crash.
fn verify(expected: &ExpectedBalances, plan: &LoadPlan) -> Result<Verification, ClientError> {
    let mut backoff = plan.run.server.backoff();
    let mut rng = plan.run.rng(u32::MAX);
    loop {
        match Connection::open(&plan.run.server).and_then(|mut connection| expected.verify(&mut connection)) {
            Err(error) if error.is_transient() && !interrupt::grace_is_over() => {
                let Some(wait) = backoff.next_wait(monotonic(), &mut rng) else { return Err(error) };
                std::thread::sleep(wait);
            }
            done => return done,
        }
    }
}

/// Thousands of connections need thousands of descriptors: takes what the system allows. Where that is not enough, the
/// connection that gets no descriptor reports it.
pub fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
