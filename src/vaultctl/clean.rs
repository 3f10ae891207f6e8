//! `vaultctl clean`: removes what an instance left whose processes were killed.

use super::{Failure, InstanceName, say};
use crate::instance::stale::{self, Living};

/// `vaultctl clean`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A new start of the server under the same name does the same by itself.")]
pub(super) struct Clean {
    #[command(flatten)]
    instance: InstanceName,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// The instance lives.
#[derive(Debug, thiserror::Error)]
#[error(
    "instance `{name}` runs (master pid {pid}, data {data}) and was not touched; to stop it and have it clean up by itself: \
     kill -INT {pid}"
)]
struct Lives {
    name: String,
    pid: u32,
    data: String,
}

/// Removes what dead processes of an instance left; refuses when one of its processes lives.
pub(super) fn run(clean: &Clean) -> Result<(), Failure> {
    let name = &clean.instance.name;
    let census = stale::census(name).map_err(Failure::unavailable)?;
    if let Some(Living { master_pid: pid, data, .. }) = census.living.into_iter().next() {
        return Err(Failure::refused(Lives { name: name.clone(), pid, data }));
    }
    if census.stale.is_empty() {
        return say(&format!("nothing to remove: no instance `{name}` left anything here\n"));
    }
    if !clean.dry_run {
        stale::remove(&census.stale).map_err(Failure::unavailable)?;
    }
    let verb = if clean.dry_run { "would remove" } else { "removed" };
    let mut text: String = census.stale.iter().map(|object| format!("{verb} {object}\n")).collect();
    text.push_str(&format!("{verb} {} objects that a dead instance `{name}` left\n", census.stale.len()));
    say(&text)
}
