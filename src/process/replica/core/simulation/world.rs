//! The world: instances, what is between them, and what the core asks for.

use std::rc::Rc;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::clients::Client;
use super::faults::Faults;
use super::instance::{Cut, Instance, Stage};
use super::network::{Network, Packet};
use super::oracle::{Oracle, Verdict, hold};
use super::records::{What, records_of_before};
use super::seen::Seen;
use crate::base::vocab::Lsn;
use crate::process::replica::core::defect::Defect;
use crate::process::replica::core::event::{Action, Control, Event};
use crate::process::replica::core::settings::Settings;
use crate::process::replica::message::{EntryRange, Message, MessageKind};
use crate::store::cluster::{Member, Membership, NodeId, ReplicaId};

/// Moments of a tick.
pub const TICK: u64 = 6;

pub struct World {
    pub rng: SmallRng,
    pub now: u64,
    pub instances: Vec<Instance>,
    pub network: Network,
    pub oracle: Oracle,
    pub clients: Vec<Client>,
    pub faults: Faults,
    pub founders: Membership,
    pub defect: Option<Defect>,
    pub next_node: u64,
    pub next_op: u64,
    /// Who is to be the next primary, as the operator wants it.
    pub wanted: Option<NodeId>,
    /// What has happened, for the tests to see that it does.
    pub seen: Seen,
}

pub fn member(number: u8, node: NodeId) -> Member {
    let replica = ReplicaId::new(number).unwrap();
    Member { replica, node, address: format!("10.0.0.{number}:7000") }
}

impl World {
    pub fn new(seed: u64, shape: fn(&mut Faults), defect: Option<Defect>) -> World {
        let mut rng = SmallRng::seed_from_u64(seed);
        let many = [3, 3, 5, 3, 5, 3, 3, 1][usize::try_from(seed % 8).unwrap()];
        let nodes: Vec<NodeId> = (0..many).map(|_| NodeId::new(rng.random_range(1..1 << 40)).unwrap()).collect();
        let numbered = || (1_u8..).zip(&nodes).map(|(number, node)| (number, *node));
        let voters = numbered().map(|(number, node)| member(number, node)).collect();
        let mut founders = Membership { voters, learners: Vec::new() };
        // One of some has operations of its own, and founds the cluster with them.
        let founder = (many > 1 && rng.random_range(0..8) == 0).then(|| rng.random_range(0..many));
        if let Some(founder) = founder {
            let founding = founders.voters.remove(founder);
            founders.learners = std::mem::replace(&mut founders.voters, vec![founding]);
        }
        let mut instances: Vec<_> =
            numbered().map(|(number, node)| Instance::new(number, node, founders.clone())).collect();
        let before = founder.map_or_else(Vec::new, |_| records_of_before(rng.random_range(1..60)));
        if let Some(founder) = founder {
            instances[founder].disk.found(&before);
        }
        let mut faults = Faults::new(&mut rng);
        shape(&mut faults);
        faults.grows = founder.is_some();
        let mut network = Network::new(many);
        faults.set(&mut network);
        World {
            rng,
            now: 0,
            instances,
            network,
            oracle: Oracle::new(founders.clone(), &before),
            clients: (0..8).map(|_| Client::default()).collect(),
            faults,
            founders,
            defect,
            next_node: 1 << 41,
            next_op: 1,
            wanted: None,
            seen: Seen { founded: u64::from(founder.is_some()), ..Seen::default() },
        }
    }

    pub fn one_in(&mut self, many: u32) -> bool {
        self.rng.random_range(0..many) == 0
    }

    pub fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn settings(&mut self) -> Settings {
        let mut settings = Settings::new(NodeId::new(1).unwrap(), self.rng.random());
        settings.election_ticks = (8, 17);
        (settings.entry_records, settings.message_records) = (4, 8);
        (settings.messages_in_flight, settings.records_ahead, settings.entries_kept) = (4, 60, 60);
        settings.defect = self.defect;
        settings
    }

    /// One moment goes by.
    pub fn step(&mut self) -> Verdict {
        self.now += 1;
        for packet in self.network.arriving(self.now) {
            self.arrive(packet)?;
        }
        for i in 0..self.instances.len() {
            self.go_on(i)?;
        }
        self.clients_go_on()
    }

    /// An instance goes on.
    fn go_on(&mut self, i: usize) -> Verdict {
        let now = self.now;
        let instance = &mut self.instances[i];
        if instance.memory.is_none() {
            if instance.starts_at > now {
                return Ok(());
            }
            instance.start().map_err(|error| format!("instance {i} cannot start: {error}"))?;
            instance.replica_at = now;
            // What DATA/raft says is committed may never have been told.
            let upto = instance.memory.as_ref().map_or(0, |memory| memory.books.upto);
            let records = instance.records(instance.first(), upto).unwrap_or_default();
            self.oracle.committed(records.iter()).map_err(|error| format!("instance {i} starts: {error}"))?;
            let books = instance.memory.as_ref().map(|memory| memory.books.clone());
            books.map_or(Ok(()), |books| self.oracle.books(&books))?;
        }
        if self.instances[i].core.is_none() && self.instances[i].replica_at <= now {
            let settings = self.settings();
            let instance = &mut self.instances[i];
            instance
                .start_replica(settings, &mut self.rng)
                .map_err(|error| format!("replica {i} cannot start: {error}"))?;
            self.perform_all(i)?;
        }
        self.journal(i)?;
        self.replica(i)?;
        self.worker(i)
    }

    fn journal(&mut self, i: usize) -> Verdict {
        let (now, late) = (self.now, self.faults.late);
        if !self.one_in(self.faults.disk) {
            return Ok(());
        }
        let with_intent = !self.has(Defect::TruncationWithoutIntent);
        if let Some(generation) = self.instances[i].journal(now, late, with_intent, &mut self.rng) {
            self.drive(i, Event::Truncated { generation })?;
        }
        Ok(())
    }

    /// What the replica process sees in shared memory, and the clock.
    fn replica(&mut self, i: usize) -> Verdict {
        let now = self.now;
        let Some(memory) = &mut self.instances[i].memory else { return Ok(()) };
        let (due, later) = memory.reports.drain(..).partition(|(at, ..)| *at <= now);
        memory.reports = later;
        let due: Vec<(u64, u64, u64)> = due;
        for (_, generation, upto) in due {
            self.drive(i, Event::OnDisk { generation, upto: Lsn(upto) })?;
        }
        if self.instances[i].ticks_at <= now {
            self.instances[i].ticks_at = now + TICK - 1 + self.rng.random_range(0..3);
            self.drive(i, Event::Tick)?;
        }
        if self.one_in(2) {
            return Ok(());
        }
        let Some(memory) = &self.instances[i].memory else { return Ok(()) };
        let (gate, executed, wanted) = (memory.gate, memory.books.upto, memory.wanted);
        if gate {
            self.instances[i].note_ends();
            self.drive(i, Event::Executed(Lsn(executed)))?;
        }
        if wanted > self.instances[i].told {
            self.instances[i].told = wanted;
            self.drive(i, Event::ReadsWanted(wanted))?;
        }
        if self.instances[i].apply(&mut self.rng) {
            let books = self.instances[i].memory.as_ref().map(|memory| memory.books.clone());
            if let Some(books) = books {
                self.oracle.books(&books).map_err(|error| format!("instance {i}: {error}"))?;
                self.drive(i, Event::Applied(Lsn(books.upto)))?;
            }
        }
        if self.one_in(8)
            && let Some((log, more)) = self.instances[i].older(&mut self.rng)
        {
            self.seen.read_back += 1;
            self.drive(i, Event::Older { log, more })?;
        }
        if self.one_in(self.faults.snapshot) {
            let has_defect = self.has(Defect::UncommittedSnapshot);
            if let Some(first) = self.instances[i].snapshot(has_defect, &mut self.rng) {
                self.seen.trimmed += 1;
                self.drive(i, Event::Trimmed(Lsn(first)))?;
            }
        }
        Ok(())
    }

    /// A packet arrives.
    fn arrive(&mut self, packet: Packet) -> Verdict {
        if let Some((to, ok)) = packet.outcome {
            return self.drive(packet.from, Event::SnapshotSent { to, ok });
        }
        let is_snapshot = packet.message.kind == MessageKind::Snapshot;
        let to = self.instances.iter().position(|instance| instance.node == packet.message.to);
        let there = to.and_then(|to| Some((to, self.instances[to].core.as_ref()?)));
        let Some((to, core)) = there else {
            if is_snapshot {
                let outcome = Packet { outcome: Some((packet.message.to, false)), books: None, ..packet };
                self.network.tell(self.now, outcome);
            }
            return Ok(());
        };
        if is_snapshot {
            // As the receiver of `process/replica/snapshots` does it: what is committed here is not taken in once more, and the sender
            // hears that it is there. Everything else is delivered; what the core makes of raft's message is its own affair.
            let outcome = Packet { outcome: Some((packet.message.to, true)), books: None, ..packet.clone() };
            self.network.tell(self.now, outcome);
            let last = packet.message.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.0);
            if self.instances[to].memory.as_ref().is_some_and(|memory| last <= memory.committed) {
                return Ok(());
            }
            self.instances[to].incoming = packet.books;
        } else if core.is_done_with_message() {
            self.instances[to].frame = packet.records;
        }
        self.drive(to, Event::Message(packet.message))
    }

    /// An event for the core of an instance, if its replica process lives, and all that follows.
    pub fn drive(&mut self, i: usize, event: Event) -> Verdict {
        let Some(core) = &mut self.instances[i].core else { return Ok(()) };
        core.handle(event);
        self.perform_all(i)
    }

    fn perform_all(&mut self, i: usize) -> Verdict {
        while let Some(action) = self.instances[i].core.as_mut().and_then(|core| core.next_action()) {
            if self.faults.between_actions > 0 && self.one_in(self.faults.between_actions) {
                self.crash_something(i);
                return Ok(());
            }
            let told = format!("instance {i}");
            self.perform(i, action).map_err(|error| format!("{told}: {error}"))?;
        }
        Ok(())
    }

    fn answer(&mut self, i: usize, event: Event) {
        if let Some(core) = &mut self.instances[i].core {
            core.handle(event);
        }
    }

    fn perform(&mut self, i: usize, action: Action) -> Verdict {
        let (now, without_intent) = (self.now, self.has(Defect::TruncationWithoutIntent));
        let instance = &mut self.instances[i];
        let Some(memory) = &mut instance.memory else { return Ok(()) };
        match action {
            Action::Save { state, sync } => instance.disk.save(sync, |file| file.hard = state),
            Action::SaveMembership { membership, index } => {
                instance.disk.save(true, |file| {
                    (file.members, file.members_at) = (membership, index);
                    file.hard.commit = file.hard.commit.max(index);
                });
            }
            Action::Truncate { after, generation } => self.truncate(i, after.0, generation),
            Action::AppendControl(control) => {
                let what = match control {
                    Control::Term(term) => What::Term(term),
                    Control::Change(change) => What::Change(Rc::new(change)),
                };
                let lsn = Lsn(instance.put(what));
                instance.note_ends();
                self.answer(i, Event::Appended { lsn });
            }
            Action::Append(entries) => return entries.iter().try_for_each(|entry| self.append(i, entry)),
            Action::Send(message) => return self.send(i, message),
            Action::Commit(upto) => {
                let first = memory.committed.max(instance.disk.base.2);
                memory.committed = memory.committed.max(upto.0);
                if upto.0 > first {
                    let from = memory.place(instance.disk.base.2, first + 1);
                    let to = memory.place(instance.disk.base.2, upto.0 + 1);
                    return self.oracle.committed(memory.ring[from..to].iter());
                }
            }
            Action::OpenGate { term } => {
                self.seen.elections += 1;
                self.seen.handed_over += u64::from(self.wanted.take() == Some(instance.node));
                let (executed, last) = (memory.books.upto, instance.disk.base.2 + memory.ring.len() as u64);
                memory.gate = true;
                memory.unpublished = None;
                hold(executed == last, || format!("the gate opens with books as of {executed} of {last}"))?;
                return self.oracle.primary(term, instance.node);
            }
            Action::CloseGate => {
                memory.gate = false;
                let executed = Lsn(memory.books.upto);
                self.close(i);
                self.instances[i].note_ends();
                self.answer(i, Event::GateClosed { executed });
            }
            Action::Remake { keep } => {
                self.seen.remade += 1;
                if !without_intent {
                    instance.disk.save(true, |file| file.intent = Some(keep.0));
                }
                instance.end(now + self.rng.random_range(1..20));
            }
            Action::Install(snapshot) => {
                self.seen.installed += 1;
                let books = instance.incoming.take().ok_or("a snapshot is installed that has not come")?;
                let base = (snapshot.index, snapshot.term, snapshot.last.0);
                instance.disk.install(base, snapshot.membership, books);
                instance.end(now + self.rng.random_range(1..20));
            }
            Action::ConfirmReads(round) => memory.confirmed = memory.confirmed.max(round),
            Action::Malformed { what, .. } => return Err(format!("a message is malformed: {what}")),
            Action::Leader { .. } | Action::ChangeRefused { .. } | Action::TransferFailed(_) | Action::Left => {}
        }
        Ok(())
    }

    /// The intent is written, and what comes after record `after` is cut from the ring; the disk follows.
    fn truncate(&mut self, i: usize, after: u64, generation: u64) {
        self.seen.truncated += 1;
        if !self.has(Defect::TruncationWithoutIntent) {
            self.instances[i].disk.save(true, |file| file.intent = Some(after));
        }
        if self.faults.between_actions > 0 && self.rng.random_range(0..8) == 0 {
            self.seen.cut_short[0] += 1;
            return self.crash_something(i);
        }
        let instance = &mut self.instances[i];
        if let Some(memory) = &mut instance.memory {
            let place = memory.place(instance.disk.base.2, after + 1);
            memory.ring.truncate(place);
            (memory.log_end, memory.generation) = (memory.log_end.min(after), generation);
            memory.cut = Some(Cut { after, generation, stage: Stage::Clear });
        }
    }

    /// An entry is stamped, and goes to the disk.
    fn append(&mut self, i: usize, entry: &EntryRange) -> Verdict {
        let instance = &mut self.instances[i];
        for lsn in entry.first.0..=entry.last.0 {
            if lsn > instance.last() {
                let record = instance.frame.iter().find(|record| record.lsn == lsn).cloned();
                let record = record.ok_or_else(|| format!("record {lsn} of {entry:?} has not come"))?;
                instance.memory.iter_mut().for_each(|memory| memory.ring.push(record.clone()));
            }
        }
        let (base, Some(memory)) = (instance.disk.base, &mut instance.memory) else { return Ok(()) };
        let from = memory.place(base.2, entry.first.0);
        let to = memory.place(base.2, entry.last.0 + 1);
        let before = if from == 0 { base.1 } else { memory.ring[from - 1].term };
        for record in &mut memory.ring[from..to] {
            (record.index, record.term, record.ends) = (entry.index, entry.term, record.lsn == entry.last.0);
        }
        memory.log_end = entry.last.0;
        self.oracle.appended(before, entry, &memory.ring[from..to])
    }

    fn send(&mut self, i: usize, message: Message) -> Verdict {
        let node = message.to;
        let (instance, now) = (&self.instances[i], self.now);
        let mut packet = Packet { from: i, message, records: Vec::new(), books: None, outcome: None };
        let to = self.instances.iter().position(|instance| instance.node == node);
        let mut is_there = to.is_some();
        if let (Some(first), Some(last)) = (packet.message.entries.first(), packet.message.entries.last()) {
            match instance.records(first.first.0, last.last.0) {
                Some(records) => packet.records = records.to_vec(),
                None => is_there = false,
            }
        }
        if let Some(snapshot) = &packet.message.snapshot {
            packet.books = instance.books_at(snapshot.last.0);
            is_there &= packet.books.is_some();
        }
        let is_snapshot = packet.message.snapshot.is_some();
        let fails = Packet { outcome: Some((node, false)), records: Vec::new(), books: None, ..packet.clone() };
        let is_sent = is_there && to.is_some_and(|to| self.network.send(now, to, packet, &mut self.rng));
        if !is_sent && is_snapshot {
            self.network.tell(now, fails);
        } else if !is_sent && self.one_in(3) {
            // Often nobody notices.
            self.answer(i, Event::Unreachable(node));
        }
        Ok(())
    }

    /// Where the primary is.
    pub fn primary(&self) -> Option<usize> {
        let has_gate = |instance: &Instance| instance.memory.as_ref().is_some_and(|memory| memory.gate);
        let term = |instance: &Instance| instance.core.as_ref().map_or(0, |core| core.status().term);
        let primaries = (0..self.instances.len()).filter(|i| has_gate(&self.instances[*i]));
        primaries.max_by_key(|i| term(&self.instances[*i]))
    }
}
