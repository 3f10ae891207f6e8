//! Connections that this node makes.

use std::net::SocketAddr;

use super::dialler::Attempt;
use super::link::{Link, LinkState};
use super::lookups::LookedUp;
use super::socket;
use super::state::Peers;
use crate::base::vocab::Lsn;
use crate::process::replica::peers::counters::Count as _;
use crate::process::replica::peers::event::{PeerEvent, Records, Token};
use crate::process::replica::peers::refusal::{Closed, Refusal};
use crate::store::cluster::ReplicaId;

impl Peers {
    /// Dials the configured peers that are not connected, where their time has come.
    pub(super) fn dial_due(&mut self) {
        for place in 0..self.diallers.len() {
            let replica = self.diallers[place].replica();
            if self.is_reached(replica) {
                continue;
            }
            match self.diallers[place].take_due(self.now_ns) {
                None => {}
                Some(Attempt::Dial(address)) => self.dial(replica, address),
                Some(Attempt::LookUp(name)) => {
                    self.counters.traffic.lookups += 1;
                    self.lookups.begin(replica, name);
                }
            }
        }
    }

    fn dial(&mut self, replica: ReplicaId, address: SocketAddr) {
        self.counters.traffic.dialled += 1;
        match socket::connect(address) {
            Ok(stream) => {
                self.admit(Link::new(stream, address, Some(replica), self.now_ns));
            }
            Err(error) => {
                self.tell_refused(Some(replica), address.to_string(), Refusal::Unreachable(error));
                self.put_off(replica);
            }
        }
    }

    /// Takes what names have led to.
    pub(super) fn take_looked_up(&mut self) {
        for LookedUp { replica, name, addresses } in self.lookups.take() {
            let Some(dialler) = self.diallers.iter_mut().find(|dialler| dialler.replica() == replica) else { continue };
            match addresses {
                Ok(addresses) => _ = dialler.found(&name, addresses),
                Err(error) => {
                    if dialler.not_found(&name, self.now_ns, chance()) {
                        self.tell_refused(Some(replica), name, Refusal::Unresolved(error));
                    }
                }
            }
        }
    }

    fn tell_refused(&mut self, replica: Option<ReplicaId>, place: String, why: Refusal) {
        self.counters.refused.count(&why);
        self.events.push_back(PeerEvent::Refused { replica, place, why });
    }

    /// Whether that peer is connected, or being dialled.
    pub(super) fn is_reached(&self, replica: ReplicaId) -> bool {
        self.links.values().any(|link| match link.peer() {
            Some(peer) => peer.replica == replica,
            None => link.dialled == Some(replica),
        })
    }

    /// A connection that was being made is made, or cannot be.
    pub(super) fn finish_connecting(&mut self, token: Token) {
        let Some(link) = self.links.get(&token) else { return };
        if !matches!(link.state, LinkState::Connecting) {
            return;
        }
        match socket::is_connected(&link.stream) {
            Ok(true) => self.greet(token),
            Ok(false) => {}
            Err(error) => self.refuse(token, Refusal::Unreachable(error)),
        }
    }

    fn put_off(&mut self, replica: ReplicaId) {
        let (now_ns, chance) = (self.now_ns, chance());
        if let Some(dialler) = self.diallers.iter_mut().find(|dialler| dialler.replica() == replica) {
            dialler.failed(now_ns, chance);
        }
    }

    /// Closes a connection whose other end was not accepted.
    pub(super) fn refuse(&mut self, token: Token, why: Refusal) {
        let Some(mut link) = self.links.remove(&token) else { return };
        if matches!(link.state, LinkState::Greeting(_)) {
            // What it has said may be wrong for both sides: it finds that out by the proof that has not been sent yet.
            let _ = link.outbox.write(&link.stream, &NoRecords, usize::MAX, &mut self.counters);
        }
        self.tell_refused(link.dialled, link.address.to_string(), why);
        if let Some(replica) = link.dialled {
            self.put_off(replica);
        }
    }

    /// Closes the connection to a peer. What waits for it is lost, and raft sends it again.
    pub(super) fn close(&mut self, token: Token, why: Closed) {
        let Some(link) = self.links.remove(&token) else { return };
        self.counters.closed.count(&why);
        self.counters.dropped.unconnected += link.outbox.waiting() as u64;
        let Some(peer) = link.peer() else { return };
        if self.of_node.get(&peer.node) == Some(&token) {
            self.of_node.remove(&peer.node);
            self.events.push_back(PeerEvent::Disconnected { node: peer.node, replica: peer.replica, why });
            let (now_ns, chance) = (self.now_ns, chance());
            if let Some(dialler) = self.diallers.iter_mut().find(|dialler| dialler.replica() == peer.replica) {
                dialler.lost(now_ns, chance);
            }
        }
    }
}

/// Nobody is sent entries before it is a peer.
struct NoRecords;

impl Records for NoRecords {
    fn read(&self, _: Lsn, _: Lsn, _: u64, _: u64, _: &mut Vec<u8>) -> Option<()> {
        None
    }
}

/// A random number, so that two nodes do not keep step.
fn chance() -> u8 {
    let mut byte = [0; 1];
    // Where there is none, they keep step.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}
