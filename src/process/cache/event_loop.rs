//! The cache process' loop: commands come from a queue, chunks back from workers, objects from threads.
//!
//! Each turn does a bounded amount of each, so that none holds up the others, and nothing of it waits. The process sleeps in `poll(2)` on
//! the queue, on the eventfd by which workers and the master wake it, on one of its own for the threads, and on the socket that workers
//! connect to for descriptors.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::arguments::CacheArguments;
use super::replies;
use super::shell::Shell;
use super::statistics::Statistics;
use crate::base::config::CacheChannelKind;
use crate::base::crash_point::{CrashPoint, arm_from_environment, crash_point};
use crate::base::limits::CACHE_COMMANDS_PER_TURN;
use crate::ipc::IpcError;
use crate::ipc::event::EventFd;
use crate::ipc::message_queue::{Received, Receiver};
use crate::ipc::process::monotonic_ns;
use crate::store::cache_channel::{CacheChannel, CacheRow, Command, DescriptorSender, Reply};

/// The longest sleep, so that the heartbeat comes at least four times a second.
const LONGEST_SLEEP: Duration = Duration::from_millis(200);

/// The exit code of a cache process that cannot go on.
pub const EXIT_FAILED: i32 = 1;

/// Serves until told to leave; gives the process' exit code. What is under way then ends short.
#[must_use]
pub fn run(arguments: CacheArguments) -> i32 {
    arm_from_environment("cache", arguments.row.life.lives.get());
    match CacheProcess::new(arguments).and_then(CacheProcess::serve) {
        Ok(()) => 0,
        Err(error) => {
            log::error!("the cache process cannot go on: {error}");
            EXIT_FAILED
        }
    }
}

struct CacheProcess {
    row: &'static CacheRow,
    channel: &'static CacheChannel,
    commands: Receiver<Command>,
    /// By which the threads wake the loop.
    fetched: Arc<EventFd>,
    shell: Shell,
    statistics: Statistics,
    reloads: Box<dyn Fn() -> u64>,
    reloaded: u64,
    now_ns: u64,
    /// Whether there is something to do without being woken.
    is_busy: bool,
}

/// What has become ready.
struct Ready {
    commands: bool,
    workers: bool,
    connections: bool,
}

impl CacheProcess {
    fn new(arguments: CacheArguments) -> Result<Self, IpcError> {
        let CacheArguments { row, channel, settings, reloads } = arguments;
        let fetched = Arc::new(EventFd::new()?);
        let wake = fetched.clone();
        let descriptors = (settings.getfile.cache.channel == CacheChannelKind::Memfd)
            .then(|| DescriptorSender::listen(channel.generation()));
        let descriptors = descriptors.and_then(|listening| {
            let failed = |error| log::error!("{error}; contents go through segments, and not by descriptor");
            listening.map_err(failed).ok()
        });
        let shell = Shell::new(channel, descriptors, settings, Arc::new(move || wake.send()));
        Ok(CacheProcess {
            row,
            channel,
            commands: channel.receiver()?,
            fetched,
            shell,
            statistics: Statistics::new(row),
            reloaded: reloads(),
            reloads,
            now_ns: monotonic_ns(),
            is_busy: true,
        })
    }

    fn serve(mut self) -> Result<(), IpcError> {
        while !self.row.life.is_to_leave() {
            let ready = self.wait()?;
            self.now_ns = monotonic_ns();
            self.row.life.heartbeat_ns.set(self.now_ns);
            self.shell.begin_turn(self.now_ns);
            self.is_busy = false;
            let reloads = (self.reloads)();
            if std::mem::replace(&mut self.reloaded, reloads) != reloads {
                self.shell.reload();
            }
            if ready.connections {
                self.shell.take_in_workers();
            }
            if ready.workers {
                self.shell.workers_went_on();
            }
            if ready.commands {
                self.take_commands()?;
            }
            self.is_busy |= self.shell.advance();
            let (counters, filled) = (self.shell.core().counters(), self.shell.bytes_out());
            self.statistics.write(counters, filled, self.shell.passed());
        }
        Ok(())
    }

    /// Sleeps until there is something to do.
    fn wait(&self) -> Result<Ready, IpcError> {
        let workers = self.channel.wake_ups.of_cache();
        let listener = self.shell.listener();
        let watched = 3 + usize::from(listener.is_some());
        // Without a listener the last one stands in its place, and is not watched there.
        let last = listener.unwrap_or(self.fetched.as_fd());
        let mut descriptors = [self.commands.as_fd(), workers.as_fd(), self.fetched.as_fd(), last]
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
        let timeout = if self.is_busy { Duration::ZERO } else { LONGEST_SLEEP };
        match poll(&mut descriptors[..watched], PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(IpcError::system("wait for", "commands", errno)),
        }
        let [commands, workers_ready, fetched, connections] =
            descriptors.map(|descriptor| descriptor.any().unwrap_or(false));
        // They are taken before what they tell of is looked at, so none is missed.
        let workers = workers_ready && workers.take();
        let _ = fetched && self.fetched.take();
        Ok(Ready { commands, workers, connections })
    }

    fn take_commands(&mut self) -> Result<(), IpcError> {
        for _ in 0..CACHE_COMMANDS_PER_TURN {
            match self.commands.receive()? {
                Received::Message(command, _) => {
                    crash_point(CrashPoint::CacheCommandTaken);
                    self.carry_out(command);
                }
                Received::Malformed(bytes) => {
                    log::debug!("{bytes} bytes in the queue are no command");
                    self.row.malformed.add(1);
                }
                Received::Empty => return Ok(()),
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, command: Command) {
        let generation = self.channel.generation();
        match command {
            Command::Get { segment, owner, path } => {
                if !self.shell.request(segment, owner, &path) {
                    self.row.late_requests.add(1);
                }
            }
            Command::Purge { reply_to, path } => {
                let entries = self.shell.purge(path.as_deref());
                replies::send(generation, reply_to, &[Reply::Purged { entries }]);
            }
            Command::List { reply_to, after } => {
                let listed = replies::list(self.shell.core(), self.now_ns, after.as_deref());
                replies::send(generation, reply_to, &listed);
            }
        }
    }
}
