//! What a node does about membership beside the core, once a tick: requests of operators' tools, members that have lost their data
//! directories, fresh nodes that are to be told what they are members of, and whom to dial.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::process::replica::core::{Event, Refusal, Role};
use crate::process::replica::error::ReplicaError;
use crate::process::replica::membership::next_change;
use crate::process::replica::node::{Node, Stage};
use crate::process::replica::peers::{ConfiguredPeer, Found};
use crate::process::replica::requests::{Request, Standing, Step};
use crate::store::cluster::{Change, Membership, NodeId, ReplicaId};
use crate::store::instance::control_requests::{Answer, ControlRequest};

/// Ticks after which a fresh node that is a member is told so again.
const TELL_AGAIN_TICKS: u64 = 20;

/// What a node remembers of all that.
#[derive(Default)]
pub struct Changing {
    /// The configured peers, with the addresses that their names had at the start.
    configured: Vec<ConfiguredPeer>,
    /// The request that is not answered yet.
    request: Option<Request>,
    /// An instance that is to be added, and where it is.
    added: Option<(ReplicaId, SocketAddr)>,
    /// The members that peers were made known of.
    members: Membership,
    /// The change that was wanted last to bring a member back.
    wanted: Option<Change>,
    ticks: u64,
}

impl Changing {
    /// Nothing yet, with these configured peers.
    pub(super) fn new(configured: Vec<ConfiguredPeer>) -> Changing {
        Changing { configured, ..Changing::default() }
    }

    pub(super) fn configured(&self) -> &[ConfiguredPeer] {
        &self.configured
    }

    /// An instance that was dialled was not accepted.
    pub(super) fn peer_refused(&mut self, replica: Option<ReplicaId>, why: &str) {
        if let Some(request) = &mut self.request {
            request.peer_refused(replica, why);
        }
    }

    /// Whom to dial: the configured peers, members that were added since, and who is to be added. Members that were added stand under the
    /// addresses that were looked up then, so that nothing need be looked up here.
    fn peers(&self) -> Vec<ConfiguredPeer> {
        let members =
            self.members.all().filter_map(|member| Some((member.replica, vec![member.address.parse().ok()?])));
        let configured = self.configured.iter().map(|peer| (peer.replica, peer.addresses.clone()));
        let added = self.added.iter().map(|(replica, address)| (*replica, vec![*address]));
        let all: BTreeMap<_, _> = members.chain(configured).chain(added).collect();
        all.into_iter().map(|(replica, addresses)| ConfiguredPeer { replica, addresses }).collect()
    }
}

impl Node {
    /// Does what is to be done about membership in this tick.
    ///
    /// # Errors
    /// See [`ReplicaError`].
    pub fn change_members(&mut self, now_ns: u64) -> Result<(), ReplicaError> {
        self.changing.ticks += 1;
        self.make_members_known();
        self.answer_request(now_ns)?;
        self.bring_back()
    }

    /// Tells fresh nodes that they are members, and dials those that were added.
    fn make_members_known(&mut self) {
        let Stage::Member(shell) = &self.stage else { return };
        let members = shell.core.status().membership;
        let are_new = members != self.changing.members;
        if are_new {
            self.changing.members = members.clone();
            self.peers.set_peers(self.changing.peers());
        }
        if !are_new && !self.changing.ticks.is_multiple_of(TELL_AGAIN_TICKS) {
            return;
        }
        let Some(cluster) = self.own.cluster else { return };
        let fresh = self.greetings.connected().filter(|peer| peer.cluster.is_none());
        let nodes: Vec<_> = fresh.map(|peer| peer.node).filter(|node| members.of_node(*node).is_some()).collect();
        for node in nodes {
            // One that is dropped is said again.
            let _dropped = self.peers.send_found(node, &Found { cluster, members: members.clone() });
        }
    }

    /// Does what is to be done next about what a tool asks.
    fn answer_request(&mut self, now_ns: u64) -> Result<(), ReplicaError> {
        let words = &self.arguments.instance.replica_row().requests;
        let Some((id, request)) = words.pending() else {
            self.changing.request = None;
            return Ok(());
        };
        let Some(ControlRequest::Cluster(wanted)) = request else {
            words.answer(id, &Err("this server does not know how to do that".to_owned()));
            return Ok(());
        };
        let Stage::Member(shell) = &mut self.stage else {
            words.answer(id, &Err("this instance is not a member of a cluster yet".to_owned()));
            return Ok(());
        };
        let kept = self.changing.request.take().filter(|request| request.id == id);
        let mut request = kept.unwrap_or_else(|| Request::new(id, wanted, now_ns));
        let status = shell.core.status();
        let (own, gate_is_open, greetings) = (self.own.node, shell.gate_is_open, &self.greetings);
        let standing = Standing { own, status: &status, gate_is_open, greetings };
        match request.step(standing, now_ns) {
            Step::Answer(answer) => {
                log_answer(&answer);
                words.answer(id, &answer);
                if self.changing.added.take().is_some() {
                    self.peers.set_peers(self.changing.peers());
                }
                return Ok(());
            }
            Step::Wait => {}
            Step::Dial(replica, address) => match address.parse() {
                Ok(address) if self.changing.added == Some((replica, address)) => {}
                Ok(address) => {
                    self.changing.added = Some((replica, address));
                    self.peers.set_peers(self.changing.peers());
                }
                Err(_) => words.answer(id, &Err(format!("`{address}` is not of the form IP:PORT"))),
            },
            Step::Change(change) => {
                shell.handle(Event::Change(change.clone()), &mut self.peers)?;
                if let Some(why) = shell.refused.take() {
                    request.refused(standing, &change, why);
                }
            }
            Step::Transfer(node) => {
                log::info!("leadership is to go to node {node}, as an operator wants");
                shell.handle(Event::Transfer(node), &mut self.peers)?;
            }
        }
        if let Some(node) = shell.transfer_failed.take() {
            request.transfer_failed(node);
        }
        self.changing.request = Some(request);
        Ok(())
    }

    /// Proposes the next change that brings a member back, if there is one. It is proposed again in each tick, until it is committed: what
    /// stands against it, that another change is under way or that the learner is behind, goes by.
    fn bring_back(&mut self) -> Result<(), ReplicaError> {
        let Stage::Member(shell) = &mut self.stage else { return Ok(()) };
        let status = shell.core.status();
        let connected: Vec<_> = self.greetings.connected().collect();
        let is_primary = status.role == Role::Leader && shell.gate_is_open;
        let change = next_change(self.own.node, &status.membership, &connected).filter(|_| is_primary);
        let is_new = change != self.changing.wanted;
        self.changing.wanted.clone_from(&change);
        let Some(change) = change else { return Ok(()) };
        let (replica, node) = (change.member.replica, change.member.node);
        if is_new {
            log::info!(
                "replica {replica} has lost its data directory and is another node now; next: {:?} of node {node}",
                change.kind
            );
        }
        shell.handle(Event::Change(change), &mut self.peers)?;
        match shell.refused.take() {
            None | Some(Refusal::Busy | Refusal::Behind | Refusal::NotLeader) => {}
            Some(why) if is_new => log::warn!("replica {replica} cannot be brought back as node {node}: {why}"),
            Some(_) => {}
        }
        Ok(())
    }

    /// Whether a raft message shows that a node which greeted as a fresh one knows its cluster by now.
    pub(super) fn note_message_from(&mut self, node: NodeId) {
        if let Some(cluster) = self.own.cluster {
            self.greetings.note_member(node, cluster);
        }
    }
}

fn log_answer(answer: &Answer) {
    match answer {
        Ok(text) => log::info!("done, as an operator wanted: {text}"),
        Err(why) => log::warn!("what an operator wanted is not done: {why}"),
    }
}
