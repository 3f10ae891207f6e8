//! A second judge of what many clients saw, which knows nothing of LSNs: for each account it searches for an order of the calls that the
//! answers fit, with the crate `stateright`.
//!
//! Such a search takes exponential time, so it is for short histories. One account's history is cut wherever no call on it is under
//! way: what was called before has taken effect, and all changes together make the balance that the next part begins with. Of a transfer
//! each account has its half. (That both halves happen at once is not seen here; the [first judge](crate::linearizable) sees it.)

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::linearizable::{Asked, Call};

/// Calls of a part that is searched, at most. Longer ones come where all clients wait for the same failover.
const LONGEST: usize = 40;
/// Steps of a search, at most; then it is given up.
const STEPS: u32 = 200_000;

/// One account's share of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// As the call's.
    pub begin: u64,
    pub end: u64,
    /// What is added to the balance, cents; 0 for a read.
    pub change: i64,
    /// The balance afterwards, as it was answered.
    pub balance: i64,
}

/// What was searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Parts of histories, and the shares of calls in them.
    pub parts: usize,
    pub shares: usize,
    /// Shares in parts that are too long, or whose search was given up.
    pub left_out: usize,
}

/// No order of these calls on one account, which held `opening`, explains their answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoOrder {
    pub account: u32,
    pub opening: i64,
    pub shares: Vec<Share>,
}

/// Whether the calls on each account, which each held `opening`, have an order.
pub fn check(opening: i64, calls: &[Call]) -> Result<Searched, NoOrder> {
    let mut accounts: BTreeMap<u32, Vec<Share>> = BTreeMap::new();
    for (account, share) in calls.iter().flat_map(shares) {
        accounts.entry(account).or_default().push(share);
    }
    let mut searched = Searched::default();
    for (account, mut shares) in accounts {
        shares.sort_unstable_by_key(|share| (share.begin, share.end));
        let mut opening = opening;
        for part in parts(&shares) {
            let order = if part.len() > LONGEST { None } else { has_order_of_shares(opening, part) };
            match order {
                Some(true) => {
                    searched.parts += 1;
                    searched.shares += part.len();
                }
                Some(false) => return Err(NoOrder { account, opening, shares: part.to_vec() }),
                None => searched.left_out += part.len(),
            }
            opening += part.iter().map(|share| share.change).sum::<i64>();
        }
    }
    Ok(searched)
}

fn shares(call: &Call) -> Vec<(u32, Share)> {
    let share = |change, balance| Share { begin: call.begin, end: call.end, change, balance };
    let [first, second] = call.balances;
    match call.asked {
        Asked::Deposit { account, amount } => vec![(account, share(amount, first))],
        Asked::Withdraw { account, amount } => vec![(account, share(-amount, first))],
        Asked::Transfer { from, to, amount } => vec![(from, share(-amount, first)), (to, share(amount, second))],
        Asked::Read { account } => vec![(account, share(0, first))],
    }
}

/// Cuts a history, sorted by its beginnings, wherever nothing is under way.
fn parts(shares: &[Share]) -> Vec<&[Share]> {
    let (mut parts, mut first, mut end) = (Vec::new(), 0, 0);
    for (place, share) in shares.iter().enumerate() {
        if place > first && end < share.begin {
            parts.push(&shares[first..place]);
            first = place;
        }
        end = end.max(share.end);
    }
    if first < shares.len() {
        parts.push(&shares[first..]);
    }
    parts
}

/// An account, as one client alone would see it.
#[derive(Clone)]
struct Account {
    balance: i64,
    /// What is left of the steps of this search.
    left: Rc<Cell<u32>>,
}

impl SequentialSpec for Account {
    /// What is added to the balance.
    type Op = i64;
    type Ret = i64;

    fn invoke(&mut self, change: &i64) -> i64 {
        self.balance += change;
        self.balance
    }

    fn is_valid_step(&mut self, change: &i64, balance: &i64) -> bool {
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        left > 0 && self.invoke(change) == *balance
    }
}

/// Whether there is an order; `None` if the search was given up.
fn has_order_of_shares(opening: i64, shares: &[Share]) -> Option<bool> {
    let left = Rc::new(Cell::new(STEPS));
    let account = Account { balance: opening, left: Rc::clone(&left) };
    let event = |share: &Share| Event { begin: share.begin, end: share.end, op: share.change, ret: share.balance };
    has_order(account, &left, shares.iter().map(event))
}

/// A call in a history: when it was begun and ended, what was asked, what was answered.
#[derive(Clone, Debug)]
pub struct Event<O, R> {
    pub begin: u64,
    pub end: u64,
    pub op: O,
    pub ret: R,
}

/// Whether these calls of `object`, sorted by their beginnings, have an order; `None` if the search was given up, when `left`, which
/// `object` counts down, is 0.
pub fn has_order<S>(object: S, left: &Cell<u32>, calls: impl Iterator<Item = Event<S::Op, S::Ret>>) -> Option<bool>
where
    S: SequentialSpec + Clone,
    S::Op: Clone + Debug,
    S::Ret: Clone + Debug + PartialEq,
{
    // The tester wants threads, of which each waits for its answer: a call may follow any that has ended before it begins.
    let mut lanes: Vec<u64> = Vec::new();
    let mut moments = Vec::new();
    for call in calls {
        let free = lanes.iter().position(|end| *end < call.begin);
        let lane = free.unwrap_or(lanes.len());
        if free.is_none() {
            lanes.push(0);
        }
        lanes[lane] = call.end;
        moments.extend([(call.begin, false, lane, call.clone()), (call.end, true, lane, call)]);
    }
    // At one moment, what begins is before what ends: then they overlap.
    moments.sort_by_key(|(at, is_end, ..)| (*at, *is_end));
    let mut tester = LinearizabilityTester::new(object);
    for (_, is_end, lane, call) in moments {
        let told = if is_end { tester.on_return(lane, call.ret) } else { tester.on_invoke(lane, call.op) };
        told.unwrap();
    }
    let is_consistent = tester.is_consistent();
    (is_consistent || left.get() > 0).then_some(is_consistent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linearizable;
    use crate::turmoil::Lots;

    const OPENING: i64 = 100;
    const ACCOUNTS: u32 = 3;
    /// Amounts up to which no balance is likely to come again, so that what is wrong cannot be right in another order.
    const DIFFERENT: u32 = 1_000_000;

    /// What so many clients see of a server that takes each call at one moment between its beginning and its end. Amounts are up to `most`.
    fn history(seed: u64, clients: usize, calls: u32, most: u32) -> Vec<Call> {
        let mut lots = Lots::new(seed);
        let mut balances = [OPENING; ACCOUNTS as usize];
        // When each client begins its next call.
        let mut begins: Vec<u64> = (0..clients as u64).collect();
        let (mut history, mut lsn, mut now) = (Vec::new(), 1, 0);
        for _ in 0..calls {
            let client = lots.below(u32::try_from(clients).unwrap()) as usize;
            now = now.max(begins[client]) + 1 + u64::from(lots.below(5));
            let (begin, end) = (begins[client], now + 1 + u64::from(lots.below(20)));
            begins[client] = end + 1 + u64::from(lots.below(30));
            let (account, amount) = (lots.below(ACCOUNTS), 1 + i64::from(lots.below(most)));
            let other = (account + 1) % ACCOUNTS;
            let asked = match lots.below(6) {
                0 => Asked::Deposit { account, amount },
                1 => Asked::Withdraw { account, amount },
                2 => Asked::Transfer { from: account, to: other, amount },
                _ => Asked::Read { account },
            };
            let mut add = |account: u32, change: i64| {
                balances[account as usize] += change;
                balances[account as usize]
            };
            let answer = match asked {
                Asked::Deposit { .. } => [add(account, amount), 0],
                Asked::Withdraw { .. } => [add(account, -amount), 0],
                Asked::Transfer { .. } => [add(account, -amount), add(other, amount)],
                Asked::Read { .. } => [add(account, 0), 0],
            };
            lsn += u64::from(!matches!(asked, Asked::Read { .. }));
            history.push(Call { begin, end, asked, lsn, balances: answer });
        }
        history
    }

    fn both_pass(calls: &[Call]) -> Searched {
        linearizable::check(OPENING, calls).unwrap();
        check(OPENING, calls).unwrap()
    }

    fn both_catch(calls: &[Call]) -> bool {
        linearizable::check(OPENING, calls).is_err() && check(OPENING, calls).is_err()
    }

    fn is_read(call: &Call) -> bool {
        matches!(call.asked, Asked::Read { .. })
    }

    #[test]
    fn what_has_an_order_passes_both() {
        let mut all = Searched::default();
        for seed in 1..40 {
            let searched = both_pass(&history(seed, 5, 200, 3));
            all.parts += searched.parts;
            all.shares += searched.shares;
            all.left_out += searched.left_out;
        }
        assert!(all.shares > 2 * all.parts, "they are concurrent: {all:?}");
        assert!(all.shares > 20 * all.left_out, "and short: {all:?}");
    }

    #[test]
    fn a_stale_read_is_caught_by_both() {
        let mut tried = 0;
        for seed in 1..40 {
            let mut calls = history(seed, 4, 60, DIFFERENT);
            // A read after a write that had ended, and what the account held just before that write.
            let pair = calls.iter().enumerate().find_map(|(place, read)| {
                let Asked::Read { account } = read.asked else { return None };
                let write =
                    calls.iter().rfind(|call| !is_read(call) && call.lsn == read.lsn && call.end < read.begin)?;
                let (_, share) = shares(write).into_iter().find(|(changed, _)| *changed == account)?;
                Some((place, write.lsn - 1, share.balance - share.change))
            });
            let Some((place, lsn, balance)) = pair else { continue };
            tried += 1;
            // As a server that does not know better would answer it, and one that pretends.
            calls[place].balances[0] = balance;
            assert!(both_catch(&calls), "seed {seed}: {:?} is stale", calls[place]);
            calls[place].lsn = lsn;
            assert!(both_catch(&calls), "seed {seed}: {:?} is stale", calls[place]);
        }
        assert!(tried > 10, "{tried}");
    }

    #[test]
    fn a_write_that_is_acknowledged_and_lost_is_caught_by_both() {
        let mut tried = 0;
        for seed in 1..40 {
            let mut calls = history(seed, 4, 60, DIFFERENT);
            // After it nobody has seen its effect.
            let Some(lost) = calls.iter().take(20).rfind(|call| matches!(call.asked, Asked::Deposit { .. })).copied()
            else {
                continue;
            };
            let Asked::Deposit { account, amount } = lost.asked else { continue };
            let mut is_seen = false;
            for call in calls.iter_mut().filter(|call| call.lsn >= lost.lsn && **call != lost) {
                let both = match call.asked {
                    Asked::Transfer { from, to, .. } => [Some(from), Some(to)],
                    Asked::Deposit { account, .. } | Asked::Withdraw { account, .. } | Asked::Read { account } => {
                        [Some(account), None]
                    }
                };
                for (_, told) in both.into_iter().zip(&mut call.balances).filter(|(of, _)| *of == Some(account)) {
                    *told -= amount;
                    is_seen |= call.begin > lost.end;
                }
            }
            if is_seen {
                tried += 1;
                assert!(both_catch(&calls), "seed {seed}: {lost:?} is lost");
            }
        }
        assert!(tried > 10, "{tried}");
    }

    #[test]
    fn a_search_that_takes_too_long_is_given_up() {
        // Reads that could stand in any order, and one that fits nowhere.
        let read = |place: u64| Share { begin: place, end: 100 + place, change: 0, balance: OPENING };
        let mut shares: Vec<Share> = (0..20).map(read).collect();
        assert_eq!(has_order_of_shares(OPENING, &shares), Some(true));
        shares.push(Share { balance: OPENING + 1, ..read(20) });
        assert_eq!(has_order_of_shares(OPENING, &shares), None);
    }
}
