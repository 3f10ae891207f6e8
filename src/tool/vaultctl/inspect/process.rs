//! A process, as the kernel knows it.

use std::fmt;
use std::fs;

use serde::Serialize;

/// A process, as the kernel knows it now.
#[derive(Debug, Serialize)]
pub(super) struct Process {
    pub pid: u32,
    /// `None`: there is no such process any more.
    pub name: Option<String>,
}

impl Process {
    /// The one with this id.
    pub(super) fn of(pid: u32) -> Process {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        Process { pid, name: name.map(|name| name.trim_end().to_owned()) }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.name.as_deref().unwrap_or("ended"))
    }
}
