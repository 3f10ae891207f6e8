//! Two processes talk over a POSIX message queue.
//!
//!     cargo run --example message_queue
//!     cargo run --example message_queue -- --keep     (leaves the queue, to look at)
//!
//! A queue keeps messages apart and in order, urgent ones first, and it is the kernel that keeps them: what was sent before the receiver
//! was born, or after its predecessor died, is there. Here three children do their part one after the other and beside each other: the first
//! receiver is killed in the middle, the second goes on with the next message. On Linux the descriptor of a queue can be polled, so a
//! receiver with other things to do need not sleep in `mq_receive`.
//!
//! What there is to see:
//!
//!     cargo run --example message_queue -- --keep
//!     mkdir -p /dev/mqueue; mount -t mqueue none /dev/mqueue      (as root, where it is not mounted already; queues work without)
//!     ls -l /dev/mqueue; cat /dev/mqueue/message-queue.*          (bytes that are in it, who waits for a notification)
//!     grep . /proc/sys/fs/mqueue/*; ulimit -q                     (the kernel's limits)
//!     strace -f -e trace=mq_open,mq_timedsend,mq_timedreceive,poll,mq_unlink target/debug/examples/message_queue

#![allow(unsafe_code)] // fork

use std::error::Error;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_getattr, mq_open, mq_receive, mq_send, mq_unlink};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, raise};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Messages that the queue holds before a sender has to wait; without privileges the kernel allows 10.
const DEPTH: i64 = 4;
/// Bytes of a message: a number, little endian. Whoever receives must have room for the longest message of the queue.
const MESSAGE_BYTES: usize = 8;
/// Numbers that are sent: 1, 2, … up to this one.
const NUMBERS: u64 = 1_000;
/// The number at which the first receiver dies.
const FATAL: u64 = 300;
/// What is sent last and urgently, and so overtakes what waits.
const URGENT: u64 = u64::MAX;

fn main() -> ExitCode {
    let keep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--keep") => true,
        Some(other) => {
            eprintln!("message_queue: unknown argument `{other}`; the only one is --keep");
            return ExitCode::from(2);
        }
    };
    match run(keep) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("message_queue: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A queue's name; removed on drop.
struct Name(String);

impl Drop for Name {
    fn drop(&mut self) {
        let _ = mq_unlink(self.0.as_str());
    }
}

fn run(keep: bool) -> Result<()> {
    // The pid keeps two runs of this program apart.
    let name = Name(format!("/message-queue.{}", getpid()));
    let attributes = MqAttr::new(0, DEPTH, i64::try_from(MESSAGE_BYTES)?, 0);
    // O_EXCL: never take over what somebody else made under this name. Mode 0600: nobody else may send.
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDONLY;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let queue = mq_open(name.0.as_str(), flags, mode, Some(&attributes))
        .map_err(|e| format!("cannot make the message queue {}: {e} (see /proc/sys/fs/mqueue, ulimit -q)", name.0))?;
    println!("made the message queue {}: {DEPTH} messages of {MESSAGE_BYTES} bytes", name.0);

    let sender = start("sender", || send_numbers(&name.0))?;
    let first = start("first receiver", || receive(&name.0, 1, true).map(drop))?;
    match waitpid(first, None)? {
        WaitStatus::Signaled(_, Signal::SIGKILL, _) => {
            println!("the first receiver was killed with number {FATAL} in its hand");
        }
        other => return Err(format!("the first receiver did not die as it should: {other:?}").into()),
    }
    // The sender soon finds the queue full, and waits in the kernel until somebody takes a message.
    println!("{} messages wait for whoever comes", mq_getattr(&queue)?.curmsgs());
    let second = start("second receiver", || {
        let last = receive(&name.0, FATAL + 1, false)?;
        println!("the second receiver took {} to {last}, in order", FATAL + 1);
        Ok(())
    })?;
    for child in [sender, second] {
        match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => {}
            other => return Err(format!("a child did not do its part: {other:?}").into()),
        }
    }
    priorities(&name.0, &queue)?;
    mq_close(queue)?;
    if keep {
        println!("kept: rm /dev/mqueue{} removes it, where that is mounted", name.0);
        std::mem::forget(name);
    }
    println!("OK: nothing lost but what the dead receiver had taken");
    Ok(())
}

/// Forks a child that does `work` and exits.
fn start(role: &str, work: impl FnOnce() -> Result<()>) -> Result<Pid> {
    let parent = getpid();
    // SAFETY: this process has one thread, so no lock can be left taken in the child.
    if let ForkResult::Parent { child } = unsafe { fork() }? {
        return Ok(child);
    }
    // From here on the child, which ends by `exit`: returning would remove the name in the wrong process.
    let prepare = || -> Result<()> {
        set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != parent {
            return Err("the parent died before this process could ask to be told".into());
        }
        Ok(())
    };
    let done = prepare().and_then(|()| work());
    if let Err(error) = &done {
        eprintln!("message_queue, {role}: {error}");
    }
    std::process::exit(if done.is_ok() { 0 } else { 1 })
}

fn send_numbers(name: &str) -> Result<()> {
    // Without O_NONBLOCK: with the queue full, mq_send sleeps.
    let queue = mq_open(name, MQ_OFlag::O_WRONLY, Mode::empty(), None)?;
    for number in 1..=NUMBERS {
        mq_send(&queue, &number.to_le_bytes(), 0)?;
    }
    Ok(())
}

/// Takes numbers from `expected` on, until the last or the fatal one; which it was.
fn receive(name: &str, mut expected: u64, mortal: bool) -> Result<u64> {
    let queue = mq_open(name, MQ_OFlag::O_RDONLY | MQ_OFlag::O_NONBLOCK, Mode::empty(), None)?;
    loop {
        match take(&queue)? {
            Some((number, _)) if number != expected => return Err(format!("{number} came and not {expected}").into()),
            Some((FATAL, _)) if mortal => raise(Signal::SIGKILL)?,
            Some((NUMBERS, _)) => return Ok(NUMBERS),
            Some(_) => expected += 1,
            // An event loop would have other descriptors beside this one.
            None => {
                let mut descriptors = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
                poll(&mut descriptors, PollTimeout::NONE)?;
            }
        }
    }
}

/// A message and its priority, if there is one.
fn take(queue: &MqdT) -> Result<Option<(u64, u32)>> {
    let (mut bytes, mut priority) = ([0; MESSAGE_BYTES], 0);
    match mq_receive(queue, &mut bytes, &mut priority) {
        Ok(MESSAGE_BYTES) => Ok(Some((u64::from_le_bytes(bytes), priority))),
        Ok(other) => Err(format!("a message of {other} bytes, which nobody here sends").into()),
        Err(Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// An urgent message overtakes those that wait.
fn priorities(name: &str, queue: &MqdT) -> Result<()> {
    let sender = mq_open(name, MQ_OFlag::O_WRONLY, Mode::empty(), None)?;
    for (number, priority) in [(1, 0), (2, 0), (URGENT, 7)] {
        mq_send(&sender, &u64::to_le_bytes(number), priority)?;
    }
    mq_close(sender)?;
    let taken = [take(queue)?, take(queue)?, take(queue)?];
    println!("sent 1, 2 and an urgent one; the urgent one came first");
    if taken != [Some((URGENT, 7)), Some((1, 0)), Some((2, 0))] {
        return Err(format!("the order is wrong: {taken:?}").into());
    }
    Ok(())
}
