//! The desk: one turn of one connection, from the bytes that came to the bytes that go.

use crate::base::limits::{MAX_STRIKES, READS_PER_TURN, READS_PER_TURN_BEFORE_LOGIN, RECEIVE_BYTES};
use crate::base::vocab::Lsn;
use crate::service::bank::session::answer::{Answered, Counter};
use crate::service::bank::session::guest::Guest;
use crate::service::bank::session::held::Replies;
use crate::service::bank::wire::Step;
use crate::service::visit::{Fate, Parting};
use crate::store::connection::Sent;

/// Why no further request of a connection was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// There is no further whole frame.
    Starved,
    /// There may be, but its reply would not fit, or has to wait for another, or is not wanted any more.
    Held,
}

/// Serves connections.
pub struct Desk {
    /// Answers requests.
    pub counter: Counter,
    /// What was received, out of shared memory.
    unread: Box<[u8; RECEIVE_BYTES]>,
}

impl Desk {
    /// A desk before its first connection.
    #[must_use]
    pub fn new(counter: Counter) -> Self {
        Desk { counter, unread: Box::new([0; RECEIVE_BYTES]) }
    }

    /// One turn of `guest`: receive, answer, send, until there is nothing to do or others should have a turn.
    pub fn turn(&mut self, guest: &mut Guest) -> Fate {
        if let Parting::Lingering(budget) = guest.parting {
            return guest.linger(budget);
        }
        guest.blocked = None;
        let reads = if guest.session.is_some() { READS_PER_TURN } else { READS_PER_TURN_BEFORE_LOGIN };
        for _ in 0..reads {
            if guest.takes_bytes() && !self.receive(guest) {
                return Fate::Over;
            }
            let stopped = self.answer_requests(guest);
            self.hold_what_is_not_durable(guest);
            if guest.ended && stopped == Stopped::Starved {
                // Nothing more can come; what is queued is still sent.
                guest.parting = Parting::AfterSending;
            }
            if !self.send(guest) {
                return Fate::Over;
            }
            if guest.parting == Parting::AfterSending && guest.connection.unsent() == 0 {
                return guest.part(self.counter.now_ns);
            }
            let may_go_on = guest.takes_bytes() || stopped == Stopped::Held && guest.takes_requests();
            if !may_go_on {
                return Fate::Stays;
            }
        }
        Fate::Recalled
    }

    /// Receives once; `false` when the connection is broken.
    #[inline]
    fn receive(&mut self, guest: &mut Guest) -> bool {
        let received = guest.receive(self.counter.now_ns);
        self.counter.stats.bytes_in.add(received.unwrap_or(0) as u64);
        received.is_some()
    }

    /// Answers every whole frame that was received, as long as replies fit.
    #[inline]
    fn answer_requests(&mut self, guest: &mut Guest) -> Stopped {
        if !guest.takes_requests() {
            return Stopped::Held;
        }
        let unread = guest.connection.copy_unread(&mut self.unread);
        let mut at = 0;
        let mut stopped = Stopped::Held;
        while guest.takes_requests() {
            let before = guest.decoder;
            let (bytes, step) = guest.decoder.step(&unread[at..]);
            at += bytes;
            match step {
                Step::Frame(frame) => {
                    guest.partial_since_ns = None;
                    if guest.decoder != before {
                        guest.keep_framing(bytes);
                    }
                    match self.counter.answer(guest, bytes, &frame) {
                        Answered::Yes => guest.postponed = None,
                        Answered::NotYet(postponed) => {
                            guest.decoder = before;
                            guest.blocked = Some(postponed.lsn).filter(|&lsn| lsn > Lsn(0));
                            guest.postponed = Some(postponed);
                            guest.asked_ns.get_or_insert(self.counter.now_ns);
                            break;
                        }
                    }
                }
                Step::Reject { status, opcode, seq } => self.counter.reject(guest, bytes, 1, (status, opcode, seq)),
                Step::Fatal { status, opcode, seq } => {
                    self.counter.reject(guest, bytes, MAX_STRIKES, (status, opcode, seq));
                }
                Step::NeedMore => {
                    if bytes > 0 {
                        guest.keep_framing(bytes);
                        guest.connection.advance(bytes, &[]);
                    }
                    stopped = Stopped::Starved;
                    break;
                }
            }
            if guest.strikes >= MAX_STRIKES {
                guest.parting = Parting::AfterSending;
            }
        }
        if stopped == Stopped::Starved && guest.connection.unread() > 0 {
            guest.partial_since_ns.get_or_insert(self.counter.now_ns);
        } else {
            guest.partial_since_ns = None;
        }
        stopped
    }

    /// Holds the replies of this turn if what they show is not durable yet.
    #[inline]
    fn hold_what_is_not_durable(&mut self, guest: &mut Guest) {
        let seen = self.counter.teller.take_seen();
        let replies = std::mem::take(&mut self.counter.replies);
        if !self.counter.sequencer.may_be_shown(seen) {
            guest.held.hold(guest.connection.queued(), seen, replies);
        } else if let Some(last) = guest.held.last() {
            guest.held.hold(guest.connection.queued(), last, replies);
        } else {
            self.counter.time(replies);
        }
    }

    /// Holds what another worker left unsent. What those replies show, only it knew; nothing later than the last operation.
    pub fn hold_what_was_left(&self, guest: &mut Guest) {
        if guest.connection.unsent() > 0 {
            guest.held.hold(guest.connection.queued(), self.counter.order.now().lsn, Replies::default());
        }
    }

    /// Sends what is queued and may be seen; `false` when the connection is broken.
    #[inline]
    fn send(&mut self, guest: &mut Guest) -> bool {
        let (queued, counter) = (guest.connection.queued(), &self.counter);
        let may_be_shown = |lsn| counter.sequencer.may_be_shown(lsn);
        let end = guest.held.release(queued, may_be_shown, |replies| counter.time(replies));
        let count = match guest.connection.send(end) {
            Sent::All(count) | Sent::Part(count) => count,
            Sent::Broken => return false,
        };
        if count > 0 {
            guest.active_ns = self.counter.now_ns;
            self.counter.stats.bytes_out.add(count as u64);
        }
        true
    }
}
