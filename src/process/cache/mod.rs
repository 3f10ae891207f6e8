//! The cache process, `vault-cache`: what GetFile has in memory, and what it fetches from an upstream.
//!
//! [`core`] decides: a state machine without clock, threads, sockets or descriptors. [`upstream`] fetches, on threads, in the way that all
//! [`origin`]s have.

mod arguments;
pub mod core;
pub mod files;
pub mod origin;
#[cfg(test)]
mod together_tests;
pub mod upstream;

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::base::crash_point::arm_from_environment;
use crate::ipc::process::monotonic_ns;
pub use arguments::CacheArguments;

/// Milliseconds between two heartbeats.
const HEARTBEAT_MS: u16 = 250;

/// The cache process; its exit code. It answers nobody yet: it shows that it lives until it is to leave.
#[must_use]
pub fn run(arguments: CacheArguments) -> i32 {
    let CacheArguments { row, channel, .. } = arguments;
    arm_from_environment("cache", row.life.lives.get());
    let wakeup = channel.wake_ups.of_cache();
    loop {
        row.life.heartbeat_ns.set(monotonic_ns());
        if row.life.is_to_leave() {
            return 0;
        }
        let waited = poll(&mut [PollFd::new(wakeup.as_fd(), PollFlags::POLLIN)], HEARTBEAT_MS);
        let _ = wakeup.take();
        if waited.is_err_and(|errno| errno != Errno::EINTR) {
            return 1;
        }
    }
}
