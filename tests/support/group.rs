//! Control groups of a test's own (`cgroups(7)`, version 1 or 2).

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::server::unused_name;
use crate::tools::must_be_on_demand;

/// A control group, which goes when this does.
pub struct Group {
    path: PathBuf,
    root: PathBuf,
}

impl Group {
    /// A group for `controller`: pids or memory.
    ///
    /// # Panics
    /// None can be made: root is needed, and the controller.
    pub fn new(controller: &str) -> Group {
        must_be_on_demand();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let line = own.lines().find_map(|line| line.split_once(&format!(":{controller}:")));
        // Version 2 lets only the root have both processes and groups beneath it.
        let root = line.map_or_else(
            || PathBuf::from("/sys/fs/cgroup"),
            |(_, path)| PathBuf::from(format!("/sys/fs/cgroup/{controller}{path}")),
        );
        let path = root.join(unused_name());
        let made = fs::create_dir(&path);
        made.unwrap_or_else(|error| panic!("a {controller} control group is needed, in {}: {error}", root.display()));
        Group { path, root }
    }

    /// A group that may have so many bytes of memory.
    #[must_use]
    pub fn of_memory(bytes: u64) -> Group {
        let group = Group::new("memory");
        group.set_memory(bytes);
        group
    }

    /// A group that may have so many processes and threads.
    #[must_use]
    pub fn of_tasks(count: u64) -> Group {
        let group = Group::new("pids");
        group.set("pids.max", &count.to_string());
        group
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Of a memory group: admits so many bytes.
    pub fn set_memory(&self, bytes: u64) {
        let legacy = self.path.join("memory.limit_in_bytes").exists();
        self.set(if legacy { "memory.limit_in_bytes" } else { "memory.max" }, &bytes.to_string());
    }

    /// Puts a process in.
    pub fn add(&self, pid: u32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Puts a process in that may have ended; whether it did not.
    pub fn try_add(&self, pid: u32) -> bool {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).is_ok()
    }

    /// Takes all processes out.
    pub fn clear(&self) {
        for pid in fs::read_to_string(self.path.join("cgroup.procs")).unwrap().lines() {
            // It may have ended.
            let _ = fs::write(self.root.join("cgroup.procs"), pid);
        }
    }

    /// Sets a limit.
    pub fn set(&self, file: &str, value: &str) {
        fs::write(self.path.join(file), value).unwrap_or_else(|error| panic!("{file}: {error}"));
    }

    /// Of a pids group: admits so many processes and threads beside those that there are.
    pub fn admit(&self, more: u32) {
        let now: u32 = fs::read_to_string(self.path.join("pids.current")).unwrap().trim().parse().unwrap();
        self.set("pids.max", &(now + more).to_string());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.clear();
        // Busy as long as a process in it is being collected.
        for _ in 0..500 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
