//! `strace`, attached to one process of a server: it has system calls fail, or take their time.
//!
//! Include it with `#[path = "support/injector.rs"] mod injector;`; it uses the `server` module.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::fs;
use std::process::{Child, Command, Stdio};

use tempfile::TempPath;

use crate::server::await_that;

/// Attached until it is dropped.
pub struct Injector {
    strace: Child,
    log: TempPath,
}

impl Injector {
    /// Attaches to process `pid`, to the threads that it has now, and does what `inject` says (`strace(1)`, option `-e inject`).
    ///
    /// # Panics
    /// There is no `strace`, or it may not trace that process.
    pub fn attach(pid: u32, inject: &str) -> Injector {
        let log = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let syscalls = inject.split(':').next().unwrap();
        let mut strace = Command::new("strace");
        strace.args([
            "-qq",
            "-p",
            &pid.to_string(),
            "-e",
            &format!("trace={syscalls}"),
            "-e",
            &format!("inject={inject}"),
        ]);
        strace.arg("-o").arg(&log).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let strace = strace.spawn().expect("strace is needed (package strace)");
        let injector = Injector { strace, log };
        await_that("strace is attached", || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
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
