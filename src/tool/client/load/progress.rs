//! The progress bar of a run, on a terminal only.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use indicatif::{ProgressBar, ProgressStyle};

use crate::tool::client::load::plan::LoadPlan;

/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// Waits until every thread has ended (`all_ended` has no sender left), and draws the bar meanwhile if there is a terminal.
pub fn show(plan: &LoadPlan, replies: &[&AtomicU64], all_ended: &Receiver<()>) {
    if !stderr().is_terminal() {
        // Nothing is ever sent: this returns when the last sender is dropped.
        let _ = all_ended.recv();
        return;
    }
    let start = Instant::now();
    let span = plan.duration.map(|duration| duration + plan.warmup);
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
        let done: u64 = replies.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let elapsed = start.elapsed();
        bar.set_position(if span.is_some() { u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX) } else { done });
        // A display of a few significant digits.
        #[allow(clippy::cast_precision_loss)]
        let rate = done as f64 / elapsed.as_secs_f64();
        bar.set_message(format!("{done} ops, {rate:.0}/s"));
    }
    bar.finish_and_clear();
}
