//! The report of a run: as text, as JSON, and as a percentile log for plotting.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::service::bank::wire::Status;
use crate::tool::client::error::{ClientError, CommandError};
use crate::tool::client::load::counters::{Latencies, OpcodeCounters, Tally};
use crate::tool::client::load::expected::Verification;
use crate::tool::client::load::plan::{Driver, LoadPlan};
use crate::tool::client::load::threads::RunResult;
use crate::tool::client::options::LoadOptions;
use crate::tool::output::OutputFile;

/// The percentiles that the tables show, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

fn milliseconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64() * 1e3
}

impl Percentiles {
    pub fn of(latencies: &Latencies) -> Percentiles {
        let at = |quantile| milliseconds(latencies.at_quantile(quantile));
        let max = milliseconds(latencies.longest);
        Percentiles { p50: at(0.5), p95: at(0.95), p99: at(0.99), p999: at(0.999), max }
    }

    /// Those of the tables, with enough digits to tell short times apart: 41.3, 1.2, 0.034.
    pub fn brief(&self) -> [String; 4] {
        [self.p50, self.p95, self.p99, self.max]
            .map(|ms| if ms < 1.0 { format!("{ms:.3}") } else { format!("{ms:.1}") })
    }
}

/// What every load reports, whatever its protocol.
pub struct Summary<'s> {
    /// Operations done.
    pub ok: u64,
    /// Operations refused or without a reply.
    pub err: u64,
    pub seconds: f64,
    /// The times of all replies together.
    pub latencies: Latencies,
    pub tally: &'s Tally,
    /// The kinds of operations that were sent.
    pub kinds: Vec<(&'static str, &'s OpcodeCounters)>,
    /// The errors that happened, by name: refusals, and operations without a reply.
    pub errors: Vec<(&'static str, u64)>,
    pub failures: &'s [ClientError],
    pub interrupted: Option<Signal>,
}

impl Summary<'_> {
    /// Operations per second; 0 where nothing was measured.
    // Exact up to 2^53 operations.
    #[allow(clippy::cast_precision_loss)]
    fn throughput(&self) -> f64 {
        if self.seconds > 0.0 { (self.ok + self.err) as f64 / self.seconds } else { 0.0 }
    }

    fn print_kinds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<10}{:>12}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "opcode", "ops", "ok", "err", "p50 ms", "p95 ms", "p99 ms", "max ms"
        )?;
        for (name, kind) in &self.kinds {
            let [p50, p95, p99, max] = Percentiles::of(&kind.latencies).brief();
            let (ok, err) = (kind.ok, kind.err);
            writeln!(f, "{name:<10}{:>12}{ok:>12}{err:>10}{p50:>10}{p95:>10}{p99:>10}{max:>10}", ok + err)?;
        }
        Ok(())
    }

    /// It as members of a JSON object, beside which a protocol has its own.
    pub fn json(&self) -> Map<String, Value> {
        let kinds = self.kinds.iter().map(|(name, kind)| {
            let latency_ms = Percentiles::of(&kind.latencies);
            json!({ "opcode": name, "ok": kind.ok, "err": kind.err, "latency_ms": latency_ms })
        });
        let errors = self.errors.iter().map(|(error, count)| json!({ "error": error, "count": count }));
        let Tally { reconnects, timeouts, retries, unsent, .. } = self.tally;
        let members = [
            ("schema", json!(1)),
            ("total_ops", json!(self.ok + self.err)),
            ("ok", json!(self.ok)),
            ("err", json!(self.err)),
            ("duration_s", json!(self.seconds)),
            ("throughput", json!(self.throughput())),
            ("latency_ms", json!(Percentiles::of(&self.latencies))),
            ("reconnects", json!(reconnects)),
            ("timeouts", json!(timeouts)),
            ("retries", json!(retries)),
            ("unsent", json!(unsent)),
            ("opcodes", kinds.collect()),
            ("errors", errors.collect()),
            ("failures", self.failures.iter().map(ToString::to_string).collect()),
            ("interrupted", json!(self.interrupted.map(Signal::as_str))),
        ];
        members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { ok, err, tally, errors, failures, .. } = self;
        writeln!(f, "RESULT:")?;
        writeln!(f, "total_ops={} ok={ok} err={err} duration={:.2}s", ok + err, self.seconds)?;
        writeln!(f, "throughput={:.1} req/s", self.throughput())?;
        let [p50, p95, p99, max] = Percentiles::of(&self.latencies).brief();
        writeln!(f, "latency_ms: p50={p50} p95={p95} p99={p99} max={max}")?;
        writeln!(f, "reconnects={} timeouts={} retries={}", tally.reconnects, tally.timeouts, tally.retries)?;
        self.print_kinds(f)?;
        if !errors.is_empty() {
            writeln!(f, "\n{:<30}{:>12}", "error", "count")?;
        }
        errors.iter().try_for_each(|(name, count)| writeln!(f, "{name:<30}{count:>12}"))?;
        if let Some(signal) = self.interrupted {
            writeln!(f, "\nInterrupted: {signal} ended the run early")?;
        }
        if let Some(failure) = failures.first() {
            writeln!(f, "\nGiven up: {} connections, the first because: {failure}", failures.len())?;
        }
        if tally.unsent > 0 {
            writeln!(f, "\nNever sent: {} operations that the plan asked for", tally.unsent)?;
        }
        Ok(())
    }
}

impl RunResult {
    fn summary(&self) -> Summary<'_> {
        let counters = &self.counters;
        let refusals = Status::ALL.iter().zip(counters.refusals).map(|(status, count)| (status.name(), count));
        let errors = refusals.chain(counters.tally.unanswered());
        Summary {
            ok: counters.ok(),
            err: counters.err(),
            seconds: self.seconds,
            latencies: counters.latencies(),
            tally: &counters.tally,
            kinds: counters.used().map(|(opcode, kind)| (opcode.name(), kind)).collect(),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
            failures: &self.failures,
            interrupted: self.interrupted,
        }
    }
}

impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.summary())?;
        match &self.verification {
            Some(Ok(verification)) => print_verdict(f, verification),
            Some(Err(error)) => writeln!(f, "\nverify: NOT DONE, the server could not be asked: {error}"),
            None => Ok(()),
        }
    }
}

fn print_verdict(f: &mut fmt::Formatter<'_>, verification: &Verification) -> fmt::Result {
    let Verification { accounts, in_doubt, mismatches, unnamed_mismatches } = verification;
    writeln!(f)?;
    if *in_doubt > 0 {
        writeln!(f, "verify: {in_doubt} operations in doubt: they may have been done or not")?;
    }
    if verification.agrees() {
        return writeln!(f, "verify: OK, totals and {accounts} balances agree with the acknowledged operations");
    }
    mismatches.iter().try_for_each(|mismatch| writeln!(f, "verify: MISMATCH {mismatch}"))?;
    if *unnamed_mismatches > 0 {
        writeln!(f, "verify: MISMATCH and {unnamed_mismatches} more")?;
    }
    Ok(())
}

/// The result as JSON; `docs/CLIENT.md` describes it, and `schema` counts its incompatible changes.
fn json(plan: &LoadPlan, result: &RunResult) -> Value {
    let (verify, unverified) = match &result.verification {
        None => (None, None),
        Some(Err(error)) => (None, Some(error.to_string())),
        Some(Ok(found)) => {
            let verify = json!({
                "agrees": found.agrees(),
                "accounts": found.accounts,
                "in_doubt": found.in_doubt,
                "mismatches": found.mismatches,
                "unnamed_mismatches": found.unnamed_mismatches,
            });
            (Some(verify), None)
        }
    };
    let mut members = result.summary().json();
    members.insert("plan".to_owned(), json_plan(plan));
    members.insert("verify".to_owned(), json!(verify));
    members.insert("unverified".to_owned(), json!(unverified));
    Value::Object(members)
}

fn json_plan(plan: &LoadPlan) -> Value {
    let (run, LoadOptions { rate, mix, .. }) = (&plan.run, &plan.options);
    json!({
        "server": run.server.name(),
        "connections": run.connections,
        "churn": run.driver == Driver::Churn,
        "event_loops": run.driver.event_loops(),
        "pipeline": run.depth,
        "ops_per_connection": run.ops,
        "duration_s": run.duration.map(|duration| duration.as_secs_f64()),
        "warmup_s": run.warmup.as_secs_f64(),
        "rate": rate,
        "mix": mix.to_string(),
        "accounts": [plan.accounts.first, plan.accounts.last],
        "xor": run.server.target.xor,
        "keys": plan.keys.is_some(),
        "retry_for_s": run.server.target.retry_for.as_secs_f64(),
        "seed": run.seed,
    })
}

pub fn write_json(file: OutputFile, plan: &LoadPlan, result: &RunResult) -> Result<(), CommandError> {
    write_file(file, |file| writeln!(file, "{:#}", json(plan, result)))
}

/// Writes all latencies as the percentile log of HdrHistogram, in milliseconds, for its plotters.
pub fn write_hdr(file: OutputFile, latencies: &Latencies) -> Result<(), CommandError> {
    let histogram = &latencies.histogram;
    write_file(file, |file| {
        writeln!(file, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
        let mut counted = 0;
        for step in histogram.iter_quantiles(5) {
            counted += step.count_since_last_iteration();
            let value = milliseconds(step.value_iterated_to().min(latencies.longest));
            let quantile = step.quantile_iterated_to();
            write!(file, "{value:>12.6} {quantile:>14.12} {counted:>10}")?;
            if quantile < 1.0 { writeln!(file, " {:>14.2}", 1.0 / (1.0 - quantile))? } else { writeln!(file)? }
        }
        let (mean, deviation) = (histogram.mean() / 1e6, histogram.stdev() / 1e6);
        writeln!(file, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        let (max, count) = (milliseconds(latencies.longest), histogram.len());
        writeln!(file, "#[Max     = {max:>12.3}, Total count    = {count:>12}]")
    })
}

/// Checks before the run that a file for its result can be written.
pub fn prepare_file(path: &Path) -> Result<OutputFile, CommandError> {
    OutputFile::prepare(path).map_err(CommandError::system(format!("create {}", path.display())))
}

pub fn write_file(file: OutputFile, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CommandError> {
    let what = format!("write {}", file.path().display());
    file.write(write).map_err(CommandError::system(what))
}
