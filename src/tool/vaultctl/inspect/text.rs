//! The report as text for people, in tables that fit on a hundred columns.

use std::fmt::{self, Display, Write};
use std::iter;

use super::report::{
    AccessLogReport, ConnectionsReport, InstanceReport, IntentReport, JournalReport, LaneReport, LocksReport,
    LogLockReport, Process, Report, SegmentReport, SlotReport, TotalsReport,
};
use crate::base::vocab::Cents;
use crate::service::bank::wire::{Opcode, Status};
use crate::status::numbers::ratio;
use crate::status::sample::{Journal, Summary, Worker};
use crate::status::services::{ServiceAddress, ServiceCounts};
use crate::tool::vaultctl::table::Table;

/// Locks that are shown one by one; under load there may be thousands, each for a microsecond.
const LOCKS_SHOWN: usize = 20;

/// Writes the whole report.
pub(super) fn text(report: &Report) -> Result<String, fmt::Error> {
    let mut out = String::new();
    summary(&mut out, &report.instance)?;
    section(&mut out, "segments", &segments(&report.segments))?;
    section(&mut out, "lanes: the master pushes tickets, the worker takes them", &lanes(&report.lanes))?;
    section(&mut out, "workers", &workers(&report.workers))?;
    section(&mut out, "connections by service", &services(&report.workers))?;
    section(&mut out, "traffic", &traffic(&report.workers))?;
    section(&mut out, "bounds: what was closed, waits, was refused or dropped", &bounds(&report.workers))?;
    if report.workers.iter().any(|worker| !worker.answers.iter().all(|&count| count == 0)) {
        section(&mut out, "requests", &requests(&report.workers))?;
        section(&mut out, "answers", &answers(&report.workers))?;
    }
    journal(&mut out, &report.journal)?;
    access_log(&mut out, report.access_log.as_ref())?;
    intents(&mut out, &report.intents)?;
    locks(&mut out, &report.locks)?;
    connections(&mut out, &report.connections)?;
    totals(&mut out, &report.totals)?;
    Ok(out)
}

fn section(out: &mut String, title: &str, content: &dyn Display) -> fmt::Result {
    write!(out, "\n{title}\n{content}")
}

fn summary(out: &mut String, report: &InstanceReport) -> fmt::Result {
    let Summary { name, boot, address, services, accept_mode, data, uptime_ms, log_lines_dropped, .. } =
        &report.summary;
    writeln!(out, "instance {name}, boot {boot}, up {} s", seconds(*uptime_ms))?;
    writeln!(out, "  master   {}", process(&report.master))?;
    writeln!(out, "  address  {address}, accept {accept_mode}")?;
    for ServiceAddress { name, address } in services.iter().filter(|service| service.address != *address) {
        writeln!(out, "  {name:<8} {address}")?;
    }
    writeln!(out, "  data     {data}")?;
    writeln!(out, "  log      {log_lines_dropped} lines dropped")
}

fn access_log(out: &mut String, log: Option<&AccessLogReport>) -> fmt::Result {
    let Some(log) = log else { return Ok(()) };
    let AccessLogReport { lock, inherited, replayed, lines, waiting_bytes, planned_bytes, rotations, failures, errno } =
        log;
    let held_by = |LogLockReport { thread, process: of }: &LogLockReport| match of {
        Some(of) => format!("held by thread {thread} of {}", process(of)),
        None => format!("held by thread {thread}, which ended meanwhile"),
    };
    let holder = lock.as_ref().map_or_else(|| "free".to_owned(), held_by);
    writeln!(
        out,
        "\naccess log: lock {holder}; {inherited} inherited from dead holders so far, {replayed} plans completed"
    )?;
    writeln!(
        out,
        "  {lines} lines, {waiting_bytes} bytes in memory, {planned_bytes} being written, {rotations} rotations"
    )?;
    if *failures > 0 {
        writeln!(out, "  {failures} failures, error number now {errno}")?;
    }
    Ok(())
}

fn segments(segments: &[SegmentReport]) -> Table {
    let mut table = Table::new(["<name", "bytes", "layout", "elements"]);
    for SegmentReport { name, bytes, layout_version, elements } in segments {
        table.row([name as &dyn Display, bytes, layout_version, elements]);
    }
    table
}

fn lanes(lanes: &[LaneReport]) -> Table {
    let mut table = Table::new(["lane", "depth", "of", "slots", "items", "lock", "<semaphores"]);
    for LaneReport { worker, depth, capacity, slots, items, lock } in lanes {
        let common = slots.name.trim_end_matches("slots");
        let names = format!("{common}{{slots,items,lock}}");
        table.row([worker as &dyn Display, depth, capacity, &slots.value, &items.value, &lock.value, &names]);
    }
    table
}

fn workers(workers: &[Worker]) -> Table {
    let headings =
        ["worker", "pid", "<state", "lives", "repairs", "heartbeat", "connections", "accepted", "closed", "refused"];
    let mut table = Table::new(headings);
    for worker in workers {
        let pid: &dyn Display = if worker.pid == 0 { &"-" } else { &worker.pid };
        let state = if worker.leaving { format!("{}, asked to leave", worker.state) } else { worker.state.to_owned() };
        let heartbeat = format!("{} ms ago", worker.heartbeat_age_ms);
        table.row([
            &worker.worker as &dyn Display,
            pid,
            &state,
            &worker.lives,
            &worker.repairs,
            &heartbeat,
            &worker.connections,
            &worker.accepted,
            &worker.closed,
            &worker.refused,
        ]);
    }
    table
}

fn services(workers: &[Worker]) -> Table {
    let headings = ["worker", "<service", "open", "closing", "accepted", "closed", "refused", "evicted", "silent"];
    let mut table = Table::new(headings);
    for worker in workers {
        for service in &worker.services {
            let ServiceCounts { name, connections, accepted, closed, refused, evicted, silent, closing } = service;
            table.row([
                &worker.worker as &dyn Display,
                name,
                connections,
                closing,
                accepted,
                closed,
                refused,
                evicted,
                silent,
            ]);
        }
    }
    table
}

fn bounds(workers: &[Worker]) -> Table {
    let headings = [
        "worker",
        "evicted",
        "no login",
        "guessing",
        "flooding",
        "silent",
        "waiting",
        "refused",
        "streams",
        "log lines",
    ];
    let mut table = Table::new(headings);
    for worker in workers {
        let bounds = &worker.bounds;
        let of_all = |count: fn(&ServiceCounts) -> u64| worker.services.iter().map(count).sum::<u64>();
        table.row([
            &worker.worker as &dyn Display,
            &of_all(|service| service.evicted),
            &bounds.closed_without_login,
            &bounds.closed_guessing,
            &bounds.closed_flooding,
            &of_all(|service| service.silent),
            &(bounds.logins_waiting + bounds.lookups_waiting),
            &(bounds.logins_refused + bounds.lookups_refused),
            &bounds.streams_refused,
            &bounds.log_dropped,
        ]);
    }
    table
}

fn traffic(workers: &[Worker]) -> Table {
    let headings = ["worker", "bytes in", "bytes out", "wait mean", "wait max", "bad frames", "idle", "slow", "turns"];
    let mut table = Table::new(headings);
    for worker in workers {
        let mean = format!("{:.1} us", ratio(worker.dispatch_wait_sum_us, worker.accepted));
        let most = format!("{} us", worker.dispatch_wait_max_us);
        table.row([
            &worker.worker as &dyn Display,
            &worker.bytes_in,
            &worker.bytes_out,
            &mean,
            &most,
            &worker.bad_frames,
            &worker.idle_dropped,
            &worker.slow_dropped,
            &worker.turns,
        ]);
    }
    table
}

/// One column for every opcode that was asked for at all.
fn requests(workers: &[Worker]) -> Table {
    let asked = |opcode: &&Opcode| workers.iter().any(|worker| worker.requests[opcode.index()] > 0);
    let opcodes: Vec<&Opcode> = Opcode::ALL.iter().filter(asked).collect();
    let mut table = Table::new(["worker", "all"].into_iter().chain(opcodes.iter().map(|opcode| opcode.name())));
    for worker in workers {
        let counts = opcodes.iter().map(|opcode| &worker.requests[opcode.index()] as &dyn Display);
        table.row([&worker.worker as &dyn Display, &worker.requests_total].into_iter().chain(counts));
    }
    table
}

/// One column for every status that was given at all.
fn answers(workers: &[Worker]) -> Table {
    let given = |status: &&Status| workers.iter().any(|worker| worker.answers[status.index()] > 0);
    let statuses: Vec<&Status> = Status::ALL.iter().filter(given).collect();
    let mut table = Table::new(iter::once("worker").chain(statuses.iter().map(|status| status.name())));
    for worker in workers {
        let counts = statuses.iter().map(|status| &worker.answers[status.index()] as &dyn Display);
        table.row(iter::once(&worker.worker as &dyn Display).chain(counts));
    }
    table
}

fn journal(out: &mut String, report: &JournalReport) -> fmt::Result {
    let JournalReport { journal, process: holder, records_per_group } = report;
    let Journal { keys, key_window, last_lsn, durable_lsn, waiting, capacity, .. } = journal;
    if journal.capacity == 0 {
        writeln!(out, "\njournal: absent, the books are in memory only; last operation {last_lsn}")?;
    } else {
        let holder = holder.as_ref().map_or_else(|| "no process".to_owned(), process);
        let leaving = if journal.leaving { ", asked to end" } else { "" };
        let Journal { state, lives, heartbeat_age_ms, replies_wait, .. } = journal;
        writeln!(out, "\njournal: {state}{leaving}, {holder}, lives {lives}, heartbeat {heartbeat_age_ms} ms ago")?;
        let wait = if *replies_wait { "replies wait for it" } else { "replies do not wait for it" };
        writeln!(out, "  last operation {last_lsn}, durable {durable_lsn}: {wait}")?;
        writeln!(out, "  ring {waiting} of {capacity} records wait")?;
        let Journal { groups, records, snapshot_lsn, .. } = journal;
        writeln!(out, "  {records} records in {groups} groups, {records_per_group:.1} a group")?;
        writeln!(
            out,
            "  newest snapshot {}",
            if *snapshot_lsn == 0 { "none".to_owned() } else { snapshot_lsn.to_string() }
        )?;
    }
    writeln!(out, "  keys known {keys} of {key_window}")
}

fn intents(out: &mut String, intents: &[IntentReport]) -> fmt::Result {
    if intents.is_empty() {
        return writeln!(out, "\nintents: all idle");
    }
    let mut table = Table::new(["worker", "<phase", "lsn", "<planned balances", "connection"]);
    for IntentReport { worker, phase, lsn, accounts, connection } in intents {
        let plan = accounts.iter().map(|part| format!("account {}: {}", part.account, Cents(part.balance_cents)));
        let plan = plan.collect::<Vec<_>>().join(", ");
        table.row([worker as &dyn Display, phase, &or_dash(lsn.as_ref()), &plan, &or_dash(connection.as_ref())]);
    }
    section(out, "intents that are not idle", &table)
}

fn locks(out: &mut String, locks: &LocksReport) -> fmt::Result {
    let LocksReport { held, orphaned, inherited } = locks;
    writeln!(out, "\nlocks: {} held; {inherited} inherited from dead holders so far", held.len())?;
    if !orphaned.is_empty() {
        let accounts: Vec<String> = orphaned.iter().take(LOCKS_SHOWN).map(ToString::to_string).collect();
        let more = if orphaned.len() > LOCKS_SHOWN { ", …" } else { "" };
        writeln!(out, "  left by dead holders, repaired when next locked: accounts {}{more}", accounts.join(", "))?;
    }
    if held.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["account", "thread", "<of process"]);
    for lock in held.iter().take(LOCKS_SHOWN) {
        let holder = lock.process.as_ref().map_or_else(|| "(ended meanwhile)".to_owned(), process);
        table.row([&lock.account as &dyn Display, &lock.thread, &holder]);
    }
    write!(out, "{table}")?;
    match held.len().saturating_sub(LOCKS_SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "  … and {more} more"),
    }
}

fn connections(out: &mut String, connections: &ConnectionsReport) -> fmt::Result {
    let ConnectionsReport { capacity, handed, served, closed, slots } = connections;
    let used = handed + served + closed;
    writeln!(
        out,
        "\nconnections: {used} of {capacity} slots in use: {served} served, {handed} handed over, {closed} closed"
    )?;
    let Some(slots) = slots.as_ref().filter(|slots| !slots.is_empty()) else { return Ok(()) };
    let mut table = Table::new(["slot", "<state", "worker", "<user", "unread", "unsent", "age"]);
    for SlotReport { slot, state, worker, user, unread, unsent, age_ms } in slots {
        let user = if user.is_empty() { "(not logged in)" } else { user };
        let age = format!("{} s", seconds(*age_ms));
        table.row([slot as &dyn Display, state, &or_dash(worker.as_ref()), &user, unread, unsent, &age]);
    }
    write!(out, "{table}")
}

fn totals(out: &mut String, totals: &TotalsReport) -> fmt::Result {
    writeln!(
        out,
        "\ntotals, not a consistent cut: read without locks while money may move (`client totals` takes a cut)"
    )?;
    write!(out, "  {} accounts hold {} after operation {}", totals.accounts, Cents(totals.sum_cents), totals.lsn)?;
    match totals.lsn - totals.durable_lsn {
        0 => writeln!(out)?,
        waiting => writeln!(out, "; the last {waiting} are not durable yet, and no client was told of them")?,
    }
    let [opening, deposited, withdrawn, difference] =
        [totals.opening_cents, totals.deposited_cents, totals.withdrawn_cents, totals.difference_cents].map(Cents);
    writeln!(out, "  opening {opening}, deposited {deposited}, withdrawn {withdrawn}, unexplained {difference}")
}

fn process(process: &Process) -> String {
    match &process.name {
        Some(name) => format!("pid {} ({name})", process.pid),
        None => format!("pid {} (ended)", process.pid),
    }
}

fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{}", milliseconds / 1000, milliseconds % 1000 / 100)
}
