//! Who holds a file lock: the processes that have the file open, as `/proc` tells.
//!
//! `kill -9` of a whole server leaves its lock taken for some milliseconds, longer where a child waits for a disk: a dying
//! process gives its descriptors back late. Whoever starts then waits for it ([`wait_for`]) instead of taking it for a server
//! that runs. (`/proc/locks` is of no use: it names the process that took the lock, which is the first to be gone.)

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::base::limits::DYING_SECONDS;
use crate::ipc::IpcError;

/// How often a lock is tried.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// How often `/proc` is searched meanwhile.
const SEARCH_EVERY: Duration = Duration::from_millis(50);
/// A process that looks alive for so long is: one that was just sent SIGKILL looks alive for a moment.
const ALIVE_FOR: Duration = Duration::from_millis(50);
/// `PF_EXITING` of `linux/sched.h`, in the ninth field of `/proc/PID/stat` (`proc_pid_stat(5)`).
const EXITING: u64 = 0x4;

/// A process that has the file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Its process id.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
    /// Whether it ends: it exits, or SIGKILL is on its way to it.
    pub ending: bool,
}

impl LockHolder {
    /// Whether it is a child of a master; if none of those that hold the lock is anything else, the master is gone, and its
    /// children go with it.
    fn is_child(&self) -> bool {
        self.name == "vault-journal" || self.name.starts_with("vault-worker-")
    }

    fn lives(&self) -> bool {
        !self.ending && !self.is_child()
    }
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pid {}", self.name, self.pid)
    }
}

/// What became of waiting for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The lock is free, or taken by the caller.
    Free,
    /// This process holds it, and lives.
    Lives(LockHolder),
    /// Processes whose master is gone hold it and do not end. None is listed that cannot be seen: of another pid namespace, or
    /// of another user.
    Stuck(Vec<LockHolder>),
}

/// Waits until `is_free`, as long as those who hold `file` are dying, for [`DYING_SECONDS`] at most.
///
/// # Errors
/// What `is_free` gives.
pub fn wait_for(file: &File, mut is_free: impl FnMut() -> Result<bool, IpcError>) -> Result<Waited, IpcError> {
    let began = Instant::now();
    let mut search_at = began;
    let mut said = false;
    loop {
        if is_free()? {
            return Ok(Waited::Free);
        }
        let waited = began.elapsed();
        let over = waited >= Duration::from_secs(DYING_SECONDS);
        if over || Instant::now() >= search_at {
            let holders = holders_of(file);
            match holders.iter().find(|holder| holder.lives()) {
                Some(living) if waited >= ALIVE_FOR => return Ok(Waited::Lives(living.clone())),
                _ if over => return Ok(Waited::Stuck(holders)),
                _ => search_at = Instant::now() + SEARCH_EVERY,
            }
            if waited >= ALIVE_FOR && !said {
                let who: Vec<_> = holders.iter().map(ToString::to_string).collect();
                log::info!("waiting for what is left of a killed server to end: {}", who.join(", "));
                said = true;
            }
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// All other processes that have `file` open, as far as they can be seen from here.
#[must_use]
pub fn holders_of(file: &File) -> Vec<LockHolder> {
    let Ok(wanted) = file.metadata() else { return Vec::new() };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_it = |pid: &u32| {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        open.flatten().any(|entry| {
            // Follows the link to what is open, also if its name is gone.
            fs::metadata(entry.path()).is_ok_and(|is| (is.dev(), is.ino()) == (wanted.dev(), wanted.ino()))
        })
    };
    pids.filter(|&pid| pid != std::process::id()).filter(has_it).filter_map(look_at).collect()
}

/// A process by its number; `None` when it is gone.
fn look_at(pid: u32) -> Option<LockHolder> {
    let read = |what: &str| fs::read_to_string(format!("/proc/{pid}/{what}")).ok();
    let (stat, status) = (read("stat")?, read("status")?);
    let name = read("comm")?.trim_end().to_owned();
    Some(LockHolder { pid, name, ending: is_ending(&stat, &status) })
}

/// Reads `/proc/PID/stat` and `/proc/PID/status`.
fn is_ending(stat: &str, status: &str) -> bool {
    // The name, in parentheses, may have spaces and parentheses in it.
    let mut fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let state = fields.next().unwrap_or("X");
    let flags: u64 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    let killed = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:")))
        .any(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 << (libc::SIGKILL - 1) != 0));
    matches!(state, "Z" | "X" | "x") || flags & EXITING != 0 || killed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::filelock;
    use std::process::Command;

    const QUIET: &str = "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n";

    #[test]
    fn who_ends_is_told_from_who_lives() {
        let stat = |state: &str, flags: u32| format!("7 (a) R (b) {state} 1 7 7 0 -1 {flags} 0 0");
        assert!(!is_ending(&stat("S", 0x40_0040), QUIET));
        assert!(is_ending(&stat("Z", 0), QUIET));
        assert!(is_ending(&stat("R", 0x40_0044), QUIET), "it exits");
        assert!(is_ending(&stat("S", 0), "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n"), "SIGKILL");
        assert!(!is_ending(&stat("S", 0), "SigPnd:\t0000000000000200\nShdPnd:\t0000000000000000\n"), "another signal");
    }

    #[test]
    fn a_living_holder_is_named_and_a_killed_one_is_waited_for() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let (asking, held) = (open(), open());
        assert!(filelock::try_lock(&held, "test").unwrap());
        // It inherits the lock as its standard input.
        let mut child = Command::new("sleep").arg("60").stdin(held).spawn().unwrap();
        let free = || filelock::try_lock(&asking, "test");
        let Waited::Lives(holder) = wait_for(&asking, free).unwrap() else { panic!("it lives") };
        assert_eq!((holder.pid, holder.name.as_str()), (child.id(), "sleep"));
        child.kill().unwrap();
        assert_eq!(wait_for(&asking, free).unwrap(), Waited::Free);
        child.wait().unwrap();
    }
}
