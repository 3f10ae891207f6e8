//! The judge of what a server promised and what it kept: acknowledgement logs of any number of clients (`docs/CLIENT.md`), held
//! against the journal in the data directory.
//!
//! It knows nothing of how the server works: it reads records,
//! and replays them by rules of its own. All clients are taken for one user, whose keys are never made twice.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use bank_vault::base::vocab::{AccountId, Cents, Lsn};
use bank_vault::store::journal::{Directory, Kind, OperationRecord, Record, Replay, TornTail, Verdict, recover};

/// An idempotency key.
pub type Key = [u8; 16];

/// What a client was told about one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub key: Key,
    /// Before it was first sent, and after the answer had come; nanoseconds of `CLOCK_MONOTONIC`.
    pub begin: u64,
    pub end: u64,
    pub kind: Kind,
    pub accounts: (AccountId, Option<AccountId>),
    pub amount: Cents,
    /// As the protocol numbers it.
    pub status: u16,
    /// Cents; 0 where the answer tells none.
    pub balances: [i64; 2],
}

impl Ack {
    /// Whether it tells what became of the operation, so that a record must stand for it.
    pub fn tells_a_result(&self) -> bool {
        !NO_RESULT.contains(&self.status)
    }
}

/// Statuses that say nothing about a key, so that no record stands for them: ERR_BUSY and ERR_TIMEOUT.
const NO_RESULT: [u16; 2] = [6, 7];

/// The acknowledgements in the text of a log.
///
/// # Panics
/// It is not of the documented form, or was written without keys.
pub fn acks_of(log: &str) -> Vec<Ack> {
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let lines = whole.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| ack_of(line).unwrap_or_else(|| panic!("no line of a keyed acknowledgement log: {line:?}")))
        .collect()
}

fn ack_of(line: &str) -> Option<Ack> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [_, key, begin, end, op, account, to, amount, status, balance, to_balance] = fields[..] else { return None };
    let cents = |text: &str| if text == "-" { Some(0) } else { text.parse().ok() };
    Some(Ack {
        key: u128::from_str_radix(key, 16).ok()?.to_be_bytes(),
        begin: begin.parse().ok()?,
        end: end.parse().ok()?,
        kind: match op {
            "deposit" => Kind::Deposit,
            "withdraw" => Kind::Withdraw,
            "transfer" => Kind::Transfer,
            _ => return None,
        },
        accounts: (AccountId(account.parse().ok()?), to.parse().ok().map(AccountId)),
        amount: Cents(amount.parse().ok()?),
        status: status.parse().ok()?,
        balances: [cents(balance)?, cents(to_balance)?],
    })
}

/// What stands in a data directory.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// What each account opened with, cents.
    pub openings: Vec<i64>,
    /// All records of operations that are still there; from LSN 1 on, if none were removed.
    pub records: Vec<OperationRecord>,
    /// Those in the same order that are not of operations.
    pub others: BTreeSet<Lsn>,
    /// What the snapshot says that recovery begins from: balance, and the record that it is of.
    pub snapshot: Vec<(i64, Lsn)>,
    /// What recovery would cut.
    pub torn: Option<TornTail>,
}

impl Replay for Kept {
    fn snapshot_account(&mut self, _: AccountId, balance: Cents, lsn: Lsn) {
        self.snapshot.push((balance.0, lsn));
    }

    fn snapshot_pair(&mut self, _: &[u8], _: Lsn, _: &[u8]) {}

    fn record(&mut self, record: &Record) {
        match record.operation() {
            Some(operation) => self.records.push(operation.clone()),
            None => _ = self.others.insert(record.lsn()),
        }
    }
}

impl Kept {
    /// Reads a data directory whose server is gone; changes nothing.
    ///
    /// # Panics
    /// It cannot be recovered.
    pub fn read(data: &Path) -> Kept {
        let directory = Directory::open(data).unwrap();
        let openings = directory.openings();
        let opened = (0..openings.accounts()).map(|account| openings.of(AccountId(account)).unwrap().0);
        let mut kept = Kept { openings: opened.collect(), ..Kept::default() };
        kept.torn = recover(&directory, Lsn(1), &mut kept, |_| ()).unwrap_or_else(|error| panic!("{error}")).torn;
        kept
    }

    /// The record under a key.
    pub fn under(&self, key: &Key) -> Option<&OperationRecord> {
        self.records.iter().find(|record| record.key.as_ref() == Some(key))
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It was acknowledged, and no record is there.
    Lost(Ack),
    /// Two records under one key.
    Twice(Key, [Lsn; 2]),
    /// The answer was not what the record says, or not to the same request.
    OtherAnswer(Ack, Lsn),
    /// An answer that a client which never uses a key for two operations must not get.
    Conflict(Ack),
    /// Records do not follow each other.
    Gap { expected: Lsn, found: Lsn },
    /// What the record says cannot follow from those before it.
    Impossible { lsn: Lsn, why: &'static str },
    /// The snapshot says something else of an account than the record that it names.
    Snapshot(AccountId, Lsn),
    /// `later` began after `earlier` had been acknowledged, and stands before it.
    RealTime { earlier: Lsn, later: Lsn },
}

/// What was compared; for a test to see that there was something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Acknowledged operations, each held against its record.
    pub acks: usize,
    /// Records replayed.
    pub records: usize,
}

/// Everything that `acks` and `kept` contradict each other, or themselves, in.
pub fn judge(kept: &Kept, acks: &[Ack]) -> Result<Compared, Vec<Broken>> {
    let mut broken = replay(kept);
    let mut by_key: HashMap<Key, &OperationRecord> = HashMap::new();
    for record in &kept.records {
        if let Some(first) = record.key.and_then(|key| by_key.insert(key, record)) {
            broken.push(Broken::Twice(first.key.unwrap_or_default(), [first.lsn, record.lsn]));
        }
    }
    let results = acks.iter().filter(|ack| ack.tells_a_result());
    let mut compared = Compared { acks: 0, records: kept.records.len() };
    let mut spans: HashMap<Lsn, (u64, u64)> = HashMap::new();
    for ack in results {
        compared.acks += 1;
        match by_key.get(&ack.key) {
            None => broken.push(Broken::Lost(ack.clone())),
            Some(_) if ack.status == 9 => broken.push(Broken::Conflict(ack.clone())),
            Some(record) if !is_answer(ack, record) => broken.push(Broken::OtherAnswer(ack.clone(), record.lsn)),
            Some(record) => {
                // Who asks again later asks for what was done before: the first time counts.
                let span = spans.entry(record.lsn).or_insert((ack.begin, ack.end));
                *span = (span.0.min(ack.begin), span.1.min(ack.end));
            }
        }
    }
    broken.extend(against_real_time(&spans));
    if broken.is_empty() { Ok(compared) } else { Err(broken) }
}

/// [`judge`]s a data directory and the logs beside it.
///
/// # Panics
/// A promise was broken.
pub fn must_be_kept(data: &Path, acks: &[Ack]) -> Compared {
    judge(&Kept::read(data), acks).unwrap_or_else(|broken| {
        let few = &broken[..broken.len().min(5)];
        panic!("{} promises were not kept: {few:#?}", broken.len())
    })
}

fn is_answer(ack: &Ack, record: &OperationRecord) -> bool {
    let same_request = (ack.kind, ack.accounts, ack.amount) == (record.kind, record.accounts, record.amount);
    same_request
        && ack.status == u16::from(record.verdict.code())
        && ack.balances == record.balances.map(|balance| balance.0)
}

/// Replays the records from the openings on, all that they say compared with what follows from those before.
fn replay(kept: &Kept) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut accounts: Vec<(i64, Lsn)> = kept.openings.iter().map(|&opening| (opening, Lsn(0))).collect();
    let expected = (1..).map(Lsn).filter(|lsn| !kept.others.contains(lsn));
    for (expected, record) in expected.zip(&kept.records) {
        if record.lsn != expected {
            broken.push(Broken::Gap { expected, found: record.lsn });
            return broken;
        }
        if let Err(why) = step(&mut accounts, record) {
            broken.push(Broken::Impossible { lsn: record.lsn, why });
        }
        for account in named(record) {
            let there = kept.snapshot.get(account.0 as usize);
            if there.is_some_and(|&(balance, lsn)| lsn == record.lsn && balance != accounts[account.0 as usize].0) {
                broken.push(Broken::Snapshot(account, record.lsn));
            }
        }
    }
    broken
}

/// The accounts that a record changed.
fn named(record: &OperationRecord) -> impl Iterator<Item = AccountId> {
    let (first, second) = record.accounts;
    [Some(first), second].into_iter().flatten().filter(|_| record.is_done())
}

/// Does what the record says, if it can be done.
fn step(accounts: &mut [(i64, Lsn)], record: &OperationRecord) -> Result<(), &'static str> {
    let (first, second) = record.accounts;
    let amount = record.amount.0;
    let of = |account: AccountId| accounts.get(account.0 as usize).copied();
    let (payer, payee) = (of(first), second.and_then(of));
    let all_there = payer.is_some() && second.is_some() == payee.is_some();
    match record.verdict {
        Verdict::NoAccount if all_there => return Err("refused for want of an account that is there"),
        Verdict::Insufficient if payer.is_none_or(|(balance, _)| balance >= amount) => {
            return Err("refused, although the account held enough");
        }
        Verdict::Done if !all_there => return Err("done with an account that is not there"),
        Verdict::Done => {}
        _ => return Ok(()),
    }
    let signs = match record.kind {
        Kind::Deposit => [1, 0],
        Kind::Withdraw => [-1, 0],
        Kind::Transfer => [-1, 1],
    };
    for (place, account) in [Some(first), second].into_iter().enumerate() {
        let Some(account) = account else { continue };
        let slot = &mut accounts[account.0 as usize];
        let (before, previous) = *slot;
        // What the record says is what holds from here on: one wrong step is one report.
        *slot = (record.balances[place].0, record.lsn);
        if before + signs[place] * amount != slot.0 {
            return Err("a balance does not follow from the one before");
        }
        if slot.0 < 0 {
            return Err("a balance below zero");
        }
        if previous != record.previous[place] {
            return Err("a link to another record than the account's last");
        }
    }
    Ok(())
}

/// Operations by when they began, beside the highest LSN of those that had ended by then.
fn against_real_time(spans: &HashMap<Lsn, (u64, u64)>) -> Option<Broken> {
    let mut begins: Vec<(u64, Lsn)> = spans.iter().map(|(&lsn, &(begin, _))| (begin, lsn)).collect();
    let mut ends: Vec<(u64, Lsn)> = spans.iter().map(|(&lsn, &(_, end))| (end, lsn)).collect();
    begins.sort_unstable();
    ends.sort_unstable();
    let mut ended = ends.into_iter().peekable();
    let mut highest = Lsn(0);
    for (begin, later) in begins {
        while let Some((_, lsn)) = ended.next_if(|&(end, _)| end < begin) {
            highest = highest.max(lsn);
        }
        if highest > later {
            return Some(Broken::RealTime { earlier: highest, later });
        }
    }
    None
}
