//! The desk: one turn of one connection, from the bytes that came to the bytes that go.

use crate::connection::{Received, Sent};
use crate::limits::{MAX_STRIKES, RECEIVE_BYTES};
use crate::vocab::Lsn;
use crate::wire::Step;
use crate::worker::answer::{Answered, Counter};
use crate::worker::guest::{Guest, Parting};

/// How often a connection is read from before the others have their turn.
const READS_PER_TURN: usize = 4;
/// How long a client that was told good-bye may take to close.
const LINGER_NS: u64 = 500_000_000;

/// What becomes of a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for its socket, or for the pool.
    Stays,
    /// It has more to do than one turn allows.
    Recalled,
    /// It is over: close it.
    Over,
}

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
        if matches!(guest.parting, Parting::Lingering { .. }) {
            return Self::linger(guest);
        }
        guest.blocked = None;
        for _ in 0..READS_PER_TURN {
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
                return self.part(guest);
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
        let (count, more) = match guest.connection.receive() {
            Received::Bytes(count) => (count, true),
            Received::Drained(count) => (count, false),
            Received::End => {
                guest.ended = true;
                (0, false)
            }
            Received::Broken => return false,
        };
        // A short read means that nothing is left, but for an end whose edge came before it and will not come again.
        guest.readable = more || guest.hung_up && !guest.ended;
        if count > 0 {
            guest.active_ns = self.counter.now_ns;
            self.counter.stats.bytes_in.add(count as u64);
        }
        true
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
        if !self.counter.sequencer.may_be_shown(seen) {
            guest.held.hold(guest.connection.queued(), seen);
        } else if let Some(last) = guest.held.last() {
            guest.held.hold(guest.connection.queued(), last);
        }
    }

    /// Holds what another worker left unsent. What those replies show, only it knew; nothing later than the last operation.
    pub fn hold_what_was_left(&self, guest: &mut Guest) {
        if guest.connection.unsent() > 0 {
            guest.held.hold(guest.connection.queued(), self.counter.order.now().lsn);
        }
    }

    /// Sends what is queued and may be seen; `false` when the connection is broken.
    #[inline]
    fn send(&mut self, guest: &mut Guest) -> bool {
        let end = guest.held.release(guest.connection.queued(), |lsn| self.counter.sequencer.may_be_shown(lsn));
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

    fn part(&self, guest: &mut Guest) -> Fate {
        if guest.ended {
            return Fate::Over;
        }
        guest.connection.finish_sending();
        guest.parting = Parting::Lingering { until_ns: self.counter.now_ns + LINGER_NS };
        Self::linger(guest)
    }

    /// Throws away what a client sends that was told good-bye.
    fn linger(guest: &mut Guest) -> Fate {
        for _ in 0..READS_PER_TURN {
            guest.connection.discard_unread();
            match guest.connection.receive() {
                Received::Bytes(_) => {}
                Received::Drained(_) => return Fate::Stays,
                Received::End | Received::Broken => return Fate::Over,
            }
        }
        Fate::Recalled
    }
}
