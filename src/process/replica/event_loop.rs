//! The replica process' loop.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::crash_point::arm_from_environment;
use crate::base::vocab::Lsn;
use crate::ipc::process::monotonic_ns;
use crate::process::replica::arguments::ReplicaArguments;
use crate::process::replica::core::Event;
use crate::process::replica::error::ReplicaError;
use crate::process::replica::loading::is_install_due;
use crate::process::replica::node::Node;
use crate::process::replica::peers::Ready;
use crate::process::replica::shell::Outcome;
use crate::process::replica::{EXIT_FAILED, EXIT_REMAKE};

/// Nanoseconds of a tick.
const TICK_NS: u64 = 50_000_000;

/// Replicates until told to stop; gives the process' exit code.
#[must_use]
pub fn run(arguments: ReplicaArguments) -> i32 {
    let outcome = match is_install_due(&arguments.directory) {
        Ok(true) => Ok(Outcome::Remake),
        Ok(false) => ReplicaProcess::new(arguments).and_then(ReplicaProcess::serve),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(Outcome::Remake) => EXIT_REMAKE,
        Ok(Outcome::GoOn) => 0,
        Err(error) => {
            log::error!("the replica process cannot go on: {error}");
            EXIT_FAILED
        }
    }
}

struct ReplicaProcess {
    node: Node,
    next_tick_ns: u64,
    ready: Vec<Ready>,
    /// The last hand-over that was begun.
    handing_over: u64,
}

impl ReplicaProcess {
    fn new(arguments: ReplicaArguments) -> Result<Self, ReplicaError> {
        arm_from_environment("replica", arguments.instance.replica_row().life.lives.get());
        let node = Node::open(arguments)?;
        Ok(ReplicaProcess { node, next_tick_ns: monotonic_ns(), ready: Vec::new(), handing_over: 0 })
    }

    fn serve(mut self) -> Result<Outcome, ReplicaError> {
        loop {
            let now_ns = monotonic_ns();
            self.node.hear_peers(now_ns, &self.ready)?;
            let is_busy = self.node.observe()?;
            if now_ns >= self.next_tick_ns {
                // A process that was stopped for a while does not make up for the ticks: its peers may well be there.
                self.next_tick_ns = now_ns + TICK_NS;
                self.tick(now_ns)?;
            }
            self.node.flush(now_ns);
            let is_to_leave = self.node.arguments.instance.replica_row().life.is_to_leave();
            if is_to_leave || self.node.outcome() != Outcome::GoOn {
                return Ok(self.node.outcome());
            }
            self.sleep(is_busy)?;
        }
    }

    fn tick(&mut self, now_ns: u64) -> Result<(), ReplicaError> {
        let row = self.node.arguments.instance.replica_row();
        row.life.heartbeat_ns.set(now_ns);
        self.node.tell(Event::Tick)?;
        if let Some(number) = row.hand_over_wanted().filter(|&number| number > self.handing_over) {
            self.handing_over = number;
            self.node.hand_over()?;
        }
        self.node.change_members(now_ns)?;
        self.node.note_trimmed()?;
        // Else a primary that is never idle would not come to it.
        self.node.read_back()?;
        self.node.publish(now_ns);
        Ok(())
    }

    /// Sleeps until there is something to do.
    fn sleep(&mut self, is_busy: bool) -> Result<(), ReplicaError> {
        let sequencer = self.node.arguments.instance.table().sequencer();
        sequencer.wake_at(Lsn(self.node.observed().0 + 1));
        let is_idle = !is_busy && !self.node.has_work();
        // It takes a while, so there may be work by now.
        let has_work = is_idle && self.node.read_back()? || is_busy || self.node.has_work();
        let now_ns = monotonic_ns();
        let until_ns = self.node.peers.deadline_ns().unwrap_or(u64::MAX).min(self.next_tick_ns);
        let timeout = if has_work { Duration::ZERO } else { Duration::from_nanos(until_ns.saturating_sub(now_ns)) };
        let polled = self.poll(timeout);
        sequencer.wake_at(Lsn(u64::MAX));
        polled
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), ReplicaError> {
        let wakeup = &self.node.arguments.wakeup;
        let interests: Vec<_> = self.node.peers.interests().collect();
        let mut fds = vec![PollFd::new(wakeup.as_fd(), PollFlags::POLLIN)];
        for interest in &interests {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, interest.read);
            flags.set(PollFlags::POLLOUT, interest.write);
            fds.push(PollFd::new(interest.fd, flags));
        }
        // Rounded up: a wait of less than a millisecond would be none.
        let rounded = if timeout.is_zero() { timeout } else { timeout + Duration::from_micros(999) };
        let timeout = PollTimeout::try_from(rounded).unwrap_or(PollTimeout::MAX);
        self.ready.clear();
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(ReplicaError::Io { step: "wait for peers and records", source: errno.into() }),
        }
        let woken = |flags: PollFlags| !flags.is_empty();
        let broken = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        for (interest, fd) in interests.iter().zip(&fds[1..]) {
            let flags = fd.revents().unwrap_or(PollFlags::empty());
            let read = woken(flags & (PollFlags::POLLIN | broken));
            let write = woken(flags & (PollFlags::POLLOUT | broken));
            if read || write {
                self.ready.push(Ready { token: interest.token, read, write });
            }
        }
        let _ = wakeup.take();
        Ok(())
    }
}
