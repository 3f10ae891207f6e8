//! What one session waits for.

use crate::base::vocab::Lsn;
use crate::service::connection_state::ConnectionState;
use crate::service::replies::after_queue::AfterWait;
use crate::service::replies::held_replies::{HeldReplies, Replies};
use crate::service::replies::visibility::Visibility;
use crate::store::ledger::Shows;

/// Why the next request could not be carried out yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// It can be once this operation is committed.
    Until(Lsn),
    /// The journal had no room for it.
    ForRoom,
}

/// What a session waits for.
#[derive(Debug)]
pub struct Waits {
    /// Replies that are not to be seen yet.
    pub held: HeldReplies,
    /// Set when the next request could not be carried out yet, and is to be looked at again.
    pub blocked: Option<Blocked>,
    /// Set when the next request waits for an operation that this instance has not applied. It is kept over every look at it.
    pub after: Option<AfterWait>,
    /// Whether the session is not to be looked at in this turn any more, for that reason.
    pub is_behind: bool,
    /// Set when the next request waits until a primary is known: when that wait is over, nanoseconds of the monotonic clock. It is kept over
    /// every look at it.
    pub primary_until_ns: Option<u64>,
    /// Whether the session is not to be looked at in this turn any more, for that reason.
    pub is_leaderless: bool,
    /// Whether it stands in the queue of those that wait for what is committed.
    pub(super) is_queued: bool,
    /// Whether it stands in the queue of those that wait for room in the journal.
    pub(super) is_queued_for_room: bool,
    /// Whether it was waiting, for whatever reason, after its last turn.
    pub(super) is_waiting: bool,
    /// How often the gate had been closed when the session was begun.
    gate_closings: u32,
}

impl Waits {
    /// Those of a session that begins.
    #[must_use]
    pub fn new(state: &ConnectionState, visibility: &Visibility) -> Self {
        let gate_closings = visibility.gate_closings_of(state.connection.slot());
        let held = HeldReplies::none(state.connection.sent());
        Waits {
            held,
            blocked: None,
            after: None,
            is_behind: false,
            primary_until_ns: None,
            is_leaderless: false,
            is_queued: false,
            is_queued_for_room: false,
            is_waiting: false,
            gate_closings,
        }
    }

    /// Whether the gate was closed since the session began. Then it is to be closed, and what it waits for never leaves: whether that has
    /// happened, the next primary knows.
    #[inline]
    #[must_use]
    pub fn is_cut_off(&self, visibility: &Visibility) -> bool {
        self.gate_closings != visibility.gate_closings()
    }

    /// Begins a turn: the next request is looked at again.
    #[inline]
    pub fn begin_turn(&mut self) {
        self.blocked = None;
        self.is_behind = false;
        self.is_leaderless = false;
    }

    /// Ends what the next request has waited for: it is answered.
    #[inline]
    pub fn end_request(&mut self) {
        self.after = None;
        self.primary_until_ns = None;
    }

    /// Whether the next request waits for something that is not of this connection.
    #[must_use]
    pub fn has_waiting_request(&self) -> bool {
        self.after.is_some() || self.primary_until_ns.is_some()
    }

    /// Whether the next request is not looked at in this turn any more.
    #[inline]
    #[must_use]
    pub fn stop_requests(&self) -> bool {
        self.blocked.is_some() || self.is_behind || self.is_leaderless
    }

    /// What must be visible before the session gets on.
    #[inline]
    #[must_use]
    pub fn waits_for(&self) -> Option<Shows> {
        self.held.waits_for().or(match self.blocked {
            Some(Blocked::Until(lsn)) => Some(Shows::operation(lsn)),
            Some(Blocked::ForRoom) | None => None,
        })
    }

    /// Whether the session waits for room in the journal and for nothing else: in its last turn it got none.
    #[inline]
    #[must_use]
    pub fn wants_room(&self) -> bool {
        self.blocked == Some(Blocked::ForRoom) && self.held.waits_for().is_none()
    }

    /// Holds the replies of a turn, all that is queued up to `queued`, if what they show is not committed yet; else gives them back.
    #[inline]
    #[must_use]
    pub fn hold(&mut self, queued: u32, shows: Shows, replies: Replies, visibility: &Visibility) -> Option<Replies> {
        self.held.hold_unless(visibility.may_be_shown(shows), queued, shows, replies)
    }

    /// Holds what another worker left unsent. What those replies show, only it knew; nothing later than the last operation.
    pub fn hold_what_was_left(&mut self, state: &ConnectionState, visibility: &Visibility) {
        if state.connection.unsent() > 0 {
            let last = Shows::operation(visibility.order.now().lsn);
            self.held.hold(state.connection.queued(), last, Replies::default());
        }
    }

    /// Up to where the transmit ring may be sent. Each run of replies that may leave now is passed to `released`.
    #[inline]
    pub fn release(&mut self, queued: u32, visibility: &Visibility, released: impl Fn(Replies)) -> u32 {
        self.held.release(queued, |shows| visibility.may_be_shown(shows), released)
    }
}
