//! Control groups of a test's own (`cgroups(7)`, version 1 or 2).
//!
//! Include it with `#[path = "support/group.rs"] mod group;`, beside `server`.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::path::PathBuf;

use crate::server::unused_name;

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
        let roots = [format!("/sys/fs/cgroup/{controller}"), "/sys/fs/cgroup".to_owned()];
        let root = roots.into_iter().find(|root| fs::exists(format!("{root}/cgroup.procs")).unwrap());
        let root = PathBuf::from(root.unwrap_or_else(|| panic!("a {controller} cgroup is needed")));
        let path = root.join(unused_name());
        fs::create_dir(&path)
            .unwrap_or_else(|error| panic!("a {controller} cgroup, for which root is needed: {error}"));
        Group { path, root }
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
        let _ = fs::remove_dir(&self.path);
    }
}
