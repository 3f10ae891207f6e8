//! How replica processes talk to each other.
//!
//! [`wire`] turns bytes to frames and back. [`greeting`] settles who is a peer, [`founding`] who founds a cluster; both are pure. [`connections`]
//! has the sockets: it is driven by a loop that somebody else owns, which polls what [`Peers::interests`] names and then calls
//! [`Peers::turn`]. There is no clock in it, and nothing in it waits: names are looked up by threads.
//!
//! ```text
//! loop {
//!     poll(peers.interests(), until peers.deadline_ns())
//!     for event in peers.turn(now, ready, records) { core.step(event) }
//!     for message in core.ready() { peers.send(message) }
//!     peers.flush(now, records)
//! }
//! ```

pub mod connections;
mod counters;
pub mod event;
pub mod founding;
pub mod greeting;
pub mod refusal;
pub mod settings;
pub mod wire;

pub use connections::Peers;
pub use event::{Accepted, Interest, PeerEvent, Ready, Records, Token};
pub use founding::{Founding, accept_found, decide};
pub use refusal::{Closed, Dropped, Refusal};
pub use settings::{ConfiguredPeer, Identity, PeerPlace, PeerSettings};
pub use wire::{Found, SnapshotFrame, SnapshotRefusal};
