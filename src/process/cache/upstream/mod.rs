//! Where objects come from that the cache does not have: HTTP/1.1 and HTTPS, on threads, by `ureq`.
//!
//! [`Upstream::fetch`] returns a [`Transfer`](super::origin::Transfer), out of which the shell takes what the upstream says.

mod connector;
mod failure;
#[cfg(test)]
pub(super) mod hostile;
mod pool;
mod request;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use pool::{Settings, Upstream};
