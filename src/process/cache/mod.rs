//! The cache process, `vault-cache`: what GetFile has in memory, and what it fetches from an upstream.
//!
//! [`core`] decides: a state machine without clock, threads, sockets or descriptors. [`upstream`] fetches, on threads.

pub mod core;
#[cfg(test)]
mod together_tests;
pub mod upstream;
