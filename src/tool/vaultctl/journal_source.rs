//! JournalArgs journal: a data directory, with the server that is at work on it, if one is.

use std::fs;
use std::path::{Path, PathBuf};

use super::failure::{Failure, Unavailable};
use crate::base::vocab::Lsn;
use crate::ipc::filelock;
use crate::store::instance::{Instance, stale};
use crate::store::journal::Directory;

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
            let running = stale::open_running(name).map_err(unavailable)?;
            let directory = Directory::open(Path::new(&running.control().data())).map_err(Failure::unavailable)?;
            return Ok(JournalSource { directory, running: Some(running) });
        }
        let data = which.data.as_deref().unwrap_or(Path::new("./vault-data"));
        let directory = Directory::open(data).map_err(Failure::unavailable)?;
        let running = server_of(data)?;
        Ok(JournalSource { directory, running })
    }

    /// What the server says is durable by now; `None` where none runs, and the files are all there is.
    pub(super) fn durable(&self) -> Option<Lsn> {
        self.running.as_ref().map(|running| running.table().sequencer().durable())
    }
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
    let here = fs::canonicalize(data).map_err(Failure::unavailable)?;
    if let Some(running) = running.filter(|running| Path::new(&running.control().data()) == here) {
        return Ok(Some(running));
    }
    let path = data.join("lock");
    let Ok(file) = fs::File::open(&path) else { return Ok(None) };
    if filelock::is_locked(&file, &path.display().to_string()).map_err(Failure::unavailable)? {
        let holder = holder.unwrap_or_else(|| "a server".to_owned());
        let why = format!("{} is in use by {holder}, which is just starting or ending; try again", data.display());
        return Err(unavailable(why));
    }
    Ok(None)
}

pub(super) fn unavailable(why: String) -> Failure {
    Failure::unavailable(Unavailable(why))
}
