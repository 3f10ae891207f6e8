//! `vaultctl cluster secret`: what a cluster of several instances needs.

mod secret;

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
}

pub(super) fn run(cluster: &Cluster) -> Result<(), Failure> {
    match &cluster.action {
        Action::Secret(secret) => secret::run(secret),
    }
}
