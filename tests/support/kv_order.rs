//! An order of the calls on a key that their versions suggest, so that no search is needed where it is one.
//!
//! Each call is narrowed to one moment between its beginning and its end. Whether what it was told fits that order is for the
//! [search](crate::kv_histories::by_search) to say, which then has nothing to choose; and since a narrowed call lies within the call, an order
//! of the narrowed calls is one of the calls, whatever the versions are worth.

#![allow(dead_code, reason = "each test program that includes this file uses another part of it")]

use crate::kv_histories::Call;

/// What lies between two writes to a key: the first of them, where there is one, and those that were told what it has left.
struct State {
    write: Option<Call>,
    readers: Vec<Call>,
    /// Before which moment the write cannot have happened, and after which it cannot, as all writes and readers of versions say.
    earliest: u64,
    latest: u64,
}

impl State {
    fn is_absent(&self) -> bool {
        self.write.is_none_or(|write| write.written().is_none())
    }
}

/// The calls on a key, each at its moment; `None` where versions suggest no order.
pub fn narrowed(calls: &[Call]) -> Option<Vec<Call>> {
    let mut states = states_of(calls)?;
    for &call in calls.iter().filter(|call| call.is_absent()) {
        let until = |place: usize, of: fn(&State) -> u64| states.get(place + 1).map_or(u64::MAX, of);
        let may_hold = |&place: &usize| {
            let state = &states[place];
            state.is_absent() && state.earliest <= call.end && call.begin <= until(place, |next| next.latest)
        };
        let possible: Vec<usize> = (0..states.len()).filter(may_hold).collect();
        // Where it holds up nobody; else as late as it can be.
        let free = possible.iter().find(|place| call.begin <= until(**place, |next| next.earliest));
        let place = *free.or(possible.last())?;
        states[place].readers.push(call);
    }
    let (mut order, mut now) = (Vec::with_capacity(calls.len()), 0);
    for State { write, mut readers, .. } in states {
        readers.sort_unstable_by_key(|call| call.begin);
        for call in write.into_iter().chain(readers) {
            now = now.max(call.begin);
            if now > call.end {
                return None;
            }
            order.push(call);
        }
    }
    let at = |(place, call): (u64, Call)| Call { begin: 2 * place, end: 2 * place + 1, ..call };
    Some((0..).zip(order).map(at).collect())
}

/// The states of a key one after the other, with those that read their versions; `None` where somebody read another one.
fn states_of(calls: &[Call]) -> Option<Vec<State>> {
    let state = |write| State { write, readers: Vec::new(), earliest: 0, latest: u64::MAX };
    let mut writes: Vec<Call> = calls.iter().copied().filter(Call::is_write).collect();
    writes.sort_unstable_by_key(|write| write.version);
    let mut states: Vec<State> = [None].into_iter().chain(writes.into_iter().map(Some)).map(state).collect();
    for &call in calls.iter().filter(|call| !call.is_write() && !call.is_absent()) {
        let version = |state: &State| state.write.map_or(0, |write| write.version);
        let place = states.binary_search_by_key(&call.version, version).ok()?;
        states[place].readers.push(call);
    }
    let mut earliest = 0;
    for State { write, readers, earliest: of_write, .. } in &mut states {
        earliest = write.map_or(earliest, |write| earliest.max(write.begin));
        *of_write = earliest;
        earliest = readers.iter().map(|call| call.begin).fold(earliest, u64::max);
    }
    let mut latest = u64::MAX;
    for State { write, readers, latest: of_write, .. } in states.iter_mut().rev() {
        latest = readers.iter().chain(&*write).map(|call| call.end).fold(latest, u64::min);
        *of_write = latest;
    }
    Some(states)
}
