//! The report of a run, as text and as JSON.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use crate::service::getfile::wire::response::Response;
use crate::tool::client::getfile::destination::Destination;
use crate::tool::client::getfile::threads::{Plan, RunResult};
use crate::tool::client::interrupt;
use crate::tool::client::load::report::Percentiles;

/// So many per second; 0 where nothing was measured.
// Exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl RunResult {
    fn seconds(&self) -> f64 {
        std::time::Duration::from_nanos(self.counters.last).as_secs_f64()
    }

    /// The result as text.
    pub fn text(&self, plan: &Plan<'_>) -> String {
        let mut text = String::new();
        // Writing to memory cannot fail.
        let _ = self.print(plan, &mut text);
        text
    }

    fn print(&self, plan: &Plan<'_>, out: &mut impl Write) -> fmt::Result {
        let counters = &self.counters;
        let (requests, seconds) = (counters.requests(), self.seconds());
        let [ok, missing] = [Response::Ok(0), Response::FileNotFound].map(|status| counters.of(status.word()));
        writeln!(out, "RESULT:")?;
        writeln!(
            out,
            "requests={requests} ok={ok} failed={} bytes={} duration={seconds:.2}s",
            counters.failed, counters.bytes
        )?;
        let mebibytes = per_second(counters.bytes, seconds) / f64::from(1 << 20);
        writeln!(out, "throughput={:.1} req/s {mebibytes:.1} MiB/s", per_second(requests, seconds))?;
        let [p50, p95, p99, max] = Percentiles::of(&counters.latencies).brief();
        writeln!(out, "latency_ms: p50={p50} p95={p95} p99={p99} max={max}")?;
        writeln!(out, "\n{:<20}{:>12}", "outcome", "count")?;
        for (name, count) in &counters.outcomes {
            writeln!(out, "{name:<20}{count:>12}")?;
        }
        if let Some(signal) = interrupt::signal() {
            writeln!(out, "\nInterrupted: {signal} ended the run early")?;
        }
        if requests < plan.requests {
            writeln!(out, "\nNever sent: {} requests", plan.requests - requests)?;
        }
        if !self.failures.is_empty() {
            writeln!(out, "\nFailed: {} requests, the first ones:", counters.failed)?;
        }
        self.failures.iter().try_for_each(|failure| writeln!(out, "{failure}"))?;
        if let Destination::Check(_) = plan.destination {
            let verdict = if counters.failed == 0 { "OK" } else { "FAILED" };
            writeln!(out, "\ncheck: {verdict}, {ok} files are the same, {missing} are on neither side")?;
        }
        Ok(())
    }

    /// The result as JSON; `docs/GETFILE.md` describes it, and `schema` counts its incompatible changes.
    pub fn json(&self, plan: &Plan<'_>) -> Value {
        let counters = &self.counters;
        let (requests, seconds) = (counters.requests(), self.seconds());
        let (destination, folder) = match plan.destination {
            Destination::Folder(folder) => ("output", Some(folder)),
            Destination::Check(folder) => ("check", Some(folder)),
            Destination::Discard => ("discard", None),
        };
        json!({
            "schema": 1,
            "plan": {
                "server": plan.server.name(),
                "paths": plan.workload.len(),
                "requests": plan.requests,
                "threads": plan.threads,
                "destination": destination,
                "folder": folder.map(|folder| folder.to_string_lossy()),
            },
            "requests": requests,
            "failed": counters.failed,
            "unsent": plan.requests - requests,
            "outcomes": counters.outcomes,
            "bytes": counters.bytes,
            "duration_s": seconds,
            "throughput": per_second(requests, seconds),
            "bytes_per_s": per_second(counters.bytes, seconds),
            "latency_ms": Percentiles::of(&counters.latencies),
            "failures": self.failures,
            "interrupted": interrupt::signal().map(nix::sys::signal::Signal::as_str),
        })
    }
}
