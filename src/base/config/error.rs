//! Why the settings were refused.

use std::net::IpAddr;
use std::path::PathBuf;

use super::peers::BadPeers;
use super::range::Range;
use super::url::BadUrl;
use crate::base::vocab::{Cents, MoneyError, ReplicaId};

/// A refused setting; each message names the setting, its value and what would be accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named by `--config` could not be read.
    #[error("cannot read the settings file {}: {source}; check the path given by --config", path.display())]
    ReadFile {
        /// The file as it was named.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key, or a value of the wrong type; the source names line and key.
    #[error("the settings file {} is refused: {source}", path.display())]
    ParseFile {
        /// The file as it was named.
        path: PathBuf,
        /// Line, column and reason.
        source: toml::de::Error,
    },
    /// A number outside its range, or a word where a number belongs.
    #[error("{}: `{value}` is not a whole number from {} to {} ({})", range.name, range.least, range.most, range.unit)]
    OutOfRange {
        /// The setting and its bounds.
        range: Range,
        /// The value as it was written.
        value: String,
    },
    /// The host is not a numeric address.
    #[error("host: `{value}` is not an IP address; write one like 127.0.0.1, 0.0.0.0 or ::1")]
    Host {
        /// The value as it was written.
        value: String,
    },
    /// GetFile is on, and has nothing to serve.
    #[error(
        "getfile-port: there is nothing to serve; name a folder with --getfile-root, a map file with --getfile-map, or where to \
         fetch from with --getfile-upstream"
    )]
    GetFileWithoutSource,
    /// GetFile has several things to serve.
    #[error("of getfile-root, getfile-map and getfile-upstream only one can be served; leave the others out")]
    GetFileSources,
    /// GetFile has something to serve, and is off.
    #[error(
        "getfile-root, getfile-map and getfile-upstream serve nothing without a port; choose one with --getfile-port"
    )]
    GetFileWithoutPort,
    /// The upstream cannot be fetched from.
    #[error("getfile-upstream: {0}")]
    Upstream(#[from] BadUrl),
    /// The initial balance is not money.
    #[error("initial-balance: {source}; valid are 0.00 and more")]
    NotMoney {
        /// What is wrong with the text, which it names.
        source: MoneyError,
    },
    /// Accounts cannot begin in debt, since balances are never negative.
    #[error("initial-balance: `{value}` is negative; valid are 0.00 and more")]
    NegativeBalance {
        /// The refused amount.
        value: Cents,
    },
    /// The opening total must fit in 64 bits, or TOTALS could not be told.
    #[error(
        "initial-balance: `{value}` for each of {accounts} accounts is more money than can be counted; \
         valid for so many accounts are 0.00 to {most}"
    )]
    TotalTooLarge {
        /// The refused amount.
        value: Cents,
        /// The accounts it was meant for.
        accounts: u32,
        /// The greatest initial balance for this many accounts.
        most: Cents,
    },
    /// The instance name becomes a part of names in `/dev/shm`.
    #[error("instance: `{value}` is not a valid name; valid are 1 to 32 characters out of a-z, 0-9 and -")]
    Instance {
        /// The value as it was written.
        value: String,
    },
    /// An empty path would mean the working directory or nothing, and is more likely a mistake.
    #[error("{name}: the path is empty; valid is any path of at least one character, or leave the setting out")]
    EmptyPath {
        /// The setting.
        name: &'static str,
    },
    /// Demo mode must not be reachable from outside.
    #[error(
        "host: `{host}` is refused without a users file: everyone who knows the user `demo` could move money there; \
         valid without one are loopback addresses such as 127.0.0.1 and ::1; \
         make users with `vaultctl user add` and name their file by --users"
    )]
    DemoBeyondLoopback {
        /// The refused address.
        host: IpAddr,
    },
    /// The list of peers is none.
    #[error("peers: {0}; write them like 1=10.0.0.1:7900,2=10.0.0.2:7900,3=10.0.0.3:7900")]
    Peers(#[source] BadPeers),
    /// Of the settings of a cluster some are missing.
    #[error(
        "{named}: without {missing} there is no cluster; name all of replica-id, peers and cluster-secret, or none of them"
    )]
    ClusterIncomplete {
        /// Those that are named.
        named: String,
        /// Those that are not.
        missing: String,
    },
    /// This instance is none of the peers.
    #[error(
        "replica-id: `{replica}` is not among the peers; add this instance to peers, at the address where the others reach it"
    )]
    NotAmongPeers {
        /// Its id.
        replica: ReplicaId,
    },
    /// What is not on disk cannot be answered for.
    #[error(
        "durability: `{durability}` is refused with peers: an instance tells the others what is on its disk, and they count on it; \
         valid with peers is sync"
    )]
    ClusterDurability {
        /// The durability that was asked for.
        durability: &'static str,
    },
}
