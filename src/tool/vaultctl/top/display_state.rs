//! What `vaultctl top` shows.

use std::collections::VecDeque;

use super::format::rounded;
use crate::status::View;

/// Views whose throughput the graph shows, should the terminal be so wide.
const REMEMBERED: usize = 600;
/// Events that are remembered, should the terminal be so high.
const LOGGED: usize = 100;

/// The last view, and what is remembered of those before.
#[derive(Default)]
pub(super) struct DisplayState {
    pub(super) view: Option<View>,
    /// Requests per second, the newest last.
    pub(super) throughput: VecDeque<u64>,
    /// Events, the newest first, with the instance's age when they were seen, milliseconds.
    pub(super) events: VecDeque<(u64, String)>,
}

impl DisplayState {
    pub(super) fn take(&mut self, view: View) {
        self.throughput.push_back(rounded(view.bank.requests.per_s + view.web.answers.per_s));
        if self.throughput.len() > REMEMBERED {
            self.throughput.pop_front();
        }
        for event in &view.events {
            self.events.push_front((view.instance.uptime_ms, event.clone()));
        }
        self.events.truncate(LOGGED);
        self.view = Some(view);
    }
}
