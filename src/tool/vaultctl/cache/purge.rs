//! `vaultctl cache purge`: has the cache process forget.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use serde::Serialize;

use super::dialogue::{Dialogue, reply_to};
use super::instance::AskingArgs;
use super::path::escaped;
use crate::base::limits::MAX_GETFILE_PATH_BYTES;
use crate::store::cache_channel::{Command, Reply};
use crate::tool::vaultctl::failure::{Failure, say, say_json};

#[derive(Debug, clap::Args)]
#[command(after_help = "Requests that are under way go on with what they have.")]
pub(super) struct Purge {
    /// The path, as clients ask for it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    path: Option<OsString>,
    /// Forget all
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    asking: AskingArgs,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` writes.
#[derive(Serialize)]
struct Purged {
    entries: u64,
}

pub(super) fn run(purge: &Purge) -> Result<(), Failure> {
    let path: Option<Box<[u8]>> = purge.path.clone().map(|path| path.into_vec().into());
    if let Some(path) = &path {
        check(path)?;
    }
    let mut dialogue = Dialogue::open(&purge.asking)?;
    let mut entries = None;
    dialogue.ask(&Command::Purge { reply_to: reply_to(), path: path.clone() }, |reply| {
        if let Reply::Purged { entries: purged } = reply {
            entries = Some(purged);
        }
        Ok(true)
    })?;
    let entries = entries.ok_or_else(|| dialogue.broken("a reply to something else"))?;
    if purge.json {
        say_json(&Purged { entries })?;
    }
    match (entries, &path) {
        (0, Some(path)) => Err(Failure::refused(format!("nothing was kept of {}", escaped(path)))),
        _ if purge.json => Ok(()),
        (1, _) => say("forgot 1 entry\n"),
        (entries, _) => say(&format!("forgot {entries} entries\n")),
    }
}

/// Refuses what no client can have asked for.
fn check(path: &[u8]) -> Result<(), Failure> {
    let why = if path.first() != Some(&b'/') {
        "does not begin with a slash".to_owned()
    } else if path.len() > MAX_GETFILE_PATH_BYTES {
        format!("has more than {MAX_GETFILE_PATH_BYTES} bytes")
    } else {
        return Ok(());
    };
    let shown = escaped(&path[..path.len().min(100)]);
    Err(Failure::unavailable(format!("`{shown}` is no path: it {why}")))
}
