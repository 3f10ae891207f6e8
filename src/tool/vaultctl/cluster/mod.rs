//! `vaultctl cluster`: what a cluster of several instances needs, how it stands, and who is to be a member and lead.

mod change;
mod secret;
mod status;

use super::failure::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Cluster {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make the secret by which members prove that they belong together
    Secret(secret::MakeSecret),
    /// Show what an instance knows of its cluster, without touching it
    Status(status::Status),
    /// Hand leadership over to another instance; ask the primary's
    Transfer(change::Transfer),
    /// Add a new instance, as a learner; ask the primary's
    Add(change::Add),
    /// Have a learner vote; ask the primary's
    Promote(change::OfReplica),
    /// Take an instance out of the cluster; ask the primary's
    Remove(change::OfReplica),
}

pub(super) fn run(cluster: &Cluster) -> Result<(), Failure> {
    match &cluster.action {
        Action::Secret(secret) => secret::run(secret),
        Action::Status(status) => status::run(status),
        Action::Transfer(transfer) => change::transfer(transfer),
        Action::Add(add) => change::add(add),
        Action::Promote(promote) => change::promote(promote),
        Action::Remove(remove) => change::remove(remove),
    }
}
