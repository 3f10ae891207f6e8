//! An instance: its disk, its shared memory, its journal process, its replica process.

use rand::RngExt;
use rand::rngs::SmallRng;

use super::disk::Disk;
use super::oracle::Verdict;
use super::records::{Books, Record, What, base_at, log_of};
use crate::base::vocab::Lsn;
use crate::process::replica::core::log::Log;
use crate::process::replica::core::settings::Settings;
use crate::process::replica::core::state::{Core, Loaded};
use crate::store::cluster::{Membership, NodeId};

/// What a worker keeps back for a client.
#[derive(Clone, Debug)]
pub enum Held {
    /// An operation that is done when this record is committed.
    Done { lsn: u64 },
    /// A balance, which is shown when it is committed and this round is confirmed.
    Shown { account: usize, balance: i64, as_of: u64, round: u64 },
}

/// Where the journal process is with a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Clear,
    Sync,
    Publish,
}

/// A cut that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub after: u64,
    pub generation: u64,
    pub stage: Stage,
}

/// What processes of an instance share.
pub struct Memory {
    /// All records from the journal's first on, proposed or not.
    pub ring: Vec<Record>,
    pub log_end: u64,
    pub on_disk: u64,
    pub generation: u64,
    pub gate: bool,
    pub committed: u64,
    pub books: Books,
    pub wanted: u64,
    pub confirmed: u64,
    /// Which call of which client, and what it will be told.
    pub held: Vec<(usize, u64, Held)>,
    /// Books of which a snapshot is to be published when they are committed.
    pub unpublished: Option<Books>,
    pub cut: Option<Cut>,
    /// What the journal process has said and the replica process has not heard: when it will, the generation, the record.
    pub reports: Vec<(u64, u64, u64)>,
}

pub struct Instance {
    pub number: u8,
    pub node: NodeId,
    pub disk: Disk,
    pub memory: Option<Memory>,
    pub core: Option<Core>,
    /// When what is down starts again: all of it, or the replica process.
    pub starts_at: u64,
    pub replica_at: u64,
    pub ticks_at: u64,
    /// The records of the message that the core may still name.
    pub frame: Vec<Record>,
    pub incoming: Option<Books>,
    /// The last round that the replica process has told the core.
    pub told: u64,
}

impl Memory {
    /// The place of a record in the ring.
    pub fn place(&self, base: u64, lsn: u64) -> usize {
        usize::try_from(lsn - base - 1).unwrap().min(self.ring.len())
    }
}

impl Instance {
    pub fn new(number: u8, node: NodeId, founders: Membership) -> Instance {
        Instance {
            number,
            node,
            disk: Disk::new(founders),
            memory: None,
            core: None,
            starts_at: 0,
            replica_at: 0,
            ticks_at: 0,
            frame: Vec::new(),
            incoming: None,
            told: 0,
        }
    }

    pub fn first(&self) -> u64 {
        self.disk.base.2 + 1
    }

    /// The last record in the ring.
    pub fn last(&self) -> u64 {
        self.disk.base.2 + self.memory.as_ref().map_or(0, |memory| memory.ring.len() as u64)
    }

    /// The records from `first` to `last`; `None` if the ring does not have them all.
    pub fn records(&self, first: u64, last: u64) -> Option<&[Record]> {
        let memory = self.memory.as_ref()?;
        let from = usize::try_from(first.checked_sub(self.first())?).unwrap();
        let to = usize::try_from((last + 1).checked_sub(self.first())?).unwrap();
        memory.ring.get(from..to)
    }

    /// Everything in memory is gone.
    pub fn crash(&mut self, now: u64, rng: &mut SmallRng) {
        self.end(now + rng.random_range(1..60));
        self.disk.crash(rng);
    }

    /// All processes end; the disk is as it was written.
    pub fn end(&mut self, starts_at: u64) {
        (self.memory, self.core, self.incoming) = (None, None, None);
        self.starts_at = starts_at;
    }

    /// The replica process dies.
    pub fn crash_replica(&mut self, now: u64, rng: &mut SmallRng) {
        (self.core, self.incoming) = (None, None);
        self.replica_at = now + rng.random_range(1..20);
    }

    /// The instance starts from its disk.
    pub fn start(&mut self) -> Verdict {
        self.disk.recover()?;
        let records: Vec<Record> = self.disk.cells.iter().flatten().cloned().collect();
        let log = log_of(self.disk.base, records.iter())?;
        let commit = self.disk.file.hard.commit.max(log.base());
        let upto = log.last_of(commit).ok_or_else(|| format!("entry {commit} is committed, and not there"))?.0;
        let mut books = self.disk.snapshot.clone();
        for record in records.iter().filter(|record| record.lsn > self.disk.snapshot.upto && record.lsn <= upto) {
            books.apply(record);
        }
        let end = log.last().0;
        // What the books hold is committed, also where the disk's state is older than the snapshot: a start says so.
        let committed = books.upto;
        self.memory = Some(Memory {
            ring: records,
            log_end: end,
            on_disk: end,
            generation: 1,
            gate: false,
            committed,
            books,
            wanted: 0,
            confirmed: 0,
            held: Vec::new(),
            unpublished: None,
            cut: None,
            reports: Vec::new(),
        });
        Ok(())
    }

    /// The replica process starts, if it can by now.
    ///
    /// It reads the log from some entry before what is committed and executed; what is older comes later.
    pub fn start_replica(&mut self, mut settings: Settings, rng: &mut SmallRng) -> Verdict {
        let Some(memory) = &mut self.memory else { return Ok(()) };
        if let Some(after) = self.disk.file.intent.filter(|_| memory.cut.is_none()) {
            // Whoever wrote it died before it said so.
            let place = memory.place(self.disk.base.2, after + 1);
            memory.ring.truncate(place);
            (memory.log_end, memory.generation) = (memory.log_end.min(after), memory.generation + 1);
            memory.cut = Some(Cut { after, generation: memory.generation, stage: Stage::Clear });
        }
        if memory.cut.is_some() || memory.on_disk != memory.log_end {
            return Ok(());
        }
        if !memory.gate {
            let place = memory.place(self.disk.base.2, memory.log_end + 1);
            memory.ring.truncate(place);
        }
        let proposed: Vec<_> = memory.ring.iter().filter(|record| record.lsn <= memory.log_end).cloned().collect();
        let committed = proposed.iter().rfind(|record| record.ends && record.index <= self.disk.file.hard.commit);
        let newest = committed.map_or(0, |record| record.lsn).min(memory.books.upto);
        let tail = base_at(self.disk.base, &proposed, newest.saturating_sub(rng.random_range(0..40)));
        let loaded = Loaded {
            state: self.disk.file.hard,
            membership: self.disk.file.members.clone(),
            membership_index: self.disk.file.members_at,
            log: log_of(tail, proposed.iter().filter(|record| record.lsn > tail.2))?,
            are_older_to_come: tail != self.disk.base,
            generation: memory.generation,
            committed: Lsn(memory.committed),
            executed: Lsn(memory.books.upto),
            gate_is_open: memory.gate,
        };
        settings.node = self.node;
        self.core = Some(Core::new(settings, loaded).map_err(|error| error.to_string())?);
        (self.told, self.frame) = (0, Vec::new());
        Ok(())
    }

    /// Some entries that are older than those that the replica process knows, and whether there are more.
    pub fn older(&mut self, rng: &mut SmallRng) -> Option<(Log, bool)> {
        let (core, memory) = (self.core.as_ref()?, self.memory.as_ref()?);
        let end = core.log_base().1.0;
        if !core.are_older_to_come() {
            return None;
        }
        let base = base_at(self.disk.base, &memory.ring, end.saturating_sub(rng.random_range(1..40)));
        let records = memory.ring.iter().filter(|record| record.lsn > base.2 && record.lsn <= end);
        // Where the journal has been trimmed meanwhile, nothing joins.
        Some((log_of(base, records).ok()?, base != self.disk.base))
    }

    /// The journal process does something, or does not come to it. Returns the generation of a cut that is done.
    pub fn journal(&mut self, now: u64, late: u64, with_intent: bool, rng: &mut SmallRng) -> Option<u64> {
        let memory = self.memory.as_mut()?;
        if let Some(cut) = &mut memory.cut {
            match cut.stage {
                Stage::Clear => {
                    let many = rng.random_range(1..6);
                    if self.disk.written() <= cut.after || self.disk.clear_from_the_back(cut.after, many) {
                        cut.stage = Stage::Sync;
                    }
                }
                Stage::Sync => {
                    if self.disk.written() > cut.after {
                        self.disk.end_cut(cut.after);
                    }
                    cut.stage = Stage::Publish;
                }
                Stage::Publish => {
                    memory.on_disk = memory.on_disk.min(cut.after);
                    let generation = cut.generation;
                    memory.cut = None;
                    if with_intent {
                        self.disk.save(true, |file| file.intent = None);
                    }
                    return Some(generation);
                }
            }
            return None;
        }
        let written = self.disk.written();
        if written < memory.log_end && rng.random_range(0..3) > 0 {
            let many = rng.random_range(1..=memory.log_end - written);
            let from = usize::try_from(written - self.disk.base.2).unwrap();
            let to = from + usize::try_from(many).unwrap();
            self.disk.cells.extend(memory.ring[from..to].iter().cloned().map(Some));
        } else if written > memory.on_disk {
            self.disk.sync();
            memory.on_disk = written;
            memory.reports.push((now + rng.random_range(0..=late), memory.generation, written));
        }
        None
    }

    /// A snapshot is published when all that it has is committed and on disk. Returns the record before which nothing is kept any more.
    pub fn snapshot(&mut self, has_defect: bool, rng: &mut SmallRng) -> Option<u64> {
        let memory = self.memory.as_mut()?;
        let books = memory.unpublished.get_or_insert_with(|| memory.books.clone());
        if (books.upto > memory.committed || books.upto > memory.on_disk) && !has_defect {
            return None;
        }
        self.disk.snapshot = memory.unpublished.take()?;
        if memory.cut.is_some() || has_defect {
            return None;
        }
        let limit = self.core.as_ref().map_or(0, |core| core.may_trim_to().0);
        let upto = self.disk.snapshot.upto.saturating_sub(rng.random_range(0..30)).min(limit);
        let base = base_at(self.disk.base, &memory.ring, upto);
        if base == self.disk.base {
            return None;
        }
        let many = memory.place(self.disk.base.2, base.2 + 1);
        memory.ring.drain(..many);
        self.disk.trim(base);
        Some(base.2 + 1)
    }

    /// Applies a few committed records, where the gate is closed. Returns whether there were any.
    pub fn apply(&mut self, rng: &mut SmallRng) -> bool {
        let base = self.disk.base.2;
        let Some(memory) = &mut self.memory else { return false };
        if memory.gate || memory.books.upto >= memory.committed {
            return false;
        }
        for _ in 0..rng.random_range(1..20) {
            if memory.books.upto < memory.committed {
                let place = memory.place(base, memory.books.upto + 1);
                let operation = memory.ring[place..].iter().find(|record| !record.is_part());
                operation.into_iter().for_each(|record| memory.books.apply(record));
            }
        }
        true
    }

    /// Tells the core where the operations end that are not proposed.
    pub fn note_ends(&mut self) {
        let (Some(core), Some(memory)) = (&mut self.core, &self.memory) else { return };
        let executed = |record: &&Record| record.lsn > memory.log_end && record.lsn <= memory.books.upto;
        let ends = memory.ring.iter().filter(executed).filter(|record| !record.is_part());
        ends.for_each(|record| core.note_end(Lsn(record.lsn)));
    }

    /// What was executed or is put into the ring beside.
    pub fn put(&mut self, what: What) -> u64 {
        let lsn = self.last() + 1;
        if let Some(memory) = &mut self.memory {
            let record = Record::new(lsn, what);
            if memory.gate {
                memory.books.apply(&record);
            }
            memory.ring.push(record);
        }
        lsn
    }

    /// The books at the end of a record, from the snapshot and the log.
    pub fn books_at(&self, last: u64) -> Option<Books> {
        let mut books = self.disk.snapshot.clone();
        if books.upto > last {
            return None;
        }
        for record in self.records(books.upto + 1, last)? {
            books.apply(record);
        }
        Some(books)
    }
}
