//! The crew: one post per worker, whether a process fills it or not.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::config::Settings;
use crate::instance::Instance;
use crate::ipc::IpcError;
use crate::ipc::event::Nudge;
use crate::ipc::fdpass;
use crate::ipc::lane::{LaneSemaphores, Producer};
use crate::ipc::process::{self, Child, Ending};
use crate::service::users::Users;
use crate::worker::{self, Seat};

/// A worker that lived for less died young.
const YOUNG: Duration = Duration::from_millis(100);
/// So many young deaths in a row may be chance; after more, something is wrong, and successors wait.
const CHANCE: u32 = 3;
/// The first wait; each further young death doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What all workers of an instance are given.
pub struct Common {
    /// The instance's memory.
    pub instance: &'static Instance,
    /// The settings.
    pub settings: &'static Settings,
    /// Who may log in.
    pub users: &'static Users,
    /// The lock of the data directory; held on by every worker, so that it shows that one lives.
    pub data_lock: File,
}

/// A worker's process and the master's ends of what connects them.
pub struct Crewman {
    /// The process.
    pub child: Child,
    /// The master's end of the socketpair.
    pub lane: OwnedFd,
    nudge: Arc<Nudge>,
    born_ns: u64,
}

/// A post.
pub struct Post {
    /// Its number.
    pub index: usize,
    /// The master's end of the lane.
    pub producer: Producer<'static>,
    semaphores: LaneSemaphores,
    /// What its worker accepts from by itself, if it does; kept here, so that connections that wait in it survive the worker.
    listener: Option<OwnedFd>,
    /// Who fills it.
    pub crewman: Option<Crewman>,
    /// Whether its worker was asked to leave.
    pub leaving: bool,
    /// Whether a dead worker's operation and connections are still to be seen to.
    pub unsettled: bool,
    /// Connections that its worker has.
    pub connections: u32,
    young_deaths: u32,
    /// When the post is to be filled again.
    pub fill_at_ns: u64,
}

impl Post {
    /// A post that is to be filled now.
    ///
    /// # Errors
    /// Its semaphores cannot be made.
    pub fn new(instance: &'static Instance, index: usize, listener: Option<OwnedFd>) -> Result<Self, IpcError> {
        let semaphores = instance.make_lane(index)?;
        let depth = instance.control().queue_depth();
        let producer = Producer::new(instance.lane_ring(index), semaphores.clone(), depth);
        Ok(Post {
            index,
            producer,
            semaphores,
            listener,
            crewman: None,
            leaving: false,
            unsettled: false,
            connections: 0,
            young_deaths: 0,
            fill_at_ns: 0,
        })
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
    pub fn fill(&mut self, common: &Common) -> Result<(), IpcError> {
        let Common { instance, settings, users, .. } = *common;
        let (index, semaphores) = (self.index, self.semaphores.clone());
        let row = &instance.workers()[index];
        self.producer.reset();
        let (ours, theirs) = fdpass::pair()?;
        let nudge = Arc::new(Nudge::new()?);
        let listener = self.listener.as_ref().map(|fd| fd.try_clone()).transpose();
        let listener = listener.map_err(|_| IpcError::last("duplicate", "a listening socket"))?;
        let mut keep = vec![theirs.as_raw_fd(), nudge.as_fd().as_raw_fd(), common.data_lock.as_raw_fd()];
        keep.extend(listener.iter().map(AsRawFd::as_raw_fd));
        keep.extend(instance.alive().map(AsRawFd::as_raw_fd));
        let born_ns = process::monotonic_ns();
        row.begin_life(born_ns);
        let their_nudge = nudge.clone();
        let child = process::spawn(&format!("vault-worker-{index}"), &keep, move || {
            worker::run(Seat {
                index,
                instance,
                settings,
                users,
                semaphores,
                lane: theirs,
                nudge: their_nudge,
                listener,
            })
        })?;
        row.set_pid(u32::try_from(child.pid()).unwrap_or(0));
        self.crewman = Some(Crewman { child, lane: ours, nudge, born_ns });
        Ok(())
    }

    /// Collects the worker if it has ended.
    ///
    /// # Errors
    /// What waiting for it gives.
    pub fn reap(&mut self, now_ns: u64) -> Result<Option<(Crewman, Ending)>, IpcError> {
        let ending = match &self.crewman {
            Some(crewman) => crewman.child.reap()?,
            None => None,
        };
        let Some((ending, crewman)) = ending.zip(self.crewman.take()) else { return Ok(None) };
        let lived = Duration::from_nanos(now_ns.saturating_sub(crewman.born_ns));
        self.young_deaths = if lived < YOUNG { self.young_deaths + 1 } else { 0 };
        self.fill_at_ns = now_ns + nanoseconds(wait_after(self.young_deaths));
        self.unsettled = true;
        Ok(Some((crewman, ending)))
    }

    /// Wakes the worker up, so that it reads its orders.
    pub fn nudge(&self) {
        if let Some(crewman) = &self.crewman {
            crewman.nudge.send();
        }
    }

    /// Kills the worker.
    ///
    /// # Errors
    /// What sending the signal gives.
    pub fn kill(&self) -> Result<(), IpcError> {
        self.crewman.as_ref().map_or(Ok(()), |crewman| crewman.child.signal(Signal::SIGKILL))
    }
}

/// How long a post stays empty after so many young deaths in a row: a crash loop must not spin the master.
fn wait_after(young_deaths: u32) -> Duration {
    match young_deaths.checked_sub(CHANCE + 1) {
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
        let waits: Vec<_> = (0..7).map(|deaths| wait_after(deaths).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 10, 20, 40]);
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }
}
