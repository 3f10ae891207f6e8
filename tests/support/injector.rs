//! `strace`, attached to one process of a server: it has system calls fail, or take their time.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::process::{Child, Stdio};

use tempfile::TempPath;

use crate::server::await_that;
use crate::tools::tool;

/// Attached until it is dropped.
pub struct Injector {
    strace: Child,
    log: TempPath,
}

impl Injector {
    /// Attaches to process `pid`, which has one thread, and does what `inject` says (`strace(1)`, option `-e inject`). Its children are
    /// not traced: calls are counted for each process by itself, so in each of them the first ones would fail.
    ///
    /// # Panics
    /// It may not trace that process.
    pub fn attach(pid: u32, inject: &str) -> Injector {
        Injector::attach_with(pid, inject, &[])
    }

    /// The same with all threads that the process has, and whatever they start.
    ///
    /// # Panics
    /// It may not trace that process.
    pub fn attach_to_threads(pid: u32, inject: &str) -> Injector {
        Injector::attach_with(pid, inject, &["-f"])
    }

    fn attach_with(pid: u32, inject: &str, options: &[&str]) -> Injector {
        let log = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let syscalls = inject.split(':').next().unwrap();
        let mut strace = tool("strace", "strace");
        strace.args(options).args(["-qq", "-p", &pid.to_string(), "-e", &format!("trace={syscalls}")]);
        strace.args(["-e", &format!("inject={inject}"), "-o"]).arg(&log);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let injector = Injector { strace: strace.spawn().unwrap(), log };
        await_that("strace is attached", || {
            // It may have ended of what was injected already, which the log shows.
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
            status.lines().any(|line| line == format!("TracerPid:\t{}", injector.strace.id()))
        });
        injector
    }

    /// Calls that failed because of this.
    pub fn injected(&self) -> usize {
        fs::read_to_string(&self.log).unwrap().matches("(INJECTED)").count()
    }

    /// What strace has seen.
    pub fn seen(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        // It detaches from what it traces before it ends.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}
