//! How objects are fetched that the cache does not have, wherever they come from: on threads, each fetch through a channel of its own.
//!
//! A [`Transfer`] says what the origin says: [`Said::Head`], then, where there is content, [`Said::Chunk`]s, and [`Said::Whole`] only if
//! the content is as long as was said; or [`Said::Failed`]. A head without content ends the transfer. Its channel has room for few
//! chunks: as long as nobody takes any, the thread waits. A transfer that is dropped is cancelled, wherever its thread is.

mod failure;
mod threads;

pub use failure::Failure;
pub use threads::{Fetcher, Listener, Said, Threads, Transfer, Wake};
