//! `vaultctl clean`: removes what an instance left whose processes were killed.

use super::failure::{Failure, say};
use super::source::{InstanceName, warn};
use crate::store::instance::lock_holders::Waited;
use crate::store::instance::stale;

#[derive(Debug, clap::Args)]
#[command(after_help = "A new start of the server under the same name does the same by itself.")]
pub(super) struct Clean {
    #[command(flatten)]
    instance: InstanceName,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// Removes what dead processes of an instance left; refuses when one of its processes lives.
pub(super) fn run(clean: &Clean) -> Result<(), Failure> {
    let name = &clean.instance.name;
    let (scan, living) = stale::scan_settled(name)?;
    warn(&scan);
    if let Some((living, waited)) = living {
        let remedy = match &waited {
            Waited::Stuck(_) => "clean up when they are gone".to_owned(),
            _ => format!("to stop it and have it clean up by itself: kill -INT {}", living.master_pid),
        };
        let holder = stale::name_holder(&living, &waited);
        return Err(Failure::refused(format!("instance `{name}` runs ({holder}) and was not touched; {remedy}")));
    }
    if scan.stale.is_empty() {
        return say(&format!("nothing to remove: no instance `{name}` left anything here\n"));
    }
    if !clean.dry_run {
        stale::remove(&scan.stale)?;
    }
    let verb = if clean.dry_run { "would remove" } else { "removed" };
    let mut text: String = scan.stale.iter().map(|object| format!("{verb} {object}\n")).collect();
    text.push_str(&format!("{verb} {} objects that a dead instance `{name}` left\n", scan.stale.len()));
    say(&text)
}
