//! What operators' tools ask about the cluster, and what is to be done next about it: pure.
//!
//! A request stands in shared memory ([`RequestWords`](crate::store::instance::control_requests::RequestWords)). It is looked at once a tick
//! until it can be answered. A successor of a process that died begins with it anew.

use crate::base::limits::CLUSTER_REQUEST_SECONDS;
use crate::base::time::is_over;
use crate::process::replica::core::{Refusal, Role, Status};
use crate::process::replica::founding::Greetings;
use crate::store::cluster::{Change, ChangeKind, Member, NodeId, ReplicaId};
use crate::store::instance::control_requests::{Answer, ClusterRequest};

/// How things stand, as far as requests depend on it.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// This node.
    pub own: NodeId,
    /// The core.
    pub status: &'a Status,
    /// Whether workers may execute here.
    pub gate_is_open: bool,
    /// Who is connected.
    pub greetings: &'a Greetings,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To answer.
    Answer(Answer),
    /// To look again later.
    Wait,
    /// To dial that instance, and look again later.
    Dial(ReplicaId, String),
    /// To propose that change. [`Request::refused`] says what came of it, if it was refused.
    Change(Change),
    /// To hand leadership over to that node.
    Transfer(NodeId),
}

/// A request that is not answered yet.
#[derive(Debug)]
pub struct Request {
    /// Its number.
    pub id: u32,
    wanted: ClusterRequest,
    began_ns: u64,
    /// The node that it has turned out to be about, when the change is proposed, or leadership is on its way.
    node: Option<NodeId>,
    /// Why it is not done yet.
    because: Option<String>,
    /// The answer, where it follows from what was tried.
    answer: Option<Answer>,
}

impl Request {
    /// A request that has just been found.
    #[must_use]
    pub fn new(id: u32, wanted: ClusterRequest, now_ns: u64) -> Request {
        Request { id, wanted, began_ns: now_ns, node: None, because: None, answer: None }
    }

    /// What is to be done now.
    #[must_use]
    pub fn step(&mut self, standing: Standing, now_ns: u64) -> Step {
        let step = self.answer.take().map_or_else(|| self.look(standing), Step::Answer);
        if !matches!(step, Step::Answer(_)) && is_over(now_ns, self.began_ns, CLUSTER_REQUEST_SECONDS * 1_000_000_000) {
            let because = self.because.as_deref().unwrap_or("a majority of the members does not answer");
            return Step::Answer(Err(format!("it is not done within {CLUSTER_REQUEST_SECONDS} s: {because}")));
        }
        step
    }

    /// The change was refused.
    pub fn refused(&mut self, standing: Standing, change: &Change, why: Refusal) {
        let replica = change.member.replica;
        if why == Refusal::Busy {
            return self.because = Some(why.to_string());
        }
        let status = standing.status;
        let progress = status.progress.iter().find(|progress| progress.node == change.member.node);
        let text = match (why, progress) {
            (Refusal::Behind, Some(progress)) => format!(
                "replica {replica} has the log up to record {} of {}; try again when it has caught up",
                progress.matched, status.committed
            ),
            _ => format!("replica {replica}: {why}"),
        };
        self.answer = Some(Err(text));
    }

    /// Leadership did not go over.
    pub fn transfer_failed(&mut self, node: NodeId) {
        if self.node == Some(node) && matches!(self.wanted, ClusterRequest::Transfer(_)) {
            self.answer = Some(Err("the other instance has not taken leadership over in time".to_owned()));
        }
    }

    /// An instance that was dialled was not accepted.
    pub fn peer_refused(&mut self, replica: Option<ReplicaId>, why: &str) {
        if let ClusterRequest::Add { replica: added, address } = &self.wanted
            && replica == Some(*added)
        {
            self.because = Some(format!("replica {added} at {address}: {why}"));
        }
    }

    fn look(&mut self, standing: Standing) -> Step {
        match self.wanted.clone() {
            ClusterRequest::Transfer(to) => self.transfer(standing, to),
            ClusterRequest::Add { replica, address } => self.add(standing, replica, &address),
            ClusterRequest::Promote(replica) => self.promote(standing, replica),
            ClusterRequest::Remove(replica) => self.remove(standing, replica),
        }
    }

    fn transfer(&mut self, standing: Standing, to: Option<ReplicaId>) -> Step {
        let Standing { own, status, .. } = standing;
        if let Some(node) = self.node {
            return match status.leader {
                Some(leader) if leader == node => {
                    done(format!("replica {} leads, in term {}", standing.name(leader), status.term))
                }
                Some(leader) if leader != own => {
                    refuse(format!("replica {} leads now, in term {}", standing.name(leader), status.term))
                }
                _ => Step::Wait,
            };
        }
        if let Some(step) = standing.unless_primary() {
            return step;
        }
        let found = match to {
            None => standing.best_successor().ok_or_else(|| "no other member that votes is connected".to_owned()),
            Some(replica) => standing.voter(replica),
        };
        match found {
            Err(why) => refuse(why),
            Ok(node) if node == own => {
                done(format!("replica {} leads already, in term {}", standing.name(own), status.term))
            }
            Ok(node) if !standing.is_connected(node) => {
                refuse(format!("replica {} is not connected", standing.name(node)))
            }
            Ok(node) => {
                self.node = Some(node);
                Step::Transfer(node)
            }
        }
    }

    fn add(&mut self, standing: Standing, replica: ReplicaId, address: &str) -> Step {
        let members = &standing.status.membership;
        if let Some(node) = self.node.filter(|&node| members.of_node(node).is_some()) {
            return done(format!(
                "replica {replica} at {address}, node {node}, is a learner; promote it when it has the log"
            ));
        }
        if let Some(step) = self.unless_begun_or_primary(standing) {
            return step;
        }
        if let Some(member) = members.all().find(|member| member.replica == replica && Some(member.node) != self.node) {
            return refuse(format!(
                "replica {replica} is a member already, node {} at {}; remove it first",
                member.node, member.address
            ));
        }
        let Some(greeted) = standing.greetings.of_replica(replica) else {
            if self.because.is_none() {
                self.because = Some(format!("nobody at {address} has greeted as replica {replica}"));
            }
            return Step::Dial(replica, address.to_owned());
        };
        self.node = Some(greeted.node);
        let member = Member { replica, node: greeted.node, address: address.to_owned() };
        Step::Change(Change { kind: ChangeKind::AddLearner, member })
    }

    fn promote(&mut self, standing: Standing, replica: ReplicaId) -> Step {
        let members = &standing.status.membership;
        let votes = |node: NodeId| members.voters.iter().any(|voter| voter.node == node);
        if self.node.is_some_and(votes) {
            return done(format!("replica {replica} votes"));
        }
        if let Some(step) = self.unless_begun_or_primary(standing) {
            return step;
        }
        let Some(learner) = members.learners.iter().find(|learner| learner.replica == replica) else {
            let is_voter = members.voters.iter().any(|voter| voter.replica == replica);
            let why = if is_voter { "votes already" } else { "is no member; add it first" };
            return refuse(format!("replica {replica} {why}"));
        };
        if !standing.is_connected(learner.node) {
            return refuse(format!("replica {replica} is not connected: nothing would be committed if it voted"));
        }
        self.node = Some(learner.node);
        Step::Change(Change { kind: ChangeKind::Promote, member: learner.clone() })
    }

    fn remove(&mut self, standing: Standing, replica: ReplicaId) -> Step {
        let members = &standing.status.membership;
        if self.node.is_some_and(|node| members.of_node(node).is_none()) {
            return done(format!("replica {replica} is no member any more; stop its instance"));
        }
        if let Some(step) = self.unless_begun_or_primary(standing) {
            return step;
        }
        // While one replaces the other there are two of that number: the one that is gone is meant.
        let of_number = || members.all().filter(|member| member.replica == replica);
        let gone = of_number().find(|member| !standing.is_connected(member.node));
        let Some(member) = gone.or_else(|| of_number().next()) else {
            return refuse(format!("replica {replica} is no member"));
        };
        if member.node == standing.own {
            return refuse(format!(
                "replica {replica} is this instance, the primary; hand leadership over first, by `vaultctl cluster transfer`, and ask the next"
            ));
        }
        if !standing.has_majority_without(member.node) {
            return refuse(format!("without replica {replica} no majority of those that vote would be connected"));
        }
        self.node = Some(member.node);
        Step::Change(Change { kind: ChangeKind::Remove, member: member.clone() })
    }

    /// What to do where this instance is not the primary: a change that was proposed may still be committed.
    fn unless_begun_or_primary(&mut self, standing: Standing) -> Option<Step> {
        let step = standing.unless_primary()?;
        if self.node.is_none() {
            return Some(step);
        }
        self.because = Some("this instance has lost leadership meanwhile".to_owned());
        Some(Step::Wait)
    }
}

impl Standing<'_> {
    /// What to do where this instance is not the primary.
    fn unless_primary(&self) -> Option<Step> {
        let status = self.status;
        match status.leader {
            _ if status.role == Role::Leader && self.gate_is_open => None,
            _ if status.role == Role::Leader => Some(Step::Wait),
            Some(leader) => {
                let address = self.greetings.client_address(leader).unwrap_or("an unknown address");
                Some(refuse(format!(
                    "this instance is not the primary: that is replica {}, with clients at {address}; ask its instance",
                    self.name(leader)
                )))
            }
            None => Some(refuse("this instance is not the primary, and knows of none".to_owned())),
        }
    }

    fn is_connected(&self, node: NodeId) -> bool {
        node == self.own || self.greetings.of_node(node).is_some()
    }

    /// A node's number in words.
    fn name(&self, node: NodeId) -> String {
        let member = self.status.membership.of_node(node);
        member.map_or_else(|| format!("of node {node}"), |member| member.replica.to_string())
    }

    fn voter(&self, replica: ReplicaId) -> Result<NodeId, String> {
        let members = &self.status.membership;
        let of_number = || members.voters.iter().filter(|voter| voter.replica == replica);
        let connected = of_number().find(|voter| self.is_connected(voter.node));
        connected.or_else(|| of_number().next()).map(|voter| voter.node).ok_or_else(|| {
            let learns = members.learners.iter().any(|learner| learner.replica == replica);
            let why = if learns { "is a learner, and does not vote; promote it first" } else { "is no member" };
            format!("replica {replica} {why}")
        })
    }

    /// The other voter that is connected and has most of the log.
    fn best_successor(&self) -> Option<NodeId> {
        let votes = |node: NodeId| self.status.membership.voters.iter().any(|voter| voter.node == node);
        let others = self.status.progress.iter().filter(|other| votes(other.node) && self.is_connected(other.node));
        others.max_by_key(|other| (other.is_active, other.matched)).map(|other| other.node)
    }

    /// Whether a majority of those that vote is connected when that node is gone.
    fn has_majority_without(&self, node: NodeId) -> bool {
        let left = self.status.membership.voters.iter().filter(|voter| voter.node != node);
        let (all, connected) =
            left.fold((0, 0), |(all, there), voter| (all + 1, there + usize::from(self.is_connected(voter.node))));
        connected > all / 2
    }
}

fn done(text: String) -> Step {
    Step::Answer(Ok(text))
}

fn refuse(why: String) -> Step {
    Step::Answer(Err(why))
}
