//! Gathers the report: loads from memory that is mapped read-only, values of semaphores, names of processes.

use std::fs;

use clap::ValueEnum;

use super::report::{
    ConnectionsReport, IntentReport, JournalReport, LaneReport, LockReport, LocksReport, PlannedBalance, Process,
    Report, SegmentReport, SemaphoreReport, SlotReport, Summary, TotalsReport, WorkerReport,
};
use crate::config::AcceptMode;
use crate::connection::Service;
use crate::connection::slot::{ConnectionSlot, Holder, NOBODY_YET};
use crate::instance::Instance;
use crate::instance::control::WorkerRow;
use crate::ipc::lane::LaneSemaphores;
use crate::ipc::process::monotonic_ns;
use crate::ipc::semaphore::NamedSemaphore;
use crate::ipc::{IpcError, segment};
use crate::ledger::Table;
use crate::ledger::intent::{Intent, NO_CONNECTION, Phase};
use crate::limits::{RECEIVE_BYTES, TRANSMIT_BYTES};
use crate::vocab::AccountId;
use crate::wire::{Opcode, Status};

/// Looks at everything in `instance`; at each connection only if `each_connection`.
///
/// # Errors
/// An object of the instance has gone or cannot be opened.
pub(super) fn gather(instance: &Instance, each_connection: bool) -> Result<Report, IpcError> {
    let now = monotonic_ns();
    Ok(Report {
        instance: summary(instance, now),
        segments: segments(instance)?,
        lanes: lanes(instance)?,
        workers: workers(instance, now),
        journal: journal(instance, now),
        intents: intents(instance.table()),
        locks: locks(instance.table()),
        connections: connections(instance.connections(), each_connection.then_some(now)),
        totals: totals(instance.table()),
    })
}

fn summary(instance: &Instance, now: u64) -> Summary {
    let control = instance.control();
    let mode = AcceptMode::value_variants().get(control.accept_mode() as usize).and_then(AcceptMode::to_possible_value);
    Summary {
        name: instance.generation().instance.clone(),
        boot: format!("{:08x}", instance.generation().boot),
        master: process(control.master_pid()),
        address: control.address(Service::Bank),
        http_address: Some(control.address(Service::Web)).filter(|address| !address.is_empty()),
        accept_mode: mode.map_or_else(|| control.accept_mode().to_string(), |mode| mode.get_name().to_owned()),
        data: control.data(),
        uptime_ms: milliseconds(now, control.started_ns()),
    }
}

fn segments(instance: &Instance) -> Result<Vec<SegmentReport>, IpcError> {
    let described = instance.segments().into_iter().map(|summary| {
        let description = segment::describe(summary.name)?;
        Ok(SegmentReport {
            name: summary.name.to_owned(),
            bytes: description.bytes,
            layout_version: description.layout_version,
            elements: description.elements,
        })
    });
    described.collect()
}

/// The lanes that there are: a worker has one from its first life until it leaves for good.
fn lanes(instance: &Instance) -> Result<Vec<LaneReport>, IpcError> {
    let mut lanes = Vec::new();
    for worker in (0..instance.workers().len()).filter(|worker| instance.workers()[*worker].lives() > 0) {
        match LaneSemaphores::open(&instance.lane_semaphore_names(worker)) {
            Ok(LaneSemaphores { slots, items, lock }) => lanes.push(LaneReport {
                worker,
                depth: instance.lane_ring(worker).depth(),
                capacity: instance.control().queue_depth(),
                slots: semaphore(&slots),
                items: semaphore(&items),
                lock: semaphore(&lock),
            }),
            Err(error) if error.errno() == Some(nix::errno::Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lanes)
}

fn semaphore(semaphore: &NamedSemaphore) -> SemaphoreReport {
    SemaphoreReport { name: semaphore.name().to_owned(), value: semaphore.value() }
}

fn workers(instance: &Instance, now: u64) -> Vec<WorkerReport> {
    let rows = instance.workers().iter().enumerate();
    rows.filter(|(_, row)| row.lives() > 0).map(|(worker, row)| self::worker(worker, row, now)).collect()
}

fn worker(worker: usize, row: &WorkerRow, now: u64) -> WorkerReport {
    let stats = &row.stats;
    // Both lists have their counters in the order of the places in shared memory.
    let requests = Opcode::ALL.iter().zip(&stats.requests).map(|(opcode, counter)| (opcode.name(), counter.get()));
    let answers = Status::ALL.iter().zip(&stats.answers).map(|(status, counter)| (status.name(), counter.get()));
    WorkerReport {
        worker,
        pid: row.pid(),
        state: row.state().name(),
        leaving: row.is_to_leave(),
        lives: row.lives(),
        repairs: row.repairs(),
        heartbeat_age_ms: milliseconds(now, row.heartbeat_ns()),
        connections: row.connections(),
        accepted: stats.accepted.get(),
        closed: stats.closed.get(),
        refused: stats.refused.get(),
        idle_dropped: stats.idle_dropped.get(),
        slow_dropped: stats.slow_dropped.get(),
        bad_frames: stats.strikes.get(),
        requests_total: stats.requests.iter().map(|counter| counter.get()).sum(),
        requests: requests.collect(),
        answers: answers.filter(|(_, count)| *count > 0).collect(),
        bytes_in: stats.bytes_in.get(),
        bytes_out: stats.bytes_out.get(),
        turns: stats.turns.get(),
        dispatch_wait_mean_us: ratio(stats.dispatch_wait_ns.get(), stats.accepted.get()) / 1000.0,
        dispatch_wait_max_us: microseconds(stats.dispatch_wait_most_ns.get()),
        lane_contended: stats.lane_contended.get(),
    }
}

fn journal(instance: &Instance, now: u64) -> JournalReport {
    let (row, sequencer) = (instance.journal_row(), instance.table().sequencer());
    // Durable before the last: neither goes back, so the difference cannot be negative.
    let durable = sequencer.durable();
    let last = instance.table().order().now().lsn;
    let (groups, records) = (row.groups.get(), row.records.get());
    let journaled = sequencer.is_journaled();
    JournalReport {
        state: sequencer.state().name(),
        process: Some(row.pid()).filter(|&pid| pid != 0).map(process),
        lives: row.lives(),
        leaving: row.is_to_leave(),
        heartbeat_age_ms: if journaled { milliseconds(now, row.heartbeat_ns()) } else { 0 },
        replies_wait: sequencer.replies_wait(),
        last_lsn: last.0,
        durable_lsn: durable.0,
        waiting: if journaled { last.0.saturating_sub(durable.0) } else { 0 },
        capacity: sequencer.capacity(),
        groups,
        records,
        records_per_group: ratio(records, groups),
        snapshot_lsn: row.snapshot().0,
        keys: sequencer.keys().known().min(sequencer.keys().window()),
        key_window: sequencer.keys().window(),
    }
}

fn intents(table: &Table) -> Vec<IntentReport> {
    let rows = table.rows().iter().enumerate();
    rows.filter_map(|(worker, row)| intent(worker, &row.intent)).collect()
}

fn intent(worker: usize, intent: &Intent) -> Option<IntentReport> {
    let (phase, lsn) = match intent.phase() {
        Phase::Idle => return None,
        Phase::Prepared => ("prepared", None),
        Phase::Claimed(lsn) => ("claimed", Some(lsn.0)),
        Phase::Committed(lsn) => ("committed", Some(lsn.0)),
    };
    let plan = intent.plan();
    let accounts = plan.accounts.into_iter().flatten().zip(plan.balances);
    let accounts = accounts.map(|(id, balance)| PlannedBalance { account: id.0, balance_cents: balance.0 }).collect();
    let connection = Some(plan.connection).filter(|connection| *connection != NO_CONNECTION);
    Some(IntentReport { worker, phase, lsn, accounts, connection })
}

fn locks(table: &Table) -> LocksReport {
    let held = table.holders().map(|(account, thread)| {
        let process = process_of(thread);
        LockReport { account: account.0, thread, process }
    });
    LocksReport {
        held: held.collect(),
        orphaned: table.orphaned().map(|account| account.0).collect(),
        inherited: table.inherited(),
    }
}

/// The slots that are in use; each of them in the list if `now` says what its age is to be counted from.
fn connections(slots: &[ConnectionSlot], now: Option<u64>) -> ConnectionsReport {
    let mut report =
        ConnectionsReport { capacity: slots.len(), handed: 0, served: 0, closed: 0, slots: now.map(|_| Vec::new()) };
    for (index, slot) in slots.iter().enumerate() {
        let (count, state, worker) = match slot.claim().holder {
            Holder::Free => continue,
            Holder::Handed(worker) => (&mut report.handed, "handed over", worker),
            Holder::Resumed(worker) => (&mut report.handed, "handed on", worker),
            Holder::Returned(worker) => (&mut report.handed, "given back", worker),
            Holder::Served(worker) => (&mut report.served, "served", worker),
            Holder::Closed(worker) => (&mut report.closed, "closed", worker),
        };
        *count += 1;
        if let Some((list, now)) = report.slots.as_mut().zip(now) {
            // The master takes a slot before it knows for whom.
            let worker = Some(worker).filter(|worker| *worker != NOBODY_YET);
            list.push(connection(index, slot, (state, worker), now));
        }
    }
    report
}

fn connection(
    index: usize,
    slot: &ConnectionSlot,
    (state, worker): (&'static str, Option<u16>),
    now: u64,
) -> SlotReport {
    // Sent before queued, and consumed before received: whatever moves in between, neither difference can be negative.
    let (_, sent) = slot.moved();
    let progress = slot.progress();
    let (received, _) = slot.moved();
    let at_most = |bytes: u32, ring: usize| bytes.min(u32::try_from(ring).unwrap_or(u32::MAX));
    SlotReport {
        slot: index,
        state,
        worker,
        user: slot.user(),
        unread: at_most(received.wrapping_sub(progress.consumed), RECEIVE_BYTES),
        unsent: at_most(progress.queued.wrapping_sub(sent), TRANSMIT_BYTES),
        age_ms: milliseconds(now, slot.opened_ns()),
    }
}

fn totals(table: &Table) -> TotalsReport {
    // Two's complement throughout, as in TOTALS: the running sums are counted modulo 2^64.
    let sum = |values: &mut dyn Iterator<Item = i64>| values.fold(0, i64::wrapping_add);
    let held = sum(&mut (0..table.accounts()).filter_map(|id| table.peek(AccountId(id))).map(|balance| balance.0));
    let deposited = sum(&mut table.rows().iter().map(|row| row.tally.deposited().0));
    let withdrawn = sum(&mut table.rows().iter().map(|row| row.tally.withdrawn().0));
    let opening = table.opening().0;
    TotalsReport {
        consistent_cut: false,
        accounts: table.accounts(),
        opening_cents: opening,
        sum_cents: held,
        deposited_cents: deposited,
        withdrawn_cents: withdrawn,
        difference_cents: held.wrapping_sub(deposited).wrapping_add(withdrawn).wrapping_sub(opening),
        lsn: table.order().now().lsn.0,
    }
}

fn process(pid: u32) -> Process {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    Process { pid, name: name.map(|name| name.trim_end().to_owned()) }
}

/// The process that thread `thread` belongs to: a lock names threads, and a worker's threads lock accounts as well.
fn process_of(thread: u32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    Some(process(group.trim().parse().ok()?))
}

fn milliseconds(now: u64, since: u64) -> u64 {
    now.saturating_sub(since) / 1_000_000
}

#[allow(clippy::cast_precision_loss, reason = "for show: exact up to 104 days")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "for show: exact up to 2^53")]
fn ratio(whole: u64, parts: u64) -> f64 {
    whole as f64 / parts.max(1) as f64
}
