//! What a worker remembers of every connection, whichever service it came for.

use crate::base::limits::{LINGER_BYTES, LINGER_MILLISECONDS, READS_PER_TURN};
use crate::service::budget::Budget;
use crate::store::connection::{Connection, Received};

/// How a connection is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// It is not.
    No,
    /// Once what is queued is sent.
    AfterSending,
    /// All is sent and said; what the client still sends is thrown away until it closes too, as far as this budget goes. Closing
    /// with unread bytes would make the kernel send a reset, which can overtake the last reply.
    Lingering(Budget),
}

/// Whether there is room for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// There is.
    Granted,
    /// All places are taken, and others have silent connections, of which one is closed by then or not.
    Awaited {
        /// When it is known.
        until_ns: u64,
    },
    /// There is not.
    Denied,
}

/// What becomes of a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for its socket, or for the pool.
    Stays,
    /// It has more to do than one turn allows.
    Recalled,
    /// It is over: close it.
    Over,
    /// Its client sends without end what nobody wants: close it.
    Flooded,
}

/// A connection that this worker serves.
pub struct Visit {
    /// The socket and its rings.
    pub connection: Connection<'static>,
    /// The slot's life that this is.
    pub generation: u32,
    /// Whether the socket may have bytes.
    pub readable: bool,
    /// Whether the kernel said that the end of the client's bytes is there to be read.
    pub hung_up: bool,
    /// Whether the end of the client's bytes was read.
    pub ended: bool,
    /// Whether it stands in the list of those to be served on the next turn.
    pub recalled: bool,
    /// On its way out?
    pub parting: Parting,
    /// Whether it is counted among those that were told good-bye.
    pub counted_out: bool,
    /// Whether there is room for it.
    pub place: Place,
    /// When bytes last came or went.
    pub active_ns: u64,
}

impl Visit {
    /// A connection that has just been taken over, new or from another worker.
    #[must_use]
    pub fn new(connection: Connection<'static>, generation: u32, now_ns: u64) -> Self {
        Visit {
            connection,
            generation,
            readable: true,
            hung_up: false,
            ended: false,
            recalled: false,
            parting: Parting::No,
            counted_out: false,
            place: Place::Granted,
            active_ns: now_ns,
        }
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
    pub fn part(&mut self, now_ns: u64) -> Fate {
        if self.ended {
            return Fate::Over;
        }
        self.connection.finish_sending();
        self.linger(Budget::new(LINGER_BYTES, now_ns + LINGER_MILLISECONDS * 1_000_000))
    }

    /// Throws away what a client sends that was told good-bye, within `budget`; the rounds see to its time.
    pub fn linger(&mut self, mut budget: Budget) -> Fate {
        let fate = self.discard(&mut budget);
        self.parting = Parting::Lingering(budget);
        if self.ended { Fate::Over } else { fate }
    }

    /// Receives and throws away, some for one turn, within `budget`.
    pub fn discard(&mut self, budget: &mut Budget) -> Fate {
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
                Received::Broken => return Fate::Over,
            };
            if !budget.spend(count) {
                return Fate::Flooded;
            }
            if drained {
                self.readable = false;
                return Fate::Stays;
            }
        }
        Fate::Recalled
    }
}
