//! What the tests of this room share: slots and rings in shared memory.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{PerService, RingBytes, SlotShape, Slots};
use crate::ipc::segment::unlink;

/// The rings of the key-value service.
pub const LARGE: RingBytes = RingBytes::new(crate::base::limits::KV_RING_BYTES, crate::base::limits::KV_RING_BYTES);

/// Names for the segments that no other test has.
pub fn names() -> [String; 2] {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    ["slots", "rings"].map(|object| format!("/vault-test.{}.{object}.{number}", std::process::id()))
}

/// Free slots of these shapes, of one service after the other, in memory that is unlinked as soon as it is mapped.
pub fn slots_of(shapes: &[SlotShape]) -> Slots {
    let names = names();
    let mut all: PerService<SlotShape> = [SlotShape::NONE; _];
    all[..shapes.len()].copy_from_slice(shapes);
    let slots = Slots::create(names.each_ref().map(String::as_str), 1, 1, &all).unwrap();
    names.iter().for_each(|name| unlink(name).unwrap());
    slots
}

/// One slot with rings of the standard sizes.
pub fn slots() -> Slots {
    slots_of(&[SlotShape { count: 1, rings: RingBytes::STANDARD }])
}
