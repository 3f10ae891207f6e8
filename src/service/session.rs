//! What a service remembers of one connection, as the event loop sees it.

use crate::service::connection_state::ConnectionState;

/// What becomes of a session whose worker leaves while others stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Another worker goes on with it: all there is to know about it stands in its slot.
    Move,
    /// It is served until it can be moved or ends.
    Finish,
    /// It is closed: no other worker could go on with it, and it would never end.
    Close,
}

/// What a silent connection is at. When room is short, the first of these are closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Silence {
    /// It is closing, or there was no room for it.
    NotAdmitted,
    /// Between two requests, or with an answer that waits for the access log.
    BetweenRequests,
    /// It has not sent a request, or has not logged in.
    BeforeFirstRequest,
    /// It has begun a request that it does not end.
    InsideRequest,
}

/// A silent connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Silent {
    /// What it is at.
    pub at: Silence,
    /// Since when, nanoseconds of the monotonic clock.
    pub since_ns: u64,
}

/// What a service remembers of one connection.
pub trait Session {
    /// What every session has.
    fn state(&self) -> &ConnectionState;

    /// As above, to be changed.
    fn state_mut(&mut self) -> &mut ConnectionState;

    /// What is left when the session is forgotten.
    fn into_state(self: Box<Self>) -> ConnectionState;

    /// Since when it is silent; `None` for one that must not be closed to make room: it waits for an answer, gets one, or has
    /// earned its place.
    fn silent(&self) -> Option<Silent>;

    /// What becomes of it when its worker leaves.
    fn departure(&self) -> Departure;

    /// Whether threads work for it, in vain once its client is gone.
    fn awaits_threads(&self) -> bool {
        false
    }
}
