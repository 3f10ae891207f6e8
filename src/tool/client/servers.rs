//! The servers that a client knows, and which of them it takes for the primary.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::limits::MAX_REPLICAS;
use crate::base::vocab::ReplicaRole;
use crate::service::bank::wire::Cluster;

/// Servers beside those of the command line that are remembered; what CLUSTER tells could name others for ever.
const MAX_LEARNED: usize = MAX_REPLICAS as usize;

/// The servers of one ledger, in the order of the command line. All connections of a run share them: what one finds out, all know.
#[derive(Debug)]
pub struct Servers {
    given: Vec<SocketAddr>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    known: Vec<SocketAddr>,
    /// Which of them is taken for the primary.
    primary: usize,
    /// Whether one of them has said that it is not the primary.
    is_cluster: bool,
}

/// What a server that was asked for its cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It answers everything.
    Primary,
    /// It does not, and another is to be tried, which has been noted.
    Other,
}

impl Servers {
    /// These servers; the first is tried first. There is at least one.
    pub fn new(given: Vec<SocketAddr>) -> Servers {
        Servers { state: Mutex::new(State { known: given.clone(), primary: 0, is_cluster: false }), given }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of the command line.
    pub fn given(&self) -> &[SocketAddr] {
        &self.given
    }

    /// Whether there may be a choice: then a new connection asks its server whether it is the primary.
    pub fn are_several(&self) -> bool {
        let state = self.state();
        state.is_cluster || state.known.len() > 1
    }

    /// One of them has said that it is not the primary.
    pub fn expect_cluster(&self) {
        self.state().is_cluster = true;
    }

    /// All known servers.
    pub fn known(&self) -> Vec<SocketAddr> {
        self.state().known.clone()
    }

    /// The server that is taken for the primary.
    pub fn primary(&self) -> SocketAddr {
        let state = self.state();
        state.known[state.primary]
    }

    /// `address` is not the primary, or does not answer: the next one is tried, unless another connection has found that out before.
    pub fn suspect(&self, address: SocketAddr) {
        let mut state = self.state();
        if state.known[state.primary] == address {
            state.primary = (state.primary + 1) % state.known.len();
        }
    }

    /// Takes `address` for the primary.
    pub fn prefer(&self, address: SocketAddr) {
        let mut state = self.state();
        let place = state.known.iter().position(|known| *known == address);
        let place = place.unwrap_or_else(|| {
            if state.known.len() >= self.given.len() + MAX_LEARNED {
                state.known.remove(self.given.len());
            }
            state.known.push(address);
            state.known.len() - 1
        });
        state.primary = place;
    }

    /// Notes what the server at `address` has told of its cluster.
    pub fn learn(&self, address: SocketAddr, cluster: &Cluster) -> Standing {
        let is_primary = match cluster.role {
            ReplicaRole::Alone | ReplicaRole::Primary => true,
            ReplicaRole::Follower | ReplicaRole::Candidate | ReplicaRole::Learner => false,
        };
        self.learn_primary(address, is_primary, &cluster.primary_address)
    }

    /// The same of whether it is the primary, and else of the one that it names.
    pub fn learn_primary(&self, address: SocketAddr, is_primary: bool, named: &str) -> Standing {
        if is_primary {
            self.prefer(address);
            return Standing::Primary;
        }
        match usable(named).filter(|primary| *primary != address) {
            Some(primary) => self.prefer(primary),
            None => self.suspect(address),
        }
        Standing::Other
    }
}

/// The address that a server has named, where it is one that others can use.
fn usable(text: &str) -> Option<SocketAddr> {
    let address = text.to_socket_addrs().ok()?.next()?;
    (!address.ip().is_unspecified() && address.port() != 0).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn follower(primary: &str) -> Cluster {
        Cluster { role: ReplicaRole::Follower, primary_address: primary.to_owned(), ..Cluster::default() }
    }

    #[test]
    fn each_is_tried_in_turn_and_one_loss_counts_once() {
        let servers = Servers::new([1, 2, 3].map(at).to_vec());
        assert_eq!((servers.primary(), servers.are_several()), (at(1), true));
        // A hundred connections to the first one were lost.
        (0..100).for_each(|_| servers.suspect(at(1)));
        assert_eq!(servers.primary(), at(2));
        servers.suspect(at(2));
        servers.suspect(at(3));
        assert_eq!(servers.primary(), at(1));
        let one = Servers::new(vec![at(1)]);
        one.suspect(at(1));
        assert_eq!((one.primary(), one.are_several()), (at(1), false));
        one.expect_cluster();
        assert!(one.are_several());
    }

    #[test]
    fn what_a_server_tells_is_followed_where_it_can_be() {
        let servers = Servers::new([1, 2].map(at).to_vec());
        assert_eq!(servers.learn(at(1), &follower("127.0.0.1:2")), Standing::Other);
        assert_eq!(servers.primary(), at(2));
        // Nobody, nonsense, an address of no use, and itself.
        for named in ["", "nowhere", "0.0.0.0:7777", "127.0.0.1:0", "127.0.0.1:2"] {
            servers.prefer(at(2));
            assert_eq!(servers.learn(at(2), &follower(named)), Standing::Other);
            assert_eq!(servers.primary(), at(1), "{named:?}");
        }
        let primary = Cluster { role: ReplicaRole::Primary, ..Cluster::default() };
        assert_eq!(servers.learn(at(2), &primary), Standing::Primary);
        assert_eq!(servers.learn(at(2), &Cluster::default()), Standing::Primary, "one without peers");
        assert_eq!(servers.primary(), at(2));
    }

    #[test]
    fn no_more_are_remembered_than_a_cluster_can_have() {
        let servers = Servers::new(vec![at(1)]);
        for port in 100..200 {
            servers.learn(at(1), &follower(&format!("127.0.0.1:{port}")));
            assert_eq!(servers.primary(), at(port));
        }
        assert_eq!(servers.known().len(), 1 + MAX_LEARNED);
        assert_eq!((servers.known()[0], servers.given()), (at(1), &[at(1)][..]));
    }
}
