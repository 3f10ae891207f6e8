//! The key-value table in shared memory, which several processes change, any of which may die at any instruction.
//!
//! A key's hash names a bucket, which has a robust lock and leads to the keys in it. A key and its value stand in a chain of blocks of one
//! size ([`chain`]), so that what fits is a count, equal on all members of a cluster. A write never changes a chain that a bucket
//! leads to: it fills a new one, and one store puts that in the place of the old one.
//!
//! A write ([`teller`]) locks the bucket, decides, takes blocks from the free list ([`pool`]) and fills them, passes the commit point of
//! [`ledger`](crate::store::ledger) with its records, changes the bucket, gives the old blocks back, unlocks. What it is at stands in the intent of
//! its process, which it shares with the ledger, and in a row of its own ([`row`]). Before the commit point nothing has changed; after
//! it, whoever inherits the bucket's lock finishes what was begun ([`bucket`]), and the master gives back the blocks of the dead ([`settle()`]).
//!
//! How many keys and blocks there are stands under the sequencer's lock ([`Counts`]), so whether a value fits follows from the log alone.

pub mod applier;
pub mod bucket;
pub mod chain;
pub mod counts;
pub mod layout;
mod operation;
pub mod pool;
pub mod restore;
pub mod row;
pub mod scan;
pub mod settle;
pub mod table;
pub mod teller;

#[cfg(all(test, feature = "model"))]
mod model_tests;
#[cfg(all(test, not(feature = "model")))]
mod property_tests;
#[cfg(all(test, not(feature = "model")))]
mod test_support;

pub use applier::LogApplier;
pub use counts::Counts;
pub use layout::LAYOUT_VERSION;
pub use restore::Restorer;
pub use scan::{Page, PageRequest};
pub use settle::settle;
pub use table::KvTable;
pub use teller::{KvAsker, KvRefusal, KvTeller, KvUndone, KvWriteRequest};
