//! What `vaultctl top` shows, and drawing it on a frame of any size.

use std::collections::VecDeque;
use std::convert::Infallible;

use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, SparklineBar, Table};

use super::format::{bytes, lasted, percent, rate, rounded, time, whole};
use super::line::{ALERT, SOFT, STRONG, TITLE, pairs};
use super::optional::{cache, cluster, getfile, key_values};
use crate::base::vocab::Cents;
use crate::status::View;
use crate::status::activity::Operation;
use crate::status::sample::Summary;
use crate::status::view::{Crashes, WorkerView};

/// A terminal of so many columns has no room for all columns of a worker.
const NARROW: u16 = 88;
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
        self.throughput.push_back(rounded(all_per_s(&view)));
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

/// Draws all of it, in a terminal with a keyboard.
pub(super) fn draw_live(frame: &mut Frame<'_>, shown: &DisplayState) {
    draw(frame, shown);
    let area = Rect { height: frame.area().height.min(1), ..frame.area() };
    if area.width > 90 {
        frame.render_widget(Paragraph::new(Line::styled("q ends", SOFT)).alignment(Alignment::Right), area);
    }
}

/// Draws all of it.
fn draw(frame: &mut Frame<'_>, shown: &DisplayState) {
    let area = frame.area();
    let Some(view) = &shown.view else {
        frame.render_widget(Paragraph::new("the first view comes after one interval; q ends"), area);
        return;
    };
    let high = area.height;
    let workers = 1 + u16::try_from(view.workers.len()).unwrap_or(u16::MAX).min((high / 4).max(2));
    let [files, kept, peers, stored] = [getfile(view), cache(view), cluster(view), key_values(view)];
    let [of_files, of_kept, of_peers, of_stored] =
        [&files, &kept, &peers, &stored].map(|lines| u16::try_from(lines.len()).unwrap_or(u16::MAX));
    // What a terminal has beyond 24 lines: the graph grows first, then there are more workers, operations and events. What not every
    // instance has is at the cost of the graph and of the operations.
    let others = 11 + workers + of_files + of_kept + of_peers + of_stored;
    let left = high.saturating_sub(others);
    let graph = (high / 6).clamp(2, 10).min((left / 2).max(2));
    let operations = (high / 5).clamp(2, 11).min(left.saturating_sub(graph).max(2));
    let lines = [1, 1, graph, 1, workers, 2, of_peers, 2, of_files, of_kept, of_stored, 1 + operations, 1];
    let rows = Layout::vertical(lines.map(Constraint::Length).into_iter().chain([Constraint::Min(1)])).split(area);
    let text = [
        vec![header(view)],
        vec![throughput(view)],
        Vec::new(),
        vec![times(view)],
        Vec::new(),
        journal(view),
        peers,
        web(view),
        files,
        kept,
        stored,
        activity(view, area.width),
        vec![crashes(view)],
        events(shown),
    ];
    rows.iter().zip(text).for_each(|(row, lines)| frame.render_widget(Paragraph::new(lines), *row));
    draw_graph(frame, rows[2], shown);
    draw_workers(frame, rows[4], view);
}

/// The same on paper of so many columns and lines: text without blanks at the end.
pub(super) fn draw_text(shown: &DisplayState, (columns, lines): (u16, u16)) -> Result<String, Infallible> {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines))?;
    terminal.draw(|frame| draw(frame, shown))?;
    let cells = terminal.backend().buffer().content();
    let lines = cells.chunks(usize::from(columns)).map(|line| {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    Ok(lines.collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n")
}

/// The process, or a dash where there is none.
fn pid(pid: u32) -> String {
    if pid == 0 { "-".to_owned() } else { pid.to_string() }
}

fn header(view: &View) -> Line<'_> {
    let Summary { name, address, accept_mode, master_pid, uptime_ms, .. } = &view.instance;
    let remaking = view.cluster.as_ref().is_some_and(|cluster| cluster.remaking);
    let (state, style) = match (view.stopping, view.accept_paused) {
        (true, _) => ("stopping", ALERT),
        _ if remaking => ("remaking its books: operations and balances mean nothing", ALERT),
        (false, true) => ("accept paused", ALERT),
        (false, false) => ("running", STRONG),
    };
    Line::from(vec![
        Span::styled(format!("vault {name}"), TITLE),
        Span::raw(format!("  {address}  {accept_mode}  pid {master_pid}  up {}  ", lasted(*uptime_ms))),
        Span::styled(state, style),
    ])
}

/// What the throughput counts, per second.
fn all_per_s(view: &View) -> f64 {
    let kv = view.kv.as_ref().map_or(0.0, |kv| kv.calls_total.per_s);
    view.bank.requests.per_s + view.web.answers.per_s + kv
}

fn throughput(view: &View) -> Line<'_> {
    let (bank, web, kv) = (&view.bank, &view.web, view.kv.as_ref());
    let clients = view.workers.iter().map(|worker| u64::from(worker.now.connections)).sum();
    let bytes_in = bank.bytes_in.per_s + kv.map_or(0.0, |kv| kv.bytes_in.per_s);
    let bytes_out = bank.bytes_out.per_s + web.bytes_out.per_s + kv.map_or(0.0, |kv| kv.bytes_out.per_s);
    let by_service = [("bank", rate(bank.requests.per_s)), ("http", rate(web.answers.per_s))];
    // All of this line is per second; it has 80 columns.
    let moved = [("in", bytes_in), ("out", bytes_out)].map(|(way, per_s)| (way, bytes(rounded(per_s))));
    let all = [("", format!("{}/s", rate(all_per_s(view))))].into_iter().chain(by_service);
    let all = all.chain(kv.map(|kv| ("kv", rate(kv.calls_total.per_s)))).chain([("clients", whole(clients))]);
    pairs("requests", all.chain(moved))
}

fn draw_graph(frame: &mut Frame<'_>, area: Rect, shown: &DisplayState) {
    let columns = usize::from(area.width);
    let newest = shown.throughput.iter().skip(shown.throughput.len().saturating_sub(columns)).copied();
    // The newest at the right edge.
    let missing = columns.saturating_sub(shown.throughput.len());
    let bars: Vec<SparklineBar> = std::iter::repeat_n(0, missing).chain(newest).map(SparklineBar::from).collect();
    frame.render_widget(Sparkline::default().data(bars).style(Style::new().fg(Color::Cyan)), area);
}

fn times(view: &View) -> Line<'_> {
    let times = &view.bank.times;
    pairs(
        "latency",
        [
            ("p50", time(times.p50_us)),
            ("p90", time(times.p90_us)),
            ("p99", time(times.p99_us)),
            ("p99.9", time(times.p999_us)),
            ("max", time(times.max_us)),
        ],
    )
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, view: &View) {
    // The bars of the workers' loads have what all others leave.
    let load_columns = area.width.saturating_sub(if area.width > NARROW { 81 } else { 74 }).min(30);
    // A column's heading, its width, and whether it stands to the right.
    let columns: [(&str, u16, bool); 12] = [
        ("worker", 6, true),
        ("pid", 7, true),
        ("state", 8, false),
        ("req/s", 8, true),
        ("load", load_columns, false),
        ("", 5, true),
        ("clients", 7, true),
        ("http", 4, true),
        ("lane", 7, true),
        ("deaths", 6, true),
        ("fixed", 5, true),
        ("wait", if area.width > NARROW { 7 } else { 0 }, true),
    ];
    let cell = |(text, (_, _, to_the_right)): (String, &(&str, u16, bool))| {
        let side = if *to_the_right { Alignment::Right } else { Alignment::Left };
        Cell::from(Line::from(text).alignment(side))
    };
    let header = Row::new(columns.iter().map(|column| cell((column.0.to_owned(), column)))).style(SOFT);
    let rows = view.workers.iter().map(|worker| {
        let style = if worker.now.pid == 0 { ALERT } else { Style::new() };
        Row::new(worker_cells(worker, load_columns).into_iter().zip(&columns).map(cell)).style(style)
    });
    let widths = columns.map(|(_, width, _)| Constraint::Length(width));
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(1), area);
}

fn worker_cells(worker: &WorkerView, load_columns: u16) -> [String; 12] {
    let now = &worker.now;
    let clients = u64::from(now.connections).saturating_sub(worker.web_connections);
    let filled = usize::try_from(rounded(worker.share * f64::from(load_columns))).unwrap_or(0);
    [
        now.worker.to_string(),
        pid(now.pid),
        now.state.to_owned(),
        rate(worker.work_per_s()),
        "█".repeat(filled.min(usize::from(load_columns))),
        percent(Some(worker.share)),
        whole(clients),
        whole(worker.web_connections),
        format!("{}/{}", now.lane_depth, now.lane_capacity),
        now.deaths.to_string(),
        now.repairs.to_string(),
        time(worker.dispatch_wait_us),
    ]
}

fn journal(view: &View) -> Vec<Line<'_>> {
    let (journal, now) = (&view.journal, &view.journal.now);
    if now.capacity == 0 {
        return vec![pairs("journal", [("", "absent: the ledger is in memory only".to_owned())])];
    }
    let first = [
        ("", now.state.to_owned()),
        ("pid", pid(now.pid)),
        ("committed", whole(now.committed_lsn)),
        ("behind", whole(now.waiting)),
        ("snapshot", whole(now.snapshot_lsn)),
    ];
    let second = [
        ("records", format!("{}/s", rate(journal.records.per_s))),
        ("syncs", format!("{}/s", rate(journal.groups.per_s))),
        ("group", journal.group_size.map_or_else(|| "-".to_owned(), rate)),
        ("sync p50", time(journal.sync_times.p50_us)),
        ("p99", time(journal.sync_times.p99_us)),
    ];
    vec![pairs("journal", first), pairs("", second)]
}

fn web(view: &View) -> Vec<Line<'_>> {
    let web = &view.web;
    let Some(address) = &view.instance.http_address else {
        return vec![pairs("http", [("", "off".to_owned())])];
    };
    let [fine, moved, refused, failed] = web.classes.map(|class| rate(class.per_s));
    let first = [
        ("", address.clone()),
        ("2xx", fine),
        ("3xx", moved),
        ("4xx", refused),
        ("5xx", failed),
        ("p99", time(web.times.p99_us)),
    ];
    let second = [
        ("cache hits", percent(web.cache_hit_rate)),
        ("holds", format!("{} in {} files", bytes(web.cache_bytes), whole(web.cache_entries))),
        ("queued", whole(web.queued)),
        ("overloaded", whole(web.overloaded.total)),
    ];
    vec![pairs("http", first), pairs("", second)]
}

fn activity(view: &View, columns: u16) -> Vec<Line<'_>> {
    let Some(activity) = &view.activity else {
        return vec![pairs("activity", [("", "no journal, no record of it".to_owned())])];
    };
    let kinds = activity.kinds.iter().map(|kind| (kind.kind, whole(kind.done)));
    let busiest = activity.busiest.iter().take(if columns > NARROW { 5 } else { 1 });
    let busiest = busiest.map(|busy| busy.account.to_string()).collect::<Vec<_>>().join(" ");
    let of = (activity.looked_at < activity.operations).then(|| ("of the last", whole(activity.looked_at)));
    let sums = pairs("activity", kinds.chain(of).chain([("busiest", busiest)]));
    [sums].into_iter().chain(activity.last.iter().map(operation)).collect()
}

fn operation(operation: &Operation) -> Line<'_> {
    let to = operation.to.map_or_else(String::new, |to| format!("-> {to}"));
    let time = operation.time.get(11..23).unwrap_or_default();
    let amount = Cents(operation.amount_cents).to_string();
    let refused = if operation.done { "" } else { "  refused" };
    Line::from(vec![
        Span::styled(format!("{:>12}  {time}  ", operation.lsn), SOFT),
        Span::raw(format!("{:<8}  {:>8} {to:<11} {amount:>14}{refused}", operation.kind, operation.account)),
    ])
}

fn crashes(view: &View) -> Line<'_> {
    let Crashes { deaths, repairs, resumed } = view.crashes;
    let went_on = ("connections went on", whole(resumed));
    pairs("crashes", [("processes", whole(deaths)), ("operations settled", whole(repairs)), went_on])
}

fn events(shown: &DisplayState) -> Vec<Line<'_>> {
    let event = |(age_ms, event): &'_ (u64, String)| {
        Line::from(vec![Span::styled(format!("{:>8} ", lasted(*age_ms)), SOFT), Span::raw(event.clone())])
    };
    shown.events.iter().map(event).collect()
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
