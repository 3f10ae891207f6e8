//! What the machine has: probes, which change nothing that lasts.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use super::cgroup::{self, Capacity, meminfo};
use crate::ipc::names::SHM_FOLDER;
use crate::store::instance::stale;

/// What is available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// Bytes in the folder of shared memory; `None` where it has no limit of its own.
    pub shared: Option<Capacity>,
    /// Files that the folder of shared memory can have; `None` where that is not limited.
    pub names: Option<Capacity>,
    /// Bytes of memory, by each limit that there is: control groups, and the machine itself.
    pub memory: Vec<Capacity>,
    /// Tasks, by each limit that there is.
    pub tasks: Vec<Capacity>,
    /// Descriptors that one process may have (RLIMIT_NOFILE, hard).
    pub descriptors: u64,
    /// Bytes that one file may have (RLIMIT_FSIZE, soft).
    pub file: u64,
    /// Bytes of address space that one process may have (RLIMIT_AS, soft).
    pub address_space: u64,
    /// Bytes on the volume of the data directory.
    pub disk: Option<Capacity>,
}

impl Available {
    /// What is available to an instance of that name whose data directory is on `volume`. Memory that a dead instance of
    /// that name has left counts as free: a start removes it first.
    #[must_use]
    pub fn probe(instance: &str, volume: &Path) -> Available {
        let (objects, left) = stale::reclaimable(instance);
        let root = Path::new("/");
        let memory = cgroup::memory(root).into_iter().chain(machine());
        Available {
            shared: room_in(Path::new(SHM_FOLDER)).map(|capacity| given_back(capacity, left)),
            names: names_in(Path::new(SHM_FOLDER)).map(|capacity| given_back(capacity, objects)),
            memory: memory.map(|capacity| given_back(capacity, left)).collect(),
            tasks: cgroup::tasks(root).into_iter().chain(tasks_of_user()).collect(),
            descriptors: limit(Resource::RLIMIT_NOFILE).1,
            file: limit(Resource::RLIMIT_FSIZE).0,
            address_space: limit(Resource::RLIMIT_AS).0,
            disk: room_in(volume),
        }
    }
}

fn given_back(capacity: Capacity, amount: u64) -> Capacity {
    Capacity { free: capacity.free.saturating_add(amount), ..capacity }
}

/// A limit of this process, soft and hard; none is the largest number.
fn limit(resource: Resource) -> (u64, u64) {
    getrlimit(resource).unwrap_or((u64::MAX, u64::MAX))
}

/// Bytes on the volume that `path` is on, as this user may have them; `None` where the file system does not limit them.
fn room_in(path: &Path) -> Option<Capacity> {
    let volume = statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(volume.fragment_size());
    let what = path.display().to_string();
    // A tmpfs without a size has no blocks.
    (volume.blocks() > 0).then(|| Capacity {
        what,
        free: bytes(volume.blocks_available()),
        total: bytes(volume.blocks()),
    })
}

/// Files that the file system of `path` can have.
fn names_in(path: &Path) -> Option<Capacity> {
    let volume = statvfs(path).ok()?;
    let what = path.display().to_string();
    (volume.files() > 0).then(|| Capacity { what, free: volume.files_available(), total: volume.files() })
}

/// The machine's memory.
fn machine() -> Option<Capacity> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let free = meminfo(&text, "MemAvailable").saturating_add(meminfo(&text, "SwapFree"));
    let total = meminfo(&text, "MemTotal").saturating_add(meminfo(&text, "SwapTotal"));
    (free > 0).then(|| Capacity { what: "this machine's memory".to_owned(), free, total })
}

/// Tasks that this user may still have (RLIMIT_NPROC). Privileged processes are not limited: `setrlimit(2)`.
fn tasks_of_user() -> Option<Capacity> {
    const CAP_SYS_ADMIN: u32 = 21;
    const CAP_SYS_RESOURCE: u32 = 24;
    let (soft, _) = limit(Resource::RLIMIT_NPROC);
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let capabilities = u64::from_str_radix(field("CapEff:")?, 16).ok()?;
    let user = field("Uid:")?;
    let may_exceed = capabilities & (1 << CAP_SYS_ADMIN | 1 << CAP_SYS_RESOURCE) != 0 || user == "0";
    if soft == u64::MAX || may_exceed {
        return None;
    }
    let what = format!("the limit of processes of user {user} (RLIMIT_NPROC, ulimit -u)");
    Some(Capacity { what, free: soft.saturating_sub(count_tasks(user)), total: soft })
}

/// Threads of all processes of a user, as far as they can be seen from here.
fn count_tasks(user: &str) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let of_user = processes.flatten().filter_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        if field("Uid:")? != user {
            return None;
        }
        field("Threads:")?.parse::<u64>().ok()
    });
    of_user.sum()
}
