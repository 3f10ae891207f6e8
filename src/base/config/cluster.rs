//! The settings of a cluster: which of several instances this one is, and where they all are.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::not_empty;
use super::peers::parse;
use super::{ConfigError, Durability, Values, range};
use crate::base::vocab::ReplicaId;

/// The checked settings of an instance that is a member of a cluster, or is to become one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// Which of `peers` this instance is.
    pub replica: ReplicaId,
    /// All of them, this instance included, by rising id, each with its address for the others: `HOST:PORT`, where HOST is an IPv4
    /// address, an IPv6 address in brackets, or a name; at most [`MAX_PEER_ADDRESS_BYTES`](crate::base::limits::MAX_PEER_ADDRESS_BYTES). No two have the same.
    pub peers: Vec<(ReplicaId, String)>,
    /// The file of the secret by which they know each other.
    pub secret: PathBuf,
}

impl ClusterSettings {
    /// The address at which this instance listens for its peers.
    #[must_use]
    pub fn own_address(&self) -> &str {
        self.peers.iter().find(|(replica, _)| *replica == self.replica).map_or("", |(_, address)| address)
    }

    /// Checks what `values` say of it; `None` where they say nothing.
    pub(super) fn resolve(values: &mut Values) -> Result<Option<ClusterSettings>, ConfigError> {
        let secret = values.cluster_secret.take().map(|path| not_empty("cluster-secret", path)).transpose()?;
        let replica = values.replica_id.map(|number| range::REPLICA_ID.check::<u8>(number)).transpose()?;
        let replica = replica.and_then(ReplicaId::new);
        let peers = values.peers.take().map(|text| parse(&text)).transpose().map_err(ConfigError::Peers)?;
        let (replica, peers, secret) = match (replica, peers, secret) {
            (None, None, None) => return Ok(None),
            (Some(replica), Some(peers), Some(secret)) => (replica, peers, secret),
            (replica, peers, secret) => {
                let all = [
                    ("replica-id", replica.is_some()),
                    ("peers", peers.is_some()),
                    ("cluster-secret", secret.is_some()),
                ];
                let names = |wanted: bool| {
                    let names = all.iter().filter(|(_, named)| *named == wanted).map(|(name, _)| *name);
                    names.collect::<Vec<_>>().join(" and ")
                };
                return Err(ConfigError::ClusterIncomplete { named: names(true), missing: names(false) });
            }
        };
        if peers.iter().all(|(other, _)| *other != replica) {
            return Err(ConfigError::NotAmongPeers { replica });
        }
        Ok(Some(ClusterSettings { replica, peers, secret }))
    }

    /// Whether a ledger of that durability can be replicated: an instance answers for what is on its disk.
    pub(super) fn check_durability(durability: Durability) -> Result<(), ConfigError> {
        match durability {
            Durability::Sync => Ok(()),
            Durability::Async => Err(ConfigError::ClusterDurability { durability: "async" }),
            Durability::None => Err(ConfigError::ClusterDurability { durability: "none" }),
        }
    }

    /// Whether each of them is the same in `other`, by name.
    pub(super) fn compare(one: Option<&ClusterSettings>, other: Option<&ClusterSettings>) -> [(&'static str, bool); 3] {
        // A pattern without `..`: a new setting that is not compared here does not compile.
        let parts =
            |ClusterSettings { replica, peers, secret }: &ClusterSettings| (*replica, peers.clone(), secret.clone());
        let (one, other) = (one.map(parts), other.map(parts));
        [
            ("replica-id", one.as_ref().map(|parts| parts.0) == other.as_ref().map(|parts| parts.0)),
            ("peers", one.as_ref().map(|parts| &parts.1) == other.as_ref().map(|parts| &parts.1)),
            ("cluster-secret", one.as_ref().map(|parts| &parts.2) == other.as_ref().map(|parts| &parts.2)),
        ]
    }
}
