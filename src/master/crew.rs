//! The crew: one post per worker, whether a process fills it or not.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::access_log::AccessLog;
use crate::config::{ConfigError, Settings};
use crate::instance::Instance;
use crate::ipc::IpcError;
use crate::ipc::event::Nudge;
use crate::ipc::fdpass;
use crate::ipc::lane::{LaneSemaphores, Producer};
use crate::ipc::process::{self, Child, Ending};
use crate::journal::Directory;
use crate::master::MasterError;
use crate::master::watch::{self, Doors};
use crate::service::users::Users;
use crate::worker::{self, Seat};

/// A post is filled at most once per this time in the long run, so that a crash loop cannot spin the master …
const SPACING: Duration = Duration::from_millis(100);
/// … but so many times at once, since several deaths in a row can be chance.
const BURST: u32 = 5;
/// The wait after a worker that died before its loop had turned once: something is wrong at its start, and will be again.
/// Each further such death doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What all workers of an instance are given.
pub struct Common {
    /// The instance's memory.
    pub instance: &'static Instance,
    /// The settings.
    pub settings: &'static Settings,
    /// The program that this process executes.
    pub program: PathBuf,
    /// Reads the settings again.
    pub read_settings: Box<dyn Fn() -> Result<Settings, ConfigError>>,
    /// Who may log in.
    pub users: Arc<Users>,
    /// How each worker is woken up, by its number; made once, so that the journal process has them for all lives of a worker.
    pub nudges: Vec<Arc<Nudge>>,
    /// How the journal process is woken up.
    pub journal: Arc<Nudge>,
    /// Where HTTP requests are logged; `None` where there is no HTTP.
    pub access_log: Option<&'static AccessLog>,
    /// Where the journal is; `None` where the books are in memory only.
    pub directory: Option<Directory>,
    /// The lock of the data directory; held on by every worker, so that it shows that one lives.
    pub data_lock: File,
}

/// A worker's process and the master's ends of what connects them.
pub struct Crewman {
    /// The process.
    pub child: Child,
    /// The master's end of the socketpair.
    pub lane: OwnedFd,
    turns_before: u64,
    /// Whether it runs the program that this process executed before.
    adopted: bool,
    /// Whether it was sent SIGKILL: it may take a moment to end.
    pub killed: bool,
}

impl Crewman {
    /// A worker that the program before this one has forked.
    #[must_use]
    pub fn adopt(child: Child, lane: OwnedFd) -> Self {
        Crewman { child, lane, turns_before: 0, adopted: true, killed: false }
    }
}

/// A post.
pub struct Post {
    /// Its number.
    pub index: usize,
    nudge: Arc<Nudge>,
    /// The master's end of the lane.
    pub producer: Producer<'static>,
    semaphores: LaneSemaphores,
    /// What its worker accepts from by itself, if it does; kept here, so that connections that wait in it survive the worker.
    pub listeners: Doors,
    /// Who fills it.
    pub crewman: Option<Crewman>,
    /// Whether its worker was asked to leave.
    pub leaving: bool,
    /// Whether another one is to fill the post when it has left.
    pub refill: bool,
    /// Whether a dead worker's operation and connections are still to be seen to.
    pub unsettled: bool,
    /// Connections that its worker has.
    pub connections: u32,
    stillborn: u32,
    spacing: Spacing,
    /// When the post is to be filled again.
    pub fill_at_ns: u64,
}

/// Spaces births: a leaky bucket, kept as the time by which all births so far are paid for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spacing {
    paid_until_ns: u64,
}

impl Spacing {
    /// Counts a birth that is wanted now; when it may be.
    pub fn next(&mut self, now_ns: u64) -> u64 {
        let spacing = nanoseconds(SPACING);
        self.paid_until_ns = self.paid_until_ns.max(now_ns) + spacing;
        now_ns.max(self.paid_until_ns.saturating_sub(spacing * u64::from(BURST)))
    }
}

impl Post {
    /// A post that is to be filled now.
    ///
    /// # Errors
    /// Its semaphores cannot be made.
    pub fn new(common: &Common, index: usize, listeners: Doors) -> Result<Self, IpcError> {
        let semaphores = common.instance.make_lane(index)?;
        let depth = common.instance.control().queue_depth();
        let producer = Producer::new(common.instance.lane_ring(index), semaphores.clone(), depth);
        Ok(Self::with(common, index, listeners, semaphores, producer))
    }

    /// A post that the program before this one has made; who fills it is to be said.
    ///
    /// # Errors
    /// Its semaphores cannot be opened.
    pub fn adopt(common: &Common, index: usize, listeners: Doors, owes_retraction: bool) -> Result<Self, IpcError> {
        let semaphores = LaneSemaphores::open(&common.instance.lane_semaphore_names(index))?;
        let (ring, depth) = (common.instance.lane_ring(index), common.instance.control().queue_depth());
        let producer = Producer::adopt(ring, semaphores.clone(), depth, owes_retraction);
        Ok(Self::with(common, index, listeners, semaphores, producer))
    }

    fn with(
        common: &Common,
        index: usize,
        listeners: Doors,
        semaphores: LaneSemaphores,
        producer: Producer<'static>,
    ) -> Self {
        Post {
            index,
            nudge: common.nudges[index].clone(),
            producer,
            semaphores,
            listeners,
            crewman: None,
            leaving: false,
            refill: false,
            unsettled: false,
            connections: 0,
            stillborn: 0,
            spacing: Spacing::default(),
            fill_at_ns: 0,
        }
    }

    /// Whether a worker fills it that this program has forked.
    #[must_use]
    pub fn is_of_this_program(&self) -> bool {
        self.crewman.as_ref().is_some_and(|crewman| !crewman.adopted)
    }

    /// Whether connections can be handed to it.
    #[must_use]
    pub fn takes_connections(&self) -> bool {
        self.crewman.is_some() && !self.leaving
    }

    /// Forks a worker for the post.
    ///
    /// # Errors
    /// The socketpair, the eventfd or the process cannot be made.
    pub fn fill(&mut self, common: &Common) -> Result<(), MasterError> {
        let Common { instance, settings, access_log, .. } = *common;
        let users = common.users.clone();
        let (index, semaphores) = (self.index, self.semaphores.clone());
        let row = &instance.workers()[index];
        self.producer.reset();
        let (ours, theirs) = fdpass::pair()?;
        let (nudge, journal, directory) = (self.nudge.clone(), common.journal.clone(), common.directory.clone());
        let listeners = watch::duplicate(&self.listeners)?;
        let mut keep = vec![theirs.as_raw_fd(), common.data_lock.as_raw_fd()];
        keep.extend([&nudge, &journal].map(|nudge| nudge.as_fd().as_raw_fd()));
        keep.extend(listeners.iter().flatten().map(AsRawFd::as_raw_fd));
        keep.extend(instance.alive().map(AsRawFd::as_raw_fd));
        let turns_before = row.stats.turns.get();
        row.begin_life(process::monotonic_ns());
        let child = process::spawn(&format!("vault-worker-{index}"), &keep, move || {
            let lane = theirs;
            worker::run(Seat {
                index,
                instance,
                settings,
                users,
                semaphores,
                lane,
                nudge,
                journal,
                directory,
                access_log,
                listeners,
            })
        })?;
        row.set_pid(u32::try_from(child.pid()).unwrap_or(0));
        self.crewman = Some(Crewman { child, lane: ours, turns_before, adopted: false, killed: false });
        Ok(())
    }

    /// Collects the worker if it has ended; `turns` is how often the loop of the post's workers has turned so far.
    ///
    /// # Errors
    /// What waiting for it gives.
    pub fn reap(&mut self, now_ns: u64, turns: u64) -> Result<Option<(Crewman, Ending)>, IpcError> {
        let ending = match &self.crewman {
            Some(crewman) => crewman.child.reap()?,
            None => None,
        };
        let Some((ending, crewman)) = ending.zip(self.crewman.take()) else { return Ok(None) };
        self.stillborn = if crewman.turns_before == turns { self.stillborn + 1 } else { 0 };
        self.fill_at_ns = self.spacing.next(now_ns).max(now_ns + nanoseconds(wait_after(self.stillborn)));
        self.unsettled = true;
        Ok(Some((crewman, ending)))
    }

    /// Wakes the worker up, so that it reads its orders.
    pub fn nudge(&self) {
        self.nudge.send();
    }

    /// Kills the worker.
    ///
    /// # Errors
    /// What sending the signal gives.
    pub fn kill(&mut self) -> Result<(), IpcError> {
        self.crewman.as_mut().map_or(Ok(()), |crewman| {
            crewman.killed = true;
            crewman.child.signal(Signal::SIGKILL)
        })
    }
}

/// How long a post stays empty after so many stillborn workers in a row.
fn wait_after(stillborn: u32) -> Duration {
    match stillborn.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(LONGEST_WAIT),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<_> = (0..5).map(|deaths| wait_after(deaths).as_millis()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80]);
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn births_come_in_bursts_and_then_at_a_rate() {
        let spacing = nanoseconds(SPACING);
        let mut births = Spacing::default();
        let now = 1_000 * spacing;
        for _ in 0..BURST {
            assert_eq!(births.next(now), now);
        }
        for number in 1..10 {
            assert_eq!(births.next(now), now + number * spacing);
        }
        let much_later = 2_000 * spacing;
        assert_eq!(births.next(much_later), much_later);
    }
}
