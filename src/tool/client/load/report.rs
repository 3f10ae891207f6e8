//! The report of a run: as text, as JSON, and as a percentile log for plotting.

use std::io::{self, Write};
use std::path::Path;

use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::{Value, json};

use crate::service::bank::wire::Status;
use crate::tool::client::error::CommandError;
use crate::tool::client::load::counters::Counters;
use crate::tool::client::load::expected::Verification;
use crate::tool::client::load::latency::Latencies;
use crate::tool::client::load::plan::{Driver, LoadPlan};
use crate::tool::client::load::threads::RunResult;
use crate::tool::output::OutputFile;

/// The percentiles that the tables show, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// Nanoseconds as milliseconds.
fn milliseconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3
}

impl Percentiles {
    fn of(latencies: &Latencies) -> Percentiles {
        let at = |quantile| milliseconds(latencies.at_quantile(quantile));
        let max = milliseconds(latencies.longest());
        Percentiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), p999: at(0.999), max }
    }
}

/// Operations per second; 0 where nothing was measured.
fn throughput(result: &RunResult) -> f64 {
    let total = result.counters.ok() + result.counters.err();
    // Exact up to 2^53 operations.
    #[allow(clippy::cast_precision_loss)]
    if result.seconds > 0.0 { total as f64 / result.seconds } else { 0.0 }
}

/// Enough digits to tell short times apart: 41.3, 1.2, 0.034.
fn brief(milliseconds: f64) -> String {
    if milliseconds < 1.0 { format!("{milliseconds:.3}") } else { format!("{milliseconds:.1}") }
}

/// The result as text: figures, tables, and the verification.
#[must_use]
pub fn text(result: &RunResult) -> String {
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = print(&mut text, result);
    String::from_utf8_lossy(&text).into_owned()
}

fn print(out: &mut impl Write, result: &RunResult) -> io::Result<()> {
    let counters = &result.counters;
    let (ok, err) = (counters.ok(), counters.err());
    let times = Percentiles::of(&counters.latencies());
    writeln!(out, "RESULT:")?;
    writeln!(out, "total_ops={} ok={ok} err={err} duration={:.2}s", ok + err, result.seconds)?;
    writeln!(out, "throughput={:.1} req/s", throughput(result))?;
    let [p50, p95, p99, max] = [times.p50, times.p95, times.p99, times.max].map(brief);
    writeln!(out, "latency_ms: p50={p50} p95={p95} p99={p99} max={max}")?;
    writeln!(out, "reconnects={} timeouts={} retries={}", counters.reconnects, counters.timeouts, counters.retries)?;
    print_opcodes(out, counters)?;
    print_errors(out, counters)?;
    if let Some(signal) = result.interrupted {
        writeln!(out, "\nInterrupted: {signal} ended the run early")?;
    }
    if let Some(failure) = result.failures.first() {
        writeln!(out, "\nGiven up: {} connections, the first because: {failure}", result.failures.len())?;
    }
    if counters.unsent > 0 {
        writeln!(out, "\nNever sent: {} operations that the plan asked for", counters.unsent)?;
    }
    if let Some(verification) = &result.verification {
        print_verdict(out, verification)?;
    }
    if let Some(error) = &result.unverified {
        writeln!(out, "\nverify: NOT DONE, the server could not be asked: {error}")?;
    }
    Ok(())
}

fn print_opcodes(out: &mut impl Write, counters: &Counters) -> io::Result<()> {
    writeln!(
        out,
        "\n{:<10}{:>12}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "opcode", "ops", "ok", "err", "p50 ms", "p95 ms", "p99 ms", "max ms"
    )?;
    for (opcode, kind) in counters.used() {
        let times = Percentiles::of(&kind.latencies);
        let [p50, p95, p99, max] = [times.p50, times.p95, times.p99, times.max].map(brief);
        let (ok, err) = (kind.ok, kind.err);
        writeln!(out, "{:<10}{:>12}{ok:>12}{err:>10}{p50:>10}{p95:>10}{p99:>10}{max:>10}", opcode.name(), ok + err)?;
    }
    Ok(())
}

/// The errors that happened, by name: refusals, and operations without a reply.
fn errors(counters: &Counters) -> Vec<(&'static str, u64)> {
    let refusals = Status::ALL.iter().zip(counters.refusals).map(|(status, count)| (status.name(), count));
    let own = [
        ("no answer in time, in doubt", counters.in_doubt_timeout),
        ("connection lost, in doubt", counters.in_doubt_lost),
        ("abandoned", counters.abandoned),
    ];
    refusals.chain(own).filter(|(_, count)| *count > 0).collect()
}

fn print_errors(out: &mut impl Write, counters: &Counters) -> io::Result<()> {
    let errors = errors(counters);
    if errors.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{:<30}{:>12}", "error", "count")?;
    for (name, count) in errors {
        writeln!(out, "{name:<30}{count:>12}")?;
    }
    Ok(())
}

fn print_verdict(out: &mut impl Write, verification: &Verification) -> io::Result<()> {
    writeln!(out)?;
    if verification.in_doubt > 0 {
        writeln!(out, "verify: {} operations in doubt: they may have been done or not", verification.in_doubt)?;
    }
    if verification.agrees() {
        writeln!(
            out,
            "verify: OK, totals and {} balances agree with the acknowledged operations",
            verification.accounts
        )?;
        return Ok(());
    }
    for mismatch in &verification.mismatches {
        writeln!(out, "verify: MISMATCH {mismatch}")?;
    }
    if verification.unnamed_mismatches > 0 {
        writeln!(out, "verify: MISMATCH and {} more", verification.unnamed_mismatches)?;
    }
    Ok(())
}

/// The result as JSON; `docs/CLIENT.md` describes it, and `schema` counts its incompatible changes.
fn json(plan: &LoadPlan, result: &RunResult) -> Value {
    let counters = &result.counters;
    let opcodes = counters.used().map(|(opcode, kind)| {
        let latency_ms = Percentiles::of(&kind.latencies);
        json!({ "opcode": opcode.name(), "ok": kind.ok, "err": kind.err, "latency_ms": latency_ms })
    });
    let verify = result.verification.as_ref().map(|found| {
        json!({
            "agrees": found.agrees(),
            "accounts": found.accounts,
            "in_doubt": found.in_doubt,
            "mismatches": found.mismatches,
            "unnamed_mismatches": found.unnamed_mismatches,
        })
    });
    json!({
        "schema": 1,
        "plan": json_plan(plan),
        "total_ops": counters.ok() + counters.err(),
        "ok": counters.ok(),
        "err": counters.err(),
        "duration_s": result.seconds,
        "throughput": throughput(result),
        "latency_ms": Percentiles::of(&counters.latencies()),
        "reconnects": counters.reconnects,
        "timeouts": counters.timeouts,
        "retries": counters.retries,
        "unsent": counters.unsent,
        "opcodes": opcodes.collect::<Vec<_>>(),
        "errors": errors(counters).iter().map(|(error, count)| json!({ "error": error, "count": count })).collect::<Vec<_>>(),
        "failures": result.failures.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "verify": verify,
        "unverified": result.unverified.as_ref().map(ToString::to_string),
        "interrupted": result.interrupted.map(Signal::as_str),
    })
}

fn json_plan(plan: &LoadPlan) -> Value {
    json!({
        "server": plan.server.address.to_string(),
        "connections": plan.connections,
        "churn": plan.driver == Driver::Churn,
        "event_loops": match plan.driver {
            Driver::Threads | Driver::Churn => None,
            Driver::EventLoops(loops) => Some(loops),
        },
        "pipeline": plan.depth,
        "ops_per_connection": plan.ops,
        "duration_s": plan.duration.map(|duration| duration.as_secs_f64()),
        "warmup_s": plan.warmup.as_secs_f64(),
        "rate": plan.rate,
        "mix": plan.mix.to_string(),
        "accounts": [plan.accounts.first, plan.accounts.last],
        "xor": plan.server.xor,
        "keys": plan.keys.is_some(),
        "retry_for_s": plan.server.retry_for.as_secs_f64(),
        "seed": plan.seed,
    })
}

/// Writes the result as JSON.
///
/// # Errors
/// [`CommandError::System`] naming the file.
pub fn write_json(file: OutputFile, plan: &LoadPlan, result: &RunResult) -> Result<(), CommandError> {
    write_file(file, |file| writeln!(file, "{:#}", json(plan, result)))
}

/// Writes all latencies as the percentile log of HdrHistogram, in milliseconds, for its plotters.
///
/// # Errors
/// [`CommandError::System`] naming the file.
pub fn write_hdr(file: OutputFile, result: &RunResult) -> Result<(), CommandError> {
    let latencies = result.counters.latencies();
    let histogram = latencies.histogram();
    write_file(file, |file| {
        writeln!(file, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
        let mut counted = 0;
        for step in histogram.iter_quantiles(5) {
            counted += step.count_since_last_iteration();
            let value = milliseconds(step.value_iterated_to().min(latencies.longest()));
            let quantile = step.quantile_iterated_to();
            write!(file, "{value:>12.6} {quantile:>14.12} {counted:>10}")?;
            if quantile < 1.0 { writeln!(file, " {:>14.2}", 1.0 / (1.0 - quantile))? } else { writeln!(file)? }
        }
        let (mean, deviation) = (histogram.mean() / 1e6, histogram.stdev() / 1e6);
        writeln!(file, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        let (max, count) = (milliseconds(latencies.longest()), histogram.len());
        writeln!(file, "#[Max     = {max:>12.3}, Total count    = {count:>12}]")
    })
}

/// Checks before the run that a file for its result can be written.
///
/// # Errors
/// [`CommandError::System`] naming the file.
pub fn prepare_file(path: &Path) -> Result<OutputFile, CommandError> {
    OutputFile::prepare(path)
        .map_err(|source| CommandError::System { what: format!("create {}", path.display()), source })
}

fn write_file(file: OutputFile, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CommandError> {
    let what = format!("write {}", file.path().display());
    file.write(write).map_err(|source| CommandError::System { what, source })
}
