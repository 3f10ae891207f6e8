//! What a run brought, for people (text), for programs (JSON) and for plotting (percentile log).

use std::io::{self, Write};
use std::path::Path;

use hdrhistogram::Histogram;
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::service::bank::wire::{Opcode, Status};
use crate::tool::client::books::Verdict;
use crate::tool::client::load::plan::{Drive, Plan};
use crate::tool::client::load::tally::Tally;
use crate::tool::client::load::{Run, Trouble};
use crate::tool::output::ResultFile;

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
    fn of(histogram: &Histogram<u64>) -> Percentiles {
        let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
        Percentiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), p999: at(0.999), max: milliseconds(histogram.max()) }
    }
}

/// Operations per second; 0 where nothing was measured.
fn throughput(run: &Run) -> f64 {
    let total = run.tally.ok() + run.tally.err();
    // Exact up to 2^53 operations.
    #[allow(clippy::cast_precision_loss)]
    if run.seconds > 0.0 { total as f64 / run.seconds } else { 0.0 }
}

/// Enough digits to tell short times apart: 41.3, 1.2, 0.034.
fn brief(milliseconds: f64) -> String {
    if milliseconds < 1.0 { format!("{milliseconds:.3}") } else { format!("{milliseconds:.1}") }
}

/// The result, the tables, and the verdict of the books.
#[must_use]
pub fn text(run: &Run) -> String {
    let mut text = Vec::new();
    // Into memory it cannot fail.
    let _ = print(&mut text, run);
    String::from_utf8_lossy(&text).into_owned()
}

fn print(out: &mut impl Write, run: &Run) -> io::Result<()> {
    let tally = &run.tally;
    let (ok, err) = (tally.ok(), tally.err());
    let times = Percentiles::of(&tally.latencies().histogram());
    writeln!(out, "RESULT:")?;
    writeln!(out, "total_ops={} ok={ok} err={err} duration={:.2}s", ok + err, run.seconds)?;
    writeln!(out, "throughput={:.1} req/s", throughput(run))?;
    let [p50, p95, p99, max] = [times.p50, times.p95, times.p99, times.max].map(brief);
    writeln!(out, "latency_ms: p50={p50} p95={p95} p99={p99} max={max}")?;
    writeln!(out, "reconnects={} timeouts={} retries={}", tally.reconnects, tally.timeouts, tally.retries)?;
    print_opcodes(out, tally)?;
    print_errors(out, tally)?;
    if let Some(signal) = run.interrupted {
        writeln!(out, "\nInterrupted: {signal} ended the run early")?;
    }
    if let Some(failure) = run.failures.first() {
        writeln!(out, "\nGiven up: {} connections, the first because: {failure}", run.failures.len())?;
    }
    if tally.unsent > 0 {
        writeln!(out, "\nNever sent: {} operations that the plan asked for", tally.unsent)?;
    }
    if let Some(verdict) = &run.verdict {
        print_verdict(out, verdict)?;
    }
    if let Some(error) = &run.unverified {
        writeln!(out, "\nverify: NOT DONE, the server could not be asked: {error}")?;
    }
    Ok(())
}

fn print_opcodes(out: &mut impl Write, tally: &Tally) -> io::Result<()> {
    writeln!(
        out,
        "\n{:<10}{:>12}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "opcode", "ops", "ok", "err", "p50 ms", "p95 ms", "p99 ms", "max ms"
    )?;
    for (opcode, kind) in Opcode::ALL.iter().zip(&tally.kinds).filter(|(_, kind)| kind.ok + kind.err > 0) {
        let times = Percentiles::of(&kind.latencies.histogram());
        let [p50, p95, p99, max] = [times.p50, times.p95, times.p99, times.max].map(brief);
        let (ok, err) = (kind.ok, kind.err);
        writeln!(out, "{:<10}{:>12}{ok:>12}{err:>10}{p50:>10}{p95:>10}{p99:>10}{max:>10}", opcode.name(), ok + err)?;
    }
    Ok(())
}

/// The errors that happened, by name: what the server refused, and what got no answer.
fn errors(tally: &Tally) -> Vec<(&'static str, u64)> {
    let refusals = Status::ALL.iter().zip(tally.refusals).map(|(status, count)| (status.name(), count));
    let own = [
        ("no answer in time, in doubt", tally.unanswered_in_time),
        ("connection lost, in doubt", tally.unanswered_lost),
        ("abandoned", tally.abandoned),
    ];
    refusals.chain(own).filter(|(_, count)| *count > 0).collect()
}

fn print_errors(out: &mut impl Write, tally: &Tally) -> io::Result<()> {
    let errors = errors(tally);
    if errors.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{:<30}{:>12}", "error", "count")?;
    for (name, count) in errors {
        writeln!(out, "{name:<30}{count:>12}")?;
    }
    Ok(())
}

fn print_verdict(out: &mut impl Write, verdict: &Verdict) -> io::Result<()> {
    writeln!(out)?;
    if verdict.in_doubt > 0 {
        writeln!(out, "verify: {} operations in doubt: they may have been done or not", verdict.in_doubt)?;
    }
    if verdict.agrees() {
        writeln!(out, "verify: OK, totals and {} balances agree with the client's own books", verdict.accounts)?;
        return Ok(());
    }
    for mismatch in &verdict.mismatches {
        writeln!(out, "verify: MISMATCH {mismatch}")?;
    }
    if verdict.unnamed > 0 {
        writeln!(out, "verify: MISMATCH and {} more", verdict.unnamed)?;
    }
    Ok(())
}

/// The JSON file; `docs/CLIENT.md` describes it, and `schema` counts its incompatible changes.
#[derive(Serialize)]
struct Json<'r> {
    schema: u32,
    plan: JsonPlan,
    total_ops: u64,
    ok: u64,
    err: u64,
    duration_s: f64,
    throughput: f64,
    latency_ms: Percentiles,
    reconnects: u64,
    timeouts: u64,
    retries: u64,
    unsent: u64,
    opcodes: Vec<JsonKind>,
    errors: Vec<JsonError>,
    failures: Vec<String>,
    verify: Option<JsonVerify<'r>>,
    unverified: Option<String>,
    interrupted: Option<&'static str>,
}

#[derive(Serialize)]
struct JsonPlan {
    server: String,
    connections: u32,
    churn: bool,
    event_loops: Option<u32>,
    pipeline: usize,
    ops_per_connection: Option<u64>,
    duration_s: Option<f64>,
    warmup_s: f64,
    rate: Option<f64>,
    mix: String,
    accounts: [u32; 2],
    xor: bool,
    keys: bool,
    retry_for_s: f64,
    seed: u64,
}

#[derive(Serialize)]
struct JsonKind {
    opcode: &'static str,
    ok: u64,
    err: u64,
    latency_ms: Percentiles,
}

#[derive(Serialize)]
struct JsonError {
    error: &'static str,
    count: u64,
}

#[derive(Serialize)]
struct JsonVerify<'r> {
    agrees: bool,
    accounts: u64,
    in_doubt: u64,
    mismatches: &'r [String],
    unnamed_mismatches: u64,
}

/// Writes the result as JSON.
///
/// # Errors
/// [`Trouble::System`] naming the file.
pub fn write_json(file: ResultFile, plan: &Plan, run: &Run) -> Result<(), Trouble> {
    let tally = &run.tally;
    let opcodes = Opcode::ALL.iter().zip(&tally.kinds).filter(|(_, kind)| kind.ok + kind.err > 0);
    let json = Json {
        schema: 1,
        plan: JsonPlan {
            server: plan.server.address.to_string(),
            connections: plan.connections,
            churn: plan.drive == Drive::Churn,
            event_loops: match plan.drive {
                Drive::Threads | Drive::Churn => None,
                Drive::Loops(loops) => Some(loops),
            },
            pipeline: plan.depth,
            ops_per_connection: plan.ops,
            duration_s: plan.duration.map(|duration| duration.as_secs_f64()),
            warmup_s: plan.warmup.as_secs_f64(),
            rate: plan.rate,
            mix: plan.mix.to_string(),
            accounts: [plan.accounts.first, plan.accounts.last],
            xor: plan.server.xor,
            keys: plan.keys.is_some(),
            retry_for_s: plan.server.retry_for.as_secs_f64(),
            seed: plan.seed,
        },
        total_ops: tally.ok() + tally.err(),
        ok: tally.ok(),
        err: tally.err(),
        duration_s: run.seconds,
        throughput: throughput(run),
        latency_ms: Percentiles::of(&tally.latencies().histogram()),
        reconnects: tally.reconnects,
        timeouts: tally.timeouts,
        retries: tally.retries,
        unsent: tally.unsent,
        opcodes: opcodes
            .map(|(opcode, kind)| JsonKind {
                opcode: opcode.name(),
                ok: kind.ok,
                err: kind.err,
                latency_ms: Percentiles::of(&kind.latencies.histogram()),
            })
            .collect(),
        errors: errors(tally).into_iter().map(|(error, count)| JsonError { error, count }).collect(),
        failures: run.failures.iter().map(ToString::to_string).collect(),
        verify: run.verdict.as_ref().map(|verdict| JsonVerify {
            agrees: verdict.agrees(),
            accounts: verdict.accounts,
            in_doubt: verdict.in_doubt,
            mismatches: &verdict.mismatches,
            unnamed_mismatches: verdict.unnamed,
        }),
        unverified: run.unverified.as_ref().map(ToString::to_string),
        interrupted: run.interrupted.map(Signal::as_str),
    };
    fill(file, |file| {
        serde_json::to_writer_pretty(&mut *file, &json).map_err(io::Error::from)?;
        writeln!(file)
    })
}

/// Writes all latencies as HdrHistogram's percentile log, in milliseconds; its plotters read it.
///
/// # Errors
/// [`Trouble::System`] naming the file.
pub fn write_hdr(file: ResultFile, run: &Run) -> Result<(), Trouble> {
    let histogram = run.tally.latencies().histogram();
    fill(file, |file| {
        writeln!(file, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
        let mut counted = 0;
        for step in histogram.iter_quantiles(5) {
            counted += step.count_since_last_iteration();
            let value = milliseconds(step.value_iterated_to());
            let quantile = step.quantile_iterated_to();
            write!(file, "{value:>12.6} {quantile:>14.12} {counted:>10}")?;
            if quantile < 1.0 { writeln!(file, " {:>14.2}", 1.0 / (1.0 - quantile))? } else { writeln!(file)? }
        }
        let (mean, deviation) = (histogram.mean() / 1e6, histogram.stdev() / 1e6);
        writeln!(file, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        let (max, count) = (milliseconds(histogram.max()), histogram.len());
        writeln!(file, "#[Max     = {max:>12.3}, Total count    = {count:>12}]")
    })
}

/// A file for a result, tried before the run: a path that cannot be written should not cost a run.
///
/// # Errors
/// [`Trouble::System`] naming the file.
pub fn plan_file(path: &Path) -> Result<ResultFile, Trouble> {
    ResultFile::plan(path).map_err(|source| Trouble::System { what: format!("create {}", path.display()), source })
}

fn fill(file: ResultFile, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Trouble> {
    let what = format!("write {}", file.path().display());
    file.fill(write).map_err(|source| Trouble::System { what, source })
}
