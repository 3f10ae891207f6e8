//! When and where a peer is dialled: pure.

use std::net::SocketAddr;

use crate::base::limits::{PEER_RETRY_FIRST_MILLISECONDS, PEER_RETRY_LONGEST_MILLISECONDS};
use crate::process::replica::peers::settings::{ConfiguredPeer, PeerPlace};
use crate::store::cluster::ReplicaId;

const MILLISECOND_NS: u64 = 1_000_000;

/// When and where to dial one peer.
#[derive(Debug)]
pub(super) struct Dialler {
    peer: ConfiguredPeer,
    /// What is known of the peer's name, if it has one.
    known: Known,
    /// Which of its addresses is next.
    next: usize,
    /// Failures in a row.
    failures: u32,
    due_ns: u64,
}

/// What is known of a name. It is looked up anew for each attempt: machines move.
#[derive(Debug)]
enum Known {
    Nothing,
    /// It is being looked up.
    Asked,
    /// It has just been looked up, for the attempt that comes next.
    Found(Vec<SocketAddr>),
}

/// What is to be done in order to reach a peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// To dial this address.
    Dial(SocketAddr),
    /// To look up this name first, `HOST:PORT`.
    LookUp(String),
}

impl Dialler {
    pub(super) fn new(peer: ConfiguredPeer) -> Self {
        Dialler { peer, known: Known::Nothing, next: 0, failures: 0, due_ns: 0 }
    }

    pub(super) fn replica(&self) -> ReplicaId {
        self.peer.replica
    }

    /// Takes over where the peer is now.
    pub(super) fn set_peer(&mut self, peer: ConfiguredPeer) {
        if self.peer != peer {
            *self = Dialler::new(peer);
        }
    }

    /// When it may be dialled; `None` while its name is being looked up.
    pub(super) fn due_ns(&self) -> Option<u64> {
        (!matches!(self.known, Known::Asked)).then_some(self.due_ns)
    }

    /// What to do, where that is due. The next time it is another of its addresses that is dialled.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<Attempt> {
        self.due_ns().filter(|&due_ns| due_ns <= now_ns)?;
        let address = match (&self.peer.place, std::mem::replace(&mut self.known, Known::Nothing)) {
            (PeerPlace::At(address), _) => *address,
            (PeerPlace::Named(_), Known::Found(addresses)) if !addresses.is_empty() => {
                addresses[self.next % addresses.len()]
            }
            (PeerPlace::Named(name), _) => {
                self.known = Known::Asked;
                return Some(Attempt::LookUp(name.clone()));
            }
        };
        self.next = self.next.wrapping_add(1);
        Some(Attempt::Dial(address))
    }

    /// The name was looked up; whether it is the one that was asked for.
    pub(super) fn found(&mut self, name: &str, addresses: Vec<SocketAddr>) -> bool {
        let is_asked = self.is_asked(name);
        if is_asked {
            self.known = Known::Found(addresses);
        }
        is_asked
    }

    /// The name could not be looked up; whether it is the one that was asked for. It is looked up again later.
    pub(super) fn not_found(&mut self, name: &str, now_ns: u64, chance: u8) -> bool {
        let is_asked = self.is_asked(name);
        if is_asked {
            self.known = Known::Nothing;
            self.failed(now_ns, chance);
        }
        is_asked
    }

    fn is_asked(&self, name: &str) -> bool {
        matches!(self.known, Known::Asked) && self.peer.place == PeerPlace::Named(name.to_owned())
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
        if matches!(self.known, Known::Found(_)) {
            // Of before that connection.
            self.known = Known::Nothing;
        }
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

    const NAME: &str = "db2.example:7000";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn named() -> Dialler {
        let place = PeerPlace::of(NAME);
        Dialler::new(ConfiguredPeer { replica: ReplicaId::new(2).unwrap(), place })
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let place = PeerPlace::of("127.0.0.1:1");
        let mut dialler = Dialler::new(ConfiguredPeer { replica: ReplicaId::new(2).unwrap(), place });
        let mut now_ns = 7;
        for wait in [50, 100, 200, 400, 800, 1000, 1000] {
            assert_eq!(dialler.take_due(now_ns), Some(Attempt::Dial(address("127.0.0.1:1"))));
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
    fn a_name_is_looked_up_before_each_attempt_and_its_addresses_take_turns() {
        let mut dialler = named();
        let mut now_ns = 0;
        let moved: [&[&str]; 5] = [
            &["127.0.0.1:1", "127.0.0.1:2"],
            &["127.0.0.1:1", "127.0.0.1:2"],
            &["127.0.0.1:1", "127.0.0.1:2"],
            &["127.0.0.9:9"],
            &["127.0.0.1:1", "127.0.0.1:2"],
        ];
        for (found, port) in moved.into_iter().zip([1, 2, 1, 9, 1]) {
            assert_eq!(dialler.take_due(now_ns), Some(Attempt::LookUp(NAME.to_owned())));
            assert_eq!((dialler.take_due(u64::MAX), dialler.due_ns()), (None, None), "not twice at a time");
            assert!(dialler.found(NAME, found.iter().map(|text| address(text)).collect()));
            let Some(Attempt::Dial(dialled)) = dialler.take_due(now_ns) else { panic!("{dialler:?}") };
            assert_eq!(dialled.port(), port);
            dialler.failed(now_ns, 255);
            now_ns = dialler.due_ns().unwrap();
        }
    }

    #[test]
    fn a_name_that_has_no_address_is_looked_up_again_later() {
        let mut dialler = named();
        assert_eq!(dialler.take_due(5), Some(Attempt::LookUp(NAME.to_owned())));
        assert!(!dialler.not_found("another:1", 5, 255) && dialler.not_found(NAME, 5, 255));
        let due_ns = dialler.due_ns().unwrap();
        assert!(due_ns > 5);
        assert_eq!(dialler.take_due(due_ns), Some(Attempt::LookUp(NAME.to_owned())));
        // Meanwhile it is somewhere else: what comes late counts no more.
        let peer = ConfiguredPeer { replica: ReplicaId::new(2).unwrap(), place: PeerPlace::of("127.0.0.1:9") };
        dialler.set_peer(peer);
        assert!(!dialler.found(NAME, vec![address("127.0.0.1:1")]));
        assert_eq!(dialler.take_due(due_ns), Some(Attempt::Dial(address("127.0.0.1:9"))), "at once");
    }

    #[test]
    fn what_was_found_before_a_connection_that_was_lost_counts_no_more() {
        let mut dialler = named();
        assert_eq!(dialler.take_due(0), Some(Attempt::LookUp(NAME.to_owned())));
        assert!(dialler.found(NAME, vec![address("127.0.0.1:1")]));
        dialler.lost(1, 0);
        assert_eq!(dialler.take_due(u64::MAX), Some(Attempt::LookUp(NAME.to_owned())));
    }
}
