//! What the cache has, who waits for what, and what is to be fetched: a state machine without system calls, clock or memory of its own.
//!
//! [`Event`]s and the time go in, [`Action`]s come out. The bytes are the shell's: the core numbers each content, says where its bytes
//! go, when nobody needs them any more, and who is to be told what.
//!
//! **A request** is answered exactly once, unless it is [`Event::Finished`] before. One that is answered [`Answer::Found`] reads its
//! content until it is `Finished`; until then the content is not released.
//!
//! **A fetch** is shared by all who ask for its path while it runs. Where its bytes go is decided when its head is known ([`Place`]): into
//! memory, which is reserved for all of its length first; where memory has no room for what may be kept, or the length is not known, into
//! a spool; or past the cache, by a window that moves as its readers read. Requests are answered when the length is known: before the
//! content, or when all of it is in a spool. It becomes an entry only when it is whole.
//!
//! **An entry** is fresh for `ttl`. For `stale_while_revalidate` after that, requests get it at once, and one fetch in the background asks
//! whether it is still right. Later they wait for that fetch, and for `stale_if_error` get the old content if it fails.
//!
//! An entry in a spool goes soon after its last reader, into memory if there is room for it by then. So whoever asks while others read shares
//! what they read, also where requests come one after the other, since they take turns at segments.
//!
//! **A path** that is not there is remembered as such for `negative_ttl`.
//!
//! **Memory** never exceeds `cache_bytes`: it counts entries, what is being fetched into memory, and what is no entry any more and
//! still read. Entries that nobody reads are evicted by least recent use.

mod content;
mod defect;
mod event;
mod fetch;
#[cfg(test)]
mod oracle;
mod queue;
mod records;
mod requests;
mod room;
mod settings;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod spool_tests;
mod state;
#[cfg(test)]
mod tests;
mod transfer;

pub use event::{
    Action, Answer, ContentId, Event, FetchId, Head, OwnerId, Path, Place, Reason, RequestId, Source, Validators,
};
pub use settings::Settings;
pub use state::{Core, Counters, Listed, ListedAs};
