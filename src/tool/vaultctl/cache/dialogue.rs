//! Asking the cache process: a command into its queue, replies out of a queue of this process' own.
//!
//! That queue is made before the first command is sent. Its name is removed at the end, and also when a signal ends the program.

use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::instance::{AskingArgs, instance_with_cache};
use crate::ipc::message_queue::{self, Priority, Received, Receiver, SendError, Sender};
use crate::store::cache_channel::{CacheChannel, Command, REPLIES, Reply, ReplyTo, reply_queue};
use crate::tool::signals::{self, ENDING, Signals};
use crate::tool::vaultctl::failure::Failure;

/// One dialogue with the cache process of an instance.
pub(super) struct Dialogue {
    instance: String,
    pid: u32,
    commands: Sender<Command>,
    replies: Receiver<Reply>,
    /// Its name goes when this is dropped.
    _queue: ReplyQueue,
    patience: Duration,
}

/// The name of the queue of replies.
struct ReplyQueue {
    name: String,
}

impl ReplyQueue {
    fn create(name: String) -> Result<ReplyQueue, Failure> {
        // A process that was killed may have left one; it had this process id, so it is not there any more.
        message_queue::unlink(&name)?;
        message_queue::create::<Reply>(&name, REPLIES)?;
        Ok(ReplyQueue { name })
    }
}

impl Drop for ReplyQueue {
    fn drop(&mut self) {
        // What is left is removed by the instance's end.
        let _ = message_queue::unlink(&self.name);
    }
}

impl Dialogue {
    /// Opens the queue of the running instance, and makes one for the replies.
    pub(super) fn open(args: &AskingArgs) -> Result<Dialogue, Failure> {
        let (instance, cache) = instance_with_cache(&args.instance)?;
        let generation = instance.generation();
        let commands = CacheChannel::sender(generation)?;
        let name = generation.name(&reply_queue(reply_to()));
        // Before the queue is there, so that no signal comes too early.
        let mut signals = Signals::block(&ENDING)?;
        let queue = ReplyQueue::create(name.clone())?;
        let watch = move || {
            if let Ok(signal) = signals.wait() {
                let _ = message_queue::unlink(&name);
                signals::die_of(signal);
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(watch)?;
        Ok(Dialogue {
            instance: args.instance.name.clone(),
            pid: cache.now.pid,
            commands,
            replies: Receiver::open(&queue.name)?,
            _queue: queue,
            patience: Duration::from_secs(args.timeout),
        })
    }

    /// Sends a command, and gives its replies to `take` until that says that there are no more (`true`). The time-out is for all of it.
    pub(super) fn ask(
        &mut self,
        command: &Command,
        mut take: impl FnMut(Reply) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + self.patience;
        self.send(command, deadline)?;
        loop {
            match self.replies.receive()? {
                Received::Message(reply, _) => {
                    if take(reply)? {
                        return Ok(());
                    }
                }
                Received::Malformed(bytes) => {
                    return Err(self.broken(&format!("{bytes} bytes that are no reply of this version's")));
                }
                Received::Empty => {
                    if !wait_for(self.replies.as_fd(), PollFlags::POLLIN, deadline)? {
                        return Err(self.silent("The command stays in its queue: it is done when the process goes on"));
                    }
                }
            }
        }
    }

    /// Puts the command into the queue, when there is room.
    fn send(&mut self, command: &Command, deadline: Instant) -> Result<(), Failure> {
        loop {
            match self.commands.send(command, Priority::Normal) {
                Ok(()) => return Ok(()),
                Err(SendError::Failed(error)) => return Err(error.into()),
                Err(SendError::Full) => {
                    if !wait_for(self.commands.as_fd(), PollFlags::POLLOUT, deadline)? {
                        return Err(self.silent("Its queue is full, so the command was not sent"));
                    }
                }
            }
        }
    }

    /// What is to be said of a reply that is none to what was asked.
    pub(super) fn broken(&self, what: &str) -> Failure {
        Failure::unavailable(format!("the cache process of `{}` (pid {}) has sent {what}", self.instance, self.pid))
    }

    fn silent(&self, consequence: &str) -> Failure {
        let Dialogue { instance, pid, patience, .. } = self;
        let who = match pid {
            0 => format!("the cache process of `{instance}` is gone, and its successor"),
            pid => format!("the cache process of `{instance}` (pid {pid})"),
        };
        Failure::unavailable(format!(
            "{who} does not answer: nothing came within {} s. {consequence}. Look at its heartbeat: vaultctl cache stats --instance \
             {instance}",
            patience.as_secs()
        ))
    }
}

/// This process, as the cache process is to know it.
pub(super) fn reply_to() -> ReplyTo {
    ReplyTo(std::process::id())
}

/// Waits until the queue is ready; `false` if it is not before the deadline.
fn wait_for(queue: BorrowedFd<'_>, for_what: PollFlags, deadline: Instant) -> Result<bool, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A millisecond more than rounded down, so that the deadline has come when the time is over.
        let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(queue, for_what)], left) {
            Ok(0) if Instant::now() >= deadline => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}
