//! `vaultctl cache list|stats|purge`: what GetFile's cache process keeps, what it counts, and making it forget.
//!
//! [`stats`] reads shared memory. The other two ask the process itself, through the queue that workers send their requests to ([`dialogue`]).

mod dialogue;
mod instance;
mod list;
mod path;
mod purge;
mod stats;

use super::failure::Failure;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A path is shown as bash's $'…' takes it: what cannot be printed, a backslash and quotes stand there as \\xNN, \\\\, \
                        \\' and \\\"."
)]
pub(super) struct Cache {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show what is kept, in the order of the paths
    List(list::List),
    /// Show what the cache process counts, its queue and its segments, without asking it
    Stats(stats::Stats),
    /// Have one path, or all, be forgotten: the next request for it goes to the upstream
    Purge(purge::Purge),
}

pub(super) fn run(cache: &Cache) -> Result<(), Failure> {
    match &cache.action {
        Action::List(list) => list::run(list),
        Action::Stats(stats) => stats::run(stats),
        Action::Purge(purge) => purge::run(purge),
    }
}
