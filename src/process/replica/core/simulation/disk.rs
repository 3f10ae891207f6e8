//! A disk that forgets what was not synced.

use rand::RngExt;
use rand::rngs::SmallRng;

use super::records::{Base, Books, Record};
use crate::process::replica::core::event::HardState;
use crate::store::cluster::Membership;

/// DATA/raft.
#[derive(Clone)]
pub struct RaftFile {
    pub hard: HardState,
    pub members: Membership,
    pub members_at: u64,
    pub intent: Option<u64>,
}

/// A data directory.
pub struct Disk {
    /// As it was written last, and as it was synced last.
    pub file: RaftFile,
    synced_file: RaftFile,
    pub base: Base,
    /// Records by place; `None` is zeros.
    pub cells: Vec<Option<Record>>,
    /// So many of them are synced.
    synced: usize,
    /// Cells that were cleared and are not synced.
    cleared: Vec<(usize, Record)>,
    pub snapshot: Books,
}

impl Disk {
    pub fn new(members: Membership) -> Disk {
        let file = RaftFile { hard: HardState::default(), members, members_at: 0, intent: None };
        let (synced_file, snapshot) = (file.clone(), Books::new());
        Disk { file, synced_file, base: (0, 0, 0), cells: Vec::new(), synced: 0, cleared: Vec::new(), snapshot }
    }

    /// Founds a cluster with books that have these records: they are entry 1 of term 1, and it is committed.
    pub fn found(&mut self, before: &[Record]) {
        before.iter().for_each(|record| self.snapshot.apply(record));
        self.base = (1, 1, before.len() as u64);
        self.save(true, |file| file.hard = HardState { term: 1, vote: None, commit: 1 });
    }

    pub fn save(&mut self, sync: bool, change: impl FnOnce(&mut RaftFile)) {
        change(&mut self.file);
        if sync {
            self.synced_file = self.file.clone();
        }
    }

    /// The last record that was written.
    pub fn written(&self) -> u64 {
        self.base.2 + self.cells.len() as u64
    }

    pub fn sync(&mut self) {
        self.synced = self.cells.len();
        self.cleared.clear();
    }

    /// Clears the last few cells after this record. Returns whether all are.
    pub fn clear_from_the_back(&mut self, after: u64, many: usize) -> bool {
        let stays = usize::try_from(after - self.base.2).unwrap();
        for _ in 0..many {
            match self.cells.iter().rposition(Option::is_some) {
                Some(last) if last >= stays => self.cleared.extend(self.cells[last].take().map(|cell| (last, cell))),
                _ => return true,
            }
        }
        false
    }

    /// What was cleared is synced, and is the end.
    pub fn end_cut(&mut self, after: u64) {
        self.cells.truncate(usize::try_from(after - self.base.2).unwrap());
        self.sync();
    }

    /// Drops the records up to the end of an entry.
    pub fn trim(&mut self, base: Base) {
        let many = usize::try_from(base.2 - self.base.2).unwrap();
        self.cells.drain(..many);
        self.synced -= many;
        self.base = base;
    }

    /// A snapshot takes the place of everything.
    pub fn install(&mut self, base: Base, members: Membership, books: Books) {
        self.base = base;
        self.cells.clear();
        self.sync();
        self.snapshot = books;
        self.save(true, |file| {
            file.hard.commit = base.0;
            (file.members, file.members_at, file.intent) = (members, base.0, None);
        });
    }

    /// Whether a record would be there after a loss of power.
    pub fn keeps(&self, record: &Record) -> bool {
        let place = record.lsn.checked_sub(self.base.2 + 1).map(|place| usize::try_from(place).unwrap());
        place.is_none_or(|place| place < self.synced && self.cells[place].as_ref() == Some(record))
    }

    /// The power fails.
    pub fn crash(&mut self, rng: &mut SmallRng) {
        if rng.random() {
            self.file = self.synced_file.clone();
        }
        self.synced_file = self.file.clone();
        for (place, cell) in std::mem::take(&mut self.cleared) {
            if rng.random() {
                self.cells[place] = Some(cell);
            }
        }
        let kept = rng.random_range(self.synced..=self.cells.len().max(self.synced));
        self.cells.truncate(kept);
        self.synced = self.cells.len();
    }

    /// What a start makes of it. Good records behind bad ones are damage: they say that what is missing was synced.
    pub fn recover(&mut self) -> Result<(), String> {
        if let Some(after) = self.file.intent {
            self.cells.truncate(usize::try_from(after - self.base.2).unwrap());
            self.save(true, |file| file.intent = None);
        }
        if let Some(hole) = self.cells.iter().position(Option::is_none) {
            if self.cells[hole..].iter().any(Option::is_some) {
                return Err(format!("record {} is damaged, and there are later ones", self.base.2 + 1 + hole as u64));
            }
            self.cells.truncate(hole);
        }
        while self.cells.last().is_some_and(|cell| cell.as_ref().is_some_and(|record| !record.ends)) {
            self.cells.pop();
        }
        self.sync();
        Ok(())
    }
}
