//! The handler: one turn of one session, from the bytes that came to the bytes that go.

use crate::base::limits::{KV_CALLS_PER_TURN, KV_RING_BYTES, MAX_RPC_FRAGMENTS, MAX_RPC_RECORD_BYTES, READS_PER_TURN};
use crate::base::onc_rpc::record::{RecordLimits, RecordStep, next_record};
use crate::service::connection_state::{Closing, Next};
use crate::service::kv::session::executor::{Answered, Executor};
use crate::service::kv::session::kv_session::KvSession;
use crate::service::kv::wire::{LookAhead, MAX_KV_REPLY_BYTES};
use crate::store::connection::Sent;
use crate::store::kv::Page;

/// What a record may be.
const LIMITS: RecordLimits = RecordLimits { bytes: MAX_RPC_RECORD_BYTES, fragments: MAX_RPC_FRAGMENTS };

/// How many calls ahead memory is fetched: about as long as that takes.
const AHEAD: usize = 4;

const _: () = assert!(MAX_RPC_RECORD_BYTES <= KV_RING_BYTES, "the longest record fits the ring");
const _: () = assert!(MAX_KV_REPLY_BYTES <= KV_RING_BYTES, "the longest reply fits the ring");

/// Gives sessions their turns.
pub struct Handler {
    /// Answers calls.
    pub executor: Executor,
    /// What was received, out of shared memory.
    unread: Box<[u8; KV_RING_BYTES]>,
    /// A record that came in fragments.
    gathered: Vec<u8>,
}

impl Handler {
    /// A handler before its first session.
    #[must_use]
    pub fn new(executor: Executor) -> Self {
        Handler { executor, unread: Box::new([0; KV_RING_BYTES]), gathered: Vec::new() }
    }

    /// One turn of `session`: receive, answer, send, until there is nothing to do or others should have a turn.
    pub fn turn(&mut self, session: &mut KvSession) -> Next {
        if session.data.waits.is_cut_off(&self.executor.visibility) {
            return Next::Close;
        }
        if let Closing::Lingering(budget) = session.state.closing {
            return session.state.linger(budget);
        }
        session.data.waits.begin_turn();
        let mut calls = KV_CALLS_PER_TURN;
        for _ in 0..READS_PER_TURN {
            if session.takes_bytes() && !self.receive(session) {
                return Next::Close;
            }
            let is_starved = self.answer_calls(session, &mut calls);
            self.hold_what_is_not_committed(session);
            if session.state.ended && is_starved {
                // Nothing more can come; what is queued is still sent.
                session.state.closing = Closing::AfterSending;
            }
            if !self.send(session) {
                return Next::Close;
            }
            if session.state.closing == Closing::AfterSending
                && session.state.connection.unsent() == 0
                && session.data.pending.is_none()
            {
                return session.state.begin_linger(self.executor.now_ns);
            }
            if !(session.takes_bytes() || !is_starved && session.takes_calls()) {
                return Next::Wait;
            }
            if calls == 0 {
                break;
            }
        }
        Next::Again
    }

    /// Receives once; `false` when the connection is broken.
    fn receive(&mut self, session: &mut KvSession) -> bool {
        let received = session.state.receive(self.executor.now_ns);
        self.executor.kv_stats.bytes_in.add(received.unwrap_or(0) as u64);
        received.is_some()
    }

    /// Answers whole calls that were received, as long as replies fit and for `calls` of them at most, of which it takes off those that
    /// were answered; whether there is no further one.
    fn answer_calls(&mut self, session: &mut KvSession, calls: &mut usize) -> bool {
        let is_starved = session.takes_calls()
            && (session.state.connection.unread() < session.data.at_least || self.answer_whole_calls(session, calls));
        if is_starved && session.state.connection.unread() > 0 {
            session.data.partial_since_ns.get_or_insert(self.executor.now_ns);
        } else {
            // While nothing is read of it, a client cannot end what it has begun.
            session.data.partial_since_ns = None;
        }
        is_starved
    }

    fn answer_whole_calls(&mut self, session: &mut KvSession, calls: &mut usize) -> bool {
        let mut at = 0;
        let count = session.state.connection.copy_unread_at(0, &mut self.unread[..]);
        let mut ahead = LookAhead::behind_first(&self.unread[..count]);
        for _ in 1..AHEAD {
            self.executor.prefetch(&mut ahead);
        }
        // What is fetched for a call tells what is to be fetched next for it.
        let mut closer = LookAhead::behind_first(&self.unread[..count]);
        while *calls > 0 && session.takes_calls() {
            self.executor.prefetch(&mut ahead);
            self.executor.prefetch_first_key(&mut closer);
            match next_record(&self.unread[at..count], LIMITS, &mut self.gathered) {
                RecordStep::NeedMore { at_least } => {
                    session.data.at_least = at_least;
                    return true;
                }
                RecordStep::Complete { taken, payload } => match self.executor.answer(session, taken, payload) {
                    Answered::Yes => {
                        at += taken;
                        *calls -= 1;
                        session.data.end_call();
                    }
                    Answered::Pending => break,
                    Answered::NotYet(postponed) => {
                        session.data.waits.blocked = postponed.blocked;
                        session.data.room = postponed.room;
                        session.data.asked_ns.get_or_insert(self.executor.now_ns);
                        break;
                    }
                },
                RecordStep::Fatal(fault) => {
                    log::debug!("a connection is closed: {fault}");
                    self.executor.kv_stats.bad_records.add(1);
                    session.end_calls();
                }
            }
        }
        false
    }

    /// Answers the scan of a session that a thread worked for as `job`.
    pub fn deliver(&mut self, session: &mut KvSession, job: u64, page: Option<Page>) {
        self.executor.deliver(session, job, page);
        // Now, and not in its turn: another session may have its turn before, and would hold its own replies for what this one shows.
        self.hold_what_is_not_committed(session);
    }

    /// Holds the replies of this turn if what they show is not committed yet.
    fn hold_what_is_not_committed(&mut self, session: &mut KvSession) {
        let shows = self.executor.take_shown();
        let replies = std::mem::take(&mut self.executor.replies);
        let queued = session.state.connection.queued();
        if let Some(replies) = session.data.waits.hold(queued, shows, replies, &self.executor.visibility) {
            self.executor.time(replies);
        }
    }

    /// Sends what is queued and may be seen; `false` when the connection is broken.
    fn send(&mut self, session: &mut KvSession) -> bool {
        let (queued, executor) = (session.state.connection.queued(), &self.executor);
        let end = session.data.waits.release(queued, &executor.visibility, |replies| executor.time(replies));
        let count = match session.state.connection.send(end) {
            Sent::All(count) | Sent::Part(count) => count,
            Sent::Broken => return false,
        };
        if count > 0 {
            session.state.active_ns = self.executor.now_ns;
            self.executor.kv_stats.bytes_out.add(count as u64);
        }
        true
    }
}
