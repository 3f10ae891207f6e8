//! The connections of a worker that wait for the journal.

use std::collections::VecDeque;

use crate::base::vocab::Lsn;
use crate::service::bank::session::bank_session::BankSession;

/// A connection that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The operation that it waits for.
    pub lsn: Lsn,
    /// Its slot.
    pub slot: u32,
    /// Whether it waits for room in the journal's ring alone, and has no reply that waits.
    pub for_room: bool,
}

/// Those that wait, in the order in which they may go on.
#[derive(Debug, Default)]
pub struct JournalQueue(VecDeque<Waiting>);

impl JournalQueue {
    /// Puts `session` in if it waits and is not there.
    #[inline]
    pub fn join(&mut self, session: &mut BankSession) {
        let Some(lsn) = session.waits_for().filter(|_| !session.data.is_queued) else { return };
        session.data.is_queued = true;
        // Operations become durable in groups: waiting for the one before, too, costs nothing, and keeps the queue sorted.
        let last = self.0.back().map_or(lsn, |waiting| waiting.lsn);
        let for_room = session.data.blocked.is_some() && session.data.held.waits_for().is_none();
        self.0.push_back(Waiting { lsn: lsn.max(last), slot: session.state.connection.index(), for_room });
    }

    /// The first one.
    #[must_use]
    pub fn first(&self) -> Option<Waiting> {
        self.0.front().copied()
    }

    /// Takes the first one out, if all up to `durable` is what it waits for; its slot.
    pub fn next(&mut self, durable: Lsn) -> Option<u32> {
        self.0.pop_front_if(|waiting| waiting.lsn <= durable).map(|waiting| waiting.slot)
    }
}
