//! What the connections to peers count, for whoever publishes it.

use super::refusal::{Closed, Dropped, Refusal};
use crate::store::cluster::PeerCounts;

/// Everything that was counted since the process started. Sizes are of this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Connections that were accepted from the listening socket.
    pub accepted: u64,
    /// Times that accepting failed, for want of a descriptor or memory.
    pub accept_failures: u64,
    /// Connections that were begun to peers.
    pub dialled: u64,
    /// Times that a peer was accepted as one.
    pub connected: u64,
    /// Frames that were read of accepted peers.
    pub frames_in: u64,
    /// Bytes that were read.
    pub bytes_in: u64,
    /// Frames that were given to the kernel whole.
    pub frames_out: u64,
    /// Bytes that were given to the kernel.
    pub bytes_out: u64,
    /// Why connections were refused.
    pub refused: Refusals,
    /// Why connections of accepted peers ended.
    pub closed: Closures,
    /// Why messages were dropped.
    pub dropped: Drops,
}

impl PeerCounters {
    /// The same in the order in which the row in shared memory has it.
    #[must_use]
    pub fn in_order(&self) -> PeerCounts {
        let PeerCounters {
            accepted,
            accept_failures,
            dialled,
            connected,
            frames_in,
            bytes_in,
            frames_out,
            bytes_out,
            ..
        } = *self;
        PeerCounts {
            traffic: [accepted, accept_failures, dialled, connected, frames_in, bytes_in, frames_out, bytes_out],
            refused: self.refused.in_order(),
            closed: self.closed.in_order(),
            dropped: self.dropped.in_order(),
        }
    }
}

/// Connections that were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Another secret.
    pub secret: u64,
    /// Another version of the protocol.
    pub version: u64,
    /// Another cluster.
    pub cluster: u64,
    /// Another number of accounts.
    pub accounts: u64,
    /// Other opening balances.
    pub opening: u64,
    /// Another key window.
    pub key_window: u64,
    /// This instance itself.
    pub myself: u64,
    /// Another node with this instance's number.
    pub same_replica: u64,
    /// Another replica than the one configured for that address.
    pub other_replica: u64,
    /// No greeting.
    pub garbage: u64,
    /// Not in time.
    pub slow: u64,
    /// Its place was needed.
    pub crowded: u64,
    /// As many peers as there can be.
    pub full: u64,
    /// Closed before it had proved anything.
    pub gone: u64,
    /// It could not be reached.
    pub unreachable: u64,
}

impl Refusals {
    /// By the names of `REFUSALS`.
    fn in_order(&self) -> [u64; 15] {
        let Refusals {
            secret,
            version,
            cluster,
            accounts,
            opening,
            key_window,
            myself,
            same_replica,
            other_replica,
            garbage,
            slow,
            crowded,
            full,
            gone,
            unreachable,
        } = *self;
        [
            secret,
            version,
            cluster,
            accounts,
            opening,
            key_window,
            myself,
            same_replica,
            other_replica,
            garbage,
            slow,
            crowded,
            full,
            gone,
            unreachable,
        ]
    }

    pub(super) fn count(&mut self, why: &Refusal) {
        *match why {
            Refusal::Secret => &mut self.secret,
            Refusal::Version { .. } => &mut self.version,
            Refusal::Cluster { .. } => &mut self.cluster,
            Refusal::Accounts { .. } => &mut self.accounts,
            Refusal::Opening { .. } => &mut self.opening,
            Refusal::KeyWindow { .. } => &mut self.key_window,
            Refusal::Myself => &mut self.myself,
            Refusal::SameReplica { .. } => &mut self.same_replica,
            Refusal::OtherReplica { .. } => &mut self.other_replica,
            Refusal::Garbage(_) => &mut self.garbage,
            Refusal::Slow => &mut self.slow,
            Refusal::Crowded => &mut self.crowded,
            Refusal::Full => &mut self.full,
            Refusal::Gone => &mut self.gone,
            Refusal::Unreachable(_) => &mut self.unreachable,
        } += 1;
    }
}

/// Connections of accepted peers that ended, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closures {
    /// The peer closed.
    pub peer: u64,
    /// It broke.
    pub broken: u64,
    /// What came was no frame.
    pub garbage: u64,
    /// A frame was not finished.
    pub stalled: u64,
    /// There was another one to the same peer.
    pub replaced: u64,
    /// Closed from here.
    pub own: u64,
}

impl Closures {
    /// By the names of `CLOSURES`.
    fn in_order(&self) -> [u64; 6] {
        let Closures { peer, broken, garbage, stalled, replaced, own } = *self;
        [peer, broken, garbage, stalled, replaced, own]
    }

    pub(super) fn count(&mut self, why: &Closed) {
        *match why {
            Closed::Peer => &mut self.peer,
            Closed::Broken(_) => &mut self.broken,
            Closed::Garbage(_) => &mut self.garbage,
            Closed::Stalled => &mut self.stalled,
            Closed::Replaced => &mut self.replaced,
            Closed::Own => &mut self.own,
        } += 1;
    }
}

/// Messages that were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// The receiver is not connected.
    pub unconnected: u64,
    /// Too many messages wait for it.
    pub messages: u64,
    /// Too many bytes do.
    pub bytes: u64,
    /// The log has changed.
    pub changed: u64,
    /// It cannot be encoded.
    pub unencodable: u64,
}

impl Drops {
    /// By the names of `DROPS`.
    fn in_order(&self) -> [u64; 5] {
        let Drops { unconnected, messages, bytes, changed, unencodable } = *self;
        [unconnected, messages, bytes, changed, unencodable]
    }

    pub(super) fn count(&mut self, why: Dropped) {
        *match why {
            Dropped::Unconnected => &mut self.unconnected,
            Dropped::Messages => &mut self.messages,
            Dropped::Bytes => &mut self.bytes,
            Dropped::Changed => &mut self.changed,
            Dropped::Unencodable => &mut self.unencodable,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cluster::peer_counts::{CLOSURES, DROPS, REFUSALS, TRAFFIC};

    /// The names of a derived `Debug` whose numbers are not zero, in order.
    fn named(text: &str) -> Vec<String> {
        let fields = text.trim_start_matches(|c| c != '{').trim_matches(['{', '}', ' ']).split(", ");
        fields.map(|field| field.split(':').next().unwrap().trim().to_owned()).collect()
    }

    #[test]
    fn each_count_is_published_under_its_name() {
        assert_eq!(named(&format!("{:?}", Refusals::default())), REFUSALS);
        assert_eq!(named(&format!("{:?}", Closures::default())), CLOSURES);
        assert_eq!(named(&format!("{:?}", Drops::default())), DROPS);
        assert_eq!(named(&format!("{:?}", PeerCounters::default()))[..8], TRAFFIC);
        let mut counters = PeerCounters { bytes_out: 9, ..PeerCounters::default() };
        counters.refused.count(&Refusal::Slow);
        counters.closed.count(&Closed::Own);
        counters.dropped.count(Dropped::Changed);
        let counts = counters.in_order();
        let of = |names: &[&str], counts: &[u64], name| counts[names.iter().position(|of| *of == name).unwrap()];
        assert_eq!(of(&TRAFFIC, &counts.traffic, "bytes_out"), 9);
        assert_eq!(of(&REFUSALS, &counts.refused, "slow"), 1);
        assert_eq!(of(&CLOSURES, &counts.closed, "own"), 1);
        assert_eq!(of(&DROPS, &counts.dropped, "changed"), 1);
    }
}
