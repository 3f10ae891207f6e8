//! The connection slots of an instance, and their byte rings: slots in one segment, rings in another, as large as each service wants
//! them. Where the rings of a slot are follows from the slots that each service has, so it is nowhere written down.

use std::ops::Range;

use crate::base::limits::{RECEIVE_BYTES, TRANSMIT_BYTES};
use crate::ipc::IpcError;
use crate::ipc::bytes::ByteRing;
use crate::ipc::region::SharedByte;
use crate::ipc::segment::{Access, Segment};
use crate::store::connection::slot::ConnectionSlot;
use crate::store::connection::{PerService, ServiceId};

/// Bytes between the rings of one slot and those of the next, a cache line. Rings have as many bytes as a power of two, and connections
/// that take turns are often at equal positions: without this, all of them would be in the same few lines of the processor's cache.
const GAP_BYTES: usize = 64;

/// How many bytes the two rings of a connection have; of each as many as a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingBytes {
    receive: u32,
    transmit: u32,
}

impl RingBytes {
    /// The rings of services that have no reason to want others.
    pub const STANDARD: RingBytes = RingBytes::new(RECEIVE_BYTES, TRANSMIT_BYTES);

    /// A receive ring and a transmit ring of so many bytes.
    ///
    /// # Panics
    /// Either is no power of two between 64 and 2^30: at compile time, where this is a constant's value.
    #[must_use]
    pub const fn new(receive: usize, transmit: usize) -> Self {
        assert!(receive <= 1 << 30 && transmit <= 1 << 30, "the rings are too large");
        #[allow(clippy::cast_possible_truncation, reason = "checked above")]
        let bytes = RingBytes { receive: receive as u32, transmit: transmit as u32 };
        assert!(bytes.is_valid(), "rings have as many bytes as a power of two");
        bytes
    }

    /// What [`RingBytes::to_words`] gave, before it is checked.
    #[must_use]
    pub fn from_words([receive, transmit]: [u32; 2]) -> Self {
        RingBytes { receive, transmit }
    }

    /// The numbers, as they stand in shared memory.
    #[must_use]
    pub fn to_words(self) -> [u32; 2] {
        [self.receive, self.transmit]
    }

    /// Bytes of the receive ring.
    #[must_use]
    pub const fn receive(self) -> usize {
        self.receive as usize
    }

    /// Bytes of the transmit ring.
    #[must_use]
    pub const fn transmit(self) -> usize {
        self.transmit as usize
    }

    const fn is_valid(self) -> bool {
        let (receive, transmit) = (self.receive(), self.transmit());
        let fits = receive <= 1 << 30 && transmit <= 1 << 30 && receive >= GAP_BYTES && transmit >= GAP_BYTES;
        fits && receive.is_power_of_two() && transmit.is_power_of_two()
    }

    /// From the rings of one slot to those of the next.
    const fn stride(self) -> usize {
        self.receive() + self.transmit() + GAP_BYTES
    }
}

/// The slots of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotShape {
    /// How many; 0 where the service is off.
    pub count: u32,
    /// The rings of each.
    pub rings: RingBytes,
}

impl SlotShape {
    /// No slots.
    pub const NONE: SlotShape = SlotShape { count: 0, rings: RingBytes::STANDARD };
}

/// The rings of one connection.
#[derive(Clone, Copy)]
pub struct Rings<'a> {
    /// What the client sent.
    pub receive: ByteRing<'a>,
    /// What it is sent.
    pub transmit: ByteRing<'a>,
}

/// All that a connection has in shared memory.
#[derive(Clone, Copy)]
pub struct SlotMemory<'a> {
    /// The slot's number.
    pub index: u32,
    /// The slot.
    pub slot: &'a ConnectionSlot,
    /// Its rings.
    pub rings: Rings<'a>,
}

/// Where the rings of one service's slots are.
#[derive(Clone)]
struct ServiceRings {
    slots: Range<usize>,
    bytes: RingBytes,
    /// Where the first of them begin.
    start: usize,
}

/// Where the rings of all slots are.
struct RingLayout {
    services: PerService<ServiceRings>,
    slots: usize,
    bytes: usize,
}

impl RingLayout {
    /// `None` where no rings can have such sizes.
    fn of(shapes: &PerService<SlotShape>) -> Option<Self> {
        let services = shapes.map(|_| ServiceRings { slots: 0..0, bytes: RingBytes::STANDARD, start: 0 });
        let mut layout = RingLayout { services, slots: 0, bytes: 0 };
        for (service, shape) in layout.services.iter_mut().zip(shapes).filter(|(_, shape)| shape.count > 0) {
            let (count, bytes) = (shape.count as usize, Some(shape.rings).filter(|rings| rings.is_valid())?);
            *service = ServiceRings { slots: layout.slots..layout.slots + count, bytes, start: layout.bytes };
            layout.slots += count;
            layout.bytes = bytes.stride().checked_mul(count).and_then(|rings| rings.checked_add(layout.bytes))?;
        }
        Some(layout)
    }

    /// The rings of slot `index`: their sizes, and where they begin.
    fn find(&self, index: usize) -> Option<(RingBytes, usize)> {
        let service = self.services.iter().find(|service| service.slots.contains(&index))?;
        Some((service.bytes, service.start + (index - service.slots.start) * service.bytes.stride()))
    }
}

/// The slots and rings of an instance.
pub struct Slots {
    slots: Segment<(), ConnectionSlot>,
    rings: Segment<(), SharedByte>,
    layout: RingLayout,
}

impl Slots {
    /// Bytes of the segments `connections` and `rings` for services with these slots.
    #[must_use]
    pub fn bytes_for(shapes: impl IntoIterator<Item = SlotShape>) -> [usize; 2] {
        let (mut slots, mut rings) = (0, 0);
        for SlotShape { count, rings: bytes } in shapes {
            slots += count as usize;
            rings += count as usize * bytes.stride();
        }
        [Segment::<(), ConnectionSlot>::bytes_for(slots), Segment::<(), SharedByte>::bytes_for(rings)]
    }

    /// Makes the segments `connections` and `rings`, by their full names.
    ///
    /// # Errors
    /// One of them cannot be made.
    pub fn create(names: [&str; 2], version: u32, boot: u32, shapes: &PerService<SlotShape>) -> Result<Self, IpcError> {
        let layout = RingLayout::of(shapes).ok_or_else(|| impossible(names[1], shapes))?;
        Ok(Slots {
            slots: Segment::create(names[0], version, boot, layout.slots, |(), _| Ok(()))?,
            rings: Segment::create(names[1], version, boot, layout.bytes, |(), _| Ok(()))?,
            layout,
        })
    }

    /// Maps those that exist.
    ///
    /// # Errors
    /// One of them is missing, of another layout, or not as large as the slots of the services want it.
    pub fn open(
        names: [&str; 2],
        version: u32,
        shapes: &PerService<SlotShape>,
        access: Access,
    ) -> Result<Self, IpcError> {
        let layout = RingLayout::of(shapes).ok_or_else(|| impossible(names[1], shapes))?;
        let slots = Segment::open(names[0], version, access)?;
        let rings = Segment::open(names[1], version, access)?;
        let (counts, wanted) = ([slots.elements().len(), rings.elements().len()], [layout.slots, layout.bytes]);
        for ((name, there), wanted) in names.into_iter().zip(counts).zip(wanted) {
            if there != wanted {
                let reason = format!("it has {there} elements, the services' connections need {wanted}");
                return Err(IpcError::Foreign { object: name.to_owned(), reason });
            }
        }
        Ok(Slots { slots, rings, layout })
    }

    /// The slots alone.
    #[must_use]
    pub fn all(&self) -> &[ConnectionSlot] {
        self.slots.elements()
    }

    /// Slot `index` with its rings; `None` where there is none of that number.
    #[must_use]
    pub fn memory(&self, index: u32) -> Option<SlotMemory<'_>> {
        let slot = self.slots.elements().get(index as usize)?;
        let (bytes, start) = self.layout.find(index as usize)?;
        let (middle, end) = (start + bytes.receive(), start + bytes.receive() + bytes.transmit());
        let memory = self.rings.elements();
        let (receive, transmit) = (ByteRing::new(&memory[start..middle]), ByteRing::new(&memory[middle..end]));
        Some(SlotMemory { index, slot, rings: Rings { receive, transmit } })
    }

    /// The sizes of slot `index`'s rings.
    #[must_use]
    pub fn ring_bytes(&self, index: usize) -> Option<RingBytes> {
        self.layout.find(index).map(|(bytes, _)| bytes)
    }

    /// The slots that are for connections of `service`.
    #[must_use]
    pub fn of(&self, service: ServiceId) -> Range<usize> {
        self.layout.services[service.index()].slots.clone()
    }

    /// The slots of each service: those of one after those of the other.
    #[must_use]
    pub fn ranges(&self) -> PerService<Range<usize>> {
        self.layout.services.clone().map(|service| service.slots)
    }

    /// The full names of the segments.
    #[must_use]
    pub fn names(&self) -> [&str; 2] {
        [self.slots.name(), self.rings.name()]
    }
}

fn impossible(name: &str, shapes: &PerService<SlotShape>) -> IpcError {
    IpcError::Foreign {
        object: name.to_owned(),
        reason: format!("no rings have the sizes that are stated: {shapes:?}"),
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
