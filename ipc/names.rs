//! The names of kernel objects: `/vault.INSTANCE.BOOT.OBJECT`.
//!
//! BOOT is eight hexadecimal digits, new at every start, so that what a half-dead older instance left behind can never be
//! confused with the objects of the one that runs.

use std::fmt;
use std::path::{Path, PathBuf};

/// The folder where Linux shows POSIX shared memory and named semaphores (`shm_overview(7)`, `sem_overview(7)`).
pub const SHM_FOLDER: &str = "/dev/shm";
const PREFIX: &str = "vault";
/// What glibc puts before the name of a semaphore's file.
const SEMAPHORE_PREFIX: &str = "sem.";

/// One start of one instance: what all its objects' names begin with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// The instance's name: lower-case letters, digits and hyphens.
    pub instance: String,
    /// A number that is new at every start; never zero.
    pub boot: u32,
}

/// A kernel object that stands in [`SHM_FOLDER`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundObject {
    /// Whose it is.
    pub generation: Generation,
    /// The last part of the name: `accounts`, `lane0.items`.
    pub object: String,
    /// Whether it is a semaphore; a shared memory segment otherwise.
    pub semaphore: bool,
}

impl Generation {
    /// The full name of `object`, as `shm_open(3)` and `sem_open(3)` take it.
    #[must_use]
    pub fn name(&self, object: &str) -> String {
        format!("/{PREFIX}.{}.{:08x}.{object}", self.instance, self.boot)
    }
}

impl FoundObject {
    /// Reads a file name of [`SHM_FOLDER`]; `None` where it is not one of ours.
    #[must_use]
    pub fn parse(file_name: &str) -> Option<Self> {
        let (semaphore, rest) = match file_name.strip_prefix(SEMAPHORE_PREFIX) {
            Some(rest) => (true, rest),
            None => (false, file_name),
        };
        let mut parts = rest.strip_prefix(PREFIX)?.strip_prefix('.')?.splitn(3, '.');
        let (instance, boot, object) = (parts.next()?, parts.next()?, parts.next()?);
        // Exactly as it is written: anything else is another name, of another owner.
        let boot =
            u32::from_str_radix(boot, 16).ok().filter(|&number| number != 0 && format!("{number:08x}") == boot)?;
        let generation = Generation { instance: instance.to_owned(), boot };
        Some(FoundObject { generation, object: object.to_owned(), semaphore })
    }

    /// The full name, as `shm_open(3)` and `sem_open(3)` take it.
    #[must_use]
    pub fn name(&self) -> String {
        self.generation.name(&self.object)
    }
}

impl FoundObject {
    /// Where its file is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let prefix = if self.semaphore { SEMAPHORE_PREFIX } else { "" };
        Path::new(SHM_FOLDER).join(format!("{prefix}{}", &self.name()[1..]))
    }
}

impl fmt::Display for FoundObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(f)
    }
}

/// Every object of the instance named `instance`, of whatever boot, in the order of their names.
///
/// # Errors
/// What reading the folder gives.
pub fn objects_of(instance: &str) -> std::io::Result<Vec<FoundObject>> {
    let mut found = Vec::new();
    for entry in Path::new(SHM_FOLDER).read_dir()? {
        if let Some(object) = entry?.file_name().to_str().and_then(FoundObject::parse)
            && object.generation.instance == instance
        {
            found.push(object);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let generation = Generation { instance: "my-bank".into(), boot: 0x0a1b_2c3d };
        assert_eq!(generation.name("lane0.items"), "/vault.my-bank.0a1b2c3d.lane0.items");
        for semaphore in [false, true] {
            let object = FoundObject { generation: generation.clone(), object: "lane0.items".into(), semaphore };
            let file_name = object.to_string().strip_prefix("/dev/shm/").unwrap().to_owned();
            assert_eq!(FoundObject::parse(&file_name), Some(object));
        }
    }

    #[test]
    fn strangers_are_not_taken_for_ours() {
        for name in [
            "vault",
            "vault.x",
            "vault.x.1",
            "vault.x.123.accounts",
            "vault.x.zzzzzzzz.a",
            "vault.x.DEADBEEF.accounts",
            "vault.x.+1234567.accounts",
            "vault.x.00000000.a",
            "PostgreSQL.1",
            "sem.x",
        ] {
            assert_eq!(FoundObject::parse(name), None, "{name}");
        }
    }
}
