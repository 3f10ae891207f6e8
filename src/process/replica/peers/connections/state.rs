//! All connections to peers, and what their owner asks of them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;

use super::dialler::Dialler;
use super::link::{Link, LinkState};
use super::lookups::Lookups;
use super::split::split;
use crate::process::replica::message::Message;
use crate::process::replica::peers::counters::Count as _;
use crate::process::replica::peers::event::{Interest, PeerEvent, Ready, Records, Token};
use crate::process::replica::peers::refusal::{Closed, Dropped};
use crate::process::replica::peers::settings::{ConfiguredPeer, Identity, PeerSettings};
use crate::process::replica::peers::wire::{Found, SnapshotFrame, WireError};
use crate::store::cluster::PeerCounts;
use crate::store::cluster::{ClusterId, Membership, NodeId, Secret};

/// The listening socket's token.
pub(super) const LISTENER: Token = Token(0);
/// The token of what tells that names were looked up.
const LOOKUPS: Token = Token(u64::MAX);
/// Bytes that one read takes of a peer.
const READ_BYTES: usize = 64 * 1024;

/// All connections to peers.
#[derive(Debug)]
pub struct Peers {
    pub(super) own: Identity,
    pub(super) secret: Secret,
    pub(super) members: Membership,
    pub(super) listener: TcpListener,
    /// Until when nothing is accepted, since that has failed.
    pub(super) accept_from_ns: u64,
    pub(super) links: BTreeMap<Token, Link>,
    pub(super) next_token: u64,
    /// The connection to each peer.
    pub(super) of_node: BTreeMap<NodeId, Token>,
    pub(super) diallers: Vec<Dialler>,
    pub(super) lookups: Lookups,
    pub(super) events: VecDeque<PeerEvent>,
    pub(super) counters: PeerCounts,
    pub(super) now_ns: u64,
    /// Whether there is something to do without being woken.
    pub(super) is_busy: bool,
    /// What is read goes here first.
    pub(super) scratch: Box<[u8]>,
}

impl Peers {
    /// Connections to the peers of `settings`, and those that `listener` accepts. Nothing is dialled before the first turn.
    ///
    /// # Errors
    /// The listening socket cannot be made non-blocking, or there is no descriptor for what tells that names were looked up.
    pub fn new(settings: PeerSettings, secret: Secret, listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut peers = Peers {
            own: settings.own,
            secret,
            members: Membership::default(),
            listener,
            accept_from_ns: 0,
            links: BTreeMap::new(),
            next_token: LISTENER.0 + 1,
            of_node: BTreeMap::new(),
            diallers: Vec::new(),
            lookups: Lookups::new()?,
            events: VecDeque::new(),
            counters: PeerCounts::default(),
            now_ns: 0,
            is_busy: true,
            scratch: vec![0; READ_BYTES].into(),
        };
        peers.set_peers(settings.peers);
        Ok(peers)
    }

    /// What is to be polled for, level-triggered. It changes with every call of [`turn`](Self::turn), [`flush`](Self::flush) and what sends.
    pub fn interests(&self) -> impl Iterator<Item = Interest<'_>> {
        let listening = (self.accept_from_ns <= self.now_ns).then(|| Interest {
            token: LISTENER,
            fd: self.listener.as_fd(),
            read: true,
            write: false,
        });
        let links = self.links.iter().map(|(&token, link)| {
            let is_connecting = matches!(link.state, LinkState::Connecting);
            let (read, write) = (!is_connecting, is_connecting || link.outbox.wants_socket());
            Interest { token, fd: link.stream.as_fd(), read, write }
        });
        let lookups = Interest { token: LOOKUPS, fd: self.lookups.fd(), read: true, write: false };
        listening.into_iter().chain(std::iter::once(lookups)).chain(links)
    }

    /// When the next turn is due without any readiness, on the clock of [`turn`](Self::turn): to go on where a turn's budget was used up, to
    /// dial, to write what was sent since, or to give somebody up.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        let unsent = |link: &Link| link.peer().is_some() && !link.outbox.is_empty() && !link.outbox.wants_socket();
        if self.is_busy || !self.events.is_empty() || self.links.values().any(unsent) {
            return Some(self.now_ns);
        }
        let accepting = (self.accept_from_ns > self.now_ns).then_some(self.accept_from_ns);
        let dialling = self.diallers.iter().filter(|dialler| !self.is_reached(dialler.replica()));
        let dialling = dialling.filter_map(Dialler::due_ns).min();
        let waiting = self.links.values().filter_map(Link::deadline_ns).min();
        [accepting, dialling, waiting].into_iter().flatten().min()
    }

    /// Accepts, connects, reads and writes what can be now, within the budgets of a turn; gives what has happened. `now_ns` is of any clock
    /// that never goes back.
    pub fn turn(
        &mut self,
        now_ns: u64,
        ready: &[Ready],
        records: &dyn Records,
    ) -> impl Iterator<Item = PeerEvent> + use<'_> {
        self.now_ns = now_ns.max(self.now_ns);
        self.is_busy = false;
        self.accept_ready(ready);
        self.take_looked_up();
        self.dial_due();
        self.read_ready(ready);
        self.give_up_late();
        self.write_all(records);
        self.events.drain(..)
    }

    /// Writes what can be written now of what was sent since the last turn. What it finds out is told by the next turn.
    pub fn flush(&mut self, now_ns: u64, records: &dyn Records) {
        self.now_ns = now_ns.max(self.now_ns);
        self.write_all(records);
    }

    /// Queues a message for `message.to`. The records of its entries are read when the socket can take them.
    ///
    /// # Errors
    /// It was dropped, or the later entries of it were, which is counted.
    pub fn send(&mut self, message: &Message) -> Result<(), Dropped> {
        let parts = split(message);
        self.counters.traffic.split += u64::from(parts.len() > 1);
        self.queue(message.to, |link| parts.iter().try_for_each(|part| link.outbox.push_message(part)))
    }

    /// Queues which cluster that node is a member of.
    ///
    /// # Errors
    /// It was dropped, which is counted.
    pub fn send_found(&mut self, to: NodeId, found: &Found) -> Result<(), Dropped> {
        let frame = found.encode();
        self.queue(to, |link| link.outbox.push_frame(encoded(frame)?))
    }

    /// Whether [`send_snapshot`](Self::send_snapshot) has a place for one frame now.
    #[must_use]
    pub fn has_snapshot_room(&self, to: NodeId) -> bool {
        self.link_of(to).is_some_and(|link| link.outbox.has_snapshot_room())
    }

    /// Queues a piece of a snapshot, or an answer about one, behind the messages that wait. There is one place for each peer, which is free
    /// again as soon as the frame is being sent: so no more of a snapshot is in memory than two chunks, and the socket sets the pace.
    ///
    /// # Errors
    /// It was dropped, which is counted.
    pub fn send_snapshot(&mut self, to: NodeId, frame: &SnapshotFrame) -> Result<(), Dropped> {
        let frame = frame.encode();
        self.queue(to, |link| link.outbox.push_snapshot(encoded(frame)?))
    }

    fn queue(&mut self, to: NodeId, push: impl FnOnce(&mut Link) -> Result<(), Dropped>) -> Result<(), Dropped> {
        let link = self.of_node.get(&to).and_then(|token| self.links.get_mut(token));
        let queued = link.ok_or(Dropped::Unconnected).and_then(push);
        if let Err(why) = queued {
            self.counters.dropped.count(why);
        }
        queued
    }

    /// This node is a member of that cluster from now on. Connections stay; those that are made later greet with it.
    pub fn set_cluster(&mut self, cluster: ClusterId) {
        self.own.cluster = Some(cluster);
    }

    /// Who is a member, so that a node that was replaced is known.
    pub fn set_members(&mut self, members: Membership) {
        self.members = members;
    }

    /// Whom to dial from now on, this instance itself being passed over. Connections to others stay.
    pub fn set_peers(&mut self, peers: Vec<ConfiguredPeer>) {
        let mut before = std::mem::take(&mut self.diallers);
        for peer in peers.into_iter().filter(|peer| peer.replica != self.own.replica) {
            match before.iter().position(|dialler| dialler.replica() == peer.replica) {
                Some(place) => {
                    let mut kept = before.swap_remove(place);
                    kept.set_peer(peer);
                    self.diallers.push(kept);
                }
                None if self.diallers.iter().any(|dialler| dialler.replica() == peer.replica) => {}
                None => self.diallers.push(Dialler::new(peer)),
            }
        }
    }

    /// Closes the connection to a node, if there is one; the next turn says so.
    pub fn disconnect(&mut self, node: NodeId) {
        if let Some(&token) = self.of_node.get(&node) {
            self.close(token, Closed::Own);
        }
    }

    /// The nodes that are connected.
    pub fn connected(&self) -> impl Iterator<Item = NodeId> {
        self.of_node.keys().copied()
    }

    /// A message of a peer was not taken, for want of room for its records, or since another one's are still needed.
    pub fn note_untaken(&mut self, for_want_of_room: bool) {
        let untaken = &mut self.counters.untaken;
        *if for_want_of_room { &mut untaken.no_room } else { &mut untaken.busy } += 1;
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> PeerCounts {
        self.counters
    }

    pub(super) fn link_of(&self, node: NodeId) -> Option<&Link> {
        self.of_node.get(&node).and_then(|token| self.links.get(token))
    }
}

fn encoded(frame: Result<Vec<u8>, WireError>) -> Result<Vec<u8>, Dropped> {
    frame.map_err(|_| Dropped::Unencodable)
}
