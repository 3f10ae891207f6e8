//! `client kv-load`: a load of GETs and PUTs for the key-value store, by ONC RPC, that can check every answer.

mod counters;
pub mod options;
mod plan;
mod protocol;
mod report;
mod thread;
mod values;
mod verifier;

use std::sync::Arc;

use crate::tool::client::connection::{Server, find};
use crate::tool::client::error::{CommandError, Outcome};
use crate::tool::client::interrupt;
use crate::tool::client::load::event_loop::EventLoop;
use crate::tool::client::load::pace::Starter;
use crate::tool::client::load::threads::run_threads;
use crate::tool::client::load::{first_error, raise_descriptor_limit, report as files};
use crate::tool::client::options::Target;
use crate::tool::output;
use counters::KvCounters;
use options::KvLoadOptions;
use plan::{KvPlan, Phase};
use protocol::Kv;
use report::KvResult;
use thread::KvThread;
use verifier::Verifier;

/// Runs the load of the options, and reports the result.
pub fn run(options: &KvLoadOptions, target: &Target) -> Result<Outcome, CommandError> {
    interrupt::watch().map_err(CommandError::system("read signals"))?;
    plan::check(options)?;
    let server = Server::resolve(target)?;
    let json = options.json.as_deref().map(files::prepare_file).transpose()?;
    let hdr = options.hdr.as_deref().map(files::prepare_file).transpose()?;
    find(&server, || protocol::ask_for_primary(&server, options.uid))?;
    raise_descriptor_limit();
    let seed = crate::tool::client::load::plan::seed(options.seed);
    let verifier = options.verify.then(|| Arc::new(Verifier::new(options.keys, plan::connections(options), seed)));
    let plan_of = |phase| KvPlan::new(options, server.clone(), phase, seed, verifier.clone());
    let (plan, mut before) = (plan_of(Phase::Measured)?, None);
    if options.prefill || options.verify {
        let filled = run_phase(&plan_of(Phase::Prefill)?)?;
        if filled.has_failed() || interrupt::signal().is_some() {
            before = Some(filled);
        }
    }
    // What could not be prepared is not measured.
    let result = match before {
        Some(filled) => filled,
        None => run_phase(&plan)?,
    };
    first_error([
        output::print(&result.to_string()).map(drop).map_err(CommandError::Output),
        json.map_or(Ok(()), |file| report::write_json(file, &plan, &result)),
        hdr.map_or(Ok(()), |file| files::write_hdr(file, &result.counters.latencies())),
    ])?;
    Ok(result.outcome())
}

/// Makes the connections of a phase, sends what it is to send, and waits for the answers.
fn run_phase(plan: &KvPlan) -> Result<KvResult, CommandError> {
    let loops = plan.run.threads();
    let body = |number: u32, starter: Starter<'_>| {
        let open = || EventLoop::<Kv>::open(plan, number, loops);
        let (mut event_loop, pace) = starter.begin(&plan.run, open)?;
        let mut thread = KvThread::new(plan, number, pace);
        let failures = event_loop.run(&mut thread);
        Some((thread.counters, failures))
    };
    let results = run_threads(&plan.run, body, None)?;
    let mut counters = KvCounters::default();
    let mut failures = Vec::new();
    for (more, failed) in results.into_iter().flatten() {
        counters.merge(more);
        failures.extend(failed);
    }
    let seconds = plan.run.measured_seconds(counters.tally.last_reply);
    let (phase, is_verified) = (plan.phase, plan.verifier.is_some());
    Ok(KvResult { phase, is_verified, counters, seconds, failures, interrupted: interrupt::signal() })
}
