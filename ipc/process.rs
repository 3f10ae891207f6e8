//! Processes: fork into a named child that dies with its parent, and handles that cannot hit a stranger (`pidfd_open(2)`).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{PoisonError, RwLock};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use crate::ipc::error::IpcError;

/// A child process: its pid, and a descriptor that means this very process even after its pid is used again.
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

/// How a child ended, in words: `exit code 3`, `killed by SIGKILL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The words.
    pub text: String,
    /// The exit code, if it ended by itself.
    pub code: Option<i32>,
}

impl Ending {
    /// Whether it ended by itself with exit code 0.
    #[must_use]
    pub fn is_orderly(&self) -> bool {
        self.code == Some(0)
    }
}

impl Child {
    /// A child of the program that this process executed before, by its pid and a descriptor of it (`pidfd_open(2)`).
    #[must_use]
    pub fn adopt(pid: i32, pidfd: OwnedFd) -> Self {
        Child { pid: Pid::from_raw(pid), pidfd }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends a signal to this process; one that has ended already is not an error.
    ///
    /// # Errors
    /// What `pidfd_send_signal(2)` and `kill(2)` give else.
    pub fn signal(&self, signal: Signal) -> Result<(), IpcError> {
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a system call on an open pidfd; a null siginfo asks for what kill(2) would send.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), signal as libc::c_int, none, 0)
        };
        // A sandbox may forbid the newer call. Until the child is collected its pid means nobody else.
        match Errno::result(sent).map(drop).or_else(|_| kill(self.pid, signal)) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(IpcError::system("signal", format!("process {}", self.pid), errno)),
        }
    }

    /// Kills the child and waits until it has ended, which a process that was just forked does at once.
    pub fn end(&self) {
        end(self.pid);
    }

    /// Collects the child if it has ended; `None` while it runs. After `Some`, deregister the descriptor: it stays ready.
    #[must_use]
    pub fn reap(&self) -> Option<Ending> {
        // A kernel or a sandbox without P_PIDFD has P_PID; until the child is collected its pid means nobody else.
        let status = wait_without_waiting(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED)
            .or_else(|_| wait_without_waiting(Id::Pid(self.pid), WaitPidFlag::WEXITED));
        match status {
            Ok(WaitStatus::Exited(_, code)) => Some(Ending { text: format!("exit code {code}"), code: Some(code) }),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                Some(Ending { text: format!("killed by {}", signal.as_str()), code: None })
            }
            // It has ended, and somebody else has collected it.
            Err(Errno::ECHILD) => Some(Ending { text: "ended, nobody knows how".to_owned(), code: None }),
            Ok(_) | Err(_) => None,
        }
    }
}

/// One `waitid(2)` that does not wait.
fn wait_without_waiting(which: Id<'_>, what: WaitPidFlag) -> Result<WaitStatus, Errno> {
    waitid(which, what | WaitPidFlag::WNOHANG)
}

/// The pid of a child that has ended and is not collected yet, whoever's it is: process 1 inherits orphans, and a program that was
/// executed by a shell inherits the shell's children.
#[must_use]
pub fn ended_child() -> Option<i32> {
    let seen = wait_without_waiting(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).ok()?;
    seen.pid().map(Pid::as_raw)
}

/// Collects a child that [`ended_child`] has seen; whether it did.
#[must_use]
pub fn collect(pid: i32) -> bool {
    wait_without_waiting(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED).is_ok_and(|status| status.pid().is_some())
}

/// Has `command`, once it is started, killed when the calling thread dies (`PR_SET_PDEATHSIG`, `prctl(2)`).
pub fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let set_up = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the call above; then nobody would ever send that signal.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: two system calls and no allocation, which are allowed between fork and exec.
    unsafe { command.pre_exec(set_up) };
}

/// Undoes an ignored SIGCHLD, which a program may have inherited: the kernel would collect its children, and nobody would learn
/// how they ended (`wait(2)`, notes).
pub fn collect_own_children() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler function is installed, so nothing can run at a wrong moment.
    let _ = unsafe { sigaction(Signal::SIGCHLD, &default) };
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Forks a child that runs `body` and exits with the code it returns; nothing after this call runs in the child.
///
/// The child is named `name` (15 bytes at most are kept, `prctl(2)`), is killed when its parent dies, has its signals as
/// `settle_child_signals` says, and no open descriptor but 0, 1, 2 and those of `keep`: an inherited client socket would
/// hold back its FIN, an inherited epoll would be shared with the parent.
///
/// # Errors
/// The caller has several threads (a fork would copy their locks in whatever state), or `fork(2)` fails, or `pidfd_open(2)`: a child
/// that cannot be watched is ended at once.
pub fn spawn(name: &str, keep: &[RawFd], body: impl FnOnce() -> i32) -> Result<Child, IpcError> {
    require_single_thread(name)?;
    let parent = getpid();
    // SAFETY: the process has one thread, as just checked, so the child's memory is as whole as the parent's.
    let forked = unsafe { fork() }.map_err(|errno| IpcError::system("fork", name, errno))?;
    let ForkResult::Parent { child: pid } = forked else {
        become_child(name, parent, keep);
        let code = body();
        // SAFETY: ends the process at once: destructors of what belongs to the parent must not run here.
        unsafe { libc::_exit(code) }
    };
    // The child cannot have been collected by anybody else, so the pid still means it.
    // SAFETY: a system call with two numbers.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let opened = Errno::result(opened).and_then(|raw| RawFd::try_from(raw).map_err(|_| Errno::EBADF));
    let raw = opened.map_err(|errno| {
        end(pid);
        IpcError::system("open a pidfd of", name, errno)
    })?;
    // SAFETY: a descriptor that the kernel has just made for this process alone; it sets CLOEXEC by itself.
    let pidfd = unsafe { OwnedFd::from_raw_fd(raw) };
    Ok(Child { pid, pidfd })
}

/// Kills a child that was just forked, and collects it.
fn end(pid: Pid) {
    let _ = kill(pid, Signal::SIGKILL);
    while waitpid(pid, None) == Err(Errno::EINTR) {}
}

fn require_single_thread(name: &str) -> Result<(), IpcError> {
    if thread_count().is_some_and(|threads| threads > 1) {
        return Err(IpcError::Foreign {
            object: format!("process {name}"),
            reason: "it cannot be forked from a process that has several threads".to_owned(),
        });
    }
    Ok(())
}

/// The threads of this process; `None` where `/proc` is not there. It needs no descriptor, so it can be counted when there is none
/// left: a directory has a link for itself, one for its name, and one for each directory in it (`inode(7)`), here for each thread.
#[must_use]
pub fn thread_count() -> Option<u64> {
    std::fs::metadata("/proc/self/task").ok()?.nlink().checked_sub(2).filter(|&threads| threads > 0)
}

/// The child's side of the fork, all of it; on failure the child exits, since it must not run half set up.
fn become_child(name: &str, parent: Pid, keep: &[RawFd]) {
    let set_up = || -> Result<(), Errno> {
        set_name(name);
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the call above; then nobody would ever send that signal.
        if getppid() != parent {
            return Err(Errno::ESRCH);
        }
        settle_child_signals()?;
        close_all_but(keep)
    };
    if set_up().is_err() {
        // SAFETY: as in `spawn`.
        unsafe { libc::_exit(70) }
    }
}

/// A child leaves the orders to its parent: a terminal's Ctrl-C or a service manager's SIGTERM goes to the whole group, and
/// the parent turns it into one orderly stop. So the children ignore what the parent handles, and take nothing of its mask.
fn settle_child_signals() -> Result<(), Errno> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGPIPE,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        // A write beyond RLIMIT_FSIZE then fails (EFBIG), like one on a full disk.
        Signal::SIGXFSZ,
    ] {
        // SAFETY: no handler function is installed, so nothing can run at a wrong moment.
        unsafe { sigaction(signal, &ignore) }?;
    }
    SigSet::empty().thread_set_mask()
}

/// Has writes beyond the limit of a file's size (RLIMIT_FSIZE) fail with EFBIG instead of ending this process, as `settle_child_signals`
/// does for children.
///
/// # Errors
/// What `sigaction(2)` gives.
pub fn ignore_file_size_signal() -> Result<(), Errno> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler function is installed, so nothing can run at a wrong moment.
    unsafe { sigaction(Signal::SIGXFSZ, &ignore) }.map(drop)
}

/// Has a signal do to this process what it does by itself, whatever was installed for it or inherited.
pub fn reset_signal(signal: Signal) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler function is installed, so nothing can run at a wrong moment. It fails on signals that cannot be handled,
    // which have their default action anyway.
    let _ = unsafe { sigaction(signal, &default) };
}

/// Closes every descriptor from 3 on that is not in `keep`.
fn close_all_but(keep: &[RawFd]) -> Result<(), Errno> {
    let mut kept: Vec<u32> = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    kept.sort_unstable();
    let mut from = 3;
    for fd in kept.into_iter().chain([u32::MAX]) {
        if fd > from {
            let last = if fd == u32::MAX { u32::MAX } else { fd - 1 };
            // SAFETY: this process was just forked; the owners of the closed descriptors are the parent's, and are never
            // dropped here (`spawn` leaves by _exit).
            Errno::result(unsafe { libc::close_range(from, last, 0) })?;
        }
        from = from.max(fd.saturating_add(1));
    }
    Ok(())
}

/// Has the calling thread, and it alone, give way to others that have something to do: its niceness becomes `niceness`, up to 19
/// (`setpriority(2)`; on Linux the priority is a thread's own).
pub fn give_way(niceness: i32) {
    // SAFETY: three numbers; 0 is the calling thread. It fails only for who may not become nicer, and nobody is kept from that.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) };
}

/// The name that [`set_name`] gave; written while the process has one thread.
static NAME: RwLock<String> = RwLock::new(String::new());

/// Names the calling process as `ps` and `/proc/PID/comm` show it; what is over 15 bytes is cut (`prctl(2)`).
pub fn set_name(name: &str) {
    NAME.write().unwrap_or_else(PoisonError::into_inner).replace_range(.., name);
    if let Ok(name) = CString::new(name) {
        // It fails on an unreadable pointer only.
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// The name of this process, for every thread of it: that of [`set_name`], or the program's. No descriptor is needed.
#[must_use]
pub fn name() -> String {
    let name = NAME.read().unwrap_or_else(PoisonError::into_inner).clone();
    if !name.is_empty() {
        return name;
    }
    nix::sys::prctl::get_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Makes sure that descriptors 0, 1 and 2 are open: one of ours in their place would be written to by every `eprintln!`, and
/// the `shared_memory` crate takes descriptor 0 for "none".
///
/// # Errors
/// `/dev/null` cannot be opened.
pub fn open_standard_descriptors() -> io::Result<()> {
    loop {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        if null.as_raw_fd() > 2 {
            return Ok(());
        }
        std::mem::forget(null);
    }
}

/// Raises the limit of open files to at least `needed`, as far as the hard limit allows.
///
/// # Errors
/// The hard limit, when it is below `needed`.
pub fn raise_open_files(needed: u64) -> Result<(), u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|_| 0u64)?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed || setrlimit(Resource::RLIMIT_NOFILE, needed, hard).is_err() {
        return Err(hard);
    }
    Ok(())
}

/// Ends the calling process as `kill -9` would: no destructor, no handler, at this very instruction.
pub fn kill_self() -> ! {
    let _ = nix::sys::signal::kill(getpid(), Signal::SIGKILL);
    // SAFETY: ends the process; not reached unless the kernel delivers the signal late.
    unsafe { libc::_exit(137) }
}

/// Halts the calling process as `kill -STOP` would, until it is continued or killed.
pub fn stop_self() {
    // To the calling thread: sent to the process, another thread could take it while this one runs on.
    let _ = nix::sys::signal::raise(Signal::SIGSTOP);
}

/// The monotonic clock, in nanoseconds; the same for all processes of the machine.
#[must_use]
#[inline]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the result; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
