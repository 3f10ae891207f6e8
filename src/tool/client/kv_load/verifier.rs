//! Checks answers against all that was sent and answered before. Versions and values of a key are what a single copy of it would show,
//! whoever asks (linearizability of each key; Herlihy and Wing, 1990), as far as versions tell:
//!
//! - a read shows a version that is at least each one that was answered, to anybody, before it was sent, and at least those that its own
//!   connection has been told since;
//! - a write gets a version above these;
//! - a value is whole, of the key that was asked for, and of a write of this run that was sent;
//! - a version has one value, and a write one version.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::tool::client::kv_load::values::Stamp;

/// What is known of a key: its highest version that was answered, and which write made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    version: u64,
    writer: u32,
    count: u64,
}

/// Checks the answers of a run.
#[derive(Debug)]
pub struct Verifier {
    run: u64,
    keys: Box<[Mutex<Known>]>,
    /// The highest count of a write that was sent, by its writer.
    sent: Box<[AtomicU64]>,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what they hold.
pub enum Violation {
    #[error("its value is torn")]
    Torn,
    #[error("its value is that of key {0}")]
    OtherKey(u32),
    #[error("its value is of another run")]
    OtherRun,
    #[error("version {version} is older than {known}, which was answered before it was asked for")]
    Older { version: u64, known: u64 },
    #[error("it is not there, but version {known} was answered before it was asked for")]
    Missing { known: u64 },
    #[error("its value is of write {count} of connection {writer}, which was never sent")]
    NeverSent { writer: u32, count: u64 },
    #[error("version {version} has two values")]
    TwoValues { version: u64 },
    #[error("a write has two versions, {version} and {known}")]
    TwoVersions { version: u64, known: u64 },
    #[error("a write got version {version}, which is not above {known}")]
    NotAbove { version: u64, known: u64 },
}

impl Verifier {
    /// Nothing is known yet; `connections` write in each of the two phases.
    pub fn new(keys: u32, connections: u32, run: u64) -> Verifier {
        let sent = (0..u64::from(connections) * 2).map(|_| AtomicU64::new(0)).collect();
        Verifier { run, keys: (0..keys).map(|_| Mutex::default()).collect(), sent }
    }

    fn known(&self, key: u32) -> MutexGuard<'_, Known> {
        self.keys[key as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The highest version of a key that was answered.
    pub fn floor(&self, key: u32) -> u64 {
        self.known(key).version
    }

    /// The stamp of a write that is about to be sent; counts of a writer rise.
    pub fn send(&self, key: u32, writer: u32, count: u64) {
        self.sent[writer as usize].store(count, Ordering::Release);
        debug_assert!((key as usize) < self.keys.len());
    }

    /// Checks what a read of `key` has shown; `floor` is the highest version that was answered before it.
    pub fn check_read(&self, key: u32, floor: u64, version: u64, value: &[u8]) -> Result<(), Violation> {
        let stamp = Stamp::read(value).ok_or(Violation::Torn)?;
        if stamp.key != key {
            return Err(Violation::OtherKey(stamp.key));
        }
        if stamp.run != self.run {
            return Err(Violation::OtherRun);
        }
        let Stamp { writer, count, .. } = stamp;
        let was_sent = self.sent.get(writer as usize).is_some_and(|sent| count <= sent.load(Ordering::Acquire));
        if !was_sent || count == 0 {
            return Err(Violation::NeverSent { writer, count });
        }
        if version < floor {
            return Err(Violation::Older { version, known: floor });
        }
        self.learn(key, Known { version, writer, count })
    }

    /// Checks that a read of `key` has shown nothing.
    pub fn check_missing(&self, floor: u64) -> Result<(), Violation> {
        if floor > 0 { Err(Violation::Missing { known: floor }) } else { Ok(()) }
    }

    /// Checks the version that a write has got.
    pub fn check_write(&self, stamp: &Stamp, floor: u64, version: u64) -> Result<(), Violation> {
        if version <= floor {
            return Err(Violation::NotAbove { version, known: floor });
        }
        self.learn(stamp.key, Known { version, writer: stamp.writer, count: stamp.count })
    }

    fn learn(&self, key: u32, new: Known) -> Result<(), Violation> {
        let mut known = self.known(key);
        let is_same_write = (known.writer, known.count) == (new.writer, new.count);
        if known.version == new.version && !is_same_write {
            return Err(Violation::TwoValues { version: new.version });
        }
        if known.version != new.version && known.version > 0 && is_same_write {
            return Err(Violation::TwoVersions { version: new.version, known: known.version });
        }
        if new.version > known.version {
            *known = new;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
