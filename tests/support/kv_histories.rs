//! The judges of what many clients saw of a few keys of the key-value store, through any number of failovers: whether the calls on each key
//! have an order in which each took effect at one moment between its beginning and its end (Herlihy, Wing: Linearizability, 1990).
//!
//! One goes by versions, which say where a write stands, and which write a read has seen. The other knows nothing of them: it searches for an
//! order of the calls on each key, with the crate `stateright`, so histories are short.

#![allow(clippy::result_large_err, reason = "a violation is made once, and then the test ends")]
#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use stateright::semantics::SequentialSpec;

use crate::short_histories::{Event, has_order};

/// Calls on one key, at most: the search takes a stack frame for each.
pub const MOST_CALLS: u32 = 200;
/// Steps of a search, at most; then it is given up.
const STEPS: u32 = 2_000_000;

/// What was asked for; each value that is written has a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Get,
    Put(u64),
    /// A PUT with KV_IF_ABSENT.
    PutIfAbsent(u64),
    Delete,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A write was done.
    Done,
    /// The value of a key.
    Found(u64),
    /// There was no such key.
    NotFound,
    /// There was a key already.
    Mismatch,
}

/// A call that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub key: u32,
    /// Before it was first sent, and after its answer had come; nanoseconds.
    pub begin: u64,
    pub end: u64,
    pub asked: Asked,
    pub told: Told,
    /// The version of the answer; 0 where it has none.
    pub version: u64,
}

impl Call {
    fn is_write(&self) -> bool {
        self.told == Told::Done
    }

    /// The value that it leaves, if it is a write that was done.
    fn value(&self) -> Option<u64> {
        match self.asked {
            Asked::Put(value) | Asked::PutIfAbsent(value) => Some(value),
            Asked::Get | Asked::Delete => None,
        }
    }
}

/// What cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two writes of one version.
    Twice(Call, Call),
    /// `later` began after `earlier` had ended, and stands before it.
    RealTime { earlier: Call, later: Call },
    /// No write of this version was answered, or it wrote something else.
    Unwritten(Call),
    /// No order of the calls on a key explains their answers.
    NoOrder(Vec<Call>),
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub writes: usize,
    /// All others.
    pub reads: usize,
    pub keys: usize,
    /// Calls on keys whose search was given up.
    pub left_out: usize,
}

/// Whether `calls` are all that was done on keys that were not there before, and have an order.
pub fn check(calls: &[Call]) -> Result<Compared, Violation> {
    by_versions(calls)?;
    by_search(calls)
}

/// The first judge.
pub fn by_versions(calls: &[Call]) -> Result<(), Violation> {
    let mut writes: Vec<Call> = calls.iter().copied().filter(Call::is_write).collect();
    writes.sort_unstable_by_key(|call| call.version);
    if let Some(pair) = writes.windows(2).find(|pair| pair[0].version == pair[1].version) {
        return Err(Violation::Twice(pair[0], pair[1]));
    }
    // Versions rise over all keys.
    in_real_time(&writes)?;
    let by_version: BTreeMap<u64, Call> = writes.iter().map(|write| (write.version, *write)).collect();
    for call in calls.iter().filter(|call| matches!(call.told, Told::Found(_) | Told::Mismatch)) {
        let write = by_version.get(&call.version).filter(|write| write.key == call.key);
        let is_so = write.and_then(Call::value).is_some_and(|value| match call.told {
            Told::Found(found) => found == value,
            _ => true,
        });
        if !is_so {
            return Err(Violation::Unwritten(*call));
        }
    }
    let placed = calls.iter().copied().filter(|call| call.version > 0);
    by_key(placed).values().try_for_each(|calls| in_real_time(calls))
}

/// The second judge.
pub fn by_search(calls: &[Call]) -> Result<Compared, Violation> {
    let writes = calls.iter().filter(|call| call.is_write()).count();
    let mut compared = Compared { writes, reads: calls.len() - writes, ..Compared::default() };
    for calls in by_key(calls.iter().copied()).into_values() {
        assert!(calls.len() <= MOST_CALLS as usize, "{} calls on key {}", calls.len(), calls[0].key);
        let left = Rc::new(Cell::new(STEPS));
        let key = Key { value: None, left: Rc::clone(&left) };
        let events =
            calls.iter().map(|call| Event { begin: call.begin, end: call.end, op: call.asked, ret: call.told });
        match has_order(key, &left, events) {
            Some(true) => compared.keys += 1,
            Some(false) => return Err(Violation::NoOrder(calls)),
            None => compared.left_out += calls.len(),
        }
    }
    Ok(compared)
}

fn by_key(calls: impl Iterator<Item = Call>) -> BTreeMap<u32, Vec<Call>> {
    let mut keys: BTreeMap<u32, Vec<Call>> = BTreeMap::new();
    calls.for_each(|call| keys.entry(call.key).or_default().push(call));
    keys.values_mut().for_each(|calls| calls.sort_unstable_by_key(|call| (call.begin, call.end)));
    keys
}

/// What ended before something else began stands before it; a read may stand at the place of what it sees.
fn in_real_time(calls: &[Call]) -> Result<(), Violation> {
    let (mut begins, mut ends) = (calls.to_vec(), calls.to_vec());
    begins.sort_unstable_by_key(|call| call.begin);
    ends.sort_unstable_by_key(|call| call.end);
    let mut ended = ends.into_iter().peekable();
    let mut highest: Option<Call> = None;
    for later in begins {
        while let Some(call) = ended.next_if(|call| call.end < later.begin) {
            highest = Some(highest.filter(|highest| highest.version > call.version).unwrap_or(call));
        }
        let Some(earlier) = highest else { continue };
        if later.version < earlier.version || later.version == earlier.version && later.is_write() {
            return Err(Violation::RealTime { earlier, later });
        }
    }
    Ok(())
}

/// A key, as one client alone would see it.
#[derive(Clone)]
struct Key {
    value: Option<u64>,
    /// What is left of the steps of this search.
    left: Rc<Cell<u32>>,
}

impl SequentialSpec for Key {
    type Op = Asked;
    type Ret = Told;

    fn invoke(&mut self, asked: &Asked) -> Told {
        match (*asked, self.value) {
            (Asked::Get, Some(value)) => Told::Found(value),
            (Asked::Get | Asked::Delete, None) => Told::NotFound,
            (Asked::PutIfAbsent(_), Some(_)) => Told::Mismatch,
            (Asked::Put(value) | Asked::PutIfAbsent(value), _) => {
                self.value = Some(value);
                Told::Done
            }
            (Asked::Delete, Some(_)) => {
                self.value = None;
                Told::Done
            }
        }
    }

    fn is_valid_step(&mut self, asked: &Asked, told: &Told) -> bool {
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        left > 0 && self.invoke(asked) == *told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turmoil::Lots;

    /// What so many clients see of a server that takes each call at one moment between its beginning and its end.
    fn history(seed: u64, clients: u64, calls: u64) -> Vec<Call> {
        let mut lots = Lots::new(seed);
        let mut begins: Vec<u64> = (0..clients).collect();
        let mut keys: BTreeMap<u32, (u64, Option<u64>)> = BTreeMap::new();
        let (mut history, mut now) = (Vec::new(), 0);
        for number in 1..=calls {
            let client = lots.below(u32::try_from(clients).unwrap()) as usize;
            now = now.max(begins[client]) + 1 + u64::from(lots.below(5));
            let (begin, end) = (begins[client], now + 1 + u64::from(lots.below(20)));
            begins[client] = end + 1 + u64::from(lots.below(30));
            let asked = match lots.below(8) {
                0 | 1 => Asked::Put(number),
                2 => Asked::PutIfAbsent(number),
                3 => Asked::Delete,
                _ => Asked::Get,
            };
            let key = lots.below(2);
            let (version, value) = keys.entry(key).or_default();
            let mut state = Key { value: *value, left: Rc::default() };
            let told = state.invoke(&asked);
            *value = state.value;
            let version = match told {
                Told::Done => {
                    *version = number;
                    number
                }
                Told::NotFound => 0,
                Told::Found(_) | Told::Mismatch => *version,
            };
            history.push(Call { key, begin, end, asked, told, version });
        }
        history
    }

    #[test]
    fn what_has_an_order_passes_both() {
        let mut all = Compared::default();
        for seed in 1..20 {
            let compared = check(&history(seed, 5, 200)).unwrap();
            all.keys += compared.keys;
            all.left_out += compared.left_out;
        }
        assert!(all.keys > 30 && all.left_out == 0, "{all:?}");
    }

    #[test]
    fn a_stale_read_is_caught_by_both() {
        let mut tried = 0;
        for seed in 1..30 {
            let mut calls = history(seed, 4, 60);
            // A read of what was written last, after that had ended, and what was written to the key before that was begun.
            let pair = calls.iter().enumerate().find_map(|(place, read)| {
                let Told::Found(_) = read.told else { return None };
                let of_key = || calls.iter().filter(|call| call.key == read.key && call.is_write());
                let last = of_key().find(|write| write.version == read.version && write.end < read.begin)?;
                let before = of_key().rfind(|write| write.end < last.begin)?;
                Some((place, before.version, before.value()?))
            });
            let Some((place, version, value)) = pair else { continue };
            tried += 1;
            (calls[place].version, calls[place].told) = (version, Told::Found(value));
            assert!(by_versions(&calls).is_err(), "seed {seed}: {:?} is stale", calls[place]);
            assert!(by_search(&calls).is_err(), "seed {seed}: {:?} is stale", calls[place]);
        }
        assert!(tried > 10, "{tried}");
    }

    #[test]
    fn a_write_that_is_lost_or_done_twice_is_caught() {
        let write = |begin, number| Call {
            key: 1,
            begin,
            end: begin + 5,
            asked: Asked::Put(number),
            told: Told::Done,
            version: number,
        };
        let read = |begin, told, version| Call { key: 1, begin, end: begin + 5, asked: Asked::Get, told, version };
        check(&[write(0, 1), read(10, Told::Found(1), 1)]).unwrap();
        let lost = check(&[write(0, 1), read(10, Told::NotFound, 0)]).unwrap_err();
        assert!(matches!(lost, Violation::NoOrder(_)), "{lost:?}");
        // The first one was done again after the second one.
        let twice = check(&[write(0, 1), write(10, 2), read(20, Told::Found(1), 3)]).unwrap_err();
        assert!(matches!(twice, Violation::Unwritten(_)), "{twice:?}");
        let back = check(&[write(0, 2), write(10, 1)]).unwrap_err();
        assert!(matches!(back, Violation::RealTime { .. }), "{back:?}");
    }
}
