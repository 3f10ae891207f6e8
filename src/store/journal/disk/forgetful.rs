//! A disk in memory that forgets what was not synced, and fails when it is told to.
//!
//! After [`Forgetful::crash`] each 512-byte sector holds the last synced bytes, or those of any later write to it; files are as
//! long as they were or became; names that were not synced may be there or not, each for itself.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Debug, Default)]
struct Node {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum Naming {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    /// A directory with all that is in it, which a file system with a log renames wholly or not at all.
    Move(PathBuf, PathBuf),
}

impl Naming {
    /// The directory whose sync makes it durable.
    fn folder(&self) -> Option<&Path> {
        match self {
            Naming::Link(path, _) | Naming::Unlink(path) | Naming::Move(_, path) => path.parent(),
        }
    }
}

impl Naming {
    /// The directory `from`, in which it may be, is `to` now.
    fn move_along(&mut self, from: &Path, to: &Path) {
        let paths = match self {
            Naming::Link(path, _) | Naming::Unlink(path) => [Some(path), None],
            Naming::Move(one, other) => [Some(one), Some(other)],
        };
        for path in paths.into_iter().flatten() {
            if let Some(inside) = path.strip_prefix(from).ok().filter(|inside| *inside != Path::new("")) {
                *path = to.join(inside);
            }
        }
    }
}

/// In place of a node: the name of a directory.
const FOLDER: usize = usize::MAX;

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<Naming>,
    /// Fail a coming call.
    fail: Option<Failure>,
    /// What happened, for tests that ask in which order.
    log: Vec<String>,
    /// What there is room for, where that is limited.
    free: Option<u64>,
}

impl State {
    fn call(&mut self, what: &str, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let call = format!("{what} {name}");
        let due = self.fail.as_mut().filter(|failure| call.contains(&failure.call)).is_some_and(|failure| {
            failure.left -= 1;
            failure.left == 0
        });
        self.log.push(call);
        match self.fail.take_if(|_| due) {
            Some(failure) => Err(io::Error::from_raw_os_error(failure.errno)),
            None => Ok(()),
        }
    }

    fn apply(names: &mut BTreeMap<PathBuf, usize>, naming: &Naming) {
        match naming {
            Naming::Link(path, node) => _ = names.insert(path.clone(), *node),
            Naming::Unlink(path) => _ = names.remove(path),
            Naming::Move(from, to) => {
                let moved: Vec<_> = names.extract_if(.., |path, _| path.starts_with(from)).collect();
                names.extend(moved.into_iter().map(|(path, node)| {
                    let inside = path.strip_prefix(from).unwrap();
                    (if inside == Path::new("") { to.clone() } else { to.join(inside) }, node)
                }));
            }
        }
    }

    /// What is in a directory, however deep.
    fn inside<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.names.keys().map(PathBuf::as_path).filter(move |path| path.starts_with(folder) && *path != folder)
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.names.get(path) == Some(&FOLDER) || self.inside(path).next().is_some()
    }

    fn name(&mut self, naming: Naming) {
        Self::apply(&mut self.names, &naming);
        self.pending_names.push(naming);
    }
}

/// Which call is to fail, and how: the one that comes when `left` more calls of this description have.
#[derive(Debug)]
struct Failure {
    call: String,
    left: u64,
    errno: i32,
}

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct Forgetful(Arc<Mutex<State>>);

#[derive(Debug)]
struct File {
    disk: Forgetful,
    node: usize,
    path: PathBuf,
}

/// A sequence of random numbers from a seed (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    /// The next number, below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((word ^ (word >> 31)) % limit as u64).unwrap()
    }
}

fn write(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

impl Forgetful {
    /// Another disk in the state that this one may be in after the power fails now.
    pub fn crash(&self, seed: u64) -> Forgetful {
        let state = self.0.lock().unwrap();
        let mut dice = Dice(seed);
        let nodes = state.nodes.iter().map(|node| node.survivor(&mut dice)).collect();
        let mut names = state.durable_names.clone();
        for naming in &state.pending_names {
            if dice.below(2) == 0 {
                State::apply(&mut names, naming);
            }
        }
        let after = State { nodes, durable_names: names.clone(), names, ..State::default() };
        Forgetful(Arc::new(Mutex::new(after)))
    }

    /// Fails the `number`-th changing call from now on (1: the next), of those whose description (as in the log: "sync
    /// preparing.tmp") contains `call`, with error `errno`, once.
    pub fn fail_call(&self, call: &str, number: u64, errno: i32) {
        self.0.lock().unwrap().fail = Some(Failure { call: call.to_owned(), left: number, errno });
    }

    /// Says that there is room for so many bytes.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.0.lock().unwrap().free = Some(bytes);
    }

    /// What was called since the last time this was asked.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }

    /// Changes a file behind everybody's back, durably.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock().unwrap();
        let node = state.names[path];
        let node = &mut state.nodes[node];
        change(&mut node.current);
        node.durable.clone_from(&node.current);
    }

    /// The names of all files.
    pub fn files(&self) -> Vec<PathBuf> {
        let state = self.0.lock().unwrap();
        state.names.iter().filter(|&(_, &node)| node != FOLDER).map(|(path, _)| path.clone()).collect()
    }
}

impl Debug for Forgetful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forgetful {:?}", self.files())
    }
}

impl Node {
    fn survivor(&self, dice: &mut Dice) -> Node {
        let mut bytes = self.durable.clone();
        if self.pending.is_empty() {
            bytes.clone_from(&self.current);
        } else if dice.below(2) == 0 {
            bytes.resize(self.current.len(), 0);
        }
        for start in (0..bytes.len()).step_by(SECTOR) {
            let sector = start..(start + SECTOR).min(bytes.len());
            let touches = |(at, new): &&(usize, Vec<u8>)| *at < sector.end && at + new.len() > sector.start;
            let writes: Vec<_> = self.pending.iter().filter(touches).collect();
            if writes.is_empty() {
                continue;
            }
            let survive = dice.below(writes.len() + 1);
            for (at, new) in &writes[..survive] {
                let (from, to) = (sector.start.max(*at), sector.end.min(at + new.len()));
                bytes[from..to].copy_from_slice(&new[from - at..to - at]);
            }
        }
        Node { durable: bytes.clone(), current: bytes, pending: Vec::new() }
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        let failed = state.call("write", &self.path);
        let node = &mut state.nodes[self.node];
        // A write that fails may have done its first half.
        let done = if failed.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        write(&mut node.current, at, done);
        node.pending.push((at, done.to_vec()));
        failed
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock().unwrap();
        let bytes = &state.nodes[self.node].current;
        let from = bytes.len().min(usize::try_from(offset).unwrap());
        let length = buffer.len().min(bytes.len() - from);
        buffer[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.call("sync", &self.path)?;
        let node = &mut state.nodes[self.node];
        node.durable.clone_from(&node.current);
        node.pending.clear();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.call("allocate", &self.path)?;
        let node = &mut state.nodes[self.node];
        let length = node.current.len().max(usize::try_from(bytes).unwrap());
        node.current.resize(length, 0);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().nodes[self.node].current.len() as u64)
    }
}

impl Forgetful {
    fn file(&self, node: usize, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(File { disk: self.clone(), node, path: path.to_owned() })
    }
}

impl Disk for Forgetful {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock().unwrap();
        state.call("create", path)?;
        state.nodes.push(Node::default());
        let node = state.nodes.len() - 1;
        state.name(Naming::Link(path.to_owned(), node));
        Ok(self.file(node, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.0.lock().unwrap().names.get(path).copied().filter(|&node| node != FOLDER);
        node.map(|node| self.file(node, path)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        for folder in path.ancestors().filter(|folder| folder.parent().is_some()) {
            if !state.names.contains_key(folder) {
                state.name(Naming::Link(folder.to_owned(), FOLDER));
            }
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock().unwrap();
        if !state.is_folder(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let depth = directory.components().count();
        let name = |path: &Path| path.components().nth(depth).unwrap().as_os_str().to_string_lossy().into_owned();
        let mut names: Vec<_> = state.inside(directory).map(name).collect();
        names.dedup();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call("rename", to)?;
        if state.is_folder(from) {
            if state.names.contains_key(to) || state.is_folder(to) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.name(Naming::Move(from.to_owned(), to.to_owned()));
            return Ok(());
        }
        let node = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.name(Naming::Unlink(from.to_owned()));
        state.name(Naming::Link(to.to_owned(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call("remove", path)?;
        if state.is_folder(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.name(Naming::Unlink(path.to_owned()));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call("remove-dir", path)?;
        if state.inside(path).next().is_some() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.name(Naming::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.call("sync-dir", directory)?;
        let mut pending: Vec<Naming> = Vec::new();
        for naming in std::mem::take(&mut state.pending_names) {
            if naming.folder() != Some(directory) {
                pending.push(naming);
                continue;
            }
            State::apply(&mut state.durable_names, &naming);
            if let Naming::Move(from, to) = &naming {
                // What was named in a directory before it was moved, and may yet be forgotten, is in it where it is now.
                pending.iter_mut().for_each(|earlier| earlier.move_along(from, to));
            }
        }
        state.pending_names = pending;
        Ok(())
    }

    fn is_replaceable(&self, _: &Path) -> io::Result<bool> {
        Ok(true)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().free.unwrap_or(u64::MAX))
    }
}
