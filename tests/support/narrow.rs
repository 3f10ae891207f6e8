//! Machines that are short of something: commands in a mount namespace with another /dev/shm, in a control group, under limits.
//!
//! Include it with `#[path = "support/narrow.rs"] mod narrow;`. All of it wants root, and the tools of util-linux; without, a test that
//! uses it fails with what they say.
#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A script that stands for the server's program: it makes its surroundings narrow, then executes the server in its own place, so that
/// the process id stays.
pub struct Wrapper {
    home: TempDir,
}

impl Wrapper {
    /// Executes `program` behind what `words` are: a command that executes its arguments, such as `prlimit --nofile=9`.
    #[must_use]
    pub fn behind(words: &str, program: &Path) -> Wrapper {
        Wrapper::script(&format!("exec {words} '{}' \"$@\"", program.display()))
    }

    /// Executes `program` in a mount namespace in which `mounts`, a line of shell, was done.
    #[must_use]
    pub fn mounted(mounts: &str, program: &Path) -> Wrapper {
        let inside = format!("{mounts} && exec \"$0\" \"$@\"");
        Wrapper::script(&format!("exec unshare -m sh -c '{inside}' '{}' \"$@\"", program.display()))
    }

    /// Executes `program` in a control group.
    #[must_use]
    pub fn grouped(group: &Group, program: &Path) -> Wrapper {
        let join = format!("echo $$ > '{}/cgroup.procs'", group.folder.display());
        Wrapper::script(&format!("{join} && exec '{}' \"$@\"", program.display()))
    }

    fn script(text: &str) -> Wrapper {
        let home = tempfile::tempdir().unwrap();
        // For other users too.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = home.path().join("master");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Wrapper { home }
    }

    /// What to execute.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.home.path().join("master")
    }
}

/// A control group of this test's own, beneath the one it is in; it goes with this value, when its processes have ended.
pub struct Group {
    folder: PathBuf,
}

impl Group {
    /// A group that may have so many bytes of memory.
    #[must_use]
    pub fn of_memory(bytes: u64) -> Group {
        Group::make("memory", ["memory.limit_in_bytes", "memory.max"], bytes)
    }

    /// A group that may have so many processes and threads.
    #[must_use]
    pub fn of_tasks(count: u64) -> Group {
        Group::make("pids", ["pids.max", "pids.max"], count)
    }

    fn make(controller: &str, [legacy, unified]: [&str; 2], limit: u64) -> Group {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let line = own.lines().find_map(|line| line.split_once(&format!(":{controller}:")));
        // Version 2 lets only the root have both processes and groups beneath it.
        let (top, file) = match line {
            Some((_, path)) => (PathBuf::from(format!("/sys/fs/cgroup/{controller}{path}")), legacy),
            None => (PathBuf::from("/sys/fs/cgroup"), unified),
        };
        let folder = top.join(format!("bank-vault-test-{}-{number}", std::process::id()));
        let made = fs::create_dir(&folder).and_then(|()| fs::write(folder.join(file), limit.to_string()));
        made.unwrap_or_else(|error| panic!("a {controller} control group is needed, in {}: {error}", top.display()));
        Group { folder }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Busy as long as a process in it is being collected.
        for _ in 0..500 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
