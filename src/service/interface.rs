//! What a worker's event loop asks of a service.

use std::time::Duration;

use crate::service::connection_state::{ConnectionState, Next};
use crate::service::sessions::{Session, Sessions};

/// The time of one turn of the event loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of the monotonic clock.
    pub monotonic_ns: u64,
    /// Time since 1970.
    pub since_1970: Duration,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From its client: nothing of it has been read.
    Client,
    /// From another worker, which has left or died: its slot says how far it got.
    Worker,
}

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

/// How soon a service wants another turn of the loop, should nothing happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patience {
    /// At once.
    None,
    /// After this time.
    AtMost(Duration),
    /// Not before something happens.
    Unlimited,
}

/// What a worker's event loop asks of a service.
///
/// No method may block. Whatever loops over what a peer sends has a budget ([`crate::base::limits`]).
pub trait Service {
    /// What it remembers of one connection, beside the [`ConnectionState`].
    type Data;

    /// Tells the time of this turn of the loop, before anything else in it.
    fn set_time(&mut self, now: Now);

    /// Begins a session on a connection that has come.
    fn begin(&mut self, state: ConnectionState, origin: Origin) -> Session<Self::Data>;

    /// Gives a session its turn: its socket may have bytes, or take some again, or it was scheduled.
    fn serve(&mut self, session: &mut Session<Self::Data>) -> Next;

    /// Since when a session is silent; `None` for one that must not be closed to make room: it waits for an answer, gets one, or has
    /// earned its place.
    fn silent(&self, session: &Session<Self::Data>) -> Option<Silent>;

    /// What becomes of a session when its worker leaves.
    fn departure(&self, session: &Session<Self::Data>) -> Departure;

    /// Whether threads work for a session, in vain once its client is gone.
    fn awaits_threads(&self, _session: &Session<Self::Data>) -> bool {
        false
    }

    /// There is no room for the session's connection (its admission is `Denied` from now on). A turn follows.
    fn deny(&mut self, _session: &mut Session<Self::Data>) {}

    /// The session is closed right after this call, to make room for another.
    fn evict(&mut self, _session: &mut Session<Self::Data>) {}

    /// Schedules the sessions that can go on: what they have waited for, other than their sockets, has come. Called in every turn.
    fn advance(&mut self, _sessions: &mut Sessions<Self::Data>) {}

    /// How long the loop may wait; called right before it does.
    fn patience(&mut self) -> Patience {
        Patience::Unlimited
    }

    /// Four times a second.
    fn tick(&mut self, _sessions: &mut Sessions<Self::Data>) {}

    /// Whether the session has taken too long, at a tick: what is to be done then ([`Next::Again`]: it was told, and is served).
    fn check_time(&mut self, _session: &mut Session<Self::Data>) -> Option<Next> {
        None
    }

    /// Settings and users were read again.
    fn reload(&mut self, _sessions: &mut Sessions<Self::Data>) {}

    /// The session's connection is closed right after this call.
    fn end(&mut self, _session: &mut Session<Self::Data>) {}

    /// The server stops: no request that comes from now on is answered.
    fn stop(&mut self) {}

    /// All sessions have ended, and the process is about to.
    fn finish(self)
    where
        Self: Sized,
    {
    }
}
