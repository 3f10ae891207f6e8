//! `vaultctl cluster transfer`, `add`, `promote`, `remove`: what the primary's instance is asked to do about the cluster.

use std::net::ToSocketAddrs;

use crate::base::config::{BadPeers, parse_peer};
use crate::base::limits::MAX_PEER_ADDRESS_BYTES;
use crate::base::vocab::ReplicaId;
use crate::store::instance::control_requests::{ClusterRequest, ControlRequest};
use crate::tool::vaultctl::control::{self, ControlArgs};
use crate::tool::vaultctl::failure::Failure;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Clients go on with the new primary; they are closed by the old one, and what they were not answered they ask again."
)]
pub(super) struct Transfer {
    /// The number of the instance that is to lead; without it, the one that has most of the log
    #[arg(value_name = "REPLICA", value_parser = replica)]
    replica: Option<ReplicaId>,
    #[command(flatten)]
    args: ControlArgs,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The instance must run there, with an empty data directory and with all members among its --peers. It becomes a \
                        learner, which gets the log and does not vote: promote it when it has caught up."
)]
pub(super) struct Add {
    /// The number of the new instance, and where its peers reach it
    #[arg(value_name = "N=HOST:PORT", value_parser = parse)]
    peer: (ReplicaId, String),
    #[command(flatten)]
    args: ControlArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct OfReplica {
    /// The number of the instance
    #[arg(value_name = "REPLICA", value_parser = replica)]
    replica: ReplicaId,
    #[command(flatten)]
    args: ControlArgs,
}

fn replica(text: &str) -> Result<ReplicaId, String> {
    let number: u8 = text.parse().map_err(|_| "not a number".to_owned())?;
    ReplicaId::try_from(number).map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<(ReplicaId, String), BadPeers> {
    parse_peer(text)
}

pub(super) fn transfer(transfer: &Transfer) -> Result<(), Failure> {
    ask(&transfer.args, ClusterRequest::Transfer(transfer.replica))
}

/// Asks for an instance to be added. Its name is looked up here: whoever replicates must not wait for that.
pub(super) fn add(add: &Add) -> Result<(), Failure> {
    let (replica, named) = &add.peer;
    let mut addresses = named
        .to_socket_addrs()
        .map_err(|error| Failure::unavailable(format!("{named} is not to be found: {error}")))?;
    let address =
        addresses.next().map(|address| address.to_string()).filter(|text| text.len() <= MAX_PEER_ADDRESS_BYTES);
    let address = address.ok_or_else(|| Failure::unavailable(format!("{named} has no address that can be used")))?;
    ask(&add.args, ClusterRequest::Add { replica: *replica, address })
}

pub(super) fn promote(promote: &OfReplica) -> Result<(), Failure> {
    ask(&promote.args, ClusterRequest::Promote(promote.replica))
}

pub(super) fn remove(remove: &OfReplica) -> Result<(), Failure> {
    ask(&remove.args, ClusterRequest::Remove(remove.replica))
}

fn ask(args: &ControlArgs, request: ClusterRequest) -> Result<(), Failure> {
    control::run(args, &ControlRequest::Cluster(request))
}
