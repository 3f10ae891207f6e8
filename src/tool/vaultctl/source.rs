//! What a subcommand looks at: a running instance, or a journal with the server that is at work on it, if one is.

use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::base::vocab::{Committed, Lsn};
use crate::ipc::filelock;
use crate::store::cluster::read_state;
use crate::store::instance::{Instance, stale};
use crate::store::journal::{Directory, is_incoming, segment, snapshot};

/// Which instance.
#[derive(Debug, clap::Args)]
pub(super) struct InstanceName {
    /// Name of the instance, as `master --instance` took it
    #[arg(long = "instance", value_name = "NAME", default_value = "vault")]
    pub name: String,
}

/// Says on the standard error which objects bear an instance's name and are none of its own.
pub(super) fn warn(scan: &stale::ObjectScan) {
    scan.warnings().iter().for_each(|warning| eprintln!("vaultctl: warning: {warning}"));
}

/// Opens the one running instance of that name for reading.
pub(super) fn running(name: &InstanceName) -> Result<Instance, Failure> {
    // What cannot be listed is the error of the next line.
    if let Ok(scan) = stale::scan(&name.name)
        && !scan.living.is_empty()
    {
        warn(&scan);
    }
    stale::open_running(&name.name).map_err(Failure::unavailable)
}

/// A journal, by its place or by its server.
#[derive(Debug, clap::Args)]
pub(super) struct JournalArgs {
    /// Data directory, as `master --data` took it [default: ./vault-data]
    #[arg(long, value_name = "DIR", conflicts_with = "instance")]
    data: Option<PathBuf>,
    /// Name of a running instance, whose data directory is meant
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// How often reading a journal is begun again because the server removed old files under it.
pub(super) const ATTEMPTS: usize = 5;

/// A data directory to look at.
pub(super) struct JournalSource {
    pub(super) directory: Directory,
    /// The server that writes there.
    pub(super) running: Option<Instance>,
}

impl JournalSource {
    /// Opens what was named.
    pub(super) fn open(which: &JournalArgs) -> Result<JournalSource, Failure> {
        if let Some(name) = &which.instance {
            let running = settled(stale::open_running(name).map_err(Failure::unavailable)?)?;
            if !running.table().sequencer().is_journaled() {
                let why = format!(
                    "the instance `{name}` has its ledger in memory only (--durability none): it has no journal"
                );
                return Err(Failure::unavailable(why));
            }
            let directory = Directory::open(Path::new(&running.control().data()))?;
            return Ok(JournalSource { directory, running: Some(running) });
        }
        let data = which.data.as_deref().unwrap_or(Path::new("./vault-data"));
        let directory = Directory::open(data)?;
        let running = server_of(data)?;
        if running.is_none() {
            refuse_pending_install(&directory)?;
        }
        Ok(JournalSource { directory, running })
    }

    /// The oldest of what a server removes: segments and snapshots that are not needed any more.
    pub(super) fn oldest_files(&self) -> Result<[Option<Lsn>; 2], Failure> {
        let (segments, snapshots) = (segment::list(&self.directory)?, snapshot::list(&self.directory)?);
        Ok([segments.first().copied(), snapshots.first().copied()])
    }

    /// What the server says is committed by now; `None` where none runs, and the files are all there is.
    pub(super) fn committed(&self) -> Option<Committed> {
        self.running.as_ref().map(|running| running.table().sequencer().committed())
    }
}

/// Refuses a journal that a start replaces before it reads it: what is there may be half old and half new.
pub(super) fn refuse_pending_install(directory: &Directory) -> Result<(), Failure> {
    // Where DATA/raft cannot be read, a start says so; the journal can be looked at.
    let is_ordered = read_state(directory).is_ok_and(|state| state.is_some_and(|state| state.install));
    if is_ordered && is_incoming(directory)? {
        let why = format!(
            "the books that another member sent into {} are to take the place of those there; the next start of its server finishes that",
            directory.path().display()
        );
        return Err(Failure::unavailable(why));
    }
    Ok(())
}

/// An instance whose memory means something.
fn settled(running: Instance) -> Result<Instance, Failure> {
    if running.replica_row().is_remaking() {
        let name = &running.generation().instance;
        let why = format!("the instance `{name}` is remaking its books from the journal; try again when it is done");
        return Err(Failure::unavailable(why));
    }
    Ok(running)
}

/// What the lock file of a data directory says of its holder, who may be gone.
pub(super) fn lock_file_text(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join("lock")).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The server whose data directory `data` is.
fn server_of(data: &Path) -> Result<Option<Instance>, Failure> {
    let holder = lock_file_text(data);
    let name = holder.as_deref().and_then(|text| text.rsplit_once("of instance ")).map(|(_, name)| name);
    let running = name.and_then(|name| stale::open_running(name).ok());
    let here = fs::canonicalize(data)?;
    if let Some(running) = running.filter(|running| Path::new(&running.control().data()) == here) {
        return settled(running).map(Some);
    }
    let path = data.join("lock");
    let Ok(file) = fs::File::open(&path) else { return Ok(None) };
    if filelock::is_locked(&file, &path.display().to_string())? {
        let holder = holder.unwrap_or_else(|| "a server".to_owned());
        let why = format!("{} is in use by {holder}, which is just starting or ending; try again", data.display());
        return Err(Failure::unavailable(why));
    }
    Ok(None)
}
