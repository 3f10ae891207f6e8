//! What dead instances left behind, which instances live, and what only looks as if it belonged to one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use crate::ipc::message_queue::names::{self as queues, FoundQueue, Owner};
use crate::ipc::names::{self, FoundObject, Generation};
use crate::ipc::segment::{Access, Mark, Segment};
use crate::ipc::{IpcError, filelock, message_queue, segment, semaphore};
use crate::store::cache_channel;
use crate::store::instance::control::{Control, WorkerRow};
use crate::store::instance::lock_holders::{self, LockHolder, Waited};
use crate::store::instance::{Instance, LAYOUT_VERSION, makes_object};

/// The object whose file is locked while its instance lives.
const CONTROL: &str = "control";

/// An instance that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningInstance {
    /// Its name and boot.
    pub generation: Generation,
    /// Its master's process id; 0 while it is just being made.
    pub master_pid: u32,
    /// Its data directory.
    pub data: String,
}

/// A kernel object that bears an instance's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedObject {
    /// A segment of shared memory or a semaphore.
    Shared(FoundObject),
    /// A message queue.
    Queue(FoundQueue),
}

impl NamedObject {
    fn generation(&self) -> &Generation {
        match self {
            NamedObject::Shared(object) => &object.generation,
            NamedObject::Queue(queue) => &queue.generation,
        }
    }

    /// Whether it is this user's and of this program's making.
    fn look_at(&self) -> Looked {
        match self {
            NamedObject::Shared(object) => look_at(object),
            NamedObject::Queue(queue) => match queue.owner() {
                Owner::ThisUser if cache_channel::makes_queue(&queue.object) => Looked::Ours,
                Owner::ThisUser => Looked::Foreign("is no queue of this program".to_owned()),
                Owner::Gone => Looked::Gone,
                Owner::Other(why) => Looked::Foreign(why),
            },
        }
    }
}

impl fmt::Display for NamedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamedObject::Shared(object) => object.fmt(f),
            NamedObject::Queue(queue) => queue.fmt(f),
        }
    }
}

/// An object that bears an instance's name and is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The object.
    pub object: NamedObject,
    /// Why it is not taken for this user's, in words that follow its name.
    pub why: String,
}

/// What there is under an instance's name.
#[derive(Debug, Default)]
pub struct ObjectScan {
    /// Those that run.
    pub living: Vec<RunningInstance>,
    /// Objects of this user whose instance is dead.
    pub stale: Vec<NamedObject>,
    /// Objects that are not this user's, or were not made by this program.
    pub foreign: Vec<Foreign>,
}

impl ObjectScan {
    /// What is left alone, in lines that say why: one for each reason, however many objects there are.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut reasons: BTreeMap<&str, Vec<&NamedObject>> = BTreeMap::new();
        for Foreign { object, why } in &self.foreign {
            reasons.entry(why).or_default().push(object);
        }
        let line = |(why, objects): (&str, Vec<&NamedObject>)| match objects.as_slice() {
            [one] => format!("{one} is left alone: it {why}"),
            [first, others @ ..] => format!("{first} and {} more are left alone: each {why}", others.len()),
            [] => String::new(),
        };
        reasons.into_iter().map(line).collect()
    }
}

/// Why the scan could not be taken or the stale objects not removed.
#[derive(Debug, thiserror::Error)]
pub enum StaleError {
    /// The folder of shared memory cannot be read.
    #[error("cannot list the shared memory objects in {folder}: {0}", folder = names::SHM_FOLDER)]
    List(#[source] io::Error),
    /// An object cannot be opened or unlinked.
    #[error(transparent)]
    Object(#[from] IpcError),
}

/// What looking at one object's file showed.
enum Looked {
    /// This user's, and made by this program.
    Ours,
    /// Gone meanwhile.
    Gone,
    /// Neither; the reason follows "it".
    Foreign(String),
}

/// Looks at everything that bears the instance name `instance`.
///
/// # Errors
/// The objects cannot be listed, or a lock cannot be asked for.
pub fn scan(instance: &str) -> Result<ObjectScan, StaleError> {
    let mut scan = ObjectScan::default();
    let objects = named_objects(instance).map_err(StaleError::List)?;
    for group in objects.chunk_by(|a, b| a.generation() == b.generation()) {
        if let Some(living) = living(group[0].generation())? {
            scan.living.push(living);
            continue;
        }
        for object in group {
            match object.look_at() {
                Looked::Ours => scan.stale.push(object.clone()),
                Looked::Gone => {}
                Looked::Foreign(why) => scan.foreign.push(Foreign { object: object.clone(), why }),
            }
        }
    }
    Ok(scan)
}

/// Everything that bears that name, those of one boot together. Where the kernel does not list its queues, one is found if its instance
/// has anything in shared memory; it goes before the control segment, so it always has.
fn named_objects(instance: &str) -> io::Result<Vec<NamedObject>> {
    let shared = names::objects_of(instance)?;
    let boots: BTreeSet<u32> = shared.iter().map(|object| object.generation.boot).collect();
    let boots: Vec<u32> = boots.into_iter().collect();
    let queues = queues::queues_of(instance, &boots, &[cache_channel::QUEUE]);
    let shared = shared.into_iter().map(NamedObject::Shared);
    let mut objects: Vec<NamedObject> = shared.chain(queues.into_iter().map(NamedObject::Queue)).collect();
    // Stable: within a boot they stay in the order of their names.
    objects.sort_by(|a, b| a.generation().cmp(b.generation()));
    Ok(objects)
}

/// [`scan`] once those instances are gone whose processes were killed and are still dying; it waits for them for a bounded time
/// ([`lock_holders::wait_for`]). Who holds on to an instance that lives is said with it.
///
/// # Errors
/// As of [`scan`].
pub fn scan_settled(instance: &str) -> Result<(ObjectScan, Option<(RunningInstance, Waited)>), StaleError> {
    loop {
        let scan = scan(instance)?;
        let Some(first) = scan.living.first().cloned() else { return Ok((scan, None)) };
        // Without it there is nothing to wait for, and the next look sees why.
        let Some(file) = control_file(&first.generation) else { continue };
        let name = first.generation.name(CONTROL);
        match lock_holders::wait_for(&file, || filelock::is_locked(&file, &name).map(|locked| !locked))? {
            Waited::Free => {}
            waited => return Ok((scan, Some((first, waited)))),
        }
    }
}

/// Whether a found object is this user's and of this program's making. Nothing is opened before it is known to be a regular file:
/// opening a pipe may wait for ever.
fn look_at(object: &FoundObject) -> Looked {
    let metadata = match fs::symlink_metadata(object.path()) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Looked::Gone,
        Err(error) => return Looked::Foreign(format!("cannot be looked at: {error}")),
    };
    let foreign = |why: &str| Looked::Foreign(why.to_owned());
    let known = makes_object(&object.object, object.semaphore);
    if !metadata.is_file() {
        return foreign("is no regular file");
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Looked::Foreign(format!("belongs to user {}", metadata.uid()));
    }
    if object.semaphore {
        let is_one = known && metadata.len() == semaphore::FILE_BYTES;
        return if is_one { Looked::Ours } else { foreign("is no semaphore of this program") };
    }
    let mark = open_regular(object).and_then(|file| segment::mark(&file));
    match mark {
        Ok(Mark::Ours) => Looked::Ours,
        Ok(Mark::Blank) if known => Looked::Ours,
        Ok(_) => foreign("does not begin as a segment of this program does"),
        Err(error) => Looked::Foreign(format!("cannot be read: {error}")),
    }
}

/// Opens an object's file for reading, whatever has taken its place since it was looked at.
fn open_regular(object: &FoundObject) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(object.path())?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// The control segment's file, if it may be opened, and is one as far as it can be told.
fn control_file(generation: &Generation) -> Option<File> {
    let control = FoundObject { generation: generation.clone(), object: CONTROL.to_owned(), semaphore: false };
    let file = open_regular(&control).ok()?;
    let is_one = matches!(segment::mark(&file), Ok(Mark::Ours | Mark::Blank));
    is_one.then_some(file)
}

/// The instance of that name and boot, if any of its processes lives: then the control segment's file is locked.
fn living(generation: &Generation) -> Result<Option<RunningInstance>, IpcError> {
    let name = generation.name(CONTROL);
    let Some(file) = control_file(generation) else { return Ok(None) };
    if !filelock::is_locked(&file, &name)? {
        return Ok(None);
    }
    // A segment that is locked and not yet published has a master that is just starting.
    let control = Segment::<Control, WorkerRow>::open(&name, LAYOUT_VERSION, Access::Read);
    let (master_pid, data) =
        control.map_or((0, String::new()), |control| (control.root().master_pid.get(), control.root().data()));
    Ok(Some(RunningInstance { generation: generation.clone(), master_pid, data }))
}

/// How many objects under that name are this user's, and how many bytes of shared memory they take: what a start would remove.
/// None where that cannot be told.
#[must_use]
pub fn reclaimable(instance: &str) -> (u64, u64) {
    let objects = names::objects_of(instance).unwrap_or_default();
    let ours = objects.iter().filter(|object| matches!(look_at(object), Looked::Ours));
    let found = ours.filter_map(|object| fs::symlink_metadata(object.path()).ok());
    found.fold((0, 0), |(count, bytes), metadata| (count + 1, bytes + metadata.blocks() * 512))
}

/// Removes stale objects, the control segment of each instance last.
///
/// # Errors
/// One of them cannot be unlinked.
pub fn remove(stale: &[NamedObject]) -> Result<(), IpcError> {
    let is_control = |object: &&NamedObject| matches!(object, NamedObject::Shared(shared) if shared.object == CONTROL);
    let (last, first): (Vec<_>, Vec<_>) = stale.iter().partition(is_control);
    for object in first.into_iter().chain(last) {
        match object {
            NamedObject::Shared(object) if object.semaphore => semaphore::unlink(&object.name())?,
            NamedObject::Shared(object) => segment::unlink(&object.name())?,
            NamedObject::Queue(queue) => message_queue::unlink(&queue.name())?,
        }
    }
    Ok(())
}

/// Opens the one running instance named `instance` for reading.
///
/// # Errors
/// In words: none runs, or it cannot be opened.
pub fn open_running(instance: &str) -> Result<Instance, String> {
    let scan = scan(instance).map_err(|error| error.to_string())?;
    match scan.living.as_slice() {
        [] if !scan.stale.is_empty() => Err(format!(
            "instance `{instance}` is dead and left {} objects; remove them with `vaultctl clean --instance {instance}`",
            scan.stale.len()
        )),
        [] => match scan.warnings().first() {
            None => Err(format!("no instance `{instance}` runs here")),
            Some(warning) => Err(format!("no instance `{instance}` of this user runs here; {warning}")),
        },
        [.., newest] => Instance::open(newest.generation.clone(), Access::Read).map_err(|error| error.to_string()),
    }
}

/// Who holds an instance, in words for a message: its master, by pid and data directory.
#[must_use]
pub fn name_holder(living: &RunningInstance, waited: &Waited) -> String {
    let RunningInstance { master_pid, data, .. } = living;
    match waited {
        Waited::Stuck(holders) if holders.is_empty() => {
            format!("its master, pid {master_pid}, cannot be seen from here: in another container?, data {data}")
        }
        Waited::Stuck(holders) => format!("its master is gone and {} do not end, data {data}", list(holders)),
        Waited::Lives(holder) if *master_pid == 0 => format!("{holder} is just starting it"),
        Waited::Lives(_) | Waited::Free => format!("master pid {master_pid}, data {data}"),
    }
}

/// Processes by name and pid, for a message.
#[must_use]
pub fn list(holders: &[LockHolder]) -> String {
    holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
