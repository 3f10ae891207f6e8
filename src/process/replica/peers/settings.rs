//! What the connections to peers are made with.

use std::net::SocketAddr;

use crate::base::vocab::{Cents, Lsn};
use crate::store::cluster::{ClusterId, NodeId, ReplicaId};

/// What a node says of itself when it greets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster; `None` of a fresh node, which is no member yet.
    pub cluster: Option<ClusterId>,
    /// Its identity.
    pub node: NodeId,
    /// Its configured number.
    pub replica: ReplicaId,
    /// Where its peers reach it, `HOST:PORT`: printable ASCII, at most
    /// [`MAX_PEER_ADDRESS_BYTES`](crate::base::limits::MAX_PEER_ADDRESS_BYTES).
    pub peer_address: String,
    /// Where clients reach it; the same form.
    pub client_address: String,
    /// Where clients reach its key-value service, the same form; empty where it has none.
    pub kv_address: String,
    /// How many accounts it has.
    pub accounts: u32,
    /// What they held in all when its books were opened.
    pub opening: Cents,
    /// How many idempotency keys it remembers.
    pub key_window: u64,
    /// How many operations its books had when its replica process started: the number of the last. It counts while it is fresh.
    pub operations: Lsn,
    /// A checksum of what each of its accounts was opened with.
    pub openings: u32,
    /// How many records a segment of its journal has.
    pub segment_records: u64,
    /// How many blocks the keys and values of its key-value table may take; 0 without one.
    pub kv_blocks: u32,
}

/// A peer to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredPeer {
    /// Its number. An instance of another number that answers there is refused.
    pub replica: ReplicaId,
    /// Where to reach it.
    pub place: PeerPlace,
}

/// Where a peer is to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerPlace {
    /// At this address.
    At(SocketAddr),
    /// Where this leads, `HOST:PORT`, when it is looked up, which is done before each attempt. The addresses that are found take turns.
    Named(String),
}

impl PeerPlace {
    /// What `text`, `HOST:PORT`, names.
    #[must_use]
    pub fn of(text: &str) -> PeerPlace {
        text.parse().map_or_else(|_| PeerPlace::Named(text.to_owned()), PeerPlace::At)
    }
}

/// What the connections to peers are made with.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// What this instance says of itself.
    pub own: Identity,
    /// Whom it connects to; itself is passed over.
    pub peers: Vec<ConfiguredPeer>,
}
