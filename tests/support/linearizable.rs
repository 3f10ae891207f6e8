//! The judge of what many clients saw of a few accounts, through any number of failovers: whether there is one order in which every
//! call took effect at one moment between its beginning and its end (Herlihy, Wing: Linearizability, 1990).
//!
//! In general that is hard to decide. Here each answer says where in that order its call stands, by its LSN, so sorting and one replay
//! are enough.

#![allow(clippy::result_large_err, reason = "a violation is made once, and then the test ends")]
#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::collections::BTreeMap;

/// What was asked for. Amounts in cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Deposit { account: u32, amount: i64 },
    Withdraw { account: u32, amount: i64 },
    Transfer { from: u32, to: u32, amount: i64 },
    Read { account: u32 },
}

/// A call that was answered with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Before it was first sent, and after its answer had come; nanoseconds.
    pub begin: u64,
    pub end: u64,
    pub asked: Asked,
    /// The LSN of the answer.
    pub lsn: u64,
    /// The balances of the answer; 0 where it has none.
    pub balances: [i64; 2],
}

impl Call {
    fn is_read(&self) -> bool {
        matches!(self.asked, Asked::Read { .. })
    }
}

/// What cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two writes at one place.
    Twice(Call, Call),
    /// `later` began after `earlier` had ended, and stands before it.
    RealTime { earlier: Call, later: Call },
    /// The answer has a balance other than this one, which the writes up to its place lead to.
    Balance(Call, i64),
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub writes: usize,
    pub reads: usize,
}

/// Whether `calls` are all that was done on accounts that each held `opening`, and each took effect at its place.
pub fn check(opening: i64, calls: &[Call]) -> Result<Compared, Violation> {
    let (mut reads, mut writes): (Vec<Call>, Vec<Call>) = calls.iter().partition(|call| call.is_read());
    reads.sort_unstable_by_key(|call| call.lsn);
    writes.sort_unstable_by_key(|call| call.lsn);
    if let Some(pair) = writes.windows(2).find(|pair| pair[0].lsn == pair[1].lsn) {
        return Err(Violation::Twice(pair[0], pair[1]));
    }
    in_real_time(calls)?;
    let mut books = Books { opening, accounts: BTreeMap::new() };
    let mut next_reads = reads.iter().peekable();
    for write in &writes {
        while let Some(read) = next_reads.next_if(|read| read.lsn < write.lsn) {
            books.take(read)?;
        }
        books.take(write)?;
    }
    for read in next_reads {
        books.take(read)?;
    }
    Ok(Compared { writes: writes.len(), reads: reads.len() })
}

/// What ended before something else began stands before it; a read may stand at the place of what it sees.
fn in_real_time(calls: &[Call]) -> Result<(), Violation> {
    let mut begins: Vec<&Call> = calls.iter().collect();
    let mut ends = begins.clone();
    begins.sort_unstable_by_key(|call| call.begin);
    ends.sort_unstable_by_key(|call| call.end);
    let mut ended = ends.into_iter().peekable();
    let mut highest: Option<&Call> = None;
    for later in begins {
        while let Some(call) = ended.next_if(|call| call.end < later.begin) {
            highest = Some(highest.filter(|highest| highest.lsn > call.lsn).unwrap_or(call));
        }
        let Some(earlier) = highest else { continue };
        if later.lsn < earlier.lsn || later.lsn == earlier.lsn && !later.is_read() {
            return Err(Violation::RealTime { earlier: *earlier, later: *later });
        }
    }
    Ok(())
}

struct Books {
    opening: i64,
    accounts: BTreeMap<u32, i64>,
}

impl Books {
    fn take(&mut self, call: &Call) -> Result<(), Violation> {
        let changes = match call.asked {
            Asked::Deposit { account, amount } => [Some((account, amount)), None],
            Asked::Withdraw { account, amount } => [Some((account, -amount)), None],
            Asked::Transfer { from, to, amount } => [Some((from, -amount)), Some((to, amount))],
            Asked::Read { account } => [Some((account, 0)), None],
        };
        for ((account, change), told) in changes.into_iter().flatten().zip(call.balances) {
            let held = self.accounts.entry(account).or_insert(self.opening);
            *held += change;
            if *held != told {
                return Err(Violation::Balance(*call, *held));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two deposits of 5, and reads of what they lead to from 100.
    fn history() -> Vec<Call> {
        let call = |begin, end, asked, lsn, balance| Call { begin, end, asked, lsn, balances: [balance, 0] };
        let (deposit, read) = (Asked::Deposit { account: 1, amount: 5 }, Asked::Read { account: 1 });
        vec![
            call(0, 10, read, 3, 100),
            call(5, 20, deposit, 4, 105),
            call(15, 30, read, 3, 100),
            call(21, 40, read, 4, 105),
            call(25, 50, deposit, 6, 110),
            call(51, 60, Asked::Transfer { from: 1, to: 2, amount: 10 }, 7, 100),
        ]
        .into_iter()
        .map(|call| if call.lsn == 7 { Call { balances: [100, 110], ..call } } else { call })
        .collect()
    }

    fn doctored(place: usize, change: impl FnOnce(&mut Call)) -> Result<Compared, Violation> {
        let mut calls = history();
        change(&mut calls[place]);
        check(100, &calls)
    }

    #[test]
    fn what_has_an_order_passes() {
        assert_eq!(check(100, &history()), Ok(Compared { writes: 3, reads: 3 }));
        assert_eq!(check(100, &[]), Ok(Compared::default()));
    }

    #[test]
    fn a_stale_read_is_caught() {
        // It says itself that it is old.
        let stale = doctored(3, |read| (read.lsn, read.balances[0]) = (3, 100));
        assert!(matches!(stale, Err(Violation::RealTime { .. })), "{stale:?}");
        // It has a new LSN and an old value.
        let stale = doctored(3, |read| read.balances[0] = 100);
        assert!(matches!(stale, Err(Violation::Balance(_, 105))), "{stale:?}");
        // It saw what was done later.
        let early = doctored(0, |read| (read.lsn, read.balances[0]) = (6, 110));
        assert!(matches!(early, Err(Violation::RealTime { .. })), "{early:?}");
    }

    #[test]
    fn a_write_that_is_lost_doubled_or_out_of_order_is_caught() {
        let lost = doctored(5, |write| write.balances[0] = 95);
        assert!(matches!(lost, Err(Violation::Balance(_, 100))), "{lost:?}");
        let other = doctored(5, |write| write.balances[1] = 100);
        assert!(matches!(other, Err(Violation::Balance(_, 110))), "{other:?}");
        let twice = doctored(4, |write| write.lsn = 4);
        assert!(matches!(twice, Err(Violation::Twice(..))), "{twice:?}");
        let before = doctored(5, |write| write.lsn = 5);
        assert!(matches!(before, Err(Violation::RealTime { .. })), "{before:?}");
    }
}
