//! The report as text for people, in tables that fit on a hundred columns.

use std::fmt;

use super::cluster::cluster;
use super::process::Process;
use super::report::{
    AccessLogReport, ConnectionsReport, HolderReport, InstanceReport, IntentReport, JournalReport, LaneReport,
    LockReport, LocksReport, PlannedBalance, Report, SegmentReport, TotalsReport,
};
use crate::base::vocab::Cents;
use crate::service::bank::wire::{Opcode, Status};
use crate::service::kv::wire::{KvProcedure, KvStatus};
use crate::status::kv::KvTable;
use crate::status::numbers::ratio;
use crate::status::sample::{Journal, JournalNow, Summary, Worker};
use crate::status::services::{ServiceAddress, ServiceCounts};
use crate::tool::vaultctl::table::{Column, Table};

/// Locks that are shown one by one; under load there may be thousands, each for a microsecond.
const LOCKS_SHOWN: usize = 20;

/// The whole report.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers = &self.workers;
        summary(f, &self.instance)?;
        section(f, "segments", &segments(&self.segments))?;
        section(f, "lanes: the master pushes tickets, the worker takes them", &lanes(&self.lanes))?;
        section(f, "workers", &processes(workers))?;
        section(f, "connections by service", &services(workers))?;
        section(f, "traffic", &traffic(workers))?;
        section(f, "bounds: what was closed, waits, was refused or dropped", &bounds(workers))?;
        if workers.iter().any(|worker| !worker.answers.iter().all(|&count| count == 0)) {
            let all: &[Column<Worker>] = &[WORKER, ("all", |worker| worker.requests_total.to_string())];
            let requests = counted(workers, all, Opcode::ALL.map(|opcode| opcode.name()), |worker| &worker.requests);
            let answers =
                counted(workers, &[WORKER], Status::ALL.map(|status| status.name()), |worker| &worker.answers);
            section(f, "requests", &requests)?;
            section(f, "answers", &answers)?;
        }
        journal(f, &self.journal)?;
        self.cache.as_ref().map_or(Ok(()), |cache| cache.fmt(f))?;
        self.cluster.as_ref().map_or(Ok(()), |of| cluster(f, of))?;
        self.kv.as_ref().map_or(Ok(()), |table| key_values(f, table, workers))?;
        access_log(f, self.access_log.as_ref())?;
        intents(f, &self.intents)?;
        locks(f, &self.locks)?;
        connections(f, &self.connections)?;
        if self.cluster.as_ref().is_some_and(|cluster| cluster.remaking) {
            return writeln!(f, "\ntotals: none, the books are being remade from the journal; look again in a while");
        }
        totals(f, &self.totals)
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, content: &Table) -> fmt::Result {
    write!(f, "\n{title}\n{content}")
}

fn summary(f: &mut fmt::Formatter<'_>, report: &InstanceReport) -> fmt::Result {
    let Summary { name, boot, address, services, accept_mode, data, uptime_ms, log_lines_dropped, .. } =
        &report.summary;
    writeln!(f, "instance {name}, boot {boot}, up {} s", seconds(*uptime_ms))?;
    writeln!(f, "  master   {}", report.master)?;
    writeln!(f, "  address  {address}, accept {accept_mode}")?;
    for ServiceAddress { name, address } in services.iter().filter(|service| service.address != *address) {
        writeln!(f, "  {name:<8} {address}")?;
    }
    writeln!(f, "  data     {data}")?;
    writeln!(f, "  log      {log_lines_dropped} lines dropped")
}

fn access_log(f: &mut fmt::Formatter<'_>, log: Option<&AccessLogReport>) -> fmt::Result {
    let Some(log) = log else { return Ok(()) };
    let AccessLogReport { lock, inherited, replayed, lines, waiting_bytes, planned_bytes, rotations, failures, errno } =
        log;
    let holder = lock.as_ref().map_or_else(
        || "free".to_owned(),
        |lock| match &lock.process {
            Some(of) => format!("held by thread {} of {}", lock.thread, of),
            None => format!("held by thread {}, which ended meanwhile", lock.thread),
        },
    );
    writeln!(
        f,
        "\naccess log: lock {holder}; {inherited} inherited from dead holders so far, {replayed} plans completed"
    )?;
    writeln!(
        f,
        "  {lines} lines, {waiting_bytes} bytes in memory, {planned_bytes} being written, {rotations} rotations"
    )?;
    if *failures > 0 {
        writeln!(f, "  {failures} failures, error number now {errno}")?;
    }
    Ok(())
}

fn segments(segments: &[SegmentReport]) -> Table {
    Table::of(
        segments,
        &[
            ("<name", |segment| segment.name.clone()),
            ("bytes", |segment| segment.bytes.to_string()),
            ("layout", |segment| segment.layout_version.to_string()),
            ("elements", |segment| segment.elements.to_string()),
        ],
    )
}

fn lanes(lanes: &[LaneReport]) -> Table {
    Table::of(
        lanes,
        &[
            ("lane", |lane| lane.worker.to_string()),
            ("depth", |lane| lane.depth.to_string()),
            ("of", |lane| lane.capacity.to_string()),
            ("slots", |lane| lane.slots.value.to_string()),
            ("items", |lane| lane.items.value.to_string()),
            ("lock", |lane| lane.lock.value.to_string()),
            ("<semaphores", |lane| format!("{}{{slots,items,lock}}", lane.slots.name.trim_end_matches("slots"))),
        ],
    )
}

const WORKER: Column<Worker> = ("worker", |worker| worker.now.worker.to_string());

fn processes(workers: &[Worker]) -> Table {
    Table::of(
        workers,
        &[
            WORKER,
            ("pid", |worker| if worker.now.pid == 0 { "-".to_owned() } else { worker.now.pid.to_string() }),
            ("<state", |worker| {
                format!("{}{}", worker.now.state, if worker.leaving { ", asked to leave" } else { "" })
            }),
            ("lives", |worker| worker.now.lives.to_string()),
            ("repairs", |worker| worker.now.repairs.to_string()),
            ("heartbeat", |worker| format!("{} ms ago", worker.now.heartbeat_age_ms)),
            ("connections", |worker| worker.now.connections.to_string()),
            ("accepted", |worker| worker.accepted.to_string()),
            ("closed", |worker| worker.closed.to_string()),
            ("refused", |worker| worker.refused.to_string()),
        ],
    )
}

fn services(workers: &[Worker]) -> Table {
    let rows: Vec<_> =
        workers.iter().flat_map(|worker| worker.services.iter().map(|service| (worker.now.worker, service))).collect();
    Table::of(
        &rows,
        &[
            ("worker", |(worker, _)| worker.to_string()),
            ("<service", |(_, service)| service.name.clone()),
            ("open", |(_, service)| service.connections.to_string()),
            ("closing", |(_, service)| service.closing.to_string()),
            ("accepted", |(_, service)| service.accepted.to_string()),
            ("closed", |(_, service)| service.closed.to_string()),
            ("refused", |(_, service)| service.refused.to_string()),
            ("evicted", |(_, service)| service.evicted.to_string()),
            ("silent", |(_, service)| service.silent.to_string()),
            ("waiting", |(_, service)| service.waiting.to_string()),
        ],
    )
}

/// The sum over all services of a worker.
fn of_all(worker: &Worker, count: fn(&ServiceCounts) -> u64) -> u64 {
    worker.services.iter().map(count).sum()
}

fn bounds(workers: &[Worker]) -> Table {
    Table::of(
        workers,
        &[
            WORKER,
            ("evicted", |worker| of_all(worker, |service| service.evicted).to_string()),
            ("no login", |worker| worker.bounds.closed_without_login.to_string()),
            ("guessing", |worker| worker.bounds.closed_guessing.to_string()),
            ("flooding", |worker| worker.bounds.closed_flooding.to_string()),
            ("silent", |worker| of_all(worker, |service| service.silent).to_string()),
            ("waiting", |worker| (worker.bounds.logins_waiting + worker.bounds.lookups_waiting).to_string()),
            ("refused", |worker| (worker.bounds.logins_refused + worker.bounds.lookups_refused).to_string()),
            ("streams", |worker| worker.bounds.streams_refused.to_string()),
            ("log lines", |worker| worker.bounds.log_dropped.to_string()),
        ],
    )
}

fn traffic(workers: &[Worker]) -> Table {
    Table::of(
        workers,
        &[
            WORKER,
            ("bytes in", |worker| worker.bytes_in.to_string()),
            ("bytes out", |worker| worker.bytes_out.to_string()),
            ("wait mean", |worker| {
                let accepted = of_all(worker, |service| service.accepted);
                format!("{:.1} us", ratio(worker.dispatch_wait_sum_us, accepted))
            }),
            ("wait max", |worker| format!("{} us", worker.dispatch_wait_max_us)),
            ("bad frames", |worker| worker.bad_frames.to_string()),
            ("idle", |worker| worker.idle_dropped.to_string()),
            ("slow", |worker| worker.slow_dropped.to_string()),
            ("turns", |worker| worker.turns.to_string()),
        ],
    )
}

/// One column for every name that anything was counted under, behind the `first` ones.
fn counted<const N: usize>(
    workers: &[Worker],
    first: &[Column<Worker>],
    names: [&'static str; N],
    counts: fn(&Worker) -> &[u64; N],
) -> Table {
    let used: Vec<usize> = (0..N).filter(|&place| workers.iter().any(|worker| counts(worker)[place] > 0)).collect();
    let headings = first.iter().map(|(heading, _)| *heading);
    let mut table = Table::new(headings.chain(used.iter().map(|&place| names[place])));
    for worker in workers {
        let counts = used.iter().map(|&place| counts(worker)[place].to_string());
        table.row(first.iter().map(|(_, cell)| cell(worker)).chain(counts));
    }
    table
}

fn journal(f: &mut fmt::Formatter<'_>, report: &JournalReport) -> fmt::Result {
    let JournalReport { journal, process: holder, records_per_group } = report;
    let Journal { now, groups, records, leaving, .. } = journal;
    let JournalNow { keys, key_window, last_lsn, on_disk_lsn, committed_lsn, waiting, capacity, .. } = now;
    if *capacity == 0 {
        writeln!(f, "\njournal: absent, the ledger is in memory only; last operation {last_lsn}")?;
    } else {
        let holder = holder.as_ref().map_or_else(|| "no process".to_owned(), Process::to_string);
        let leaving = if *leaving { ", asked to end" } else { "" };
        let JournalNow { state, lives, heartbeat_age_ms, replies_wait, snapshot_lsn, .. } = now;
        writeln!(f, "\njournal: {state}{leaving}, {holder}, lives {lives}, heartbeat {heartbeat_age_ms} ms ago")?;
        let wait = if *replies_wait { "replies wait for it" } else { "replies do not wait for it" };
        writeln!(f, "  last operation {last_lsn}, on disk {on_disk_lsn}, committed {committed_lsn}: {wait}")?;
        writeln!(f, "  ring {waiting} of {capacity} records wait")?;
        writeln!(f, "  {records} records in {groups} groups, {records_per_group:.1} a group")?;
        let snapshot = if *snapshot_lsn == 0 { "none".to_owned() } else { snapshot_lsn.to_string() };
        writeln!(f, "  newest snapshot {snapshot}")?;
    }
    writeln!(f, "  keys known {keys} of {key_window}")
}

/// The key-value store: its table, and what the workers have counted of it.
fn key_values(f: &mut fmt::Formatter<'_>, table: &KvTable, workers: &[Worker]) -> fmt::Result {
    let KvTable { keys, blocks, capacity, free_blocks, block_bytes } = table;
    writeln!(f, "\nkey-value store: {keys} keys, {blocks} of {capacity} blocks ({:.1} %)", table.share() * 100.0)?;
    let bytes = blocks * block_bytes;
    writeln!(
        f,
        "  {bytes} bytes in blocks of {block_bytes}; {free_blocks} blocks free, with those for writes under way"
    )?;
    let traffic = Table::of(
        workers,
        &[
            WORKER,
            ("bytes in", |worker| worker.kv.bytes_in.to_string()),
            ("bytes out", |worker| worker.kv.bytes_out.to_string()),
            ("faults", |worker| worker.kv.faults.to_string()),
            ("bad records", |worker| worker.kv.bad_records.to_string()),
            ("scans refused", |worker| worker.kv.scans_refused.to_string()),
        ],
    );
    write!(f, "{traffic}")?;
    if workers.iter().all(|worker| worker.kv.calls_total == 0) {
        return Ok(());
    }
    let all: &[Column<Worker>] = &[WORKER, ("all", |worker| worker.kv.calls_total.to_string())];
    let names = KvProcedure::ALL.map(|procedure| procedure.name());
    section(f, "key-value calls", &counted(workers, all, names, |worker| &worker.kv.calls))?;
    let names = KvStatus::ALL.map(|status| status.name());
    section(f, "key-value results", &counted(workers, &[WORKER], names, |worker| &worker.kv.results))
}

fn intents(f: &mut fmt::Formatter<'_>, intents: &[IntentReport]) -> fmt::Result {
    if intents.is_empty() {
        return writeln!(f, "\nintents: all idle");
    }
    let planned = |part: &PlannedBalance| format!("account {}: {}", part.account, Cents(part.balance_cents));
    let mut table = Table::new(["worker", "<phase", "lsn", "<planned balances", "connection"]);
    for IntentReport { worker, phase, lsn, accounts, connection } in intents {
        let plan = accounts.iter().map(planned).collect::<Vec<_>>().join(", ");
        table.row([worker.to_string(), (*phase).to_owned(), or_dash(*lsn), plan, or_dash(*connection)]);
    }
    section(f, "intents that are not idle", &table)
}

fn locks(f: &mut fmt::Formatter<'_>, locks: &LocksReport) -> fmt::Result {
    let LocksReport { held, orphaned, inherited } = locks;
    writeln!(f, "\nlocks: {} held; {inherited} inherited from dead holders so far", held.len())?;
    if !orphaned.is_empty() {
        let accounts: Vec<String> = orphaned.iter().take(LOCKS_SHOWN).map(ToString::to_string).collect();
        let more = if orphaned.len() > LOCKS_SHOWN { ", …" } else { "" };
        writeln!(f, "  left by dead holders, repaired when next locked: accounts {}{more}", accounts.join(", "))?;
    }
    if held.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["account", "thread", "<of process"]);
    for lock in held.iter().take(LOCKS_SHOWN) {
        let LockReport { account, holder: HolderReport { thread, process: of } } = lock;
        let of = of.as_ref().map_or_else(|| "(ended meanwhile)".to_owned(), Process::to_string);
        table.row([account.to_string(), thread.to_string(), of]);
    }
    write!(f, "{table}")?;
    match held.len().saturating_sub(LOCKS_SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "  … and {more} more"),
    }
}

fn connections(f: &mut fmt::Formatter<'_>, connections: &ConnectionsReport) -> fmt::Result {
    let ConnectionsReport { capacity, handed, served, closed, slots } = connections;
    let used = handed + served + closed;
    writeln!(
        f,
        "\nconnections: {used} of {capacity} slots in use: {served} served, {handed} handed over, {closed} closed"
    )?;
    let Some(slots) = slots.as_ref().filter(|slots| !slots.is_empty()) else { return Ok(()) };
    let table = Table::of(
        slots,
        &[
            ("slot", |slot| slot.slot.to_string()),
            ("<state", |slot| slot.state.to_owned()),
            ("worker", |slot| or_dash(slot.worker)),
            ("<user", |slot| if slot.user.is_empty() { "(not logged in)".to_owned() } else { slot.user.clone() }),
            ("unread", |slot| slot.unread.to_string()),
            ("unsent", |slot| slot.unsent.to_string()),
            ("age", |slot| format!("{} s", seconds(slot.age_ms))),
        ],
    );
    write!(f, "{table}")
}

fn totals(f: &mut fmt::Formatter<'_>, totals: &TotalsReport) -> fmt::Result {
    writeln!(
        f,
        "\ntotals, not a consistent cut: read without locks while money may move (`client totals` takes a cut)"
    )?;
    write!(f, "  {} accounts hold {} after operation {}", totals.accounts, Cents(totals.sum_cents), totals.lsn)?;
    match totals.lsn - totals.committed_lsn {
        0 => writeln!(f)?,
        waiting => writeln!(f, "; the last {waiting} are not committed yet, and no client was told of them")?,
    }
    let [opening, deposited, withdrawn, difference] =
        [totals.opening_cents, totals.deposited_cents, totals.withdrawn_cents, totals.difference_cents].map(Cents);
    writeln!(f, "  opening {opening}, deposited {deposited}, withdrawn {withdrawn}, unexplained {difference}")
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{}", milliseconds / 1000, milliseconds % 1000 / 100)
}
