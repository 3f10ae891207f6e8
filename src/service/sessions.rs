//! The sessions of one service in one worker, by their connection slots.

use std::collections::VecDeque;
use std::ops::Range;

use crate::service::connection_state::{ConnectionState, SessionKey};

/// What a worker remembers of one connection.
pub struct Session<D> {
    /// What there is of every connection.
    pub state: ConnectionState,
    /// What the service remembers of it.
    pub data: D,
}

/// Sessions, and those of them that are to be served in the next turn of the loop.
pub struct Sessions<D> {
    slots: Range<usize>,
    by_slot: Vec<Option<Box<Session<D>>>>,
    scheduled: VecDeque<u32>,
}

impl<D> Sessions<D> {
    /// None yet; for connections in these slots.
    #[must_use]
    pub fn new(slots: Range<usize>) -> Self {
        let by_slot = std::iter::repeat_with(|| None).take(slots.len()).collect();
        Sessions { slots, by_slot, scheduled: VecDeque::new() }
    }

    /// The session in `slot`.
    #[inline]
    pub fn at(&mut self, slot: u32) -> Option<&mut Session<D>> {
        self.place(slot).and_then(|place| place.as_deref_mut())
    }

    /// The session in `slot`, to be looked at.
    #[inline]
    #[must_use]
    pub fn look(&self, slot: u32) -> Option<&Session<D>> {
        let place = (slot as usize).checked_sub(self.slots.start)?;
        self.by_slot.get(place).and_then(Option::as_deref)
    }

    /// The session that `key` means, unless it has ended.
    pub fn get(&mut self, key: SessionKey) -> Option<&mut Session<D>> {
        self.at(key.slot).filter(|session| session.state.generation == key.generation)
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session<D>> {
        self.by_slot.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// Has the session in `slot` served in the next turn, once.
    pub fn schedule(&mut self, slot: u32) {
        let Some(session) = self.at(slot) else { return };
        if !std::mem::replace(&mut session.state.scheduled, true) {
            self.scheduled.push_back(slot);
        }
    }

    /// How many are scheduled.
    #[must_use]
    pub fn scheduled(&self) -> usize {
        self.scheduled.len()
    }

    /// Takes the next scheduled session from the queue; its slot.
    pub(super) fn next_scheduled(&mut self) -> Option<u32> {
        let slot = self.scheduled.pop_front()?;
        if let Some(session) = self.at(slot) {
            session.state.scheduled = false;
        }
        Some(slot)
    }

    /// Puts a session into its slot.
    pub(super) fn insert(&mut self, session: Session<D>) {
        if let Some(place) = self.place(session.state.connection.index()) {
            *place = Some(Box::new(session));
        }
    }

    /// Takes the session out of `slot`.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Session<D>>> {
        self.place(slot)?.take()
    }

    #[inline]
    fn place(&mut self, slot: u32) -> Option<&mut Option<Box<Session<D>>>> {
        let place = (slot as usize).checked_sub(self.slots.start)?;
        self.by_slot.get_mut(place)
    }
}
