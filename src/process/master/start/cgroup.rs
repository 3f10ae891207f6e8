//! The memory and tasks that control groups leave to this process, in both versions (`cgroups(7)`; the kernel's
//! `admin-guide/cgroup-v2.rst`, `cgroup-v1/memory.rst`, `cgroup-v1/pids.rst`).
//!
//! A limit of any group above counts as well, so each is read from the process' own group up to the root of the mount. In a
//! container the path in `/proc/self/cgroup` may be the host's; parts of it that do not exist are skipped.

use std::fs;
use std::path::{Path, PathBuf};

/// How much there is of something that has a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// What has the limit, in words.
    pub what: String,
    /// What is left of it.
    pub free: u64,
    /// The limit.
    pub total: u64,
}

/// A line of `/proc/meminfo` (`proc_meminfo(5)`), in bytes.
#[must_use]
pub fn meminfo(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes = value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}

/// Where one controller's files are, from the process' own group upward.
struct Groups {
    folders: Vec<PathBuf>,
    unified: bool,
}

/// What is left of memory in each group that has a limit, in bytes. `root` is `/`, or a test's imitation of it.
#[must_use]
pub fn memory(root: &Path) -> Vec<Capacity> {
    each(root, "memory", |folder, unified| {
        let (limit, usage, file_prefix) = if unified {
            (number(&folder.join("memory.max"))?, number(&folder.join("memory.current"))?, "")
        } else {
            let names = ["memory.limit_in_bytes", "memory.usage_in_bytes"].map(|name| folder.join(name));
            (number(&names[0])?, number(&names[1])?, "total_")
        };
        // The kernel can drop pages of files when memory is wanted; those of shared memory are not counted here.
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let dropped: u64 = ["inactive_file", "active_file"].iter().map(|name| field(&stat, file_prefix, name)).sum();
        let swap = if unified { swap_left(folder) } else { 0 };
        let free = limit.saturating_sub(usage.saturating_sub(dropped)).saturating_add(swap);
        Some(Capacity { what: format!("the memory control group {}", folder.display()), free, total: limit })
    })
}

/// What is left of tasks (processes and threads) in each group that has a limit.
#[must_use]
pub fn tasks(root: &Path) -> Vec<Capacity> {
    each(root, "pids", |folder, _| {
        let (limit, usage) = (number(&folder.join("pids.max"))?, number(&folder.join("pids.current"))?);
        let what = format!("the pids control group {}", folder.display());
        Some(Capacity { what, free: limit.saturating_sub(usage), total: limit })
    })
}

fn each(root: &Path, controller: &str, read: impl Fn(&Path, bool) -> Option<Capacity>) -> Vec<Capacity> {
    let found = groups(root, controller);
    let read = &read;
    found.iter().flat_map(|groups| groups.folders.iter().filter_map(|folder| read(folder, groups.unified))).collect()
}

/// The groups of both hierarchies that may limit `controller`.
fn groups(root: &Path, controller: &str) -> Vec<Groups> {
    let read = |name: &str| fs::read_to_string(root.join("proc/self").join(name)).unwrap_or_default();
    let (own, mounts) = (read("cgroup"), read("mountinfo"));
    let mut found = Vec::new();
    for line in own.lines() {
        // hierarchy-ID:controllers:path
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let unified = number == "0";
        if !unified && !controllers.split(',').any(|name| name == controller) {
            continue;
        }
        let Some((mounted, point)) = mount(&mounts, if unified { None } else { Some(controller) }) else { continue };
        let top = root.join(point.trim_start_matches('/'));
        let beneath = path.strip_prefix(mounted.trim_end_matches('/')).unwrap_or(path).trim_start_matches('/');
        let own = top.join(beneath);
        let folders = own.ancestors().take_while(|folder| folder.starts_with(&top)).map(Path::to_owned).collect();
        found.push(Groups { folders, unified });
    }
    found
}

/// The root and the place of the mount of a version-1 controller, or of version 2 where none is named; out of `mountinfo`
/// (`proc_pid_mountinfo(5)`).
fn mount<'a>(mounts: &'a str, controller: Option<&str>) -> Option<(&'a str, &'a str)> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1).unwrap_or(""));
        let fits = match controller {
            None => kind == "cgroup2",
            Some(controller) => kind == "cgroup" && options.split(',').any(|option| option == controller),
        };
        let mut before = before.split(' ').skip(3);
        fits.then_some((before.next()?, before.next()?))
    })
}

/// What of swap a version-2 group may still use, as far as there is any.
fn swap_left(folder: &Path) -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").map_or(0, |text| meminfo(&text, "SwapFree"));
    let limit = number(&folder.join("memory.swap.max")).unwrap_or(u64::MAX);
    limit.saturating_sub(number(&folder.join("memory.swap.current")).unwrap_or(0)).min(machine)
}

/// A limit or a count; `None` for `max`, for what version 1 writes when there is no limit, and where there is no such file.
fn number(path: &Path) -> Option<u64> {
    let value = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    // The largest whole number of pages in 63 bits.
    (value < i64::MAX as u64 - 65_536).then_some(value)
}

/// A field of `memory.stat`.
fn field(stat: &str, prefix: &str, name: &str) -> u64 {
    let lines = stat.lines().filter_map(|line| line.split_once(' '));
    let mut value = lines.filter(|(key, _)| key.strip_prefix(prefix) == Some(name)).map(|(_, value)| value);
    value.next().and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these files in it.
    fn imitation(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const UNIFIED: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const LEGACY: &str = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                          32 24 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";

    fn free_of(rooms: &[Capacity]) -> Vec<(u64, u64)> {
        rooms.iter().map(|capacity| (capacity.free, capacity.total)).collect()
    }

    #[test]
    fn version_2_counts_each_group_above_and_what_can_be_dropped() {
        let root = imitation(&[
            ("proc/self/cgroup", "0::/system.slice/vault.service\n"),
            ("proc/self/mountinfo", UNIFIED),
            ("sys/fs/cgroup/system.slice/memory.max", "1000000\n"),
            ("sys/fs/cgroup/system.slice/memory.current", "900000\n"),
            ("sys/fs/cgroup/system.slice/vault.service/memory.max", "500000\n"),
            ("sys/fs/cgroup/system.slice/vault.service/memory.current", "300000\n"),
            ("sys/fs/cgroup/system.slice/vault.service/memory.swap.max", "0\n"),
            (
                "sys/fs/cgroup/system.slice/vault.service/memory.stat",
                "anon 1\ninactive_file 40000\nactive_file 10000\nshmem 7\n",
            ),
            ("sys/fs/cgroup/system.slice/memory.swap.max", "0\n"),
            ("sys/fs/cgroup/system.slice/vault.service/pids.max", "max\n"),
            ("sys/fs/cgroup/system.slice/vault.service/pids.current", "3\n"),
            ("sys/fs/cgroup/system.slice/pids.max", "10\n"),
            ("sys/fs/cgroup/system.slice/pids.current", "4\n"),
        ]);
        assert_eq!(free_of(&memory(root.path())), [(250_000, 500_000), (100_000, 1_000_000)]);
        assert_eq!(free_of(&tasks(root.path())), [(6, 10)], "max is no limit");
    }

    #[test]
    fn version_1_is_read_too_and_no_limit_is_none() {
        let root = imitation(&[
            ("proc/self/cgroup", "5:pids:/a\n4:memory:/a\n0::/\n"),
            ("proc/self/mountinfo", LEGACY),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "400\n"),
            ("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 100\ntotal_active_file 50\n"),
            ("sys/fs/cgroup/pids/a/pids.max", "20\n"),
            ("sys/fs/cgroup/pids/a/pids.current", "21\n"),
        ]);
        assert_eq!(free_of(&memory(root.path())), [(750, 1000)]);
        assert_eq!(free_of(&tasks(root.path())), [(0, 20)]);
    }

    #[test]
    fn in_a_container_the_mount_s_own_root_is_the_group() {
        let mounted = LEGACY.replace("0:27 / ", "0:27 /docker/abc ");
        let files = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1"),
        ];
        for own in ["4:memory:/docker/abc\n", "4:memory:/elsewhere/on/the/host\n"] {
            let mut all = files.to_vec();
            all.extend([("proc/self/cgroup", own), ("proc/self/mountinfo", &mounted)]);
            assert_eq!(free_of(&memory(imitation(&all).path())), [(999, 1000)], "{own}");
        }
    }

    #[test]
    fn without_control_groups_nothing_is_limited() {
        assert!(memory(imitation(&[]).path()).is_empty() && tasks(imitation(&[]).path()).is_empty());
    }
}
