//! What the connections to peers have counted since the instance began, in shared memory, for tools.

use crate::ipc::layout::Counter;
use crate::shared_struct;

/// What [`PeerCounts::traffic`] counts.
pub const TRAFFIC: [&str; 8] =
    ["accepted", "accept_failures", "dialled", "connected", "frames_in", "bytes_in", "frames_out", "bytes_out"];
/// Why connections were refused, in the order of [`PeerCounts::refused`].
pub const REFUSALS: [&str; 15] = [
    "secret",
    "version",
    "cluster",
    "accounts",
    "opening",
    "key_window",
    "myself",
    "same_replica",
    "other_replica",
    "garbage",
    "slow",
    "crowded",
    "full",
    "gone",
    "unreachable",
];
/// Why connections of accepted peers ended, in the order of [`PeerCounts::closed`].
pub const CLOSURES: [&str; 6] = ["peer", "broken", "garbage", "stalled", "replaced", "own"];
/// Why messages to peers were dropped, in the order of [`PeerCounts::dropped`].
pub const DROPS: [&str; 5] = ["unconnected", "messages", "bytes", "changed", "unencodable"];

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounts {
    /// By [`TRAFFIC`].
    pub traffic: [u64; TRAFFIC.len()],
    /// By [`REFUSALS`].
    pub refused: [u64; REFUSALS.len()],
    /// By [`CLOSURES`].
    pub closed: [u64; CLOSURES.len()],
    /// By [`DROPS`].
    pub dropped: [u64; DROPS.len()],
}

impl PeerCounts {
    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &PeerCounts) -> PeerCounts {
        PeerCounts {
            traffic: difference(self.traffic, earlier.traffic),
            refused: difference(self.refused, earlier.refused),
            closed: difference(self.closed, earlier.closed),
            dropped: difference(self.dropped, earlier.dropped),
        }
    }
}

fn difference<const N: usize>(now: [u64; N], then: [u64; N]) -> [u64; N] {
    std::array::from_fn(|place| now[place].saturating_sub(then[place]))
}

shared_struct! {
    /// [`PeerCounts`] over all lives of the replica process, with places for more. Writer: the replica process.
    pub struct PeerCountsRow, align 8, size 8 * (8 + 16 + 8 + 8); {
        traffic: [Counter; 8],
        refused: [Counter; 16],
        closed: [Counter; 8],
        dropped: [Counter; 8],
    }
}

impl PeerCountsRow {
    /// Adds what was counted. Only the replica process.
    pub fn add(&self, counted: &PeerCounts) {
        let all = [
            (&self.traffic[..], &counted.traffic[..]),
            (&self.refused, &counted.refused),
            (&self.closed, &counted.closed),
            (&self.dropped, &counted.dropped),
        ];
        for (counter, more) in all.into_iter().flat_map(|(counters, more)| counters.iter().zip(more)) {
            counter.add(*more);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> PeerCounts {
        PeerCounts {
            traffic: first(&self.traffic),
            refused: first(&self.refused),
            closed: first(&self.closed),
            dropped: first(&self.dropped),
        }
    }
}

fn first<const N: usize>(counters: &[Counter]) -> [u64; N] {
    std::array::from_fn(|place| counters.get(place).map_or(0, Counter::get))
}
