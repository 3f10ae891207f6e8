//! When a configured peer is dialled: pure.

use std::net::SocketAddr;

use crate::base::limits::{PEER_RETRY_FIRST_MILLISECONDS, PEER_RETRY_LONGEST_MILLISECONDS};
use crate::process::replica::peers::settings::ConfiguredPeer;
use crate::store::cluster::ReplicaId;

const MILLISECOND_NS: u64 = 1_000_000;

/// When and where to dial one peer.
#[derive(Debug)]
pub(super) struct Dialler {
    peer: ConfiguredPeer,
    /// Which of its addresses is next.
    next: usize,
    /// Failures in a row.
    failures: u32,
    due_ns: u64,
}

impl Dialler {
    pub(super) fn new(peer: ConfiguredPeer) -> Self {
        Dialler { peer, next: 0, failures: 0, due_ns: 0 }
    }

    pub(super) fn replica(&self) -> ReplicaId {
        self.peer.replica
    }

    /// Takes over where the peer is now.
    pub(super) fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        if self.peer.addresses != addresses {
            self.peer.addresses = addresses;
            (self.next, self.failures, self.due_ns) = (0, 0, 0);
        }
    }

    /// When it may be dialled; `None` while it has no address.
    pub(super) fn due_ns(&self) -> Option<u64> {
        (!self.peer.addresses.is_empty()).then_some(self.due_ns)
    }

    /// Where to dial, where that is due. The next time it is another of its addresses.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<SocketAddr> {
        self.due_ns().filter(|&due_ns| due_ns <= now_ns)?;
        let address = self.peer.addresses[self.next % self.peer.addresses.len()];
        self.next = self.next.wrapping_add(1);
        Some(address)
    }

    /// It could not be reached, or was refused. `chance` is random, so that two nodes do not go on dialling each other at the same time.
    pub(super) fn failed(&mut self, now_ns: u64, chance: u8) {
        let doubled = PEER_RETRY_FIRST_MILLISECONDS << self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        self.wait(now_ns, doubled.min(PEER_RETRY_LONGEST_MILLISECONDS), chance);
    }

    /// The connection to it, which was good, is gone.
    pub(super) fn lost(&mut self, now_ns: u64, chance: u8) {
        self.failures = 0;
        self.wait(now_ns, PEER_RETRY_FIRST_MILLISECONDS, chance);
    }

    /// Between half of it and all of it.
    fn wait(&mut self, now_ns: u64, milliseconds: u64, chance: u8) {
        let half = milliseconds * MILLISECOND_NS / 2;
        self.due_ns = now_ns + half + half / 255 * u64::from(chance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialler(addresses: &[&str]) -> Dialler {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Dialler::new(ConfiguredPeer { replica: ReplicaId::new(2).unwrap(), addresses })
    }

    #[test]
    fn waits_double_up_to_the_longest_and_addresses_take_turns() {
        let mut dialler = dialler(&["127.0.0.1:1", "127.0.0.1:2"]);
        let mut now_ns = 7;
        for (turn, wait) in [50, 100, 200, 400, 800, 1000, 1000].into_iter().enumerate() {
            let address = dialler.take_due(now_ns).unwrap();
            assert_eq!(usize::from(address.port()), 1 + turn % 2);
            dialler.failed(now_ns, 255);
            let due_ns = dialler.due_ns().unwrap();
            let waited = due_ns - now_ns;
            assert!((wait * MILLISECOND_NS - 300..=wait * MILLISECOND_NS).contains(&waited), "{wait} ms: {waited} ns");
            assert_eq!(dialler.take_due(due_ns - 1), None);
            now_ns = due_ns;
        }
        for _ in 0..100 {
            dialler.failed(now_ns, 0);
        }
        assert_eq!(dialler.due_ns(), Some(now_ns + PEER_RETRY_LONGEST_MILLISECONDS / 2 * MILLISECOND_NS));
        dialler.lost(now_ns, 0);
        assert_eq!(dialler.due_ns(), Some(now_ns + PEER_RETRY_FIRST_MILLISECONDS / 2 * MILLISECOND_NS));
    }

    #[test]
    fn one_without_an_address_is_not_dialled_until_it_has_one() {
        let mut dialler = dialler(&[]);
        assert_eq!((dialler.take_due(u64::MAX), dialler.due_ns()), (None, None));
        dialler.failed(5, 0);
        dialler.set_addresses(vec!["127.0.0.1:9".parse().unwrap()]);
        assert_eq!(dialler.take_due(5).map(|address| address.port()), Some(9), "at once");
    }
}
