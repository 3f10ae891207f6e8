//! The report of a run, as text and as JSON.

use std::fmt;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::service::kv::wire::KvStatus;
use crate::tool::client::error::{ClientError, CommandError, Outcome};
use crate::tool::client::kv_load::counters::KvCounters;
use crate::tool::client::kv_load::plan::{KvPlan, Phase};
use crate::tool::client::load::report::{Summary, write_file};
use crate::tool::output::OutputFile;

/// What came of a phase.
#[derive(Debug)]
pub struct KvResult {
    pub phase: Phase,
    pub is_verified: bool,
    pub counters: KvCounters,
    /// From the end of the warm-up to the last reply, seconds.
    pub seconds: f64,
    /// Why connections ended early.
    pub failures: Vec<ClientError>,
    /// The signal that ended the run early.
    pub interrupted: Option<Signal>,
}

impl KvResult {
    /// Whether something was refused, wrong, or given up.
    pub fn has_failed(&self) -> bool {
        let refused: u64 = self.counters.refusals.iter().sum();
        let given_up = self.failures.iter().any(|error| !matches!(error, ClientError::Interrupted(_)));
        refused > 0 || self.counters.violations > 0 || given_up
    }

    /// What the result means for the exit code. A failure counts more than an interruption.
    pub fn outcome(&self) -> Outcome {
        match self.interrupted {
            _ if self.has_failed() => Outcome::Failed,
            Some(signal) => Outcome::Interrupted(signal),
            None => Outcome::Success,
        }
    }

    fn summary(&self) -> Summary<'_> {
        let counters = &self.counters;
        let refusals = KvStatus::ALL.iter().zip(counters.refusals).map(|(status, count)| (status.name(), count));
        let errors = refusals.chain(counters.tally.unanswered());
        Summary {
            ok: counters.ok(),
            err: counters.err(),
            seconds: self.seconds,
            latencies: counters.latencies(),
            tally: &counters.tally,
            kinds: counters.used().collect(),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
            failures: &self.failures,
            interrupted: self.interrupted,
        }
    }
}

impl fmt::Display for KvResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = &self.counters;
        write!(f, "{}", self.summary())?;
        let [read, written] = counters.value_bytes;
        writeln!(
            f,
            "\nvalue bytes: {read} read, {written} written; GETs of keys that are not there: {}",
            counters.missing
        )?;
        if self.phase == Phase::Prefill {
            writeln!(f, "\nThis was the prefill: the load itself did not begin")?;
        }
        if !self.is_verified {
            return Ok(());
        }
        let (checked, violations) = (counters.checked, counters.violations);
        if violations == 0 {
            return writeln!(f, "\nverify: OK, {checked} answers are as those of a single copy");
        }
        writeln!(f)?;
        counters.shown.iter().try_for_each(|what| writeln!(f, "verify: WRONG {what}"))?;
        writeln!(f, "verify: {violations} of {checked} answers are wrong")
    }
}

/// The result as JSON; `docs/CLIENT.md` describes it, and `schema` counts its incompatible changes.
pub fn json(plan: &KvPlan, result: &KvResult) -> Value {
    let counters = &result.counters;
    let [read, written] = counters.value_bytes;
    let verify = result.is_verified.then(|| {
        let agrees = counters.violations == 0;
        json!({ "agrees": agrees, "checked": counters.checked, "violations": counters.violations, "shown": counters.shown })
    });
    let mut members = result.summary().json();
    members.insert("plan".to_owned(), json_plan(plan));
    members.insert("prefill_only".to_owned(), json!(result.phase == Phase::Prefill));
    members.insert("missing".to_owned(), json!(counters.missing));
    members.insert("value_bytes_read".to_owned(), json!(read));
    members.insert("value_bytes_written".to_owned(), json!(written));
    members.insert("verify".to_owned(), json!(verify));
    Value::Object(members)
}

fn json_plan(plan: &KvPlan) -> Value {
    let run = &plan.run;
    json!({
        "server": run.server.name(),
        "connections": run.connections,
        "event_loops": run.driver.event_loops(),
        "pipeline": run.depth,
        "ops_per_connection": run.ops,
        "duration_s": run.duration.map(|duration| duration.as_secs_f64()),
        "warmup_s": run.warmup.as_secs_f64(),
        "rate": plan.rate,
        "keys": plan.keys,
        "key_bytes": plan.key_bytes,
        "value_bytes": [plan.value_bytes.least, plan.value_bytes.most],
        "zipf": plan.zipf,
        "read_share": plan.read_share,
        "request_ids": plan.ids.is_some(),
        "retry_for_s": run.server.target.retry_for.as_secs_f64(),
        "seed": run.seed,
    })
}

/// Writes it.
pub fn write_json(file: OutputFile, plan: &KvPlan, result: &KvResult) -> Result<(), CommandError> {
    write_file(file, |file| writeln!(file, "{:#}", json(plan, result)))
}
