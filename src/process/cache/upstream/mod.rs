//! Where objects come from that the cache does not have: HTTP/1.1 and HTTPS, on threads, by `ureq`.
//!
//! [`Upstream::fetch`] returns a [`Transfer`], out of which the shell takes what the upstream says: [`Said::Head`], then, where there is
//! content, [`Said::Chunk`]s, and [`Said::Whole`] only if the content is as long as was said; or [`Said::Failed`]. A head without
//! content ends the transfer. Each transfer has a channel of its own with room for few chunks: as long as the shell takes none, the
//! upstream has to wait. A transfer that is dropped is cancelled, wherever its thread is.

mod connector;
mod failure;
#[cfg(test)]
pub(super) mod hostile;
mod pool;
mod request;
mod roots;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use failure::Failure;
pub use pool::{Said, Settings, Transfer, Upstream};
pub use roots::{BadRoots, Roots};
