//! `vaultctl repair`: cuts a damaged journal, so that a server can go on with it.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::failure::{Failure, say};
use super::source::{lock_file_text, refuse_pending_install};
use crate::base::vocab::Lsn;
use crate::ipc::filelock;
use crate::store::instance::lock_file;
use crate::store::instance::lock_holders::{self, Waited};
use crate::store::journal::{self, Directory, DiscardRecords, RecoveryError, recover};
use crate::tool::output;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The journal is cut at the first record that is damaged. What was behind it, and snapshots that hold it, are \
                        moved to DIR/removed-TIME; nothing is thrown away. Operations that were acknowledged may be among \
                        it: a copy of the damaged file, if there is one, is the better way."
)]
pub(super) struct Repair {
    /// Data directory, as `master --data` took it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Repairs, while no server runs, after having asked.
pub(super) fn run(repair: &Repair) -> Result<(), Failure> {
    let directory = Directory::open(&repair.data)?;
    // Held until the end, so that no server starts meanwhile.
    let _lock = lock(&repair.data)?;
    refuse_pending_install(&directory)?;
    let damage = match check(&directory) {
        Ok(()) => return say("the journal is whole as far as a server needs it; there is nothing to repair\n"),
        Err(RecoveryError::Disk(error)) => return Err(error.into()),
        Err(damage) => damage,
    };
    output::print_error("vaultctl", &damage.to_string());
    if !repair.yes && !confirmed()? {
        return Err(Failure::refused("nothing was changed; to have it done, say --yes"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let report = journal::repair(&directory, now).map_err(|error| match error {
        RecoveryError::Disk(error) => error.into(),
        damaged => Failure::refused(damaged),
    })?;
    say(&format!("{report}\n"))?;
    if let Some(removed) = &report.removed {
        say(&format!("what was removed is in {}\n", removed.display()))?;
    }
    check(&directory).map_err(|error| {
        Failure::refused(format!("what could be repaired is, and a server would still not start: {error}"))
    })
}

/// Whether a server would start; all records that are there are read.
fn check(directory: &Directory) -> Result<(), RecoveryError> {
    recover(directory, Lsn(0), &mut DiscardRecords, |_| ()).map(drop)
}

/// Takes the lock of a server, without writing into its file, which says who had it.
fn lock(data: &Path) -> Result<File, Failure> {
    let file = lock_file::open(data, true)?;
    let name = lock_file::path_in(data).display().to_string();
    // Of a server that was just killed, processes may still be dying.
    if lock_holders::wait_for(&file, || filelock::try_lock(&file, &name))? == Waited::Free {
        return Ok(file);
    }
    let holder = lock_file_text(data).unwrap_or_else(|| "a server".to_owned());
    let why = format!("{} is in use by {holder}; stop that one first. Nothing was changed", data.display());
    Err(Failure::refused(why))
}

/// Whether a person at a terminal says yes.
fn confirmed() -> io::Result<bool> {
    let input = io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    let mut terminal = io::stderr();
    terminal.write_all(b"Cut the journal there, and move what is behind it aside? Type yes: ")?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
