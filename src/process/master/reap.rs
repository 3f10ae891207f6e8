//! Children that have ended, or are to: reaped, settled, asked to leave, killed.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use nix::sys::signal::Signal;

use crate::ipc::IpcError;
use crate::ipc::event::EventFd;
use crate::ipc::process::{self, Child, Ending};
use crate::process::journal;
use crate::process::master::dispatch::Recovered;
use crate::process::master::driver::Driver;
use crate::process::master::event_sources::EventSources;
use crate::process::master::supervisor::{End, Ended, Event, SlotId};
use crate::process::replica;
use crate::store::instance::life::Life;
use crate::store::kv;
use crate::store::ledger::repair::{self, Settled};
use crate::store::transfer;
use crate::store::transfer::repair::Repaired;

/// Children of others that are reaped in one turn at most.
const ADOPTED_PER_TURN: usize = 64;

impl Driver {
    fn child(&self, id: SlotId) -> Option<&Child> {
        match id {
            SlotId::Worker(index) => Some(&self.workers.get(index)?.as_ref()?.process.as_ref()?.child),
            SlotId::Journal => self.journal.as_ref()?.child.as_ref(),
            SlotId::Cache => self.cache.as_ref()?.child.as_ref(),
            SlotId::Replica => self.replica.as_ref()?.child.as_ref(),
        }
    }

    /// The process of a slot may have ended.
    pub(super) fn reap(&mut self, id: SlotId, now: u64) {
        let Some((pid, ending)) = self.child(id).and_then(|child| Some((child.pid(), child.reap()?))) else { return };
        let failed_early = self.forget(id);
        let Ending { text, code } = ending;
        let how = match (id, code) {
            (_, Some(0)) => Ended::Orderly,
            (SlotId::Journal, Some(journal::EXIT_FAILED)) => Ended::JournalFailed,
            (SlotId::Replica, Some(replica::EXIT_REMAKE)) => Ended::BooksStale,
            _ => Ended::Crashed,
        };
        self.supervisor.handle(now, Event::Ended(id, End { pid, text, how, failed_early }));
    }

    /// What is known of the process of a slot, in shared memory.
    pub(super) fn life(&self, id: SlotId) -> &'static Life {
        let instance = self.common.instance;
        match id {
            SlotId::Worker(index) => &instance.workers()[index].life,
            SlotId::Journal => &instance.journal_row().life,
            SlotId::Cache => &instance.cache_row().life,
            SlotId::Replica => &instance.replica_row().life,
        }
    }

    /// Forgets a process that was reaped, and lets go of the segments that it had; whether its loop never turned.
    fn forget(&mut self, id: SlotId) -> bool {
        self.let_go(id);
        let (instance, life) = (self.common.instance, self.life(id));
        match id {
            SlotId::Worker(index) => {
                let row = &instance.workers()[index];
                let Some(process) = self.workers[index].as_mut().and_then(|slot| slot.process.take()) else {
                    return false;
                };
                self.sources.unwatch(process.child.as_fd());
                self.sources.unwatch(process.lane.as_fd());
                row.end_life();
                row.stats.turns.get() == process.turns_before
            }
            SlotId::Journal => {
                let Some(journal) = self.journal.as_mut() else { return false };
                Self::forget_child(&self.sources, &mut journal.child, life, journal.started_ns)
            }
            SlotId::Cache => {
                let Some(cache) = self.cache.as_mut() else { return false };
                Self::forget_child(&self.sources, &mut cache.child, life, cache.started_ns)
            }
            SlotId::Replica => {
                let Some(replica) = self.replica.as_mut() else { return false };
                Self::forget_child(&self.sources, &mut replica.child, life, replica.started_ns)
            }
        }
    }

    /// Forgets a process that is no worker; whether its loop never turned.
    fn forget_child(sources: &EventSources, child: &mut Option<Child>, life: &Life, started_ns: u64) -> bool {
        if let Some(child) = child.take() {
            sources.unwatch(child.as_fd());
        }
        life.pid.set(0);
        life.heartbeat_ns.get() <= started_ns
    }

    /// Lets go of the segments that a process had which has ended: before its successor, which has the same number, is there.
    fn let_go(&self, id: SlotId) {
        let Some(channel) = self.common.cache else { return };
        let (pool, wake_ups) = (&channel.pool, &channel.wake_ups);
        let Repaired { freed, left } = match id {
            SlotId::Worker(index) => {
                let Ok(number) = u16::try_from(index) else { return };
                transfer::repair::worker_died(pool, number, wake_ups)
            }
            SlotId::Cache => transfer::repair::cache_died(pool, wake_ups),
            SlotId::Journal | SlotId::Replica => return,
        };
        if freed + left > 0 {
            log::warn!("{id}: of the segments that it had {freed} are free again, {left} are left to the other side");
        }
    }

    /// Ends a process that was started and cannot be watched.
    pub(super) fn abandon(&mut self, id: SlotId) {
        if let Some(child) = self.child(id) {
            child.end();
        }
        self.forget(id);
        self.life(id).cancel();
    }

    /// Reaps whatever has ended: children whose pidfd was not reported yet, a new program that was asked, and
    /// children of others, which process 1 inherits.
    pub(super) fn reap_all(&mut self, now: u64) {
        for _ in 0..ADOPTED_PER_TURN {
            let Some(pid) = process::ended_child() else { break };
            let workers = (0..self.workers.len()).map(SlotId::Worker);
            let own = workers
                .chain([SlotId::Journal, SlotId::Cache, SlotId::Replica])
                .find(|&id| self.child(id).is_some_and(|child| child.pid() == pid));
            match own {
                Some(id) => self.reap(id, now),
                None if self.new_program.as_ref().is_some_and(|program| program.pid() == pid) => {
                    self.read_new_program(now);
                }
                None => {
                    if !process::collect(pid) {
                        break;
                    }
                    log::debug!("process {pid}, which was left to this one, has ended");
                }
            }
        }
    }

    /// Settles what a dead worker left: its operation first, then its connections. `false` while a living worker repairs one of the
    /// operation's accounts; then try again in a moment.
    pub(super) fn settle(&mut self, index: usize) -> bool {
        let instance = self.common.instance;
        // First, since the ledger's intent says whether a write has happened.
        let kv = instance.kv().map_or(Ok(()), |kv| kv::settle(kv, instance.table(), index));
        let Ok(settled) = kv.and_then(|()| repair::settle(instance.table(), index)) else { return false };
        match settled {
            Settled::Idle => {}
            Settled::Dropped => log::warn!("worker {index}: the operation it had begun is dropped"),
            Settled::Finished { lsn, connection, progress } => {
                log::warn!("worker {index}: operation {lsn}, which it had committed, is finished");
                if let Some(slot) = instance.connections().get(connection as usize) {
                    slot.progress_word().store(progress, Ordering::Release);
                }
            }
        }
        if settled != Settled::Idle {
            instance.workers()[index].life.repairs.add(1);
        }
        if let Some(slot) = self.workers[index].as_mut() {
            slot.connections = 0;
        }
        let Recovered { handed_on, closed } = self.connections.recover(index, self.supervisor.is_stopping());
        if handed_on + closed > 0 {
            log::warn!("worker {index}: its connections: {handed_on} handed on, {closed} closed");
        }
        self.accepting.ready = true;
        true
    }

    pub(super) fn kill(&self, id: SlotId) -> Result<(), IpcError> {
        self.child(id).map_or(Ok(()), |child| child.signal(Signal::SIGKILL))
    }

    pub(super) fn ask_to_leave(&mut self, id: SlotId) {
        let wakeup: &EventFd = match id {
            SlotId::Worker(index) => {
                let Some(slot) = self.workers[index].as_mut() else { return };
                slot.leaving = true;
                &self.common.wakeups[index]
            }
            SlotId::Journal => &self.common.journal,
            SlotId::Cache => {
                let Some(channel) = self.common.cache else { return };
                channel.wake_ups.of_cache()
            }
            SlotId::Replica => {
                let Some(channel) = &self.common.replica else { return };
                &channel.wakeup
            }
        };
        self.life(id).ask_to_leave();
        wakeup.send();
    }

    /// A worker has left for good.
    pub(super) fn close_lane(&mut self, index: usize) {
        self.workers[index] = None;
        if let Err(error) = self.common.instance.unmake_lane(index) {
            log::warn!("worker {index} has left; {error}");
        }
    }
}
