//! Drawing the view, on a frame of any size.

use std::convert::Infallible;

use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, SparklineBar, Table};

use super::display_state::DisplayState;
use super::format::{bytes, lasted, percent, rate, rounded, time, whole};
use crate::base::vocab::Cents;
use crate::status::View;
use crate::status::activity::Operation;
use crate::status::view::WorkerView;

/// A terminal of so many columns has no room for all columns of a worker.
const NARROW: u16 = 88;

const SOFT: Style = Style::new().fg(Color::DarkGray);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const TITLE: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
const ALERT: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

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
    let lines = [1, 1, graph, 1, workers, 2, 2, 1 + operations, 1].map(Constraint::Length);
    let rows = Layout::vertical(lines.into_iter().chain([Constraint::Min(1)])).split(area);
    let [header, numbers, graph, times, workers, journal, web, activity, crashes, events] =
        std::array::from_fn(|place| rows[place]);
    draw_header(frame, header, view);
    draw_throughput(frame, numbers, view);
    draw_graph(frame, graph, shown);
    draw_times(frame, times, view);
    draw_workers(frame, workers, view);
    draw_journal(frame, journal, view);
    draw_web(frame, web, view);
    draw_activity(frame, activity, view);
    draw_crashes(frame, crashes, view);
    draw_events(frame, events, shown);
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

fn draw_header(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let about = &view.instance;
    let state = match (view.stopping, view.accept_paused) {
        (true, _) => "stopping",
        (false, true) => "accept paused",
        (false, false) => "running",
    };
    let left = Line::from(vec![
        Span::styled(format!("vault {}", about.name), TITLE),
        Span::raw(format!(
            "  {}  {}  pid {}  up {}  ",
            about.address,
            about.accept_mode,
            about.master_pid,
            lasted(about.uptime_ms)
        )),
        Span::styled(state, if state == "running" { STRONG } else { ALERT }),
    ]);
    frame.render_widget(Paragraph::new(left), area);
}

fn draw_throughput(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let (bank, web) = (view.bank.requests.per_s, view.web.answers.per_s);
    let line = pairs(
        "requests",
        [
            ("", format!("{}/s", rate(bank + web))),
            ("bank", rate(bank)),
            ("http", rate(web)),
            ("clients", whole(view.bank.connections + view.web.connections)),
            ("in", format!("{}/s", bytes(rounded(view.bank.bytes_in.per_s)))),
            ("out", format!("{}/s", bytes(rounded(view.bank.bytes_out.per_s + view.web.bytes_out.per_s)))),
        ],
    );
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_graph(frame: &mut Frame<'_>, area: Rect, shown: &DisplayState) {
    let columns = usize::from(area.width);
    let newest = shown.throughput.iter().skip(shown.throughput.len().saturating_sub(columns)).copied();
    // The newest at the right edge.
    let missing = columns.saturating_sub(shown.throughput.len());
    let bars: Vec<SparklineBar> = std::iter::repeat_n(0, missing).chain(newest).map(SparklineBar::from).collect();
    frame.render_widget(Sparkline::default().data(bars).style(Style::new().fg(Color::Cyan)), area);
}

fn draw_times(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let times = &view.bank.times;
    let line = pairs(
        "latency",
        [
            ("p50", time(times.p50_us)),
            ("p90", time(times.p90_us)),
            ("p99", time(times.p99_us)),
            ("p99.9", time(times.p999_us)),
            ("max", time(times.max_us)),
        ],
    );
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, view: &View) {
    // A column's heading, its width, and whether it stands to the right.
    let columns: [(&str, u16, bool); 12] = [
        ("worker", 6, true),
        ("pid", 7, true),
        ("state", 8, false),
        ("req/s", 8, true),
        ("load", load_columns(area.width), false),
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
        let style = if worker.pid == 0 { ALERT } else { Style::new() };
        Row::new(worker_cells(worker, columns[4].1).into_iter().zip(&columns).map(cell)).style(style)
    });
    let widths = columns.map(|(_, width, _)| Constraint::Length(width));
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(1), area);
}

/// Columns that the bars of the workers' loads may have beside all others.
fn load_columns(width: u16) -> u16 {
    let others = if width > NARROW { 81 } else { 74 };
    width.saturating_sub(others).min(30)
}

fn worker_cells(worker: &WorkerView, load_columns: u16) -> [String; 12] {
    let clients = u64::from(worker.connections).saturating_sub(worker.web_connections);
    let filled = usize::try_from(rounded(worker.share * f64::from(load_columns))).unwrap_or(0);
    [
        worker.worker.to_string(),
        if worker.pid == 0 { "-".to_owned() } else { worker.pid.to_string() },
        worker.state.to_owned(),
        rate(worker.requests.per_s + worker.web_answers.per_s),
        "█".repeat(filled.min(usize::from(load_columns))),
        percent(Some(worker.share)),
        whole(clients),
        whole(worker.web_connections),
        format!("{}/{}", worker.lane_depth, worker.lane_capacity),
        worker.deaths.to_string(),
        worker.repairs.to_string(),
        time(worker.dispatch_wait_us),
    ]
}

fn draw_journal(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let journal = &view.journal;
    if journal.capacity == 0 {
        let line = pairs("journal", [("", "absent: the books are in memory only".to_owned())]);
        frame.render_widget(Paragraph::new(line), area);
        return;
    }
    let first = pairs(
        "journal",
        [
            ("", journal.state.to_owned()),
            ("pid", if journal.pid == 0 { "-".to_owned() } else { journal.pid.to_string() }),
            ("durable", whole(journal.durable_lsn)),
            ("behind", whole(journal.waiting)),
            ("snapshot", whole(journal.snapshot_lsn)),
        ],
    );
    let second = pairs(
        "",
        [
            ("records", format!("{}/s", rate(journal.records.per_s))),
            ("syncs", format!("{}/s", rate(journal.groups.per_s))),
            ("group", journal.group_size.map_or_else(|| "-".to_owned(), rate)),
            ("sync p50", time(journal.sync_times.p50_us)),
            ("p99", time(journal.sync_times.p99_us)),
        ],
    );
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

fn draw_web(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let web = &view.web;
    let Some(address) = &view.instance.http_address else {
        frame.render_widget(Paragraph::new(pairs("http", [("", "off".to_owned())])), area);
        return;
    };
    let [fine, moved, refused, failed] = web.classes.map(|class| rate(class.per_s));
    let first = pairs(
        "http",
        [
            ("", address.clone()),
            ("2xx", fine),
            ("3xx", moved),
            ("4xx", refused),
            ("5xx", failed),
            ("p99", time(web.times.p99_us)),
        ],
    );
    let second = pairs(
        "",
        [
            ("cache hits", percent(web.cache_hit_rate)),
            ("holds", format!("{} in {} files", bytes(web.cache_bytes), whole(web.cache_entries))),
            ("queued", whole(web.queued)),
            ("overloaded", whole(web.overloaded.total)),
        ],
    );
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

fn draw_activity(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let Some(activity) = &view.activity else {
        let line = pairs("activity", [("", "no journal, no record of it".to_owned())]);
        frame.render_widget(Paragraph::new(line), area);
        return;
    };
    let kinds = activity.kinds.iter().map(|kind| (kind.kind, whole(kind.done)));
    let busiest = activity
        .busiest
        .iter()
        .take(if area.width > NARROW { 5 } else { 1 })
        .map(|busy| busy.account.to_string())
        .collect::<Vec<_>>()
        .join(" ");
    let of = (activity.looked_at < activity.operations).then(|| ("of the last", whole(activity.looked_at)));
    let mut lines = vec![pairs("activity", kinds.chain(of).chain([("busiest", busiest)]))];
    lines.extend(activity.last.iter().map(operation));
    frame.render_widget(Paragraph::new(lines), area);
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

fn draw_crashes(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let crashes = &view.crashes;
    let line = pairs(
        "crashes",
        [
            ("processes", whole(crashes.deaths)),
            ("operations settled", whole(crashes.repairs)),
            ("connections went on", whole(crashes.resumed)),
        ],
    );
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, shown: &DisplayState) {
    let events = shown.events.iter().map(|(age_ms, event)| {
        Line::from(vec![Span::styled(format!("{:>8} ", lasted(*age_ms)), SOFT), Span::raw(event.as_str())])
    });
    frame.render_widget(Paragraph::new(events.collect::<Vec<_>>()), area);
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
