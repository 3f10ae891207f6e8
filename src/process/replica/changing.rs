//! What a node does about membership beside the core, once a tick: requests of operators' tools, members that have lost their data
//! directories, fresh nodes that are to be told what they are members of, and whom to dial.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::process::replica::core::{Event, Refusal, Role};
use crate::process::replica::error::ReplicaError;
use crate::process::replica::founding::Greetings;
use crate::process::replica::membership::next_change;
use crate::process::replica::peers::{ConfiguredPeer, Found, Identity, PeerPlace, Peers};
use crate::process::replica::requests::{Request, Standing, Step};
use crate::process::replica::shell::Shell;
use crate::store::cluster::{Change, ChangeKind, Membership, ReplicaId};
use crate::store::instance::control_requests::{Answer, ClusterRequest, ControlRequest, RequestWords};

/// Ticks after which a fresh node that is a member is told so again.
const TELL_AGAIN_TICKS: u64 = 20;

/// What a node remembers of all that.
#[derive(Default)]
pub struct Changing {
    /// The configured peers.
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

    /// Whom to dial: the configured peers, members that were added since, and who is to be added.
    fn peers(&self) -> Vec<ConfiguredPeer> {
        let members = self.members.all().map(|member| (member.replica, PeerPlace::of(&member.address)));
        let configured = self.configured.iter().map(|peer| (peer.replica, peer.place.clone()));
        let added = self.added.iter().map(|(replica, address)| (*replica, PeerPlace::At(*address)));
        let all: BTreeMap<_, _> = members.chain(configured).chain(added).collect();
        all.into_iter().map(|(replica, place)| ConfiguredPeer { replica, place }).collect()
    }

    /// Does what is to be done about membership in this tick.
    ///
    /// # Errors
    /// See [`ReplicaError`].
    pub fn turn(&mut self, around: &mut Around, now_ns: u64) -> Result<(), ReplicaError> {
        self.ticks += 1;
        self.make_members_known(around);
        self.answer_request(around, now_ns)?;
        self.bring_back(around)
    }

    /// Tells fresh nodes that they are members, and dials those that were added.
    fn make_members_known(&mut self, around: &mut Around) {
        let Some(shell) = &around.shell else { return };
        let members = shell.core.status().membership;
        let are_new = members != self.members;
        if are_new {
            self.members = members.clone();
            around.peers.set_peers(self.peers());
        }
        if !are_new && !self.ticks.is_multiple_of(TELL_AGAIN_TICKS) {
            return;
        }
        let Some(cluster) = around.own.cluster else { return };
        let fresh = around.greetings.connected().filter(|peer| peer.cluster.is_none());
        for node in fresh.map(|peer| peer.node).filter(|node| members.of_node(*node).is_some()) {
            // One that is dropped is said again.
            let _dropped = around.peers.send_found(node, &Found { cluster, members: members.clone() });
        }
    }

    /// Looks at what a tool asks, and answers it if that can be.
    fn answer_request(&mut self, around: &mut Around, now_ns: u64) -> Result<(), ReplicaError> {
        let words = around.words;
        let answer = match words.pending() {
            None => {
                self.request = None;
                return Ok(());
            }
            Some((id, Some(ControlRequest::Cluster(wanted)))) => (id, self.go_on(around, id, wanted, now_ns)?),
            Some((id, _)) => (id, Some(Err("this server does not know how to do that".to_owned()))),
        };
        if let (id, Some(answer)) = answer {
            log_answer(&answer);
            words.answer(id, &answer);
            self.request = None;
            if self.added.take().is_some() {
                around.peers.set_peers(self.peers());
            }
        }
        Ok(())
    }

    /// Does what is to be done next about what a tool asks; the answer, when there is one.
    fn go_on(
        &mut self,
        around: &mut Around,
        id: u32,
        wanted: ClusterRequest,
        now_ns: u64,
    ) -> Result<Option<Answer>, ReplicaError> {
        let Around { own, greetings, peers, shell: Some(shell), .. } = around else {
            return Ok(Some(Err("this instance is not a member of a cluster yet".to_owned())));
        };
        let kept = self.request.take().filter(|request| request.id == id);
        let mut request = kept.unwrap_or_else(|| Request::new(id, wanted, now_ns));
        let (status, gate_is_open) = (shell.core.status(), shell.gate_is_open);
        let standing = Standing { own: own.node, status: &status, gate_is_open, greetings };
        match request.step(standing, now_ns) {
            Step::Answer(answer) => return Ok(Some(answer)),
            Step::Wait => {}
            Step::Dial(replica, address) => {
                let Ok(parsed) = address.parse() else {
                    return Ok(Some(Err(format!("`{address}` is not of the form IP:PORT"))));
                };
                if self.added != Some((replica, parsed)) {
                    self.added = Some((replica, parsed));
                    peers.set_peers(self.peers());
                }
            }
            Step::Change(change) => {
                shell.handle(Event::Change(change.clone()), peers)?;
                if let Some(why) = shell.refused.take() {
                    request.refused(standing, &change, why);
                }
            }
            Step::Transfer(node) => {
                log::info!("leadership is to go to node {node}, as an operator wants");
                shell.handle(Event::Transfer(node), peers)?;
            }
        }
        if let Some(node) = shell.transfer_failed.take() {
            request.transfer_failed(node);
        }
        self.request = Some(request);
        Ok(None)
    }

    /// Proposes the next change that brings a member back, or has a learner of the founding vote, if there is one. It is proposed again in each tick, until it is committed: what
    /// stands against it, that another change is under way or that the learner is behind, goes by.
    fn bring_back(&mut self, around: &mut Around) -> Result<(), ReplicaError> {
        let Around { own, greetings, peers, shell: Some(shell), .. } = around else { return Ok(()) };
        let status = shell.core.status();
        let connected: Vec<_> = greetings.connected().collect();
        let is_primary = status.role == Role::Leader && shell.gate_is_open;
        let configured: Vec<_> = self.configured.iter().map(|peer| peer.replica).collect();
        let change = next_change(own.node, &status.membership, &connected, &configured).filter(|_| is_primary);
        let is_new = change != self.wanted;
        self.wanted.clone_from(&change);
        let Some(change) = change else { return Ok(()) };
        let (replica, node) = (change.member.replica, change.member.node);
        let of_number = status.membership.all().filter(|member| member.replica == replica).count();
        if is_new && of_number == 1 && change.kind == ChangeKind::Promote {
            log::info!("replica {replica}, node {node}, is a learner; it is to vote as soon as it has the log");
        } else if is_new {
            log::info!(
                "replica {replica} has lost its data directory and is another node now; next: {:?} of node {node}",
                change.kind
            );
        }
        shell.handle(Event::Change(change), peers)?;
        match shell.refused.take() {
            None | Some(Refusal::Busy | Refusal::Behind | Refusal::NotLeader) => {}
            Some(why) if is_new => log::warn!("replica {replica} cannot be brought back as node {node}: {why}"),
            Some(_) => {}
        }
        Ok(())
    }
}

/// What of a node all this is done with.
pub struct Around<'a> {
    /// What this instance says of itself.
    pub own: &'a Identity,
    /// Who is connected.
    pub greetings: &'a Greetings,
    /// The connections.
    pub peers: &'a mut Peers,
    /// The core and what it acts on; `None` while this node is no member.
    pub shell: Option<&'a mut Shell>,
    /// Where requests stand.
    pub words: &'a RequestWords,
}

fn log_answer(answer: &Answer) {
    match answer {
        Ok(text) => log::info!("done, as an operator wanted: {text}"),
        Err(why) => log::warn!("what an operator wanted is not done: {why}"),
    }
}
