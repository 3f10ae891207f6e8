//! What a worker remembers of every connection, whichever service it belongs to.

use crate::base::limits::{LINGER_BYTES, LINGER_MILLISECONDS, READS_PER_TURN};
use crate::store::connection::{Connection, Received};

/// Names a session while threads work for it: when they have done, the slot may have another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The connection's slot.
    pub slot: u32,
    /// Which of the connections that the slot has had.
    pub generation: u32,
}

/// How much is still read from a peer whose bytes are discarded: bytes and a time. Each loop that discards what a peer sends takes one and ends when it is spent. Without it, a peer that sends faster
/// than the loop reads would occupy the loop, and one that sends slowly would occupy its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    bytes: usize,
    until_ns: u64,
}

impl Budget {
    /// `bytes` bytes, until `until_ns` of the monotonic clock.
    #[must_use]
    pub fn new(bytes: usize, until_ns: u64) -> Self {
        Budget { bytes, until_ns }
    }

    /// Takes `bytes` off. Returns whether so many were left.
    #[must_use]
    pub fn spend(&mut self, bytes: usize) -> bool {
        let enough = self.bytes >= bytes;
        self.bytes = self.bytes.saturating_sub(bytes);
        enough
    }

    /// Whether the time is over.
    #[must_use]
    pub fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.until_ns
    }
}

/// Whether and how a connection is being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It is open.
    No,
    /// It is closed once what is queued is sent.
    AfterSending,
    /// All is sent, and the client was sent a FIN. What it still sends is discarded until it closes too, within this budget. Closing with
    /// unread bytes would make the kernel send a reset, which can overtake the last reply.
    Lingering(Budget),
}

/// Whether there is room for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// There is room.
    Admitted,
    /// All places are taken, but other workers have silent connections, which they may close.
    Awaited {
        /// When the wait is over, nanoseconds of the monotonic clock.
        until_ns: u64,
    },
    /// There is no room.
    Denied,
}

/// What the event loop does with a session after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait until its socket is ready, or until the service schedules it.
    Wait,
    /// Serve it again after the others: it has more to do than one turn allows.
    Again,
    /// Close it.
    Close,
    /// Close it and count it: its client keeps sending bytes that are only discarded.
    CloseFlooding,
}

/// A connection that this worker serves.
pub struct ConnectionState {
    /// The socket and its rings.
    pub connection: Connection<'static>,
    /// Which of the connections that the slot has had this is.
    pub generation: u32,
    /// Whether the socket may have bytes.
    pub readable: bool,
    /// Whether the kernel said that the end of the client's bytes is there to be read.
    pub hung_up: bool,
    /// Whether the end of the client's bytes was read.
    pub ended: bool,
    /// Whether it is in the queue of sessions to be served in the next turn.
    pub scheduled: bool,
    /// Whether it is being closed.
    pub closing: Closing,
    /// Whether it is counted as closing in the worker's statistics.
    pub counted_closing: bool,
    /// Whether there is room for it.
    pub admission: Admission,
    /// When bytes last came or went.
    pub active_ns: u64,
}

impl ConnectionState {
    /// A connection that has just been taken over, new or from another worker.
    #[must_use]
    pub fn new(connection: Connection<'static>, generation: u32, now_ns: u64) -> Self {
        ConnectionState {
            connection,
            generation,
            readable: true,
            hung_up: false,
            ended: false,
            scheduled: false,
            closing: Closing::No,
            counted_closing: false,
            admission: Admission::Admitted,
            active_ns: now_ns,
        }
    }

    /// What threads know it by that work for it.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey { slot: self.connection.index(), generation: self.generation }
    }

    /// Receives once, as much as fits; how much, or `None` when the connection is broken.
    #[inline]
    pub fn receive(&mut self, now_ns: u64) -> Option<usize> {
        let (count, more) = match self.connection.receive() {
            Received::Bytes(count) => (count, true),
            Received::Drained(count) => (count, false),
            Received::End => {
                self.ended = true;
                (0, false)
            }
            Received::Broken => return None,
        };
        // A short read means that nothing is left, but for an end whose edge came before it and will not come again.
        self.readable = more || self.hung_up && !self.ended;
        if count > 0 {
            self.active_ns = now_ns;
        }
        Some(count)
    }

    /// All is sent: says so to the client, and waits for it to close.
    pub fn begin_linger(&mut self, now_ns: u64) -> Next {
        if self.ended {
            return Next::Close;
        }
        self.connection.finish_sending();
        self.linger(Budget::new(LINGER_BYTES, now_ns + LINGER_MILLISECONDS * 1_000_000))
    }

    /// Throws away what the client of a closing connection sends, within `budget`; its time is checked at the ticks.
    pub fn linger(&mut self, mut budget: Budget) -> Next {
        // Nothing is there to be received unless an event has said so, or the last receive.
        let next = if self.readable { self.discard(&mut budget) } else { Next::Wait };
        self.closing = Closing::Lingering(budget);
        if self.ended { Next::Close } else { next }
    }

    /// Receives and throws away, some for one turn, within `budget`.
    pub fn discard(&mut self, budget: &mut Budget) -> Next {
        for _ in 0..READS_PER_TURN {
            self.connection.discard_unread();
            let (count, drained) = match self.connection.receive() {
                Received::Bytes(count) => (count, false),
                // As in `receive`: an end whose edge came before will not come again.
                Received::Drained(count) => (count, count == 0 || !self.hung_up),
                Received::End => {
                    self.ended = true;
                    (0, true)
                }
                Received::Broken => return Next::Close,
            };
            if !budget.spend(count) {
                return Next::CloseFlooding;
            }
            if drained {
                self.readable = false;
                return Next::Wait;
            }
        }
        Next::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_by_bytes_and_by_time() {
        let mut budget = Budget::new(100, 1_000);
        assert!(budget.spend(60) && budget.spend(40) && budget.spend(0));
        assert!(!budget.spend(1) && !budget.spend(1));
        assert!(!Budget::new(100, 1_000).spend(101));
        assert!(!budget.is_over(999) && budget.is_over(1_000));
    }
}
