//! The care: workers that died, are late, or are missing.

use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use nix::sys::signal::Signal;

use crate::journald;
use crate::ledger::repair::{self, Settled};
use crate::master::MasterError;
use crate::master::crew::Post;
use crate::master::watch::{JOURNAL, Master, Stopping, Which};

/// The journal process may show no life for so many times as long as a worker.
const DISK_PATIENCE: u64 = 3;

impl Master {
    /// A worker may have ended.
    pub(super) fn collect(&mut self, index: usize, now: u64) -> Result<(), MasterError> {
        let Some(post) = self.posts.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        let Some((crewman, ending)) = post.reap(now, self.common.instance.workers()[index].stats.turns.get())? else {
            return Ok(());
        };
        // A pidfd stays ready after its process was collected.
        for fd in [crewman.child.as_fd(), crewman.lane.as_fd()] {
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
        }
        let expected = ending.is_orderly() && (post.leaving || self.stopping != Stopping::No);
        let row = &self.common.instance.workers()[index];
        if !expected {
            row.count_death();
        }
        row.end_life();
        if let (Some(log), Ok(number)) = (self.common.access_log, u32::try_from(index)) {
            log.relinquish(number);
        }
        let level = if expected { log::Level::Info } else { log::Level::Warn };
        log::log!(level, "worker {index} (pid {}) ended: {}", crewman.child.pid(), ending.text);
        Ok(())
    }

    /// Sees to what dead workers left: their operation first, then their connections.
    pub(super) fn settle_the_dead(&mut self) -> Result<(), MasterError> {
        let instance = self.common.instance;
        for index in 0..self.posts.len() {
            let Some(post) = self.posts[index].as_mut().filter(|post| post.unsettled) else { continue };
            // Else a living worker is just mending one of its accounts; it is asked again in a millisecond.
            let Ok(settled) = repair::settle(instance.table(), index) else { continue };
            match settled {
                Settled::Idle => {}
                Settled::Dropped => log::warn!("worker {index}: the operation it had begun is dropped"),
                Settled::Finished { lsn, connection, progress } => {
                    log::warn!("worker {index}: operation {lsn}, which it had committed, is finished");
                    if let Some(slot) = instance.connections().get(connection as usize) {
                        slot.progress_word().store(progress, std::sync::atomic::Ordering::Release);
                    }
                }
            }
            if settled != Settled::Idle {
                instance.workers()[index].count_repair();
            }
            post.unsettled = false;
            post.connections = 0;
            let to_the_end = self.stopping != Stopping::No;
            let orphans = self.connections.see_to_orphans(index, to_the_end);
            if orphans.rehanded + orphans.closed > 0 {
                let (rehanded, closed) = (orphans.rehanded, orphans.closed);
                log::warn!("worker {index}: its connections: {rehanded} handed on, {closed} closed");
            }
            self.knocked = true;
            if post.refill {
                (post.refill, post.leaving) = (false, false);
            } else if post.leaving {
                self.posts[index] = None;
                instance.unmake_lane(index)?;
            }
        }
        Ok(())
    }

    /// The journal process may have ended.
    pub(super) fn collect_scribe(&mut self, now: u64) -> Result<(), MasterError> {
        let Some(scribe) = self.scribe.as_mut() else { return Ok(()) };
        let Some((child, ending)) = scribe.reap(now)? else { return Ok(()) };
        let _ = self.poll.registry().deregister(&mut SourceFd(&child.as_fd().as_raw_fd()));
        let row = self.common.instance.journal_row();
        let expected = ending.is_orderly() && row.is_to_leave();
        if !expected {
            row.count_death();
        }
        row.set_pid(0);
        if ending.code == Some(journald::EXIT_FAILED) {
            // A successor could do no better, and whoever waits for the journal would wait for ever.
            self.scribe = None;
            self.journal_failed = true;
            return self.hurry();
        }
        if expected {
            // Else a successor is wanted, of another program.
            if self.stopping != Stopping::No {
                self.scribe = None;
            }
            return Ok(());
        }
        log::warn!("the journal process (pid {}) ended: {}; replies wait for its successor", child.pid(), ending.text);
        Ok(())
    }

    /// Has a journal process as long as there is something to be journaled, and none afterwards.
    pub(super) fn see_to_scribe(&mut self, now: u64) -> Result<(), MasterError> {
        let no_workers = self.no_workers();
        let row = self.common.instance.journal_row();
        let Some(scribe) = self.scribe.as_mut() else { return Ok(()) };
        if scribe.child.is_none() && now >= scribe.fill_at_ns {
            scribe.fill(&self.common)?;
            self.watch_fd(JOURNAL, Which::Journal)?;
            if row.lives() > 1 {
                log::info!("the journal process is back");
            }
        }
        // The last worker has said the last that it had to say.
        if self.stopping != Stopping::No && no_workers && !row.is_to_leave() {
            row.ask_to_leave();
            self.common.journal.send();
        }
        Ok(())
    }

    /// Kills workers that have shown no life for too long, and at the end of an orderly stop those that are left.
    pub(super) fn kill_late(&mut self, now: u64) -> Result<(), MasterError> {
        let timeout = self.worker_timeout_ns();
        self.kill_late_scribe(now, timeout * DISK_PATIENCE)?;
        let out_of_time = matches!(self.stopping, Stopping::Until(deadline) if now >= deadline);
        let alive = |post: &&mut Post| post.crewman.as_ref().is_some_and(|crewman| !crewman.killed);
        for post in self.posts.iter_mut().flatten().filter(alive) {
            let row = &self.common.instance.workers()[post.index];
            let silent = now.saturating_sub(row.heartbeat_ns());
            let late = silent >= timeout && now >= self.forbearing_until_ns;
            if late || out_of_time {
                log::warn!("worker {}: no life for {} ms; killing it", post.index, silent / 1_000_000);
                post.kill()?;
            }
        }
        Ok(())
    }

    /// The journal process is late only after much longer: a disk may take its time.
    fn kill_late_scribe(&mut self, now: u64, timeout: u64) -> Result<(), MasterError> {
        let silent = now.saturating_sub(self.common.instance.journal_row().heartbeat_ns());
        let child = self.scribe.as_ref().and_then(|scribe| scribe.child.as_ref());
        if let Some(child) = child.filter(|_| silent >= timeout && now >= self.forbearing_until_ns) {
            log::warn!("the journal process: no life for {} ms; killing it", silent / 1_000_000);
            child.signal(Signal::SIGKILL)?;
            // Once is enough; it may be waiting for the disk, and end only afterwards.
            self.forbearing_until_ns = now + timeout;
        }
        Ok(())
    }

    pub(super) fn fill_posts(&mut self, now: u64) -> Result<(), MasterError> {
        if self.stopping != Stopping::No {
            return Ok(());
        }
        for index in 0..self.posts.len() {
            let due = |post: &Post| post.crewman.is_none() && !post.unsettled && now >= post.fill_at_ns;
            if self.posts[index].as_ref().is_some_and(due) {
                self.fill(index)?;
                log::info!("worker {index} is back");
            }
        }
        Ok(())
    }
}
