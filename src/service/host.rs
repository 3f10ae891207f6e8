//! A service with its sessions, as the event loop of a worker has it: the loop knows slots, not what a service makes of them.

use std::ops::Range;

use crate::service::connection_state::{Admission, Closing, ConnectionState, Next};
use crate::service::interface::{Departure, Now, Origin, Patience, Service, Silence, Silent};
use crate::service::sessions::Sessions;

/// A service of whatever kind. The methods that have a namesake in [`Service`] are that one, for the session in a slot.
pub trait Hosted {
    /// See [`Service::set_time`].
    fn set_time(&mut self, now: Now);

    /// Begins a session on a connection that has come, in the connection's slot.
    fn begin(&mut self, state: ConnectionState, origin: Origin);

    /// What is known of the connection in `slot`.
    fn state(&mut self, slot: u32) -> Option<&mut ConnectionState>;

    /// See [`Service::serve`]; `None` where there is no session.
    fn serve(&mut self, slot: u32) -> Option<Next>;

    /// Has the session in `slot` served in the next turn.
    fn schedule(&mut self, slot: u32);

    /// Takes the next scheduled session from the queue; its slot.
    fn next_scheduled(&mut self) -> Option<u32>;

    /// See [`Service::deny`].
    fn deny(&mut self, slot: u32);

    /// See [`Service::evict`].
    fn evict(&mut self, slot: u32);

    /// Ends the session in `slot`; what is left is the connection.
    fn end(&mut self, slot: u32) -> Option<ConnectionState>;

    /// Forgets the session in `slot`, which another worker goes on with; what is left is the connection.
    fn give_up(&mut self, slot: u32) -> Option<ConnectionState>;

    /// What becomes of the session in `slot` when the worker leaves.
    fn departure(&self, slot: u32) -> Option<Departure>;

    /// See [`Service::awaits_threads`].
    fn awaits_threads(&self, slot: u32) -> bool;

    /// The connection in `slot`, if it is silent and may be closed to make room.
    fn candidate(&self, slot: u32) -> Option<Candidate>;

    /// See [`Service::check_time`]. A connection that is closing has its time from [`ConnectionState`].
    fn check_time(&mut self, slot: u32, now_ns: u64) -> Option<Next>;

    /// See [`Service::advance`]; how many sessions are scheduled.
    fn advance(&mut self) -> usize;

    /// See [`Service::patience`].
    fn patience(&mut self) -> Patience;

    /// See [`Service::tick`].
    fn tick(&mut self);

    /// See [`Service::reload`].
    fn reload(&mut self);

    /// See [`Service::stop`].
    fn stop(&mut self);

    /// See [`Service::finish`].
    fn finish(self: Box<Self>);
}

/// A connection that may be closed to make room: since when it is silent, its slot, and which of the connections of the slot it is.
pub type Candidate = (Silent, u32, u32);

/// A service and its sessions.
pub struct Host<S: Service> {
    service: S,
    sessions: Sessions<S::Data>,
}

impl<S: Service + 'static> Host<S> {
    /// A service without sessions, for connections in `slots`.
    pub fn boxed(service: S, slots: Range<usize>) -> Box<dyn Hosted> {
        Box::new(Host { service, sessions: Sessions::new(slots) })
    }
}

impl<S: Service> Hosted for Host<S> {
    fn set_time(&mut self, now: Now) {
        self.service.set_time(now);
    }

    fn begin(&mut self, state: ConnectionState, origin: Origin) {
        self.sessions.insert(self.service.begin(state, origin));
    }

    fn state(&mut self, slot: u32) -> Option<&mut ConnectionState> {
        self.sessions.at(slot).map(|session| &mut session.state)
    }

    fn serve(&mut self, slot: u32) -> Option<Next> {
        Some(self.service.serve(self.sessions.at(slot)?))
    }

    fn schedule(&mut self, slot: u32) {
        self.sessions.schedule(slot);
    }

    fn next_scheduled(&mut self) -> Option<u32> {
        self.sessions.next_scheduled()
    }

    fn deny(&mut self, slot: u32) {
        if let Some(session) = self.sessions.at(slot) {
            self.service.deny(session);
        }
    }

    fn evict(&mut self, slot: u32) {
        if let Some(session) = self.sessions.at(slot) {
            self.service.evict(session);
        }
    }

    fn end(&mut self, slot: u32) -> Option<ConnectionState> {
        let mut session = self.sessions.remove(slot)?;
        self.service.end(&mut session);
        Some(session.state)
    }

    fn give_up(&mut self, slot: u32) -> Option<ConnectionState> {
        self.sessions.remove(slot).map(|session| session.state)
    }

    fn departure(&self, slot: u32) -> Option<Departure> {
        let session = self.sessions.look(slot)?;
        let is_open = session.state.closing == Closing::No;
        Some(if is_open { self.service.departure(session) } else { Departure::Finish })
    }

    fn awaits_threads(&self, slot: u32) -> bool {
        self.sessions.look(slot).is_some_and(|session| self.service.awaits_threads(session))
    }

    fn candidate(&self, slot: u32) -> Option<Candidate> {
        let session = self.sessions.look(slot)?;
        let state = &session.state;
        let not_admitted = |since_ns| Silent { at: Silence::NotAdmitted, since_ns };
        let silent = match (state.closing, state.admission) {
            (Closing::Lingering(_), _) => not_admitted(state.active_ns),
            (_, Admission::Admitted) => self.service.silent(session)?,
            _ => not_admitted(self.service.silent(session)?.since_ns),
        };
        Some((silent, slot, state.generation))
    }

    fn check_time(&mut self, slot: u32, now_ns: u64) -> Option<Next> {
        let session = self.sessions.at(slot)?;
        match session.state.closing {
            Closing::Lingering(budget) => budget.is_over(now_ns).then_some(Next::Close),
            _ => self.service.check_time(session),
        }
    }

    fn advance(&mut self) -> usize {
        self.service.advance(&mut self.sessions);
        self.sessions.scheduled()
    }

    fn patience(&mut self) -> Patience {
        if self.sessions.scheduled() > 0 { Patience::None } else { self.service.patience() }
    }

    fn tick(&mut self) {
        self.service.tick(&mut self.sessions);
    }

    fn reload(&mut self) {
        self.service.reload(&mut self.sessions);
    }

    fn stop(&mut self) {
        self.service.stop();
    }

    fn finish(self: Box<Self>) {
        self.service.finish();
    }
}
