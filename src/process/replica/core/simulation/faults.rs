//! What goes wrong, and what an operator does.

use rand::RngExt;
use rand::rngs::SmallRng;

use super::instance::{Instance, Stage};
use super::network::Network;
use super::oracle::Verdict;
use super::records::{Record, What};
use super::world::{World, member};
use crate::process::replica::core::event::Event;
use crate::store::cluster::{Change, ChangeKind, Membership, NodeId};

/// How much goes wrong: one in so many moments, or 0 for never.
#[derive(Clone, Debug)]
pub struct Faults {
    dropped: u32,
    repeated: u32,
    delay: u64,
    pub disk: u32,
    pub late: u64,
    pub snapshot: u32,
    pub idle: u32,
    /// Reads, of ten calls.
    pub reads: u32,
    pub between_actions: u32,
    crash: u32,
    cut: u32,
    heal: u32,
    transfer: u32,
    empty: u32,
    remove: u32,
    /// Whether the cluster begins with one voter.
    pub grows: bool,
}

impl Faults {
    pub fn new(rng: &mut SmallRng) -> Faults {
        let mut pick = |from: &[u32]| from[rng.random_range(0..from.len())];
        Faults {
            dropped: pick(&[0, 10, 60]),
            repeated: pick(&[0, 20, 100]),
            delay: u64::from(pick(&[2, 6, 20])),
            disk: pick(&[1, 2, 6]),
            late: u64::from(pick(&[0, 3, 40])),
            snapshot: pick(&[20, 100, 500]),
            idle: pick(&[2, 5, 20]),
            reads: pick(&[3, 9]),
            between_actions: pick(&[0, 500, 2000]),
            crash: pick(&[0, 150, 400]),
            cut: pick(&[0, 80, 250]),
            heal: pick(&[30, 100, 200]),
            transfer: pick(&[0, 100, 400]),
            empty: pick(&[0, 0, 300]),
            remove: pick(&[0, 0, 300]),
            grows: false,
        }
    }

    /// Links are cut for long, and nothing else fails.
    pub fn cuts_only(&mut self) {
        (self.crash, self.between_actions, self.transfer, self.empty, self.remove) = (0, 0, 0, 0, 0);
        (self.cut, self.heal, self.reads, self.idle) = (60, 200, 9, 2);
        (self.dropped, self.delay, self.disk, self.late) = (0, 2, 1, 0);
    }

    /// Primaries that are cut off and crash, with slow disks, so that logs are truncated.
    pub fn truncations(&mut self) {
        (self.crash, self.cut, self.heal, self.transfer, self.empty, self.remove) = (80, 60, 60, 0, 0, 0);
        (self.reads, self.idle, self.disk, self.late) = (3, 2, 4, 40);
    }

    /// Truncations, of which the replica process hears before it hears of what was written before them.
    pub fn late_reports(&mut self) {
        self.truncations();
        (self.crash, self.cut, self.disk, self.late) = (60, 40, 6, 60);
        (self.dropped, self.delay, self.snapshot) = (0, 2, 500);
    }

    /// Whether the members are always the same.
    pub fn leave_members(&self) -> bool {
        self.empty == 0 && self.remove == 0 && !self.grows
    }

    pub fn set(&self, network: &mut Network) {
        (network.dropped, network.repeated, network.delay) = (self.dropped, self.repeated, self.delay);
    }
}

impl World {
    fn may(&mut self, many: u32) -> bool {
        many > 0 && self.one_in(many)
    }

    /// Nothing goes wrong from now on.
    pub fn calm(&mut self) {
        let faults = &mut self.faults;
        (faults.dropped, faults.repeated, faults.delay, faults.between_actions) = (0, 0, 2, 0);
        (faults.disk, faults.late, faults.idle) = (1, 0, 5);
        let faults = self.faults.clone();
        faults.set(&mut self.network);
        self.network.heal();
    }

    /// Something may go wrong.
    pub fn fault(&mut self) -> Verdict {
        let faults = self.faults.clone();
        let i = self.rng.random_range(0..self.instances.len());
        if self.may(faults.crash) {
            self.crash_something(i);
        }
        // A cut is as long as it takes to fail in it.
        let is_cutting = |instance: &Instance| instance.memory.as_ref().is_some_and(|memory| memory.cut.is_some());
        if let Some(cutting) = self.instances.iter().position(is_cutting)
            && faults.crash > 0
            && self.one_in(8)
        {
            self.crash_something(cutting);
        }
        if self.may(faults.cut) {
            let primary = self.primary().filter(|_| self.now.is_multiple_of(2));
            self.cut(primary.unwrap_or(i));
        } else if self.may(faults.heal) {
            self.network.heal();
        }
        if self.may(faults.transfer) {
            let primary = self.primary().unwrap_or(i);
            let event = if self.one_in(4) {
                self.seen.left += 1;
                Event::Leave
            } else {
                self.seen.transferred += 1;
                self.wanted = (i != primary).then_some(self.instances[i].node);
                Event::Transfer(self.instances[i].node)
            };
            self.drive(primary, event)?;
        }
        let can_spare_one = self.instances.len() > 2;
        if can_spare_one && self.may(faults.empty) && self.is_whole() {
            self.empty(i);
        }
        if can_spare_one && self.may(faults.remove) && self.is_whole() {
            let instance = &self.instances[i];
            let change = Change { kind: ChangeKind::Remove, member: member(instance.number, instance.node) };
            self.change(change)?;
        }
        Ok(())
    }

    /// The replica process dies, or the instance, or the power fails.
    pub fn crash_something(&mut self, i: usize) {
        let (now, is_all) = (self.now, self.one_in(2));
        let instance = &mut self.instances[i];
        if let Some(cut) = instance.memory.as_ref().and_then(|memory| memory.cut) {
            let step = match cut.stage {
                Stage::Clear => 1,
                Stage::Sync => 2,
                Stage::Publish => 3,
            };
            self.seen.cut_short[step] += 1;
        }
        if is_all {
            let clients: Vec<_> = instance.memory.iter_mut().flat_map(|memory| memory.held.drain(..)).collect();
            instance.crash(now, &mut self.rng);
            drop(clients);
        } else {
            self.seen.resumed += u64::from(instance.memory.as_ref().is_some_and(|memory| memory.gate));
            instance.crash_replica(now, &mut self.rng);
        }
    }

    /// Links are cut: all of an instance or one, one way or both, or those between two parts.
    fn cut(&mut self, i: usize) {
        let many = self.instances.len();
        let (out, back) = [(true, true), (true, true), (true, false), (false, true)][self.rng.random_range(0..4)];
        let other = self.rng.random_range(0..many);
        let with_other = self.rng.random_range(0..4);
        for j in (0..many).filter(|j| *j != i && (with_other > 0 || *j == other)) {
            // A part of two: the other one stays with this one.
            let (inside, outside) = if with_other == 1 && j == other { continue } else { (i, j) };
            for inside in [inside, other].into_iter().take(if with_other == 1 { 2 } else { 1 }) {
                if inside != outside {
                    self.network.cut[inside][outside] |= out;
                    self.network.cut[outside][inside] |= back;
                }
            }
        }
    }

    /// Everybody votes and knows it, nobody else is a member, and no change of that is under way.
    ///
    /// A change counts for a node when the node knows that it is committed. If the only one that knows is lost for ever, the others may
    /// need its vote: the instant between is too early to lose a disk.
    pub fn is_whole(&self) -> bool {
        let members = &self.oracle.members;
        let is_voter = |instance: &Instance| {
            let votes = members.voters.iter().any(|voter| voter.node == instance.node);
            votes && instance.disk.file.members == *members
        };
        let is_open =
            |record: &Record| record.lsn > self.oracle.log.len() as u64 && matches!(record.what, What::Change(_));
        let has_open = |instance: &Instance| {
            let ring = instance.memory.iter().flat_map(|memory| &memory.ring);
            ring.chain(instance.disk.cells.iter().flatten()).chain(&instance.frame).any(is_open)
        };
        members.all().count() == self.instances.len()
            && self.instances.iter().all(|instance| is_voter(instance) && !has_open(instance))
            && !self.network.records().any(is_open)
    }

    fn members(&self) -> Option<Membership> {
        let core = self.instances[self.primary()?].core.as_ref()?;
        Some(core.status().membership)
    }

    /// An instance loses its data directory, and is another node from now on.
    fn empty(&mut self, i: usize) {
        self.seen.emptied += 1;
        let node = NodeId::new(self.next_node).unwrap();
        self.next_node += 1;
        let mut instance = Instance::new(self.instances[i].number, node, self.founders.clone());
        instance.starts_at = self.now + self.rng.random_range(1..60);
        self.instances[i] = instance;
    }

    fn change(&mut self, change: Change) -> Verdict {
        match self.primary() {
            Some(primary) => self.drive(primary, Event::Change(change)),
            None => Ok(()),
        }
    }

    /// The operator makes all instances voters, and removes who is gone.
    pub fn operate(&mut self) -> Verdict {
        let Some(members) = self.members() else { return Ok(()) };
        let mut wanted = Vec::new();
        for instance in &self.instances {
            let member = member(instance.number, instance.node);
            if members.of_node(instance.node).is_none() {
                wanted.push(Change { kind: ChangeKind::AddLearner, member });
            } else if members.learners.contains(&member) {
                wanted.push(Change { kind: ChangeKind::Promote, member });
            }
        }
        let is_gone = |node: NodeId| self.instances.iter().all(|instance| instance.node != node);
        let gone = members.all().filter(|member| is_gone(member.node));
        wanted.extend(gone.map(|member| Change { kind: ChangeKind::Remove, member: member.clone() }));
        if wanted.is_empty() {
            return Ok(());
        }
        let change = wanted.swap_remove(self.rng.random_range(0..wanted.len()));
        self.change(change)
    }
}
