//! Machines that are short of something: commands in a mount namespace with another /dev/shm, in a control group, under limits.
//!
//! All of it wants root, and the tools of util-linux; without, a test that
//! uses it fails with what they say.
#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::group::Group;
use crate::tools::must_be_on_demand;

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
        must_be_on_demand();
        let inside = format!("{mounts} && exec \"$0\" \"$@\"");
        Wrapper::script(&format!("exec unshare -m sh -c '{inside}' '{}' \"$@\"", program.display()))
    }

    /// Executes `program` in a control group.
    #[must_use]
    pub fn grouped(group: &Group, program: &Path) -> Wrapper {
        let join = format!("echo $$ > '{}/cgroup.procs'", group.path().display());
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
