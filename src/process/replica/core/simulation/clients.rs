//! Clients, and the workers that serve them.

use rand::RngExt;

use super::instance::Held;
use super::oracle::{Verdict, hold};
use super::records::{ACCOUNTS, What};
use super::world::World;
use crate::process::replica::core::defect::Defect;

/// Records that the ring takes beyond what is on disk.
const RING: u64 = 100;

/// What a client wants.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Of this call alone, where one that has a key is repeated.
    pub id: u64,
    pub op: u64,
    pub key: u64,
    /// From, to, amount; none for a read.
    pub transfer: Option<(usize, usize, i64)>,
    pub account: usize,
    /// What was complete when it was first called.
    pub begun_after: u64,
    pub gives_up_at: u64,
}

/// A client: it waits for one answer at a time.
#[derive(Default)]
pub struct Client {
    pub call: Option<Call>,
    /// What it repeats, because it does not know what became of it.
    repeats: Option<Call>,
}

impl World {
    /// Clients call, or give up.
    pub fn clients_go_on(&mut self) -> Verdict {
        for c in 0..self.clients.len() {
            if let Some(call) = self.clients[c].call {
                if call.gives_up_at <= self.now {
                    self.lost(c);
                }
            } else if self.one_in(self.faults.idle) {
                self.call(c)?;
            }
        }
        Ok(())
    }

    /// A client will hear nothing of its call.
    fn lost(&mut self, c: usize) {
        let client = &mut self.clients[c];
        if let Some(call) = client.call.take().filter(|call| call.key != 0) {
            client.repeats = Some(call);
        }
    }

    fn new_call(&mut self) -> Call {
        let op = self.next_op;
        self.next_op += 1;
        let from = self.rng.random_range(0..ACCOUNTS);
        let to = (from + self.rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let (is_read, is_keyed) = (self.rng.random_range(0..10) < self.faults.reads, self.one_in(2));
        let transfer = (!is_read).then(|| (from, to, self.rng.random_range(1..40)));
        let key = if is_keyed && !is_read { op } else { 0 };
        Call { id: 0, op, key, transfer, account: from, begun_after: self.oracle.completed, gives_up_at: 0 }
    }

    fn call(&mut self, c: usize) -> Verdict {
        // There may be one that is primary no more, and does not know it.
        let has_gate = |i: &usize| self.instances[*i].memory.as_ref().is_some_and(|memory| memory.gate);
        let primaries: Vec<usize> = (0..self.instances.len()).filter(has_gate).collect();
        if primaries.is_empty() {
            return Ok(());
        }
        let i = primaries[self.rng.random_range(0..primaries.len())];
        let mut call = match self.clients[c].repeats.take() {
            Some(call) => call,
            None => self.new_call(),
        };
        call.id = self.next_op;
        self.next_op += 1;
        call.gives_up_at = self.now + self.rng.random_range(10..80);
        self.clients[c].call = Some(call);
        self.execute(i, c, call);
        Ok(())
    }

    /// A worker executes a call.
    fn execute(&mut self, i: usize, c: usize, call: Call) {
        let has_room = self.instances[i].last() < self.instances[i].memory.as_ref().map_or(0, |m| m.on_disk) + RING;
        let Some(memory) = &mut self.instances[i].memory else { return };
        let known = memory.books.keys.get(&call.key).copied();
        let held = match (call.transfer, known) {
            (Some(_), Some(lsn)) => Held::Done { lsn },
            (Some((from, to, amount)), None) if memory.books.balances[from] >= amount && has_room => {
                let balances = (memory.books.balances[from] - amount, memory.books.balances[to] + amount);
                // Some operations have more records than an entry is to have.
                let parts = if self.rng.random_range(0..3) == 0 { self.rng.random_range(1..6) } else { 0 };
                self.seen.of_several += u64::from(parts > 0);
                let op = call.op;
                (0..parts).for_each(|_| _ = self.instances[i].put(What::Part { op }));
                let transfer = What::Transfer { op, key: call.key, from, to, balances, parts };
                Held::Done { lsn: self.instances[i].put(transfer) }
            }
            // A refusal shows a balance, too.
            (transfer, _) => {
                memory.wanted += 1;
                let account = transfer.map_or(call.account, |(from, ..)| from);
                let (balance, as_of) =
                    (memory.books.balances[account], memory.books.changed[account].max(memory.committed));
                Held::Shown { account, balance, as_of, round: memory.wanted }
            }
        };
        if let Some(memory) = &mut self.instances[i].memory {
            memory.held.push((c, call.id, held));
        }
    }

    /// The gate is closed: nothing that is held leaves, and the clients notice.
    pub fn close(&mut self, i: usize) {
        if self.has(Defect::StaleWorker) {
            // It has taken one call already, too.
            let call = self.new_call();
            let Some(memory) = &mut self.instances[i].memory else { return };
            memory.gate = true;
            self.execute(i, usize::MAX, call);
            self.instances[i].memory.iter_mut().for_each(|memory| memory.gate = false);
            return;
        }
        let Some(memory) = &mut self.instances[i].memory else { return };
        for (c, id, _) in std::mem::take(&mut memory.held) {
            if self.clients[c].call.is_some_and(|call| call.id == id) {
                self.lost(c);
            }
        }
    }

    /// A worker lets go what may leave.
    pub fn worker(&mut self, i: usize) -> Verdict {
        let Some(memory) = &mut self.instances[i].memory else { return Ok(()) };
        if memory.held.is_empty() || self.rng.random_range(0..3) == 0 {
            return Ok(());
        }
        let (committed, confirmed) = (memory.committed, memory.confirmed);
        let may_leave = |held: &Held| match held {
            Held::Done { lsn } => *lsn <= committed,
            Held::Shown { as_of, round, .. } => *as_of <= committed && *round <= confirmed,
        };
        let (leaving, held) = std::mem::take(&mut memory.held).into_iter().partition(|(.., held)| may_leave(held));
        memory.held = held;
        let leaving: Vec<_> = leaving;
        for (c, id, held) in leaving {
            let Some(call) = self.clients.get(c).and_then(|client| client.call).filter(|call| call.id == id) else {
                continue;
            };
            self.clients[c].call = None;
            match held {
                Held::Done { lsn } => {
                    self.is_kept(lsn)?;
                    self.oracle.acknowledge(call.op, call.key, call.begun_after, lsn)
                }
                Held::Shown { account, balance, as_of, .. } => {
                    self.oracle.show(account, balance, call.begun_after, as_of)
                }
            }
            .map_err(|error| format!("instance {i} answers: {error}"))?;
        }
        Ok(())
    }

    /// What is acknowledged is on the disks of a majority.
    fn is_kept(&self, lsn: u64) -> Verdict {
        let Some(record) = self.oracle.log.get(usize::try_from(lsn - 1).unwrap()) else { return Ok(()) };
        let many = self.instances.iter().filter(|instance| instance.disk.keeps(record)).count();
        let is_majority = many * 2 > self.instances.len() || !self.faults.leave_members();
        hold(is_majority, || format!("{record:?} is acknowledged, and on {many} disks"))
    }
}
