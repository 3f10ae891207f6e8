//! What the connections to peers are made with.

use std::net::SocketAddr;

use crate::base::vocab::Cents;
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
    /// How many accounts it has.
    pub accounts: u32,
    /// What they held in all when its books were opened.
    pub opening: Cents,
    /// How many idempotency keys it remembers.
    pub key_window: u64,
}

/// A peer to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredPeer {
    /// Its number. An instance of another number that answers there is refused.
    pub replica: ReplicaId,
    /// Where to reach it; they are tried in turn. Names are resolved by whoever calls, since that may take seconds: while there is no
    /// address yet, the peer is not dialled, and may connect all the same.
    pub addresses: Vec<SocketAddr>,
}

/// What the connections to peers are made with.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// What this instance says of itself.
    pub own: Identity,
    /// Whom it connects to; itself is passed over.
    pub peers: Vec<ConfiguredPeer>,
}
