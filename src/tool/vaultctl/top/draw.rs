//! What `vaultctl top` shows, and drawing it on a frame of any size.

use std::collections::VecDeque;
use std::convert::Infallible;

use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, SparklineBar, Table};

use super::format::{bytes, lasted, percent, rate, rounded, time, whole};
use crate::base::vocab::Cents;
use crate::status::View;
use crate::status::activity::Operation;
use crate::status::sample::Summary;
use crate::status::view::{Crashes, WorkerView};

/// A terminal of so many columns has no room for all columns of a worker.
const NARROW: u16 = 88;
/// Views whose throughput the graph shows, should the terminal be so wide.
const REMEMBERED: usize = 600;
/// A member that was not heard for so many milliseconds is silent; the others are heard several times a second.
const SILENT_MILLISECONDS: u64 = 2000;
/// Events that are remembered, should the terminal be so high.
const LOGGED: usize = 100;

const SOFT: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const TITLE: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
const ALERT: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

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
    // What a terminal has beyond 24 lines: the graph grows first, then there are more workers, operations and events.
    let graph = (high / 6).clamp(2, 10);
    let workers = 1 + u16::try_from(view.workers.len()).unwrap_or(u16::MAX).min((high / 4).max(2));
    let operations = (high / 5).clamp(2, 11);
    let [files, kept, peers] = [getfile(view), cache(view), cluster(view)];
    let [of_files, of_kept, of_peers] = [&files, &kept, &peers].map(|lines| u16::from(!lines.is_empty()));
    let lines = [1, 1, graph, 1, workers, 2, of_peers, 2, of_files, of_kept, 1 + operations, 1].map(Constraint::Length);
    let rows = Layout::vertical(lines.into_iter().chain([Constraint::Min(1)])).split(area);
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

/// A line of names and values: names soft, values strong.
fn pairs<'a>(title: &'a str, pairs: impl IntoIterator<Item = (&'a str, String)>) -> Line<'a> {
    let mut spans = vec![Span::styled(format!("{title:<9}"), TITLE)];
    for (name, value) in pairs {
        if !name.is_empty() {
            spans.push(Span::styled(format!("{name} "), SOFT));
        }
        spans.push(Span::styled(format!("{value}  "), STRONG));
    }
    Line::from(spans)
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

fn throughput(view: &View) -> Line<'_> {
    let (bank, web) = (view.bank.requests.per_s, view.web.answers.per_s);
    let clients = view.workers.iter().map(|worker| u64::from(worker.now.connections)).sum();
    pairs(
        "requests",
        [
            ("", format!("{}/s", rate(bank + web))),
            ("bank", rate(bank)),
            ("http", rate(web)),
            ("clients", whole(clients)),
            ("in", format!("{}/s", bytes(rounded(view.bank.bytes_in.per_s)))),
            ("out", format!("{}/s", bytes(rounded(view.bank.bytes_out.per_s + view.web.bytes_out.per_s)))),
        ],
    )
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
        rate(worker.requests.per_s + worker.web_answers.per_s),
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

/// A line about the cluster, where there are peers: what this instance is, and each other member with what is known of it, which is how
/// many records it lacks on the primary, and when it was heard.
fn cluster(view: &View) -> Vec<Line<'_>> {
    let Some(cluster) = &view.cluster else { return Vec::new() };
    let primary = cluster.primary.map_or_else(|| "none".to_owned(), |primary| primary.to_string());
    let gone = (cluster.process.pid == 0).then(|| ("", "no process".to_owned()));
    let own = [("", format!("{} {}", cluster.role, cluster.replica)), ("term", cluster.term.to_string())];
    // A primary is the one, and has applied all.
    let is_primary = cluster.primary == Some(cluster.replica);
    let followed = [("primary", primary), ("to apply", whole(cluster.apply_lag))].into_iter().filter(|_| !is_primary);
    let others = cluster.members.iter().filter(|member| member.replica != cluster.replica);
    let others: Vec<_> = others
        .map(|member| match (member.heard_ms, member.lag) {
            (None, _) => format!("{}:silent", member.replica),
            (Some(heard), _) if heard >= SILENT_MILLISECONDS => format!("{}:silent {} s", member.replica, heard / 1000),
            (_, Some(lag)) => format!("{}:lag {}", member.replica, whole(lag)),
            _ => format!("{}:heard", member.replica),
        })
        .collect();
    vec![pairs("cluster", gone.into_iter().chain(own).chain(followed).chain([("others", others.join(" "))]))]
}

/// A line about GetFile, where it is served.
fn getfile(view: &View) -> Vec<Line<'_>> {
    let Some(service) = view.instance.services.iter().find(|service| service.name == "getfile") else {
        return Vec::new();
    };
    let [fine, none, failed, invalid] = view.getfile.statuses.map(|status| rate(status.per_s));
    let values = [
        ("", service.address.clone()),
        ("OK", fine),
        ("not found", none),
        ("errors", failed),
        ("invalid", invalid),
        ("p99", time(view.getfile.times.p99_us)),
    ];
    vec![pairs("getfile", values)]
}

/// A line about the cache process, where there is one.
fn cache(view: &View) -> Vec<Line<'_>> {
    let Some(cache) = &view.cache else { return Vec::new() };
    let now = &cache.now;
    let values = [
        ("", format!("{}/s", rate(cache.answers_total.per_s))),
        ("hits", percent(cache.hit_rate)),
        ("holds", format!("{} in {}", bytes(now.bytes), whole(now.entries))),
        ("fetching", whole(now.fetching)),
        ("waiting", whole(now.waiting)),
    ];
    let gone = (now.pid == 0).then(|| ("", "no process".to_owned()));
    vec![pairs("cache", gone.into_iter().chain(values))]
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
