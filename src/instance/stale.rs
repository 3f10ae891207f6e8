//! What dead instances left behind, and which instances live.

use std::io;

use crate::instance::control::{Control, WorkerRow};
use crate::instance::{Instance, LAYOUT_VERSION};
use crate::ipc::names::{self, FoundObject, Generation};
use crate::ipc::segment::{Access, Segment};
use crate::ipc::{IpcError, filelock, segment, semaphore};

/// An instance that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    /// Its name and boot.
    pub generation: Generation,
    /// Its master's process id; 0 while it is just being made.
    pub master_pid: u32,
    /// Its data directory.
    pub data: String,
}

/// What there is under an instance's name.
#[derive(Debug, Default)]
pub struct Census {
    /// Those that run.
    pub living: Vec<Living>,
    /// Objects whose instance is dead.
    pub stale: Vec<FoundObject>,
}

/// Why the census could not be taken or the stale objects not removed.
#[derive(Debug, thiserror::Error)]
pub enum StaleError {
    /// The folder of shared memory cannot be read.
    #[error("cannot list the shared memory objects in {folder}: {0}", folder = names::SHM_FOLDER)]
    List(#[source] io::Error),
    /// An object cannot be opened or unlinked.
    #[error(transparent)]
    Object(#[from] IpcError),
}

/// Looks at everything that bears the instance name `instance`.
///
/// # Errors
/// The objects cannot be listed or looked into.
pub fn census(instance: &str) -> Result<Census, StaleError> {
    let mut census = Census::default();
    let objects = names::objects_of(instance).map_err(StaleError::List)?;
    for group in objects.chunk_by(|a, b| a.generation == b.generation) {
        match living(&group[0].generation)? {
            Some(living) => census.living.push(living),
            None => census.stale.extend_from_slice(group),
        }
    }
    Ok(census)
}

/// The instance of that name and boot, if any of its processes lives: then the control segment's file is locked.
fn living(generation: &Generation) -> Result<Option<Living>, IpcError> {
    let name = generation.name("control");
    let file = match segment::open_file(&name) {
        Ok(file) => file,
        Err(error) if error.errno() == Some(nix::errno::Errno::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !filelock::is_locked(&file, &name)? {
        return Ok(None);
    }
    // A segment that is locked and not yet published has a master that is just starting.
    let control = Segment::<Control, WorkerRow>::open(&name, LAYOUT_VERSION, Access::Read);
    let (master_pid, data) =
        control.map_or((0, String::new()), |control| (control.root().master_pid(), control.root().data()));
    Ok(Some(Living { generation: generation.clone(), master_pid, data }))
}

/// Removes stale objects, the control segment of each instance last.
///
/// # Errors
/// One of them cannot be unlinked.
pub fn remove(stale: &[FoundObject]) -> Result<(), IpcError> {
    let (last, first): (Vec<_>, Vec<_>) = stale.iter().partition(|object| object.object == "control");
    for object in first.into_iter().chain(last) {
        if object.semaphore {
            semaphore::unlink(&object.name())?;
        } else {
            segment::unlink(&object.name())?;
        }
    }
    Ok(())
}

/// Opens the one running instance named `instance` for reading.
///
/// # Errors
/// In words: none runs, or it cannot be opened.
pub fn open_running(instance: &str) -> Result<Instance, String> {
    let census = census(instance).map_err(|error| error.to_string())?;
    match census.living.as_slice() {
        [] if census.stale.is_empty() => Err(format!("no instance `{instance}` runs here")),
        [] => Err(format!(
            "instance `{instance}` is dead and left {} objects; remove them with `vaultctl clean --instance {instance}`",
            census.stale.len()
        )),
        [.., newest] => Instance::open(newest.generation.clone(), Access::Read).map_err(|error| error.to_string()),
    }
}
