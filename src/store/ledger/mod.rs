//! The ledger: accounts in shared memory that several processes change, any of which may die at any instruction.
//!
//! An operation locks its accounts in the order of their numbers, asks the [`rules`], writes what it is about to do into
//! the worker's [`intent`], passes the commit point at the [`sequencer`], applies, clears the intent, unlocks ([`teller`]).
//! Before the commit point nothing has changed; after it, any process can finish the work ([`lock`], [`repair`]). The sums over
//! all accounts are read as one consistent cut while traffic flows ([`cut`]).

pub mod applier;
pub mod commit;
pub mod cut;
pub mod headroom;
pub mod intent;
pub mod keys;
pub mod lock;
pub mod order;
pub mod remembered;
pub mod repair;
pub mod replication;
pub mod rules;
pub mod sequencer;
pub mod table;
pub mod teller;
pub mod visibility;

#[cfg(all(test, feature = "model"))]
mod model_tests;
#[cfg(all(test, not(feature = "model")))]
mod test_support;

/// The versions of the layouts: accounts and intents, journal ring, keys.
pub const LAYOUT_VERSIONS: [u32; 3] = [table::LAYOUT_VERSION, sequencer::LAYOUT_VERSION, keys::LAYOUT_VERSION];

pub use applier::Applier;
pub use cut::Totals;
pub use remembered::RememberedOperation;
pub use replication::{Gate, GateState};
pub use rules::{Operation, Outcome, Refusal};
pub use sequencer::{Sequencer, Shape};
pub use table::Table;
pub use teller::{Completion, Teller};
pub use visibility::{Shows, Visible};
