//! One connection.

use std::net::{SocketAddr, TcpStream};

use super::duplicates::Candidate;
use super::inbox::Inbox;
use super::outbox::Outbox;
use crate::base::limits::{PARTIAL_FRAME_SECONDS, PEER_GREETING_MILLISECONDS};
use crate::process::replica::peers::greeting::{Handshake, Role};
use crate::process::replica::peers::wire::FrameKind;
use crate::store::cluster::{NodeId, ReplicaId};

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: TcpStream,
    /// Where its other end is.
    pub(super) address: SocketAddr,
    /// The number of the configured peer that was dialled; `None` for a connection that was accepted.
    pub(super) dialled: Option<ReplicaId>,
    /// When it was begun or accepted.
    pub(super) began_ns: u64,
    /// When bytes came last.
    pub(super) heard_ns: u64,
    pub(super) state: LinkState,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    /// There may be whole frames in `inbox`, since a turn's budget was used up.
    pub(super) is_behind: bool,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) enum LinkState {
    /// It is being made.
    Connecting,
    /// The other end has not proved itself yet.
    Greeting(Box<Handshake>),
    /// The other end is a peer.
    Peer(LinkedPeer),
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkedPeer {
    pub(super) node: NodeId,
    pub(super) replica: ReplicaId,
    pub(super) since_ns: u64,
}

impl Link {
    pub(super) fn new(stream: TcpStream, address: SocketAddr, dialled: Option<ReplicaId>, now_ns: u64) -> Self {
        Link {
            stream,
            address,
            dialled,
            began_ns: now_ns,
            heard_ns: now_ns,
            state: LinkState::Connecting,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            is_behind: false,
        }
    }

    pub(super) fn role(&self) -> Role {
        if self.dialled.is_some() { Role::Dialler } else { Role::Accepter }
    }

    pub(super) fn peer(&self) -> Option<LinkedPeer> {
        match self.state {
            LinkState::Peer(peer) => Some(peer),
            _ => None,
        }
    }

    /// Whether it was accepted here and its other end has not proved itself.
    pub(super) fn is_stranger(&self) -> bool {
        self.dialled.is_none() && self.peer().is_none()
    }

    /// The frames that may come now.
    pub(super) fn expects(&self) -> fn(FrameKind) -> bool {
        match self.state {
            LinkState::Peer(_) => |kind| !matches!(kind, FrameKind::Greeting | FrameKind::Proof),
            _ => |kind| matches!(kind, FrameKind::Greeting | FrameKind::Proof),
        }
    }

    /// Until when something must come: the proof, or the rest of a frame.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        match self.state {
            LinkState::Connecting | LinkState::Greeting(_) => {
                Some(self.began_ns.saturating_add(PEER_GREETING_MILLISECONDS * 1_000_000))
            }
            LinkState::Peer(_) if self.inbox.has_begun() => {
                Some(self.heard_ns.saturating_add(PARTIAL_FRAME_SECONDS * 1_000_000_000))
            }
            LinkState::Peer(_) => None,
        }
    }

    /// As of the decision between two connections to `peer`.
    pub(super) fn candidate(&self, own: NodeId, peer: NodeId, since_ns: u64) -> Candidate {
        Candidate { dialler: if self.dialled.is_some() { own } else { peer }, since_ns }
    }
}
