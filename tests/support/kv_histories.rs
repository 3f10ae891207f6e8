//! The judges of what many clients saw of a few keys of the key-value store, through any number of failovers: whether the calls on each key
//! have an order in which each took effect at one moment between its beginning and its end (Herlihy, Wing: Linearizability, 1990).
//!
//! One goes by versions, which say where a write stands, and which write a read has seen. The other believes nothing of them: it searches for an
//! order of the calls on each key, with the crate `stateright`, so histories are short. A third one is for calls that were sent twice under
//! one request id: both answers are the same.
//!
//! A search among all orders takes exponential time, and minutes where dozens of clients call at the same time. So the search begins with
//! calls that are [narrowed] to the order which versions suggest; only where that is none, it goes through the others.

#![allow(clippy::result_large_err, reason = "a violation is made once, and then the test ends")]
#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::thread;

use stateright::semantics::SequentialSpec;

use crate::kv_order::narrowed;
use crate::short_histories::{Event, has_order};

/// Calls on one key, at most: the search takes a stack frame for each.
pub const MOST_CALLS: u32 = 200;
/// Steps of a search, at most; then it is given up.
const STEPS: u32 = 50_000;

/// What was asked for; each value that is written has a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Get,
    Put(u64),
    /// A PUT with KV_IF_ABSENT.
    PutIfAbsent(u64),
    /// A PUT with KV_IF_VERSION.
    PutIf(Seen, u64),
    Delete,
    /// A DELETE with KV_IF_VERSION.
    DeleteIf(Seen),
}

/// What a caller has seen of a key, and expects to be there still: a version, and the value that has it. No two writes have the same value, so to
/// the judge that knows no versions the value says as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub version: u64,
    pub value: u64,
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
    /// The condition of a write did not hold; where the key was not there, the version of the answer is 0.
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
    /// Whether it is a write that was done.
    pub fn is_write(&self) -> bool {
        self.told == Told::Done
    }

    /// The value that it has written, if it has written one.
    pub fn written(&self) -> Option<u64> {
        self.value().filter(|_| self.is_write())
    }

    /// The value that it leaves, if it is a write that was done.
    fn value(&self) -> Option<u64> {
        match self.asked {
            Asked::Put(value) | Asked::PutIfAbsent(value) | Asked::PutIf(_, value) => Some(value),
            Asked::Get | Asked::Delete | Asked::DeleteIf(_) => None,
        }
    }

    /// Whether it says that the key was not there.
    pub fn is_absent(&self) -> bool {
        match self.told {
            Told::NotFound => true,
            Told::Mismatch => self.version == 0,
            Told::Done | Told::Found(_) => false,
        }
    }

    /// Whether the write may follow `before`, the last one of its key, as its condition says.
    fn may_follow(&self, before: Option<&Call>) -> bool {
        let there = before.filter(|before| before.value().is_some());
        match self.asked {
            Asked::Get => false,
            Asked::Put(_) => true,
            Asked::PutIfAbsent(_) => there.is_none(),
            Asked::Delete => there.is_some(),
            Asked::PutIf(seen, _) | Asked::DeleteIf(seen) => {
                there.is_some_and(|there| there.version == seen.version && there.value() == Some(seen.value))
            }
        }
    }
}

/// A write that was sent again under its request id, after it had been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    pub first: Call,
    pub again: Call,
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
    /// A write was done although its condition did not hold behind the write that its version comes after.
    Condition { before: Option<Call>, write: Call },
    /// The key was there all the time.
    NeverAbsent(Call),
    /// A repeat was answered otherwise than the first time.
    OtherAnswer(Repeat),
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
    /// Keys for which the order that versions suggest was none.
    pub searched: usize,
    /// Calls on keys whose search was given up.
    pub left_out: usize,
}

impl Compared {
    fn and(self, other: Compared) -> Compared {
        Compared {
            writes: self.writes + other.writes,
            reads: self.reads + other.reads,
            keys: self.keys + other.keys,
            searched: self.searched + other.searched,
            left_out: self.left_out + other.left_out,
        }
    }
}

/// Whether `calls` are all that was done on keys that were not there before, and have an order.
pub fn check(calls: &[Call]) -> Result<Compared, Violation> {
    by_versions(calls)?;
    // A search for each core.
    let cores = u32::try_from(thread::available_parallelism().map_or(1, usize::from)).unwrap();
    let search = |core| by_search(&calls.iter().copied().filter(|call| call.key % cores == core).collect::<Vec<_>>());
    let found: Vec<_> = thread::scope(|scope| {
        let searches: Vec<_> = (0..cores).map(|core| scope.spawn(move || search(core))).collect();
        searches.into_iter().map(|search| search.join().unwrap()).collect()
    });
    found.into_iter().try_fold(Compared::default(), |all, part| Ok(all.and(part?)))
}

/// The judge of repeats.
pub fn answered_once(repeats: &[Repeat]) -> Result<(), Violation> {
    let differs = |Repeat { first, again }: &&Repeat| (first.told, first.version) != (again.told, again.version);
    repeats.iter().find(differs).map_or(Ok(()), |repeat| Err(Violation::OtherAnswer(*repeat)))
}

/// The judge by versions.
pub fn by_versions(calls: &[Call]) -> Result<(), Violation> {
    let mut writes: Vec<Call> = calls.iter().copied().filter(Call::is_write).collect();
    writes.sort_unstable_by_key(|call| call.version);
    if let Some(pair) = writes.windows(2).find(|pair| pair[0].version == pair[1].version) {
        return Err(Violation::Twice(pair[0], pair[1]));
    }
    // Versions rise over all keys.
    in_real_time(&writes)?;
    let mut of_keys: HashMap<u32, Vec<Call>> = HashMap::new();
    for write in &writes {
        let before = of_keys.entry(write.key).or_default();
        if !write.may_follow(before.last()) {
            return Err(Violation::Condition { before: before.last().copied(), write: *write });
        }
        before.push(*write);
    }
    for call in calls.iter().filter(|call| !call.is_write()) {
        let of_key = of_keys.get(&call.key).map_or(&[][..], Vec::as_slice);
        if !call.is_absent() && !is_written(call, of_key) {
            return Err(Violation::Unwritten(*call));
        }
        if call.is_absent() && !may_be_absent(call, of_key) {
            return Err(Violation::NeverAbsent(*call));
        }
    }
    let placed = calls.iter().copied().filter(|call| call.version > 0);
    by_key(placed).values().try_for_each(|calls| in_real_time(calls))
}

/// Whether one of the writes to a key, in their order, has what the call was told.
fn is_written(call: &Call, of_key: &[Call]) -> bool {
    let place = of_key.binary_search_by_key(&call.version, |write| write.version);
    let value = place.ok().and_then(|place| of_key[place].value());
    value.is_some_and(|value| match (call.told, call.asked) {
        (Told::Found(found), _) => found == value,
        (_, Asked::PutIf(seen, _) | Asked::DeleteIf(seen)) => seen.version != call.version,
        _ => true,
    })
}

/// Whether the key may have been absent at a moment of the call: before the first of these writes, or from a DELETE until the next write.
fn may_be_absent(call: &Call, of_key: &[Call]) -> bool {
    let end = |write: Option<&Call>| write.is_none_or(|write| write.end >= call.begin);
    end(of_key.first())
        || of_key
            .iter()
            .enumerate()
            .any(|(place, write)| write.value().is_none() && write.begin <= call.end && end(of_key.get(place + 1)))
}

/// The judge by search.
pub fn by_search(calls: &[Call]) -> Result<Compared, Violation> {
    let writes = calls.iter().filter(|call| call.is_write()).count();
    let mut compared = Compared { writes, reads: calls.len() - writes, ..Compared::default() };
    for calls in by_key(calls.iter().copied()).into_values() {
        assert!(calls.len() <= MOST_CALLS as usize, "{} calls on key {}", calls.len(), calls[0].key);
        compared.keys += 1;
        // An order of narrowed calls is one of the calls. Where there is none, that is for a search among all orders to say.
        if narrowed(&calls).is_some_and(|calls| has_order_of_calls(&calls) == Some(true)) {
            continue;
        }
        compared.searched += 1;
        match has_order_of_calls(&calls) {
            Some(true) => {}
            Some(false) => return Err(Violation::NoOrder(calls)),
            None => compared.left_out += calls.len(),
        }
    }
    Ok(compared)
}

/// Whether the calls on a key have an order; `None` if the search was given up.
fn has_order_of_calls(calls: &[Call]) -> Option<bool> {
    let left = Rc::new(Cell::new(STEPS));
    let key = Key { value: None, left: Rc::clone(&left) };
    let events = calls.iter().map(|call| Event { begin: call.begin, end: call.end, op: call.asked, ret: call.told });
    has_order(key, &left, events)
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
            (Asked::PutIf(seen, _) | Asked::DeleteIf(seen), there) if there != Some(seen.value) => Told::Mismatch,
            (Asked::Put(value) | Asked::PutIfAbsent(value) | Asked::PutIf(_, value), _) => {
                self.value = Some(value);
                Told::Done
            }
            (Asked::Delete | Asked::DeleteIf(_), _) => {
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

    /// What a server does wrong, once.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Defect {
        None,
        /// It forgets the write of this number after it has answered it.
        Forgets(u64),
        /// It does the write of the first number again, before it takes the call of the second one.
        DoesAgain(u64, u64),
    }

    fn history(seed: u64, clients: u64, calls: u64) -> Vec<Call> {
        history_with(seed, clients, calls, Defect::None)
    }

    /// What so many clients see of a server that takes each call at one moment between its beginning and its end. Calls are numbered from 1, and
    /// a write has its number as its value and its version.
    fn history_with(seed: u64, clients: u64, calls: u64, defect: Defect) -> Vec<Call> {
        let mut lots = Lots::new(seed);
        let mut begins: Vec<u64> = (0..clients).collect();
        let mut keys: BTreeMap<u32, Option<Seen>> = BTreeMap::new();
        let (mut history, mut now) = (Vec::<Call>::new(), 0);
        for number in 1..=calls {
            let client = lots.below(u32::try_from(clients).unwrap()) as usize;
            now = now.max(begins[client]) + 1 + u64::from(lots.below(5));
            let (begin, end) = (begins[client], now + 1 + u64::from(lots.below(20)));
            begins[client] = end + 1 + u64::from(lots.below(30));
            let key = lots.below(2);
            let last = history.iter().rfind(|call| call.key == key && matches!(call.told, Told::Found(_)));
            let expected = last.map_or(Seen { version: 1, value: 1 }, |read| match read.told {
                Told::Found(value) => Seen { version: read.version, value },
                _ => unreachable!(),
            });
            let asked = match lots.below(10) {
                0 | 1 => Asked::Put(number),
                2 => Asked::PutIfAbsent(number),
                3 => Asked::Delete,
                4 => Asked::PutIf(expected, number),
                5 => Asked::DeleteIf(expected),
                _ => Asked::Get,
            };
            if let Defect::DoesAgain(first, at) = defect
                && at == number
                && let Some(write) = history.iter().find(|call| call.version == first && call.is_write())
            {
                // No other write has this version.
                let seen = write.value().map(|value| Seen { version: calls + 1, value });
                keys.insert(write.key, seen);
            }
            let held = keys.entry(key).or_default();
            let before = *held;
            let mut state = Key { value: held.map(|seen| seen.value), left: Rc::default() };
            let told = state.invoke(&asked);
            let version = if told == Told::Done {
                *held = state.value.map(|value| Seen { version: number, value });
                number
            } else {
                held.map_or(0, |seen| seen.version)
            };
            if defect == Defect::Forgets(number) && told == Told::Done {
                *held = before;
            }
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

    /// The calls on a key that began after `earlier` had ended, and were told what was there.
    fn later<'a>(calls: &'a [Call], earlier: &'a Call) -> impl Iterator<Item = &'a Call> {
        calls.iter().filter(|call| call.key == earlier.key && call.begin > earlier.end)
    }

    #[test]
    fn a_write_that_is_acknowledged_and_lost_is_caught_by_both() {
        let mut tried = 0;
        for seed in 1..400 {
            let number = 10 + seed % 20;
            let calls = history_with(seed, 4, 60, Defect::Forgets(number));
            let Some(lost) = calls.iter().find(|call| call.version == number && call.is_write()) else { continue };
            // Somebody has read what was there before, and no other write was under way from then on.
            let mut others = calls.iter().filter(|call| call.key == lost.key && call.is_write() && *call != lost);
            let is_alone = |read: &Call| {
                others.all(|other| if other.version < number { other.end < lost.begin } else { other.begin > read.end })
            };
            if !later(&calls, lost).find(|read| read.asked == Asked::Get).is_some_and(is_alone) {
                continue;
            }
            tried += 1;
            assert!(by_versions(&calls).is_err(), "seed {seed}: {lost:?} is lost");
            assert!(by_search(&calls).is_err(), "seed {seed}: {lost:?} is lost");
        }
        assert!(tried > 10, "{tried}");
    }

    #[test]
    fn a_write_that_is_done_again_later_is_caught_by_both() {
        let mut tried = 0;
        for seed in 1..200 {
            let (number, at) = (5 + seed % 10, 30);
            let calls = history_with(seed, 4, 60, Defect::DoesAgain(number, at));
            let Some(first) = calls.iter().find(|call| call.version == number && call.value().is_some()) else {
                continue;
            };
            // What was written in between is overwritten by it, and that was seen.
            let between = later(&calls, first).find(|call| call.is_write() && call.version < at);
            let Some(between) = between.filter(|_| first.is_write()) else { continue };
            let is_again = |call: &&Call| call.asked == Asked::Get && call.version == 61;
            if later(&calls, between).find(is_again).is_some() {
                tried += 1;
                assert!(by_versions(&calls).is_err(), "seed {seed}: {first:?} is done again");
                assert!(by_search(&calls).is_err(), "seed {seed}: {first:?} is done again");
            }
        }
        assert!(tried > 10, "{tried}");
    }

    #[test]
    fn a_repeat_that_is_done_again_is_caught() {
        let first = Call { key: 1, begin: 0, end: 5, asked: Asked::Put(1), told: Told::Done, version: 1 };
        let again = Call { begin: 10, end: 15, ..first };
        assert_eq!(answered_once(&[Repeat { first, again }]), Ok(()));
        let done = Repeat { first, again: Call { version: 2, ..again } };
        assert_eq!(answered_once(&[Repeat { first, again }, done]), Err(Violation::OtherAnswer(done)));
        // A refusal that is not remembered.
        let first = Call { asked: Asked::PutIfAbsent(1), told: Told::Mismatch, version: 7, ..first };
        let done = Repeat { first, again: Call { told: Told::Done, version: 9, ..first } };
        assert_eq!(answered_once(&[done]), Err(Violation::OtherAnswer(done)));
    }

    #[test]
    fn a_condition_that_did_not_hold_is_caught_by_both() {
        let call = |begin, asked, told, version| Call { key: 1, begin, end: begin + 5, asked, told, version };
        let [one, two] = [1, 2].map(|number| Seen { version: number, value: number });
        let put = |begin, number| call(begin, Asked::Put(number), Told::Done, number);
        let both = |calls: &[Call]| {
            let violation = by_versions(calls).unwrap_err();
            assert!(by_search(calls).is_err(), "{violation:?}");
            violation
        };
        let replaced = call(20, Asked::PutIf(two, 3), Told::Done, 3);
        check(&[put(0, 1), put(10, 2), replaced]).unwrap();
        // By one who does not know of the second write; by several who all know the first; of a key that is there.
        for asked in [Asked::PutIf(one, 3), Asked::DeleteIf(one), Asked::PutIfAbsent(3)] {
            let violation = both(&[put(0, 1), put(10, 2), call(20, asked, Told::Done, 3)]);
            assert!(matches!(violation, Violation::Condition { .. }), "{violation:?}");
        }
        // One that held, and was told otherwise.
        let violation = both(&[put(0, 1), call(10, Asked::PutIf(one, 3), Told::Mismatch, 1)]);
        assert!(matches!(violation, Violation::Unwritten(_)), "{violation:?}");
        let violation = both(&[put(0, 1), call(10, Asked::PutIf(one, 3), Told::Mismatch, 0)]);
        assert!(matches!(violation, Violation::NeverAbsent(_)), "{violation:?}");
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
        assert!(matches!(lost, Violation::NeverAbsent(_)), "{lost:?}");
        let lost = by_search(&[write(0, 1), read(10, Told::NotFound, 0)]).unwrap_err();
        assert!(matches!(lost, Violation::NoOrder(_)), "{lost:?}");
        // The first one was done again after the second one.
        let twice = check(&[write(0, 1), write(10, 2), read(20, Told::Found(1), 3)]).unwrap_err();
        assert!(matches!(twice, Violation::Unwritten(_)), "{twice:?}");
        let back = check(&[write(0, 2), write(10, 1)]).unwrap_err();
        assert!(matches!(back, Violation::RealTime { .. }), "{back:?}");
    }
}
