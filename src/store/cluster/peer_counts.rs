//! What the connections to peers count: one definition of each count, for who counts, for shared memory, and for tools.

use crate::ipc::layout::Counter;
use crate::shared_struct;

/// Counts of one kind: fields by name, and the same in their order.
macro_rules! counts {
    ($(#[$doc:meta])* $name:ident: $($(#[$of_field:meta])* $field:ident,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$of_field])* pub $field: u64,)* }

        impl $name {
            /// The names of all, in their order.
            pub const NAMES: &[&str] = &[$(stringify!($field),)*];

            /// All, in the order of [`Self::NAMES`].
            #[must_use]
            pub fn in_order(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$field,)*]
            }

            fn from_order(counts: [u64; Self::NAMES.len()]) -> Self {
                let [$($field,)*] = counts;
                Self { $($field,)* }
            }

            fn since(&self, earlier: &Self) -> Self {
                Self { $($field: self.$field.saturating_sub(earlier.$field),)* }
            }
        }
    };
}

counts! {
    /// What went over the connections.
    Traffic:
    /// Connections that were accepted from the listening socket.
    accepted,
    /// Times that accepting failed, for want of a descriptor or memory.
    accept_failures,
    /// Connections that were begun to peers.
    dialled,
    /// Times that a peer was accepted as one.
    connected,
    /// Frames that were read of accepted peers.
    frames_in,
    /// Bytes that were read.
    bytes_in,
    /// Frames that were given to the kernel whole.
    frames_out,
    /// Bytes that were given to the kernel.
    bytes_out,
    /// Names of peers that were looked up.
    lookups,
    /// Messages that were sent as several, since they had too many entries or records.
    split,
}

counts! {
    /// Connections that were refused, or could not be made, by reason.
    Refusals:
    /// Another secret.
    secret,
    /// Another version of the protocol.
    version,
    /// Another cluster.
    cluster,
    /// Another number of accounts.
    accounts,
    /// Other opening balances.
    opening,
    /// Another key window.
    key_window,
    /// Segments of another size.
    segment_records,
    /// A key-value table of another size, or none where the other has one.
    key_values,
    /// This instance itself.
    myself,
    /// Another node with this instance's number.
    same_replica,
    /// Another replica than the one configured for that address.
    other_replica,
    /// No greeting.
    garbage,
    /// Not in time.
    slow,
    /// Its place was needed.
    crowded,
    /// As many peers as there can be.
    full,
    /// Closed before it had proved anything.
    gone,
    /// It could not be reached.
    unreachable,
    /// Its name could not be looked up.
    unresolved,
}

counts! {
    /// Connections of accepted peers that ended, by reason.
    Closures:
    /// The peer closed.
    peer,
    /// It broke.
    broken,
    /// What came was no frame.
    garbage,
    /// A frame was not finished.
    stalled,
    /// There was another one to the same peer.
    replaced,
    /// Closed from here.
    own,
}

counts! {
    /// Messages to peers that were dropped, by reason.
    Drops:
    /// The receiver is not connected.
    unconnected,
    /// Too many messages wait for it.
    messages,
    /// Too many bytes do.
    bytes,
    /// The log has changed.
    changed,
    /// It cannot be encoded.
    unencodable,
}

counts! {
    /// Messages of peers that were not taken, by reason; raft sends them again.
    Untaken:
    /// The ring has no places for their records.
    no_room,
    /// The records of another one are still needed.
    busy,
}

counts! {
    /// Turns in which one had to leave off so that others have theirs, by what was used up.
    TurnsUsedUp:
    /// As many connections were accepted as a turn takes.
    accepting,
    /// Of one peer, as many bytes or frames were read.
    reading,
    /// To one peer, as many bytes were written.
    writing,
}

/// All counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// What went over the connections.
    pub traffic: Traffic,
    /// Why connections were refused, or could not be made.
    pub refused: Refusals,
    /// Why connections of accepted peers ended.
    pub closed: Closures,
    /// Why messages to peers were dropped.
    pub dropped: Drops,
    /// Why messages of peers were not taken.
    pub untaken: Untaken,
    /// What of a turn's share was used up.
    pub turns: TurnsUsedUp,
}

/// Names and counts of one kind.
pub type Table = (&'static [&'static str], Vec<u64>);

impl PeerCounts {
    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &PeerCounts) -> PeerCounts {
        PeerCounts {
            traffic: self.traffic.since(&earlier.traffic),
            refused: self.refused.since(&earlier.refused),
            closed: self.closed.since(&earlier.closed),
            dropped: self.dropped.since(&earlier.dropped),
            untaken: self.untaken.since(&earlier.untaken),
            turns: self.turns.since(&earlier.turns),
        }
    }

    /// All but the traffic, each kind by its name.
    #[must_use]
    pub fn tables(&self) -> [(&'static str, Table); 5] {
        [
            ("refused", (Refusals::NAMES, self.refused.in_order().to_vec())),
            ("closed", (Closures::NAMES, self.closed.in_order().to_vec())),
            ("dropped", (Drops::NAMES, self.dropped.in_order().to_vec())),
            ("untaken", (Untaken::NAMES, self.untaken.in_order().to_vec())),
            ("turns_used_up", (TurnsUsedUp::NAMES, self.turns.in_order().to_vec())),
        ]
    }
}

shared_struct! {
    /// [`PeerCounts`] over all lives of the replica process, with places for more. Writer: the replica process.
    pub struct PeerCountsRow, align 8, size 8 * (16 + 24 + 8 + 8 + 8 + 8); {
        traffic: [Counter; 16],
        refused: [Counter; 24],
        closed: [Counter; 8],
        dropped: [Counter; 8],
        untaken: [Counter; 8],
        turns: [Counter; 8],
    }
}

impl PeerCountsRow {
    /// Adds what was counted. Only the replica process.
    pub fn add(&self, counted: &PeerCounts) {
        add(&self.traffic, counted.traffic.in_order());
        add(&self.refused, counted.refused.in_order());
        add(&self.closed, counted.closed.in_order());
        add(&self.dropped, counted.dropped.in_order());
        add(&self.untaken, counted.untaken.in_order());
        add(&self.turns, counted.turns.in_order());
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> PeerCounts {
        PeerCounts {
            traffic: Traffic::from_order(first(&self.traffic)),
            refused: Refusals::from_order(first(&self.refused)),
            closed: Closures::from_order(first(&self.closed)),
            dropped: Drops::from_order(first(&self.dropped)),
            untaken: Untaken::from_order(first(&self.untaken)),
            turns: TurnsUsedUp::from_order(first(&self.turns)),
        }
    }
}

/// Adds to the first counters, of which there are enough.
fn add<const N: usize, const M: usize>(counters: &[Counter; M], more: [u64; N]) {
    const { assert!(N <= M) };
    counters.iter().zip(more).for_each(|(counter, more)| counter.add(more));
}

fn first<const N: usize, const M: usize>(counters: &[Counter; M]) -> [u64; N] {
    const { assert!(N <= M) };
    std::array::from_fn(|place| counters[place].get())
}
