//! The sockets.
//!
//! There is one connection to each peer that can be reached, whichever side has made it. Each has a bounded queue of what is to be sent
//! (`outbox`) and a buffer for the frame that is coming (`inbox`). Records of entries are read when the socket can take them, so memory
//! is bounded however far a peer is behind: at most one message's records for each peer.
//!
//! A peer that is configured by name is looked up before each attempt to dial it (`lookups`), and its addresses take turns.

mod accepting;
mod dialler;
mod dialling;
mod duplicates;
mod inbox;
mod link;
mod lookups;
mod outbox;
mod reading;
mod socket;
mod split;
mod state;
mod turn;

pub use state::Peers;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod lookups_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
