//! The handler: one turn of one session, from the bytes that came to the bytes that go.

use crate::base::limits::{MAX_STRIKES, READS_PER_TURN, READS_PER_TURN_BEFORE_LOGIN, RECEIVE_BYTES};
use crate::service::bank::session::bank_session::BankSession;
use crate::service::bank::session::executor::{Answered, Executor};
use crate::service::bank::session::jobs::JobResult;
use crate::service::bank::wire::{LookAhead, Step};
use crate::service::connection_state::{Closing, Next};
use crate::store::connection::Sent;

/// Requests whose memory is fetched into the cache before the first of them is answered. A miss takes about as long as six answers.
const AHEAD: usize = 6;

/// Why no further request of a connection was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// There is no further whole frame.
    Starved,
    /// There may be, but its reply would not fit, or has to wait for another, or is not wanted any more.
    Held,
}

/// Gives sessions their turns.
pub struct Handler {
    /// Answers requests.
    pub executor: Executor,
    /// What was received, out of shared memory.
    unread: Box<[u8; RECEIVE_BYTES]>,
}

impl Handler {
    /// A handler before its first session.
    #[must_use]
    pub fn new(executor: Executor) -> Self {
        Handler { executor, unread: Box::new([0; RECEIVE_BYTES]) }
    }

    /// One turn of `session`: receive, answer, send, until there is nothing to do or others should have a turn.
    pub fn turn(&mut self, session: &mut BankSession) -> Next {
        if session.data.waits.is_cut_off(&self.executor.visibility) {
            return Next::Close;
        }
        if let Closing::Lingering(budget) = session.state.closing {
            return session.state.linger(budget);
        }
        session.data.waits.begin_turn();
        let reads = if session.data.login.is_some() { READS_PER_TURN } else { READS_PER_TURN_BEFORE_LOGIN };
        for _ in 0..reads {
            if session.takes_bytes() && !self.receive(session) {
                return Next::Close;
            }
            let stopped = self.answer_requests(session);
            self.hold_what_is_not_committed(session);
            if session.state.ended && stopped == Stopped::Starved {
                // Nothing more can come; what is queued is still sent.
                session.state.closing = Closing::AfterSending;
            }
            if !self.send(session) {
                return Next::Close;
            }
            if session.state.closing == Closing::AfterSending && session.state.connection.unsent() == 0 {
                return session.state.begin_linger(self.executor.now_ns);
            }
            let may_go_on = session.takes_bytes() || stopped == Stopped::Held && session.takes_requests();
            if !may_go_on {
                return Next::Wait;
            }
        }
        Next::Again
    }

    /// Receives once; `false` when the connection is broken.
    #[inline]
    fn receive(&mut self, session: &mut BankSession) -> bool {
        let received = session.state.receive(self.executor.now_ns);
        self.executor.stats.bytes_in.add(received.unwrap_or(0) as u64);
        received.is_some()
    }

    /// Answers every whole frame that was received, as long as replies fit.
    #[inline]
    fn answer_requests(&mut self, session: &mut BankSession) -> Stopped {
        if !session.takes_requests() {
            return Stopped::Held;
        }
        let unread = session.state.connection.copy_unread(&mut self.unread);
        let mut ahead = LookAhead::behind_first(unread);
        for _ in 1..AHEAD {
            self.executor.prefetch(session, &mut ahead);
        }
        let mut at = 0;
        let mut stopped = Stopped::Held;
        while session.takes_requests() {
            let before = session.data.decoder;
            let (bytes, step) = session.data.decoder.step(&unread[at..]);
            at += bytes;
            match step {
                Step::Frame(frame) => {
                    self.executor.prefetch(session, &mut ahead);
                    session.data.partial_since_ns = None;
                    if session.data.decoder != before {
                        session.keep_framing(bytes);
                    }
                    match self.executor.answer(session, bytes, &frame) {
                        Answered::Yes => {
                            session.data.postponed = None;
                            session.data.waits.after = None;
                        }
                        Answered::NotYet(postponed) => {
                            session.data.decoder = before;
                            session.data.waits.blocked = postponed.blocked;
                            session.data.postponed = Some(postponed);
                            session.data.asked_ns.get_or_insert(self.executor.now_ns);
                            break;
                        }
                    }
                }
                Step::Reject { status, opcode, seq } => self.executor.reject(session, bytes, 1, (status, opcode, seq)),
                Step::Fatal { status, opcode, seq } => {
                    self.executor.reject(session, bytes, MAX_STRIKES, (status, opcode, seq));
                }
                Step::NeedMore => {
                    if bytes > 0 {
                        session.keep_framing(bytes);
                        session.state.connection.advance(bytes, &[]);
                    }
                    stopped = Stopped::Starved;
                    break;
                }
            }
            if session.data.strikes >= MAX_STRIKES {
                session.state.closing = Closing::AfterSending;
            }
        }
        if stopped == Stopped::Starved && session.state.connection.unread() > 0 {
            session.data.partial_since_ns.get_or_insert(self.executor.now_ns);
        } else {
            session.data.partial_since_ns = None;
        }
        stopped
    }

    /// Answers the request of a session that the threads have worked for.
    pub fn deliver(&mut self, session: &mut BankSession, result: JobResult) {
        self.executor.deliver(session, result);
        // Now, and not in its turn: another session may have its turn before, and would hold its own replies for what this one shows.
        self.hold_what_is_not_committed(session);
    }

    /// Holds the replies of this turn if what they show is not committed yet.
    #[inline]
    fn hold_what_is_not_committed(&mut self, session: &mut BankSession) {
        let shows = self.executor.take_shown();
        let replies = std::mem::take(&mut self.executor.replies);
        let queued = session.state.connection.queued();
        if let Some(replies) = session.data.waits.hold(queued, shows, replies, &self.executor.visibility) {
            self.executor.time(replies);
        }
    }

    /// Sends what is queued and may be seen; `false` when the connection is broken.
    #[inline]
    fn send(&mut self, session: &mut BankSession) -> bool {
        let (queued, executor) = (session.state.connection.queued(), &self.executor);
        let end = session.data.waits.release(queued, &executor.visibility, |replies| executor.time(replies));
        let count = match session.state.connection.send(end) {
            Sent::All(count) | Sent::Part(count) => count,
            Sent::Broken => return false,
        };
        if count > 0 {
            session.state.active_ns = self.executor.now_ns;
            self.executor.stats.bytes_out.add(count as u64);
        }
        true
    }
}
