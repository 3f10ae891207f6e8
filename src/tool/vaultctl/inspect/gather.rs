//! Gathers the report: loads from memory that is mapped read-only, values of semaphores, names of processes.

use std::fs;

use super::cache::CacheReport;
use super::process::Process;
use super::report::{
    AccessLogReport, ConnectionsReport, HolderReport, InstanceReport, IntentReport, JournalReport, LaneReport,
    LockReport, LocksReport, PlannedBalance, Report, SegmentReport, SemaphoreReport, SlotReport, TotalsReport,
};
use crate::base::vocab::{AccountId, Committed};
use crate::ipc::lane::LaneSemaphores;
use crate::ipc::process::monotonic_ns;
use crate::ipc::semaphore::NamedSemaphore;
use crate::ipc::{IpcError, segment};
use crate::status::cluster::Cluster;
use crate::status::kv::KvTable;
use crate::status::numbers::{milliseconds, ratio};
use crate::status::sample::{Journal, Summary, Worker};
use crate::store::access_log::{AccessLog, WorkerRing};
use crate::store::connection::slot::{ConnectionSlot, Holder, NOBODY_YET};
use crate::store::connection::{RingBytes, Slots};
use crate::store::instance::Instance;
use crate::store::ledger::Table;
use crate::store::ledger::intent::{Intent, NO_CONNECTION, Phase};

/// Looks at everything in `instance`; at each connection only if `each_connection`. An error where an object has gone.
pub(super) fn gather(instance: &Instance, each_connection: bool) -> Result<Report, IpcError> {
    let now = monotonic_ns();
    let summary = Summary::of(instance, now);
    let log = summary.http_address.as_ref().map(|_| AccessLog::look(instance.generation())).transpose()?;
    let cache = CacheReport::of(instance, now)?;
    Ok(Report {
        instance: InstanceReport { summary, master: Process::of(instance.control().master_pid.get()) },
        segments: segments(instance, log.as_ref(), cache.as_ref())?,
        lanes: lanes(instance)?,
        workers: Worker::all(instance, now),
        journal: journal(instance, now),
        cache,
        cluster: Cluster::of(instance, now),
        kv: KvTable::of(instance),
        access_log: log.as_ref().map(access_log),
        intents: intents(instance.table()),
        locks: locks(instance.table()),
        connections: connections(instance.slots(), each_connection.then_some(now)),
        totals: totals(instance.table()),
    })
}

fn segments(
    instance: &Instance,
    log: Option<&AccessLog>,
    cache: Option<&CacheReport>,
) -> Result<Vec<SegmentReport>, IpcError> {
    let names = instance.segment_names().chain(log.map(|log| log.segment().0));
    let names = names.chain(cache.map(|cache| &*cache.pool.name));
    let described = names.map(|name| {
        let description = segment::describe(name)?;
        Ok(SegmentReport {
            name: name.to_owned(),
            bytes: description.bytes,
            layout_version: description.layout_version,
            elements: description.elements,
        })
    });
    described.collect()
}

fn access_log(log: &AccessLog) -> AccessLogReport {
    let (failures, errno) = log.failures();
    AccessLogReport {
        lock: log.lock_holder().map(holder),
        inherited: log.inherited(),
        replayed: log.replayed(),
        lines: log.rings().iter().map(WorkerRing::lines).sum(),
        waiting_bytes: log.rings().iter().map(|ring| ring.pending() as u64).sum(),
        planned_bytes: log.plan().load().map_or(0, |plan| plan.length),
        rotations: log.rotations(),
        failures,
        errno,
    }
}

/// The lanes that there are: a worker has one from its first life until it leaves for good.
fn lanes(instance: &Instance) -> Result<Vec<LaneReport>, IpcError> {
    let mut lanes = Vec::new();
    for worker in (0..instance.workers().len()).filter(|worker| instance.workers()[*worker].life.lives.get() > 0) {
        match LaneSemaphores::open(&instance.lane_semaphore_names(worker)) {
            Ok(LaneSemaphores { slots, items, lock }) => lanes.push(LaneReport {
                worker,
                depth: instance.lane_ring(worker).depth(),
                capacity: instance.control().queue_depth.get(),
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

fn journal(instance: &Instance, now: u64) -> JournalReport {
    let journal = Journal::of(instance, now);
    JournalReport {
        process: Some(journal.now.pid).filter(|&pid| pid != 0).map(Process::of),
        records_per_group: ratio(journal.records, journal.groups),
        journal,
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
    let held = table.holders().map(|(account, thread)| LockReport { account: account.0, holder: holder(thread) });
    LocksReport {
        held: held.collect(),
        orphaned: table.orphaned().map(|account| account.0).collect(),
        inherited: table.inherited(),
    }
}

/// The slots that are in use; each of them in the list if `now` says what its age is to be counted from.
fn connections(slots: &Slots, now: Option<u64>) -> ConnectionsReport {
    let mut report = ConnectionsReport {
        capacity: slots.all().len(),
        handed: 0,
        served: 0,
        closed: 0,
        slots: now.map(|_| Vec::new()),
    };
    for (index, slot) in slots.all().iter().enumerate() {
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
            let rings = slots.ring_bytes(index).unwrap_or(RingBytes::STANDARD);
            list.push(connection((index, slot, rings), (state, worker), now));
        }
    }
    report
}

fn connection(
    (index, slot, rings): (usize, &ConnectionSlot, RingBytes),
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
        unread: at_most(received.wrapping_sub(progress.consumed), rings.receive()),
        unsent: at_most(progress.queued.wrapping_sub(sent), rings.transmit()),
        age_ms: milliseconds(now, slot.opened_ns()),
    }
}

fn totals(table: &Table) -> TotalsReport {
    // First, so that it is never too much.
    let committed = table.sequencer().replies_wait().then(|| table.sequencer().committed());
    // The sums of balances that change while they are read may be anything.
    let sum = |values: &mut dyn Iterator<Item = i64>| values.fold(0, i64::wrapping_add);
    let held = sum(&mut (0..table.accounts()).filter_map(|id| table.peek(AccountId(id))).map(|balance| balance.0));
    let deposited = sum(&mut table.rows().iter().map(|row| row.tally.deposited().0));
    let withdrawn = sum(&mut table.rows().iter().map(|row| row.tally.withdrawn().0));
    let opening = table.opening().0;
    let lsn = table.order().now().lsn;
    TotalsReport {
        consistent_cut: false,
        accounts: table.accounts(),
        opening_cents: opening,
        sum_cents: held,
        deposited_cents: deposited,
        withdrawn_cents: withdrawn,
        difference_cents: held.wrapping_sub(deposited).wrapping_add(withdrawn).wrapping_sub(opening),
        lsn: lsn.0,
        committed_lsn: committed.map_or(lsn, |Committed(committed)| committed.min(lsn)).0,
    }
}

/// The holder of a lock, which names a thread: a worker's threads take locks as well.
fn holder(thread: u32) -> HolderReport {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    HolderReport { thread, process: group.and_then(|group| group.trim().parse().ok()).map(Process::of) }
}
