//! Finding the message queues of an instance, running or dead.
//!
//! The kernel lists queues in a file system of its own, which is mounted at `/dev/mqueue` where it is mounted at all; queues work all the
//! same. Where it is not, a queue is found by asking for it by name: its instance's boot is known from what else the instance has
//! left in shared memory, and its object is one of a few.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::ipc::error::IpcError;
use crate::ipc::message_queue;
use crate::ipc::names::{FoundObject, Generation};

/// A message queue that there is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundQueue {
    /// Whose it is.
    pub generation: Generation,
    /// The last part of the name.
    pub object: String,
}

/// Whose a found queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This user.
    ThisUser,
    /// Nobody: it is gone meanwhile.
    Gone,
    /// Another user, or one that cannot be told; in words that follow "it".
    Other(String),
}

impl FoundQueue {
    /// The full name, as `mq_open(3)` takes it.
    #[must_use]
    pub fn name(&self) -> String {
        self.generation.name(&self.object)
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        let looked = match message_queue::look_at(&self.name()) {
            Ok(looked) => looked,
            // A kernel without queues has none of that name either.
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOSYS)) => return Owner::Gone,
            Err(error) if error.errno() == Some(Errno::EACCES) => {
                return Owner::Other("belongs to another user".to_owned());
            }
            Err(error) => return Owner::Other(format!("cannot be looked at: {error}")),
        };
        match fstat(&looked) {
            Ok(status) if status.st_uid == nix::unistd::geteuid().as_raw() => Owner::ThisUser,
            Ok(status) => Owner::Other(format!("belongs to user {}", status.st_uid)),
            Err(errno) => Owner::Other(format!("cannot be looked at: {errno}")),
        }
    }
}

impl fmt::Display for FoundQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message queue {}", self.name())
    }
}

/// Where the file system of message queues is mounted, if it is: for people to look at.
#[must_use]
pub fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(mounted)
}

/// The mount point in a line of `/proc/self/mounts`, if the line is about message queues.
fn mounted(line: &str) -> Option<PathBuf> {
    let mut fields = line.split(' ');
    let (_, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
    (kind == "mqueue").then(|| PathBuf::from(place))
}

/// The queues of the instance named `instance`, in the order of their names: all that the kernel lists, and those of `objects` that
/// exist in one of the boots `boots`, listed or not.
#[must_use]
pub fn queues_of(instance: &str, boots: &[u32], objects: &[&str]) -> Vec<FoundQueue> {
    let mut found = listed(instance);
    for &boot in boots {
        let generation = Generation { instance: instance.to_owned(), boot };
        let queues =
            objects.iter().map(|object| FoundQueue { generation: generation.clone(), object: (*object).to_owned() });
        found.extend(queues.filter(|queue| queue.owner() != Owner::Gone));
    }
    found.sort();
    found.dedup();
    found
}

fn listed(instance: &str) -> Vec<FoundQueue> {
    let Some(entries) = mount_point().and_then(|folder| fs::read_dir(folder).ok()) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let objects = names.filter_map(|name| FoundObject::parse(&name));
    let ours = objects.filter(|object| !object.semaphore && object.generation.instance == instance);
    ours.map(|object| FoundQueue { generation: object.generation, object: object.object }).collect()
}

/// Removes the names of those queues that are this user's.
///
/// # Errors
/// The first that could not be removed; the others are removed nevertheless.
pub fn remove(queues: &[FoundQueue]) -> Result<(), IpcError> {
    let ours = queues.iter().filter(|queue| queue.owner() == Owner::ThisUser);
    ours.map(|queue| message_queue::unlink(&queue.name())).fold(Ok(()), Result::and)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::message_queue::Message;

    struct Nothing;
    impl Message for Nothing {
        const MAX_BYTES: usize = 8;
        fn encode(&self, _: &mut [u8]) -> usize {
            0
        }
        fn decode(_: &[u8]) -> Option<Self> {
            Some(Nothing)
        }
    }

    #[test]
    fn queues_are_found_by_boot_and_object_and_removed() {
        let instance = format!("test-queues-{}", std::process::id());
        let generation = |boot| Generation { instance: instance.clone(), boot };
        for boot in [1, 2] {
            message_queue::create::<Nothing>(&generation(boot).name("fetch"), 1).unwrap();
        }
        let found = queues_of(&instance, &[1, 2, 3], &["fetch", "other"]);
        let expected = [1, 2].map(|boot| FoundQueue { generation: generation(boot), object: "fetch".to_owned() });
        assert_eq!(found, expected);
        assert!(found.iter().all(|queue| queue.owner() == Owner::ThisUser));
        // Where the kernel's list cannot be seen, only what is asked for is found.
        if mount_point().is_none() {
            assert_eq!(queues_of(&instance, &[2], &["fetch"]), &expected[1..]);
        }
        remove(&found).unwrap();
        assert_eq!(queues_of(&instance, &[1, 2, 3], &["fetch", "other"]), []);
        assert_eq!(found[0].owner(), Owner::Gone);
        remove(&found).unwrap();
    }

    #[test]
    fn a_mount_of_queues_is_told_from_others() {
        let queues = "mqueue /dev/mqueue mqueue rw,nosuid,nodev,noexec,relatime 0 0";
        assert_eq!(mounted(queues), Some(PathBuf::from("/dev/mqueue")));
        assert_eq!(mounted("tmpfs /mqueue tmpfs rw 0 0"), None);
        assert_eq!(mounted(""), None);
    }
}
