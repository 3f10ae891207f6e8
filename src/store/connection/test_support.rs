//! What the tests of this room share: slots in shared memory.

use std::sync::atomic::{AtomicU64, Ordering};

use super::slot::ConnectionSlot;
use crate::ipc::segment::{Segment, unlink};

/// One slot, free, in memory that is unlinked as soon as it is mapped.
pub fn slots() -> Segment<(), ConnectionSlot> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("/vault-test.{}.slot.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let slots = Segment::create(&name, 1, 1, 1, |(), _| Ok(())).unwrap();
    unlink(&name).unwrap();
    slots
}
