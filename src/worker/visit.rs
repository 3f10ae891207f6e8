//! What a worker remembers of every connection, whichever service it came for.

use crate::connection::{Connection, Received};

/// How a connection is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// It is not.
    No,
    /// Once what is queued is sent.
    AfterSending,
    /// All is sent and said; what the client still sends is thrown away until it closes too. Closing with unread bytes would
    /// make the kernel send a reset, which can overtake the last reply.
    Lingering {
        /// When to wait no longer.
        until_ns: u64,
    },
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
    /// When bytes last came or went.
    pub active_ns: u64,
}

/// Reads before others have their turn, and how long a client that was told good-bye may take to close.
pub const READS_PER_TURN: usize = 4;
const LINGER_NS: u64 = 500_000_000;

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
        self.parting = Parting::Lingering { until_ns: now_ns + LINGER_NS };
        self.linger()
    }

    /// Throws away what a client sends that was told good-bye.
    pub fn linger(&mut self) -> Fate {
        for _ in 0..READS_PER_TURN {
            self.connection.discard_unread();
            match self.connection.receive() {
                Received::Bytes(_) => {}
                Received::Drained(_) => return Fate::Stays,
                Received::End | Received::Broken => return Fate::Over,
            }
        }
        Fate::Recalled
    }
}
