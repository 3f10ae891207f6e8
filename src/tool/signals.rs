//! How a tool reacts to signals that end or stop it: it cleans up first, then the signal takes its default action.
//!
//! The signals are blocked in every thread, and one thread reads them from a descriptor (`signalfd(2)`), so that the reaction is
//! ordinary code and not a handler. Afterwards the process dies *of the signal*: a shell then ends the script that called the tool,
//! which it does not do for an exit code.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::ipc::process::reset_signal;

/// The signals that ask a process to end and that it can block.
pub const ENDING: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// Signals that are read instead of taking their default action.
pub struct Signals {
    fd: SignalFd,
    /// Its hang-up counts as SIGHUP.
    terminal: Option<OwnedFd>,
}

impl Signals {
    /// Blocks these signals and opens a descriptor to read them. Those that the caller of the program set to be ignored, as `nohup`
    /// does, stay ignored. The process must have one thread: later ones inherit its mask.
    ///
    /// # Errors
    /// The error of `pthread_sigmask(3)` or `signalfd(2)`.
    pub fn block(signals: &[Signal]) -> io::Result<Signals> {
        let ignored = ignored();
        let is_ignored = |signal: Signal| ignored >> (signal as i32 - 1) & 1 == 1;
        let set: SigSet = signals.iter().copied().filter(|signal| !is_ignored(*signal)).collect();
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Signals { fd, terminal: None })
    }

    /// Waits for the next signal.
    ///
    /// # Errors
    /// The error of `poll(2)` or of reading.
    pub fn wait(&mut self) -> io::Result<Signal> {
        loop {
            if let Some(signal) = self.pending()? {
                return Ok(signal);
            }
            let mut fds = vec![PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            // With no event asked for, it becomes ready when the terminal hangs up (`poll(2)`, POLLHUP).
            fds.extend(self.terminal.as_ref().map(|terminal| PollFd::new(terminal.as_fd(), PollFlags::empty())));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if fds.get(1).is_some_and(|terminal| terminal.any() == Some(true)) {
                self.terminal = None;
                return Ok(Signal::SIGHUP);
            }
        }
    }

    /// The next signal, if one is pending.
    fn pending(&mut self) -> io::Result<Option<Signal>> {
        let number = self.fd.read_signal()?.and_then(|info| i32::try_from(info.ssi_signo).ok());
        Ok(number.and_then(|number| Signal::try_from(number).ok()))
    }
}

/// Ends the process by a signal, as if it had not been blocked.
pub fn die_of(signal: Signal) -> ! {
    take_default_action(signal);
    // Not reached: the default action of each of these signals is to end the process.
    std::process::exit(128 + signal as i32)
}

/// Lets a signal take its default action.
fn take_default_action(signal: Signal) {
    // A library may have a handler for it, such as a line editor for SIGINT.
    reset_signal(signal);
    let set = SigSet::from(signal);
    let raised = set.thread_unblock().and_then(|()| raise(signal)).and_then(|()| set.thread_block());
    // It fails only for signals that do not exist.
    debug_assert_eq!(raised, Ok(()));
}

/// Guards a terminal whose modes this program changes: whatever ends or stops the process, the terminal's end among it, `aside` is
/// called before. It gives the terminal back, calls what it is given, and, if that returns, takes the terminal again.
///
/// # Errors
/// As [`Signals::block`], or there is no room for a thread.
pub fn guard_terminal(
    terminal: Option<OwnedFd>,
    mut aside: impl FnMut(&mut dyn FnMut()) + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::block(&[ENDING.as_slice(), &[Signal::SIGTSTP]].concat())?;
    signals.terminal = terminal;
    let watch = move || {
        while let Ok(signal) = signals.wait() {
            aside(&mut || match signal {
                Signal::SIGTSTP => {
                    take_default_action(signal);
                    // A shell that ends a stopped job continues it first; the terminal is not this process' own then.
                    if let Ok(Some(end)) = signals.pending() {
                        die_of(end);
                    }
                }
                end => die_of(end),
            });
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
}

/// The signals that are ignored, as bits (`proc_pid_status(5)`).
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
