//! What a request for a file means (RFC 9110): pure decisions about messages that [`wire`](super::wire) reads and writes.
//!
//! The file that a target names is looked up in a [`Cache`]. It is a [`Representation`](super::wire::Representation), whose
//! metadata come from [`etag`] and [`media_type`]. [`decide`] evaluates the conditions and ranges of the request for it, and
//! returns the response.

mod cache;
mod decide;
mod metadata;
mod ranges;

pub use cache::{Cache, CacheHandle, Counters};
pub use decide::decide;
pub use metadata::{etag, media_type};
